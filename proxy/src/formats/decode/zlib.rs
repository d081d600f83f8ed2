//! Inflates what Django and Rails compressed with zlib (RFC 1950), never beyond the size of a session.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use crate::formats::value::{DecodeError, MOST_BYTES};

/// The inflated bytes. Bytes behind them are refused.
pub(super) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    match first(bytes, inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER, "zlib")? {
        (plain, []) => Ok(plain),
        _ => Err(DecodeError::Malformed("zlib")),
    }
}

/// The inflated bytes of one stream without a head around it, and what stands behind it.
pub(super) fn inflate_bare<'a>(
    bytes: &'a [u8],
    kind: &'static str,
) -> Result<(Vec<u8>, &'a [u8]), DecodeError> {
    first(bytes, 0, kind)
}

fn first<'a>(mut bytes: &'a [u8], head: u32, kind: &'static str) -> Result<(Vec<u8>, &'a [u8]), DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let flags = head | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut state = Box::<DecompressorOxide>::default();
    let mut plain = vec![0; bytes.len().saturating_mul(2).min(MOST_BYTES)];
    let mut length = 0;
    loop {
        let (status, read, written) = decompress(&mut state, bytes, &mut plain, length, flags);
        length += written;
        bytes = bytes.get(read..).ok_or(DecodeError::Malformed(kind))?;
        match status {
            TINFLStatus::Done => {
                plain.truncate(length);
                return Ok((plain, bytes));
            }
            TINFLStatus::HasMoreOutput if plain.len() >= MOST_BYTES => return Err(DecodeError::TooLarge),
            TINFLStatus::HasMoreOutput => plain.resize((plain.len() * 2).clamp(64, MOST_BYTES), 0),
            _ => return Err(DecodeError::Malformed(kind)),
        }
    }
}

/// Whether this looks like zlib with its usual window: `78`, and a header that divides by 31.
pub(super) fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [0x78, second, ..] if (0x7800 + u16::from(*second)).is_multiple_of(31))
}
