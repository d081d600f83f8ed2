//! One canonical form of a request target, used for policy, for signing and for forwarding (THREATS R1 to R8).
//! A target that two parsers could read differently is refused, never rewritten: what policy saw is what goes on,
//! byte for byte. Absolute form is the one exception: it is reduced to its path and query.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::reason::Reason;

/// A request target that reads the same everywhere: origin form, no dot segments, no doubled or encoded separators.
///
/// Invariant: visible ASCII; the path is `*` or begins with exactly one `/`; its escapes are valid, decode to UTF-8
/// without control characters, and to nothing that is an escape, a separator or a dot segment again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    text: String,
    path_len: usize,
}

impl Target {
    /// Judges a raw target. `authority` is set when it was in absolute form.
    ///
    /// # Errors
    /// `AmbiguousPath`, `MalformedRequest` or `TargetTooLong`.
    pub fn parse(raw: &[u8], limit: usize) -> Result<(Self, Option<String>), Reason> {
        if raw.len() > limit {
            return Err(Reason::TargetTooLong);
        }
        let visible = raw.iter().all(u8::is_ascii_graphic);
        let raw = std::str::from_utf8(raw).ok().filter(|_| visible).ok_or(Reason::MalformedRequest)?;
        // A fragment never travels; who sends one hopes that one parser stops there (CVE-2026-41059).
        if raw.contains('#') {
            return Err(Reason::AmbiguousPath);
        }
        if raw == "*" {
            return Ok((Self { text: raw.to_owned(), path_len: 1 }, None));
        }
        if raw.starts_with('/') {
            return Ok((Self::from_origin_form(raw.to_owned())?, None));
        }
        let (authority, rest) = split_absolute(raw).ok_or(Reason::MalformedRequest)?;
        let origin_form = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        Ok((Self::from_origin_form(origin_form)?, Some(authority.to_owned())))
    }

    fn from_origin_form(text: String) -> Result<Self, Reason> {
        let path_len = text.find('?').unwrap_or(text.len());
        check_path(&text[..path_len])?;
        Ok(Self { text, path_len })
    }

    /// The path, beginning with `/` (or `*`).
    pub fn path(&self) -> &str {
        &self.text[..self.path_len]
    }

    /// What follows the first `?`, if there is one.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path_len + 1..)
    }

    /// Path and query as they are forwarded.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// `http(s)://authority` and what follows it.
fn split_absolute(raw: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = raw.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some(rest.split_at(authority_end))
}

fn check_path(path: &str) -> Result<(), Reason> {
    if path.contains('\\') || path.contains("//") {
        return Err(Reason::AmbiguousPath);
    }
    let decoded = if path.contains('%') { decode(path)? } else { Cow::Borrowed(path) };
    // Blanks around a segment are trimmed by some readers; and two blanks before the version arrive here as `%20`
    // at the end, because the HTTP layer mends them so.
    let padded = |segment: &str| segment.split(';').any(|part| part.trim() != part);
    let ambiguous = |segment: &str| padded(segment) || is_dot_segment(segment);
    if decoded.split('/').any(ambiguous) { Err(Reason::AmbiguousPath) } else { Ok(()) }
}

/// Decodes once, and refuses what a second reader could take for structure.
fn decode(path: &str) -> Result<Cow<'_, str>, Reason> {
    let mut rest = path.as_bytes();
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        rest = &rest[at + 1..];
        let value = escaped(rest).ok_or(Reason::AmbiguousPath)?;
        rest = &rest[2..];
        if matches!(value, b'/' | b'\\') {
            return Err(Reason::AmbiguousPath);
        }
    }
    // Overlong forms (`%c0%af`) are not UTF-8 and fall out here.
    let decoded = percent_decode(path.as_bytes()).decode_utf8().map_err(|_| Reason::AmbiguousPath)?;
    let ambiguous =
        decoded.chars().any(|c| c.is_control() || reads_as_structure(c)) || holds_escape(&decoded);
    if ambiguous { Err(Reason::AmbiguousPath) } else { Ok(decoded) }
}

/// Whether there is still an escape in what was decoded, however it was spelled before (`%2561`, `%25%36%31`): an
/// application that decodes twice would see something else than policy did.
fn holds_escape(decoded: &str) -> bool {
    memchr::memchr_iter(b'%', decoded.as_bytes()).any(|at| {
        let rest = &decoded.as_bytes()[at + 1..];
        escaped(rest).is_some() || matches!(rest, [b'u' | b'U', ..])
    })
}

/// The byte that two hex digits stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    let value = char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Whether compatibility normalisation (NFKC), or a lossy conversion to a legacy code page, turns `c` into something
/// with `/`, `\`, `?`, `#`, `%` or `;` in it.
fn reads_as_structure(c: char) -> bool {
    matches!(
        c,
        '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff0f}' // slashes
        | '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}' // a/c, a/s, c/o, c/u
        | '\u{2216}' | '\u{29f5}' | '\u{29f9}' | '\u{fe68}' | '\u{ff3c}' // backslashes
        | '\u{2047}'
            ..='\u{2049}' | '\u{fe16}' | '\u{fe56}' | '\u{ff1f}' // question marks
        | '\u{fe5f}' | '\u{ff03}' | '\u{fe6a}' | '\u{ff05}' // number and percent signs
        | '\u{037e}' | '\u{fe14}' | '\u{fe54}' | '\u{ff1b}' // semicolons
    )
}

/// Whether a decoded segment is made of dots alone, for any reader: one that cuts at `;` (servlets), trims blanks
/// (Windows) or normalises look-alikes. Three and more dots go with them; no honest path needs those.
fn is_dot_segment(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or(segment);
    !name.is_empty()
        && name.chars().all(|c| {
            c.is_whitespace()
                || matches!(
                    c,
                    '.' | '\u{2024}'..='\u{2026}' | '\u{fe19}' | '\u{fe30}' | '\u{fe52}' | '\u{ff0e}'
                )
        })
}

#[cfg(test)]
mod tests;
