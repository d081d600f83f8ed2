//! The frames of RESP3, as far as a relay must know them to leave out what the server says unasked. What it cannot
//! read it hands on untouched, for ever.

/// The server's side of one connection, cut into whole frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    rest: Vec<u8>,
    unreadable: bool,
}

impl Frames {
    /// What to hand on now that this piece has come: whole frames, without pushes when `muted`.
    pub(super) fn pass(&mut self, piece: &[u8], muted: bool) -> Vec<u8> {
        self.rest.extend_from_slice(piece);
        let mut out = Vec::new();
        while !self.unreadable && !self.rest.is_empty() {
            match length_of(&self.rest) {
                Ok(Some(length)) => {
                    let frame: Vec<u8> = self.rest.drain(..length).collect();
                    if !(muted && frame[0] == b'>') {
                        out.extend_from_slice(&frame);
                    }
                }
                Ok(None) => break,
                Err(Unreadable) => self.unreadable = true,
            }
        }
        if self.unreadable {
            out.append(&mut self.rest);
        }
        out
    }
}

struct Unreadable;

/// The length of the first frame; `None` until all of it has come.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, Unreadable> {
    let mut at = 0;
    let mut wanted = 1_usize;
    while wanted > 0 {
        let Some(end) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        let count = || -> Result<usize, Unreadable> {
            let text = std::str::from_utf8(&line[1..]).map_err(|_| Unreadable)?;
            // Null, in the old way of saying it, has no content.
            if text == "-1" { Ok(usize::MAX) } else { text.parse().map_err(|_| Unreadable) }
        };
        at += end + 2;
        wanted -= 1;
        match line.first() {
            Some(b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_') => {}
            Some(b'$' | b'=' | b'!') => match count()? {
                usize::MAX => {}
                length => at += length + 2,
            },
            Some(b'*' | b'~' | b'>') => match count()? {
                usize::MAX => {}
                members => wanted += members,
            },
            Some(b'%') => wanted += 2 * count()?,
            // An attribute stands before the frame it is about.
            Some(b'|') => wanted += 2 * count()? + 1,
            _ => return Err(Unreadable),
        }
        if at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::Frames;

    const PUSH: &[u8] = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$4\r\ncs:a\r\n";
    const ANSWERS: &[u8] = b"+PONG\r\n$5\r\na\r\nb>\r\n*-1\r\n%1\r\n+k\r\n*2\r\n:1\r\n_\r\n$-1\r\n";

    #[test]
    fn pushes_are_left_out_and_answers_stay_whole_however_they_are_cut() {
        let stream = [PUSH, ANSWERS, PUSH, PUSH, ANSWERS].concat();
        for size in 1..stream.len() {
            let (mut loud, mut muted) = (Frames::default(), Frames::default());
            let (mut all, mut some) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                all.extend(loud.pass(piece, false));
                some.extend(muted.pass(piece, true));
            }
            assert_eq!(all, stream, "in pieces of {size}");
            assert_eq!(some, [ANSWERS, ANSWERS].concat(), "in pieces of {size}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_handed_on() {
        let mut frames = Frames::default();
        assert_eq!(frames.pass(b"\x16\x03\x01\r\n>", true), b"\x16\x03\x01\r\n>");
        assert_eq!(frames.pass(PUSH, true), PUSH);
    }
}
