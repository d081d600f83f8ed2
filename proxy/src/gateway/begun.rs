//! A connection to an application from which the beginning of an answer has been read: whoever reads it next reads that
//! first. For answers that [`super::exchange`] began to read and that Pingora's client reads to their end.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has been read, in front of the connection it came from.
pub(super) struct Begun {
    start: Vec<u8>,
    /// How much of it has been read again.
    place: usize,
    stream: Stream,
}

impl Begun {
    pub(super) fn new(start: Vec<u8>, stream: Stream) -> Self {
        Self { start, place: 0, stream }
    }

    /// The connection, once all that was read before has been read again, and the room that was used for it.
    pub(super) fn ended(stream: Stream) -> Option<(Stream, Vec<u8>)> {
        let begun = stream.into_any().downcast::<Self>().ok()?;
        (begun.place == begun.start.len()).then_some((begun.stream, begun.start))
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.start[self.place..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.place += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[async_trait]
impl Shutdown for Begun {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for Begun {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Begun {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Begun {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.stream.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.stream.get_write_pending_time()
    }
}

impl GetProxyDigest for Begun {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Begun {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Begun {}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_read_before_is_read_first_and_the_connection_comes_back() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut stream: Stream = Box::new(Begun::new(b"HTTP/1.1".to_vec(), Box::new(ours)));
        theirs.write_all(b" 200").await.unwrap();
        let mut piece = [0; 12];
        assert_eq!(stream.read(&mut piece[..4]).await.unwrap(), 4);
        stream.read_exact(&mut piece[4..]).await.unwrap();
        assert_eq!(&piece, b"HTTP/1.1 200");
        let (mut stream, start) = Begun::ended(stream).unwrap();
        assert_eq!(start, b"HTTP/1.1");
        theirs.write_all(b"!").await.unwrap();
        assert_eq!(stream.read(&mut piece).await.unwrap(), 1);
    }

    #[test]
    fn a_connection_with_something_left_to_read_does_not_come_back() {
        let (ours, _theirs) = tokio::io::duplex(64);
        assert!(Begun::ended(Box::new(Begun::new(b"H".to_vec(), Box::new(ours)))).is_none());
    }
}
