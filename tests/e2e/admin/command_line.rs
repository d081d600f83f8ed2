//! The command line beside a running proxy, and without one.

use std::fmt::Write;

use e2e::fixture::{ANA, BEN, CHO};
use e2e::proxy::COOKIE;
use e2e::stores::Stores;
use serde_json::Value;

use super::{command, said};
use crate::setup::{Site, on_every_backend};

on_every_backend! {
    async fn sessions_are_listed_and_ended_from_the_command_line(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        let json = command(&site.proxy, &["session", "list", "--json"], "").await;
        assert_eq!(json.status.code(), Some(0), "{}", said(&json));
        let listed: Value = serde_json::from_slice(&json.stdout).unwrap();
        let id = listed[0]["id"].as_str().unwrap();
        let table = said(&command(&site.proxy, &["session", "list", "--user", ANA], "").await);
        assert!(table.contains("SESSION") && table.contains(id) && !table.contains('\u{1b}'), "{table}");
        let shown = command(&site.proxy, &["session", "show", &id[..8]], "").await;
        assert!(said(&shown).contains("live"), "{}", said(&shown));
        let ended = command(&site.proxy, &["session", "end", id], "").await;
        assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
        e2e::eventually::until("it is over", async || site.status(&ana).await == 401).await;
        let nothing = command(&site.proxy, &["session", "show", "zzzzzzzz"], "").await;
        assert_eq!(nothing.status.code(), Some(3), "{}", said(&nothing));
        assert!(said(&nothing).contains("Next: "));
        for (arguments, word) in [
            (&["user", "end-sessions", BEN][..], "have ended"),
            (&["platform", "clear", "12"], "0 sessions"),
            (&["invalidate", "user", ANA], "read again"),
            (&["invalidate", "settings", ANA, "11"], "read again"),
            (&["status"], "serving"),
            (&["audit", "--since", "1h"], "user_invalidated"),
            (&["session", "create", CHO], COOKIE),
        ] {
            let output = command(&site.proxy, arguments, "").await;
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
            assert!(said(&output).contains(word), "{arguments:?}: {}", said(&output));
            assert!(!said(&output).contains(&site.proxy.secret("admin-token")));
        }
    }

    async fn a_cookie_is_tested_with_and_without_a_running_proxy(stores) {
        let mut site = Site::start(stores).await;
        let (ana, ben) = (site.logged_in(ANA).await, site.logged_in(BEN).await);
        let (known, ended) = (ana.cookie(COOKIE).unwrap(), ben.cookie(COOKIE).unwrap());
        site.direct(&ben, "end").await.expect(200);
        let config = site.proxy.config().display().to_string();
        for running in [true, false] {
            if !running {
                site.proxy.stop().await;
            }
            for (cookie, code, word) in [
                (known.as_str(), 0, "opens a valid session"),
                (ended.as_str(), 3, "session_ended"),
                (&"A".repeat(43), 3, "forged_token"),
                ("x", 3, "malformed_cookie"),
            ] {
                let output = command(&site.proxy, &["test-session", &config, "--cookie", "-"], cookie).await;
                let text = said(&output);
                assert_eq!(output.status.code(), Some(code), "{running}: {text}");
                assert!(text.contains(word), "{running}: {text}");
                assert!(cookie.len() < 10 || !text.contains(cookie), "the cookie was told");
            }
        }
    }

    async fn a_request_is_explained_for_nobody_for_a_user_and_for_a_cookie(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await.cookie(COOKIE).unwrap();
        for (arguments, input, code, word) in [
            (&["explain", "GET", "/admin/x"][..], "", 0, "refused with 401 no_cookie"),
            (&["explain", "GET", "/public/"], "", 0, "forwarded, authn unchecked"),
            (&["explain", "GET", "/nowhere"], "", 3, "no_route"),
            (&["explain", "GET", "/admin/x", "--as", ANA], "", 0, "forwarded, authn session"),
            (&["explain", "GET", "/admin/x", "--as", BEN], "", 3, "role_missing"),
            (&["explain", "GET", "/platform/", "--as", CHO], "", 3, "platform_missing"),
            (&["explain", "GET", "/admin/x", "--cookie", "-"], &ana, 0, "forwarded, authn session"),
            (&["explain", "GET", "/session/", "--cookie", "-"], "nonsense", 3, "malformed_cookie"),
        ] {
            let output = command(&site.proxy, arguments, input).await;
            let text = said(&output);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
            assert!(text.contains(word), "{arguments:?}: {text}");
            assert!(!text.contains(&ana));
        }
    }

    async fn a_captured_request_is_verified(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        let request = site.arrives(&ana, "/platform/?a=b").await;
        let mut capture = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            let _ = write!(capture, "{name}: {}\r\n", String::from_utf8_lossy(value));
        }
        let output = command(&site.proxy, &["verify"], &capture).await;
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains("genuine"), "{}", said(&output));
        let forged = capture.replace("x-context-user-id: 1", "x-context-user-id: 2");
        assert_ne!(forged, capture);
        let output = command(&site.proxy, &["verify"], &forged).await;
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        let late = command(&site.proxy, &["verify", "--at", "2099-01-01T00:00:00Z"], &capture).await;
        assert!(late.status.code() == Some(3) && said(&late).contains("expired"), "{}", said(&late));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_are_down_make_it_undetermined_and_never_a_no() {
    let mut site = Site::start(Stores::to_be_stopped()).await;
    let cookie = site.logged_in(ANA).await.cookie(COOKIE).unwrap();
    site.stores.redis().kill();
    site.stores.postgres().stop();
    let config = site.proxy.config().display().to_string();
    let output = command(&site.proxy, &["test-session", &config, "--cookie", "-"], &cookie).await;
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let listed = command(&site.proxy, &["session", "list"], "").await;
    assert_eq!(listed.status.code(), Some(4), "{}", said(&listed));
    site.proxy.stop().await;
    let away = command(&site.proxy, &["status"], "").await;
    assert_eq!(away.status.code(), Some(4), "{}", said(&away));
    assert!(said(&away).contains("does not answer"), "{}", said(&away));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_listed_and_get_successors_without_being_shown() {
    let site = Site::start(Stores::embedded()).await;
    let config = site.proxy.config().display().to_string();
    let listed = command(&site.proxy, &["key", "list", &config, "--config"], "").await;
    assert_eq!(listed.status.code(), Some(1), "there is no such flag");
    let listed = e2e::proxy::run_to_end(&["key", "list", &config]);
    assert!(said(&listed).contains("jwt-1") && said(&listed).contains("active"), "{}", said(&listed));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.pem");
    let file = file.to_str().unwrap();
    let made = command(&site.proxy, &["key", "rotate", "jwt", "--out", file], "").await;
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let secret = std::fs::read_to_string(file).unwrap();
    assert!(secret.starts_with("-----BEGIN") && !said(&made).contains(secret.lines().nth(1).unwrap()));
    assert!(said(&made).contains("active_from"));
    let again = command(&site.proxy, &["key", "rotate", "jwt", "--out", file], "").await;
    assert_eq!(again.status.code(), Some(1), "an existing file is never overwritten");
    for name in ["token", "hmac", "sealing", "csrf"] {
        assert!(!said(&listed).contains(&site.proxy.secret(name)));
    }
}
