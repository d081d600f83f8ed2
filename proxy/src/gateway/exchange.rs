//! Step 8 for most requests: those without a body, to an application that speaks HTTP/1.1. Pingora moves bodies both ways
//! at once, through two channels; where only an answer comes back that is most of its cost (docs/performance.md). Here one
//! task writes the head, and passes on what Pingora's own client reads with Pingora's own server. Every decision is taken
//! by the functions that Pingora's phases call for all other requests.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result, RetryType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Sleep};

use super::begun::Begun;
use super::incoming::AsItCame;
use super::pool::{Connection, Place};
use super::state::{Admitted, RequestState};
use super::{Gateway, incoming, outgoing, peer, wire};
use crate::headers::relay::{self, Framing};
use crate::reason::Reason;

/// How often a request is sent at most; as often as Pingora is told to.
const ATTEMPTS: usize = 16;
/// As much of a head as is searched for a second framing. Pingora's client reads up to a mebibyte of one.
const LONGEST_HEAD: usize = 64 * 1024;
/// How much of an answer is taken together, when it has arrived together; as much as Pingora takes.
const TOGETHER: usize = 4;

/// Whether a request can be forwarded here. An answer to `HEAD` is read differently, and seldom asked for.
pub(super) fn suits(session: &mut Session, state: &RequestState) -> bool {
    state.admitted.as_ref().is_some_and(Admitted::ends_hop)
        && session.req_header().method != Method::HEAD
        && session.as_mut().is_body_empty()
}

