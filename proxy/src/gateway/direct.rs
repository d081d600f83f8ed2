//! Requests that are a head and nothing else, served without Pingora's proxy around its phases. That makes a future of 13 KB
//! for each request, which could do everything, and moves it twice (docs/performance.md). Here one task goes through the
//! same phases. What turns out to need more is handed on to Pingora, with what was found out about it.

use std::cell::RefCell;
use std::fmt;

use bytes::BytesMut;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{ProxyHttp, Session};
use pingora::{Error, ErrorType};

use super::{Gateway, RequestState, admit, wire};

tokio::task_local! {
    /// A request that was judged, on its way to Pingora's proxy.
    static JUDGED: RefCell<Option<Box<RequestState>>>;
}

/// What became of a request.
#[derive(Debug)]
pub enum Served {
    /// It was answered; what becomes of its connection is for the protocol to say.
    Answered,
    /// It is over, and its connection with it.
    Over,
    /// Pingora's proxy must serve what is [`unread`], within [`Judged::scope`].
    HandedOn(Judged),
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

/// The request that this task was handed, once.
pub(super) fn handed_on() -> Option<Box<RequestState>> {
    JUDGED.try_with(RefCell::take).ok().flatten()
}

impl Gateway {
    /// Serves a request without a body, whose head is here; the last one of its connection if that `ends`.
    pub async fn serve(&self, session: &mut Session, ends: bool) -> Served {
        match session.downstream_session.read_request().await {
            Ok(true) => {}
            Ok(false) => return Served::Over,
            Err(error) => {
                // Apart, as everything that is large and seldom needed: each request makes room for all that stands here.
                Box::pin(self.turn_away(session, &error)).await;
                return Served::Over;
            }
        }
        if ends {
            session.set_keepalive(None);
        }
        let mut state = self.new_ctx();
        admit::set_timeouts(session, &state, wire::is_last());
        match self.request_filter(session, &mut state).await {
            Ok(true) => {
                self.account(session, &mut state);
                Served::Answered
            }
            Ok(false) => Served::HandedOn(Judged(state)),
            Err(error) => {
                self.fail_to_proxy(session, &error, &mut state).await;
                self.account(session, &mut state);
                Served::Over
            }
        }
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
#[must_use]
pub fn unread(session: Session) -> Box<ServerSession> {
    let mut session = session.downstream_session;
    let head = session.to_h1_raw();
    session.set_pipelined_prefix(BytesMut::from(head));
    session
}
