//! Reads the configuration again: on SIGHUP, when a file has changed, when an operator asks. A whole new configuration is
//! read, judged and built before anything of it is put into force; if any part of that fails, all of the old one stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::doors::Entrances;
use super::files::Marks;
use super::systemd;
use super::watchers::Watchers;
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Snapshot};
use crate::endpoints::reload::{Cause, Report};
use crate::gateway::Core;
use crate::gateway::rules::Rules;
use crate::telemetry::{LevelSwitch, Metrics};

/// How often files are looked at. A change counts when it was seen twice, so that a file is not read half-written.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many may wait for an answer.
const WAITING: usize = 16;

/// Somebody who wants the configuration to be read again.
pub(super) struct Ask {
    cause: Cause,
    reply: Option<oneshot::Sender<Arc<Report>>>,
}

/// How others ask for a reload, and what the last one came to.
#[derive(Clone)]
pub(super) struct Reloads {
    asks: mpsc::Sender<Ask>,
    last: Arc<ArcSwap<Report>>,
}

impl Reloads {
    /// A desk for questions, with what will answer them. The first report is about the start.
    pub(super) fn new(now: Timestamp) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(WAITING);
        let report = Report::of_the_start(now);
        (Self { asks, last: Arc::new(ArcSwap::from_pointee(report)) }, asked)
    }

    /// Has the configuration read again and waits for what it comes to; `None` while nothing can be read again, as in
    /// the demo or before the proxy has started.
    pub(super) async fn ask(&self, cause: Cause) -> Option<Arc<Report>> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask { cause, reply: Some(reply) }).await.ok()?;
        answer.await.ok()
    }

    /// Asks without waiting; one that waits already is enough.
    pub(super) fn signal(&self) {
        let _ = self.asks.try_send(Ask { cause: Cause::Signal, reply: None });
    }

    /// What the last reload came to.
    pub(super) fn last(&self) -> Arc<Report> {
        self.last.load_full()
    }
}

/// Everything that a new configuration replaces.
pub(super) struct Reloader {
    pub(super) config: PathBuf,
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) entrances: Arc<ArcSwap<Entrances>>,
    pub(super) core: Arc<OnceCell<Arc<Core>>>,
    pub(super) watchers: Arc<Watchers>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) level: Option<LevelSwitch>,
    pub(super) reloads: Reloads,
}

/// A configuration that can be put into force.
struct Ready {
    rules: Rules,
    entrances: Entrances,
    notes: Vec<String>,
}

/// Why one cannot.
struct Refusal {
    error: String,
    needs_restart: Vec<String>,
}

impl Refusal {
    fn because(error: impl Into<String>) -> Self {
        Self { error: error.into(), needs_restart: Vec::new() }
    }
}

