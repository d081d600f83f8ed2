//! The bytes of the signatures, and that an independent verifier accepts them, all of them and nothing else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_verify as client;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::keyring::{Purpose, derive_text, generate};
use super::*;
use crate::context::{Authn, Context, LastUse, Layer, Platform, Session, SessionId, User};
use crate::headers::forwarded::{ClientOrigin, Scheme};
use crate::keys::{JwtAlgorithm, Key, SigningKey};
use crate::secret::Secret;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ROOT: &str = "an HMAC root key of 32 bytes or more";

struct Bench {
    signer: Signer,
    verifier: client::Verifier,
}

impl Bench {
    fn new(message: MessageAlgorithm, algorithm: JwtAlgorithm) -> Self {
        let token = SigningKey {
            id: "k1".into(),
            algorithm,
            secret: generate(algorithm).unwrap(),
            active_from: None,
        };
        // Message signatures by Ed25519 need such a key, whatever the tokens are signed with.
        let message_key = SigningKey {
            id: "k2".into(),
            algorithm: JwtAlgorithm::EdDsa,
            secret: generate(JwtAlgorithm::EdDsa).unwrap(),
            active_from: None,
        };
        let hmac = Key { id: "h1".into(), secret: Secret::from(ROOT) };
        let keyring = Arc::new(Keyring::new(&[hmac], &[token.clone(), message_key]).unwrap());
        let jwks = jwks::Jwks::new(&[&*keyring], Duration::from_mins(5));
        let mut keys = client::Keys::default()
            .with_hmac("h1", &derive_text(&Secret::from(ROOT), Purpose::MessageSignature, "captions"))
            .and_then(|keys| keys.with_jwks(std::str::from_utf8(jwks.body()).unwrap()))
            .unwrap();
        if algorithm == JwtAlgorithm::Hs256 {
            keys = keys.with_hs256("k1", &derive_text(&token.secret, Purpose::Token, "captions")).unwrap();
        }
        let verifier = client::Verifier::new(keys, "captions").from_issuer("countersign");
        let signer = Signer::new(&settings(keyring, message)).unwrap();
        Self { signer, verifier }
    }

    fn signed(
        &self,
        input: &RenderInput<'_>,
        outgoing: &Outgoing<'_>,
        now: Timestamp,
    ) -> Result<HeaderMap, Reason> {
        let mut headers = self.signer.map(outgoing, input, None, now)?;
        // The usual way, which fills a map by position, must come to the same.
        let mut beside = self.signer.map(outgoing, input, Some(&origin()), now)?;
        assert_eq!(read_back(self.signer.lines(Vec::new(), outgoing, input, Some(&origin()), now)?), beside);
        for name in forwarded::REBUILT {
            beside.remove(name).unwrap();
        }
        assert_eq!(beside, headers);
        assert_eq!(headers.len(), headers.keys_len(), "no name is sent twice");
        assert_eq!(headers.remove("host").unwrap(), outgoing.authority);
        Ok(headers)
    }

    fn verify(
        &self,
        outgoing: &Outgoing<'_>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<client::Verified, String> {
        let Outgoing { method, authority, path, query } = *outgoing;
        let request = client::Request { method, authority, path, query, headers };
        self.verifier.verify(&request, system_time(now)).map_err(|problem| problem.code().to_owned())
    }
}

fn settings(keyring: Arc<Keyring>, message: MessageAlgorithm) -> SignerSettings {
    SignerSettings {
        upstream: "captions".into(),
        issuer: "countersign".into(),
        names: Arc::new(Names::new("x-context-").unwrap()),
        message_keys: Arc::clone(&keyring),
        token_keys: keyring,
        message_signature: Some(message),
        jwt: true,
        message_lifetime: MESSAGE_LIFETIME,
        jwt_lifetime: JWT_LIFETIME,
        shelf: Arc::new(Shelf::new(1 << 20)),
        number: 1,
        budget: 8192,
    }
}

fn system_time(now: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(now.as_millis())
}

const OUTGOING: Outgoing<'static> =
    Outgoing { method: "GET", authority: "app.example:8080", path: "/a%20b/c", query: Some("x=1&y=%C3%A9") };

