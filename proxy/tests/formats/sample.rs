//! One sample: the format that its fields describe, and the Redis that it was taken from.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign::clock::Timestamp;
use countersign::formats::decode::Raw;
use countersign::formats::envelope::Cipher;
use countersign::formats::locate::Path;
use countersign::formats::preset::{Kind, Mistake, Options, Serializer};
use countersign::formats::{Alphabet, Claimed, Format, Found, IdShape, Refusal};
use countersign::session::profile::{Candidate, Claim, Profile, Source};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::folder::broken;
pub(crate) use super::folder::{OWN, bytes, files, files_in, is_own, raw_files};

/// 2026-11-21 01:30 UTC: within the life of every sample, whatever the clock on the wall says.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_224_600);

/// Most places at which a value is cut off.
const MOST_CUTS: usize = 2048;

/// What comes of a cookie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// This user, with this platform.
    User(String, Platform),
    Refused,
}

/// The platform that goes with a user.
#[derive(Clone, Debug)]
pub(crate) enum Platform {
    /// None, or this one.
    Is(Option<String>),
    /// The file does not say.
    Unsaid,
}

impl PartialEq for Platform {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Is(one), Self::Is(two)) => one == two,
            _ => true,
        }
    }
}

impl Eq for Platform {}

impl Verdict {
    /// As `expected` in a file says.
    pub(crate) fn of(expected: &Value) -> Self {
        let id = |field: &Value| match field {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let platform = expected.get("platform_id").map_or(Platform::Unsaid, |field| Platform::Is(id(field)));
        match id(&expected["user_id"]) {
            Some(user) => Self::User(user, platform),
            None => Self::Refused,
        }
    }

    /// As one case of a sample says; `usual` is what cases of its kind are for.
    pub(crate) fn of_case(sample: &Sample, case: &Value, usual: &Self) -> Self {
        let own = || Self::of(&sample.json["expected"]);
        match (&case["expected"], &case["expect"]) {
            (Value::String(word), _) | (Value::Null, Value::String(word)) if word == "accept" => own(),
            (said @ (Value::Object(_) | Value::String(_)), _)
            | (Value::Null, said @ (Value::Object(_) | Value::String(_))) => Self::of(said),
            _ => usual.clone(),
        }
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each changes the sample in a way of its own")]
pub(crate) struct Sample {
    pub(crate) file: String,
    pub(crate) json: Value,
    /// Whether the paths in the file are used, or the format's own.
    pub(crate) locates: bool,
    pub(crate) wrong_secret: bool,
    /// Whether a newer secret stands in front of those of the file.
    pub(crate) rotated: bool,
    /// Whether sessions that never end are accepted, as an operator can allow.
    pub(crate) endless: bool,
    /// The moment at which it is looked at.
    pub(crate) now: Timestamp,
}

/// All samples that are sessions with a cookie.
pub(crate) fn all() -> Vec<Sample> {
    sessions(files())
}

/// Those of this repository, whatever `SESSION_SAMPLES` says.
pub(crate) fn own() -> Vec<Sample> {
    sessions(files_in(OWN))
}

/// Those that describe a format; what is wrong with the others is what [`undescribed`] says.
fn sessions(files: Vec<(String, Value)>) -> Vec<Sample> {
    let of = |(file, json): (String, Value)| {
        // One that is accepted although its key has no end is one of an operator who allows that.
        let endless = json["redis"]["ttl"] == -1 && Verdict::of(&json["expected"]) != Verdict::Refused;
        let sample =
            Sample { file, json, locates: true, wrong_secret: false, rotated: false, endless, now: NOW };
        sample.described().is_ok().then(|| Sample { now: sample.moment(), ..sample })
    };
    files.into_iter().filter(|(_, json)| is_session(json)).filter_map(of).collect()
}

fn is_session(json: &Value) -> bool {
    let with_cookie = json["redis"].is_object() && !json["cookie_header"].is_null();
    // Whose user is not in its session.
    with_cookie && !json["framework"].as_str().unwrap_or_default().contains("ASP.NET")
}

/// What cannot be tried, and why: files that are no JSON, and samples whose fields make no format.
pub(crate) fn undescribed() -> Vec<String> {
    let unknown = files().into_iter().filter(|(_, json)| is_session(json)).filter_map(|(file, json)| {
        let endless = false;
        let sample =
            Sample { file, json, locates: true, wrong_secret: false, rotated: false, endless, now: NOW };
        Some(format!("{}: {}", sample.file, sample.described().err()?))
    });
    broken().into_iter().chain(unknown).collect()
}

/// The bytes of a value: in base64, or as the text that they are.
fn written(entry: &Value) -> Vec<u8> {
    match (&entry["value_base64"], &entry["value_text"]) {
        (Value::String(_), _) => bytes(&entry["value_base64"]),
        (_, Value::String(text)) => text.clone().into_bytes(),
        _ => Vec::new(),
    }
}

impl Sample {
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn config(&self, key: &str) -> &str {
        self.json["config"][key].as_str().unwrap_or_default()
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.json["config"][key].as_bool()
    }

    /// The value of the session cookie as it stands in the header.
    pub(crate) fn cookie(&self) -> (&str, &str) {
        let header = self.text("/cookie_header");
        let named = header.split("; ").find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name == self.config("cookie_name")).then_some((name, value))
        });
        let first = header.split("; ").next().unwrap_or_default();
        named.or_else(|| first.split_once('=')).unwrap_or((first, ""))
    }

