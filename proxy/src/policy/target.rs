//! One canonical form of a request target, used for policy, for signing and for forwarding (THREATS R1 to R8).

use crate::reason::Reason;

/// A request target that reads the same everywhere: origin form, no dot segments, no doubled or encoded separators.
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
    pub fn parse(_raw: &[u8], _limit: usize) -> Result<(Self, Option<String>), Reason> {
        todo!()
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
