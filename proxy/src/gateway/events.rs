//! Event streams of our own, as server-sent events or as a WebSocket: opened once everything is judged, then written
//! to until the client leaves, the session ends or the process does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use percent_encoding::percent_decode_str;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::Core;
use super::own::Own;
use super::state::{Outcome, RequestState};
use super::websocket::{self, Frames};
use crate::clock::{Clock, Timestamp};
use crate::context::{Context, Resolution, SessionId};
use crate::endpoints::ANSWER;
use crate::endpoints::own::events::{HEARTBEAT, Message};
use crate::endpoints::problem::Fault;
use crate::events::{Hold, Leash, NotOpened, Subscription, Told};
use crate::policy::origin;
use crate::policy::own::Call;
use crate::reason::Reason;
use crate::session::{Settings as SessionSettings, lifetime};
use crate::store::EventId;
use crate::telemetry::metrics::Counter;

/// How often a stream looks whether the process is about to end.
const TICK: Duration = Duration::from_secs(1);

/// A stream that may be opened.
pub(super) struct EventStream {
    context: Arc<Context>,
    subscription: Subscription,
    /// Whether the tab comes back to where it stood.
    resumed: bool,
    form: Form,
    leash: Arc<Leash>,
    _hold: Hold,
    core: Arc<Core>,
    clock: Arc<dyn Clock>,
    session: SessionSettings,
    open: prometheus::IntGauge,
    ended: Counter,
    /// The end that was told last as about to come.
    told_end: Option<Timestamp>,
}

/// How events are written.
enum Form {
    Sse,
    WebSocket(Box<Frames>),
}

/// What a stream waits for.
enum Next {
    Told(Option<Told>),
    Tick,
    Client(Option<Bytes>),
    Ended,
}

/// Judges a request for events, and lets the tab listen.
pub(super) async fn open(
    own: &Own<'_>,
    session: &mut Session,
    state: &mut RequestState,
    call: Call,
) -> Result<EventStream, Fault> {
    let name = call.line.name;
    state.own = Some(super::state::OwnFacts { name, alias: call.alias, context: None });
    let websocket = judge_origin(session, state)?;
    let last = last_event(&session.req_header().headers, state);
    let request = own.judge(session, state, call).await?;
    let context = request.who?;
    let core = Arc::clone(own.core);
    let (user, id) = (&context.user.id, &context.session.id);
    let subscription = core.hub.listen(user, id, last).await.map_err(|error| match error {
        NotOpened::TooMany => Reason::TooManyStreams,
        NotOpened::Store(_) => Reason::StoreUnavailable,
    })?;
    let leash = Leash::new();
    let kind = if websocket { "websocket" } else { "sse" };
    Ok(EventStream {
        subscription,
        resumed: last.is_some(),
        form: if websocket { Form::WebSocket(Box::new(Frames::new())) } else { Form::Sse },
        _hold: core.streams.hold(&context.session, &leash),
        leash,
        clock: Arc::clone(own.clock),
        session: state.rules.snapshot.session.clone(),
        open: own.metrics.event_streams.with_label_values(&[kind]),
        ended: own.metrics.streams_ended.with_label_values(&["events"]),
        told_end: None,
        context,
        core,
    })
}

/// Whether the request is to become a WebSocket. A page of another site has no business here, whatever it could read.
fn judge_origin(session: &Session, state: &RequestState) -> Result<bool, Reason> {
    let (Some(accepted), Some(from)) = (&state.accepted, &state.origin) else { return Err(Reason::Internal) };
    let request = session.req_header();
    if request.headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site") {
        return Err(Reason::ForeignOrigin);
    }
    origin::judge_own_upgrade(request, from.scheme.as_str(), &accepted.authority)
}

/// Where the tab stood: what a browser sends by itself, or what a script can put into the address. What is none of ours
/// is as good as long ago.
fn last_event(headers: &HeaderMap, state: &RequestState) -> Option<EventId> {
    let query = state.accepted.as_ref().and_then(|accepted| accepted.target.query()).unwrap_or_default();
    let in_query = query.split('&').find_map(|pair| pair.strip_prefix("last_event_id="));
    let written = match headers.get("last-event-id") {
        Some(value) => value.to_str().unwrap_or("-").to_owned(),
        None => percent_decode_str(in_query?).decode_utf8_lossy().into_owned(),
    };
    (!written.is_empty()).then(|| written.parse().unwrap_or_default())
}

impl EventStream {
    /// Writes until there is nothing more to say or nobody to say it to.
    pub(super) async fn run(
        mut self,
        session: &mut Session,
        state: &mut RequestState,
    ) -> pingora::Result<()> {
        state.outcome = Outcome::Answered;
        session.set_read_timeout(None);
        self.begin(session).await?;
        self.open.inc();
        let outcome = self.tell(session).await;
        self.open.dec();
        // The client is gone, which is how most streams end.
        outcome.or(Ok(()))
    }

    async fn begin(&mut self, session: &mut Session) -> pingora::Result<()> {
        super::wire::is_stream();
        let request = session.req_header();
        let mut head = match self.form {
            Form::Sse => ResponseHeader::build(StatusCode::OK, Some(8))?,
            Form::WebSocket(_) => ResponseHeader::build(StatusCode::SWITCHING_PROTOCOLS, Some(8))?,
        };
        head.insert_header(ANSWER, "events")?;
        if matches!(self.form, Form::Sse) {
            head.insert_header(header::CONTENT_TYPE, "text/event-stream")?;
            head.insert_header(header::CACHE_CONTROL, "no-store")?;
            head.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
            head.insert_header("cross-origin-resource-policy", "same-origin")?;
            // What nginx calls it: proxies in front of us must not collect the stream.
            head.insert_header("x-accel-buffering", "no")?;
            if request.version == Version::HTTP_11 {
                head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
            }
        } else {
            let key = request.headers.get(header::SEC_WEBSOCKET_KEY).map_or(&b""[..], HeaderValue::as_bytes);
            head.insert_header(header::SEC_WEBSOCKET_ACCEPT, websocket::accept(key))?;
            head.insert_header(header::UPGRADE, "websocket")?;
            head.insert_header(header::CONNECTION, "Upgrade")?;
        }
        session.write_response_header(Box::new(head), false).await
    }

