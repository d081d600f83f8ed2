//! Who is asking: the immutable snapshot that one request is served with, from its first byte to its last.
//! Plain data; nothing here does I/O, knows HTTP or reads the clock.

mod entities;
mod foreign;
mod ids;
mod last_use;
mod password;
mod session;

use std::sync::Arc;

pub use entities::{Platform, SealedCredential, User};
pub use foreign::ForeignRecord;
pub use ids::{IdError, PlatformId, SessionId, UserId};
pub use last_use::LastUse;
pub use password::{Password, PasswordClaim, PasswordKey, PasswordKeys, PasswordMark, digest_of};
pub use session::Session;

use crate::reason::Reason;

/// What one request may know about who sent it.
///
/// Invariant: when it was made the session was live, the user active, and the platform, if there is one,
/// active and owned by the user.
#[derive(Clone, Debug)]
pub struct Context {
    /// The session that was validated.
    pub session: Arc<Session>,
    /// The user the session belongs to.
    pub user: Arc<User>,
    /// The platform in force, if any.
    pub platform: Option<Arc<Platform>>,
    /// Why there is no platform although one was chosen: it is gone, inactive or somebody else's.
    pub platform_refused: bool,
    /// When the session was last used, as far as anyone knows; moved on by every use that is noted here.
    pub last_seen: LastUse,
    /// The slowest layer that had to be asked.
    pub layer: Layer,
    /// What the session says of the password with which it began, where that is compared.
    pub password: Option<Box<PasswordClaim>>,
}

impl Context {
    /// The same context without a platform; `refused` says whether one was named that cannot be used.
    #[must_use]
    pub fn without_platform(&self, refused: bool) -> Self {
        Self { platform: None, platform_refused: refused, ..self.clone() }
    }
}

/// A client's certificate that led to an authority of the listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate (DER) in hexadecimal: 64 characters.
    pub fingerprint: String,
    /// Its subject, as in `CN=ana, O=Example`; any text, chosen by whoever asked the authority for the certificate.
    pub subject: String,
}

/// Where an answer came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Layer {
    /// The memory of this process.
    Process,
    /// Redis, or the embedded store.
    Store,
    /// Postgres, or the embedded directory.
    Directory,
}

impl Layer {
    /// The word used in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Store => "store",
            Self::Directory => "directory",
        }
    }
}

/// The three outcomes of resolving a session. They never stand in for each other.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// The session is valid, and this is its context.
    Known(Arc<Context>),
    /// There is certainly no valid session; the reason says why.
    Unknown(Reason),
    /// The stores could not say.
    Undetermined(Reason),
}

/// What the signed context tells an application about identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authn {
    /// A valid session.
    Session,
    /// Checked: nobody.
    None,
    /// The route did not ask.
    Unchecked,
    /// The route asked, the stores could not say, and the route lets that pass.
    Undetermined,
}

impl Authn {
    /// The value of the `authn` context header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::None => "none",
            Self::Unchecked => "unchecked",
            Self::Undetermined => "undetermined",
        }
    }
}