    /// The id as the framework knows it: what the file says, or else the longest end of the key that the cookie holds.
    fn session_id(&self) -> &str {
        let said = self.text("/session_id");
        if !said.is_empty() {
            return said;
        }
        let (key, cookie) = (self.text("/redis/key"), self.cookie().1);
        let ends = (0..key.len()).filter_map(|at| key.get(at..));
        // `s:` in a cookie is no part of an id, whatever the key ends in.
        ends.into_iter().find(|end| !end.contains(':') && cookie.contains(end)).unwrap_or_default()
    }

    /// The kind that the framework's name stands for.
    pub(super) fn kind(&self) -> Kind {
        let name = self.text("/framework").to_lowercase();
        let is_hash = self.json["redis"]["fields"].is_array();
        let kinds = [
            ("fastify", Kind::Fastify),
            ("better-auth", Kind::BetterAuth),
            ("koa-generic", Kind::KoaGeneric),
            ("koa", Kind::Koa),
            ("express", Kind::Express),
            ("nest", Kind::Express),
            ("django", Kind::Django),
            ("flask-session", Kind::Flask),
            ("flask session", Kind::Flask),
            ("laravel", Kind::Laravel),
            ("rails", Kind::Rails),
            ("redis-actionpack", Kind::Rails),
            ("redis-session-store", Kind::Rails),
            ("redis-rack", Kind::Rails),
            ("spring", Kind::Spring),
            ("starsessions", Kind::Starsessions),
            ("starlette", Kind::Starsessions),
            ("aiohttp", Kind::Aiohttp),
            ("gorilla", Kind::Gorilla),
            ("redistore", Kind::Gorilla),
            ("scs", Kind::Scs),
            ("php", Kind::Php),
            ("symfony", Kind::Php),
            ("codeigniter", Kind::Php),
        ];
        let of = |name: &str| kinds.iter().find(|(part, _)| name.contains(part)).map(|(_, kind)| *kind);
        // A framework of another name may keep its sessions as one of these does. Flask's own layouts do not.
        let store = self.text("/store/library").to_lowercase().replace("connect-redis", "express");
        let stored = || of(&store).filter(|_| !name.contains("flask"));
        of(&name).or_else(stored).unwrap_or(if is_hash { Kind::Hash } else { Kind::Json })
    }

