//! The test vectors that tie the proxy to its clients. `COUNTERSIGN_WRITE_VECTORS=1 cargo test vectors` writes them
//! anew; without it the files are only read: the proxy must still write these bytes, the clients must judge them so.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keyring::{Purpose, derive, derive_text, generate};
use super::*;
use crate::context::{Authn, Context, Layer, Platform, Session, User};
use crate::headers::Settings;
use crate::headers::render::render;
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
        keyring: keyring.clone(),
        message_signature: Some(message_signature),
        jwt: true,
        message_lifetime: MESSAGE_LIFETIME,
        jwt_lifetime: JWT_LIFETIME,
        jwt_cache: 10,
        budget: 8192,
    })
    .unwrap();
    let context = vector.context.as_ref().map(|given| Context {
        session: Arc::new(given.session.clone()),
        user: Arc::new(given.user.clone()),
        platform: given.platform.clone().map(Arc::new),
        platform_refused: false,
        last_seen: Timestamp::from_secs(NOW),
        layer: Layer::Process,
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
    };
    let request = &vector.request;
    let outgoing = Outgoing {
        method: &request.method,
        authority: &request.authority,
        path: &request.path,
        query: request.query.as_deref(),
    };
    let now = Timestamp::from_secs(vector.now);
    let settings = Settings { prefix: PREFIX.into(), budget: 8192 };
    let mut headers = render(&names, &settings, &input).unwrap();
    if let Some(given) = given {
        let claims: Value = serde_json::from_slice(&decode(given.split('.').nth(1).unwrap())).unwrap();
        let token_id = claims["jti"].as_str().unwrap();
        let tokens = signer.tokens.as_ref().unwrap();
        let again = tokens.token_with_id(&keyring, 0, input.authn, input.identity(), now, token_id).unwrap();
        if vector.token == "ES256" {
            assert_eq!(again.rsplit_once('.').unwrap().0, given.rsplit_once('.').unwrap().0);
        } else {
            assert_eq!(again, given);
        }
        let name = names.of(ContextHeader::Jwt).clone();
        headers.push((name, HeaderValue::from_str(given).unwrap()));
        let message = signer.message.as_ref().unwrap();
        headers.extend(message.sign(&keyring, &outgoing, &headers, input.request_id, now).unwrap());
    } else {
        signer.sign(&outgoing, &mut headers, &input, now).unwrap();
    }
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
    let accepted = new_accepted(&keys);
    let refused = new_refused(&keys, &accepted);
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
    let document = jwks::Jwks::new(&keyring(&keys, "EdDSA"), Duration::from_mins(5));
    keys.jwks = serde_json::from_slice(document.body()).unwrap();
    keys
}

