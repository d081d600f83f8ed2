//! From the bytes of a cookie to the value that the framework would see, where there is one way to read them. What a
//! framework refuses is refused here; what frameworks read in different ways is refused too.

use memchr::memchr;

/// How a framework spells cookie values, as measured (`cookie-parsing-differences.json` of the samples).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule that a framework has or has not")]
pub struct Spelling {
    /// `name="value"` is read without the quotes.
    pub quotes: bool,
    /// White space around `=` is read over.
    pub spaces: bool,
    /// `%41` is read as `A`.
    pub percent: bool,
    /// `+` would be read as a space, so that it is refused.
    pub form: bool,
    /// `.`, space and `[` in names are read as `_`, as PHP does.
    pub php_names: bool,
    /// White space ends a cookie as `;` does.
    pub white_separates: bool,
}

/// A cookie as it stands in the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written<'a> {
    /// The value, without white space around it.
    pub value: &'a [u8],
    /// There is white space around `=` or behind the value.
    pub spaced: bool,
}

impl Spelling {
    /// The value that the framework sees; `None` when it would see none, or another one than some reader before it.
    #[must_use]
    pub fn read(self, cookie: Written<'_>) -> Option<Vec<u8>> {
        if cookie.spaced && !self.spaces {
            return None;
        }
        let value = match cookie.value {
            [b'"', inner @ .., b'"'] if self.quotes => inner,
            value => value,
        };
        // Escapes within quotes are Python's alone.
        if value.is_empty()
            || !value.iter().all(|byte| PLAIN[usize::from(*byte)])
            || (self.form && value.contains(&b'+'))
        {
            return None;
        }
        if self.percent { decoded(value) } else { Some(value.to_vec()) }
    }

    /// Whether the framework would take a cookie that is called `other` for the one called `name`, or might: names are
    /// compared after undoing what some versions undo.
    #[must_use]
    pub fn confuses(self, other: &[u8], name: &str) -> bool {
        // Nearly always there is nothing to be undone.
        if other == name.as_bytes() || (!self.php_names && memchr(b'%', other).is_none()) {
            return false;
        }
        let undone = decoded(other).unwrap_or_else(|| other.to_vec());
        if self.php_names {
            let folded = |byte: &u8| if matches!(byte, b'.' | b' ' | b'[' | b'+') { b'_' } else { *byte };
            undone.iter().map(folded).eq(name.bytes().map(|byte| folded(&byte)))
        } else {
            undone == name.as_bytes()
        }
    }
}

impl Spelling {
    /// Whether the framework would, or might, find a cookie called `name` behind the beginning of what stands between two
    /// `;`. (`http.cookies` of Python goes on behind white space, whatever stands before it.)
    #[must_use]
    pub fn hides(self, part: &[u8], name: &str) -> bool {
        if !self.white_separates {
            return false;
        }
        let words = |part: &[u8]| part.iter().position(|byte| matches!(byte, b' ' | b'\t'));
        let mut rest = part;
        while let Some(at) = words(rest) {
            rest = &rest[at + 1..];
            let behind = rest.strip_prefix(name.as_bytes()).map(<[u8]>::trim_ascii_start);
            if behind.is_some_and(|behind| behind.is_empty() || behind.starts_with(b"=")) {
                return true;
            }
        }
        false
    }
}

/// Without percent-encoding; `None` when an escape is not two hexadecimal digits.
fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr(b'%', rest) {
        let digit = |place: usize| rest.get(place).and_then(|byte| char::from(*byte).to_digit(16));
        let (high, low) = (digit(at + 1)?, digit(at + 2)?);
        out.extend_from_slice(&rest[..at]);
        out.push(u8::try_from(high * 16 + low).ok()?);
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Bytes that every reader takes for themselves, by their value.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        plain[byte as usize] = byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b'\'');
        byte += 1;
    }
    plain
};
