//! A client's connection with the watch in front of it: every byte that Pingora reads has been looked at before. What
//! the watch refuses is not read; the gateway asks for the verdict and answers.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::endpoints::problem;
use crate::gateway::Wire;
use crate::policy::wire::Pass;
use crate::reason::Reason;

/// How long, and how much, is read after the answer to a request that was cut off. Closing a socket with unread bytes
/// resets the connection, and the client might never see why.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 4 * 1024 * 1024);

/// How many bytes of later requests are read ahead of their turn.
const AHEAD: usize = 16 * 1024;
/// How long a client is served that has stopped sending. It may have said all it wants (`shutdown`), or have left: nobody
/// can tell the two apart, and who has left is not worked for much longer.
const FAREWELL: Duration = Duration::from_secs(5);

/// How much is gathered before it is written: head and small body of an answer go out together, in one segment.
const GATHER: usize = 1460;

/// A connection that is watched.
pub(super) struct Guarded {
    stream: BufWriter<Stream>,
    wire: Arc<Wire>,
    /// What is still to be read in place of what was cut off.
    instead: &'static [u8],
    cut: bool,
    /// Whether a head was refused that never became a request.
    refused: bool,
    /// Bytes of later requests.
    ahead: Vec<u8>,
    /// What is left of an answer that Pingora does not write.
    relayed: Bytes,
    /// Runs since the client stopped sending.
    farewell: Option<Pin<Box<Sleep>>>,
    /// Runs since the client takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    pub(super) fn new(stream: Stream, wire: Arc<Wire>) -> Self {
        let stream = BufWriter::with_capacity(GATHER, stream);
        let (ahead, relayed) = (Vec::new(), Bytes::new());
        Self {
            stream,
            wire,
            instead: b"",
            cut: false,
            refused: false,
            ahead,
            relayed,
            farewell: None,
            stuck: None,
        }
    }

    /// Reads ahead while a request is being served, so that the end of the connection is seen; hands nothing out.
    fn keep_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = [MaybeUninit::uninit(); 2048];
        while self.farewell.is_none() && self.ahead.len() < AHEAD {
            let mut piece = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                self.farewell = Some(Box::pin(sleep(FAREWELL)));
            }
            self.ahead.extend_from_slice(piece.filled());
        }
        match &mut self.farewell {
            Some(farewell) => farewell.as_mut().poll(context).map(Ok),
            // Enough for now: the rest waits where it is. Nobody waits for a wake-up here, but for the answer.
            None => Poll::Pending,
        }
    }

    /// Reads what was read ahead, else what arrives.
    fn receive(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.farewell = None;
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..length]);
        self.ahead.drain(..length);
        Poll::Ready(Ok(()))
    }

    /// What came of writing. Pingora waits for heads and ends of answers without any time-out.
    fn in_time<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() || !self.wire.has_to_take() {
            self.stuck = None;
            return written;
        }
        let patience = self.wire.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(patience)));
        stuck.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes the answer that the gateway passes on as it came.
    fn relay(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.relayed.is_empty() {
            self.relayed = self.wire.take_relayed().into();
        }
        while !self.relayed.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.relayed))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => {
                    self.relayed.advance(written);
                    self.stuck = None;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.instead.len().min(buffer.remaining());
        buffer.put_slice(&self.instead[..length]);
        self.instead = &self.instead[length..];
    }
}

/// The refusal of a head that the HTTP layer could not read, as every other refusal of ours: it writes a bare 400 by
/// itself, and whoever reads that could not tell which of two servers said so. The date is taken over.
fn in_our_words(reason: Reason, theirs: &[u8]) -> Vec<u8> {
    let answer = problem::problem(reason, "");
    let mut ours = format!("HTTP/1.1 {}\r\n", answer.status()).into_bytes();
    for (name, value) in answer.headers() {
        ours.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let date = theirs.split_inclusive(|&byte| byte == b'\n').find(|line| line.starts_with(b"Date: "));
    ours.extend_from_slice(date.unwrap_or_default());
    ours.extend_from_slice(b"connection: close\r\n\r\n");
    ours.extend_from_slice(answer.body());
    ours
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut {
            // Nothing more, once the end is handed out: as if the client had stopped sending.
            self.hand_out(buffer);
            return Poll::Ready(Ok(()));
        }
        if self.wire.is_to_wait() {
            return self.keep_ahead(context);
        }
        let before = buffer.filled().len();
        ready!(self.receive(context, buffer))?;
        let received = &buffer.filled()[before..];
        if received.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match self.wire.see(received) {
            Pass::All => Poll::Ready(Ok(())),
            Pass::Until(end) => {
                let behind = received[end..].to_vec();
                self.ahead.splice(..0, behind);
                buffer.set_filled(before + end);
                Poll::Ready(Ok(()))
            }
            Pass::Cut { keep, end } => {
                buffer.set_filled(before + keep);
                self.cut = true;
                self.instead = end;
                self.hand_out(buffer);
                Poll::Ready(Ok(()))
            }
            Pass::None => {
                buffer.set_filled(before);
                self.cut = true;
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "bytes that break the rules")))
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.starts_with(b"HTTP/1.1 4")
            && let Some(reason) = self.wire.refuses_head()
        {
            // It fits what is gathered, so that it is taken whole.
            ready!(Pin::new(&mut self.stream).poll_write(context, &in_our_words(reason, bytes)))?;
            self.refused = true;
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut written = self.relay(context);
        if let Poll::Ready(Ok(())) = written {
            written = Pin::new(&mut self.stream).poll_flush(context);
        }
        self.in_time(written, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.in_time(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        let _ = tokio::time::timeout(self.wire.patience, self.stream.flush()).await;
        Shutdown::shutdown(self.stream.get_mut().as_mut()).await;
        if self.cut || self.refused {
            let (time, bytes) = LINGER;
            let mut rest = (&mut self.stream).take(bytes as u64);
            let _ = tokio::time::timeout(time, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        }
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.stream.get_ref().id()
    }
}

impl Ssl for Guarded {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ref().get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ref().get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.get_ref().selected_alpn_proto()
    }
}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_ref().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.stream.get_ref().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.stream.get_ref().get_write_pending_time()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_ref().get_proxy_digest()
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_ref().get_socket_digest()
    }
}

#[async_trait]
impl Peek for Guarded {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.stream.get_mut().try_peek(buffer).await
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("stream", &self.stream).finish_non_exhaustive()
    }
}
