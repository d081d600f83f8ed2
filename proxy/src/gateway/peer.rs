//! Route to peer: which server, over which protocol, with which time-outs, and when another one may be tried.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, header};
use pingora::protocols::ALPN;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::proxy::Session;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorType};

use super::patient::Patient;
use super::pool::Place;
use super::rules::UpstreamRules;
use super::state::RequestState;
use super::tls;
use crate::upstream::HttpVersion;

/// Streams on one HTTP/2 connection; Pingora's default of 1 would not multiplex.
const STREAMS_PER_CONNECTION: usize = 100;
/// How long a stream of server-sent events may be silent.
const EVENT_SILENCE: Duration = Duration::from_hours(1);

/// Chooses the server for the next attempt.
///
/// # Errors
/// When there is none that was not tried.
pub(super) fn server(state: &mut RequestState) -> pingora::Result<SocketAddr> {
    let admitted = state.admitted.as_ref().ok_or_else(|| Error::new(ErrorType::InternalError))?;
    let Some(address) = admitted.road.upstream.servers.select(&state.failed_servers) else {
        return Err(Error::new_up(ErrorType::ConnectNoRoute));
    };
    state.attempts += 1;
    Ok(address)
}

/// The same, with the number of the rules by which connections to it are told apart.
pub(super) fn place(state: &mut RequestState) -> pingora::Result<Place> {
    let address = server(state)?;
    let admitted = state.admitted.as_ref().ok_or_else(|| Error::new(ErrorType::InternalError))?;
    Ok((admitted.road.upstream.group, address))
}

/// How a server is reached for a request, and how long it is waited for.
///
/// # Errors
/// When its address is a path that cannot be one.
pub(super) fn at(
    address: &SocketAddr,
    session: &Session,
    state: &RequestState,
) -> pingora::Result<Box<HttpPeer>> {
    let admitted = state.admitted.as_ref().ok_or_else(|| Error::new(ErrorType::InternalError))?;
    let mut peer = peer(&admitted.road.upstream, address)?;
    if admitted.ends_hop() {
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    }
    peer.options.read_timeout = Some(silence(session, state, &admitted.road.upstream));
    if admitted.websocket {
        // A WebSocket may be silent for as long as both sides like; PINGORA.md, pitfall 17.
        peer.options.read_timeout = None;
        peer.options.write_timeout = None;
        // A connection of its own, which no other request has used or will use.
        peer.group_key = !peer.group_key;
        peer.options.idle_timeout = Some(Duration::ZERO);
        peer.options.custom_l4 =
            Some(Arc::new(Patient { timeout: admitted.road.upstream.settings.connect_timeout }));
    }
    Ok(Box::new(peer))
}

/// How long an application is waited for.
pub(super) struct Patience {
    /// How long an answer may be silent.
    pub(super) read: Duration,
    /// How long a piece of a request may take to be written.
    pub(super) write: Duration,
}

/// How long the application is waited for, for this request.
pub(super) fn patience(session: &Session, state: &RequestState) -> pingora::Result<Patience> {
    let admitted = state.admitted.as_ref().ok_or_else(|| Error::new(ErrorType::InternalError))?;
    let upstream = &admitted.road.upstream;
    Ok(Patience { read: silence(session, state, upstream), write: upstream.settings.write_timeout })
}

fn silence(session: &Session, state: &RequestState, upstream: &UpstreamRules) -> Duration {
    let of_route = state.route().and_then(|route| route.read_timeout);
    let silence = of_route.unwrap_or(upstream.settings.read_timeout);
    if accepts_events(session) { silence.max(EVENT_SILENCE) } else { silence }
}

/// The error of a server that could not be reached, with word on whether another one is tried. Nothing was sent, so every
/// method may be.
#[expect(clippy::unnecessary_box_returns, reason = "boxed is how Pingora's phases return errors")]
pub(super) fn unreachable(
    state: &mut RequestState,
    address: &SocketAddr,
    mut error: Box<Error>,
) -> Box<Error> {
    state.failed_servers.push(address.clone());
    error.set_retry(state.admitted.as_ref().is_some_and(|admitted| {
        let upstream = &admitted.road.upstream;
        state.attempts <= upstream.settings.retries
            && upstream.servers.select(&state.failed_servers).is_some()
    }));
    error
}

/// Whether an attempt that failed after it reached a server may be repeated: only what is safe by definition
/// (RFC 9110, section 9.2.1), and only when a pooled connection had been closed under it.
pub(super) fn decide_retry(session: &Session, error: &mut Error, reused: bool) {
    let safe = matches!(session.req_header().method, Method::GET | Method::HEAD | Method::OPTIONS);
    if safe && !session.as_ref().retry_buffer_truncated() {
        error.retry.decide_reuse(reused);
    } else {
        error.set_retry(false);
    }
}

/// Whether the client asks for server-sent events, which may be silent for long.
fn accepts_events(session: &Session) -> bool {
    let accept = session.req_header().headers.get(header::ACCEPT);
    accept.is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"))
}

fn peer(upstream: &UpstreamRules, address: &SocketAddr) -> pingora::Result<HttpPeer> {
    let settings = &upstream.settings;
    let tls = settings.tls.is_some();
    let mut peer = match address {
        SocketAddr::Inet(address) => HttpPeer::new(address, tls, String::new()),
        SocketAddr::Unix(socket) => {
            let path = socket.as_pathname().and_then(Path::to_str).unwrap_or_default();
            HttpPeer::new_uds(path, tls, String::new())?
        }
    };
    peer.client_cert_key.clone_from(&upstream.identity);
    peer.group_key = upstream.group;
    tls::name_server(&mut peer, settings, &upstream.server_name);
    let options = &mut peer.options;
    options.connection_timeout = Some(settings.connect_timeout);
    options.total_connection_timeout = Some(settings.connect_timeout);
    options.write_timeout = Some(settings.write_timeout);
    options.idle_timeout = Some(settings.idle_timeout);
    options.max_h2_streams = STREAMS_PER_CONNECTION;
    options.ca.clone_from(&upstream.ca);
    // Nominated fields are ours to take out, so that nominating what must stay changes nothing (see `outgoing`).
    options.http_upstream_request_policy.strip_connection_nominated = false;
    options.alpn = match settings.http {
        HttpVersion::Http1 => ALPN::H1,
        HttpVersion::Http2 => ALPN::H2,
        HttpVersion::Auto => ALPN::H2H1,
    };
    Ok(peer)
}
