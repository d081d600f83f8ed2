//! What django-redis compressed, whichever of its compressors it was: zlib, gzip, Zstandard, LZ4 or LZMA. Never beyond
//! the size of a session, and never with more memory than that takes.

use std::io::Read;

use super::{xz, zlib};
use crate::formats::value::{DecodeError, MOST_BYTES};

/// Head of a gzip member (RFC 1952, section 2.3).
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// Fixed part of that head.
const GZIP_HEAD: usize = 10;
/// Head of a Zstandard frame (RFC 8878, section 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Head of an LZ4 frame.
const LZ4: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// The plain bytes; `None` when these are not compressed.
pub(super) fn expand(bytes: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
    if zlib::is_zlib(bytes) {
        zlib::inflate(bytes).map(Some)
    } else if bytes.starts_with(&GZIP) {
        gunzip(bytes).map(Some)
    } else if is_zstd(bytes) {
        unzstd(bytes).map(Some)
    } else if bytes.starts_with(&LZ4) {
        unlz4(bytes).map(Some)
    } else if bytes.starts_with(&xz::HEAD) {
        xz::expand(bytes).map(Some)
    } else {
        Ok(None)
    }
}

/// Whether this is a frame of Zstandard.
pub(super) fn is_zstd(bytes: &[u8]) -> bool {
    bytes.starts_with(&ZSTD)
}

/// What a frame of Zstandard holds.
pub(super) fn unzstd(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    zstd::bulk::decompress(bytes, MOST_BYTES).map_err(|_| DecodeError::Malformed("Zstandard"))
}

/// Python writes one member whose head has no optional fields; others are not looked for. Behind it stand its check sum
/// and its length.
fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let malformed = DecodeError::Malformed("gzip");
    let rest = match bytes {
        [_, _, _, 0, ..] => bytes.get(GZIP_HEAD..).ok_or(malformed)?,
        _ => return Err(malformed),
    };
    let (plain, end) = zlib::inflate_bare(rest, "gzip")?;
    let length = u32::try_from(plain.len()).map_err(|_| malformed)?;
    let ours = [crc32fast::hash(&plain).to_le_bytes(), length.to_le_bytes()].concat();
    if end == ours { Ok(plain) } else { Err(malformed) }
}

fn unlz4(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut plain = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX) + 1;
    let mut reader = lz4_flex::frame::FrameDecoder::new(bytes).take(most);
    reader.read_to_end(&mut plain).map_err(|_| DecodeError::Malformed("LZ4"))?;
    if plain.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    // One frame, and nothing behind it.
    if reader.into_inner().into_inner().is_empty() { Ok(plain) } else { Err(DecodeError::Malformed("LZ4")) }
}
