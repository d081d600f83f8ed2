//! Sessions that other frameworks made: how their cookie is read and verified, where they lie in Redis, how they are
//! written, where in them the ids are, and when they end. Pure: no I/O, no clock. Nothing here ever writes a session,
//! runs what one contains, or goes deeper or further than its limits.

pub mod decode;
pub mod envelope;
pub mod expiry;
mod input;
pub mod locate;
pub mod preset;
pub mod spelling;
pub mod table;
pub mod trace;
pub mod value;
pub mod verify;

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use self::decode::{Decoder, Raw};
use self::expiry::Expiry;
use self::locate::Path;
use self::spelling::{Spelling, Written};
use self::table::Table;
use self::value::{DecodeError, Decoded};
use self::verify::Verification;
use crate::clock::Timestamp;
use crate::context::{PasswordKey, PlatformId, SessionId, UserId, digest_of};
use crate::secret::Secret;

/// One format: everything that is to be known about the sessions of one application.
#[derive(Clone, Debug)]
pub struct Format {
    /// The word for it in configuration and logs.
    pub name: &'static str,
    /// Name of the session cookie.
    pub cookie: String,
    /// How its value is spelled.
    pub spelling: Spelling,
    /// How the framework proves that it made the cookie.
    pub verification: Verification,
    /// What stands around the id in the cookie, and is no part of it: Koa writes the prefix of the key, servers behind
    /// a balancer their own name.
    pub around: (String, String),
    /// What an id looks like. Whatever does not is never looked for.
    pub id: IdShape,
    /// What the session's key begins with.
    pub prefix: String,
    /// What stands behind the prefix.
    pub key: KeyForm,
    /// How the session is written.
    pub decoder: Decoder,
    /// Where in it the ids and times are.
    pub locator: Locator,
    /// When it ends.
    pub expiry: Expiry,
    /// Whether a session that is ended through us is deleted where it lies.
    pub delete_on_logout: bool,
    /// The table that it lies in, if it does not lie in Redis alone.
    pub table: Option<Table>,
    /// The keys under which the application marks a session with its user's password, where that is compared.
    pub passwords: Option<Arc<[PasswordKey]>>,
}

/// Why a cookie or what it leads to is no session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The cookie is not spelled as the framework spells it, or would be read by it in another way.
    #[error("the cookie is not spelled as the framework spells it")]
    Spelling,
    /// There is no signature where one has to be.
    #[error("the cookie is not signed")]
    Unsigned,
    /// The signature fits none of the secrets.
    #[error("the signature fits none of the secrets")]
    Forged,
    /// The id has characters or a length that ids of this framework do not have.
    #[error("the id does not look like one of this framework")]
    IdShape,
    /// The session cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// A session without a user: nobody is logged in.
    #[error("nobody is logged in")]
    Anonymous,
    /// What stands where an id or a time should is none, or stands there twice.
    #[error("an id or a time in the session cannot be used")]
    Unusable,
    /// The session's time is over.
    #[error("the session has ended")]
    Expired,
    /// Redis would keep the session for ever, and nothing in it says when it ends.
    #[error("the session has no end")]
    Endless,
    /// It does not say with which password it began, where that is compared.
    #[error("the session does not say with which password it began")]
    Passwordless,
    /// The session says of itself that it is not active.
    #[error("the session is not active")]
    Inactive,
}

/// What a genuine cookie claims.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// SHA-256 of the session's key: the name of the session wherever something of ours is kept about it.
    pub session: SessionId,
    /// The key of the session in Redis. It contains the id, and is as secret as the cookie.
    pub key: Secret,
    /// The key of its row, where it may lie in a table.
    pub row: Option<Secret>,
    /// When the cookie itself ends.
    pub ends: Option<Timestamp>,
}

/// What a session says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Whose session it is.
    pub user: UserId,
    /// The platform that was chosen, if the application keeps one.
    pub platform: Option<PlatformId>,
    /// When it began, if it says so.
    pub created: Option<Timestamp>,
    /// When the user last logged in, if it says so.
    pub authenticated: Option<Timestamp>,
    /// When it ends, as things stand.
    pub ends: Timestamp,
    /// What it says of the password with which it began, where that is compared.
    pub password: Option<[u8; 32]>,
}

