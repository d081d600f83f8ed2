//! Who is logged in to the page: random cookies, known here by their hash, for an hour at most. They end with this process
//! and with the token that opened them.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::session::cookie::ADMIN;

/// How long a login lasts, used or not.
const LIFETIME: Duration = Duration::from_hours(1);
/// How many are remembered; one more pushes the oldest out.
const MOST: usize = 64;

type Hash = [u8; 32];

#[derive(Debug)]
struct Login {
    cookie: Hash,
    token: Hash,
    ends: Timestamp,
}

/// The logins, oldest first. Invariant: never more than [`MOST`].
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<VecDeque<Login>>);

impl Logins {
    /// Begins a login of somebody who has shown `token`; answers the cookie.
    ///
    /// # Panics
    /// When the system has no randomness, without which nothing may go on.
    pub(super) fn begin(&self, token: &Secret, now: Timestamp) -> HeaderValue {
        let mut random = [0; 32];
        SystemRandom::new().fill(&mut random).expect("the operating system gives randomness");
        let value = URL_SAFE_NO_PAD.encode(random);
        let login =
            Login { cookie: hash(value.as_bytes()), token: hash(token.expose()), ends: now.plus(LIFETIME) };
        let mut logins = self.0.lock();
        if logins.len() == MOST {
            logins.pop_front();
        }
        logins.push_back(login);
        cookie(&value, LIFETIME)
    }

    /// Whether the request carries the cookie of a login that is not over, opened with the token in force.
    pub(super) fn knows(&self, headers: &HeaderMap, token: &Secret, now: Timestamp) -> bool {
        let mut logins = self.0.lock();
        logins.retain(|login| now < login.ends);
        let token = hash(token.expose());
        carried(headers)
            .any(|cookie| logins.iter().any(|login| login.cookie == cookie && login.token == token))
    }

    /// Ends the login whose cookie the request carries; answers the cookie that takes it away.
    pub(super) fn end(&self, headers: &HeaderMap) -> HeaderValue {
        let mut logins = self.0.lock();
        for cookie in carried(headers) {
            logins.retain(|login| login.cookie != cookie);
        }
        cookie("", Duration::ZERO)
    }
}

fn cookie(value: &str, lifetime: Duration) -> HeaderValue {
    let text = format!("{ADMIN}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", lifetime.as_secs());
    HeaderValue::try_from(text).expect("base64 is visible ASCII")
}

/// The hashes of all values of our cookie. What is compared is a hash, so that the comparison tells nothing (THREATS C7).
fn carried(headers: &HeaderMap) -> impl Iterator<Item = Hash> {
    let fields = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = fields.flat_map(|field| field.split(|byte| *byte == b';'));
    let values =
        pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(ADMIN.as_bytes())?.strip_prefix(b"="));
    values.map(hash)
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookie: &HeaderValue) -> HeaderMap {
        let text = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(format!("a=b; {text}")).unwrap())])
    }

    #[test]
    fn a_login_lasts_an_hour_and_ends_with_its_token_and_at_the_log_out() {
        let (logins, token) = (Logins::default(), Secret::from("0123456789abcdef"));
        let at = Timestamp::from_secs;
        let cookie = logins.begin(&token, at(0));
        let text = cookie.to_str().unwrap();
        assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=3600"), "{text}");
        let headers = sent(&cookie);
        assert!(logins.knows(&headers, &token, at(3599)));
        assert!(!logins.knows(&headers, &Secret::from("another token 16"), at(1)));
        assert!(!logins.knows(&HeaderMap::new(), &token, at(1)));
        let forged = HeaderValue::from_static("countersign-admin=AAAA");
        assert!(!logins.knows(&sent(&forged), &token, at(1)));
        assert!(!logins.knows(&headers, &token, at(3600)));

        let headers = sent(&logins.begin(&token, at(0)));
        assert!(logins.knows(&headers, &token, at(1)));
        assert!(logins.end(&headers).to_str().unwrap().contains("countersign-admin=; "));
        assert!(!logins.knows(&headers, &token, at(1)));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (logins, token) = (Logins::default(), Secret::from("0123456789abcdef"));
        let now = Timestamp::from_secs(1);
        let first = sent(&logins.begin(&token, now));
        let others: Vec<_> = (0..MOST).map(|_| sent(&logins.begin(&token, now))).collect();
        assert!(!logins.knows(&first, &token, now));
        assert!(others.iter().all(|other| logins.knows(other, &token, now)));
    }
}
