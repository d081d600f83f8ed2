//! The host of a request: validated once, in one place (THREATS R9).

use crate::reason::Reason;

/// A host, lower case, and perhaps a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    text: String,
    host_len: usize,
}

impl Authority {
    /// Reads `host[:port]` or `[v6][:port]`.
    ///
    /// # Errors
    /// `BadHost`.
    pub fn parse(_raw: &[u8]) -> Result<Self, Reason> {
        todo!()
    }

    /// The host without port, lower case.
    pub fn host(&self) -> &str {
        &self.text[..self.host_len]
    }

    /// Host and port, lower case, as forwarded and signed.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
