//! Headers on their way out, written one behind the other as HTTP/1.1 sends them (RFC 9112, section 5). Where another
//! protocol is spoken they become names and values again, which are slices of what was written.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::reason::Reason;

/// What stands between a name and its value.
const BEFORE_VALUE: &[u8] = b": ";
/// What ends a line.
const AFTER_VALUE: &[u8] = b"\r\n";

/// Names with their values.
pub type Fields = Vec<(HeaderName, HeaderValue)>;

/// Headers in the order in which they are sent.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where the values stand, if they are to be taken apart again.
    marks: Option<Vec<Mark>>,
    size: usize,
}

#[derive(Debug)]
struct Mark {
    name: HeaderName,
    value: Range<usize>,
    is_sensitive: bool,
}

impl Lines {
    /// Lines that are sent as they are, behind `head`.
    #[must_use]
    pub fn behind(head: Vec<u8>) -> Self {
        Self { bytes: head, marks: None, size: 0 }
    }

    /// Lines that are taken apart again by [`Self::into_slices`]; `room` is what they usually take, in bytes.
    #[must_use]
    pub fn apart(room: usize) -> Self {
        Self { bytes: Vec::with_capacity(room), marks: Some(Vec::with_capacity(16)), size: 0 }
    }

    /// Writes a header with whatever `write` appends to the bytes that it is given, and answers what that answers.
    ///
    /// # Errors
    /// `CannotSign` when that is no value: nothing that is written here can end a line.
    pub fn write<R>(
        &mut self,
        name: &HeaderName,
        write: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Result<R, Reason> {
        self.bytes.extend_from_slice(name.as_str().as_bytes());
        self.bytes.extend_from_slice(BEFORE_VALUE);
        let start = self.bytes.len();
        let answer = write(&mut self.bytes);
        let value = self.bytes.get(start..).filter(|value| is_value(value)).ok_or(Reason::CannotSign)?;
        self.finish(name, start..start + value.len(), false);
        Ok(answer)
    }

    /// Writes a header that is there already.
    pub fn put(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.bytes.extend_from_slice(name.as_str().as_bytes());
        self.bytes.extend_from_slice(BEFORE_VALUE);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value.as_bytes());
        self.finish(name, start..self.bytes.len(), value.is_sensitive());
    }

    /// Takes over `lines` that were written before.
    pub fn take_over(&mut self, lines: &[u8]) {
        self.bytes.extend_from_slice(lines);
    }

    /// How many bytes the names and values have that were written one by one.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// What is sent.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What was written, and the headers as slices of it; none where they were not to be taken apart.
    ///
    /// # Errors
    /// `CannotSign` when a value is none, which it always is.
    pub fn into_slices(mut self) -> Result<(Bytes, Fields), Reason> {
        self.bytes.shrink_to_fit();
        let bytes = Bytes::from(self.bytes);
        let cut = |Mark { name, value, is_sensitive }| {
            let slice = bytes.slice(value);
            let mut value = HeaderValue::from_maybe_shared(slice).map_err(|_| Reason::CannotSign)?;
            value.set_sensitive(is_sensitive);
            Ok((name, value))
        };
        let fields = self.marks.unwrap_or_default().into_iter().map(cut).collect::<Result<_, Reason>>()?;
        Ok((bytes, fields))
    }

    fn finish(&mut self, name: &HeaderName, value: Range<usize>, is_sensitive: bool) {
        self.bytes.extend_from_slice(AFTER_VALUE);
        self.size += name.as_str().len() + value.len();
        if let Some(marks) = &mut self.marks {
            marks.push(Mark { name: name.clone(), value, is_sensitive });
        }
    }
}

/// Whether these bytes can be a value (RFC 9110, section 5.5; what [`HeaderValue`] takes, without the tab). All of them are
/// looked at, sixteen at a time, because nearly always they can.
fn is_value(bytes: &[u8]) -> bool {
    let is_control = |byte: u8| byte < b' ' || byte == 0x7f;
    !bytes.iter().fold(false, |found, &byte| found | is_control(byte))
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, HOST, REFERER};

    use super::*;

    #[test]
    fn what_is_written_is_what_is_taken_apart() {
        let mut secret = HeaderValue::from_static("b");
        secret.set_sensitive(true);
        let mut lines = Lines::apart(0);
        lines.write(&HOST, |bytes| bytes.extend_from_slice(b"a.example")).unwrap();
        lines.put(&ACCEPT, &secret);
        assert_eq!(lines.size(), "hosta.exampleacceptb".len());
        let (bytes, fields) = lines.into_slices().unwrap();
        assert_eq!(bytes, "host: a.example\r\naccept: b\r\n");
        assert_eq!(fields, [(HOST, HeaderValue::from_static("a.example")), (ACCEPT, secret)]);
        assert!(fields[1].1.is_sensitive());
    }

    #[test]
    fn nothing_that_is_written_ends_a_line() {
        for bad in ["a\r\nb: c", "a\nb", "a\rb", "\0", "\x7f", "a\tb"] {
            let mut lines = Lines::behind(Vec::new());
            let written = lines.write(&REFERER, |bytes| bytes.extend_from_slice(bad.as_bytes()));
            assert_eq!(written, Err(Reason::CannotSign), "{bad:?}");
        }
        let mut lines = Lines::behind(b"GET / HTTP/1.1\r\n".to_vec());
        lines.write(&REFERER, |bytes| bytes.extend_from_slice("a \u{e9}~".as_bytes())).unwrap();
        assert_eq!(lines.into_bytes(), "GET / HTTP/1.1\r\nreferer: a \u{e9}~\r\n".as_bytes());
    }
}
