//! The connection that listens for changes: one outside the pool, which proves itself before it is believed and keeps
//! proving itself, because a server that vanished says nothing and a pooler may promise to listen and stay mute.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::super::changes::{Changed, News};
use super::own::OwnQueries;
use crate::breaker::Breaker;

/// The channel of the triggers (`migrations/postgres/0002_notify.up.sql`).
const CHANNEL: &str = "countersign";
/// The triggers without which a change would not be told.
const TRIGGERS: [&str; 10] = [
    "countersign_user_written",
    "countersign_user_changed",
    "countersign_platform_written",
    "countersign_platform_changed",
    "countersign_settings_written",
    "countersign_settings_changed",
    "countersign_session_changed",
    "countersign_session_deleted",
    "countersign_foreign_session_written",
    "countersign_foreign_session_changed",
];
/// How often the connection is asked to hear itself.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The longest that connecting, and that one word of its own, may take to arrive.
const PATIENCE: Duration = Duration::from_secs(2);
/// The waits between attempts, each drawn at random below a ceiling that doubles.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Why nothing is heard.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error("the connection failed")]
    Failed(#[from] sqlx::Error),
    #[error("the connection is lost")]
    Closed,
    #[error(
        "a word of its own did not arrive: the server is away, or a pooler in transaction mode stands between"
    )]
    Mute,
    #[error("triggers that tell of changes are missing or disabled: run `countersign migrate up`")]
    NoTriggers,
    #[error(
        "tables that the configured queries read have no triggers that tell of changes: {0}; \
         docs/existing-schemas.md has them"
    )]
    Untold(String),
    #[error("the configured queries were not described yet, or do not fit")]
    Unknown,
    #[error("nobody reads the news any more")]
    Unread,
}

/// What has to be told of.
pub(super) struct Wanted {
    /// The operator's own queries.
    pub(super) own: Arc<OwnQueries>,
    /// Whether our tables are read.
    pub(super) ours: bool,
}

/// Listens, for as long as somebody reads the news. A connection that has just proven itself closes the breaker: who
/// believes nothing from before must be able to ask.
pub(super) async fn listen(
    options: PgConnectOptions,
    breaker: Option<Arc<Breaker>>,
    wanted: Wanted,
    news: Sender<News>,
) {
    let mut failures = 0_u32;
    let mut last_said = String::new();
    while !news.is_closed() {
        let mut ear = None;
        let reason = match attend(&options, breaker.as_deref(), &wanted, &news, &mut ear).await {
            Ok(never) => match never {},
            Err(reason) => reason,
        };
        let is_for_somebody = matches!(reason, Deaf::Untold(_));
        if let Some(since) = ear.take() {
            tracing::warn!(%reason, "changes in the directory are not told any more");
            last_said = reason.to_string();
            if news.send(News::Lost).await.is_err() {
                return;
            }
            // A server that hangs up at once again is not asked without a pause.
            failures = if since.elapsed() > LONGEST_WAIT { 0 } else { failures.saturating_add(1) };
        } else {
            failures = failures.saturating_add(1);
            let said = reason.to_string();
            if said != last_said {
                tracing::warn!(%reason, "changes in the directory cannot be heard; entities live 30 s meanwhile");
                last_said = said;
            }
        }
        // Triggers come by hand; nobody needs them within the second.
        let wait = if is_for_somebody { LONGEST_WAIT * 5 } else { wait_after(failures) };
        sleep(wait).await;
    }
}

