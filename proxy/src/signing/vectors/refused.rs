//! Requests that no client may believe: altered on their way, signed over too little, dated wrongly, or with a token
//! that says something else. Each with the word for its reason.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{KeyFile, NOW, Refused, Request, decode, header, keyring};
use crate::secret::Secret;
use crate::signing::keyring::{Material, Purpose, derive};

pub(super) fn all(keys: &KeyFile, good: &Request) -> Vec<Refused> {
    let mut forger = Forger { keys, good, refused: Vec::new() };
    forger.altered_targets();
    forger.altered_headers();
    forger.altered_signatures();
    forger.signed_wrongly();
    forger.wrong_claims();
    forger.wrong_token_headers();
    forger.refused
}

struct Forger<'a> {
    keys: &'a KeyFile,
    good: &'a Request,
    refused: Vec<Refused>,
}

impl Forger<'_> {
    fn add(&mut self, name: &str, code: &str, change: impl FnOnce(&mut Request)) {
        let mut request = self.good.clone();
        change(&mut request);
        self.refused.push(Refused { name: name.into(), now: NOW, request, code: code.into() });
    }

    fn add_at(&mut self, now: u64, name: &str, code: &str) {
        self.refused.push(Refused { name: name.into(), now, request: self.good.clone(), code: code.into() });
    }

    /// A change that is signed with the right key; `drop` names a component that the signature leaves out.
    fn add_signed(&mut self, name: &str, code: &str, drop: &str, change: impl FnOnce(&mut Request)) {
        let keys = self.keys;
        self.add(name, code, |request| {
            change(request);
            sign_again(keys, request, drop, |parameters| parameters);
        });
    }

    /// The good request, signed with the right key under other parameters.
    fn add_parameters(&mut self, name: &str, code: &str, from: &str, to: &str) {
        let keys = self.keys;
        self.add(name, code, |request| {
            sign_again(keys, request, "", |parameters| parameters.replace(from, to));
        });
    }

    fn add_token(&mut self, name: &str, code: &str, token: &str) {
        self.add_signed(name, code, "", |request| replace(request, "x-context-jwt", |_| token.to_owned()));
    }

    fn altered_targets(&mut self) {
        self.add("another method", "mismatch", |request| request.method = "POST".into());
        self.add("another host", "mismatch", |request| request.authority = "other.example".into());
        self.add("another path", "mismatch", |request| request.path = "/admin".into());
        self.add("another query", "mismatch", |request| request.query = Some("page=3".into()));
        self.add("no query", "mismatch", |request| request.query = None);
    }

    fn altered_headers(&mut self) {
        let user = "x-context-user-id";
        self.add("another user", "mismatch", |request| replace(request, user, |_| "43".into()));
        self.add("another role", "mismatch", |request| {
            replace(request, "x-context-roles", |roles| format!("{roles},root"));
        });
        self.add("a header the signature does not know", "not_covered", |request| {
            append(request, "x-context-tenant");
        });
        self.add("a spelling that frameworks fold", "not_covered", |request| {
            append(request, "x_context_user_id");
        });
        self.add("a second value", "repeated", |request| append(request, user));
        self.add("a second signature", "repeated", |request| append(request, "signature"));
        self.add("no signature", "missing", |request| remove(request, "signature"));
        self.add("no signature input", "missing", |request| remove(request, "signature-input"));
        self.add("a covered header that is gone", "missing", |request| remove(request, "x-context-roles"));
    }

    fn altered_signatures(&mut self) {
        for (name, code, from, to) in [
            ("a second label", "malformed_signature", "countersign=", "b=(), countersign="),
            ("another label", "malformed_signature", "countersign=", "sig1="),
            ("another way to write the same", "malformed_signature", "=(\"", "=( \""),
            ("an unknown key", "unknown_key", "keyid=\"h1\"", "keyid=\"h2\""),
            ("another algorithm than the key's", "wrong_algorithm", "hmac-sha256", "ed25519"),
        ] {
            self.add(name, code, |request| {
                replace(request, "signature-input", |input| input.replacen(from, to, 1));
            });
        }
        self.add_at(NOW + 36, "too late", "expired");
        self.add_at(NOW - 6, "too early", "not_yet_valid");
    }

    fn signed_wrongly(&mut self) {
        self.add_signed("a signature without the path", "missing_component", "@path", |_| {});
        self.add_signed("a signature without authn", "missing_component", "x-context-authn", |_| {});
        self.add_signed("a signature without the user", "not_covered", "x-context-user-id", |_| {});
        self.add_parameters("another tag", "malformed_signature", "tag=\"countersign\"", "tag=\"other\"");
        self.add_parameters("a signature for an hour", "too_long_lived", "1800000030", "1800003600");
        self.add_parameters(
            "a signature that does not end",
            "malformed_signature",
            ";expires=1800000030",
            "",
        );
        self.add_parameters("another nonce", "contradiction", "nonce=\"01K-0\"", "nonce=\"x\"");
        self.add_signed("a value that is no UTF-8", "malformed_value", "", |request| {
            replace(request, "x-context-user-name", |_| "%FF".into());
        });
        self.add_signed("no token", "missing", "", |request| remove(request, "x-context-jwt"));
        self.add_signed("nobody with a user's headers", "contradiction", "", |request| {
            replace(request, "x-context-authn", |_| "none".into());
        });
    }

    fn wrong_claims(&mut self) {
        let [head, claims] = self.token_parts();
        for (name, code, claim, value) in [
            ("a token for another application", "wrong_audience", "aud", json!("mail")),
            ("a token for many applications", "wrong_audience", "aud", json!(["captions"])),
            ("a token of another issuer", "wrong_issuer", "iss", json!("x")),
            ("a token that is over", "expired", "exp", json!(NOW - 60)),
            ("a token for a day", "too_long_lived", "exp", json!(NOW + 86_400)),
            ("a token of the future", "not_yet_valid", "iat", json!(NOW + 60)),
            ("a token of somebody else", "contradiction", "sub", json!("43")),
            ("a token with a number for a user", "contradiction", "sub", json!(42)),
            ("a token with more roles", "contradiction", "roles", json!(["admin", "reviewer", "root"])),
        ] {
            let mut claims = claims.clone();
            claims[claim] = value;
            let token = mint(self.keys, &head, &claims);
            self.add_token(name, code, &token);
        }
        let mut claims = claims;
        claims["sub"] = json!("43");
        let (signed, signature) = header(self.good, "x-context-jwt").rsplit_once('.').unwrap();
        let head = signed.split_once('.').unwrap().0;
        let token = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        self.add_token("a token that was altered", "mismatch", &token);
    }

    fn wrong_token_headers(&mut self) {
        let [head, claims] = self.token_parts();
        for (name, code, parameter, value) in [
            ("a token without algorithm", "wrong_algorithm", "alg", json!("none")),
            ("the public key as an HMAC key", "wrong_algorithm", "alg", json!("HS256")),
            ("a token of another type", "malformed_token", "typ", json!("JWT")),
            ("a token with an extension", "malformed_token", "crit", json!(["b64"])),
            ("a token under an unknown key", "unknown_key", "kid", json!("e1")),
        ] {
            let mut head = head.clone();
            head[parameter] = value;
            let token = mint(self.keys, &head, &claims);
            self.add_token(name, code, &token);
        }
        self.add_token("no token at all", "malformed_token", "none");
    }

    fn token_parts(&self) -> [Value; 2] {
        let mut parts = header(self.good, "x-context-jwt").split('.');
        [(); 2].map(|()| serde_json::from_slice(&decode(parts.next().unwrap())).unwrap())
    }
}

