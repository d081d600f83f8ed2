//! Log records of the libraries beneath us. Pingora prints whole request heads at `debug`, so nothing below `warn`
//! passes, and what passes is capped. Requests that the HTTP layer refuses before they reach us show only here: counted.

use std::fmt::{self, Write};
use std::sync::Arc;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::Metrics;

/// What the HTTP layer's record of a refused request begins with (pingora-proxy 0.9.1, `handle_new_request`).
const REFUSED: &str = "Fail to proxy: ";
/// What its record of a failed TLS handshake begins with (pingora-core 0.9.1, `run_endpoint`).
const HANDSHAKE: &str = "Downstream handshake ";
/// What its record of a request to the admin listener that it cannot read begins with (`apps::http_app`). The whole head
/// follows, with whatever `Authorization` it brought.
const UNREADABLE: &str = "HTTP server fails to read from downstream";
/// What its record of a connection that only claims to speak HTTP/2 begins with (`apps`).
const NO_HTTP2: &str = "H2 handshake error";
/// What stands before the raw bytes of a head in the context of its errors. Nothing from there on is passed.
const RAW_HEAD: &str = "buf: ";
/// Longest message of a library that is passed on, in bytes.
const CAP: usize = 300;

/// Passes warnings and errors on to `tracing`, and counts refused requests.
struct Bridge {
    metrics: Arc<Metrics>,
}

/// Installs the bridge; once per process.
///
/// # Errors
/// When another logger is installed already.
pub fn install(metrics: Arc<Metrics>) -> Result<(), log::SetLoggerError> {
    log::set_boxed_logger(Box::new(Bridge { metrics }))?;
    // Debug is needed for the refused requests alone; `enabled` turns everything else away before it is formatted.
    log::set_max_level(LevelFilter::Debug);
    Ok(())
}

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
            || (metadata.level() == Level::Debug && metadata.target() == "pingora_proxy")
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() == Level::Debug {
            if record.target() == "pingora_proxy" && begins_with(record.args(), REFUSED) {
                self.metrics.framework_refusals.with_label_values(&["malformed_head"]).inc();
            }
            return;
        }
        if record.level() > Level::Warn {
            return;
        }
        // Whoever scans ports would fill the log.
        let clients_faults =
            [(HANDSHAKE, "tls_handshake"), (NO_HTTP2, "http2_handshake"), (UNREADABLE, "malformed_head")];
        for (begins, kind) in clients_faults {
            if begins_with(record.args(), begins) {
                self.metrics.framework_refusals.with_label_values(&[kind]).inc();
                return;
            }
        }
        let mut message = Capped { text: String::with_capacity(CAP), left: CAP };
        let _ = message.write_fmt(*record.args());
        let (library, message) = (record.target(), without_raw_head(&message.text));
        if record.level() == Level::Error {
            tracing::error!(library, "{message}");
        } else {
            tracing::warn!(library, "{message}");
        }
    }

    fn flush(&self) {}
}

/// A message up to the raw bytes of a head, which hold cookies and tokens.
fn without_raw_head(message: &str) -> &str {
    message.split(RAW_HEAD).next().unwrap_or_default()
}

/// Whether formatted text begins with `prefix`; stops formatting at the first difference, so that a head full of
/// cookies is never even formatted.
fn begins_with(args: &fmt::Arguments<'_>, prefix: &'static str) -> bool {
    let mut probe = Probe { prefix };
    let _ = probe.write_fmt(*args);
    probe.prefix.is_empty()
}

struct Probe {
    prefix: &'static str,
}

impl Write for Probe {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let shared = self.prefix.len().min(part.len());
        if shared > 0 && self.prefix.as_bytes()[..shared] == part.as_bytes()[..shared] {
            self.prefix = &self.prefix[shared..];
        }
        // Done either way once it matched or differed; an error stops the formatting.
        if self.prefix.is_empty() || part.len() > shared || shared == 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

struct Capped {
    text: String,
    left: usize,
}

impl Write for Capped {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = (0..=self.left.min(part.len())).rev().find(|&at| part.is_char_boundary(at)).unwrap_or(0);
        self.text.push_str(&part[..end]);
        self.left -= end;
        if end < part.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raw_bytes_of_a_head_are_never_passed_on() {
        let message =
            " InvalidHTTPHeader context: buf: GET / HTTP/1.1\\r\\nCookie: a=secret cause: invalid token";
        assert_eq!(without_raw_head(message), " InvalidHTTPHeader context: ");
        assert!(begins_with(&format_args!("{UNREADABLE}: {message}"), UNREADABLE));
    }

    #[test]
    fn only_the_record_of_a_refused_request_is_recognised() {
        assert!(begins_with(&format_args!("Fail to proxy: {}, more", "x"), REFUSED));
        assert!(!begins_with(&format_args!("Sending header to upstream {:?}", "x"), REFUSED));
        assert!(!begins_with(&format_args!("Fail"), REFUSED));
    }
}
