//! Requests that are a head and nothing else, served without Pingora's proxy around its phases. That makes a future of some 80
//! KB for each request, which could do everything, and moves it twice (docs/performance.md). Here one task goes through the
//! same phases. What turns out to need more is handed on to Pingora, with what was found out about it.

use std::cell::RefCell;
use std::fmt;

use bytes::BytesMut;
use pingora::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::proxy::{ProxyHttp, Session};
use pingora::{Error, ErrorType};

use super::{Gateway, RequestState, admit, wire};

tokio::task_local! {
    /// A request that was judged, on its way to Pingora's proxy.
    static JUDGED: RefCell<Option<Box<RequestState>>>;
}

/// What became of a request.
pub enum Served {
    /// It is over; the connection, if it can be used again.
    Done(Option<ReusedHttpStream>),
    /// Pingora's proxy must serve it, within [`Judged::scope`].
    HandedOn(Box<ServerSession>, Judged),
}

/// What was found out about a request that is handed on.
pub struct Judged(Box<RequestState>);

impl Judged {
    /// Lets `served` by Pingora's proxy go on from there.
    pub async fn scope<F: Future>(self, served: F) -> F::Output {
        JUDGED.scope(RefCell::new(Some(self.0)), served).await
    }
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judged").finish_non_exhaustive()
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Done(_)) { "Done" } else { "HandedOn" })
    }
}

/// The request that this task was handed, once.
pub(super) fn handed_on() -> Option<Box<RequestState>> {
    JUDGED.try_with(RefCell::take).ok().flatten()
}

impl Gateway {
    /// Serves a request without a body, whose head is here; the last one of its connection if that `ends`.
    pub async fn serve(&self, mut session: Session, ends: bool) -> Served {
        match session.downstream_session.read_request().await {
            Ok(true) => {}
            Ok(false) => return Served::Done(None),
            Err(error) => {
                self.turn_away(&mut session, &error).await;
                return Served::Done(None);
            }
        }
        if ends {
            session.set_keepalive(None);
        }
        let mut state = self.new_ctx();
        admit::set_timeouts(&mut session, &state, wire::is_last());
        match self.request_filter(&mut session, &mut state).await {
            Ok(true) => self.account(&session, &mut state),
            Ok(false) => return Served::HandedOn(unread(session), Judged(state)),
            Err(error) => {
                self.fail_to_proxy(&mut session, &error, &mut state).await;
                self.account(&session, &mut state);
                return Served::Done(None);
            }
        }
        let kept = HttpPersistentSettings::for_session(&session);
        let stream = session.downstream_session.finish().await.ok().flatten();
        Served::Done(stream.map(|stream| ReusedHttpStream::from_reusable_stream(stream, kept)))
    }

    /// Answers a head that cannot be read, and closes.
    async fn turn_away(&self, session: &mut Session, error: &Error) {
        if *error.etype() == ErrorType::InvalidHTTPHeader {
            self.metrics.framework_refusals.with_label_values(&["malformed_head"]).inc();
            // Nobody is left to be told when this fails.
            let _ = session.respond_error(400).await;
        }
        session.downstream_session.shutdown().await;
    }
}

/// The same request, to be read once more.
fn unread(session: Session) -> Box<ServerSession> {
    let mut session = session.downstream_session;
    let head = session.to_h1_raw();
    session.set_pipelined_prefix(BytesMut::from(head));
    session
}
