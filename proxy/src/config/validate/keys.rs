//! Judges `[keys]`: that what is needed is there, long enough, readable, and used for one purpose only.

use super::{Judge, NAME_EXPECTED, is_name, variable_problem};
use crate::config::problem::shown;
use crate::config::raw;
use crate::config::raw::traffic::{Sign, SignatureAlgorithm};
use crate::config::raw::values::SecretSource;
use crate::config::snapshot::Keys;
use crate::keys::{JwtAlgorithm, Key, SHORTEST_KEY, SigningKey};
use crate::secret::Secret;
use crate::signing::keyring::Keyring;

impl Judge<'_> {
    pub(super) fn keys(&mut self, file: &raw::File) -> Keys {
        let raw = &file.keys;
        let keys = Keys {
            token: self.symmetric("keys.token", &raw.token),
            csrf: self.symmetric("keys.csrf", &raw.csrf),
            sealing: self.symmetric("keys.sealing", &raw.sealing),
            hmac: self.symmetric("keys.hmac", &raw.hmac),
            jwt: self.jwt_keys(&raw.jwt),
            message: self.message_keys(&raw.message, &raw.jwt),
            fernet: self.fernet(&raw.fernet),
        };
        self.one_purpose_each(&keys);
        self.all_that_is_needed(file, keys.fernet.is_empty());
        keys
    }

    fn symmetric(&mut self, list: &str, raw: &[raw::SymmetricKey]) -> Vec<Key> {
        self.unique_ids(list, &[], raw.iter().map(|key| key.id.as_deref()));
        let mut keys = Vec::with_capacity(raw.len());
        for (index, key) in raw.iter().enumerate() {
            let at = format!("{list}[{index}].secret");
            let Some(secret) = self.secret_if_given(&at, key.secret.as_ref()) else { continue };
            self.long_enough(&at, &secret);
            keys.push(Key { id: key.id.clone().unwrap_or_default(), secret });
        }
        keys
    }

    fn jwt_keys(&mut self, raw: &[raw::JwtKey]) -> Vec<SigningKey> {
        self.unique_ids("keys.jwt", &[], raw.iter().map(|key| key.id.as_deref()));
        let mut keys = Vec::with_capacity(raw.len());
        for (index, key) in raw.iter().enumerate() {
            let at = format!("keys.jwt[{index}].secret");
            let Some(secret) = self.secret_if_given(&at, key.secret.as_ref()) else { continue };
            let algorithm = match key.algorithm {
                Some(raw::Algorithm::EdDsa) => JwtAlgorithm::EdDsa,
                Some(raw::Algorithm::Es256) => JwtAlgorithm::Es256,
                Some(raw::Algorithm::Hs256) => JwtAlgorithm::Hs256,
                None => continue,
            };
            let id = key.id.clone().unwrap_or_default();
            let key =
                SigningKey { id, algorithm, secret, active_from: key.active_from.as_ref().map(|m| m.0) };
            self.fits_algorithm(&at, &key);
            keys.push(key);
        }
        keys
    }

    fn message_keys(&mut self, raw: &[raw::MessageKey], jwt: &[raw::JwtKey]) -> Vec<SigningKey> {
        // Both kinds are published in one JWKS.
        let others: Vec<&str> = jwt.iter().filter_map(|key| key.id.as_deref()).collect();
        self.unique_ids("keys.message", &others, raw.iter().map(|key| key.id.as_deref()));
        let mut keys = Vec::with_capacity(raw.len());
        for (index, key) in raw.iter().enumerate() {
            let at = format!("keys.message[{index}].secret");
            let Some(secret) = self.secret_if_given(&at, key.secret.as_ref()) else { continue };
            let algorithm = JwtAlgorithm::EdDsa;
            let id = key.id.clone().unwrap_or_default();
            let key =
                SigningKey { id, algorithm, secret, active_from: key.active_from.as_ref().map(|m| m.0) };
            self.fits_algorithm(&at, &key);
            keys.push(key);
        }
        keys
    }

    fn fernet(&mut self, raw: &[SecretSource]) -> Vec<Secret> {
        const VARIABLE: &str = "PLATFORM_ENCRYPTION_KEY";
        const EXPECTED: &str = "32 bytes in url-safe base64: 44 characters, the last one `=`";
        let mut keys = Vec::with_capacity(raw.len());
        for (index, source) in raw.iter().enumerate() {
            let at = format!("keys.fernet[{index}]");
            let Some(secret) = self.secret(&at, source) else { continue };
            if !is_fernet_key(&secret) {
                self.tell(self.problem(&at, "this is not a Fernet key").expected(EXPECTED));
            }
            keys.push(secret);
        }
        if let Some(value) = self.variable(VARIABLE).filter(|_| raw.is_empty()) {
            let secret = Secret::from(value.trim_end());
            if !is_fernet_key(&secret) {
                self.tell(
                    variable_problem(VARIABLE, "keys.fernet", "this is not a Fernet key").expected(EXPECTED),
                );
            }
            keys.push(secret);
        }
        keys
    }

    fn secret_if_given(&mut self, key: &str, source: Option<&SecretSource>) -> Option<Secret> {
        source.and_then(|source| self.secret(key, source))
    }

    fn unique_ids<'i>(&mut self, list: &str, others: &[&'i str], ids: impl Iterator<Item = Option<&'i str>>) {
        let mut seen: Vec<&str> = others.to_vec();
        for (index, id) in ids.enumerate() {
            let Some(id) = id else { continue };
            let key = format!("{list}[{index}].id");
            if !is_name(id) {
                let problem = self.problem(&key, "this cannot be the id of a key");
                self.tell(problem.found(shown(id)).expected(NAME_EXPECTED));
            } else if seen.contains(&id) {
                let problem = self.problem(&key, "two keys have the same id");
                self.tell(problem.found(shown(id)).expected("an id of its own for each key"));
            }
            seen.push(id);
        }
    }

    fn long_enough(&mut self, key: &str, secret: &Secret) {
        let length = secret.expose().len();
        if length < SHORTEST_KEY {
            self.tell(
                self.problem(key, format!("the secret of `{key}` is too short"))
                    .found(format!("{length} bytes"))
                    .expected(format!("at least {SHORTEST_KEY} bytes"))
                    .hint("`countersign key new` makes one"),
            );
        }
    }

    fn fits_algorithm(&mut self, at: &str, key: &SigningKey) {
        if key.algorithm == JwtAlgorithm::Hs256 {
            return self.long_enough(at, &key.secret);
        }
        // The id has been judged; under another one only the secret can be at fault.
        let key = SigningKey { id: "key".to_owned(), ..key.clone() };
        if Keyring::new(&[], std::slice::from_ref(&key)).is_err() {
            let (curve, name) = match key.algorithm {
                JwtAlgorithm::Es256 => ("P-256", "ES256"),
                JwtAlgorithm::EdDsa | JwtAlgorithm::Hs256 => ("Ed25519", "EdDSA"),
            };
            self.tell(
                self.problem(at, format!("the secret of `{at}` is not a private key for {name}"))
                    .found("something else (not shown)")
                    .expected(format!(
                        "PEM of a PKCS#8 private key on {curve} (\"-----BEGIN PRIVATE KEY-----\")"
                    ))
                    .hint(format!("`countersign key new jwt --algorithm {name}` makes one")),
            );
        }
    }

    /// A key that serves two purposes lets what was made for one be used for the other (DESIGN, section 8).
    fn one_purpose_each(&mut self, keys: &Keys) {
        let symmetric = [
            ("keys.token", &keys.token),
            ("keys.csrf", &keys.csrf),
            ("keys.sealing", &keys.sealing),
            ("keys.hmac", &keys.hmac),
        ];
        let signing = [("keys.jwt", &keys.jwt), ("keys.message", &keys.message)];
        let all: Vec<(&str, &Secret)> = symmetric
            .iter()
            .flat_map(|(list, keys)| keys.iter().map(|key| (*list, &key.secret)))
            .chain(signing.iter().flat_map(|(list, keys)| keys.iter().map(|key| (*list, &key.secret))))
            .collect();
        for (index, (list, secret)) in all.iter().enumerate() {
            let twin = all[..index].iter().find(|(_, other)| other.matches(secret.expose()));
            if let Some((other, _)) = twin {
                let problem = if other == list {
                    self.problem(list, format!("`{list}` holds the same secret twice"))
                } else {
                    self.problem(list, format!("`{list}` and `{other}` share a secret"))
                };
                self.tell(
                    problem
                        .expected("a secret of its own for each key")
                        .hint("`countersign key new` makes one")
                        .as_warning(),
                );
            }
        }
    }

    fn all_that_is_needed(&mut self, file: &raw::File, no_fernet: bool) {
        if file.keys.token.is_empty() {
            self.needed("token", "session tokens are made with it", "token");
        }
        if file.keys.csrf.is_empty() {
            self.needed("csrf", "the proxy's own endpoints judge anti-forgery tokens with it", "csrf");
        }
        let wants = |sign: Sign, algorithm: Option<SignatureAlgorithm>| {
            let mut upstreams = file.upstream.iter().filter(|upstream| upstream.name.is_some());
            upstreams.find(|upstream| {
                upstream.sign.contains(&sign) && algorithm.is_none_or(|it| it == upstream.signature_algorithm)
            })
        };
        let message = Sign::HttpMessageSignature;
        let asking = [
            ("hmac", "hmac", file.keys.hmac.is_empty(), wants(message, Some(SignatureAlgorithm::HmacSha256))),
            (
                "message",
                "message",
                file.keys.message.is_empty(),
                wants(message, Some(SignatureAlgorithm::Ed25519)),
            ),
            ("jwt", "jwt", file.keys.jwt.is_empty(), wants(Sign::Jwt, None)),
        ];
        for (name, kind, absent, upstream) in asking {
            if let Some(upstream) = upstream.filter(|_| absent) {
                let upstream = upstream.name.as_deref().unwrap_or_default();
                self.needed(name, &format!("requests to the upstream `{upstream}` are signed with it"), kind);
            }
        }
        let opens = file.route.iter().position(|route| route.platform_authorization);
        if let Some(index) = opens.filter(|_| file.keys.sealing.is_empty() && no_fernet) {
            self.needed(
                "sealing",
                &format!("`route[{index}].platform_authorization` opens credentials with it"),
                "sealing",
            );
        }
    }

    fn needed(&mut self, name: &str, why: &str, kind: &str) {
        let key = format!("keys.{name}");
        self.tell_missing(
            self.problem(&key, format!("`{key}` is missing: {why}"))
                .expected("a list of at least one key, newest first")
                .hint(format!("`countersign key new {kind}` makes one")),
        );
    }
}

fn is_fernet_key(secret: &Secret) -> bool {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE.decode(secret.expose()).is_ok_and(|key| key.len() == 32)
}
