//! The test vectors that tie the proxy to its clients. `COUNTERSIGN_WRITE_VECTORS=1 cargo test vectors` writes them
//! anew; without it the files are only read: the proxy must still write these bytes, the clients must judge them so.

mod accepted;
mod refused;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keyring::{Purpose, derive_text, generate};
use super::*;
use crate::context::{Authn, Context, LastUse, Layer, Platform, Session, User};
use crate::keys::{JwtAlgorithm, Key, SigningKey};
use crate::secret::Secret;

const NOW: u64 = 1_800_000_000;
const PREFIX: &str = "x-context-";

/// Keys for these tests and nothing else.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    about: String,
    audience: String,
    issuer: String,
    hmac_root: String,
    hs256_root: String,
    eddsa: String,
    es256: String,
    hmac_derived: String,
    hs256_derived: String,
    jwks: Value,
}

#[derive(Serialize, Deserialize)]
struct Accepted {
    name: String,
    message_signature: String,
    token: String,
    now: u64,
    authn: String,
    context: Option<Given>,
    request: Request,
    verified: Value,
}

/// What the proxy knew.
#[derive(Serialize, Deserialize)]
struct Given {
    session: Session,
    user: User,
    platform: Option<Platform>,
    settings: Option<Value>,
    stats: Option<Value>,
    platform_authorization: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Request {
    method: String,
    authority: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct Refused {
    name: String,
    now: u64,
    request: Request,
    code: String,
}

#[test]
fn the_proxy_writes_the_bytes_of_the_vectors() {
    if std::env::var_os("COUNTERSIGN_WRITE_VECTORS").is_some() {
        write();
    }
    let keys: KeyFile = read("keys.json");
    let accepted: Vec<Accepted> = read("accepted.json");
    assert!(accepted.len() >= 6);
    for vector in accepted {
        let token = header(&vector.request, "x-context-jwt").to_owned();
        let produced = produce(&keys, &vector, Some(&token));
        assert_eq!(produced, vector.request.headers, "{}", vector.name);
    }
    assert_eq!(
        keys.hmac_derived,
        derive_text(&Secret::from(keys.hmac_root.as_str()), Purpose::MessageSignature, "captions")
    );
    assert_eq!(
        keys.hs256_derived,
        derive_text(&Secret::from(keys.hs256_root.as_str()), Purpose::Token, "captions")
    );
}

/// The headers of a vector. A token holds a random id, and ES256 is random itself: a token that is given is checked
/// part by part and taken over.
fn produce(keys: &KeyFile, vector: &Accepted, given: Option<&str>) -> Vec<(String, String)> {
    let names = Arc::new(Names::new(PREFIX).unwrap());
    let keyring = Arc::new(keyring(keys, &vector.token));
    let message_signature = match vector.message_signature.as_str() {
        "ed25519" => MessageAlgorithm::Ed25519,
        _ => MessageAlgorithm::HmacSha256,
    };
    let signer = Signer::new(&SignerSettings {
        upstream: keys.audience.clone(),
        issuer: keys.issuer.clone(),
        names: names.clone(),
        message_keys: Arc::clone(&keyring),
        token_keys: keyring.clone(),
        message_signature: Some(message_signature),
        jwt: true,
        message_lifetime: MESSAGE_LIFETIME,
        jwt_lifetime: JWT_LIFETIME,
        shelf: Arc::new(Shelf::new(1 << 20)),
        number: 1,
        budget: 8192,
    })
    .unwrap();
    let context = vector.context.as_ref().map(|given| Context {
        session: Arc::new(given.session.clone()),
        user: Arc::new(given.user.clone()),
        platform: given.platform.clone().map(Arc::new),
        platform_refused: false,
        last_seen: LastUse::at(Timestamp::from_secs(NOW)),
        layer: Layer::Process,
        password: None,
    });
    let given_context = vector.context.as_ref();
    let credential =
        given_context.and_then(|given| given.platform_authorization.as_deref()).map(Secret::from);
    let authn = [Authn::Session, Authn::None, Authn::Unchecked, Authn::Undetermined];
    let input = RenderInput {
        authn: authn.into_iter().find(|authn| authn.as_str() == vector.authn).unwrap(),
        context: context.as_ref(),
        request_id: vector.verified["request_id"].as_str().unwrap(),
        platform_authorization: credential.as_ref(),
        settings: given_context.and_then(|given| given.settings.as_ref()),
        stats: given_context.and_then(|given| given.stats.as_ref()),
        client_certificate: None,
    };
    let request = &vector.request;
    let outgoing = Outgoing {
        method: &request.method,
        authority: &request.authority,
        path: &request.path,
        query: request.query.as_deref(),
    };
    let now = Timestamp::from_secs(vector.now);
    let mut headers = if let Some(given) = given {
        let claims: Value = serde_json::from_slice(&decode(given.split('.').nth(1).unwrap())).unwrap();
        let token_id = claims["jti"].as_str().unwrap();
        let tokens = signer.tokens.as_ref().unwrap();
        let own = render::of_request(&names, &input).unwrap();
        let digests = Digests::of(&own, &names);
        let statement = Statement { authn: input.authn, identity: input.identity(), digests };
        let again = tokens.token_with_id(&keyring, 0, statement, now, token_id).unwrap();
        if vector.token == "ES256" {
            assert_eq!(again.rsplit_once('.').unwrap().0, given.rsplit_once('.').unwrap().0);
        } else {
            assert_eq!(again, given);
        }
        let token = jwt::Token { value: HeaderValue::from_str(given).unwrap(), reuse_until: now };
        let keys = Positions { message: Some(0), token: Some(0) };
        let prepared = signer.prepare(statement, keys, Some(token), now).unwrap();
        signer.forced(prepared, own, &outgoing, input.request_id, now)
    } else {
        signer.map(&outgoing, &input, None, now).unwrap()
    };
    headers.remove("host");
    headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

/// All keys, the one for tokens first.
fn keyring(keys: &KeyFile, first: &str) -> Keyring {
    let key = |id: &str, algorithm, secret: &str| SigningKey {
        id: id.into(),
        algorithm,
        secret: Secret::from(secret),
        active_from: None,
    };
    let mut signing = vec![
        ("EdDSA", key("e1", JwtAlgorithm::EdDsa, &keys.eddsa)),
        ("ES256", key("p1", JwtAlgorithm::Es256, &keys.es256)),
        ("HS256", key("s1", JwtAlgorithm::Hs256, &keys.hs256_root)),
    ];
    signing.sort_by_key(|(name, _)| *name != first);
    let signing: Vec<_> = signing.into_iter().map(|(_, key)| key).collect();
    Keyring::new(&[Key { id: "h1".into(), secret: Secret::from(keys.hmac_root.as_str()) }], &signing).unwrap()
}

// What follows writes the files.

fn write() {
    let keys = new_keys();
    let accepted = accepted::all(&keys);
    let refused = refused::all(&keys, &accepted[0].request);
    for (name, value) in [
        ("keys.json", serde_json::to_string_pretty(&keys)),
        ("accepted.json", serde_json::to_string_pretty(&accepted)),
        ("refused.json", serde_json::to_string_pretty(&refused)),
    ] {
        std::fs::write(folder().join(name), value.unwrap() + "\n").unwrap();
    }
}

fn new_keys() -> KeyFile {
    let text = |algorithm| generate(algorithm).unwrap().expose_text().unwrap().to_owned();
    let mut keys = KeyFile {
        about: "Keys for tests. They are public; never use them for anything else.".into(),
        audience: "captions".into(),
        issuer: "countersign".into(),
        hmac_root: text(JwtAlgorithm::Hs256),
        hs256_root: text(JwtAlgorithm::Hs256),
        eddsa: text(JwtAlgorithm::EdDsa),
        es256: text(JwtAlgorithm::Es256),
        hmac_derived: String::new(),
        hs256_derived: String::new(),
        jwks: Value::Null,
    };
    keys.hmac_derived =
        derive_text(&Secret::from(keys.hmac_root.as_str()), Purpose::MessageSignature, &keys.audience);
    keys.hs256_derived = derive_text(&Secret::from(keys.hs256_root.as_str()), Purpose::Token, &keys.audience);
    let document = jwks::Jwks::new(&[&keyring(&keys, "EdDSA")], Duration::from_mins(5));
    keys.jwks = serde_json::from_slice(document.body()).unwrap();
    keys
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    &request.headers.iter().find(|(found, _)| found == name).unwrap().1
}

fn decode(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}
