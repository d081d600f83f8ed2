//! What the pure steps of one request cost: scrubbing, rendering, signing, tokens, and a hit in
//! the process. Run with `cargo bench --bench hot_path`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use countersign::cache::Activity;
use countersign::cache::copies::{self, Copies, Times};
use countersign::cache::marks::Name;
use countersign::cache::proof::Source;
use countersign::clock::{Clock, SystemClock, Timestamp};
use countersign::context::{Authn, Context, LastUse, Layer, Platform, Session, SessionId, User};
use countersign::headers::forwarded::{self, Hop, Scheme};
use countersign::headers::lines::Lines;
use countersign::headers::names::Names;
use countersign::headers::render::{self, RenderInput};
use countersign::headers::scrub;
use countersign::keys::{JwtAlgorithm, Key, SigningKey};
use countersign::session::cookie;
use countersign::signing::keyring::{Keyring, generate};
use countersign::signing::{
    JWT_LIFETIME, MESSAGE_LIFETIME, MessageAlgorithm, Outgoing, SHELF_BYTES, Shelf, Signer, SignerSettings,
};
use countersign::store;
use countersign::telemetry::Metrics;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const OUTGOING: Outgoing<'static> =
    Outgoing { method: "GET", authority: "app.example", path: "/albums/42", query: Some("page=2") };

/// What a browser sends with a page view.
fn browser_headers() -> HeaderMap {
    let fields = [
        ("host", "app.example"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("referer", "https://app.example/"),
        ("connection", "keep-alive"),
        ("cookie", "theme=dark; __Host-session=abcdefghijklmnopqrstuvwxyz0123456789_-ABCDE; consent=1"),
        ("upgrade-insecure-requests", "1"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-user", "?1"),
        ("priority", "u=0, i"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn context(session: u64) -> Context {
    let user: countersign::context::UserId = "42".parse().expect("a valid id");
    let platform = Platform {
        id: "7".parse().expect("a valid id"),
        user: user.clone(),
        kind: "mastodon".into(),
        name: "Photos of Ana".into(),
        url: "https://social.example/@ana".into(),
        active: true,
        default: true,
        credential: None,
    };
    Context {
        session: Arc::new(Session {
            id: SessionId::of_token(&session.to_be_bytes()),
            user: user.clone(),
            platform: Some(platform.id.clone()),
            created: NOW.minus(Duration::from_mins(10)),
            authenticated: NOW.minus(Duration::from_mins(10)),
            expires: NOW.plus(Duration::from_hours(10)),
            predecessor: None,
            successor: None,
            actor: None,
            version: 1,
        }),
        user: Arc::new(User {
            id: user,
            name: "Ana Example".into(),
            roles: vec!["admin".into(), "reviewer".into()],
            active: true,
            sessions_valid_after: None,
            passwords: Box::default(),
        }),
        platform: Some(Arc::new(platform)),
        platform_refused: false,
        last_seen: LastUse::at(NOW),
        layer: Layer::Process,
        password: None,
    }
}

fn signer(message: Option<MessageAlgorithm>, token: Option<JwtAlgorithm>) -> Signer {
    let algorithms = [token.unwrap_or(JwtAlgorithm::EdDsa), JwtAlgorithm::EdDsa];
    let keys: Vec<_> = ["first", "second"]
        .into_iter()
        .zip(algorithms)
        .map(|(id, algorithm)| {
            let secret = generate(algorithm).expect("the system has randomness");
            SigningKey { id: id.into(), algorithm, secret, active_from: None }
        })
        .collect();
    let root = generate(JwtAlgorithm::Hs256).expect("the system has randomness");
    let keyring = Arc::new(
        Keyring::new(&[Key { id: "h1".into(), secret: root }], &keys).expect("generated keys parse"),
    );
    Signer::new(&SignerSettings {
        upstream: "captions".into(),
        issuer: "countersign".into(),
        names: Arc::new(names()),
        message_keys: Arc::clone(&keyring),
        token_keys: keyring,
        message_signature: message,
        jwt: token.is_some(),
        message_lifetime: MESSAGE_LIFETIME,
        jwt_lifetime: JWT_LIFETIME,
        shelf: Arc::new(Shelf::new(SHELF_BYTES)),
        number: 1,
        budget: 8192,
    })
    .expect("the keys are there")
}

fn names() -> Names {
    Names::new("x-context-").expect("the default prefix")
}

fn input(context: &Context) -> RenderInput<'_> {
    RenderInput {
        authn: Authn::Session,
        context: Some(context),
        request_id: "01JD4Q7ZK3W8V5N2M6T9X1Y0AB",
        platform_authorization: None,
        settings: None,
        stats: None,
        client_certificate: None,
    }
}

fn headers(criterion: &mut Criterion) {
    let (names, context, inbound) = (names(), context(1), browser_headers());
    criterion.bench_function("headers/scrub", |bencher| {
        bencher.iter(|| scrub::forbidden(black_box(&inbound), &names));
    });
    let hop =
        Hop { peer: "192.0.2.1".parse().ok(), trusted: &[], scheme: Scheme::Https, authority: "app.example" };
    criterion.bench_function("headers/forwarded", |bencher| {
        bencher.iter(|| {
            let origin = forwarded::origin(&hop, black_box(&inbound));
            let mut lines = Lines::behind(Vec::with_capacity(512));
            let rebuilt = forwarded::rebuild(&origin, &mut lines);
            (forwarded::family(&inbound), rebuilt, lines)
        });
    });
    criterion.bench_function("cookie/find", |bencher| {
        bencher.iter(|| cookie::find(black_box(&inbound), "__Host-session"));
    });
    criterion.bench_function("cookie/without", |bencher| {
        bencher.iter(|| cookie::without(black_box(&inbound), "__Host-session"));
    });
    criterion.bench_function("headers/render", |bencher| {
        bencher.iter(|| render::of_context(&names, Authn::Session, Some(black_box(&context))));
    });
}

fn signing(criterion: &mut Criterion) {
    let context = context(1);
    let cases = [
        ("signing/message hmac-sha256", Some(MessageAlgorithm::HmacSha256), None),
        ("signing/message ed25519", Some(MessageAlgorithm::Ed25519), None),
        ("signing/jwt prepared", None, Some(JwtAlgorithm::EdDsa)),
        ("signing/both, as by default", Some(MessageAlgorithm::HmacSha256), Some(JwtAlgorithm::EdDsa)),
    ];
    let input = input(&context);
    for (name, message, token) in cases {
        let signer = signer(message, token);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| signer.lines(Vec::with_capacity(4096), black_box(&OUTGOING), &input, None, NOW));
        });
    }
    for (name, algorithm) in [
        ("signing/jwt made anew, EdDSA", JwtAlgorithm::EdDsa),
        ("signing/jwt made anew, ES256", JwtAlgorithm::Es256),
        ("signing/jwt made anew, HS256", JwtAlgorithm::Hs256),
    ] {
        let signer = signer(None, Some(algorithm));
        // The clock moves by half a token's life each time, so that nothing is reused.
        let mut now = NOW;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                now = if now.since(NOW) > Duration::from_hours(8) { NOW } else { now.plus(JWT_LIFETIME / 2) };
                signer.lines(Vec::with_capacity(4096), &OUTGOING, &input, None, now)
            });
        });
    }
}

