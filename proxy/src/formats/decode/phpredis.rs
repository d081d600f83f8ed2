//! What phpredis puts around a value, where an application says so: a compression (`redis.session.compression`, or the
//! option of a connection of Laravel's), and for Laravel a serialisation around the one that it makes itself.

use std::borrow::Cow;

use super::{igbinary, json, msgpack, php, squeezed};
use crate::formats::value::{DecodeError, Decoded, MOST_BYTES, Node};

const MALFORMED: DecodeError = DecodeError::Malformed("Laravel session");

/// The value without its compression. LZF has no head by which it could be told.
pub(super) fn expand(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    if squeezed::is_zstd(bytes) {
        return squeezed::unzstd(bytes).map(Cow::Owned);
    }
    Ok(unlz4(bytes).map_or(Cow::Borrowed(bytes), Cow::Owned))
}

/// One block of LZ4 behind its own head: a check sum of the length, and the length. Nothing else has both: no value that
/// is not compressed has a zero byte so early, but for igbinary, whose first bytes are no such length.
fn unlz4(bytes: &[u8]) -> Option<Vec<u8>> {
    let (sum, rest) = bytes.split_first()?;
    let (length, block) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if size > MOST_BYTES || *sum != check_sum(length) {
        return None;
    }
    let mut plain = vec![0; size];
    let written = lz4_flex::block::decompress_into(block, &mut plain).ok()?;
    (written == size).then_some(plain)
}

/// CRC-8 with the polynomial 31, from FF on.
fn check_sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xff, |sum, byte| {
        (0..8).fold(sum ^ byte, |sum, _| if sum & 0x80 == 0 { sum << 1 } else { (sum << 1) ^ 0x31 })
    })
}

/// The text that Laravel gave to its cache: serialized by Laravel (`s:<length>:"...";`), by phpredis in its stead, or, up
/// to Laravel 10, by both.
pub(super) fn laravel_text(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let decoded = match bytes {
        [b's', b':', ..] => return php::unwrap_text(bytes).map(Cow::Borrowed),
        [0, 0, 0, ..] => igbinary::decode(bytes)?,
        [b'"', ..] => json::decode(bytes)?,
        [0xa0..=0xbf | 0xd9..=0xdb, ..] => msgpack::decode(bytes)?,
        _ => return Err(MALFORMED),
    };
    let text = text(&decoded)?;
    // No session begins like that: an array begins with `a`, JSON with `{`, an envelope in base64 with `eyJ`.
    if text.starts_with(b"s:") {
        return php::unwrap_text(text).map(|inner| Cow::Owned(inner.to_vec()));
    }
    Ok(Cow::Owned(text.to_vec()))
}

fn text(decoded: &Decoded) -> Result<&[u8], DecodeError> {
    match decoded.root() {
        Node::Text(text) => Ok(text),
        _ => Err(MALFORMED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `user_id|i:42;platform_id|i:7;`, as phpredis 6.2 compresses it with LZ4.
    const LZ4: &[u8] = b"f\x1d\0\0\0\xf0\x0euser_id|i:42;platform_id|i:7;";

    #[test]
    fn lz4_is_told_by_its_head_and_by_nothing_less() {
        assert_eq!(expand(LZ4).unwrap().as_ref(), b"user_id|i:42;platform_id|i:7;");
        for at in 0..LZ4.len() {
            assert_eq!(expand(&LZ4[..at]).unwrap().as_ref(), &LZ4[..at], "cut at {at}");
        }
        let longer = [LZ4, b"x"].concat();
        assert_eq!(expand(&longer).unwrap().as_ref(), longer);
        // A length of 4 GiB with a right check sum: nothing is set aside for it.
        let huge = [&[check_sum(&[0xff; 4])], &[0xff; 4][..], b"x"].concat();
        assert_eq!(expand(&huge).unwrap().as_ref(), huge);
    }

    #[test]
    fn a_text_is_read_however_often_it_was_serialized() {
        let once = br#"s:6:"a:0:{}";"#;
        for written in [
            once.to_vec(),
            [b"\0\0\0\x02\x11\x06".as_slice(), b"a:0:{}"].concat(),
            [b"\0\0\0\x02\x11\x0d".as_slice(), once].concat(),
            b"\"a:0:{}\"".to_vec(),
            br#""s:6:\"a:0:{}\";""#.to_vec(),
            b"\xa6a:0:{}".to_vec(),
            b"\xd9\x06a:0:{}".to_vec(),
        ] {
            assert_eq!(laravel_text(&written).unwrap().as_ref(), b"a:0:{}", "{written:?}");
        }
        for wrong in
            [b"".as_slice(), b"a:0:{}", b"\0\0\0\x02\x06\x2a", b"\"a", b"\xa6a", b"\x2a", b"\"s:9:\""]
        {
            assert!(laravel_text(wrong).is_err(), "{wrong:?}");
        }
    }
}