fn new_accepted(keys: &KeyFile) -> Vec<Accepted> {
    let request = |method: &str, path: &str, query: Option<&str>| Request {
        method: method.into(),
        authority: "app.example".into(),
        path: path.into(),
        query: query.map(Into::into),
        headers: Vec::new(),
    };
    let get = || request("GET", "/albums", Some("page=2"));
    let platform = |name: &str| {
        json!({"id": "7", "user": "42", "type": "mastodon", "name": name,
        "url": "https://social.example/", "active": true, "default": true})
    };
    let session = json!({"id": URL_SAFE_NO_PAD.encode([7; 32]), "user": "42", "platform": "7",
        "created": 1_799_990_000_000_u64, "authenticated": 1_799_995_000_000_u64,
        "expires": 1_800_030_000_000_u64, "version": 3});
    let known = |name: &str, roles: Value, platform: Value| -> Option<Given> {
        let user = json!({"id": "42", "name": name, "roles": roles, "active": true});
        serde_json::from_value(json!({"session": session, "user": user, "platform": platform})).unwrap()
    };
    let plain = || known("Ana", json!(["admin", "reviewer"]), platform("Photos"));
    let mut rich = known("Ana", json!(["admin"]), platform("Photos"));
    if let Some(rich) = &mut rich {
        rich.settings = Some(json!({"language": "de", "note": "ä, 100 %"}));
        rich.stats = Some(json!({"posts": 12}));
        rich.platform_authorization = Some("Bearer päss".into());
        rich.session.actor = Some("1".parse().unwrap());
    }
    let injected = " Änne\r\nx-context-roles: admin\0 \u{202e}東京 100%\t";
    let rows: Vec<(&str, &str, &str, &str, Option<Given>, Request)> = vec![
        ("a session with platform", "hmac-sha256", "EdDSA", "session", plain(), get()),
        ("the same with public keys only", "ed25519", "EdDSA", "session", plain(), get()),
        ("a token by ES256", "hmac-sha256", "ES256", "session", plain(), get()),
        ("a token by HS256", "hmac-sha256", "HS256", "session", plain(), get()),
        ("nobody", "hmac-sha256", "EdDSA", "none", None, request("POST", "/", None)),
        (
            "not checked",
            "hmac-sha256",
            "EdDSA",
            "unchecked",
            None,
            request("GET", "/static/a%20b.css", Some("")),
        ),
        ("an outage on an optional route", "hmac-sha256", "EdDSA", "undetermined", None, get()),
        (
            "names in any language and with line breaks",
            "hmac-sha256",
            "EdDSA",
            "session",
            known(injected, json!(["a,b", " c ", "d%2C", "é"]), platform("%41 ~ \u{7f}")),
            request("GET", "/%C3%A4", Some("q=%20&x=%2F")),
        ),
        (
            "a user without roles and platform",
            "hmac-sha256",
            "EdDSA",
            "session",
            known("", json!([]), Value::Null),
            get(),
        ),
        ("settings, stats, credential and actor", "hmac-sha256", "EdDSA", "session", rich, get()),
    ];
    let vector = |(position, row): (usize, (&str, &str, &str, &str, Option<Given>, Request))| {
        let (name, message_signature, token, authn, context, request) = row;
        let verified = expected(authn, context.as_ref(), &format!("01K-{position}"));
        let mut vector = Accepted {
            name: name.into(),
            message_signature: message_signature.into(),
            token: token.into(),
            now: NOW,
            authn: authn.into(),
            context,
            request,
            verified,
        };
        vector.request.headers = produce(keys, &vector, None);
        vector
    };
    rows.into_iter().enumerate().map(vector).collect()
}

/// What a client must have read, written down from the facts and not from the headers.
fn expected(authn: &str, context: Option<&Given>, request_id: &str) -> Value {
    let mut verified = json!({"authn": authn, "request_id": request_id, "roles": []});
    if let Some(given) = context {
        verified["session_id"] = json!(given.session.id);
        verified["user_id"] = json!(given.user.id);
        verified["roles"] = json!(given.user.roles);
        verified["auth_time"] = json!(given.session.authenticated.as_secs());
        let texts = [
            ("user_name", (!given.user.name.is_empty()).then(|| json!(given.user.name))),
            ("actor_id", given.session.actor.as_ref().map(|actor| json!(actor))),
            ("settings", given.settings.clone()),
            ("stats", given.stats.clone()),
            ("platform_authorization", given.platform_authorization.clone().map(Value::from)),
            (
                "platform",
                given.platform.as_ref().map(|platform| {
                    json!({"id": platform.id, "type": platform.kind, "name": platform.name, "url": platform.url})
                }),
            ),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                verified[name] = value;
            }
        }
    }
    verified
}

