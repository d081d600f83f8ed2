//! Requests that every client must believe, and what it must read from them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Accepted, Given, KeyFile, NOW, Request, produce};

/// One request that is to be made: what the proxy is set to, what it knows, what comes in.
struct Row {
    name: &'static str,
    message_signature: &'static str,
    token: &'static str,
    authn: &'static str,
    context: Option<Given>,
    request: Request,
}

pub(super) fn all(keys: &KeyFile) -> Vec<Accepted> {
    rows().into_iter().enumerate().map(|(position, row)| accepted(keys, position, row)).collect()
}

fn rows() -> Vec<Row> {
    let plain = || Row {
        name: "a session with platform",
        message_signature: "hmac-sha256",
        token: "EdDSA",
        authn: "session",
        context: Some(known("Ana", &json!(["admin", "reviewer"]), &platform("Photos"))),
        request: request("GET", "/albums", Some("page=2")),
    };
    let nobody = || Row { context: None, ..plain() };
    let mut rich = known("Ana", &json!(["admin"]), &platform("Photos"));
    rich.settings = Some(json!({"language": "de", "note": "ä, 100 %"}));
    rich.stats = Some(json!({"posts": 12}));
    rich.platform_authorization = Some("Bearer päss".into());
    rich.session.actor = Some("1".parse().unwrap());
    let injected = " Änne\r\nx-context-roles: admin\0 \u{202e}東京 100%\t";
    let foreign = known(injected, &json!(["a,b", " c ", "d%2C", "é"]), &platform("%41 ~ \u{7f}"));
    vec![
        plain(),
        Row { name: "the same with public keys only", message_signature: "ed25519", ..plain() },
        Row { name: "a token by ES256", token: "ES256", ..plain() },
        Row { name: "a token by HS256", token: "HS256", ..plain() },
        Row { name: "nobody", authn: "none", request: request("POST", "/", None), ..nobody() },
        Row {
            name: "not checked",
            authn: "unchecked",
            request: request("GET", "/static/a%20b.css", Some("")),
            ..nobody()
        },
        Row { name: "an outage on an optional route", authn: "undetermined", ..nobody() },
        Row {
            name: "names in any language and with line breaks",
            context: Some(foreign),
            request: request("GET", "/%C3%A4", Some("q=%20&x=%2F")),
            ..plain()
        },
        Row {
            name: "a user without roles and platform",
            context: Some(known("", &json!([]), &Value::Null)),
            ..plain()
        },
        Row { name: "settings, stats, credential and actor", context: Some(rich), ..plain() },
    ]
}

fn accepted(keys: &KeyFile, position: usize, row: Row) -> Accepted {
    let verified = expected(row.authn, row.context.as_ref(), &format!("01K-{position}"));
    let mut vector = Accepted {
        name: row.name.into(),
        message_signature: row.message_signature.into(),
        token: row.token.into(),
        now: NOW,
        authn: row.authn.into(),
        context: row.context,
        request: row.request,
        verified,
    };
    vector.request.headers = produce(keys, &vector, None);
    vector
}

fn request(method: &str, path: &str, query: Option<&str>) -> Request {
    Request {
        method: method.into(),
        authority: "app.example".into(),
        path: path.into(),
        query: query.map(Into::into),
        headers: Vec::new(),
    }
}

fn platform(name: &str) -> Value {
    let url = "https://social.example/";
    json!({"id": "7", "user": "42", "type": "mastodon", "name": name, "url": url, "active": true, "default": true})
}

fn known(name: &str, roles: &Value, platform: &Value) -> Given {
    let session = json!({"id": URL_SAFE_NO_PAD.encode([7; 32]), "user": "42", "platform": "7",
        "created": 1_799_990_000_000_u64, "authenticated": 1_799_995_000_000_u64,
        "expires": 1_800_030_000_000_u64, "version": 3});
    let user = json!({"id": "42", "name": name, "roles": roles, "active": true});
    serde_json::from_value(json!({"session": session, "user": user, "platform": platform})).unwrap()
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