/// What an id looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdShape {
    /// Its characters.
    pub alphabet: Alphabet,
    /// Shortest length.
    pub shortest: usize,
    /// Longest length.
    pub longest: usize,
}

/// The characters of ids. None has a `:`, `*`, `/` or white space, so that no cookie leads to a key of another kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alphabet {
    /// `0-9 a-f`
    Hex,
    /// `0-9 a-z`
    LowerAlphanumeric,
    /// `0-9 A-Z a-z`
    Alphanumeric,
    /// `0-9 A-Z a-z - _`
    UrlSafe,
    /// `0-9 A-Z a-z - ,`: PHP's own
    Php,
    /// A UUID: 8-4-4-4-12 hexadecimal digits in small letters.
    Uuid,
}

/// How the id stands in the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyForm {
    /// As it is.
    Plain,
    /// `2::` and the SHA-256 of it in hexadecimal digits: Rails, so that a leaked key is no cookie.
    RailsPrivate,
    /// base64url of its SHA-256: scs with `HashTokenInStore`.
    Hashed,
}

/// Paths to what matters; of each list the first that leads to something.
#[derive(Clone, Debug, Default)]
pub struct Locator {
    /// The user's id.
    pub user: Vec<Path>,
    /// The platform's id.
    pub platform: Vec<Path>,
    /// When the session began.
    pub created: Vec<Path>,
    /// When the user logged in.
    pub authenticated: Vec<Path>,
    /// The session counts only while the text there is `true`, if there is one.
    pub active: Option<Path>,
    /// What is said there of the password is compared.
    pub password: Option<Path>,
    /// Numbers are JavaScript's: whole ones beyond 2^53 are not what the application sees.
    pub is_javascript: bool,
}

impl Format {
    /// Name of the cookie that signs the session cookie, if this format has one.
    #[must_use]
    pub fn signature_cookie(&self) -> Option<String> {
        self.verification.needs_signature_cookie().then(|| format!("{}.sig", self.cookie))
    }

    /// Verifies a cookie. No I/O: a forged one costs nothing.
    ///
    /// # Errors
    /// It is not one that this framework made.
    pub fn claim(&self, cookie: Written<'_>, signature: Option<Written<'_>>) -> Result<Claimed, Refusal> {
        let value = self.spelling.read(cookie).ok_or(Refusal::Spelling)?;
        let signature = match signature {
            Some(signature) => Some(self.spelling.read(signature).ok_or(Refusal::Spelling)?),
            None => None,
        };
        let proven = self.verification.verify(&self.cookie, &value, signature.as_deref())?;
        let whole = proven.id.expose_text().map_err(|_| Refusal::IdShape)?;
        let bare = whole.strip_prefix(self.around.0.as_str()).unwrap_or(whole);
        let bare = bare.strip_suffix(self.around.1.as_str()).unwrap_or(bare);
        let id = Some(bare).filter(|id| self.id.fits(id)).ok_or(Refusal::IdShape)?;
        let form = self.key.of(id);
        let key = [self.prefix.as_str(), form.as_str()].concat();
        let row = self.table.as_ref().map(|table| format!("{}{form}", table.prefix));
        // Named apart, so that a row is never taken for a key of Redis; triggers name it in the same way.
        let session = match (&self.table, &row) {
            (Some(Table { behind_store: false, .. }), Some(row)) => {
                SessionId::of_token(format!("table:{row}").as_bytes())
            }
            _ => SessionId::of_token(key.as_bytes()),
        };
        let row = row.map(|row| Secret::new(row.into_bytes()));
        Ok(Claimed { session, key: Secret::new(key.into_bytes()), row, ends: proven.ends })
    }

    /// Whether it lies in Redis, or may.
    #[must_use]
    pub fn is_in_store(&self) -> bool {
        self.table.as_ref().is_none_or(|table| table.behind_store)
    }

    /// Reads what lies under a claimed key. `ends` is when Redis will drop it, as far as it will.
    ///
    /// # Errors
    /// It is not a session in which somebody is logged in.
    pub fn read(&self, raw: &Raw, ends: Option<Timestamp>, now: Timestamp) -> Result<Found, Refusal> {
        let session = self.decoder.decode(raw)?;
        read(&session, &self.locator, &self.expiry, ends, now)
    }
}

