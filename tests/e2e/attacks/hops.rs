//! `Connection` as a weapon: a nomination takes away neither our fields nor what a request needs (THREATS H6).

use e2e::fixture::ANA;
use e2e::proxy::COOKIE;
use e2e::stores::Stores;

use crate::setup::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nominating_our_fields_or_needed_ones_changes_nothing() {
    let site = Site::start(Stores::embedded()).await;
    let browser = site.logged_in(ANA).await;
    browser.set_cookie("kept", "1");
    for nominated in [
        "x-context-user-id",
        "X-Context-User-Id, close",
        "signature, signature-input",
        "cookie",
        "host",
        "authorization",
        "content-length, transfer-encoding",
        "x-forwarded-for, x-forwarded-host",
        "x-context-authn,,  ,x-context-jwt",
        "\"x-context-authn\"",
        "a, b, c, d, e, f, g, h, i, j, k, l",
    ] {
        let _ = site.app.take();
        let call = browser.post("/session/", "body").header("connection", nominated);
        let call = call.header("authorization", "Basic eDp5");
        call.send().await.expect(200);
        let arrived = site.app.last();
        assert_eq!(arrived.context("user-id"), Some(ANA), "{nominated}");
        for name in ["signature", "signature-input", "x-context-jwt", "x-context-authn", "x-forwarded-for"] {
            assert!(arrived.header(name).is_some(), "{nominated}: {name} is gone");
        }
        assert_eq!(arrived.header("authorization"), Some("Basic eDp5"), "{nominated}");
        assert!(arrived.header("cookie").is_some_and(|cookies| cookies.contains("kept=1")), "{nominated}");
        assert!(!arrived.header("cookie").is_some_and(|cookies| cookies.contains(COOKIE)), "{nominated}");
        assert_eq!(
            (arrived.body.as_ref(), arrived.header("connection")),
            (&b"body"[..], None),
            "{nominated}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nominated_field_ends_at_the_proxy() {
    let site = Site::start(Stores::embedded()).await;
    let browser = site.logged_in(ANA).await;
    let call = browser.get("/session/").header("connection", "x-this-hop").header("x-this-hop", "1");
    call.header("x-next-hop", "1").send().await.expect(200);
    let arrived = site.app.last();
    assert_eq!((arrived.header("x-this-hop"), arrived.header("x-next-hop")), (None, Some("1")));
}