impl Reloader {
    /// Serves questions and watches files, for ever. `asked` is the other end of [`Reloads`], `files` what the
    /// configuration in force was read from.
    pub(super) async fn run(self, mut asked: mpsc::Receiver<Ask>, files: Vec<PathBuf>) {
        self.tell_metrics(&self.reloads.last());
        let mut seen = look(files).await;
        let mut doubtful = None;
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ask = tokio::select! {
                ask = asked.recv() => match ask {
                    Some(ask) => ask,
                    None => std::future::pending().await,
                },
                _ = tick.tick() => {
                    let now = look(seen.files()).await;
                    if now == seen || !self.rules.load().snapshot.watch {
                        doubtful = None;
                        continue;
                    }
                    if doubtful.as_ref() != Some(&now) {
                        doubtful = Some(now);
                        continue;
                    }
                    Ask { cause: Cause::File, reply: None }
                }
            };
            // Looked at before reading: what changes meanwhile is read again.
            let before = look(seen.files()).await;
            let (report, files) = self.reload(ask.cause).await;
            seen = before.with(look(files).await);
            doubtful = None;
            if let Some(reply) = ask.reply {
                let _ = reply.send(report);
            }
        }
    }

    async fn reload(&self, cause: Cause) -> (Arc<Report>, Vec<PathBuf>) {
        systemd::reloading();
        let (config, now) = (self.config.clone(), self.clock.now());
        let current = self.rules.load_full();
        let built = spawn_blocking(move || {
            let reading = config::read(&config, &config::process_environment);
            let ready = match reading.result {
                Ok(snapshot) => prepare(&current, snapshot, now),
                Err(problems) => Err(Refusal::because(problems.render(false).trim_end())),
            };
            (ready, reading.files)
        });
        let (ready, files) = built.await.unwrap_or_else(|_| {
            // A panic on what somebody wrote into a file is a fault of ours, and no reason to end.
            (Err(Refusal::because("the configuration cannot be built: a fault of ours")), Vec::new())
        });
        let report = match ready {
            Ok(ready) => self.put_into_force(cause, now, ready).await,
            Err(refusal) => self.refuse(cause, now, refusal),
        };
        let report = Arc::new(report);
        self.reloads.last.store(Arc::clone(&report));
        self.metrics.reloads.with_label_values(&[report.result()]).inc();
        self.tell_metrics(&report);
        systemd::ready();
        systemd::status(&report);
        (report, files)
    }

    async fn put_into_force(&self, cause: Cause, now: Timestamp, ready: Ready) -> Report {
        // Names are resolved before the first request can go there.
        self.watchers.begin(&ready.rules, &self.metrics).await;
        let rules = Arc::new(ready.rules);
        if let Some(core) = self.core.get() {
            core.lifecycle.replace_keys(rules.snapshot.keys.token.clone());
            core.resolver.compare_passwords_by(&rules.snapshot.directory.queries.passwords);
        }
        self.entrances.store(Arc::new(ready.entrances));
        self.rules.store(Arc::clone(&rules));
        self.watchers.end_others(&rules, &self.metrics);
        if let Some(level) = &self.level {
            level.set(rules.snapshot.log.as_str());
        }
        let generation = self.reloads.last().generation + 1;
        tracing::info!(
            cause = cause.as_str(),
            generation,
            "the configuration was read again and is in force"
        );
        for note in &ready.notes {
            tracing::warn!("{note}");
        }
        let (notes, needs_restart) = (ready.notes, Vec::new());
        Report { cause, at: now, generation, in_force_since: now, error: None, needs_restart, notes }
    }

    fn refuse(&self, cause: Cause, now: Timestamp, refusal: Refusal) -> Report {
        let last = self.reloads.last();
        let Refusal { error, needs_restart } = refusal;
        tracing::error!(
            cause = cause.as_str(),
            error,
            "the configuration was refused; the old one stays in force"
        );
        let (generation, in_force_since) = (last.generation, last.in_force_since);
        Report {
            cause,
            at: now,
            generation,
            in_force_since,
            error: Some(error),
            needs_restart,
            notes: Vec::new(),
        }
    }

    fn tell_metrics(&self, report: &Report) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.config_generation.set(number(report.generation));
        self.metrics.config_in_force_since.set(number(report.in_force_since.as_secs()));
        self.metrics.config_refused.set(i64::from(!report.is_applied()));
    }
}

/// Builds all that a configuration needs, without any effect.
fn prepare(current: &Rules, snapshot: Snapshot, now: Timestamp) -> Result<Ready, Refusal> {
    let needs_restart = current.snapshot.fixed.differences(&snapshot.fixed);
    if !needs_restart.is_empty() {
        let keys: Vec<String> = needs_restart.iter().map(|key| format!("`{key}`")).collect();
        let error = format!(
            "nothing of it was put into force, because this cannot change without a restart: {}",
            keys.join(", ")
        );
        return Err(Refusal { error, needs_restart });
    }
    let mut notes: Vec<String> = snapshot.warnings.iter().map(|problem| problem.what.clone()).collect();
    let entrances = Entrances::build(&snapshot).map_err(|error| Refusal::because(format!("{error:#}")))?;
    let (rules, waiting) =
        current.follow(snapshot, now).map_err(|error| Refusal::because(error.to_string()))?;
    notes.extend(waiting.into_iter().map(|key| {
        format!("the key `{key}` is published, and signs once every verifier knows it (`jwt.keys_max_age`)")
    }));
    Ok(Ready { rules, entrances, notes })
}

async fn look(files: Vec<PathBuf>) -> Marks {
    spawn_blocking(move || Marks::of(&files)).await.unwrap_or_default()
}
