//! Judges `[session] format`, and makes the profile that reads sessions.

use std::sync::Arc;

use super::Judge;
use crate::config::problem::shown;
use crate::config::raw;
use crate::config::raw::formats::{Characters, Cipher, Format, FormatName, Formats, Serializer, StoredIn};
use crate::formats::envelope;
use crate::formats::locate::Path;
use crate::formats::preset::{self, Kind, Mistake, Options};
use crate::formats::{self, Alphabet};
use crate::keys::Key;
use crate::session::profile::{Profile, Source};
use crate::store;

impl Judge<'_> {
    /// How sessions are read. Tells the store the prefixes of foreign sessions.
    pub(super) fn profile(
        &mut self,
        file: &raw::File,
        cookie: &str,
        keys: &[Key],
        store: &mut store::Settings,
    ) -> Profile {
        let native = || (cookie.to_owned(), keys.into());
        let formats: Vec<(String, Format)> = match &file.session.format {
            None | Some(Formats::Name(FormatName::Native)) => Vec::new(),
            Some(Formats::Name(name)) => vec![("session.format".to_owned(), usual(*name))],
            Some(Formats::One(format)) => vec![("session.format".to_owned(), (**format).clone())],
            Some(Formats::Several(formats)) => {
                let at =
                    |(index, format): (usize, &Format)| (format!("session.format[{index}]"), format.clone());
                formats.iter().enumerate().map(at).collect()
            }
        };
        let own_query = file.directory.queries.sessions.as_deref();
        let mut sources: Vec<Source> = Vec::new();
        for (at, format) in &formats {
            if format.name == FormatName::Native {
                let (cookie, keys) = native();
                sources.push(Source::Native { cookie, keys });
            } else if let Some(foreign) = self.foreign(at, format, own_query) {
                self.unlike_others(at, &foreign, cookie, &sources);
                sources.push(Source::Foreign(Arc::new(foreign)));
            }
        }
        if sources.is_empty() {
            let (cookie, keys) = native();
            return Profile::Native { cookie, keys };
        }
        self.prefixes(file, &sources, store);
        Profile::Several(sources)
    }

    fn foreign(&mut self, at: &str, raw: &Format, own: Option<&str>) -> Option<formats::Format> {
        let mut secrets_of = |name: &str, sources: &[raw::values::SecretSource]| {
            let secrets = sources.iter().enumerate();
            secrets
                .filter_map(|(index, source)| self.secret(&format!("{at}.{name}[{index}]"), source))
                .collect()
        };
        let (secrets, block_keys): (Vec<_>, Vec<_>) =
            (secrets_of("secrets", &raw.secrets), secrets_of("block_keys", &raw.block_keys));
        // What is wrong with a secret that cannot be read was said.
        if secrets.len() != raw.secrets.len() || block_keys.len() != raw.block_keys.len() {
            return None;
        }
        let paths = |texts: &[String]| texts.iter().map(|text| Path::parse(text)).collect();
        let options = Options {
            cookie: raw.cookie.clone(),
            secrets,
            block_keys,
            signed: raw.signed,
            prefix: raw.prefix.clone(),
            serializer: raw.serializer.map(serializer),
            encrypted: raw.encrypted,
            cipher: match raw.cipher {
                Cipher::Cbc => envelope::Cipher::Cbc,
                Cipher::Gcm => envelope::Cipher::Gcm,
            },
            express_prefix: raw.express_prefix,
            plain_cookie: raw.plain_cookie,
            route: raw.route.clone(),
            hashed: raw.hashed,
            plain_key: raw.plain_key,
            max_age: raw.max_age.as_ref().map(|span| span.0),
            id: raw.id.map(|shape| formats::IdShape {
                alphabet: alphabet(shape.characters),
                shortest: shape.shortest,
                longest: shape.longest,
            }),
            endless: raw.endless,
            delete_on_logout: raw.delete_on_logout,
            check_password: raw.check_password,
            user: paths(&raw.user),
            platform: paths(&raw.platform),
            created: paths(&raw.created),
            authenticated: paths(&raw.authenticated),
            ends: raw.ends.as_deref().map(Path::parse),
            active: raw.active.as_deref().map(Path::parse),
            table: self.table(at, raw, own),
        };
        match kind(raw.name)?.format(options) {
            Ok(format) => Some(format),
            Err(mistake) => {
                let hint = match mistake {
                    Mistake::NoTable => {
                        "write `directory.queries.sessions`: docs/existing-schemas.md shows what it answers"
                    }
                    Mistake::NoDelete => "name the `table`, or take `delete_on_logout` out",
                    Mistake::NoPasswordKeys => {
                        "`secrets = [{ env = \"SECRET_KEY\" }]`, and then those of SECRET_KEY_FALLBACKS"
                    }
                    Mistake::NoPasswords => "take it out: the application itself ends such sessions",
                    Mistake::Missing("prefix") => "take it from `redis-cli --scan`: everything before the id",
                    _ => "docs/session-formats.md shows each format with its lines",
                };
                self.tell(self.problem(at, mistake.to_string()).hint(hint));
                None
            }
        }
    }

    /// Two formats may share a cookie only where no key of one is a key of the other.
    fn unlike_others(&mut self, at: &str, format: &formats::Format, native: &str, sources: &[Source]) {
        let is_token = super::is_token(&format.cookie) && format.cookie.len() <= 64;
        if !is_token || format.cookie == native {
            let problem =
                self.problem(&format!("{at}.cookie"), "this cannot be the name of the application's cookie");
            self.tell(
                problem
                    .found(shown(&format.cookie))
                    .expected("a token (RFC 6265) that is not our own cookie's"),
            );
        }
        let again = sources.iter().any(|source| {
            matches!(source, Source::Foreign(other) if other.cookie == format.cookie
                && other.prefix == format.prefix && other.is_in_store() == format.is_in_store())
        });
        if again {
            self.tell(self.problem(at, "another format reads the same cookie and the same keys"));
        }
        // What was ended in the one would live on in the other.
        let elsewhere = sources.iter().any(|source| {
            matches!(source, Source::Foreign(other) if other.cookie == format.cookie
                && other.name == format.name && other.table.is_some() != format.table.is_some())
        });
        if elsewhere {
            let problem = self.problem(at, "another format reads the same sessions, from another place");
            self.tell(problem.expected("one format, with `stored_in = \"redis-then-table\"`"));
        }
    }

    fn prefixes(&mut self, file: &raw::File, sources: &[Source], store: &mut store::Settings) {
        let foreign: Vec<String> = sources
            .iter()
            .filter_map(|source| match source {
                Source::Foreign(format) => format.is_in_store().then(|| format.prefix.clone()),
                Source::Native { .. } => None,
            })
            .collect();
        let has_foreign = sources.iter().any(|source| matches!(source, Source::Foreign(_)));
        for prefix in foreign.iter().filter(|prefix| prefix.starts_with(file.store.prefix.as_str())) {
            let problem = self.problem("session.format", "the application's keys begin like ours");
            self.tell(problem.found(shown(prefix)).hint("choose another `store.prefix`"));
        }
        match &mut store.kind {
            store::Kind::Redis(redis) => redis.foreign_prefixes = foreign,
            store::Kind::Embedded if !has_foreign => {}
            // That a session in a table was ended here is to be known to every proxy, and after a new start.
            store::Kind::Embedded => self.tell(
                self.problem("session.format", "an embedded store has no sessions of other frameworks")
                    .hint("set `store.kind = \"redis\"` and name the application's Redis"),
            ),
        }
    }
}

