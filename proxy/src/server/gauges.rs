//! Gauges of what nobody counts as it happens: looked at every second, as often as anybody scrapes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::cache::Copies;
use crate::clock::{Clock, Timestamp};
use crate::config::Snapshot;
use crate::directory::Directory;
use crate::gateway::rules::Rules;
use crate::telemetry::{LogSink, Metrics};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the gauges of the copies and of the directory's connections true, for ever.
pub(super) async fn of_stores(copies: Arc<Copies>, directory: Arc<dyn Directory>, metrics: Arc<Metrics>) {
    loop {
        copies.report();
        if let Some(pool) = directory.pool() {
            metrics.directory_connections.with_label_values(&["in_use"]).set(pool.in_use.into());
            metrics.directory_connections.with_label_values(&["idle"]).set(pool.idle.into());
            metrics.directory_connections_limit.set(pool.limit.into());
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Keeps the gauges of the configuration and of the log true, for ever.
pub(super) async fn of_rules(
    rules: Arc<ArcSwap<Rules>>,
    log: Option<LogSink>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) {
    let (mut keys, mut shown) = (Keys::default(), std::sync::Weak::new());
    loop {
        let current = rules.load_full();
        if !std::ptr::eq(shown.as_ptr(), Arc::as_ptr(&current)) {
            shown = Arc::downgrade(&current);
            certificates(&current.snapshot, &metrics);
        }
        keys.report(&current.snapshot, clock.now(), &metrics);
        if let Some(dropped) = log.as_ref().map(LogSink::dropped) {
            let told = metrics.log_lines_dropped.get();
            metrics.log_lines_dropped.inc_by(dropped.saturating_sub(told));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// When each key was first seen here, by purpose and id.
#[derive(Default)]
struct Keys(HashMap<(&'static str, String), Timestamp>);

impl Keys {
    fn report(&mut self, snapshot: &Snapshot, now: Timestamp, metrics: &Metrics) {
        let keys = &snapshot.keys;
        let plain =
            [("token", &keys.token), ("csrf", &keys.csrf), ("sealing", &keys.sealing), ("hmac", &keys.hmac)];
        let signing = [("jwt", &keys.jwt), ("message", &keys.message)];
        let plain = plain.iter().flat_map(|(purpose, keys)| keys.iter().map(|key| (*purpose, &key.id, None)));
        let signing = signing
            .iter()
            .flat_map(|(purpose, keys)| keys.iter().map(|key| (*purpose, &key.id, key.active_from)));
        let present: Vec<_> = plain.chain(signing).collect();
        self.0.retain(|(purpose, id), _| {
            let stays = present.iter().any(|(other, key, _)| other == purpose && *key == id);
            if !stays {
                let _ = metrics.key_age.remove_label_values(&[*purpose, id.as_str()]);
            }
            stays
        });
        for (purpose, id, active_from) in present {
            let seen = *self.0.entry((purpose, id.clone())).or_insert(now);
            let since = active_from.unwrap_or(seen);
            let age = now.since(since).as_secs_f64() - since.since(now).as_secs_f64();
            metrics.key_age.with_label_values(&[purpose, id.as_str()]).set(age);
        }
    }
}

/// When the first certificate of each listener expires.
fn certificates(snapshot: &Snapshot, metrics: &Metrics) {
    metrics.certificate_expiry.reset();
    for listener in &snapshot.listeners {
        let pems = listener.tls.iter().flat_map(|tls| &tls.certificates);
        // Of a chain, the first to expire ends it as a whole.
        let ends = pems
            .flat_map(|identity| CertificateDer::pem_slice_iter(&identity.certificate).flatten())
            .filter_map(|der| {
                let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
                Some(parsed.validity().not_after.timestamp())
            });
        if let Some(first) = ends.min() {
            // Whole seconds stay exact in a double for longer than certificates are issued for.
            #[expect(clippy::cast_precision_loss, reason = "a date")]
            metrics.certificate_expiry.with_label_values(&[&listener.place.to_string()]).set(first as f64);
        }
    }
}