/// What a decoded session says.
fn read(
    session: &Decoded,
    locator: &Locator,
    expiry: &Expiry,
    ends: Option<Timestamp>,
    now: Timestamp,
) -> Result<Found, Refusal> {
    check_active(session, locator)?;
    let ends = expiry.end(session, ends)?;
    if ends <= now {
        return Err(Refusal::Expired);
    }
    let user =
        locate::identifier(session, &locator.user, locator.is_javascript)?.ok_or(Refusal::Anonymous)?;
    let user = user.parse().map_err(|_| Refusal::Unusable)?;
    let mut found = Found { user, platform: None, created: None, authenticated: None, ends, password: None };
    complete(&mut found, session, locator)?;
    Ok(found)
}

/// What a session says beside whose it is.
fn complete(found: &mut Found, session: &Decoded, locator: &Locator) -> Result<(), Refusal> {
    let platform = locate::identifier(session, &locator.platform, locator.is_javascript)?;
    found.platform = platform.map(|id| id.parse()).transpose().map_err(|_| Refusal::Unusable)?;
    found.created = locate::moment(session, &locator.created)?.or(session.created);
    found.authenticated = locate::moment(session, &locator.authenticated)?;
    if let Some(path) = &locator.password {
        let Some(value::Node::Text(text)) = locate::follow(session, path)? else {
            return Err(Refusal::Passwordless);
        };
        found.password = Some(digest_of(text).ok_or(Refusal::Passwordless)?);
    }
    Ok(())
}

fn check_active(session: &Decoded, locator: &Locator) -> Result<(), Refusal> {
    let Some(active) = &locator.active else { return Ok(()) };
    match locate::follow(session, active)? {
        None | Some(value::Node::Bool(true)) => Ok(()),
        Some(value::Node::Text(text)) if **text == *b"true" => Ok(()),
        Some(_) => Err(Refusal::Inactive),
    }
}

impl IdShape {
    /// Whether `id` looks like this.
    #[must_use]
    pub fn fits(&self, id: &str) -> bool {
        if !(self.shortest..=self.longest).contains(&id.len()) {
            return false;
        }
        let letters = match self.alphabet {
            Alphabet::Hex => &HEX,
            Alphabet::LowerAlphanumeric => &LOWER_ALPHANUMERIC,
            Alphabet::Alphanumeric => &ALPHANUMERIC,
            Alphabet::UrlSafe => &URL_SAFE_LETTERS,
            Alphabet::Php => &PHP_LETTERS,
            Alphabet::Uuid if !has_hyphens_of_uuid(id) => return false,
            Alphabet::Uuid => &UUID_LETTERS,
        };
        id.bytes().all(|byte| letters[usize::from(byte)])
    }
}

/// Which bytes belong to an alphabet: looked up, because every request asks for every byte of an id.
type Letters = [bool; 256];

static HEX: Letters = letters(b"09af", b"");
static UUID_LETTERS: Letters = letters(b"09af", b"-");
static LOWER_ALPHANUMERIC: Letters = letters(b"09az", b"");
static ALPHANUMERIC: Letters = letters(b"09azAZ", b"");
static URL_SAFE_LETTERS: Letters = letters(b"09azAZ", b"-_");
static PHP_LETTERS: Letters = letters(b"09azAZ", b"-,");

/// The bytes between each two of `ranges`, and `others`.
const fn letters(ranges: &[u8], others: &[u8]) -> Letters {
    let mut all = [false; 256];
    let mut at = 0;
    while at + 1 < ranges.len() {
        let mut byte = ranges[at];
        while byte <= ranges[at + 1] {
            all[byte as usize] = true;
            byte += 1;
        }
        at += 2;
    }
    at = 0;
    while at < others.len() {
        all[others[at] as usize] = true;
        at += 1;
    }
    all
}

fn has_hyphens_of_uuid(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| (byte == b'-') == matches!(at, 8 | 13 | 18 | 23))
}

impl KeyForm {
    fn of(self, id: &str) -> String {
        match self {
            Self::Plain => id.to_owned(),
            Self::RailsPrivate => format!("2::{}", hex(&Sha256::digest(id.as_bytes()))),
            Self::Hashed => URL_SAFE_NO_PAD.encode(Sha256::digest(id.as_bytes())),
        }
    }
}

/// Small hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
