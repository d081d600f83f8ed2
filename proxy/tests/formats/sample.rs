//! One sample: the format that its fields describe, and the Redis that it was taken from.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign::clock::Timestamp;
use countersign::formats::decode::Raw;
use countersign::formats::envelope::Cipher;
use countersign::formats::locate::Path;
use countersign::formats::preset::{Kind, Options, Serializer};
use countersign::formats::{Format, Refusal};
use countersign::secret::Secret;
use countersign::session::profile::{Candidate, Claim, Profile, Source};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

/// 2026-11-21 01:30 UTC: within the life of every sample, whatever the clock on the wall says.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_224_600);

/// What comes of a cookie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// This user, with this platform.
    User(String, Option<String>),
    Refused,
}

impl Verdict {
    /// As `expected` in a file says.
    pub(crate) fn of(expected: &Value) -> Self {
        let id = |field: &Value| match field {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        match id(&expected["user_id"]) {
            Some(user) => Self::User(user, id(&expected["platform_id"])),
            None => Self::Refused,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) file: String,
    pub(crate) json: Value,
    /// Whether the paths in the file are used, or the format's own.
    pub(crate) locates: bool,
    pub(crate) wrong_secret: bool,
}

/// All samples that are sessions with a cookie.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples: Vec<Sample> = files()
        .into_iter()
        .filter(|(_, json)| json["redis"].is_object() && json["cookie_header"].is_string())
        .map(|(file, json)| Sample { file, json, locates: true, wrong_secret: false })
        .collect();
    samples.sort_by(|one, two| one.file.cmp(&two.file));
    samples
}

/// Every JSON file of the folder.
pub(crate) fn files() -> Vec<(String, Value)> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/session-samples");
    let folder = std::env::var("SESSION_SAMPLES").unwrap_or_else(|_| own.to_owned());
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some("json".as_ref()))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let json = serde_json::from_slice(&std::fs::read(&path).unwrap());
            (name.clone(), json.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect()
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap()
}

impl Sample {
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn config(&self, key: &str) -> &str {
        self.json["config"][key].as_str().unwrap_or_default()
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.json["config"][key].as_bool()
    }

    pub(crate) fn has_secret(&self) -> bool {
        !self.secrets().is_empty()
    }

    /// The kind that the framework's name stands for.
    fn kind(&self) -> Kind {
        let name = self.text("/framework").to_lowercase();
        let is_hash = self.json["redis"]["type"] == "hash";
        let kinds = [
            ("fastify", Kind::Fastify),
            ("better-auth", Kind::BetterAuth),
            ("koa-generic", Kind::KoaGeneric),
            ("koa", Kind::Koa),
            ("express", Kind::Express),
            ("nest", Kind::Express),
            ("django", Kind::Django),
            ("flask-session", Kind::Flask),
            ("laravel", Kind::Laravel),
            ("rails", Kind::Rails),
            ("spring", Kind::Spring),
            ("starsessions", Kind::Starsessions),
            ("starlette", Kind::Starsessions),
            ("aiohttp", Kind::Aiohttp),
            ("gorilla", Kind::Gorilla),
            ("scs", Kind::Scs),
            ("php", Kind::Php),
            ("symfony", Kind::Php),
            ("codeigniter", Kind::Php),
        ];
        let named = kinds.iter().find(|(part, _)| name.contains(part)).map(|(_, kind)| *kind);
        named.unwrap_or(if is_hash { Kind::Hash } else { Kind::Json })
    }

