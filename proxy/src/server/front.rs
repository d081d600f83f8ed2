//! In front of Pingora's request reading: a deadline for a whole request head. Pingora has none; its read time-out
//! starts anew with every byte (PINGORA.md, pitfall 6), so that a slow client could hold a connection for hours.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use crate::gateway::{Gateway, HEAD_ARRIVED};

/// Longest wait for the head of the first request on a connection (THREATS S11).
const FIRST_HEAD: Duration = Duration::from_secs(15);
/// Longest wait for the head of a later one: 60 s of idle keep-alive before it begins.
const NEXT_HEAD: Duration = Duration::from_secs(75);

/// The proxy behind its deadline.
pub(super) struct Front {
    proxy: Arc<HttpProxy<Gateway>>,
}

impl Front {
    pub(super) fn new(proxy: HttpProxy<Gateway>) -> Self {
        Self { proxy: Arc::new(proxy) }
    }
}

#[async_trait]
impl HttpServerApp for Front {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if session.is_http2() {
            // The head of an HTTP/2 stream is here already; the connection has time-outs of its own.
            return self.proxy.process_new_http(session, shutdown).await;
        }
        // The gateway leaves a mark on connections that have served a request.
        let mark = session.take_connection_user_context();
        let deadline = if mark.is_some() { NEXT_HEAD } else { FIRST_HEAD };
        session.set_connection_user_context(mark);
        let served = async {
            let request = self.proxy.process_new_http(session, shutdown);
            tokio::pin!(request);
            tokio::select! {
                biased;
                end = &mut request => return end,
                () = tokio::time::sleep(deadline) => {}
            }
            if HEAD_ARRIVED.with(Cell::get) { request.await } else { None }
        };
        HEAD_ARRIVED.scope(Cell::new(false), served).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
