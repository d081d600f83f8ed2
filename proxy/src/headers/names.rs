//! The one table of context header names, and which names a client may never send.
//! Names are compared in canonical form, because CGI, WSGI and PHP fold `-`, `_` and `.` together (THREATS H2, H3).

use std::collections::HashMap;

use http::HeaderName;
use parking_lot::Mutex;

use super::Settings;

macro_rules! context_headers {
    ($($(#[doc = $doc:literal])+ $name:ident = $suffix:literal;)+) => {
        /// The context headers, by what they tell.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ContextHeader {
            $($(#[doc = $doc])+ $name,)+
        }

        impl ContextHeader {
            /// Every context header, in the order in which they are sent.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name without the configured prefix.
            #[must_use]
            pub const fn suffix(self) -> &'static str {
                match self { $(Self::$name => $suffix),+ }
            }
        }
    };
}

context_headers! {
    /// What is known about identity: `session`, `none`, `unchecked` or `undetermined`.
    Authn = "authn";
    /// The session id: base64url(SHA-256(token)).
    SessionId = "session-id";
    /// The user's id; opaque.
    UserId = "user-id";
    /// The user's name; display data.
    UserName = "user-name";
    /// The user's roles, separated by commas.
    Roles = "roles";
    /// The id of the platform in force; opaque.
    PlatformId = "platform-id";
    /// What kind of service the platform is.
    PlatformType = "platform-type";
    /// The platform's name; display data.
    PlatformName = "platform-name";
    /// Where the platform is.
    PlatformUrl = "platform-url";
    /// When the user last logged in, in seconds since the Unix epoch.
    AuthTime = "auth-time";
    /// The id of this request; also the nonce of the message signature.
    RequestId = "request-id";
    /// Who acts for the user.
    ActorId = "actor-id";
    /// The client's certificate, where the listener asks for one: its fingerprint and its subject.
    ClientCertificate = "client-certificate";
    /// The user's settings for the platform, as JSON.
    Settings = "settings";
    /// Figures about the user's platform, as JSON.
    Stats = "stats";
    /// The opened credential of the platform.
    PlatformAuthorization = "platform-authorization";
    /// The same facts about the session as a signed token.
    Jwt = "jwt";
}

/// `Signature-Input` (RFC 9421, section 4.1).
pub const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// `Signature` (RFC 9421, section 4.2).
pub const SIGNATURE: HeaderName = HeaderName::from_static("signature");

/// The names in force, built once per configuration.
#[derive(Clone, Debug)]
pub struct Names {
    table: &'static [HeaderName],
    /// Canonical form of the prefix without its last separator: the namespace that is closed to everybody else.
    root: Box<[u8]>,
}

/// The prefix cannot be the beginning of header names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a header prefix has 3 to 64 lower-case letters, digits and dashes, begins with a letter and ends with a dash"
)]
pub struct BadPrefix;

impl Names {
    /// The names of [`Settings::prefix`].
    ///
    /// # Errors
    /// When the prefix is not usable.
    pub fn of_settings(settings: &Settings) -> Result<Self, BadPrefix> {
        Self::new(&settings.prefix)
    }

    /// The names that begin with `prefix`.
    ///
    /// # Errors
    /// When the prefix is not 3 to 64 lower-case letters, digits and dashes, from a letter to a dash.
    pub fn new(prefix: &str) -> Result<Self, BadPrefix> {
        let fits = (3..=64).contains(&prefix.len())
            && prefix.starts_with(|first: char| first.is_ascii_lowercase())
            && prefix.ends_with('-')
            && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            return Err(BadPrefix);
        }
        let root = prefix.as_bytes()[..prefix.len() - 1].into();
        Ok(Self { table: table(prefix)?, root })
    }

    /// The full name of a context header.
    #[must_use]
    pub fn of(&self, header: ContextHeader) -> &HeaderName {
        // The discriminants of `ContextHeader` are the positions in `ALL`, from which the table is made.
        &self.table[header as usize]
    }

    /// Whether `name`, in any spelling that somebody may fold into ours, is closed to clients and upstreams:
    /// the context namespace, signatures, our directives, and what overrides method or path.
    #[must_use]
    pub fn reserved(&self, name: &str) -> bool {
        let name = without_leading_separators(name.as_bytes());
        in_namespace(name, &self.root)
            || match name.first() {
                Some(b's' | b'S') => begins(name, b"signature"),
                Some(b'a' | b'A') => begins(name, b"accept-signature"),
                Some(b'c' | b'C') => in_namespace(name, b"countersign"),
                // CGI turns `Proxy` into HTTP_PROXY, which HTTP clients of the application obey.
                Some(b'p' | b'P') => equals(name, b"proxy"),
                Some(b'x' | b'X') => OVERRIDES.iter().any(|fixed| equals(name, fixed)),
                _ => false,
            }
    }
}