/// Everything that a token or a header is made of.
#[derive(Clone, PartialEq, Debug)]
struct Facts {
    session: u8,
    user: String,
    name: String,
    roles: Vec<String>,
    platform: Option<[String; 4]>,
    authenticated: u64,
    life: u64,
    actor: Option<String>,
    version: u64,
}

impl Facts {
    fn sample() -> Self {
        Self {
            session: 1,
            user: "42".into(),
            name: "Änne \"A\" O'Neil".into(),
            roles: vec!["admin".into(), "a,b".into()],
            platform: Some(["7".into(), "mastodon".into(), "東京 100%".into(), "https://s.example/".into()]),
            authenticated: 1_799_999_000,
            life: 3_600,
            actor: Some("1".into()),
            version: 3,
        }
    }

    fn context(&self) -> Context {
        let user: crate::context::UserId = self.user.parse().unwrap();
        let platform = self.platform.as_ref().map(|[id, kind, name, url]| Platform {
            id: id.parse().unwrap(),
            user: user.clone(),
            kind: kind.clone().into(),
            name: name.clone().into(),
            url: url.clone().into(),
            active: true,
            default: false,
            credential: None,
        });
        let session = Session {
            id: SessionId::of_token(&[self.session]),
            user: user.clone(),
            platform: platform.as_ref().map(|platform| platform.id.clone()),
            created: Timestamp::from_secs(1_799_999_000),
            authenticated: Timestamp::from_secs(self.authenticated),
            expires: NOW.plus(Duration::from_secs(self.life)),
            predecessor: None,
            successor: None,
            actor: self.actor.as_ref().map(|actor| actor.parse().unwrap()),
            version: self.version,
        };
        let user = User {
            id: user,
            name: self.name.clone().into(),
            roles: self.roles.clone(),
            active: true,
            sessions_valid_after: None,
            passwords: Box::default(),
        };
        Context {
            session: Arc::new(session),
            user: Arc::new(user),
            platform: platform.map(Arc::new),
            platform_refused: false,
            last_seen: LastUse::at(NOW),
            layer: Layer::Process,
            password: None,
        }
    }

    /// What the token says, as the independent verifier reads it.
    fn told(&self) -> (String, Vec<String>, Option<[String; 4]>, u64, Option<String>) {
        let roles = self.roles.iter().filter(|role| !role.is_empty()).cloned().collect();
        (self.user.clone(), roles, self.platform.clone(), self.authenticated, self.actor.clone())
    }
}

fn input<'a>(context: Option<&'a Context>, request_id: &'a str) -> RenderInput<'a> {
    let authn = if context.is_some() { Authn::Session } else { Authn::None };
    RenderInput {
        authn,
        context,
        request_id,
        platform_authorization: None,
        settings: None,
        stats: None,
        client_certificate: None,
    }
}

fn all_benches() -> Vec<Bench> {
    vec![
        Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa),
        Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::Es256),
        Bench::new(MessageAlgorithm::Ed25519, JwtAlgorithm::Hs256),
    ]
}

#[test]
fn an_independent_verifier_reads_what_the_directory_holds_under_every_algorithm() {
    let facts = Facts::sample();
    let context = facts.context();
    for bench in all_benches() {
        let headers = bench.signed(&input(Some(&context), "01J\"\\x"), &OUTGOING, NOW).unwrap();
        let verified = bench.verify(&OUTGOING, &headers, NOW).unwrap();
        assert_eq!(verified.authn, client::Authn::Session);
        assert_eq!(verified.user_name.as_deref(), Some(facts.name.as_str()));
        assert_eq!(verified.roles, facts.roles);
        assert_eq!(verified.platform.unwrap().name, "東京 100%");
        assert_eq!(verified.request_id.as_deref(), Some("01J\"\\x"));
        assert_eq!(verified.session_id, Some(context.session.id.to_string()));
    }
}

