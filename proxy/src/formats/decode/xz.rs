//! What django-redis compressed with LZMA: one stream of one block, as Python writes it. Never beyond the size of a
//! session: no distance within it is larger, so that the dictionary needs no more, whatever size the head claims.

use std::io::Read;

use lzma_rust2::Lzma2Reader;

use crate::formats::value::{DecodeError, MOST_BYTES};

const MALFORMED: DecodeError = DecodeError::Malformed("XZ");
/// Head of a stream whose checks are CRC64 (the .xz file format, section 2.1.1), and its own check sum.
pub(super) const HEAD: [u8; 8] = [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4];
const HEAD_SUM: usize = 4;
/// Head of a block: its size, no sizes of what it holds, one filter, which is LZMA2 with one byte of settings.
const BLOCK: [u8; 4] = [2, 0, 0x21, 1];
const BLOCK_HEAD: usize = 12;
/// The check sum behind a block.
const CHECK: usize = 8;
/// What ends a stream: the checks' kind again, and these letters.
const END: [u8; 4] = [0, 4, b'Y', b'Z'];

/// The plain bytes.
pub(super) fn expand(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let block = bytes.get(HEAD.len() + HEAD_SUM..).filter(|_| bytes.len() <= MOST_BYTES).ok_or(MALFORMED)?;
    // Whatever size it claims for its dictionary, it has to be one that there is.
    let is_usual = block.starts_with(&BLOCK) && block.get(BLOCK.len()).is_some_and(|size| *size <= 40);
    let packed = block.get(BLOCK_HEAD..).filter(|_| is_usual).ok_or(MALFORMED)?;
    let dictionary = u32::try_from(MOST_BYTES).unwrap_or(u32::MAX);
    let mut reader = Lzma2Reader::new(packed, dictionary, None);
    let mut plain = Vec::new();
    let most = u64::from(dictionary) + 1;
    (&mut reader).take(most).read_to_end(&mut plain).map_err(|_| MALFORMED)?;
    if plain.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let rest = reader.into_inner();
    if ends_well(rest, packed.len() - rest.len(), plain.len()) { Ok(plain) } else { Err(MALFORMED) }
}

/// Whether behind a block of `packed` bytes, which hold `plain`, comes what has to: its check sum, an index of this one
/// block, the end, and nothing else. The sums are not looked at: who can write there can write those too.
fn ends_well(rest: &[u8], packed: usize, plain: usize) -> bool {
    let mut index = vec![0, 1];
    variable(BLOCK_HEAD + packed + CHECK, &mut index);
    variable(plain, &mut index);
    index.resize(index.len().next_multiple_of(4), 0);
    let padding = packed.next_multiple_of(4) - packed;
    let Some((before, rest)) = rest.split_at_checked(padding + CHECK) else { return false };
    // The index and its sum; then the sum of the end, the size of the index in words, less one, and the end.
    let size = u32::try_from(index.len() / 4).unwrap_or(u32::MAX);
    let Some((sum, rest)) = rest.strip_prefix(index.as_slice()).and_then(<[u8]>::split_first_chunk::<4>)
    else {
        return false;
    };
    let is_end = |rest: &[u8; 12]| rest[4..8] == size.to_le_bytes() && rest[8..] == END;
    before[..padding].iter().all(|byte| *byte == 0) && sum.len() == 4 && rest.try_into().is_ok_and(is_end)
}

/// A number in groups of seven bits, least first.
fn variable(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// `{"_auth_user_id": "42"}`, as Python compressed it.
    const SMALL: &str = "/Td6WFoAAATm1rRGAgAhARQAAAD/5+wJAQAWeyJfYXV0aF91c2VyX2lkIjogIjQyIn0AAGi8+pvJLfDMAAEvF4EISbEftvN9AQAA\
         AAAEWVo=";
    /// A million zero bytes.
    const BOMB: &str = "/Td6WFoAAATm1rRGAgAhARQAAAD/5+wJ7///ANldAABv/f//o7f/Rz5IFXI5YVG4kijmo4YH+e7kHoLTL8U6PAFLsX7JiopNL6MN\
         2X+m44wjEVPgWRjFdYrid/i2lH8MasDedElk4ulcU7IE2PdEDKtfDW1G6eXDdoi3llestk3haR1v+0uIEGxCy4g/XACP0E6vJiiU\
         cR89jyThcJ6nI1/sKMuF0ZWYin4qkfIndfcZwAaYTZj92K/VkA/EJVP49ZE2MQWlsO5vwXBNRwzRkRGqrWAdus6xJxhcWYbpZlJY\
         vul2rFnk5VsFCPnH2q38+1Iq9+SVJQAAAAAAwva6PqJwa2AAAfUBgIBAAHmXf0exxGf7AgAAAAAEWVo=";

    #[test]
    fn what_python_compressed_is_read_whole_or_not_at_all() {
        let small = STANDARD.decode(SMALL).unwrap();
        let plain = Ok(b"{\"_auth_user_id\": \"42\"}".to_vec());
        assert_eq!(expand(&small), plain);
        for length in 0..small.len() {
            assert_eq!(expand(&small[..length]), Err(MALFORMED), "{length}");
        }
        assert_eq!(expand(&[&small[..], &[0]].concat()), Err(MALFORMED), "something stands behind it");
        assert_eq!(expand(&[&small[..], &small[..]].concat()), Err(MALFORMED), "a second stream");
        // One that says it needs 4 GiB gets what every other one gets.
        let claim = |size: u8| {
            let mut changed = small.clone();
            changed[HEAD.len() + HEAD_SUM + BLOCK.len()] = size;
            expand(&changed)
        };
        assert_eq!(claim(40), plain);
        assert_eq!(claim(41), Err(MALFORMED));
    }

    #[test]
    fn a_little_that_becomes_a_lot_is_too_large() {
        let bomb = STANDARD.decode(BOMB).unwrap();
        assert_eq!(expand(&bomb), Err(DecodeError::TooLarge));
    }
}
