//! Where the client's headers are put that leave: into Pingora's map, or behind the lines of HTTP/1.1, which saves making a
//! map that is only read to be written down.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::lines::Lines;

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

impl Put for Lines {
    fn put(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.put(name, value);
    }
}

/// Room for what a head usually takes (measured: 1.9 KiB with a token and a browser's headers).
const ROOM: usize = 4096;

/// A request line (RFC 9112, section 3), with room for the headers. A method is a token, and a canonical target has neither
/// blanks nor line ends (`policy/target.rs`), so that nothing in them ends the line.
pub(super) fn begun(method: &str, target: &str) -> Vec<u8> {
    let mut head = Vec::with_capacity(ROOM);
    for piece in [method, " ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(piece.as_bytes());
    }
    head
}

/// The head with its end.
pub(super) fn ended(lines: Lines) -> Vec<u8> {
    let mut head = lines.into_bytes();
    head.extend_from_slice(b"\r\n");
    head
}
