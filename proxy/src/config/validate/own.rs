//! Judges what concerns our own endpoints: anti-forgery tokens, aliases, limits of settings.

use super::Judge;
use crate::config::raw::own as written;
use crate::keys::Key;
use crate::session::csrf;

impl Judge<'_> {
    pub(super) fn csrf(&mut self, raw: &written::Csrf, keys: &[Key]) -> csrf::Settings {
        let secret = raw.application_secret.as_ref();
        let secret = secret.and_then(|source| self.secret("csrf.application_secret", source));
        let lifetime = raw.application_lifetime.0;
        csrf::Settings {
            keys: keys.to_vec(),
            lifetime: raw.lifetime.0,
            seeds: secret.map(|secret| csrf::Seeds { secret, lifetime }),
        }
    }
}
