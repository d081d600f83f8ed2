//! Inflates what Django and Rails compressed with zlib (RFC 1950), never beyond the size of a session.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use crate::formats::value::{DecodeError, MOST_BYTES};

/// The inflated bytes.
pub(super) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    decompress_to_vec_zlib_with_limit(bytes, MOST_BYTES).map_err(|error| {
        if error.status == miniz_oxide::inflate::TINFLStatus::HasMoreOutput {
            DecodeError::TooLarge
        } else {
            DecodeError::Malformed("zlib")
        }
    })
}

/// Whether this looks like zlib with its usual window: `78`, and a header that divides by 31.
pub(super) fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [0x78, second, ..] if (0x7800 + u16::from(*second)).is_multiple_of(31))
}
