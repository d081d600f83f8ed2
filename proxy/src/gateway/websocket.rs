//! WebSocket messages of our own, over the bytes of a connection that was upgraded: `tungstenite` reads and writes the
//! frames in memory, and the caller moves the bytes. Of what a client sends, only pings and the end matter.

use std::io::{self, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::digest;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// The largest message that is read: clients have nothing to say here.
const LARGEST: usize = 4 * 1024;
/// What a client's key is hashed with (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// One WebSocket.
pub(super) struct Frames(WebSocket<Pipe>);

/// The bytes on both sides, in memory.
#[derive(Default)]
struct Pipe {
    received: Vec<u8>,
    to_send: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = buffer.len().min(self.received.len());
        buffer[..length].copy_from_slice(&self.received[..length]);
        self.received.drain(..length);
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to_send.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Frames {
    pub(super) fn new() -> Self {
        let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
        Self(WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config)))
    }

    /// The bytes of a text message.
    pub(super) fn text(&mut self, text: String) -> Bytes {
        self.send(Message::text(text))
    }

    /// The bytes of a sign of life.
    pub(super) fn ping(&mut self) -> Bytes {
        self.send(Message::Ping(Bytes::new()))
    }

    /// The bytes that say goodbye.
    pub(super) fn close(&mut self) -> Bytes {
        let _ = self.0.close(None);
        self.take()
    }

    /// Takes bytes of the client. Answers what is to be sent back, and whether the client goes on.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> (Bytes, bool) {
        self.0.get_mut().received.extend_from_slice(bytes);
        loop {
            match self.0.read() {
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    let _ = self.0.flush();
                    return (self.take(), false);
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = self.0.flush();
                    return (self.take(), true);
                }
                Err(_) => return (self.take(), false),
            }
        }
    }

    fn send(&mut self, message: Message) -> Bytes {
        // Memory takes everything; after the end nothing is sent any more.
        let _ = self.0.send(message);
        self.take()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.0.get_mut().to_send).into()
    }
}

/// The value of `Sec-WebSocket-Accept` (RFC 6455, section 4.2.2).
pub(super) fn accept(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(ACCEPT_SUFFIX);
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_answered_as_the_rfc_shows() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_are_written_unmasked_and_a_close_is_answered() {
        let mut frames = Frames::new();
        assert_eq!(&*frames.text("hi".to_owned()), b"\x81\x02hi");
        assert_eq!(&*frames.ping(), b"\x89\x00");
        // A masked close without a body, in two parts.
        assert_eq!(frames.receive(b"\x88\x80\0"), (Bytes::new(), true));
        let (answer, goes_on) = frames.receive(b"\0\0\0");
        assert_eq!((&*answer, goes_on), (&b"\x88\x00"[..], false));
        assert!(!Frames::new().receive(b"\xff\xff not a frame").1);
    }
}