    /// Every secret of the configuration but the keys of an encryption, which stand apart.
    fn secrets(&self) -> Vec<Secret> {
        // Django and others have secrets that no cookie is signed with.
        if self.flag("signed") == Some(false) || self.kind() == Kind::Django {
            return Vec::new();
        }
        let mut texts = Vec::new();
        for (key, value) in self.json["config"].as_object().into_iter().flatten() {
            let names_secrets = ["secret", "secrets", "keys", "app_key", "hash_key", "hash_keys"]
                .contains(&key.as_str())
                || key.starts_with("previous")
                || key.ends_with("previous_keys")
                || key.ends_with("_secrets");
            match value {
                Value::String(text) if names_secrets => texts.push(text.clone()),
                Value::Array(list) if names_secrets => {
                    texts.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                _ => {}
            }
        }
        let hex_key = unhex(self.config("hash_key_hex")).map(Secret::new);
        let named = texts.iter().map(|text| {
            if self.wrong_secret && text.starts_with("base64:") {
                return Secret::from("base64:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
            }
            Secret::from(format!("{text}{}", if self.wrong_secret { "x" } else { "" }).as_str())
        });
        named.chain(hex_key).collect()
    }

    /// What stands in front of the id in the key.
    fn prefix(&self) -> String {
        let (key, id) = (self.text("/redis/key"), self.text("/session_id"));
        match self.kind() {
            Kind::Rails => key[..key.find("2::").unwrap()].to_owned(),
            Kind::Koa => self.config("key_prefix").to_owned(),
            _ if self.flag("hash_token_in_store") == Some(true) => self.config("key_prefix").to_owned(),
            _ => key.strip_suffix(id).unwrap_or_else(|| self.config("key_prefix")).to_owned(),
        }
    }

    fn serializer(&self) -> Option<Serializer> {
        let written =
            format!("{} {}", self.config("serialize_handler"), self.config("serializer")).to_lowercase();
        match self.kind() {
            Kind::Php => Some(match written.trim() {
                written if written.contains("php_serialize") => Serializer::PhpSerialize,
                written if written.contains("php_binary") => Serializer::PhpBinary,
                written if written.contains("igbinary") => Serializer::Igbinary,
                written if written.contains("msgpack") => Serializer::Msgpack,
                _ => Serializer::Php,
            }),
            Kind::Gorilla | Kind::Scs if written.contains("json") => Some(Serializer::Json),
            _ => None,
        }
    }

    fn paths(&self, field: &str) -> Vec<Path> {
        let Some(locate) = self.json["locate"][field].as_str().filter(|_| self.locates) else {
            return Vec::new();
        };
        vec![Path::parse(locate.strip_prefix("hash field ").unwrap_or(locate))]
    }

    /// The format with everything that the file says of it.
    pub(crate) fn format(&self) -> Format {
        let kind = self.kind();
        let has_field = |name: &str| {
            let fields = self.json["redis"]["fields"].as_array();
            fields.is_some_and(|fields| fields.iter().any(|field| field["field"] == name))
        };
        let own_layout = matches!(kind, Kind::Hash | Kind::Json);
        let seeds_platform = |field: &str| (own_layout && !self.locates).then(|| Path::parse(field));
        let mut user = self.paths("user_id");
        if kind == Kind::Json && self.locates {
            user.push(Path::parse("/_user_id"));
        }
        let options = Options {
            cookie: Some(self.text("/cookie_header").split('=').next().unwrap().to_owned()),
            secrets: self.secrets(),
            block_keys: unhex(self.config("block_key_hex")).map(Secret::new).into_iter().collect(),
            signed: self.flag("use_signer").or(self.flag("cookie_encrypted")),
            prefix: Some(self.prefix()),
            serializer: self.serializer(),
            encrypted: self.flag("session_encrypt").unwrap_or(false),
            cipher: if self.config("cipher").to_uppercase().ends_with("GCM") {
                Cipher::Gcm
            } else {
                Cipher::Cbc
            },
            express_prefix: self.config("cookie_prefix") == "s:",
            plain_cookie: kind == Kind::Spring && !self.config("cookie_encoding").contains("base64"),
            hashed: self.flag("hash_token_in_store").unwrap_or(false),
            max_age: self.json["config"]["cookie_max_age_s"].as_u64().map(Duration::from_secs),
            user,
            platform: match self.paths("platform_id") {
                paths if paths.is_empty() => seeds_platform("/active_platform_id").into_iter().collect(),
                paths => paths,
            },
            ends: has_field("expires_at").then(|| Path::parse("/expires_at")),
            active: has_field("is_active").then(|| Path::parse("/is_active")),
            ..Options::default()
        };
        kind.format(options).unwrap_or_else(|mistake| panic!("{}: {mistake}", self.file))
    }

    fn profile(&self) -> Profile {
        Profile::Several(vec![Source::Foreign(Arc::new(self.format()))])
    }

    /// What the proxy makes of this `Cookie` field, with the Redis of the sample.
    pub(crate) fn resolve(&self, cookie: &str) -> Verdict {
        let Claim::Candidates(candidates) = self.profile().claim(&headers(cookie)) else {
            return Verdict::Refused;
        };
        for candidate in candidates.iter() {
            let Candidate::Foreign(format, claimed) = candidate else { continue };
            if claimed.ends.is_some_and(|end| end <= NOW) {
                continue;
            }
            let key = claimed.key.expose_text().unwrap();
            let Some((raw, ends)) = self.stored(key) else { continue };
            match format.read(&raw, ends, NOW) {
                Ok(found) => {
                    let platform = found.platform.map(|id| id.as_str().to_owned());
                    return Verdict::User(found.user.as_str().to_owned(), platform);
                }
                Err(refusal) => {
                    assert_ne!(refusal, Refusal::Spelling, "reading a value says nothing of cookies");
                }
            }
        }
        Verdict::Refused
    }

    pub(crate) fn forwarded(&self, cookie: &str) -> String {
        let field = self.profile().forwarded(&headers(cookie));
        field.map(|field| field.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    /// What lies under a key: that of the sample, or one of the others that lay beside it.
    fn stored(&self, key: &str) -> Option<(Raw, Option<Timestamp>)> {
        let others = self.json["other_redis_keys"].as_array().into_iter().flatten();
        let entry = std::iter::once(&self.json["redis"]).chain(others).find(|entry| entry["key"] == key)?;
        let ends = entry["ttl"].as_u64().map(|ttl| NOW.plus(Duration::from_secs(ttl)));
        Some((raw(entry)?, ends))
    }

    /// The sample with the change that a variant describes.
    pub(crate) fn varied(&self, variant: &Value) -> Self {
        let mut changed = self.clone();
        if let Some(value) = variant.get("value") {
            changed.json["redis"]["value_base64"] = STANDARD.encode(value.to_string()).into();
        }
        if let Some(ttl) = variant.get("ttl") {
            changed.json["redis"]["ttl"] = ttl.clone();
        }
        if let Some(fields) = changed.json["redis"]["fields"].as_array_mut() {
            for field in fields.iter_mut() {
                let name = field["field"].as_str().unwrap_or_default().to_owned();
                if let Some(text) = variant["change"][name.as_str()].as_str() {
                    field["value_base64"] = STANDARD.encode(text).into();
                }
            }
            if let Some(present) = variant["fields_present"].as_array() {
                fields.retain(|field| present.contains(&field["field"]));
            }
        }
        changed
    }

    /// Every beginning of the value is read without harm, and none gives another user.
    pub(crate) fn cut_values(&self) {
        let Some(Raw::Text(whole)) = raw(&self.json["redis"]) else { return };
        let format = self.format();
        let ends = Some(NOW.plus(Duration::from_mins(1)));
        let expected = Verdict::of(&self.json["expected"]);
        for length in 0..whole.len() {
            let Ok(found) = format.read(&Raw::Text(whole[..length].to_vec()), ends, NOW) else { continue };
            let user = found.user.as_str().to_owned();
            assert!(matches!(&expected, Verdict::User(own, _) if *own == user), "{} at {length}", self.file);
        }
    }
}

pub(crate) fn headers(cookie: &str) -> HeaderMap {
    HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).unwrap())])
}

fn raw(entry: &Value) -> Option<Raw> {
    match entry["type"].as_str()? {
        "string" => Some(Raw::Text(bytes(&entry["value_base64"]))),
        "hash" => {
            let fields = entry["fields"].as_array()?.iter();
            let pair = |field: &Value| {
                let name = field["field"].as_str().unwrap_or_default().as_bytes().to_vec();
                (name, bytes(&field["value_base64"]))
            };
            Some(Raw::Hash(fields.map(pair).collect()))
        }
        _ => None,
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect::<Option<Vec<u8>>>().filter(|bytes| !bytes.is_empty())
}