impl Gateway {
    /// Forwards a request without a body, and its answer.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub(super) async fn exchange(&self, session: &mut Session, state: &mut RequestState) -> Result<()> {
        let mut result = Err(Error::new(ErrorType::InternalError));
        for _ in 0..ATTEMPTS {
            result = self.attempt(session, state).await;
            if !result.as_ref().is_err_and(|error| error.retry()) {
                break;
            }
        }
        result
    }

    async fn attempt(&self, session: &mut Session, state: &mut RequestState) -> Result<()> {
        let place = peer::place(state)?;
        let kept = self.pool.take(&place);
        let reused = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            // Apart, because this future is large and seldom needed.
            None => Box::pin(self.connect(&place, session, state)).await?,
        };
        match self.converse(session, state, connection).await {
            Ok(connection) => {
                if let (Some(connection), Some(admitted)) = (connection, &state.admitted) {
                    self.pool.keep(place, connection, admitted.road.upstream.settings.idle_timeout);
                }
                Ok(())
            }
            Err(mut error) => {
                peer::decide_retry(session, &mut error, reused);
                Err(error)
            }
        }
    }

    async fn connect(
        &self,
        place: &Place,
        session: &Session,
        state: &mut RequestState,
    ) -> Result<Connection> {
        let (_, address) = place;
        let peer = peer::at(address, session, state)?;
        let connected = self.pool.connect(&peer).await;
        connected.map_err(|error| peer::unreachable(state, address, error.into_up()))
    }

    /// Writes the request and passes the answer on. Answers the connection if it may be used again.
    async fn converse(
        &self,
        session: &mut Session,
        state: &mut RequestState,
        Connection { mut stream, mut timer, mut room }: Connection,
    ) -> Result<Option<Connection>> {
        let patience = peer::patience(session, state)?;
        let received = session.req_header();
        let head = self.sign(state, |state, now| outgoing::head(received, state, now, &self.metrics))?;
        write(&mut stream, &head, timer.as_mut(), patience.write).await?;
        room.clear();
        in_time(session, timer.as_mut(), patience.read, begin(&mut stream, &mut room)).await?;
        if let Some(answer) = self.relayed(session, &room, state) {
            match answer {
                AsItCame::Written(bytes) => write_past(session, bytes, state).await?,
                AsItCame::Apart(head, body) => write_apart(session, head, body).await?,
            }
            return Ok(Some(Connection { stream, timer, room }));
        }
        if is_framed_twice(session, timer.as_mut(), patience.read, &mut stream, &mut room).await? {
            return Err(outgoing::refusal(state, Reason::UpstreamMalformed));
        }
        let upstream = HttpSession::new(Box::new(Begun::new(room, stream)));
        let ended = self.pass_on(session, state, upstream, timer.as_mut(), patience.read).await?;
        Ok(ended.and_then(Begun::ended).map(|(stream, room)| Connection { stream, timer, room }))
    }

    /// Passes an answer on, piece by piece, as Pingora's client reads it. Answers its connection if it may be used again.
    async fn pass_on(
        &self,
        session: &mut Session,
        state: &mut RequestState,
        mut upstream: HttpSession,
        mut timer: Pin<&mut Sleep>,
        patience: Duration,
    ) -> Result<Option<Stream>> {
        loop {
            let task = in_time(session, timer.as_mut(), patience, upstream.read_response_task()).await?;
            let (tasks, whole) = self.judged(session, state, &mut upstream, task).await?;
            let done = session.write_response_tasks(tasks).await?;
            if whole || done {
                if session.as_mut().finish_body().await.is_err() {
                    session.set_keepalive(None);
                }
                if !whole {
                    return Ok(None);
                }
                if upstream.resp_header().is_some_and(closes) {
                    return Ok(None);
                }
                upstream.respect_keepalive();
                return Ok(upstream.reuse().await);
            }
        }
    }

    /// What has arrived of an answer, judged and cleaned, and whether it has ended.
    async fn judged(
        &self,
        session: &mut Session,
        state: &mut RequestState,
        upstream: &mut HttpSession,
        first: HttpTask,
    ) -> Result<(Vec<HttpTask>, bool)> {
        let mut tasks = Vec::with_capacity(TOGETHER);
        let mut next = Some(first);
        let mut whole = false;
        while let Some(mut task) = next.take() {
            whole = task.is_end() && !matches!(task, HttpTask::Failed(_));
            self.judge(session, state, &mut task).await?;
            let more = !task.is_end();
            tasks.push(task);
            if more && tasks.len() < TOGETHER {
                let here = tokio::task::unconstrained(upstream.read_response_task()).now_or_never();
                next = here.map(|task| task.unwrap_or_else(|error| HttpTask::Failed(error.into_up())));
            }
        }
        Ok((tasks, whole))
    }

    async fn judge(
        &self,
        session: &mut Session,
        state: &mut RequestState,
        task: &mut HttpTask,
    ) -> Result<()> {
        match task {
            HttpTask::Header(answer, whole) => {
                self.answered(session.req_header(), answer, state).await?;
                if answer.status == StatusCode::SWITCHING_PROTOCOLS {
                    // Nobody asked for it here.
                    return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
                }
                if !*whole {
                    frame(answer)?;
                }
                self.clean(answer, state);
                incoming::fit_version(answer, session);
            }
            HttpTask::Trailer(Some(trailers)) => incoming::clean_trailers(trailers, state),
            _ => {}
        }
        Ok(())
    }
}

/// Waits for what an application says, as long as the client is there and `patience` is not over.
async fn in_time<T>(
    session: &mut Session,
    mut timer: Pin<&mut Sleep>,
    patience: Duration,
    says: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::pin!(says);
    timer.as_mut().reset(Instant::now() + patience);
    loop {
        tokio::select! {
            biased;
            said = says.as_mut() => return said.map_err(Error::into_up),
            // Ends only when the client has gone, or says something that it must not.
            left = session.downstream_session.read_body_or_idle(true) => {
                left.map_err(Error::into_down)?;
            }
            () = timer.as_mut() => return Err(Error::new_up(ErrorType::ReadTimedout)),
        }
    }
}

