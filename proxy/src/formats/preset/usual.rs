//! What is usual for each framework: cookie, prefix of the keys, spelling, shape of the ids, and where in a session the
//! ids and times are. Tables only.

use super::Kind;
use crate::formats::spelling::Spelling;
use crate::formats::{Alphabet, IdShape};

impl Kind {
    /// What is usual for this kind.
    pub(super) const fn usual(self) -> &'static Usual {
        match self {
            Self::Express => &EXPRESS,
            Self::Fastify => &FASTIFY,
            Self::BetterAuth => &BETTER_AUTH,
            Self::Koa => &KOA,
            Self::KoaGeneric => &KOA_GENERIC,
            Self::Django => &DJANGO,
            Self::Flask => &FLASK,
            Self::Laravel => &LARAVEL,
            Self::Php => &PHP,
            Self::Rails => &RAILS,
            Self::Spring => &SPRING,
            Self::Starsessions => &STARSESSIONS,
            Self::Aiohttp => &AIOHTTP,
            Self::Gorilla => &GORILLA,
            Self::Scs => &SCS,
            Self::Json => &BASE,
            Self::Hash => &HASH,
        }
    }
}

/// What is usual for a framework.
pub(super) struct Usual {
    pub(super) name: &'static str,
    pub(super) cookie: Option<&'static str>,
    pub(super) prefix: Option<&'static str>,
    pub(super) spelling: Spelling,
    pub(super) id: IdShape,
    pub(super) user: &'static [&'static str],
    pub(super) platform: &'static [&'static str],
    pub(super) created: &'static [&'static str],
    pub(super) authenticated: &'static [&'static str],
    pub(super) is_javascript: bool,
}

/// Nothing but the value itself.
const PLAIN: Spelling = Spelling {
    quotes: false,
    spaces: false,
    percent: false,
    form: false,
    php_names: false,
    white_separates: false,
};
/// Python's cookie parsers, and many that do as they do.
const PYTHON: Spelling = Spelling { quotes: true, spaces: true, ..PLAIN };
/// PHP's own cookies.
const PHP_COOKIES: Spelling = Spelling { percent: true, form: true, php_names: true, ..PLAIN };

const fn shape(alphabet: Alphabet, shortest: usize, longest: usize) -> IdShape {
    IdShape { alphabet, shortest, longest }
}

/// What a layout of one's own looks like until it is described.
const BASE: Usual = Usual {
    name: "json",
    cookie: None,
    prefix: None,
    spelling: PLAIN,
    id: shape(Alphabet::UrlSafe, 16, 128),
    user: &["/user_id", "/_user_id"],
    platform: &["/platform_id"],
    created: &[],
    authenticated: &[],
    is_javascript: false,
};

/// What JavaScript applications have in common.
const JAVASCRIPT: Usual = Usual {
    user: &[
        "/passport/user",
        "/passport/user/id",
        "/passport/user/_id",
        "/user_id",
        "/userId",
        "/user/id",
        "/user/_id",
    ],
    platform: &["/platform_id", "/platformId"],
    is_javascript: true,
    ..BASE
};

const EXPRESS: Usual = Usual {
    name: "express",
    cookie: Some("connect.sid"),
    prefix: Some("sess:"),
    spelling: Spelling { percent: true, ..PYTHON },
    id: shape(Alphabet::UrlSafe, 8, 128),
    ..JAVASCRIPT
};

const FASTIFY: Usual = Usual {
    name: "fastify",
    cookie: Some("sessionId"),
    prefix: Some("sess:"),
    spelling: Spelling { spaces: true, percent: true, ..PLAIN },
    ..JAVASCRIPT
};

const BETTER_AUTH: Usual = Usual {
    name: "better-auth",
    cookie: Some("better-auth.session_token"),
    prefix: Some(""),
    spelling: Spelling { percent: true, ..PYTHON },
    id: shape(Alphabet::Alphanumeric, 32, 64),
    user: &["/user/id", "/session/userId"],
    platform: &["/session/activeOrganizationId", "/session/platformId"],
    created: &["/session/createdAt"],
    authenticated: &["/session/createdAt"],
    ..JAVASCRIPT
};

const KOA: Usual = Usual {
    name: "koa",
    cookie: Some("koa.sess"),
    prefix: Some(""),
    spelling: Spelling { quotes: true, ..PLAIN },
    id: shape(Alphabet::Uuid, 36, 36),
    ..JAVASCRIPT
};

