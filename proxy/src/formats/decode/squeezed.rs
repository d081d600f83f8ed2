//! What django-redis compressed, whichever of its compressors it was: zlib, gzip, Zstandard or LZ4. Never beyond the size
//! of a session, and never with more memory than that takes. LZMA is not read: its dictionary alone takes 4 MiB.

use std::io::Read;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::zlib;
use crate::formats::value::{DecodeError, MOST_BYTES};

/// Head of a gzip member (RFC 1952, section 2.3).
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// Fixed part of that head, and what stands behind the compressed bytes: check sum and length.
const GZIP_HEAD: usize = 10;
const GZIP_END: usize = 8;
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
    } else if bytes.starts_with(&ZSTD) {
        zstd::bulk::decompress(bytes, MOST_BYTES).map(Some).map_err(|_| DecodeError::Malformed("Zstandard"))
    } else if bytes.starts_with(&LZ4) {
        unlz4(bytes).map(Some)
    } else {
        Ok(None)
    }
}

/// Python writes one member whose head has no optional fields; others are not looked for.
fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let malformed = DecodeError::Malformed("gzip");
    let rest = match bytes {
        [_, _, _, 0, ..] => bytes.get(GZIP_HEAD..).ok_or(malformed)?,
        _ => return Err(malformed),
    };
    let (packed, end) = rest.split_last_chunk::<GZIP_END>().ok_or(malformed)?;
    let plain = decompress_to_vec_with_limit(packed, MOST_BYTES).map_err(|error| {
        if error.status == TINFLStatus::HasMoreOutput { DecodeError::TooLarge } else { malformed }
    })?;
    let [_, _, _, _, l0, l1, l2, l3] = *end;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length == plain.len() { Ok(plain) } else { Err(malformed) }
}

fn unlz4(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut plain = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX) + 1;
    let mut reader = lz4_flex::frame::FrameDecoder::new(bytes).take(most);
    reader.read_to_end(&mut plain).map_err(|_| DecodeError::Malformed("LZ4"))?;
    if plain.len() > MOST_BYTES { Err(DecodeError::TooLarge) } else { Ok(plain) }
}
