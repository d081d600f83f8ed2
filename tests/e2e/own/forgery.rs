//! Requests that another site, or a page of another session, makes a browser send.

use e2e::fixture::{ANA, BEN};
use http::Method;

use super::{BASE, Tab};
use crate::setup::{Site, on_every_backend};

on_every_backend! {
    async fn an_unsafe_request_needs_an_origin_and_a_token_of_its_session(stores) {
        let site = Site::start(stores).await;
        let (ana, ben) = (Tab::of(&site, ANA).await, Tab::of(&site, BEN).await);
        let path = format!("{BASE}/platforms/12/switch");
        let refuse = async |fields: &[(&str, &str)], code: &str| {
            let mut call = ana.browser.post(&path, "");
            for (name, value) in fields {
                call = call.header(name, value);
            }
            call.send().await.expect_problem(403, code);
        };
        let token = ana.token.as_str();
        refuse(&[("x-csrf-token", token)], "origin_unproven").await;
        for site in ["cross-site", "same-site", "none"] {
            refuse(&[("sec-fetch-site", site), ("x-csrf-token", token)], "foreign_origin").await;
        }
        refuse(&[("origin", "https://evil.example"), ("x-csrf-token", token)], "foreign_origin").await;
        refuse(&[("origin", "null"), ("x-csrf-token", token)], "foreign_origin").await;
        refuse(&[("sec-fetch-site", "same-origin")], "csrf_missing").await;
        refuse(&[("origin", "http://app.test"), ("x-csrf-token", &ben.token)], "csrf_invalid").await;
        refuse(&[("origin", "http://app.test"), ("x-csrf-token", "")], "csrf_invalid").await;
        for (first, second) in [(token, ben.token.as_str()), (ben.token.as_str(), token)] {
            refuse(&[("origin", "http://app.test"), ("x-csrf-token", first), ("x-csrftoken", second)], "csrf_invalid").await;
        }
        let state = ana.get("session").await.json();
        assert_eq!(state["platform"]["id"], "11");
        assert!(site.proxy.metric("countersign_csrf_rejections_total", &["csrf_invalid", "own"]).await >= 2.0);
        let call = ana.browser.post(&path, "").header("origin", "http://app.test");
        call.header("x-csrftoken", token).send().await.expect(200);
        assert!(!site.proxy.output().contains(token), "the token is in the log");
    }

    async fn a_new_session_id_makes_older_tokens_worthless(stores) {
        let site = Site::start(stores).await;
        let before = Tab::of(&site, ANA).await;
        site.direct(&before.browser, "rotate").await.expect(200);
        before.post("session/heartbeat").await.expect_problem(403, "csrf_invalid");
        let after = Tab::open(&before.browser).await;
        after.post("session/heartbeat").await.expect(200);
        after.call(Method::GET, "csrf-token").send().await.expect(200);
    }
}
