//! Why a request is not believed. One code per cause, the same in every client and in the test vectors.

/// The cause of a refusal. Never holds a value of the request, only names of headers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The request names no host.
    #[error("the request has no authority")]
    NoAuthority,
    /// A header that must be there is not.
    #[error("header `{0}` is missing")]
    Missing(String),
    /// A header occurs more than once.
    #[error("header `{0}` is repeated")]
    Repeated(String),
    /// `Signature-Input` or `Signature` is not what the proxy writes.
    #[error("the signature fields are malformed")]
    MalformedSignature,
    /// A header of the context namespace stands outside the signature.
    #[error("header `{0}` is not covered by the signature")]
    NotCovered(String),
    /// The signature does not cover what it must.
    #[error("component `{0}` is not covered by the signature")]
    MissingComponent(String),
    /// The signature covers something that the proxy never covers.
    #[error("component `{0}` is unexpected")]
    UnexpectedComponent(String),
    /// No key of this id is known.
    #[error("the key is unknown")]
    UnknownKey,
    /// The algorithm named is not the one of the key.
    #[error("the algorithm does not fit the key")]
    WrongAlgorithm,
    /// The signature is for something else, or by somebody else.
    #[error("the signature does not match")]
    Mismatch,
    /// The time of validity is over.
    #[error("the signature or token has expired")]
    Expired,
    /// It is dated in the future.
    #[error("the signature or token is not valid yet")]
    NotYetValid,
    /// It claims a longer validity than this verifier accepts.
    #[error("the signature or token is valid for too long")]
    TooLongLived,
    /// The token is not a JWT of the kind the proxy makes.
    #[error("the token is malformed")]
    MalformedToken,
    /// The token is for another application.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The token is from another issuer.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// A value is not in its documented form.
    #[error("the value of `{0}` is malformed")]
    MalformedValue(String),
    /// Two statements about the same thing differ.
    #[error("two statements about `{0}` contradict each other")]
    Contradiction(&'static str),
}

impl VerifyError {
    /// The stable word for the cause.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoAuthority => "no_authority",
            Self::Missing(_) => "missing",
            Self::Repeated(_) => "repeated",
            Self::MalformedSignature => "malformed_signature",
            Self::NotCovered(_) => "not_covered",
            Self::MissingComponent(_) => "missing_component",
            Self::UnexpectedComponent(_) => "unexpected_component",
            Self::UnknownKey => "unknown_key",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::Mismatch => "mismatch",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::TooLongLived => "too_long_lived",
            Self::MalformedToken => "malformed_token",
            Self::WrongAudience => "wrong_audience",
            Self::WrongIssuer => "wrong_issuer",
            Self::MalformedValue(_) => "malformed_value",
            Self::Contradiction(_) => "contradiction",
        }
    }
}
