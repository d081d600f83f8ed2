//! Judges `[store]` and `[directory]`, with the environment names of deployments that were there before us.

use url::Url;

use super::{Judge, variable_problem};
use crate::config::problem::shown;
use crate::config::raw;
use crate::config::raw::values::{SecretText, Switch};
use crate::directory;
use crate::secret::Secret;
use crate::store::{self, RedisSettings, RedisTls};

/// Keys of `[store]` that only Redis knows.
const REDIS_KEYS: [&str; 7] = ["url", "host", "port", "database", "username", "password", "tls"];

impl Judge<'_> {
    pub(super) fn store(&mut self, raw: &raw::Store) -> store::Settings {
        let kind = match raw.kind {
            raw::StoreKind::Redis => store::Kind::Redis(self.redis(raw)),
            raw::StoreKind::Embedded => {
                self.no_redis_keys(raw);
                store::Kind::Embedded
            }
        };
        store::Settings {
            kind,
            timeout: raw.timeout.0,
            entity_lifetime: raw.entity_lifetime.0,
            stats_lifetime: raw.stats_lifetime.0,
        }
    }

    fn no_redis_keys(&mut self, raw: &raw::Store) {
        let given = given_redis_keys(raw);
        for (name, _) in REDIS_KEYS.iter().zip(given).filter(|(_, given)| *given) {
            let key = format!("store.{name}");
            self.tell(
                self.problem(&key, format!("`{key}` means nothing to an embedded store"))
                    .hint("set `kind = \"redis\"`, or take the key out"),
            );
        }
    }

    fn redis(&mut self, raw: &raw::Store) -> RedisSettings {
        self.redis_prefix(&raw.prefix);
        let base = match &raw.url {
            Some(url) => self.redis_by_url(raw, url),
            None => self.redis_by_parts(raw),
        };
        let ca = match &raw.tls {
            Some(Switch::With(raw::StoreTls { ca: Some(ca) })) => self.certificates("store.tls.ca", ca),
            _ => None,
        };
        RedisSettings { prefix: raw.prefix.clone(), tls: base.tls.map(|_| RedisTls { ca }), ..base }
    }

    fn redis_by_url(&mut self, raw: &raw::Store, url: &SecretText) -> RedisSettings {
        let mut settings = empty_redis();
        for (name, _) in REDIS_KEYS
            .iter()
            .zip(given_redis_keys(raw))
            .filter(|(name, given)| *given && !matches!(**name, "url" | "tls"))
        {
            let key = format!("store.{name}");
            let problem = self.problem(&key, format!("`{key}` is set beside `store.url`"));
            self.tell(problem.expected("either the URL or its parts"));
        }
        let Some(secret) = self.secret_text("store.url", url) else { return settings };
        match parse_redis_url(&secret) {
            Ok(parsed) => settings = parsed,
            Err(what) => self.tell(
                self.problem("store.url", format!("the URL of the store cannot be used: {what}"))
                    .found("not shown: it may hold a password")
                    .expected("redis://[user[:password]@]host[:port][/database], or rediss:// for TLS"),
            ),
        }
        match &raw.tls {
            Some(Switch::Plain(false)) if settings.tls.is_some() => self.tell(
                self.problem("store.tls", "`store.tls` is off, but the URL asks for TLS (rediss://)")
                    .found("false")
                    .expected("true, or a URL that begins with redis://"),
            ),
            Some(Switch::Plain(true) | Switch::With(_)) => settings.tls = Some(RedisTls::default()),
            _ => {}
        }
        settings
    }

    fn redis_by_parts(&mut self, raw: &raw::Store) -> RedisSettings {
        let mut settings = empty_redis();
        let host = raw.host.clone().or_else(|| self.variable("REDIS_HOST"));
        if host.is_none() {
            self.tell_missing(
                self.problem("store.url", "a redis store needs `url` or `host`")
                    .expected("`url = { env = \"REDIS_URL\" }`, or `host = \"...\"`")
                    .hint("the environment variable REDIS_HOST supplies the host as well"),
            );
        }
        settings.host = host.unwrap_or_default();
        settings.port = raw.port.or_else(|| self.number_variable("REDIS_PORT", "store.port")).unwrap_or(6379);
        let database =
            raw.database.or_else(|| self.number_variable::<u16>("REDIS_DB", "store.database").map(i64::from));
        settings.database = database.unwrap_or(0);
        settings.username.clone_from(&raw.username);
        settings.password = match &raw.password {
            Some(source) => self.secret("store.password", source),
            None => self.variable("REDIS_PASSWORD").as_deref().map(Secret::from),
        };
        let tls = match &raw.tls {
            Some(Switch::Plain(on)) => *on,
            Some(Switch::With(_)) => true,
            None => self.truth_variable("REDIS_SSL", "store.tls"),
        };
        settings.tls = tls.then(RedisTls::default);
        settings
    }

    fn number_variable<N: std::str::FromStr>(&mut self, name: &str, key: &str) -> Option<N> {
        let value = self.variable(name)?;
        let number = value.trim().parse().ok();
        if number.is_none() {
            let problem = variable_problem(name, key, "this is not a number that fits here");
            self.tell(problem.found(shown(&value)).expected("an integer from 0 to 65535"));
        }
        number
    }

    fn truth_variable(&mut self, name: &str, key: &str) -> bool {
        let Some(value) = self.variable(name) else { return false };
        match value.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                let problem = variable_problem(name, key, "this is neither true nor false");
                self.tell(problem.found(shown(&value)).expected("`true` or `false`"));
                false
            }
        }
    }

    fn redis_prefix(&mut self, prefix: &str) {
        // Redis Cluster hashes what stands in braces alone, and a prefix is the same for every key.
        let is_plain = prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}*?[]\\\"".contains(&byte));
        if !is_plain || prefix.is_empty() || prefix.len() > 64 {
            self.tell(
                self.problem("store.prefix", "this cannot be the prefix of keys")
                    .found(shown(prefix))
                    .expected("1 to 64 visible ASCII characters, none of {}*?[]\\\""),
            );
        }
    }

    pub(super) fn directory(&mut self, raw: &raw::Directory) -> directory::Settings {
        let kind = match raw.kind {
            raw::DirectoryKind::Postgres => self.postgres(raw),
            raw::DirectoryKind::Sqlite => self.sqlite(raw),
        };
        directory::Settings {
            kind,
            connections: raw.connections,
            timeout: raw.timeout.0,
            queries: self.queries(raw),
            pooler: raw.pooler,
            direct_url: self.direct_url(raw),
        }
    }

    fn direct_url(&mut self, raw: &raw::Directory) -> Option<Secret> {
        let url = raw.direct_url.as_ref()?;
        if !raw.pooler {
            let problem =
                self.problem("directory.direct_url", "`directory.direct_url` means nothing without a pooler");
            self.tell(problem.hint("set `pooler = true`, or take the key out"));
        }
        let secret = self.secret_text("directory.direct_url", url)?;
        self.judge_postgres_url("directory.direct_url", &secret);
        Some(secret)
    }

    fn judge_postgres_url(&mut self, key: &str, secret: &Secret) {
        let parsed = secret.expose_text().ok().and_then(|text| Url::parse(text.trim()).ok());
        if !parsed.is_some_and(|url| matches!(url.scheme(), "postgres" | "postgresql")) {
            self.tell(
                self.problem(key, "the URL of the directory cannot be used")
                    .found("not shown: it may hold a password")
                    .expected("postgres://user:password@host:port/database"),
            );
        }
    }

    fn postgres(&mut self, raw: &raw::Directory) -> directory::Kind {
        if raw.path.is_some() {
            let problem =
                self.problem("directory.path", "`directory.path` means nothing to a postgres directory");
            self.tell(problem.hint("set `kind = \"sqlite\"`, or take the key out"));
        }
        let Some(url) = &raw.url else {
            self.tell_missing(
                self.problem("directory.url", "a postgres directory needs `url`")
                    .expected("`url = { env = \"DATABASE_URL\" }`"),
            );
            return directory::Kind::Sqlite(None);
        };
        let Some(secret) = self.secret_text("directory.url", url) else {
            return directory::Kind::Sqlite(None);
        };
        self.judge_postgres_url("directory.url", &secret);
        directory::Kind::Postgres(secret)
    }

    /// The file comes from `path`, or from `url` in the form that database tools use (`sqlite:FILE`, `sqlite://FILE`).
    fn sqlite(&mut self, raw: &raw::Directory) -> directory::Kind {
        let (key, file) = match (&raw.path, &raw.url) {
            (Some(_), Some(_)) => {
                let problem =
                    self.problem("directory.url", "`directory.path` and `directory.url` say the same");
                self.tell(problem.expected("one of them"));
                return directory::Kind::Sqlite(None);
            }
            (Some(path), None) => ("directory.path", path.clone()),
            (None, Some(url)) => match self.sqlite_url(url) {
                Some(file) => ("directory.url", file),
                None => return directory::Kind::Sqlite(None),
            },
            (None, None) => ("directory.path", raw::DEFAULT_SQLITE_PATH.to_owned()),
        };
        match file.as_str() {
            ":memory:" => directory::Kind::Sqlite(None),
            "" => {
                let problem = self.problem(key, format!("`{key}` names no file"));
                self.tell(problem.expected("the path of a file, or \":memory:\""));
                directory::Kind::Sqlite(None)
            }
            path => directory::Kind::Sqlite(Some(self.path(key, path))),
        }
    }

    fn sqlite_url(&mut self, url: &SecretText) -> Option<String> {
        let secret = self.secret_text("directory.url", url)?;
        let text = secret.expose_text().ok().map(str::trim);
        let file = text.and_then(|text| text.strip_prefix("sqlite:"));
        if file.is_none() {
            self.tell(
                self.problem("directory.url", "the URL of the directory cannot be used")
                    .found("not shown: it may hold a password")
                    .expected("sqlite:FILE; for Postgres set `kind = \"postgres\"`"),
            );
        }
        file.map(|file| file.strip_prefix("//").unwrap_or(file).to_owned())
    }

    fn secret_text(&mut self, key: &str, text: &SecretText) -> Option<Secret> {
        match text {
            SecretText::From(source) => self.secret(key, source),
            SecretText::Written(text) => {
                if Url::parse(text).is_ok_and(|url| url.password().is_some()) {
                    self.tell(
                        self.problem(key, "a password is written in the configuration")
                            .found("not shown")
                            .expected(
                                "`{ env = \"NAME\" }` or `{ file = \"PATH\" }` for a URL with a password",
                            )
                            .as_warning(),
                    );
                }
                Some(Secret::from(text.as_str()))
            }
        }
    }
}

