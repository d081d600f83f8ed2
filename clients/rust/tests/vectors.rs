//! The vectors that all clients share: what must be read from good requests, and why bad ones are refused.
#![expect(clippy::unwrap_used, reason = "a test whose vectors cannot be read should stop there")]

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use countersign_verify::{Authn, Demand, Keys, Request, Verified, Verifier, VerifyError};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

fn read(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn verifier() -> Verifier {
    let file = read("keys.json");
    let keys = Keys::default()
        .with_hmac("h1", file["hmac_derived"].as_str().unwrap())
        .and_then(|keys| keys.with_hs256("s1", file["hs256_derived"].as_str().unwrap()))
        .and_then(|keys| keys.with_jwks(&file["jwks"].to_string()))
        .unwrap();
    Verifier::new(keys, file["audience"].as_str().unwrap()).from_issuer(file["issuer"].as_str().unwrap())
}

fn verify(verifier: &Verifier, vector: &Value) -> Result<Verified, VerifyError> {
    let request = &vector["request"];
    let mut headers = HeaderMap::new();
    for pair in request["headers"].as_array().unwrap() {
        let name = HeaderName::try_from(pair[0].as_str().unwrap()).unwrap();
        headers.append(name, HeaderValue::from_str(pair[1].as_str().unwrap()).unwrap());
    }
    let request = Request {
        method: request["method"].as_str().unwrap(),
        authority: request["authority"].as_str().unwrap(),
        path: request["path"].as_str().unwrap(),
        query: request["query"].as_str(),
        headers: &headers,
    };
    verifier.verify(&request, UNIX_EPOCH + Duration::from_secs(vector["now"].as_u64().unwrap()))
}

fn as_json(verified: Verified) -> Value {
    let authn = match verified.authn {
        Authn::Session => "session",
        Authn::None => "none",
        Authn::Unchecked => "unchecked",
        Authn::Undetermined => "undetermined",
    };
    let platform = verified.platform.map(|platform| {
        json!({"id": platform.id, "type": platform.kind, "name": platform.name, "url": platform.url})
    });
    let credential = verified.platform_authorization.map(|bytes| String::from_utf8(bytes).unwrap());
    let mut all = json!({
        "authn": authn, "request_id": verified.request_id, "session_id": verified.session_id,
        "user_id": verified.user_id, "user_name": verified.user_name, "roles": verified.roles,
        "platform": platform, "auth_time": verified.auth_time, "actor_id": verified.actor_id,
        "settings": verified.settings, "stats": verified.stats, "platform_authorization": credential,
    });
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    all
}

#[test]
fn good_requests_are_read_as_the_proxy_meant_them() {
    let verifier = verifier();
    let vectors = read("accepted.json");
    assert!(vectors.as_array().unwrap().len() >= 6);
    for vector in vectors.as_array().unwrap() {
        let context =
            verify(&verifier, vector).unwrap_or_else(|problem| panic!("{}: {problem}", vector["name"]));
        assert_eq!(as_json(context), vector["verified"], "{}", vector["name"]);
    }
}

#[test]
fn bad_requests_are_refused_for_their_reason() {
    let verifier = verifier();
    let vectors = read("refused.json");
    assert!(vectors.as_array().unwrap().len() >= 30);
    for vector in vectors.as_array().unwrap() {
        match verify(&verifier, vector) {
            Ok(_) => panic!("{} was believed", vector["name"]),
            Err(problem) => assert_eq!(problem.code(), vector["code"], "{}", vector["name"]),
        }
    }
}

#[test]
fn a_token_alone_tells_the_session_where_that_is_all_that_is_demanded() {
    let verifier = verifier().demanding(Demand::Token);
    for vector in read("accepted.json").as_array().unwrap() {
        let context = verify(&verifier, vector).unwrap();
        let told = as_json(context);
        for name in ["authn", "session_id", "user_id", "roles", "platform", "auth_time", "actor_id"] {
            assert_eq!(told.get(name), vector["verified"].get(name), "{}: {name}", vector["name"]);
        }
    }
}

#[test]
fn a_verifier_of_another_application_believes_neither_signature_nor_token() {
    let file = read("keys.json");
    let keys = Keys::default().with_jwks(&file["jwks"].to_string()).unwrap();
    let vectors = read("accepted.json");
    let vector = &vectors[0];
    let other = Verifier::new(keys, "mail");
    assert_eq!(verify(&other, vector).unwrap_err().code(), "unknown_key");
    assert_eq!(verify(&other.demanding(Demand::Token), vector).unwrap_err().code(), "wrong_audience");
}

#[test]
fn keys_that_are_too_short_or_damaged_are_refused() {
    assert!(Keys::default().with_hmac("h", "c2hvcnQ=").is_err());
    assert!(Keys::default().with_hs256("h", "not base64").is_err());
    assert!(
        Keys::default().with_jwks(r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"a"}]}"#).is_err()
    );
    assert!(Keys::default().with_jwks("[]").is_err());
}
