//! Attacks by rows of the threat catalogue that the other tests do not make, on the bytes of the wire.

mod aborts;
mod admin;
mod frames;
mod hops;
mod streams;
mod turns;
mod upstream;
mod wire;

use std::time::Duration;

use e2e::proxy::Proxy;
use e2e::raw::{self, Exchange, RawUpstream};
use e2e::stores::Stores;

/// How long a server may be silent before nothing more is expected of it.
const SILENCE: Duration = Duration::from_millis(300);

/// An application that keeps every byte, behind a proxy with a public, a guarded and a small route.
async fn start() -> (RawUpstream, Proxy) {
    let app = RawUpstream::start().await;
    let proxy = in_front_of(&app).await;
    (app, proxy)
}

async fn in_front_of(app: &RawUpstream) -> Proxy {
    Proxy::builder()
        .upstream("app", app.address(), "")
        .route("/public/", "app", "\"nothing\"", "")
        .route("/session/", "app", "\"session\"", "")
        .start(&Stores::embedded())
        .await
}

/// One request with these lines and this body.
async fn ask(proxy: &Proxy, line: &str, lines: &str, body: &str) -> Exchange {
    let request = format!("{line} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n{body}");
    raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await
}