const KOA_GENERIC: Usual = Usual {
    name: "koa-generic",
    cookie: Some("koa.sid"),
    prefix: Some("koa:sess:"),
    spelling: Spelling { quotes: true, ..PLAIN },
    ..JAVASCRIPT
};

const DJANGO: Usual = Usual {
    name: "django",
    cookie: Some("sessionid"),
    prefix: Some(":1:django.contrib.sessions.cache"),
    spelling: PYTHON,
    id: shape(Alphabet::LowerAlphanumeric, 32, 32),
    user: &["/_auth_user_id", "/user_id"],
    ..BASE
};

const FLASK: Usual = Usual {
    name: "flask",
    cookie: Some("session"),
    prefix: Some("session:"),
    spelling: PYTHON,
    user: &["/_user_id", "/user_id"],
    ..BASE
};

const LARAVEL: Usual = Usual {
    name: "laravel",
    cookie: Some("laravel_session"),
    spelling: PHP_COOKIES,
    id: shape(Alphabet::Alphanumeric, 40, 40),
    user: &["/login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d"],
    ..BASE
};

const PHP: Usual = Usual {
    name: "php",
    cookie: Some("PHPSESSID"),
    prefix: Some("PHPREDIS_SESSION:"),
    spelling: PHP_COOKIES,
    id: shape(Alphabet::Php, 22, 256),
    user: &["/user_id", "/user/id", "/uid", "/_sf2_attributes/user_id"],
    platform: &["/platform_id", "/_sf2_attributes/platform_id"],
    ..BASE
};

const RAILS: Usual = Usual {
    name: "rails",
    prefix: Some("session:"),
    spelling: Spelling { percent: true, form: true, ..PLAIN },
    id: shape(Alphabet::Hex, 32, 64),
    user: &["/warden.user.user.key/0/0", "/warden.user.default.key/0/0", "/user_id"],
    ..BASE
};

const SPRING: Usual = Usual {
    name: "spring",
    cookie: Some("SESSION"),
    prefix: Some("spring:session:sessions:"),
    id: shape(Alphabet::Uuid, 36, 36),
    user: &[
        "/sessionAttr:user_id",
        "/sessionAttr:userId",
        "/sessionAttr:org.springframework.session.FindByIndexNameSessionRepository.PRINCIPAL_NAME_INDEX_NAME",
        "/sessionAttr:SPRING_SECURITY_CONTEXT/authentication/principal/username",
        "/sessionAttr:SPRING_SECURITY_CONTEXT/authentication/principal",
    ],
    platform: &["/sessionAttr:platform_id", "/sessionAttr:platformId"],
    created: &["/creationTime"],
    ..BASE
};

const STARSESSIONS: Usual = Usual {
    name: "starsessions",
    cookie: Some("session"),
    prefix: Some("starsessions."),
    spelling: PYTHON,
    // Version 1 made ids of 256 digits, and keys without a prefix.
    id: shape(Alphabet::Hex, 32, 256),
    user: &["/user_id"],
    created: &["/__metadata__/created"],
    ..BASE
};

const AIOHTTP: Usual = Usual {
    name: "aiohttp",
    cookie: Some("AIOHTTP_SESSION"),
    prefix: Some("AIOHTTP_SESSION_"),
    spelling: Spelling { white_separates: true, ..PYTHON },
    // `key_factory` is the application's own.
    id: shape(Alphabet::UrlSafe, 32, 64),
    user: &["/session/user_id", "/session/AIOHTTP_SECURITY"],
    platform: &["/session/platform_id"],
    created: &["/created"],
    ..BASE
};

const GORILLA: Usual =
    Usual { name: "gorilla", prefix: Some("session_"), spelling: Spelling { quotes: true, ..PLAIN }, ..BASE };

const SCS: Usual = Usual {
    name: "scs",
    cookie: Some("session"),
    prefix: Some("scs:session:"),
    spelling: Spelling { quotes: true, ..PLAIN },
    id: shape(Alphabet::UrlSafe, 43, 43),
    user: &["/user_id", "/userID", "/userId", "/authenticatedUserID"],
    platform: &["/platform_id", "/platformID"],
    ..BASE
};

const HASH: Usual = Usual { name: "hash", ..BASE };
