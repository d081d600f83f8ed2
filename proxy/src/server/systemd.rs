//! What systemd is told, where it listens (`sd_notify(3)`); elsewhere nothing happens.

use sd_notify::NotifyState;

use crate::endpoints::reload::Report;

/// Requests are taken.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] follows.
pub(super) fn reloading() {
    let since = NotifyState::monotonic_usec_now();
    match since {
        Ok(since) => tell(&[NotifyState::Reloading, since]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// From now on that process is the service.
pub(super) fn main_process_is(id: u32) {
    tell(&[NotifyState::MainPid(id)]);
}

/// What `systemctl status` shows.
pub(super) fn status(report: &Report) {
    let text = match &report.error {
        None => format!("Serving configuration {}", report.generation),
        Some(error) => {
            let first = error.lines().next().unwrap_or_default();
            format!("Serving configuration {}; the newest was refused: {first}", report.generation)
        }
    };
    tell(&[NotifyState::Status(&text)]);
}

/// Proves that the runtime it is spawned in makes progress, if systemd asked for that. Never ends.
pub(super) async fn watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(interval / 3).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
