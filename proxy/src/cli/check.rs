//! `countersign check`: the code of `run` up to serving, and what the configuration comes to in words.

use std::cmp::Reverse;
use std::io::Write;
use std::path::Path;

use crate::config::Snapshot;
use crate::directory;
use crate::policy::{PlatformSource, Requirement, Route};
use crate::server::connect;
use crate::signing::MessageAlgorithm;
use crate::store;
use crate::upstream::{HttpVersion, Upstream};

/// Says what a valid configuration means; with `connect`, also tries everything it names.
pub(super) fn check(
    path: &Path,
    snapshot: &Snapshot,
    connect: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match snapshot.warnings.len() {
        0 => writeln!(out, "{}: ok", path.display())?,
        1 => writeln!(out, "{}: ok, with 1 warning", path.display())?,
        count => writeln!(out, "{}: ok, with {count} warnings", path.display())?,
    }
    neighbours(snapshot, out)?;
    upstreams(snapshot, out)?;
    routes(snapshot, out)?;
    overlaps(snapshot, out)?;
    if connect {
        connections(snapshot, out)?;
        writeln!(out, "\nEverything it names could be reached.")?;
    } else {
        writeln!(out, "\nNext: `check --connect` also tries store, directory, upstreams and keys.")?;
    }
    Ok(())
}

/// Asks every neighbour once, and fails when one cannot be reached.
fn connections(snapshot: &Snapshot, out: &mut dyn Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let findings = runtime.block_on(connect::check(snapshot));
    writeln!(out, "\nNeighbours")?;
    let mut failed = 0;
    for finding in &findings {
        match &finding.result {
            Ok(answer) => writeln!(out, "  ok      {}: {answer}", finding.what)?,
            Err(why) => {
                failed += 1;
                writeln!(out, "  failed  {}: {why}", finding.what)?;
            }
        }
    }
    if failed > 0 {
        anyhow::bail!(
            "{failed} of {} neighbours failed; start or correct what is named above",
            findings.len()
        );
    }
    Ok(())
}

fn neighbours(snapshot: &Snapshot, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "\nListeners (browsers see {})", snapshot.public_scheme.as_str())?;
    for listener in &snapshot.listeners {
        let protocol = match (&listener.tls, listener.h2c) {
            (Some(_), _) => "TLS, HTTP/1.1 and HTTP/2",
            (None, true) => "cleartext HTTP/2",
            (None, false) => "cleartext HTTP/1.1",
        };
        write!(out, "  {}  {protocol}", listener.place)?;
        if !listener.trusted_proxies.is_empty() {
            let networks: Vec<String> = listener.trusted_proxies.iter().map(ToString::to_string).collect();
            write!(out, ", behind {}", networks.join(", "))?;
        }
        writeln!(out)?;
    }
    let token = if snapshot.admin.token.is_some() { "with token" } else { "without token, no admin API" };
    writeln!(out, "  {}  admin, {token}", snapshot.admin.address)?;
    writeln!(out, "\nStore      {}", store_line(&snapshot.store))?;
    writeln!(out, "Directory  {}", directory_line(&snapshot.directory))?;
    let session = &snapshot.session;
    writeln!(
        out,
        "Session    cookie {}{}, ends after {} unused, {} in all",
        session.cookie,
        if session.secure { " (Secure)" } else { "" },
        humantime::format_duration(session.idle_timeout),
        humantime::format_duration(session.absolute_timeout),
    )
}

fn store_line(settings: &store::Settings) -> String {
    match &settings.kind {
        store::Kind::Embedded => "embedded (this process alone)".to_owned(),
        store::Kind::Redis(redis) => format!(
            "redis {}:{}, database {}, {}{}, keys begin with {}",
            redis.host,
            redis.port,
            redis.database,
            if redis.tls.is_some() { "TLS" } else { "cleartext" },
            if redis.password.is_some() { ", with password" } else { "" },
            redis.prefix,
        ),
    }
}

fn directory_line(settings: &directory::Settings) -> String {
    match &settings.kind {
        directory::Kind::Postgres(_) => format!("postgres, at most {} connections", settings.connections),
        directory::Kind::Sqlite(Some(path)) => format!("sqlite {}", path.display()),
        directory::Kind::Sqlite(None) => {
            "sqlite in memory: everything is lost when the process ends".to_owned()
        }
    }
}

fn upstreams(snapshot: &Snapshot, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "\nUpstreams")?;
    for upstream in &snapshot.upstreams {
        let http = match upstream.http {
            HttpVersion::Http1 => "HTTP/1.1",
            HttpVersion::Http2 => "HTTP/2",
            HttpVersion::Auto => "HTTP/2 or HTTP/1.1",
        };
        let tls = if upstream.tls.is_some() { " over TLS" } else { "" };
        let servers = upstream.servers.join(", ");
        writeln!(out, "  {}  {servers}  {http}{tls}, {}", upstream.name, proofs(upstream))?;
    }
    Ok(())
}

fn proofs(upstream: &Upstream) -> String {
    let message = upstream.message_signature.map(|algorithm| match algorithm {
        MessageAlgorithm::HmacSha256 => "message signature (hmac-sha256)",
        MessageAlgorithm::Ed25519 => "message signature (ed25519)",
    });
    let proofs: Vec<&str> = message.into_iter().chain(upstream.jwt.then_some("JWT")).collect();
    if proofs.is_empty() { "not signed".to_owned() } else { proofs.join(" and ") }
}

