//! Bytes that are read from the front; every length is checked against what is left before anything is done with it.

use super::value::DecodeError;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
    kind: &'static str,
}

impl<'a> Input<'a> {
    /// Reads `bytes`; `kind` names the format in errors.
    pub(super) const fn new(bytes: &'a [u8], kind: &'static str) -> Self {
        Self { rest: bytes, kind }
    }

    /// The error for bytes that break the grammar.
    pub(super) const fn malformed(&self) -> DecodeError {
        DecodeError::Malformed(self.kind)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    /// As [`Input::take`], for lengths that were written with 64 bits.
    pub(super) fn take_long(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        self.take(usize::try_from(length).map_err(|_| self.malformed())?)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Everything before the next `end`, which is read over.
    pub(super) fn until(&mut self, end: u8) -> Result<&'a [u8], DecodeError> {
        let at = memchr::memchr(end, self.rest).ok_or(self.malformed())?;
        let taken = self.take(at)?;
        self.take(1)?;
        Ok(taken)
    }

    pub(super) fn expect(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        if self.take(bytes.len())? == bytes { Ok(()) } else { Err(self.malformed()) }
    }

    /// A whole number in decimal digits up to `end`: `-` at most, no `+`, no white space.
    pub(super) fn decimal(&mut self, end: u8) -> Result<i64, DecodeError> {
        let digits = self.until(end)?;
        if digits.first() == Some(&b'+') {
            return Err(self.malformed());
        }
        std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(self.malformed())
    }

    /// A length in decimal digits up to `end`.
    pub(super) fn length(&mut self, end: u8) -> Result<usize, DecodeError> {
        usize::try_from(self.decimal(end)?).map_err(|_| self.malformed())
    }
}
