//! Where headers are written that leave: into Pingora's map, or as the lines of HTTP/1.1 at once, which saves making a map
//! that is only read to be written down.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::signing::Signed;

/// Takes headers, in any number for each name.
pub(super) trait Put {
    /// Adds one.
    fn put(&mut self, name: &HeaderName, value: &HeaderValue);
}

impl Put for HeaderMap {
    fn put(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name.clone(), value.clone());
    }
}

/// Room for what the client's own headers usually take.
const ROOM: usize = 1024;

/// The head of a request as it is sent over HTTP/1.1 (RFC 9112, section 2.1).
pub(super) struct Head(Vec<u8>);

impl Head {
    /// The request line, and the headers of ours. A method is a token, and a canonical target has neither blanks nor line
    /// ends (`policy/target.rs`), so that nothing in them ends the line.
    pub(super) fn new(method: &str, target: &str, signed: &Signed) -> Self {
        let mut head = Vec::with_capacity(method.len() + target.len() + signed.length() + ROOM);
        for piece in [method, " ", target, " HTTP/1.1\r\n"] {
            head.extend_from_slice(piece.as_bytes());
        }
        signed.write(&mut head);
        Self(head)
    }

    /// The head with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

impl Put for Head {
    fn put(&mut self, name: &HeaderName, value: &HeaderValue) {
        crate::signing::write_line(&mut self.0, name, value);
    }
}