fn replace(request: &mut Request, name: &str, change: impl FnOnce(&str) -> String) {
    let field = request.headers.iter_mut().find(|(found, _)| found == name).unwrap();
    field.1 = change(&field.1);
}

fn append(request: &mut Request, name: &str) {
    request.headers.push((name.into(), "43".into()));
}

fn remove(request: &mut Request, name: &str) {
    request.headers.retain(|(found, _)| found != name);
}

/// Signs by hand what the proxy would never sign.
fn sign_again(keys: &KeyFile, request: &mut Request, drop: &str, change: impl FnOnce(String) -> String) {
    request.headers.retain(|(name, _)| !name.starts_with("signature"));
    let query = format!("?{}", request.query.as_deref().unwrap_or_default());
    let target = [
        ("@method", &request.method),
        ("@authority", &request.authority),
        ("@path", &request.path),
        ("@query", &query),
    ];
    let target = target.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
    let mut components: Vec<_> = target.chain(request.headers.iter().cloned()).collect();
    components.retain(|(name, _)| name != drop);
    let listed: Vec<_> = components.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let parameters = change(format!(
        "({});created=1800000000;expires=1800000030;nonce=\"01K-0\";alg=\"hmac-sha256\";keyid=\"h1\";tag=\"countersign\"",
        listed.join(" ")
    ));
    let mut lines: Vec<_> = components.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    lines.push(format!("\"@signature-params\": {parameters}"));
    let key = derive(&Secret::from(keys.hmac_root.as_str()), Purpose::MessageSignature, &keys.audience);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.expose());
    let tag = STANDARD.encode(ring::hmac::sign(&key, lines.join("\n").as_bytes()));
    request.headers.push(("signature-input".into(), format!("countersign={parameters}")));
    request.headers.push(("signature".into(), format!("countersign=:{tag}:")));
}

fn mint(keys: &KeyFile, head: &Value, claims: &Value) -> String {
    let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{head}.{claims}");
    let keyring = keyring(keys, "EdDSA");
    let Material::Ed25519(pair) = &keyring.keys[0].material else { panic!("the first key is Ed25519") };
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())))
}
