//! The grammar of a chunked body (RFC 9112, section 7.1), byte by byte and without any leniency; data is skipped, not
//! looked at. Bounded: it holds no bytes of the body.

use crate::reason::Reason;

/// Digits of a chunk size; more would overflow somebody behind us.
const SIZE_DIGITS: u32 = 15;
/// Largest extension of one chunk in bytes.
const EXTENSION_BYTES: u32 = 256;
/// Largest sum of all extensions in bytes; next to nobody sends any.
const EXTENSIONS_BYTES: u64 = 16 * 1024;
/// How many chunks may come, whatever is in them; of more each must bring [`LEAST_PER_CHUNK`] bytes on average.
const FREE_CHUNKS: u64 = 8192;
/// Less than who sends every letter for itself.
const LEAST_PER_CHUNK: u64 = 2;
/// How many bytes of a body may be spent on anything but data, beyond [`FREE_PER_CHUNK`] and what the data pays for.
const OVERHEAD_BYTES: u64 = 16 * 1024;
/// What a chunk may cost without being charged: its size and its line ends.
const FREE_PER_CHUNK: u64 = 16;
/// Largest trailer section in bytes.
const TRAILER_BYTES: u32 = 8 * 1024;

/// Where in a chunked body we are.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    /// Size of the chunk, or what is left of its data.
    size: u64,
    /// Digits, bytes of the extension or of the trailer section so far.
    count: u32,
    /// Bytes of the size line so far.
    line: u64,
    /// Bytes charged as overhead (the rule of Go's reader against CVE-2023-39326).
    overhead: u64,
    /// Bytes of all extensions.
    extensions: u64,
    /// Chunks so far.
    number: u64,
    /// Bytes of data, as announced.
    data: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum At {
    #[default]
    Size,
    Extension,
    /// Within quotes of an extension, where no line may end: who knows of quotes would read on.
    Quoted,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// At the beginning of a trailer line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
}

impl Chunks {
    /// Follows `bytes`; where the body ends in them, when it does.
    ///
    /// # Errors
    /// `AmbiguousFraming` for what breaks the grammar, `BodyTooLarge` for more overhead than a body can need.
    pub(super) fn see(&mut self, bytes: &[u8]) -> Result<Option<usize>, Reason> {
        let (length, mut bytes) = (bytes.len(), bytes);
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.at == At::Data {
                let skipped = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len());
                self.size -= skipped as u64;
                bytes = &bytes[skipped..];
                if self.size == 0 {
                    self.at = At::DataReturn;
                }
                continue;
            }
            if self.step(byte)? {
                return Ok(Some(length - rest.len()));
            }
            bytes = rest;
        }
        Ok(None)
    }

    /// One byte that is no data; `true` when it was the last of the body.
    fn step(&mut self, byte: u8) -> Result<bool, Reason> {
        self.line += 1;
        self.at = match (self.at, byte) {
            (At::Size, b'\r') if self.count > 0 => At::SizeLineFeed,
            (At::Size, b';') if self.count > 0 => {
                self.count = 0;
                self.extension(At::Extension)?
            }
            (At::Size, _) => self.digit(byte)?,
            (At::Extension, b'\r') => At::SizeLineFeed,
            (At::Extension, b'"') => self.extension(At::Quoted)?,
            (At::Quoted, b'"') => self.extension(At::Extension)?,
            (At::Quoted, _) if is_text(byte) && byte != b'\\' => self.extension(At::Quoted)?,
            (At::Extension, _) if is_text(byte) => self.extension(At::Extension)?,
            (At::SizeLineFeed, b'\n') => self.end_of_size_line()?,
            (At::DataReturn, b'\r') => At::DataLineFeed,
            (At::DataLineFeed, b'\n') => {
                self.size = 0;
                self.line = 2;
                self.begin(At::Size)
            }
            (At::Trailer, b'\r') => At::LastLineFeed,
            (At::Trailer | At::TrailerName, _) if is_token(byte) => {
                self.counted(At::TrailerName, TRAILER_BYTES)?
            }
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerLineFeed,
            (At::TrailerValue, _) if is_text(byte) => self.counted(At::TrailerValue, TRAILER_BYTES)?,
            (At::TrailerLineFeed, b'\n') => At::Trailer,
            (At::LastLineFeed, b'\n') => return Ok(true),
            _ => return Err(Reason::AmbiguousFraming),
        };
        Ok(false)
    }

    fn begin(&mut self, at: At) -> At {
        self.count = 0;
        at
    }

    fn counted(&mut self, at: At, limit: u32) -> Result<At, Reason> {
        self.count += 1;
        if self.count > limit { Err(Reason::BodyTooLarge) } else { Ok(at) }
    }

    fn extension(&mut self, at: At) -> Result<At, Reason> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS_BYTES {
            Err(Reason::BodyTooLarge)
        } else {
            self.counted(at, EXTENSION_BYTES)
        }
    }

    fn digit(&mut self, byte: u8) -> Result<At, Reason> {
        let digit = char::from(byte).to_digit(16).ok_or(Reason::AmbiguousFraming)?;
        self.count += 1;
        if self.count > SIZE_DIGITS {
            return Err(Reason::AmbiguousFraming);
        }
        self.size = self.size * 16 + u64::from(digit);
        Ok(At::Size)
    }

    fn end_of_size_line(&mut self) -> Result<At, Reason> {
        let paid = FREE_PER_CHUNK + self.size.saturating_mul(2);
        self.overhead = (self.overhead + self.line).saturating_sub(paid);
        self.number += 1;
        self.data = self.data.saturating_add(self.size);
        let is_crumbled = self.number > FREE_CHUNKS && self.data / LEAST_PER_CHUNK < self.number;
        if self.overhead > OVERHEAD_BYTES || is_crumbled {
            return Err(Reason::BodyTooLarge);
        }
        Ok(if self.size == 0 { self.begin(At::Trailer) } else { self.begin(At::Data) })
    }
}

/// Visible ASCII, blanks and bytes beyond ASCII: what a field value or an extension may hold.
const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// `tchar` of RFC 9110, section 5.6.2.
const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}