fn given_redis_keys(raw: &raw::Store) -> [bool; 7] {
    [
        raw.url.is_some(),
        raw.host.is_some(),
        raw.port.is_some(),
        raw.database.is_some(),
        raw.username.is_some(),
        raw.password.is_some(),
        raw.tls.is_some(),
    ]
}

fn empty_redis() -> RedisSettings {
    RedisSettings {
        host: String::new(),
        port: 6379,
        database: 0,
        username: None,
        password: None,
        tls: None,
        prefix: String::new(),
        foreign_prefixes: Vec::new(),
    }
}

fn parse_redis_url(secret: &Secret) -> Result<RedisSettings, &'static str> {
    let text = secret.expose_text().map_err(|_| "it is not UTF-8")?;
    let url = Url::parse(text.trim()).map_err(|_| "it is not a URL")?;
    let tls = match url.scheme() {
        "redis" => None,
        "rediss" => Some(RedisTls::default()),
        _ => return Err("its scheme is neither redis:// nor rediss://"),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err("parameters after `?` or `#` are not supported");
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no host")?;
    let decoded = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text);
        bytes.decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| "user or password is not UTF-8")
    };
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => number.parse::<u16>().map_err(|_| "its path is not the number of a database")?.into(),
    };
    Ok(RedisSettings {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: url.port().unwrap_or(6379),
        database,
        username: Some(decoded(url.username())?).filter(|name| !name.is_empty()),
        password: url.password().map(decoded).transpose()?.map(|text| Secret::from(text.as_str())),
        tls,
        prefix: String::new(),
        foreign_prefixes: Vec::new(),
    })
}