fn new_refused(keys: &KeyFile, accepted: &[Accepted]) -> Vec<Refused> {
    let good = &accepted[0].request;
    let mut rows = Vec::new();
    let mut add = |name: &str, code: &str, now: u64, request: Request| {
        rows.push(Refused { name: name.into(), now, request, code: code.into() });
    };
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let replaced = |name: &str, change: &dyn Fn(&str) -> String| {
        with(&|request| {
            let value = request.headers.iter_mut().find(|(found, _)| found == name).unwrap();
            value.1 = change(&value.1);
        })
    };
    let added = |name: &str, value: &str| with(&|request| request.headers.push((name.into(), value.into())));
    let without = |name: &str| with(&|request| request.headers.retain(|(found, _)| found != name));

    add("another method", "mismatch", NOW, with(&|request| request.method = "POST".into()));
    add("another host", "mismatch", NOW, with(&|request| request.authority = "other.example".into()));
    add("another path", "mismatch", NOW, with(&|request| request.path = "/admin".into()));
    add("another query", "mismatch", NOW, with(&|request| request.query = Some("page=3".into())));
    add("no query", "mismatch", NOW, with(&|request| request.query = None));
    add("another user", "mismatch", NOW, replaced("x-context-user-id", &|_| "43".into()));
    add("another role", "mismatch", NOW, replaced("x-context-roles", &|roles| format!("{roles},root")));
    add("a header the signature does not know", "not_covered", NOW, added("x-context-tenant", "1"));
    add("a spelling that frameworks fold", "not_covered", NOW, added("x_context_user_id", "43"));
    add("a second value", "repeated", NOW, added("x-context-user-id", "43"));
    add("a second signature", "repeated", NOW, added("signature", "countersign=:AAAA:"));
    add("no signature", "missing", NOW, without("signature"));
    add("no signature input", "missing", NOW, without("signature-input"));
    add("a covered header that is gone", "missing", NOW, without("x-context-roles"));
    add(
        "a second label",
        "malformed_signature",
        NOW,
        replaced("signature-input", &|input| format!("{input}, b=()")),
    );
    add(
        "another label",
        "malformed_signature",
        NOW,
        replaced("signature-input", &|input| input.replacen("countersign=", "sig1=", 1)),
    );
    add(
        "another way to write the same",
        "malformed_signature",
        NOW,
        replaced("signature-input", &|input| input.replacen("(\"@method\" ", "( \"@method\"  ", 1)),
    );
    add(
        "an unknown key",
        "unknown_key",
        NOW,
        replaced("signature-input", &|input| input.replace("keyid=\"h1\"", "keyid=\"h2\"")),
    );
    add(
        "another algorithm than the key's",
        "wrong_algorithm",
        NOW,
        replaced("signature-input", &|input| input.replace("hmac-sha256", "ed25519")),
    );
    add("too late", "expired", NOW + 36, good.clone());
    add("too early", "not_yet_valid", NOW - 6, good.clone());

    let token = header(good, "x-context-jwt");
    let resigned = |change: &dyn Fn(&mut Request), drop: &str, parameters: &dyn Fn(String) -> String| {
        let mut request = with(change);
        sign_again(keys, &mut request, drop, parameters);
        request
    };
    let as_it_was = |parameters: String| parameters;
    let with_token = |token: String| {
        let change = move |request: &mut Request| {
            request
                .headers
                .iter_mut()
                .find(|(name, _)| name == "x-context-jwt")
                .unwrap()
                .1
                .clone_from(&token);
        };
        resigned(&change, "", &as_it_was)
    };
    add("a signature without the path", "missing_component", NOW, resigned(&|_| {}, "@path", &as_it_was));
    add(
        "a signature without authn",
        "missing_component",
        NOW,
        resigned(&|_| {}, "x-context-authn", &as_it_was),
    );
    add(
        "a signature without the user",
        "not_covered",
        NOW,
        resigned(&|_| {}, "x-context-user-id", &as_it_was),
    );
    add(
        "another tag",
        "malformed_signature",
        NOW,
        resigned(&|_| {}, "", &|p| p.replace("tag=\"countersign\"", "tag=\"other\"")),
    );
    add(
        "a signature for an hour",
        "too_long_lived",
        NOW,
        resigned(&|_| {}, "", &|p| p.replace("expires=1800000030", "expires=1800003600")),
    );
    add(
        "a signature that does not end",
        "malformed_signature",
        NOW,
        resigned(&|_| {}, "", &|p| p.replace(";expires=1800000030", "")),
    );
    add(
        "another nonce",
        "contradiction",
        NOW,
        resigned(&|_| {}, "", &|p| p.replace("nonce=\"01K-0\"", "nonce=\"x\"")),
    );
    let undecodable = |request: &mut Request| {
        request.headers.iter_mut().find(|(name, _)| name == "x-context-user-name").unwrap().1 = "%FF".into();
    };
    add("a value that is no UTF-8", "malformed_value", NOW, resigned(&undecodable, "", &as_it_was));
    let no_token = |request: &mut Request| request.headers.retain(|(name, _)| name != "x-context-jwt");
    add("no token", "missing", NOW, resigned(&no_token, "", &as_it_was));
    let (mut head, claims) = {
        let mut parts =
            token.split('.').map(|part| serde_json::from_slice::<Value>(&decode(part)).unwrap_or_default());
        (parts.next().unwrap(), parts.next().unwrap())
    };
    let claim = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let eddsa = keyring(keys, "EdDSA");
    add(
        "a token for another application",
        "wrong_audience",
        NOW,
        with_token(mint(&eddsa, &head, &claim("aud", json!("mail")))),
    );
    add(
        "a token for many applications",
        "wrong_audience",
        NOW,
        with_token(mint(&eddsa, &head, &claim("aud", json!(["captions"])))),
    );
    add(
        "a token of another issuer",
        "wrong_issuer",
        NOW,
        with_token(mint(&eddsa, &head, &claim("iss", json!("x")))),
    );
    add(
        "a token that is over",
        "expired",
        NOW,
        with_token(mint(&eddsa, &head, &claim("exp", json!(NOW - 60)))),
    );
    add(
        "a token for a day",
        "too_long_lived",
        NOW,
        with_token(mint(&eddsa, &head, &claim("exp", json!(NOW + 86_400)))),
    );
    add(
        "a token of the future",
        "not_yet_valid",
        NOW,
        with_token(mint(&eddsa, &head, &claim("iat", json!(NOW + 60)))),
    );
    add(
        "a token of somebody else",
        "contradiction",
        NOW,
        with_token(mint(&eddsa, &head, &claim("sub", json!("43")))),
    );
    add(
        "a token with a number for a user",
        "contradiction",
        NOW,
        with_token(mint(&eddsa, &head, &claim("sub", json!(42)))),
    );
    add(
        "a token with more roles",
        "contradiction",
        NOW,
        with_token(mint(&eddsa, &head, &claim("roles", json!(["root"])))),
    );
    add(
        "a token that was altered",
        "mismatch",
        NOW,
        with_token({
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let (head, _) = signed.split_once('.').unwrap();
            format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claim("sub", json!("43")).to_string()))
        }),
    );
    head["alg"] = json!("none");
    add("a token without algorithm", "wrong_algorithm", NOW, with_token(mint(&eddsa, &head, &claims)));
    head["alg"] = json!("HS256");
    add("the public key as an HMAC key", "wrong_algorithm", NOW, with_token(mint(&eddsa, &head, &claims)));
    head["alg"] = json!("EdDSA");
    head["typ"] = json!("JWT");
    add("a token of another type", "malformed_token", NOW, with_token(mint(&eddsa, &head, &claims)));
    head["typ"] = json!("txntoken+jwt");
    head["crit"] = json!(["b64"]);
    add("a token with an extension", "malformed_token", NOW, with_token(mint(&eddsa, &head, &claims)));
    rows
}

