//! From the bytes of a cookie to the value that the framework would see, where there is one way to read them. What a
//! framework refuses is refused here; what frameworks read in different ways is refused too.

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
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b'\'');
        if value.is_empty() || !value.iter().all(plain) || (self.form && value.contains(&b'+')) {
            return None;
        }
        if self.percent { decoded(value) } else { Some(value.to_vec()) }
    }

    /// Whether the framework would take a cookie that is called `other` for the one called `name`, or might: names are
    /// compared after undoing what some versions undo.
    #[must_use]
    pub fn confuses(self, other: &[u8], name: &str) -> bool {
        if other == name.as_bytes() {
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

/// Without percent-encoding; `None` when an escape is not two hexadecimal digits.
fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(out)
}