/// Reads the beginning of an answer. A connection that was closed while nobody used it shows here, or when it is written to.
async fn begin(stream: &mut Stream, room: &mut Vec<u8>) -> Result<()> {
    let (mut error, is_closed) = match stream.read_buf(room).await {
        Ok(0) => (Error::explain(ErrorType::ConnectionClosed, "waiting for an answer"), true),
        Ok(_) => return Ok(()),
        Err(cause) => {
            // Where TLS complains it was not simply closed.
            let is_closed = cause.raw_os_error().is_some();
            (Error::because(ErrorType::ReadError, "waiting for an answer", cause), is_closed)
        }
    };
    if is_closed {
        error.retry = RetryType::ReusedOnly;
    }
    Err(error)
}

/// Whether an answer says in two ways where it ends (THREATS F16). Pingora's client takes one of them away before anybody
/// can object, so this is found out before: its head is read to the end, or as far as [`LONGEST_HEAD`]. What ends before,
/// or is no answer, is for Pingora's client to say.
async fn is_framed_twice(
    session: &mut Session,
    mut timer: Pin<&mut Sleep>,
    patience: Duration,
    stream: &mut Stream,
    room: &mut Vec<u8>,
) -> Result<bool> {
    loop {
        match relay::framing(room) {
            Framing::Twice => return Ok(true),
            Framing::Once => return Ok(false),
            Framing::Unknown if room.len() >= LONGEST_HEAD => return Ok(false),
            Framing::Unknown => {}
        }
        let more = async { Ok(stream.read_buf(room).await) };
        if !matches!(in_time(session, timer.as_mut(), patience, more).await?, Ok(1..)) {
            return Ok(false);
        }
    }
}

/// Writes a whole answer to a client that speaks HTTP/2.
async fn write_apart(session: &mut Session, head: Box<ResponseHeader>, body: Bytes) -> Result<()> {
    let is_empty = body.is_empty();
    let mut tasks = vec![HttpTask::Header(head, is_empty)];
    if !is_empty {
        tasks.push(HttpTask::Body(Some(body), true));
    }
    session.write_response_tasks(tasks).await.map(drop)
}

/// Writes a whole answer past Pingora's server, which knows nothing of it and only flushes the connection.
async fn write_past(session: &mut Session, answer: Vec<u8>, state: &RequestState) -> Result<()> {
    if !wire::relay(answer) {
        return Err(Error::new(ErrorType::InternalError));
    }
    let patience = state.rules.snapshot.connections.patience;
    let written = session.as_mut().finish_body();
    tokio::pin!(written);
    let written = match written.as_mut().now_or_never() {
        Some(written) => written,
        None => tokio::time::timeout(patience, written)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorType::WriteTimedout))),
    };
    written.map(drop).map_err(Error::into_down)
}

/// Writes the head of a request. A connection that was closed while nobody used it shows here or when the answer is read.
async fn write(
    stream: &mut Stream,
    head: &[u8],
    mut timer: Pin<&mut Sleep>,
    patience: Duration,
) -> Result<()> {
    let written = async {
        stream.write_all(head).await?;
        stream.flush().await
    };
    tokio::pin!(written);
    let result = if let Some(result) = written.as_mut().now_or_never() {
        result
    } else {
        timer.as_mut().reset(Instant::now() + patience);
        tokio::select! {
            biased;
            result = written => result,
            () = timer => return Err(Error::new_up(ErrorType::WriteTimedout)),
        }
    };
    result.map_err(|cause| {
        let mut error = Error::because(ErrorType::WriteError, "writing a request", cause);
        error.retry = RetryType::ReusedOnly;
        error.into_up()
    })
}

/// Whether an answer says in any of its `Connection` lines that it is the last one (RFC 9112, section 9.6); Pingora looks
/// at the first.
fn closes(answer: &ResponseHeader) -> bool {
    let mut options = answer
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&b| b == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// An answer that ends with its connection is passed on in chunks, so that the client's connection outlives it.
fn frame(answer: &mut ResponseHeader) -> Result<()> {
    let is_framed = answer.headers.contains_key(header::TRANSFER_ENCODING)
        || answer.headers.contains_key(header::CONTENT_LENGTH);
    if !incoming::never_has_body(answer) && !is_framed {
        answer.set_version(Version::HTTP_11);
        answer.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    }
    Ok(())
}
