//! The formats that have a name: what is usual for each framework, and what an application may have set otherwise.

mod usual;

use std::sync::Arc;
use std::time::Duration;

use super::decode::{Decoder, laravel::Serialization};
use super::envelope::{Cipher, Encrypter};
use super::expiry::{Expiry, Rule};
use super::locate::Path;
use super::table::{StoredIn, Table, TableOptions};
use super::verify::Verification;
use super::{Format, IdShape, KeyForm, Locator};
use crate::context::PasswordKey;
use crate::secret::Secret;

/// Where Django says with which password a session began (django.contrib.auth, `HASH_SESSION_KEY`).
const DJANGO_PASSWORD: &str = "/_auth_user_hash";

/// A framework, or a layout of an application's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// express-session with connect-redis: Express, `NestJS`.
    Express,
    /// `@fastify/session`.
    Fastify,
    /// better-auth with a secondary storage.
    BetterAuth,
    /// koa-session with an external store.
    Koa,
    /// koa-generic-session.
    KoaGeneric,
    /// Django with sessions in a cache.
    Django,
    /// Flask-Session.
    Flask,
    /// Laravel's redis driver.
    Laravel,
    /// PHP's own sessions through phpredis; Symfony and `CodeIgniter` too.
    Php,
    /// Rails with redis-actionpack, redis-session-store or a cache store.
    Rails,
    /// Spring Session.
    Spring,
    /// starsessions: Starlette, `FastAPI`.
    Starsessions,
    /// aiohttp-session.
    Aiohttp,
    /// gorilla/sessions with redistore.
    Gorilla,
    /// scs.
    Scs,
    /// JSON in a string, with an unsigned id in the cookie.
    Json,
    /// A hash of text, with an unsigned id in the cookie.
    Hash,
}

/// How a session is written, where a framework leaves the choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Serializer {
    /// JSON.
    Json,
    /// `MessagePack`.
    Msgpack,
    /// pickle.
    Pickle,
    /// PHP: `php`; Laravel: `php`.
    Php,
    /// PHP: `php_serialize`.
    PhpSerialize,
    /// PHP: `php_binary`.
    PhpBinary,
    /// PHP: igbinary.
    Igbinary,
    /// Rails: Marshal.
    Marshal,
    /// Go: gob.
    Gob,
}

/// What an application has set otherwise than usual. Everything left out is as the framework has it.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own framework")]
pub struct Options {
    /// Name of the cookie.
    pub cookie: Option<String>,
    /// Secrets of the signature or encryption, newest first.
    pub secrets: Vec<Secret>,
    /// Gorilla: keys of the encryption, in the order of the secrets.
    pub block_keys: Vec<Secret>,
    /// Whether the cookie is signed or encrypted. Flask: only with secrets; Laravel: not if it is excluded; Koa: not if
    /// the application says so; Go: some stores of gorilla write the bare id.
    pub signed: Option<bool>,
    /// What the session's key begins with.
    pub prefix: Option<String>,
    /// How the session is written.
    pub serializer: Option<Serializer>,
    /// Laravel: the session is encrypted too (`SESSION_ENCRYPT`).
    pub encrypted: bool,
    /// Laravel: the cipher.
    pub cipher: Cipher,
    /// Fastify: the cookie begins with `s:`, as Express writes it.
    pub express_prefix: bool,
    /// Spring: the cookie is not base64.
    pub plain_cookie: bool,
    /// Spring: the name of the server behind the id (`jvmRoute`).
    pub route: Option<String>,
    /// scs: the key holds the hash of the token.
    pub hashed: bool,
    /// Rails: the key holds the id as it is in the cookie, as versions before 6 wrote it.
    pub plain_key: bool,
    /// Gorilla: how long a cookie is accepted (30 days).
    pub max_age: Option<Duration>,
    /// What an id looks like.
    pub id: Option<IdShape>,
    /// Accept sessions that never end.
    pub endless: bool,
    /// Delete a session that is ended through us.
    pub delete_on_logout: bool,
    /// Django: a session ends when its user's password changes.
    pub check_password: bool,
    /// Paths to the user's id.
    pub user: Vec<Path>,
    /// Paths to the platform's id.
    pub platform: Vec<Path>,
    /// Paths to when the session began.
    pub created: Vec<Path>,
    /// Paths to when the user logged in.
    pub authenticated: Vec<Path>,
    /// JSON and hash: the field that says when the session ends.
    pub ends: Option<Path>,
    /// JSON and hash: the field that has to be `true`.
    pub active: Option<Path>,
    /// The table, where sessions lie in one.
    pub table: TableOptions,
}