/// A hit: a session in the process, on one thread, among few and among many.
fn cache(criterion: &mut Criterion) {
    let settings = store::Settings {
        kind: store::Kind::Embedded,
        timeout: Duration::from_millis(100),
        entity_lifetime: Duration::from_hours(1),
        stats_lifetime: Duration::from_mins(5),
    };
    let embedded = store::open(&settings, Arc::new(SystemClock)).expect("the embedded store opens");
    let copies = Copies::new(
        copies::Settings {
            max_staleness: Duration::from_millis(100),
            degraded_lease: Duration::from_secs(1),
            entity_lifetime: Duration::from_hours(24),
            bytes: 1 << 30,
            entity_outage_limit: Duration::from_mins(15),
            warm_sessions: 0,
        },
        embedded.as_ref(),
        Arc::new(Metrics::new()),
    );
    let activity = Activity::new(Duration::from_mins(1));
    for count in [1_u64, 1_000, 100_000] {
        let ids: Vec<SessionId> = (0..count)
            .map(|number| {
                let context = context(number);
                let (id, user) = (context.session.id, &context.user.id);
                let platform = context.session.platform.as_ref().expect("the sample has one");
                let names = [Name::Session(&id), Name::User(user), Name::Platform(platform)];
                let proof = copies.proof(copies.reading(&names), Source::Store);
                copies.keep(&context, proof, NOW.plus(Duration::from_hours(10_000)));
                id
            })
            .collect();
        let mut next = ids.iter().cycle();
        criterion.bench_function(&format!("cache/hit among {count}"), |bencher| {
            bencher.iter(|| {
                // The wall clock is asked as the resolver does; the sample sessions lie in the future.
                let _now = black_box(SystemClock.now());
                let times = Times { now: NOW, idle_timeout: Duration::from_hours(1), activity: &activity };
                let hit = copies.resolution(next.next().expect("a cycle"), &times);
                assert!(hit.is_some());
                hit
            });
        });
    }
}

criterion_group!(benches, headers, signing, cache);
criterion_main!(benches);