/// One connection from its beginning to its end. `ear` says since when it is proven, if it ever was.
async fn attend(
    options: &PgConnectOptions,
    breaker: Option<&Breaker>,
    wanted: &Wanted,
    news: &Sender<News>,
    ear: &mut Option<Instant>,
) -> Result<std::convert::Infallible, Deaf> {
    let mut listener = timeout(PATIENCE, open(options)).await.map_err(|_| Deaf::Mute)??;
    if wanted.ours {
        check_triggers(&mut listener).await?;
    }
    check_own(wanted)?;
    hear_itself(&mut listener, news).await?;
    *ear = Some(Instant::now());
    tracing::info!("changes in the directory are told");
    if let Some(breaker) = breaker {
        breaker.recovered();
    }
    news.send(News::Listening).await.map_err(|_| Deaf::Unread)?;
    loop {
        let beat = Instant::now() + HEARTBEAT;
        // Waiting for a notification can be given up at any time without losing one (STATE.md 4.3).
        while let Ok(heard) = timeout_at(beat, listener.try_recv()).await {
            let notification = heard?.ok_or(Deaf::Closed)?;
            tell(news, notification.payload()).await?;
        }
        hear_itself(&mut listener, news).await?;
    }
}

/// A pool of one that nobody else uses: a listener that took a connection of the directory's pool would keep it.
async fn open(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(PATIENCE)
        .connect_with(options.clone())
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    // A loss ends the attempt; the next one begins with a proof.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Whether triggers tell of all that the operator's own queries read.
fn check_own(wanted: &Wanted) -> Result<(), Deaf> {
    let untold = wanted.own.untold().ok_or(Deaf::Unknown)?;
    if untold.is_empty() { Ok(()) } else { Err(Deaf::Untold(untold.join(", "))) }
}

async fn check_triggers(listener: &mut PgListener) -> Result<(), Deaf> {
    let names: Vec<String> = TRIGGERS.iter().map(ToString::to_string).collect();
    let query = sqlx::query_scalar::<_, i64>(
        "SELECT count(DISTINCT tgname) FROM pg_trigger WHERE tgname = ANY($1) AND tgenabled IN ('O', 'A') \
         AND pg_table_is_visible(tgrelid)",
    );
    let query = query.bind(names).persistent(false).fetch_one(&mut *listener);
    let found = timeout(PATIENCE, query).await.map_err(|_| Deaf::Mute)??;
    if usize::try_from(found) == Ok(TRIGGERS.len()) { Ok(()) } else { Err(Deaf::NoTriggers) }
}

/// Says a word that nobody can know before, and waits until it is heard. Whatever was told before it has arrived by
/// then, since notifications keep the order of their commits.
async fn hear_itself(listener: &mut PgListener, news: &Sender<News>) -> Result<(), Deaf> {
    let word = random_word();
    let end = Instant::now() + PATIENCE;
    let said = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(&word).persistent(false);
    timeout_at(end, said.execute(&mut *listener)).await.map_err(|_| Deaf::Mute)??;
    loop {
        let heard = timeout_at(end, listener.try_recv()).await.map_err(|_| Deaf::Mute)?;
        let notification = heard?.ok_or(Deaf::Closed)?;
        if notification.payload() == word {
            return Ok(());
        }
        tell(news, notification.payload()).await?;
    }
}

async fn tell(news: &Sender<News>, payload: &str) -> Result<(), Deaf> {
    match Changed::parse(payload) {
        Some(changed) => news.send(News::Changed(changed)).await.map_err(|_| Deaf::Unread),
        // A word of another proxy, or of a later version.
        None => Ok(()),
    }
}

fn random_word() -> String {
    let mut bytes = [0; 16];
    // Without randomness the word is still ours alone in this moment, as far as anybody means well.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes.iter().fold("hear:".to_owned(), |mut word, byte| {
        let _ = write!(word, "{byte:02x}");
        word
    })
}

/// A random part of a ceiling that doubles, so that proxies do not come back all at once.
fn wait_after(failures: u32) -> Duration {
    let ceiling = FIRST_WAIT.saturating_mul(1 << failures.min(6)).min(LONGEST_WAIT);
    let mut random = [0; 1];
    let part = SystemRandom::new().fill(&mut random).map_or(u32::from(u8::MAX), |()| u32::from(random[0]));
    FIRST_WAIT.max(ceiling * part / u32::from(u8::MAX))
}