#[test]
fn a_request_without_identity_is_signed_and_says_why() {
    for bench in all_benches() {
        for (authn, told) in [
            (Authn::None, client::Authn::None),
            (Authn::Unchecked, client::Authn::Unchecked),
            (Authn::Undetermined, client::Authn::Undetermined),
        ] {
            let headers = bench.signed(&RenderInput { authn, ..input(None, "r") }, &OUTGOING, NOW).unwrap();
            let verified = bench.verify(&OUTGOING, &headers, NOW).unwrap();
            assert_eq!((verified.authn, verified.user_id), (told, None));
        }
    }
}

#[test]
fn the_signature_base_is_exactly_the_one_of_the_standard() {
    let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
    let outgoing = Outgoing { method: "POST", authority: "App.Example", path: "", query: None };
    let headers = bench.signed(&input(None, "r1"), &outgoing, NOW).unwrap();
    let parameters = concat!(
        r#"("x-context-authn" "x-context-jwt" "@method" "@authority" "@path" "@query" "x-context-request-id")"#,
        r#";created=1800000000;expires=1800000030;nonce="r1";alg="hmac-sha256";keyid="h1";tag="countersign""#
    );
    assert_eq!(headers["signature-input"], format!("countersign={parameters}"));
    let jwt = headers["x-context-jwt"].to_str().unwrap();
    let base = format!(
        "\"x-context-authn\": none\n\"x-context-jwt\": {jwt}\n\"@method\": POST\n\"@authority\": app.example\n\
         \"@path\": /\n\"@query\": ?\n\"x-context-request-id\": r1\n\"@signature-params\": {parameters}"
    );
    let key = keyring::derive(&Secret::from(ROOT), Purpose::MessageSignature, "captions");
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.expose()), base.as_bytes());
    let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, tag);
    assert_eq!(headers["signature"], format!("countersign=:{expected}:"));
}

#[test]
fn signatures_and_tokens_end_with_their_time_and_tokens_with_their_session() {
    let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
    let context = Facts { life: 10, ..Facts::sample() }.context();
    let headers = bench.signed(&input(Some(&context), "r"), &OUTGOING, NOW).unwrap();
    let at = |seconds| bench.verify(&OUTGOING, &headers, NOW.plus(Duration::from_secs(seconds)));
    assert!(at(9).is_ok());
    // The session ends after 10 s, the message signature after 30 s; five seconds of leeway.
    assert_eq!(at(15).unwrap_err(), "expired");
    assert_eq!(
        bench.verify(&OUTGOING, &headers, NOW.minus(Duration::from_secs(6))).unwrap_err(),
        "not_yet_valid"
    );
    let after = bench.signed(&input(Some(&context), "r"), &OUTGOING, NOW.plus(Duration::from_secs(10)));
    assert_eq!(after.unwrap_err(), Reason::CannotSign);
}

#[test]
fn a_token_is_reused_for_half_of_its_life_and_then_made_anew() {
    let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
    let facts = Facts::sample();
    let token = |seconds| {
        // A context made anew each time: equal content is enough.
        let context = facts.context();
        let headers =
            bench.signed(&input(Some(&context), "r"), &OUTGOING, NOW.plus(Duration::from_secs(seconds)));
        headers.unwrap()["x-context-jwt"].clone()
    };
    let first = token(0);
    assert_eq!(token(29), first);
    assert_ne!(token(30), first);
}

impl Signer {
    /// Headers of a context that was prepared by the test.
    pub(super) fn forced(
        &self,
        prepared: Prepared,
        own: ContextHeaders,
        outgoing: &Outgoing<'_>,
        id: &str,
        now: Timestamp,
    ) -> HeaderMap {
        let request = OneRequest { prepared: Arc::new(prepared), outgoing, own, id, now };
        let mut lines = Lines::apart(0);
        self.complete(&request, None, &mut lines).unwrap();
        let host = HeaderValue::from_str(outgoing.authority).unwrap();
        request.prepared.headers(host, lines.into_slices().unwrap().1)
    }
}