fn usual(name: FormatName) -> Format {
    Format {
        name,
        cookie: None,
        secrets: Vec::new(),
        block_keys: Vec::new(),
        signed: None,
        prefix: None,
        serializer: None,
        encrypted: false,
        cipher: Cipher::default(),
        express_prefix: false,
        plain_cookie: false,
        route: None,
        hashed: false,
        plain_key: false,
        max_age: None,
        id: None,
        endless: false,
        delete_on_logout: false,
        check_password: false,
        user: Vec::new(),
        platform: Vec::new(),
        created: Vec::new(),
        authenticated: Vec::new(),
        ends: None,
        active: None,
        stored_in: StoredIn::default(),
        table: None,
        time_zone: None,
        lifetime: None,
    }
}

const fn kind(name: FormatName) -> Option<Kind> {
    Some(match name {
        FormatName::Native => return None,
        FormatName::Express => Kind::Express,
        FormatName::Fastify => Kind::Fastify,
        FormatName::BetterAuth => Kind::BetterAuth,
        FormatName::Koa => Kind::Koa,
        FormatName::KoaGeneric => Kind::KoaGeneric,
        FormatName::Django => Kind::Django,
        FormatName::Flask => Kind::Flask,
        FormatName::Laravel => Kind::Laravel,
        FormatName::Php => Kind::Php,
        FormatName::Rails => Kind::Rails,
        FormatName::Spring => Kind::Spring,
        FormatName::Starsessions => Kind::Starsessions,
        FormatName::Aiohttp => Kind::Aiohttp,
        FormatName::Gorilla => Kind::Gorilla,
        FormatName::Scs => Kind::Scs,
        FormatName::Json => Kind::Json,
        FormatName::Hash => Kind::Hash,
    })
}

const fn serializer(raw: Serializer) -> preset::Serializer {
    match raw {
        Serializer::Json => preset::Serializer::Json,
        Serializer::Msgpack => preset::Serializer::Msgpack,
        Serializer::Pickle => preset::Serializer::Pickle,
        Serializer::Php => preset::Serializer::Php,
        Serializer::PhpSerialize => preset::Serializer::PhpSerialize,
        Serializer::PhpBinary => preset::Serializer::PhpBinary,
        Serializer::Igbinary => preset::Serializer::Igbinary,
        Serializer::Marshal => preset::Serializer::Marshal,
        Serializer::Gob => preset::Serializer::Gob,
    }
}

const fn alphabet(raw: Characters) -> Alphabet {
    match raw {
        Characters::Hex => Alphabet::Hex,
        Characters::LowerAlphanumeric => Alphabet::LowerAlphanumeric,
        Characters::Alphanumeric => Alphabet::Alphanumeric,
        Characters::UrlSafe => Alphabet::UrlSafe,
        Characters::Php => Alphabet::Php,
        Characters::Uuid => Alphabet::Uuid,
    }
}

#[cfg(test)]
mod tests;