fn routes(snapshot: &Snapshot, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "\nRoutes, in the order of matching")?;
    writeln!(out, "  every host  {}  the proxy's own endpoints", snapshot.reserved_path)?;
    let mut routes: Vec<&Route> = snapshot.routes.routes().iter().map(AsRef::as_ref).collect();
    routes.sort_by_key(|route| matching_order(route));
    for route in routes {
        let host = route.host.as_deref().unwrap_or("every host");
        let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
        let methods = if methods.is_empty() { String::new() } else { format!("{} ", methods.join(",")) };
        writeln!(out, "  {host}  {methods}{}  -> {}  {}", route.path, route.upstream, demands(route))?;
    }
    Ok(())
}

/// Exact hosts, then wildcards (longest first), then every host; there the deepest path, then named methods.
fn matching_order(route: &Route) -> impl Ord + use<> {
    let host = route.host.clone().unwrap_or_default();
    let rank = match host.as_str() {
        "" => 2,
        wildcard if wildcard.starts_with('*') => 1,
        _ => 0,
    };
    let length = if rank == 1 { host.len() } else { 0 };
    let depth = route.path.split('/').filter(|segment| !segment.is_empty()).count();
    (rank, Reverse(length), host, Reverse(depth), route.path.clone(), route.methods.is_empty())
}

fn demands(route: &Route) -> String {
    let mut words = match &route.requirement {
        Requirement::Nothing => vec!["requires nothing".to_owned()],
        Requirement::Optional => vec!["session optional".to_owned()],
        Requirement::Session(demands) => {
            let mut words = vec!["requires a session".to_owned()];
            if demands.platform {
                words.push("a platform".to_owned());
            }
            if !demands.roles.is_empty() {
                words.push(format!("role {}", demands.roles.join(" or ")));
            }
            if let Some(span) = demands.recent_login {
                words.push(format!("a login within {}", humantime::format_duration(span)));
            }
            words
        }
    };
    if route.session_authority {
        words.push("session authority".to_owned());
    }
    if let Some(source) = &route.platform_from {
        words.push(match source {
            PlatformSource::Header(name) => format!("platform from the header {name}"),
            PlatformSource::PathSegment(index) => format!("platform from segment {index} of the path"),
            PlatformSource::HostLabel(index) => format!("platform from label {index} of the host"),
        });
    }
    if route.extras.settings {
        words.push("receives the settings".to_owned());
    }
    if route.extras.stats {
        words.push("receives the stats".to_owned());
    }
    if route.platform_authorization {
        words.push("receives the platform's credential".to_owned());
    }
    words.join(", ")
}

fn overlaps(snapshot: &Snapshot, out: &mut dyn Write) -> std::io::Result<()> {
    let report = snapshot.routes.report();
    if report.is_empty() {
        return writeln!(out, "\nNo two routes match the same request.");
    }
    writeln!(out, "\nRequests that two routes match (the first one gets them)")?;
    for overlap in report {
        writeln!(out, "  {}", overlap.what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::check;

    const CONFIGURATION: &str = r#"
[[listen]]
address = "127.0.0.1:8080"
trusted_proxies = ["10.0.0.0/8"]

[keys]
token = [{ id = "t", secret = { env = "TOKEN" } }]
csrf = [{ id = "c", secret = { env = "CSRF" } }]
hmac = [{ id = "h", secret = { env = "HMAC" } }]

[[upstream]]
name = "app"
servers = ["127.0.0.1:5000", "127.0.0.1:5001"]
sign = ["http-message-signature"]

[[route]]
path = "/"
upstream = "app"
require = "platform"

[[route]]
path = "/login"
upstream = "app"
require = "nothing"
session_authority = true

[[route]]
host = "*.example.org"
path = "/admin/"
methods = ["POST"]
upstream = "app"
require = { roles = ["admin", "owner"], recent_login = "10m" }
"#;

    const SAID: &str = "\
test.toml: ok

Listeners (browsers see http)
  127.0.0.1:8080  cleartext HTTP/1.1, behind 10.0.0.0/8
  127.0.0.1:9901  admin, without token, no admin API

Store      embedded (this process alone)
Directory  sqlite countersign.sqlite
Session    cookie countersign-session, ends after 30m unused, 12h in all

Upstreams
  app  127.0.0.1:5000, 127.0.0.1:5001  HTTP/1.1, message signature (hmac-sha256)

Routes, in the order of matching
  every host  /.countersign/  the proxy's own endpoints
  *.example.org  POST /admin/  -> app  requires a session, role admin or owner, a login within 10m
  every host  /login  -> app  requires nothing, session authority
  every host  /  -> app  requires a session, a platform
";

    #[test]
    fn a_valid_configuration_is_told_in_words_and_its_overlaps_listed() {
        let environment = |name: &str| {
            ["TOKEN", "HMAC", "CSRF"]
                .contains(&name)
                .then(|| format!("{name}-0123456789abcdef0123456789abcdef"))
        };
        let snapshot = crate::config::parse(CONFIGURATION, "test.toml", &environment).unwrap();
        let mut out = Vec::new();
        check(Path::new("test.toml"), &snapshot, false, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(said.starts_with(SAID), "{said}");
        assert!(said.contains("Requests that two routes match"), "{said}");
        assert!(said.contains("route `POST *.example.org/admin/`"), "{said}");
    }
}