/// What a reader of HTTP/1.1 finds in the lines.
fn read_back(lines: Lines) -> HeaderMap {
    let lines = String::from_utf8(lines.into_bytes()).unwrap();
    assert!(lines.starts_with("host: ") && lines.ends_with("\r\n"), "{lines:?}");
    let mut headers = HeaderMap::new();
    for line in lines.trim_end_matches("\r\n").split("\r\n") {
        let (name, value) = line.split_once(": ").unwrap();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn origin() -> ClientOrigin {
    let address = Some("192.0.2.7".parse().unwrap());
    ClientOrigin { address, scheme: Scheme::Https, host: "app.example".to_owned() }
}

#[test]
fn what_is_prepared_is_kept_within_its_bound_and_dropped_after_its_time() {
    let keyring = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa).signer.token_keys;
    let hmac = Keyring::new(&[Key { id: "h1".into(), secret: Secret::from(ROOT) }], &[]).unwrap();
    let shelf = Arc::new(Shelf::new(256 * 1024));
    let settings = SignerSettings {
        shelf: Arc::clone(&shelf),
        message_keys: Arc::new(hmac),
        ..settings(keyring, MessageAlgorithm::HmacSha256)
    };
    let signer = Signer::new(&settings).unwrap();
    for session in 0..=255 {
        let context = Facts { session, ..Facts::sample() }.context();
        signer.map(&OUTGOING, &input(Some(&context), "r"), None, NOW).unwrap();
        assert!(shelf.bytes() <= 256 * 1024);
    }
    assert!(shelf.bytes() > 64 * 1024);
    shelf.sweep(NOW.plus(JWT_LIFETIME / 2).minus(Duration::from_millis(1)));
    assert!(shelf.bytes() > 0);
    shelf.sweep(NOW.plus(JWT_LIFETIME / 2));
    assert_eq!(shelf.bytes(), 0);
}

#[test]
fn a_token_is_never_served_to_a_clock_that_was_set_back() {
    let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
    let context = Facts::sample().context();
    let early = NOW.minus(Duration::from_secs(100));
    bench.signed(&input(Some(&context), "r"), &OUTGOING, NOW).unwrap();
    let headers = bench.signed(&input(Some(&context), "r"), &OUTGOING, early).unwrap();
    assert!(bench.verify(&OUTGOING, &headers, early).is_ok());
}

#[test]
fn a_new_key_takes_over_at_its_moment_and_the_published_set_knows_it_before() {
    let key = |id: &str, from: Option<Timestamp>| SigningKey {
        id: id.into(),
        algorithm: JwtAlgorithm::EdDsa,
        secret: generate(JwtAlgorithm::EdDsa).unwrap(),
        active_from: from,
    };
    let later = NOW.plus(Duration::from_secs(10));
    let keyring = Arc::new(Keyring::new(&[], &[key("new", Some(later)), key("old", None)]).unwrap());
    let jwks = jwks::Jwks::new(&[&*keyring], Duration::from_mins(5));
    let keys = client::Keys::default().with_jwks(std::str::from_utf8(jwks.body()).unwrap()).unwrap();
    let bench = Bench {
        signer: Signer::new(&settings(keyring.clone(), MessageAlgorithm::Ed25519)).unwrap(),
        verifier: client::Verifier::new(keys, "captions"),
    };
    let context = Facts::sample().context();
    for (now, expected) in [(NOW, 1), (later, 0)] {
        let headers = bench.signed(&input(Some(&context), "r"), &OUTGOING, now).unwrap();
        let key_id = format!("keyid=\"{}\"", keyring.keys[expected].key_id);
        assert!(headers["signature-input"].to_str().unwrap().contains(&key_id));
        assert!(bench.verify(&OUTGOING, &headers, now).is_ok());
    }
}

#[test]
fn a_signer_without_its_key_or_without_any_signature_is_refused() {
    let keyring = Arc::new(Keyring::new(&[], &[]).unwrap());
    let settings = settings(keyring, MessageAlgorithm::HmacSha256);
    assert!(matches!(Signer::new(&settings), Err(KeyError::Missing { .. })));
    let settings = SignerSettings { message_signature: None, ..settings };
    assert!(matches!(Signer::new(&settings), Err(KeyError::Missing { .. })));
    let settings = SignerSettings { jwt: false, ..settings };
    assert_eq!(Signer::new(&settings).unwrap_err(), KeyError::Unsigned("captions".into()));
}

#[test]
fn a_target_that_could_write_lines_of_the_signature_base_is_refused() {
    let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
    for path in ["/a\nb", "/a\rb", "/a b", "/\u{e9}", "/a\0"] {
        let outgoing = Outgoing { path, ..OUTGOING };
        assert_eq!(
            bench.signed(&input(None, "r"), &outgoing, NOW).unwrap_err(),
            Reason::CannotSign,
            "{path:?}"
        );
    }
}

#[test]
fn the_budget_covers_token_and_signature_too() {
    let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
    let context = Facts { name: "n".repeat(7_400), ..Facts::sample() }.context();
    assert_eq!(
        bench.signed(&input(Some(&context), "r"), &OUTGOING, NOW).unwrap_err(),
        Reason::ContextTooLarge
    );
}

#[test]
fn a_context_header_beside_the_signature_is_not_believed() {
    let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
    let signed = bench.signed(&input(None, "r"), &OUTGOING, NOW).unwrap();
    for (name, code) in [
        ("x-context-user-id", "not_covered"),
        ("x_context_user_id", "not_covered"),
        ("x-context-authn", "repeated"),
        ("signature-input", "repeated"),
        ("signature", "repeated"),
    ] {
        let mut headers = signed.clone();
        headers.append(name, HeaderValue::from_static("1"));
        assert_eq!(bench.verify(&OUTGOING, &headers, NOW).unwrap_err(), code, "{name}");
    }
    for name in signed.keys() {
        let mut headers = signed.clone();
        headers.remove(name);
        assert!(bench.verify(&OUTGOING, &headers, NOW).is_err(), "{name}");
    }
}

#[test]
fn a_token_of_one_context_under_the_signature_of_another_is_a_contradiction() {
    let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
    let (ours, theirs) = (Facts::sample(), Facts { user: "43".into(), ..Facts::sample() });
    let (ours, theirs) = (ours.context(), theirs.context());
    let token = bench.signed(&input(Some(&theirs), "r"), &OUTGOING, NOW).unwrap()["x-context-jwt"].clone();
    let token = jwt::Token { value: token, reuse_until: NOW };
    let (input, keys) = (input(Some(&ours), "r"), Positions { message: Some(0), token: Some(0) });
    let own = render::of_request(&bench.signer.names, &input).unwrap();
    let statement = Statement { authn: input.authn, identity: input.identity(), digests: Digests::default() };
    let prepared = bench.signer.prepare(statement, keys, Some(token), NOW).unwrap();
    let headers = bench.signer.forced(prepared, own, &OUTGOING, input.request_id, NOW);
    assert_eq!(bench.verify(&OUTGOING, &headers, NOW).unwrap_err(), "contradiction");
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let few =
        |values: &[&str]| prop::sample::select(values.iter().map(ToString::to_string).collect::<Vec<_>>());
    let platform = (few(&["7", "8"]), few(&["a", "b"]), few(&["n", "m"]), few(&["u", "v"]));
    (
        (0..2_u8, few(&["1", "2"]), few(&["Ana", "Ben"])),
        prop::collection::vec(few(&["x", "y"]), 0..3),
        prop::option::of(platform.prop_map(|(id, kind, name, url)| [id, kind, name, url])),
        (1_799_999_000..1_799_999_002_u64, 40..42_u64, prop::option::of(few(&["8", "9"])), 0..2_u64),
    )
        .prop_map(|((session, user, name), roles, platform, (authenticated, life, actor, version))| {
            Facts { session, user, name, roles, platform, authenticated, life, actor, version }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn two_different_contexts_never_share_a_token(sequence in prop::collection::vec(any_facts(), 2..24)) {
        let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
        let verifier = bench.verifier.clone().demanding(client::Demand::Token);
        let mut seen: Vec<(Facts, HeaderValue)> = Vec::new();
        for facts in sequence {
            let context = facts.context();
            let headers = bench.signed(&input(Some(&context), "r"), &OUTGOING, NOW).unwrap();
            for (other, token) in &seen {
                prop_assert!(other == &facts || *token != headers["x-context-jwt"]);
            }
            let Outgoing { method, authority, path, query } = OUTGOING;
            let request = client::Request { method, authority, path, query, headers: &headers };
            let said = verifier.verify(&request, system_time(NOW)).unwrap();
            let platform = said.platform.map(|platform| [platform.id, platform.kind, platform.name, platform.url]);
            prop_assert_eq!(&headers["x-context-user-name"], facts.name.as_str());
            let told = (said.user_id.unwrap(), said.roles, platform, said.auth_time.unwrap(), said.actor_id);
            prop_assert_eq!(told, facts.told());
            seen.push((facts, headers["x-context-jwt"].clone()));
        }
    }

    #[test]
    fn every_altered_byte_of_what_is_signed_breaks_the_signature(place: prop::sample::Index, byte in b' '..=b'~') {
        for bench in all_benches() {
            let context = Facts::sample().context();
            let headers = bench.signed(&input(Some(&context), "r1"), &OUTGOING, NOW).unwrap();
            prop_assert!(bench.verify(&OUTGOING, &headers, NOW).is_ok());
            check_altered(&bench, &headers, place, byte)?;
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_independent_verifier_panic_or_believe(
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..120),
            r#"countersign=[()";=a-z0-9@ :,.]{0,80}"#.prop_map(String::into_bytes),
        ],
    ) {
        let bench = Bench::new(MessageAlgorithm::HmacSha256, JwtAlgorithm::EdDsa);
        let headers = bench.signed(&input(None, "r"), &OUTGOING, NOW).unwrap();
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        for name in ["signature-input", "signature", "x-context-jwt", "x-context-authn"] {
            let mut forged = headers.clone();
            forged.insert(name, value.clone());
            prop_assert!(bench.verify(&OUTGOING, &forged, NOW).is_err());
        }
    }
}

/// Alters one byte of each header value, header name and part of the target in turn; none may be believed.
fn check_altered(
    bench: &Bench,
    headers: &HeaderMap,
    place: prop::sample::Index,
    byte: u8,
) -> Result<(), TestCaseError> {
    for (name, value) in headers {
        let Some(altered) = altered(value.as_bytes(), place, byte) else { continue };
        let mut forged = headers.clone();
        // Space around a value is no part of it, so that a blank first or last byte shortens it.
        forged.insert(name.clone(), HeaderValue::from_bytes(&altered).unwrap());
        prop_assert!(bench.verify(&OUTGOING, &forged, NOW).is_err(), "{name}");
        let mut renamed = headers.clone();
        if let Some(other) = altered_name(name, place, byte) {
            let value = renamed.remove(name).unwrap();
            renamed.insert(other, value);
            prop_assert!(bench.verify(&OUTGOING, &renamed, NOW).is_err(), "{name}");
        }
    }
    let parts = [OUTGOING.method, OUTGOING.authority, OUTGOING.path, OUTGOING.query.unwrap()];
    for part in 0..parts.len() {
        let Some(altered) = altered(parts[part].as_bytes(), place, byte) else { continue };
        let altered = String::from_utf8(altered).unwrap();
        // Hosts are the same in upper and lower case.
        if part == 1 && altered.eq_ignore_ascii_case(parts[1]) {
            continue;
        }
        let mut parts = parts;
        parts[part] = &altered;
        let [method, authority, path, query] = parts;
        let outgoing = Outgoing { method, authority, path, query: Some(query) };
        prop_assert!(bench.verify(&outgoing, headers, NOW).is_err(), "part {part}");
    }
    let without_query = Outgoing { query: None, ..OUTGOING };
    prop_assert!(bench.verify(&without_query, headers, NOW).is_err());
    Ok(())
}

fn altered(original: &[u8], place: prop::sample::Index, byte: u8) -> Option<Vec<u8>> {
    let mut altered = original.to_vec();
    let place = place.index(altered.len());
    altered[place] = byte;
    (altered != original).then_some(altered)
}

fn altered_name(name: &HeaderName, place: prop::sample::Index, byte: u8) -> Option<HeaderName> {
    let altered = altered(name.as_str().as_bytes(), place, byte)?;
    HeaderName::from_bytes(&altered).ok().filter(|altered| altered != name)
}