    /// What stands in front of the id in the key.
    fn prefix(&self) -> String {
        let (key, id) = (self.text("/redis/key"), self.session_id());
        let said = self.json["config"]["key_prefix"].as_str();
        let before_id = key.strip_suffix(id).filter(|_| !id.is_empty());
        match self.kind() {
            Kind::Rails => key.find("2::").map_or(before_id.unwrap_or_default(), |at| &key[..at]).to_owned(),
            // The id in the file may be the whole key.
            Kind::Koa => said.map_or_else(|| key[..key.len().saturating_sub(36)].to_owned(), str::to_owned),
            _ => before_id.or(said).unwrap_or_default().to_owned(),
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
        if !self.locates {
            return Vec::new();
        }
        // The name of a field, perhaps with the way on from there behind it.
        let path = |locate: &str| match locate.strip_prefix("hash field ") {
            Some(field) => match field.split_once([' ', ',']) {
                Some((name, rest)) => {
                    let way = rest.find('/').map_or("", |at| &rest[at..]);
                    Path::parse(&format!("/{}{way}", name.replace('~', "~0").replace('/', "~1")))
                }
                None => Path::parse(field),
            },
            None => Path::parse(locate),
        };
        match &self.json["locate"][field] {
            Value::String(locate) => vec![path(locate)],
            Value::Array(list) => list.iter().filter_map(Value::as_str).map(path).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the file looks for the user where the framework usually has it.
    pub(crate) fn is_usual(&self) -> bool {
        let usual = Sample { locates: false, ..self.clone() }.format().locator.user;
        let own = self.paths("user_id");
        own.is_empty() || own.iter().any(|path| usual.contains(path))
    }

    /// The format with everything that the file says of it.
    pub(crate) fn format(&self) -> Format {
        self.described().unwrap_or_else(|mistake| panic!("{}: {mistake}", self.file))
    }

    fn described(&self) -> Result<Format, Mistake> {
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
            cookie: Some(self.cookie().0.to_owned()),
            secrets: self.secrets(),
            block_keys: self.block_keys(),
            signed: self.is_signed(kind),
            prefix: Some(self.prefix()),
            serializer: self.serializer(),
            encrypted: self.flag("session_encrypt").unwrap_or(false),
            cipher: if self.config("cipher").to_uppercase().ends_with("GCM") {
                Cipher::Gcm
            } else {
                Cipher::Cbc
            },
            express_prefix: self.config("cookie_prefix") == "s:",
            plain_cookie: kind == Kind::Spring && self.cookie().1.starts_with(self.session_id()),
            route: Some(self.config("jvm_route")).filter(|route| !route.is_empty()).map(str::to_owned),
            hashed: self.flag("hash_token_in_store").unwrap_or(false),
            plain_key: kind == Kind::Rails && !self.text("/redis/key").contains("2::"),
            endless: self.endless,
            check_password: kind == Kind::Django && !self.secrets().is_empty(),
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
        let format = kind.format(options)?;
        // An operator describes ids that the application makes itself.
        let id = own_shape(self.session_id()).filter(|_| !format.id.fits(self.session_id()));
        let bare = !matches!(kind, Kind::Koa | Kind::Laravel);
        Ok(Format { id: id.filter(|_| bare).unwrap_or(format.id), ..format })
    }

    /// Whether the cookie is signed, where a framework leaves the choice.
    fn is_signed(&self, kind: Kind) -> Option<bool> {
        let said = self.flag("use_signer").or(self.flag("cookie_encrypted"));
        let leaves_choice = matches!(kind, Kind::Koa | Kind::KoaGeneric | Kind::Gorilla);
        let said = said.or(self.flag("signed").filter(|_| leaves_choice));
        // A file that does not say it shows it: no second cookie, or the id as it is.
        let (name, value) = self.cookie();
        let is_bare = match kind {
            Kind::Koa | Kind::KoaGeneric => !self.text("/cookie_header").contains(&format!("{name}.sig=")),
            Kind::Laravel | Kind::Gorilla | Kind::Flask => value == self.session_id(),
            _ => false,
        };
        said.or(is_bare.then_some(false))
    }

    /// The moment at which the file is looked at: when all samples were taken, or for one that was over by then the
    /// last second of its own life.
    fn moment(&self) -> Timestamp {
        let Claim::Candidates(candidates) = self.profile().claim(&headers(self.text("/cookie_header")))
        else {
            return NOW;
        };
        let [Candidate::Foreign(format, claimed), ..] = &candidates[..] else { return NOW };
        let stored = claimed.key.expose_text().ok().and_then(|key| self.stored(key, NOW));
        let found = stored.and_then(|(raw, ends)| format.read(&raw, ends, Timestamp::default()).ok());
        let ends = [claimed.ends, found.map(|found| found.ends)].into_iter().flatten().min();
        let is_over = Verdict::of(&self.json["expected"]) != Verdict::Refused;
        match ends.filter(|end| *end <= NOW && is_over) {
            Some(end) => Timestamp::from_millis(end.as_millis().saturating_sub(1000)),
            None => NOW,
        }
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
            match self.read_with(format, claimed) {
                Verdict::Refused => {}
                user @ Verdict::User(..) => return user,
            }
        }
        Verdict::Refused
    }

    /// What lies under a claimed key, as this format reads it.
    pub(crate) fn read_with(&self, format: &Format, claimed: &Claimed) -> Verdict {
        let now = self.now;
        let is_over = claimed.ends.is_some_and(|end| end <= now);
        let stored = self.stored(claimed.key.expose_text().unwrap(), now);
        let Some((raw, ends)) = stored.filter(|_| !is_over) else { return Verdict::Refused };
        match format.read(&raw, ends, now) {
            Ok(found) => {
                let platform = found.platform.map(|id| id.as_str().to_owned());
                Verdict::User(found.user.as_str().to_owned(), Platform::Is(platform))
            }
            Err(refusal) => {
                assert_ne!(refusal, Refusal::Spelling, "reading a value says nothing of cookies");
                Verdict::Refused
            }
        }
    }

    /// What the session of this `Cookie` field says, if it holds.
    pub(crate) fn found(&self, cookie: &str) -> Option<Found> {
        let Claim::Candidates(candidates) = self.profile().claim(&headers(cookie)) else { return None };
        let [Candidate::Foreign(format, claimed), ..] = &candidates[..] else { return None };
        let (raw, ends) = self.stored(claimed.key.expose_text().ok()?, self.now)?;
        format.read(&raw, ends, self.now).ok()
    }

    pub(crate) fn forwarded(&self, cookie: &str) -> String {
        let field = self.profile().forwarded(&headers(cookie));
        field.map(|field| field.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    /// What lies under a key: that of the sample, or one of the others that lay beside it.
    fn stored(&self, key: &str, now: Timestamp) -> Option<(Raw, Option<Timestamp>)> {
        let others = self.json["other_redis_keys"].as_array().into_iter().flatten();
        let entry = std::iter::once(&self.json["redis"]).chain(others).find(|entry| entry["key"] == key)?;
        let ends = entry["ttl"].as_u64().map(|ttl| now.plus(Duration::from_secs(ttl)));
        Some((raw(entry)?, ends))
    }

    /// The sample with the change that a variant describes.
    pub(crate) fn varied(&self, variant: &Value) -> Self {
        let mut changed = self.clone();
        for part in ["redis", "config"] {
            for (field, value) in variant[part].as_object().into_iter().flatten() {
                changed.json[part][field] = value.clone();
            }
        }
        if let Some(seconds) = variant["now"].as_u64() {
            changed.now = Timestamp::from_secs(seconds);
        }
        if let Some(value) = variant.get("value") {
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            changed.json["redis"]["value_base64"] = STANDARD.encode(written).into();
        }
        if let Some(value) = variant.get("value_base64") {
            changed.json["redis"]["value_base64"] = value.clone();
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
        // Everywhere, unless that would take minutes.
        for length in (0..whole.len()).step_by(1 + whole.len() / MOST_CUTS) {
            let Ok(found) = format.read(&Raw::Text(whole[..length].to_vec()), ends, NOW) else { continue };
            let user = found.user.as_str().to_owned();
            assert!(matches!(&expected, Verdict::User(own, _) if *own == user), "{} at {length}", self.file);
        }
    }
}

/// The field as a client sends it. One that HTTP cannot carry never comes here.
pub(crate) fn headers(cookie: &str) -> HeaderMap {
    HeaderValue::from_bytes(cookie.as_bytes()).map(|field| (COOKIE, field)).into_iter().collect()
}

/// The narrowest description of ids that this one fits.
fn own_shape(id: &str) -> Option<IdShape> {
    let alphabets = [
        Alphabet::Hex,
        Alphabet::LowerAlphanumeric,
        Alphabet::Alphanumeric,
        Alphabet::UrlSafe,
        Alphabet::Php,
    ];
    let shape = |alphabet| IdShape { alphabet, shortest: id.len(), longest: id.len() };
    alphabets.into_iter().map(shape).find(|shape| shape.fits(id))
}

fn raw(entry: &Value) -> Option<Raw> {
    let kind = if entry["fields"].is_array() { "hash" } else { "string" };
    match entry["type"].as_str().unwrap_or(kind) {
        "string" => Some(Raw::Text(written(entry))),
        "hash" => {
            let fields = entry["fields"].as_array()?.iter();
            let pair = |field: &Value| {
                let name = field["field"].as_str().unwrap_or_default().as_bytes().to_vec();
                (name, written(field))
            };
            Some(Raw::Hash(fields.map(pair).collect()))
        }
        _ => None,
    }
}
