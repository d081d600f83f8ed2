//! What sessions take in the memory of a process: cells, times of last use, prepared contexts. Prints bytes for each
//! cell and each time, MiB for all that is prepared and for the process (resident, as the kernel counts).
//!
//! `memory SESSIONS`

use std::sync::Arc;
use std::time::Duration;

use countersign::cache::Activity;
use countersign::cache::copies::{self, Copies};
use countersign::cache::marks::Name;
use countersign::cache::proof::Source;
use countersign::clock::{SystemClock, Timestamp};
use countersign::context::{
    Authn, Context, LastUse, Layer, Platform, PlatformId, Session, SessionId, User, UserId,
};
use countersign::headers::names::Names;
use countersign::headers::render::RenderInput;
use countersign::keys::{JwtAlgorithm, Key, SigningKey};
use countersign::signing::keyring::{Keyring, generate};
use countersign::signing::{
    JWT_LIFETIME, MESSAGE_LIFETIME, MessageAlgorithm, Outgoing, SHELF_BYTES, Shelf, Signer, SignerSettings,
};
use countersign::store;
use countersign::telemetry::Metrics;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn main() {
    let sessions: u64 =
        std::env::args().nth(1).and_then(|count| count.parse().ok()).expect("usage: memory SESSIONS");
    let copies = copies();
    let activity = Activity::new(Duration::from_mins(1));
    let signer = signer();
    let empty = resident();
    for number in 0..sessions {
        keep(&copies, &context(number));
    }
    let cells = resident();
    for number in 0..sessions {
        activity.note_by_id(&SessionId::of_token(&number.to_be_bytes()), NOW);
    }
    let uses = resident();
    for number in 0..sessions {
        prepare(&signer, &context(number));
    }
    let all = resident();
    let each = |bytes: u64| bytes / sessions;
    let mib = |bytes: u64| bytes / (1 << 20);
    println!("{} {} {} {}", each(cells - empty), each(uses - cells), mib(all - uses), mib(all));
}

/// Bytes of this process that lie in memory (proc(5), the second field of `statm`; pages of 4 KiB).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4096
}

/// A context as a cold resolution makes it: nothing shared with others.
fn context(number: u64) -> Context {
    let user: UserId = format!("user-{number}").parse().expect("an id");
    let platform: PlatformId = format!("platform-{number}").parse().expect("an id");
    let session = Session {
        id: SessionId::of_token(&number.to_be_bytes()),
        user: user.clone(),
        platform: Some(platform.clone()),
        created: NOW,
        authenticated: NOW,
        expires: NOW.plus(Duration::from_hours(12)),
        predecessor: None,
        successor: None,
        actor: None,
        version: 1,
    };
    let platform = Platform {
        id: platform,
        user: user.clone(),
        kind: "mastodon".into(),
        name: "Ana on Mastodon".into(),
        url: "https://social.example.org".into(),
        active: true,
        default: true,
        credential: None,
    };
    let user = User {
        id: user,
        name: "Ana Fern".into(),
        roles: vec!["admin".into(), "reviewer".into()],
        active: true,
        sessions_valid_after: None,
        passwords: Box::default(),
    };
    Context {
        session: Arc::new(session),
        user: Arc::new(user),
        platform: Some(Arc::new(platform)),
        platform_refused: false,
        last_seen: LastUse::at(NOW),
        layer: Layer::Store,
        password: None,
    }
}

fn copies() -> Copies {
    let settings = store::Settings {
        kind: store::Kind::Embedded,
        timeout: Duration::from_millis(100),
        entity_lifetime: Duration::from_hours(1),
        stats_lifetime: Duration::from_mins(5),
    };
    let embedded = store::open(&settings, Arc::new(SystemClock)).expect("the embedded store opens");
    let settings = copies::Settings {
        max_staleness: Duration::from_millis(100),
        degraded_lease: Duration::from_secs(1),
        entity_lifetime: Duration::from_hours(24),
        bytes: 2 << 30,
        entity_outage_limit: Duration::from_mins(15),
        warm_sessions: 0,
    };
    Copies::new(settings, embedded.as_ref(), Arc::new(Metrics::new()))
}

fn keep(copies: &Copies, context: &Context) {
    let (id, user) = (context.session.id, &context.user.id);
    let platform = context.session.platform.as_ref().expect("the sample has one");
    let names = [Name::Session(&id), Name::User(user), Name::UserPlatforms(user), Name::Platform(platform)];
    let proof = copies.proof(copies.reading(&names), Source::Store);
    copies.keep(context, proof, context.session.expires);
}

fn signer() -> Signer {
    let secret = || generate(JwtAlgorithm::Hs256).expect("the system has randomness");
    // A token as long as with Ed25519, but quickly made.
    let token =
        SigningKey { id: "j1".into(), algorithm: JwtAlgorithm::Hs256, secret: secret(), active_from: None };
    let hmac = Key { id: "h1".into(), secret: secret() };
    let keyring = Arc::new(Keyring::new(&[hmac], &[token]).expect("generated keys parse"));
    Signer::new(&SignerSettings {
        upstream: "bench".into(),
        issuer: "countersign".into(),
        names: Arc::new(Names::new("x-context-").expect("the default prefix")),
        message_keys: Arc::clone(&keyring),
        token_keys: keyring,
        message_signature: Some(MessageAlgorithm::HmacSha256),
        jwt: true,
        message_lifetime: MESSAGE_LIFETIME,
        jwt_lifetime: JWT_LIFETIME,
        shelf: Arc::new(Shelf::new(SHELF_BYTES)),
        number: 1,
        budget: 8192,
    })
    .expect("the keys are there")
}

fn prepare(signer: &Signer, context: &Context) {
    let outgoing = Outgoing { method: "GET", authority: "app.example", path: "/", query: None };
    let input = RenderInput {
        authn: Authn::Session,
        context: Some(context),
        request_id: "01JD4Q7ZK3W8V5N2M6T9X1Y0AB",
        platform_authorization: None,
        settings: None,
        stats: None,
        client_certificate: None,
    };
    signer.map(&outgoing, &input, None, NOW).expect("the sample can be signed");
}
