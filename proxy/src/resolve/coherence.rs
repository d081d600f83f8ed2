//! The coherence of copies over real Redis servers: several processes' worth of stores and resolvers around one server
//! and one directory, revoking, freezing, killing and restarting. Waits are for conditions; times are only bounds.

use std::time::Duration;

use e2e::redis::{Options, Redis};
use e2e::relay::{Mode, Relay};

use super::*;
use crate::cache::world::{COPIES, World, user};
use crate::cache::{Invalidate, copies};
use crate::clock::SystemClock;
use crate::lifecycle::{Ended, Lifecycle, Origin, Start};
use crate::store::{self, Entity};

/// Longer than any lease, and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(20);
const SETTINGS: copies::Settings = copies::Settings { degraded_lease: Duration::from_millis(200), ..COPIES };

/// One proxy: its own connections and copies.
struct Proxy {
    store: Arc<dyn Store>,
    resolver: Resolver,
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Proxy {
    fn on(server: &Redis, world: &World) -> Self {
        Self::at(server.port(), world)
    }

    /// The same with something in between.
    fn at(port: u16, world: &World) -> Self {
        let kind = store::Kind::Redis(store::RedisSettings {
            host: "localhost".to_owned(),
            port,
            database: 0,
            username: None,
            password: None,
            tls: None,
            prefix: "cs:".to_owned(),
            foreign_prefixes: Vec::new(),
        });
        let settings = store::Settings {
            kind,
            timeout: Duration::from_millis(200),
            entity_lifetime: Duration::from_hours(1),
            stats_lifetime: Duration::from_mins(5),
        };
        let metrics = Arc::new(Metrics::new());
        let store = store::open(&settings, Arc::new(SystemClock)).unwrap();
        let store = store::PersistentStore::new(store, Arc::new(SystemClock), Arc::clone(&metrics));
        let store = Arc::new(store);
        let writes = tokio::spawn(Arc::clone(&store).run());
        let store = store as Arc<dyn Store>;
        let copies = Arc::new(Copies::new(SETTINGS, store.as_ref(), Arc::clone(&metrics)));
        let directory = || Arc::clone(&world.directory) as Arc<dyn Directory>;
        let resolver = Resolver::new(
            Arc::clone(&copies),
            Arc::clone(&store),
            directory(),
            Arc::new(SystemClock),
            Arc::new(Activity::new(world.settings.touch_interval)),
            world.settings.clone(),
            Settings { budget: Duration::from_secs(2) },
            Arc::clone(&metrics),
        );
        let kept = Arc::clone(&copies) as Arc<dyn Invalidate>;
        let reconciler = resolver.reconciler(directory(), kept).unwrap();
        let tasks = [tokio::spawn(reconciler.run()), writes];
        let lifecycle = Lifecycle::new(
            Arc::clone(&store),
            directory(),
            Arc::new(SystemClock),
            world.keys.clone(),
            world.settings.clone(),
            copies,
            Arc::clone(&metrics),
        );
        Self { store, resolver, lifecycle, metrics, tasks }
    }

    async fn resolve(&self, id: &SessionId) -> Resolution {
        self.resolver.resolve(id, Instant::now() + PATIENCE).await
    }

    async fn start(&self, user: &str) -> Arc<Session> {
        let start =
            Start { user: user.parse().unwrap(), platform: None, actor: None, acted: false, replaces: None };
        Arc::new(self.lifecycle.start(&start, &origin()).await.unwrap().session)
    }

    /// Resolves until the lease alone serves the session.
    async fn leased(&self, id: &SessionId) {
        until("the lease serves the session", async || {
            let Resolution::Known(first) = self.resolve(id).await else { return false };
            if first.layer != Layer::Process {
                return false;
            }
            // Longer than its age alone would serve it.
            tokio::time::sleep(SETTINGS.max_staleness * 2).await;
            matches!(self.resolver.copy(id), Some(Resolution::Known(_)))
        })
        .await;
    }

    async fn is_believed(&self) {
        let doubts = self.store.doubts().unwrap();
        until("Redis is believed", async || self.store.ping().await.is_ok() && !doubts.is_doubtful()).await;
    }

    async fn is_known(&self, id: &SessionId) -> bool {
        matches!(self.resolve(id).await, Resolution::Known(_))
    }
}

fn origin() -> Origin {
    Origin { by: "user".to_owned(), from: None, request_id: None }
}

async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !check().await {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_proxy_ends_or_switches_the_other_sees() {
    let (server, world) = (Redis::start(), World::new().await);
    let (here, there) = (Proxy::on(&server, &world), Proxy::on(&server, &world));
    until("Redis answers", async || here.store.ping().await.is_ok() && there.store.ping().await.is_ok())
        .await;
    let session = there.start("ana").await;
    here.leased(&session.id).await;
    there.leased(&session.id).await;

    let chosen: PlatformId = "a2".parse().unwrap();
    let session = there.lifecycle.set_platform(&session, Some(&chosen), &origin()).await.unwrap();
    let platform = |resolution| match resolution {
        Resolution::Known(context) => context.platform.as_ref().map(|platform| platform.id.clone()),
        other => panic!("not known: {other:?}"),
    };
    assert_eq!(
        platform(there.resolve(&session.id).await),
        Some(chosen.clone()),
        "at once where it was switched"
    );
    until("the switch is seen", async || platform(here.resolve(&session.id).await) == Some(chosen.clone()))
        .await;

    let mut renamed = user("ana", true);
    renamed.name = "Anna".into();
    here.leased(&session.id).await;
    there.store.put_entities(&[Entity::User(renamed)]).await.unwrap();
    until("the new name is seen", async || {
        matches!(here.resolve(&session.id).await, Resolution::Known(context) if &*context.user.name == "Anna")
    })
    .await;

    here.leased(&session.id).await;
    there.lifecycle.end(&session, &origin()).await.unwrap();
    let acknowledged = Instant::now();
    assert!(!there.is_known(&session.id).await, "at once where it was ended");
    until("the end is seen", async || !here.is_known(&session.id).await).await;
    println!("seen {:?} after it was acknowledged", acknowledged.elapsed());
    assert!(acknowledged.elapsed() < Duration::from_secs(5));
    for _ in 0..20 {
        assert!(!here.is_known(&session.id).await, "an ended session came back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_ends_the_lease_and_a_thawed_one_renews_it() {
    let (server, world) = (Redis::start(), World::new().await);
    let proxy = Proxy::on(&server, &world);
    until("Redis answers", async || proxy.store.ping().await.is_ok()).await;
    let (kept, revoked) = (proxy.start("ana").await, proxy.start("ben").await);
    proxy.leased(&kept.id).await;
    proxy.leased(&revoked.id).await;

    server.freeze();
    let frozen = Instant::now();
    world.directory.inner().end_sessions(&[revoked.id], SystemClock.now(), None).await.unwrap();
    until("the lease lapses", async || proxy.resolver.copy(&revoked.id).is_none()).await;
    println!("nothing served {:?} after the freeze", frozen.elapsed());
    assert!(proxy.resolver.copy(&kept.id).is_none());
    assert!(!proxy.is_known(&revoked.id).await, "the directory knows better");
    assert!(proxy.is_known(&kept.id).await, "through the directory");
    server.thaw();
    proxy.leased(&kept.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_from_before_is_believed_after_a_kill_or_a_flush() {
    let (mut server, world) = (Redis::start(), World::new().await);
    let proxy = Proxy::on(&server, &world);
    until("Redis answers", async || proxy.store.ping().await.is_ok()).await;
    let session = proxy.start("ana").await;
    proxy.leased(&session.id).await;

    let flushes = || proxy.metrics.invalidations.with_label_values(&["everything"]).get();
    let before = flushes();
    assert_eq!(server.command(&["FLUSHALL"]), "OK");
    until("the flush is heard of", async || flushes() > before).await;
    assert!(!matches!(proxy.resolver.copy(&session.id), Some(Resolution::Known(_))));
    proxy.leased(&session.id).await;

    server.kill();
    until("the end of the connection is noticed", async || proxy.resolver.copy(&session.id).is_none()).await;
    assert!(proxy.is_known(&session.id).await, "through the directory");
    server.restart();
    proxy.leased(&session.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restored_from_an_old_save_brings_no_session_back_and_is_believed_again() {
    let (mut server, world) =
        (Redis::start_with(&Options { keep_data: true, ..Options::default() }), World::new().await);
    let proxy = Proxy::on(&server, &world);
    proxy.is_believed().await;
    let (kept, revoked) = (proxy.start("ana").await, proxy.start("ben").await);
    proxy.leased(&revoked.id).await;
    assert_eq!(server.command(&["SAVE"]), "OK");
    proxy.lifecycle.end(&revoked, &origin()).await.unwrap();
    assert!(!proxy.is_known(&revoked.id).await);

    // Nobody can say what was revoked meanwhile: nothing in it is believed.
    world.directory.break_all(crate::cache::faults::Fault::Fails);
    server.kill();
    server.restart();
    let record = server.command(&["GET", &format!("cs:session:{}", revoked.id)]);
    assert!(record.contains("\"user\""), "the old save holds it live: {record}");
    until("Redis answers again", async || proxy.store.ping().await.is_ok()).await;
    for _ in 0..20 {
        for session in [&kept, &revoked] {
            let resolution = proxy.resolve(&session.id).await;
            assert!(matches!(resolution, Resolution::Undetermined(_)), "{resolution:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.directory.repair();
    proxy.is_believed().await;
    proxy.leased(&kept.id).await;
    assert!(!proxy.is_known(&revoked.id).await, "a revoked session came back");
    let record = server.command(&["GET", &format!("cs:session:{}", revoked.id)]);
    assert!(record.contains("\"ended\""), "no tombstone: {record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_that_died_could_not_write_is_written_before_the_store_is_believed() {
    let (server, world) = (Redis::start(), World::new().await);
    let relay = Relay::to(std::net::SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let here = Proxy::at(relay.address().port(), &world);
    let there = Proxy::at(relay.address().port(), &world);
    here.is_believed().await;
    there.is_believed().await;
    let (revoked, switched) = (there.start("ben").await, there.start("ana").await);
    here.leased(&revoked.id).await;
    here.leased(&switched.id).await;

    relay.set(Mode::Cut);
    until("Redis is gone", async || there.store.ping().await.is_err() && here.store.ping().await.is_err())
        .await;
    there.lifecycle.end(&revoked, &origin()).await.unwrap();
    let chosen = "a2".parse().unwrap();
    there.lifecycle.set_platform(&switched, Some(&chosen), &origin()).await.unwrap();
    drop(there);
    let record = server.command(&["GET", &format!("cs:session:{}", revoked.id)]);
    assert!(record.contains("\"user\""), "nobody could write the tombstone: {record}");

    relay.set(Mode::Pass);
    let mut seen_by_store = 0;
    until("the store is read again", async || {
        for _ in 0..20 {
            assert!(!here.is_known(&revoked.id).await, "a revoked session came back");
            let Resolution::Known(context) = here.resolve(&switched.id).await else { panic!("not known") };
            // What the directory said before the switch is leased for a moment.
            if context.layer == Layer::Store {
                seen_by_store += 1;
                assert_eq!(context.session.platform, Some(chosen.clone()), "an older copy won");
            }
            here.resolver.layers.copies.session(&switched.id);
        }
        seen_by_store > 20
    })
    .await;
    let record = server.command(&["GET", &format!("cs:session:{}", revoked.id)]);
    assert!(record.contains("\"ended\""), "no tombstone: {record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_server_is_used_again_without_the_directory_but_not_an_emptied_one() {
    let (server, world) = (Redis::start(), World::new().await);
    let relay = Relay::to(std::net::SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let proxy = Proxy::at(relay.address().port(), &world);
    proxy.is_believed().await;
    let session = proxy.start("ana").await;
    proxy.leased(&session.id).await;
    world.directory.break_all(crate::cache::faults::Fault::Fails);
    relay.set(Mode::Cut);
    until("Redis is gone", async || proxy.store.ping().await.is_err()).await;
    until("nobody can say", async || !proxy.is_known(&session.id).await).await;
    relay.set(Mode::Pass);
    proxy.leased(&session.id).await;

    relay.set(Mode::Cut);
    until("Redis is gone again", async || proxy.store.ping().await.is_err()).await;
    assert_eq!(server.command(&["FLUSHALL"]), "OK");
    relay.set(Mode::Pass);
    until("Redis answers again", async || proxy.store.ping().await.is_ok()).await;
    for _ in 0..20 {
        assert!(proxy.store.doubts().unwrap().is_doubtful());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.directory.repair();
    proxy.leased(&session.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_without_the_directory_is_accepted_obeyed_by_all_and_becomes_durable() {
    let (server, world) = (Redis::start(), World::new().await);
    let (here, there) = (Proxy::on(&server, &world), Proxy::on(&server, &world));
    here.is_believed().await;
    there.is_believed().await;
    let (one, all) = (here.start("ana").await, here.start("ben").await);
    for session in [&one, &all] {
        there.leased(&session.id).await;
    }
    world.directory.break_all(crate::cache::faults::Fault::Fails);
    assert_eq!(here.lifecycle.end(&one, &origin()).await, Ok(Ended::Accepted));
    assert_eq!(here.lifecycle.end_all(&all.user, &origin()).await, Ok(Ended::Accepted));
    for session in [&one, &all] {
        until("the end is seen", async || !there.is_known(&session.id).await).await;
        assert!(matches!(here.resolve(&session.id).await, Resolution::Unknown(Reason::SessionEnded)));
    }
    assert_eq!(there.lifecycle.confirm_accepted().await, Err(crate::lifecycle::LifecycleError::Undetermined));
    drop(here);

    world.directory.repair();
    let lived =
        |rows: Vec<crate::directory::SessionRow>| rows.iter().filter(|row| row.ended.is_none()).count();
    assert_eq!(lived(world.directory.sessions(&[one.id, all.id]).await.unwrap()), 2);
    assert_eq!(there.lifecycle.confirm_accepted().await, Ok(2));
    assert_eq!(lived(world.directory.sessions(&[one.id, all.id]).await.unwrap()), 0);
    assert_eq!(there.lifecycle.confirm_accepted().await, Ok(0), "once");
    let user = world.directory.users(std::slice::from_ref(&all.user)).await.unwrap().remove(0);
    assert!(user.sessions_valid_after.is_some_and(|moment| moment >= all.created));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_of_all_is_obeyed_by_others_before_it_is_durable_where_no_tombstone_tells_of_it() {
    let (server, world) = (Redis::start(), World::new().await);
    let (here, there) = (Proxy::on(&server, &world), Proxy::on(&server, &world));
    here.is_believed().await;
    there.is_believed().await;
    let session = here.start("ben").await;
    there.leased(&session.id).await;
    until("a moment has passed", async || SystemClock.now() > session.created).await;
    world.directory.break_all(crate::cache::faults::Fault::Fails);
    assert_eq!(here.lifecycle.end_all(&session.user, &origin()).await, Ok(Ended::Accepted));
    tokio::select! {
        () = there.lifecycle.keep_hearing() => unreachable!("it never ends"),
        () = until("it is heard of", async || there.resolver.layers.copies.ends().cover(&session)) => {}
    }
    // As if the session had not been in the store yet, and the person is read again when changes are.
    let _ = server.command(&["DEL", &format!("cs:session:{}", session.id), "cs:user:ben"]);
    world.directory.repair();
    let row = world.directory.sessions(&[session.id]).await.unwrap().remove(0);
    assert_eq!(row.ended, None, "the directory does not know");
    assert!(matches!(there.resolve(&session.id).await, Resolution::Unknown(Reason::SessionEnded)));
    let later = there.start("ben").await;
    assert!(there.is_known(&later.id).await, "who begins after it is let in");
    assert_eq!(there.lifecycle.confirm_accepted().await, Ok(1));
    assert!(matches!(there.resolve(&session.id).await, Resolution::Unknown(_)));
    assert!(there.is_known(&later.id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_the_store_forgets_before_it_is_durable_is_obeyed_where_it_was_accepted() {
    let (mut server, world) = (Redis::start(), World::new().await);
    let proxy = Proxy::on(&server, &world);
    proxy.is_believed().await;
    let (one, all) = (proxy.start("ana").await, proxy.start("ben").await);
    proxy.leased(&one.id).await;
    proxy.leased(&all.id).await;
    // Whoever began in the same moment as the end of all would live.
    until("a moment has passed", async || SystemClock.now() > all.created).await;
    world.directory.break_all(crate::cache::faults::Fault::Fails);
    assert_eq!(proxy.lifecycle.end(&one, &origin()).await, Ok(Ended::Accepted));
    assert_eq!(proxy.lifecycle.end_all(&all.user, &origin()).await, Ok(Ended::Accepted));

    server.kill();
    server.restart();
    world.directory.repair();
    let lived =
        |rows: Vec<crate::directory::SessionRow>| rows.iter().filter(|row| row.ended.is_none()).count();
    assert_eq!(lived(world.directory.sessions(&[one.id, all.id]).await.unwrap()), 2, "nobody told it");
    let doubts = proxy.store.doubts().unwrap();
    until("the empty store is believed", async || {
        for session in [&one, &all] {
            assert!(!proxy.is_known(&session.id).await, "an accepted end was forgotten");
        }
        proxy.store.ping().await.is_ok() && !doubts.is_doubtful()
    })
    .await;
    let ended = async || lived(world.directory.sessions(&[one.id, all.id]).await.unwrap()) == 0;
    tokio::select! {
        () = proxy.lifecycle.keep_confirming() => unreachable!("it never ends"),
        () = until("both ends are durable", ended) => {}
    }
    for session in [&one, &all] {
        assert!(!proxy.is_known(&session.id).await, "it came back");
    }
    assert!(proxy.start("ben").await.created > all.created);
}

/// The directory is there, but missed the deadline of one change: whoever has only the directory must not wait long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_end_reaches_who_has_only_the_directory_without_anybody_asking() {
    let (server, world) = (Redis::start(), World::new().await);
    let relay = Relay::to(std::net::SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let (here, there) = (Proxy::on(&server, &world), Proxy::at(relay.address().port(), &world));
    here.is_believed().await;
    there.is_believed().await;
    let session = here.start("ana").await;
    there.leased(&session.id).await;
    relay.set(Mode::Stall);
    until("only the directory is asked", async || there.resolver.copy(&session.id).is_none()).await;
    world.directory.break_only("end_sessions", crate::cache::faults::Fault::TimesOut);
    // On a busy machine the store misses its deadline too, now and then.
    let accepted = async || here.lifecycle.end(&session, &origin()).await == Ok(Ended::Accepted);
    until("the end is accepted", accepted).await;
    assert!(!here.is_known(&session.id).await);
    assert!(there.is_known(&session.id).await, "nobody could tell it");
    world.directory.repair();
    tokio::select! {
        () = here.lifecycle.keep_confirming() => unreachable!("it never ends"),
        () = until("the end is seen", async || !there.is_known(&session.id).await) => {}
    }
    // Whoever brings it once more changes nothing, and tells nothing.
    here.lifecycle.confirm_accepted().await.unwrap();
    let page = crate::directory::AuditPage { user: None, since: None, after: None, limit: 100 };
    let lines = world.directory.inner().audit_log(&page).await.unwrap();
    let ends = lines.iter().filter(|line| line.event == "session_ended" && line.session == Some(session.id));
    assert_eq!(ends.count(), 1, "{lines:?}");
}

/// What the list of changes names is read again at once: the store does not lack it should the directory go away next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_unheard_is_in_the_store_again_before_the_directory_goes() {
    let (server, world) = (Redis::start(), World::new().await);
    let relay = Relay::to(std::net::SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let proxy = Proxy::at(relay.address().port(), &world);
    proxy.is_believed().await;
    let session = proxy.start("ana").await;
    proxy.leased(&session.id).await;
    let stored = || server.command(&["GET", "cs:user:ana"]);
    until("the user lies there", async || stored().contains("\"ANA\"")).await;

    relay.set(Mode::Cut);
    until("Redis is gone", async || proxy.store.ping().await.is_err()).await;
    let mut renamed = user("ana", true);
    renamed.name = "Anna".into();
    world.directory.inner().put_user(&renamed).await.unwrap();
    relay.set(Mode::Pass);
    until("it is put back", async || stored().contains("\"Anna\"")).await;
    // A reading from before the change that arrives late.
    let written = proxy.store.put_entities(&[Entity::User(user("ana", true))]).await.unwrap();
    assert!(written.is_empty() && stored().contains("\"Anna\""), "an older reading came through");

    proxy.is_believed().await;
    world.directory.break_all(crate::cache::faults::Fault::Fails);
    proxy.resolver.layers.copies.everything();
    let Resolution::Known(context) = proxy.resolve(&session.id).await else { panic!("not known") };
    assert_eq!((context.user.name.as_ref(), context.layer), ("Anna", Layer::Store));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_both_stores_away_an_end_is_not_claimed() {
    let (mut server, world) = (Redis::start(), World::new().await);
    let proxy = Proxy::on(&server, &world);
    proxy.is_believed().await;
    let session = proxy.start("ana").await;
    world.directory.break_all(crate::cache::faults::Fault::Fails);
    server.kill();
    let undetermined = Err(crate::lifecycle::LifecycleError::Undetermined);
    assert_eq!(proxy.lifecycle.end(&session, &origin()).await, undetermined);
    assert_eq!(proxy.lifecycle.end_all(&session.user, &origin()).await, undetermined);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_opens_the_breaker_and_a_probe_finds_it_again() {
    let (server, world) = (Redis::start(), World::new().await);
    let proxy = Proxy::on(&server, &world);
    proxy.is_believed().await;
    let breaker = || proxy.store.breaker().unwrap().state();
    let session = proxy.start("ana").await;
    server.freeze();
    until("the breaker opens", async || {
        assert!(proxy.is_known(&session.id).await, "through the directory");
        proxy.resolver.layers.copies.session(&session.id);
        breaker() == crate::breaker::State::Open
    })
    .await;
    server.thaw();
    proxy.leased(&session.id).await;
    assert_eq!(breaker(), crate::breaker::State::Closed);
}