    async fn tell(&mut self, session: &mut Session) -> pingora::Result<()> {
        if !self.resumed {
            let hello = Message::hello(self.subscription.position());
            self.write(session, &hello).await?;
        }
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let heartbeat = self.core.hub.settings().heartbeat;
        let mut beat = Instant::now() + heartbeat;
        loop {
            match self.next(session, &mut tick).await? {
                Next::Told(None) => return self.finish(session).await,
                Next::Told(Some(told)) => {
                    if let Some(message) = Message::of(&told, &self.context.session.id) {
                        self.write(session, &message).await?;
                    }
                }
                Next::Ended => {
                    self.ended.inc();
                    if let Some(reason) = self.end().await {
                        self.write(session, &Message::ended(reason)).await?;
                    }
                    return self.finish(session).await;
                }
                Next::Tick if session.is_process_shutting_down() => return self.finish(session).await,
                Next::Tick if Instant::now() >= beat => {
                    beat = Instant::now() + heartbeat;
                    self.sign_of_life(session).await?;
                    if let Some(message) = self.expiring().await {
                        self.write(session, &message).await?;
                    }
                }
                Next::Tick => {}
                Next::Client(bytes) => {
                    if !self.heard(session, bytes).await? {
                        return self.finish(session).await;
                    }
                }
            }
        }
    }

    async fn next(&mut self, session: &mut Session, tick: &mut Interval) -> pingora::Result<Next> {
        let idle = matches!(self.form, Form::Sse);
        tokio::select! {
            biased;
            () = self.leash.pulled() => Ok(Next::Ended),
            told = self.subscription.next() => Ok(Next::Told(told)),
            _ = tick.tick() => Ok(Next::Tick),
            read = session.as_mut().read_body_or_idle(idle) => read.map(Next::Client),
        }
    }

    /// What the client said; whether it goes on.
    async fn heard(&mut self, session: &mut Session, bytes: Option<Bytes>) -> pingora::Result<bool> {
        let (Form::WebSocket(frames), Some(bytes)) = (&mut self.form, bytes) else { return Ok(false) };
        let (answer, goes_on) = frames.receive(&bytes);
        send(session, answer).await?;
        Ok(goes_on)
    }

    async fn write(&mut self, session: &mut Session, message: &Message) -> pingora::Result<()> {
        let bytes = match &mut self.form {
            Form::Sse => message.to_sse().into(),
            Form::WebSocket(frames) => frames.text(message.to_text()),
        };
        send(session, bytes).await
    }

    async fn sign_of_life(&mut self, session: &mut Session) -> pingora::Result<()> {
        let bytes = match &mut self.form {
            Form::Sse => Bytes::from_static(HEARTBEAT.as_bytes()),
            Form::WebSocket(frames) => frames.ping(),
        };
        send(session, bytes).await
    }

    async fn finish(&mut self, session: &mut Session) -> pingora::Result<()> {
        let bytes = match &mut self.form {
            Form::Sse => Bytes::new(),
            Form::WebSocket(frames) => frames.close(),
        };
        session.write_response_body(Some(bytes), true).await
    }

    /// Why the session is over; `None` when only its token is: it was rotated, and the browser has the new one.
    async fn end(&self) -> Option<Reason> {
        match self.resolve(&self.context.session.id).await {
            Resolution::Unknown(Reason::SessionExpired) => {
                let end = lifetime::absolute_end(&self.context.session, &self.session);
                (self.clock.now() >= end).then_some(Reason::SessionExpired)
            }
            Resolution::Unknown(reason) => Some(reason),
            Resolution::Known(_) | Resolution::Undetermined(_) => None,
        }
    }

    /// What is to be told about the session's end, if it comes near. What others noted of its use is asked for only then.
    async fn expiring(&mut self) -> Option<Message> {
        let Resolution::Known(context) = self.resolve(&self.context.session.id).await else { return None };
        let (now, warning) = (self.clock.now(), self.core.hub.settings().expiry_warning);
        let absolute = lifetime::absolute_end(&context.session, &self.session);
        let seen = self.core.activity.last_seen(&context.session.id).unwrap_or_default();
        let mut end = absolute.min(context.last_seen.get().max(seen).plus(self.session.idle_timeout));
        if end.since(now) > warning {
            return None;
        }
        let elsewhere = self.core.hub.last_seen(&context.session.id).await.ok()?.unwrap_or_default();
        end = absolute.min(context.last_seen.get().max(seen).max(elsewhere).plus(self.session.idle_timeout));
        if end.since(now) > warning || self.told_end == Some(end) {
            return None;
        }
        self.told_end = Some(end);
        Some(Message::expiring(end, now))
    }

    async fn resolve(&self, id: &SessionId) -> Resolution {
        // The resolver's own budget bounds it.
        self.core.resolver.resolve(id, Instant::now() + TICK).await
    }
}

async fn send(session: &mut Session, bytes: Bytes) -> pingora::Result<()> {
    if bytes.is_empty() { Ok(()) } else { session.write_response_body(Some(bytes), false).await }
}