/// Options that do not make a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mistake {
    /// The application's own choice is not known.
    #[error("`{0}` is needed")]
    Missing(&'static str),
    /// There are no secrets, where the cookie is signed.
    #[error("`secrets` are needed: the application signs or encrypts its cookie with them")]
    NoSecrets,
    /// A key of Laravel is not 16 or 32 bytes long.
    #[error("each of `secrets` has to be an APP_KEY of 16 or 32 bytes, as `base64:...` or as it is")]
    LaravelKey,
    /// A block key of gorilla has a wrong length, or there are not as many as secrets.
    #[error("`block_keys` have to be as many as `secrets`, of 16, 24 or 32 bytes each")]
    BlockKeys,
    /// The framework does not write sessions like that.
    #[error("this format is never written with that `serializer`")]
    Serializer,
    /// The framework has no table of its own that is known here.
    #[error("sessions of this format have no usual table")]
    NoTable,
    /// Nobody knows how to delete what a query of the operator's own finds.
    #[error("`delete_on_logout` needs a table that the proxy knows, and not a query")]
    NoDelete,
    /// No other framework says in a session with which password it began, in a way that can be compared here.
    #[error("`check_password` is for sessions of Django")]
    NoPasswords,
    /// There is nothing to compare with.
    #[error("`secrets` are needed: what `check_password` compares is signed with SECRET_KEY")]
    NoPasswordKeys,
    /// Without a prefix any text of that shape would be a key.
    #[error("`prefix` is needed: without one a cookie could name any key")]
    Prefix,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::Express,
        Self::Fastify,
        Self::BetterAuth,
        Self::Koa,
        Self::KoaGeneric,
        Self::Django,
        Self::Flask,
        Self::Laravel,
        Self::Php,
        Self::Rails,
        Self::Spring,
        Self::Starsessions,
        Self::Aiohttp,
        Self::Gorilla,
        Self::Scs,
        Self::Json,
        Self::Hash,
    ];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.usual().name
    }

    /// The format of an application that has set `options`.
    ///
    /// # Errors
    /// Something that has no usual value is missing, or cannot be.
    pub fn format(self, options: Options) -> Result<Format, Mistake> {
        let usual = self.usual();
        let verification = self.verification(&options)?;
        let decoder = self.decoder(&options)?;
        let cookie = options.cookie.clone().or(usual.cookie.map(str::to_owned));
        let cookie = cookie.ok_or(Mistake::Missing("cookie"))?;
        let is_in_store = options.table.stored_in != StoredIn::Table;
        let prefix = match (&options.prefix, usual.prefix) {
            (Some(prefix), _) => prefix.clone(),
            (None, _) if !is_in_store => String::new(),
            (None, Some(prefix)) => prefix.to_owned(),
            (None, None) => return Err(Mistake::Missing("prefix")),
        };
        if prefix.is_empty() && is_in_store && matches!(self, Self::Json | Self::Hash) {
            return Err(Mistake::Prefix);
        }
        let paths = |own: &[Path], known: &[&str]| {
            if own.is_empty() { known.iter().map(|path| Path::parse(path)).collect() } else { own.to_vec() }
        };
        let around = match (self, &options.route) {
            (Self::Koa, _) => (prefix.clone(), String::new()),
            (_, Some(route)) => (String::new(), format!(".{route}")),
            (_, None) => <(String, String)>::default(),
        };
        let rule = match &options.ends {
            Some(ends) if matches!(self, Self::Json | Self::Hash) => Rule::Moment(ends.clone()),
            _ => self.rule(),
        };
        let mut format = Format {
            name: usual.name,
            cookie,
            spelling: usual.spelling,
            verification,
            around,
            id: options.id.unwrap_or(usual.id),
            prefix,
            key: match self {
                Self::Rails if !options.plain_key => KeyForm::RailsPrivate,
                Self::Scs if options.hashed => KeyForm::Hashed,
                _ => KeyForm::Plain,
            },
            decoder,
            locator: Locator {
                user: paths(&options.user, usual.user),
                platform: paths(&options.platform, usual.platform),
                created: paths(&options.created, usual.created),
                authenticated: paths(&options.authenticated, usual.authenticated),
                active: options.active.clone(),
                password: options.check_password.then(|| Path::parse(DJANGO_PASSWORD)),
                is_javascript: usual.is_javascript,
            },
            expiry: Expiry { rule, endless: options.endless },
            delete_on_logout: options.delete_on_logout,
            table: None,
            passwords: self.passwords(&options)?,
        };
        format.table = Table::of(self, options, &format)?;
        Ok(format)
    }

    fn passwords(self, options: &Options) -> Result<Option<Arc<[PasswordKey]>>, Mistake> {
        if !options.check_password {
            return Ok(None);
        }
        match (self, options.secrets.as_slice()) {
            (Self::Django, []) => Err(Mistake::NoPasswordKeys),
            (Self::Django, secrets) => {
                let keys = secrets.iter().map(|secret| PasswordKey::of_django(secret.expose()));
                Ok(Some(keys.collect()))
            }
            _ => Err(Mistake::NoPasswords),
        }
    }

    fn verification(self, options: &Options) -> Result<Verification, Mistake> {
        let secrets = || match options.secrets.as_slice() {
            [] => Err(Mistake::NoSecrets),
            secrets => Ok(secrets.to_vec()),
        };
        let signed = |prefix, padded| Ok(Verification::signed(prefix, padded, &secrets()?));
        match self {
            Self::Express => signed("s:", false),
            Self::Fastify => signed(if options.express_prefix { "s:" } else { "" }, false),
            Self::BetterAuth => signed("", true),
            Self::Koa | Self::KoaGeneric if options.signed.unwrap_or(true) => {
                Ok(Verification::keygrip(&secrets()?))
            }
            Self::Flask if options.signed.unwrap_or(!options.secrets.is_empty()) => {
                Ok(Verification::its_dangerous(&secrets()?))
            }
            Self::Laravel if options.signed.unwrap_or(true) => {
                let encrypter = Encrypter::new(options.cipher, &secrets()?).ok_or(Mistake::LaravelKey)?;
                Ok(Verification::Laravel(encrypter))
            }
            Self::Spring if !options.plain_cookie => Ok(Verification::Base64),
            Self::Gorilla if options.signed.unwrap_or(true) => {
                let max_age = options.max_age.unwrap_or(Duration::from_hours(30 * 24));
                Ok(Verification::SecureCookie { keys: pairs(secrets()?, &options.block_keys)?, max_age })
            }
            _ => Ok(Verification::None),
        }
    }

    fn decoder(self, options: &Options) -> Result<Decoder, Mistake> {
        Ok(match (self, options.serializer) {
            (Self::Django, None) => Decoder::Django,
            (Self::Flask, None) => Decoder::Flask,
            (Self::Flask, Some(Serializer::Msgpack)) => Decoder::Msgpack,
            (Self::Php, Some(Serializer::Msgpack)) => Decoder::PhpMsgpack,
            (Self::Django | Self::Flask, Some(Serializer::Pickle)) => Decoder::Pickle,
            (Self::Php, None | Some(Serializer::Php)) => Decoder::Php,
            (Self::Php, Some(Serializer::PhpSerialize)) => Decoder::PhpSerialize,
            (Self::Php, Some(Serializer::PhpBinary)) => Decoder::PhpBinary,
            (Self::Php, Some(Serializer::Igbinary)) => Decoder::Igbinary,
            (Self::Laravel, _) => laravel(options)?,
            (Self::Rails, None) => Decoder::Rails,
            (Self::Rails, Some(Serializer::Marshal)) => Decoder::Marshal,
            (Self::Spring, None | Some(Serializer::Json)) => Decoder::Spring,
            (Self::Gorilla, None | Some(Serializer::Gob)) => Decoder::Gob,
            (Self::Scs, None | Some(Serializer::Gob)) => Decoder::Scs,
            (Self::Hash, None) => Decoder::HashText,
            (Self::Starsessions | Self::Aiohttp, None | Some(Serializer::Json)) => Decoder::PythonJson,
            (Self::Php | Self::Scs | Self::Hash, Some(Serializer::Json)) => return Err(Mistake::Serializer),
            (_, None | Some(Serializer::Json)) => Decoder::Json,
            _ => return Err(Mistake::Serializer),
        })
    }

    fn rule(self) -> Rule {
        match self {
            Self::Express | Self::Fastify => Rule::Endless(Path::parse("/cookie/expires")),
            Self::BetterAuth => Rule::NeedsMoment(Path::parse("/session/expiresAt")),
            Self::Koa => Rule::Moment(Path::parse("/_expire")),
            Self::Rails | Self::Scs | Self::Django => Rule::Envelope,
            Self::Spring => Rule::Idle {
                last: Path::parse("/lastAccessedTime"),
                span: Path::parse("/maxInactiveInterval"),
            },
            _ => Rule::Lifetime,
        }
    }
}

fn pairs(secrets: Vec<Secret>, blocks: &[Secret]) -> Result<Vec<(Secret, Option<Secret>)>, Mistake> {
    if blocks.is_empty() {
        return Ok(secrets.into_iter().map(|secret| (secret, None)).collect());
    }
    let fits = |block: &Secret| matches!(block.expose().len(), 16 | 24 | 32);
    if blocks.len() != secrets.len() || !blocks.iter().all(fits) {
        return Err(Mistake::BlockKeys);
    }
    Ok(secrets.into_iter().zip(blocks.iter().cloned().map(Some)).collect())
}

fn laravel(options: &Options) -> Result<Decoder, Mistake> {
    let serialization = match options.serializer {
        None => Serialization::Either,
        Some(Serializer::Php) => Serialization::Php,
        Some(Serializer::Json) => Serialization::Json,
        Some(_) => return Err(Mistake::Serializer),
    };
    let inner = if options.encrypted {
        Some(Encrypter::new(options.cipher, &options.secrets).ok_or(Mistake::LaravelKey)?)
    } else {
        None
    };
    Ok(Decoder::Laravel(inner, serialization))
}
