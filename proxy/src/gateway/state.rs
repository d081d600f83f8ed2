//! What is known of one request, growing from hook to hook. Pingora makes one per request and drops it at the end.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use pingora::protocols::l4::socket::SocketAddr;
use smallvec::SmallVec;

use super::near::Here;
use super::rules::{InForce, Road};
use super::streams::Tied;
use crate::clock::Timestamp;
use crate::context::{Authn, ClientCertificate, Context};
use crate::headers::forwarded::ClientOrigin;
use crate::policy::Route;
use crate::policy::accept::Accepted;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::profile::Claim;
use crate::telemetry::Steps;
use crate::telemetry::spread::Busy;
use crate::telemetry::traces::Trace;
use crate::upstream::HttpVersion;

/// Everything one request carries along.
pub struct RequestState {
    /// The rules in force when it arrived, for its whole life.
    pub(super) rules: Here<Arc<InForce>>,
    /// When its head had arrived.
    pub(super) started: Instant,
    /// The same moment on the wall clock.
    pub(super) at: Timestamp,
    /// Our number for it; the nonce of its signatures.
    pub(super) request_id: String,
    /// Target and host, once they were accepted.
    pub(super) accepted: Option<Accepted>,
    /// Where it came from, once it was accepted.
    pub(super) origin: Option<ClientOrigin>,
    /// The certificate that the client showed, where the listener asks for one.
    pub(super) client_certificate: Option<ClientCertificate>,
    /// The route it took, once one was found.
    pub(super) road: Option<Here<Road>>,
    /// What it was let through with.
    pub(super) admitted: Option<Admitted>,
    /// Which endpoint of ours it asked, if it asked one.
    pub(super) own: Option<OwnFacts>,
    /// What it came to.
    pub(super) outcome: Outcome,
    /// Why it was not simply let through.
    pub(super) reason: Option<Reason>,
    /// Why it would have been refused, had its route not only reported.
    pub(super) would_refuse: Option<Reason>,
    /// Servers that were tried and could not be reached.
    pub(super) failed_servers: SmallVec<[SocketAddr; 2]>,
    /// Attempts to reach a server.
    pub(super) attempts: u32,
    /// When its steps ended, if anybody wants to know.
    pub(super) steps: Steps,
    /// The trace it belongs to, if there is anything to record or to tell.
    pub(super) trace: Option<Trace>,
    /// When the last attempt was signed and ready to be sent.
    pub(super) sent: Option<Instant>,
    /// Informational answers so far.
    pub(super) informational: u32,
    /// `Set-Cookie` values for the answer.
    pub(super) set_cookies: SmallVec<[HeaderValue; 1]>,
    /// Names of cookies that the application must not renew with this answer.
    pub(super) dropped_cookies: Vec<String>,
    /// Request body bytes that passed.
    pub(super) body_bytes: u64,
    /// Since when more of its body is awaited; `None` when all of it is here.
    pub(super) body_awaited: Option<Instant>,
    /// Seconds after which the client may ask again, where that is known.
    pub(super) retry_after: Option<u64>,
    /// What its answer was, if it was passed on as it came.
    pub(super) relayed: Option<Size>,
    /// Whether the answer has no body, whatever comes.
    pub(super) never_has_body: bool,
    /// Its place among the streams of its session, if the answer is a stream.
    pub(super) tied: Option<Tied>,
    /// Counts the request as being served until it is dropped, also by a panic.
    _in_flight: InFlight,
}

/// A request that was let through.
pub(super) struct Admitted {
    /// Where it goes.
    pub(super) road: Here<Road>,
    /// What the signed context says about identity.
    pub(super) authn: Authn,
    /// What the cookie claimed.
    pub(super) claim: Claim,
    /// Who it is, if that was asked and known.
    pub(super) context: Option<Arc<Context>>,
    /// What else the route asks for.
    pub(super) extras: Extras,
    /// Whether it asks to become a WebSocket, and may.
    pub(super) websocket: bool,
}

impl Admitted {
    /// Whether we take the fields of the client's connection out ourselves, in the one pass over all fields: where the
    /// application is asked over HTTP/1.1 for sure, and not for another protocol. Else Pingora does.
    pub(super) fn ends_hop(&self) -> bool {
        let settings = &self.road.upstream.settings;
        let is_http1 = match settings.http {
            HttpVersion::Http1 => true,
            HttpVersion::Auto => settings.tls.is_none(),
            HttpVersion::Http2 => false,
        };
        is_http1 && !self.websocket
    }
}

/// What only some routes ask for.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// The opened platform credential.
    pub(super) credential: Option<Secret>,
    /// The user's settings for the platform.
    pub(super) settings: Option<serde_json::Value>,
    /// Figures about the user's platform.
    pub(super) stats: Option<serde_json::Value>,
}

/// A request to an endpoint of our own, for the log.
pub(super) struct OwnFacts {
    /// The endpoint's name.
    pub(super) name: &'static str,
    /// Whether it was found by an alias.
    pub(super) alias: bool,
    /// Who asked, if that was found out.
    pub(super) context: Option<Arc<Context>>,
}

/// What an answer was that Pingora's server did not write, for the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Its status code.
    pub(super) status: u16,
    /// Bytes of its body.
    pub(super) body: usize,
}

/// What a request came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Not decided yet; a request that ends so was dropped half-way.
    Pending,
    /// Passed to an upstream, whose answer was passed back.
    Forwarded,
    /// Refused by policy.
    Refused,
    /// Answered by an endpoint of our own.
    Answered,
    /// Not completed: an upstream, a store or we ourselves failed.
    Failed,
}

impl Outcome {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Failed as usize + 1;

    /// The word in logs and metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "dropped",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Answered => "answered",
            Self::Failed => "failed",
        }
    }
}

impl RequestState {
    /// The state of a request whose head has just arrived.
    pub(super) fn new(
        rules: Here<Arc<InForce>>,
        request_id: String,
        at: Timestamp,
        in_flight: Here<Busy>,
    ) -> Self {
        let mut steps = Steps::default();
        if rules.snapshot.request_log.slow.is_some() {
            steps.time();
        }
        Self {
            rules,
            started: Instant::now(),
            at,
            request_id,
            accepted: None,
            origin: None,
            client_certificate: None,
            road: None,
            admitted: None,
            own: None,
            outcome: Outcome::Pending,
            reason: None,
            would_refuse: None,
            failed_servers: SmallVec::new(),
            attempts: 0,
            steps,
            trace: None,
            sent: None,
            informational: 0,
            set_cookies: SmallVec::new(),
            dropped_cookies: Vec::new(),
            body_bytes: 0,
            body_awaited: None,
            retry_after: None,
            relayed: None,
            never_has_body: false,
            tied: None,
            _in_flight: InFlight::enter(in_flight),
        }
    }

    /// The route it took, once one was found.
    pub(super) fn route(&self) -> Option<&Route> {
        self.road.as_ref().map(|road| road.route.as_ref())
    }

    /// Whether it was let through to become a WebSocket.
    pub(super) fn is_websocket(&self) -> bool {
        self.admitted.as_ref().is_some_and(|admitted| admitted.websocket)
    }

    /// Remembers why the request was not let through.
    pub(super) fn refuse(&mut self, reason: Reason) {
        self.reason = Some(reason);
        self.outcome = if reason.status() >= 500 { Outcome::Failed } else { Outcome::Refused };
    }
}

struct InFlight(Here<Busy>);

impl InFlight {
    fn enter(gauge: Here<Busy>) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