/// The full names under a prefix that was checked. They stay in memory for good, one table for each prefix that was ever
/// configured, so that copying a name counts no reference: all threads would write to that one counter.
fn table(prefix: &str) -> Result<&'static [HeaderName], BadPrefix> {
    static TABLES: Mutex<Option<HashMap<String, &'static [HeaderName]>>> = Mutex::new(None);
    let mut tables = TABLES.lock();
    let tables = tables.get_or_insert_default();
    if let Some(table) = tables.get(prefix) {
        return Ok(table);
    }
    let mut names = Vec::with_capacity(ContextHeader::ALL.len());
    for header in ContextHeader::ALL {
        let name = format!("{prefix}{}", header.suffix());
        HeaderName::from_lowercase(name.as_bytes()).map_err(|_| BadPrefix)?;
        names.push(HeaderName::from_static(name.leak()));
    }
    let table: &'static [HeaderName] = names.leak();
    tables.insert(prefix.to_owned(), table);
    Ok(table)
}

/// Fields by which frameworks replace the path or the method that policy saw (THREATS H11).
const OVERRIDES: [&[u8]; 12] = [
    b"x-original-url",
    b"x-original-uri",
    b"x-original-path",
    b"x-original-method",
    b"x-rewrite-url",
    b"x-rewrite-uri",
    b"x-override-url",
    b"x-http-method-override",
    b"x-http-method",
    b"x-method-override",
    b"x-method",
    b"x-http-path-override",
];

/// Whether frameworks that fold `-`, `_` and `.` together would take one name for the other.
#[must_use]
pub fn alike(one: &HeaderName, other: &HeaderName) -> bool {
    let (one, other) = (one.as_str().as_bytes(), other.as_str().as_bytes());
    one.len() == other.len() && one.iter().zip(other).all(|(&a, &b)| canonical(a) == canonical(b))
}

/// Lower case, and one separator for every byte that is neither letter nor digit.
const fn canonical(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// The name as a reader sees it who drops separators in front.
pub(super) fn without_leading_separators(name: &[u8]) -> &[u8] {
    match name.first() {
        Some(first) if !first.is_ascii_alphanumeric() => {
            &name[name.iter().position(u8::is_ascii_alphanumeric).unwrap_or(name.len())..]
        }
        _ => name,
    }
}

/// What follows `root` in `name`, if its canonical form begins so. `root` is canonical itself; several separators count
/// as one.
fn rest<'a>(name: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    let mut at = 0;
    for &wanted in root {
        if canonical(*name.get(at)?) != wanted {
            return None;
        }
        at += 1;
        while wanted == b'-' && name.get(at).is_some_and(|&next| canonical(next) == b'-') {
            at += 1;
        }
    }
    Some(&name[at..])
}

/// Whether the canonical form of `name` begins with `root`.
pub(super) fn begins(name: &[u8], root: &[u8]) -> bool {
    rest(name, root).is_some()
}

/// Whether the canonical form of `name` is `root`.
pub(super) fn equals(name: &[u8], root: &[u8]) -> bool {
    rest(name, root).is_some_and(<[u8]>::is_empty)
}

/// Whether `name` is `root` or lies below it.
pub(super) fn in_namespace(name: &[u8], root: &[u8]) -> bool {
    rest(name, root).is_some_and(|rest| rest.first().is_none_or(|&next| canonical(next) == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("x-context-").unwrap()
    }

    #[test]
    fn the_table_holds_every_context_header_under_its_prefix() {
        let names = names();
        for &header in ContextHeader::ALL {
            assert_eq!(names.of(header).as_str(), format!("x-context-{}", header.suffix()));
            assert!(names.reserved(names.of(header).as_str()));
        }
    }

    #[test]
    fn the_header_that_names_the_platform_is_known_in_every_spelling() {
        let name = |text: &str| HeaderName::try_from(text).unwrap();
        for (text, expected) in [
            ("X-Platform", true),
            ("x_platform", true),
            ("x.platform", true),
            ("x-platform-2", false),
            ("platform", false),
        ] {
            assert_eq!(alike(&name(text), &name("x-platform")), expected, "{text}");
        }
    }

    #[test]
    fn spellings_that_frameworks_fold_together_are_reserved() {
        for name in [
            "X-Context-User-Id",
            "x_context_user_id",
            "X.Context.User.Id",
            "x-context_user~id",
            "x-context",
            "x-context-not-yet-invented",
            "x!context!authn",
            "x--context-user-id",
            "X-_Context__User-Id",
            "_x_context_user_id",
            "--x-context",
            "signature--input",
            "-Signature",
            "x-original--url",
            "Signature",
            "signature_input",
            "Accept-Signature",
            "accept.signature",
            "signature-agent",
            "Countersign-Session",
            "countersign_session",
            "countersign",
            "X-Original-URL",
            "x_rewrite_url",
            "X-HTTP-Method-Override",
            "Proxy",
        ] {
            assert!(names().reserved(name), "{name}");
        }
    }

    #[test]
    fn ordinary_names_are_nobodys_business() {
        for name in [
            "accept",
            "cookie",
            "x-contextual",
            "x-contex",
            "x-request-id",
            "sec-fetch-site",
            "proxy-authorization",
            "content-type",
            "x-csrf-token",
            "countersigned",
            "sign",
            "",
        ] {
            assert!(!names().reserved(name), "{name}");
        }
    }

    #[test]
    fn a_prefix_that_is_no_prefix_is_refused() {
        for prefix in ["", "-", "x", "x-context", "X-Context-", "x context-", "9-a-", "x-context-\u{e9}-"] {
            assert!(Names::new(prefix).is_err(), "{prefix:?}");
        }
    }
}
