//! Connections to applications that are to become WebSockets. Pingora 0.9.1 takes a request's end and the application's
//! answer from two pipes in the order that chance says. If the answer is there at once and comes first, the end of the
//! empty request that follows is taken for the end of the tunnel: the client has its 101 and loses everything after it.
//! Here nothing is read in the turn in which something was written, so that the request's end always comes first.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Connects so.
#[derive(Debug)]
pub(super) struct Patient {
    /// How long connecting may take.
    pub(super) timeout: Duration,
}

#[async_trait]
impl L4Connect for Patient {
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<Stream> {
        let Ok(connected) = tokio::time::timeout(self.timeout, Link::to(address)).await else {
            return Error::e_explain(ErrorType::ConnectTimedout, "connecting to the application");
        };
        let link = connected.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "connecting to the application", error)
        })?;
        Ok(VirtualSocketStream::new(Box::new(Turns { link, has_written: false })).into())
    }
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Bytes for T {}

/// A connection of either kind.
struct Link(Box<dyn Bytes>);

impl Link {
    async fn to(address: &SocketAddr) -> io::Result<Self> {
        Ok(match address {
            SocketAddr::Inet(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Self(Box::new(stream))
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
                Self(Box::new(UnixStream::connect(path).await?))
            }
        })
    }
}

/// One that takes turns.
struct Turns {
    link: Link,
    has_written: bool,
}

impl AsyncRead for Turns {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.has_written) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.link.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Turns {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_written = true;
        Pin::new(&mut self.link.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link.0).poll_shutdown(context)
    }
}

impl VirtualSocket for Turns {
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        // What is wanted of it was set when it was connected.
        Ok(())
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}