/// Signs by hand what the proxy would never sign: without one component, or with other parameters.
fn sign_again(keys: &KeyFile, request: &mut Request, drop: &str, parameters: &dyn Fn(String) -> String) {
    request.headers.retain(|(name, _)| !name.starts_with("signature"));
    let query = format!("?{}", request.query.as_deref().unwrap_or_default());
    let derived = [
        ("@method", &request.method),
        ("@authority", &request.authority),
        ("@path", &request.path),
        ("@query", &query),
    ];
    let mut components: Vec<(String, String)> =
        derived.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    components.extend(request.headers.iter().cloned());
    components.retain(|(name, _)| name != drop);
    let listed: Vec<_> = components.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let tail = ";created=1800000000;expires=1800000030;nonce=\"01K-0\";alg=\"hmac-sha256\";keyid=\"h1\";tag=\"countersign\"";
    let parameters = parameters(format!("({}){tail}", listed.join(" ")));
    let mut base: String = components.iter().map(|(name, value)| format!("\"{name}\": {value}\n")).collect();
    base += &format!("\"@signature-params\": {parameters}");
    let key = derive(&Secret::from(keys.hmac_root.as_str()), Purpose::MessageSignature, &keys.audience);
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.expose()), base.as_bytes());
    request.headers.push(("signature-input".into(), format!("countersign={parameters}")));
    request.headers.push(("signature".into(), format!("countersign=:{}:", STANDARD.encode(tag))));
}

fn mint(keyring: &Keyring, head: &Value, claims: &Value) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(head.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let keyring::Material::Ed25519(pair) = &keyring.keys[0].material else {
        panic!("the first key is Ed25519")
    };
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())))
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
