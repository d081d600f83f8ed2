//! Counts the queries that a client sends to Postgres: `Execute` and `Query` messages (protocol 3.0, without TLS).

/// The length of an `SSLRequest` or a `GSSENCRequest`.
const ENCRYPTION: usize = 8;

/// The client's side of one connection.
#[derive(Debug, Default)]
pub(super) struct Queries {
    rest: Vec<u8>,
    is_started: bool,
}

impl Queries {
    /// How many queries end in this piece.
    pub(super) fn count(&mut self, piece: &[u8]) -> u64 {
        self.rest.extend_from_slice(piece);
        let (mut at, mut found) = (0, 0);
        while let Some((kind, length)) = self.message(at) {
            if self.rest.len() < at + length {
                break;
            }
            found += u64::from(matches!(kind, b'E' | b'Q'));
            // A question for TLS or GSS encryption comes before the start, and looks like it but for its length.
            self.is_started |= length != ENCRYPTION;
            at += length;
        }
        self.rest.drain(..at);
        found
    }

    /// Kind and whole length of the message at a place. The first of a connection has no kind.
    fn message(&self, at: usize) -> Option<(u8, usize)> {
        let head = usize::from(self.is_started);
        let bytes = self.rest.get(at..at + head + 4)?;
        let length = u32::from_be_bytes(bytes[head..].try_into().ok()?);
        let kind = if self.is_started { bytes[0] } else { 0 };
        Some((kind, head + usize::try_from(length).ok()?.max(4)))
    }
}

#[cfg(test)]
mod tests {
    use super::Queries;

    #[test]
    fn executions_are_counted_however_they_are_cut() {
        let message = |kind: &[u8], content: &[u8]| {
            let length = u32::try_from(content.len() + 4).unwrap();
            [kind, &length.to_be_bytes(), content].concat()
        };
        let stream = [
            message(b"", b"\x04\xd2\x16\x2f"),
            message(b"", b"\0\x03\0\0user\0EQEQ\0\0"),
            message(b"P", b"s1\0SELECT 1 -- E\0\0\0"),
            message(b"E", b"\0\0\0\0\0"),
            message(b"S", b""),
            message(b"Q", b"SELECT 1\0"),
        ]
        .concat();
        for size in 1..stream.len() {
            let mut queries = Queries::default();
            let found: u64 = stream.chunks(size).map(|piece| queries.count(piece)).sum();
            assert_eq!(found, 2, "in pieces of {size}");
        }
    }
}
