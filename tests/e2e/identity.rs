//! The true context arrives, signed; what else a request carries arrives as it was sent.

use e2e::fixture::{ANA, CHO, EVE, EVES_NAME, EVES_PLATFORM, FAY};
use e2e::proxy::COOKIE;

use crate::setup::{Site, on_every_backend, percent_decoded};

on_every_backend! {
    async fn after_a_login_by_directive_the_signed_context_arrives(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        let request = site.arrives(&ana, "/platform/?q=1").await;
        for (name, value) in [
            ("authn", "session"),
            ("user-id", "1"),
            ("user-name", "Ana%20Kovac"),
            ("platform-id", "11"),
            ("platform-name", "Lichtbild"),
            ("platform-type", "mastodon"),
            ("platform-url", "https://11.example"),
        ] {
            let found = request.context(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(percent_decoded(found), percent_decoded(value), "{name}");
        }
        let roles: Vec<_> = request.context("roles").unwrap().split(',').map(str::trim).collect();
        assert_eq!(roles, ["admin", "reviewer"]);
        assert_eq!(request.context("session-id").unwrap().len(), 43);
        assert!(request.context("auth-time").unwrap().parse::<u64>().unwrap() > 1_700_000_000);
        assert!(request.context("request-id").is_some() && request.context("jwt").is_some());
        assert!(request.header("signature").unwrap().starts_with("countersign=:"));
        assert!(request.header("signature-input").unwrap().contains("tag=\"countersign\""));
    }

    async fn the_context_says_what_is_known_about_identity_on_every_kind_of_route(stores) {
        let site = Site::start(stores).await;
        let (nobody, cho) = (site.browser(), site.logged_in(CHO).await);
        for (browser, path, authn, user) in [
            (&nobody, "/public/a", "unchecked", None),
            (&cho, "/public/a", "unchecked", None),
            (&nobody, "/optional/a", "none", None),
            (&cho, "/optional/a", "session", Some("3")),
            (&cho, "/session/a", "session", Some("3")),
        ] {
            let request = site.arrives(browser, path).await;
            assert_eq!(request.context("authn"), Some(authn), "{path}");
            assert_eq!(request.context("user-id"), user, "{path}");
            assert!(request.header("signature").is_some(), "{path} arrived unsigned");
        }
    }

    async fn our_cookie_is_taken_out_and_the_others_arrive_byte_for_byte(stores) {
        let site = Site::start(stores).await;
        let token = site.logged_in(ANA).await.cookie(COOKIE).unwrap();
        for (sent, arrives) in [
            (format!("{COOKIE}={token}"), None),
            (format!("a=1; {COOKIE}={token}; b=\"x y\"; =z; c"), Some(&b"a=1; b=\"x y\"; =z; c"[..])),
            (format!("{COOKIE}={token}; Countersign-Session=other; a=%00,;"), Some(b"Countersign-Session=other; a=%00,;")),
        ] {
            site.browser().get("/session/").cookies(&sent).send().await.expect(200);
            let request = site.app.last();
            assert_eq!(request.all("cookie"), arrives.into_iter().collect::<Vec<_>>(), "{sent}");
            let everything = format!("{request:?}");
            assert!(!everything.contains(&token), "the token arrived");
        }
        let mut line = format!("umlaut=\u{e4}; {COOKIE}={token}; raw=").into_bytes();
        line.extend([0xff, 0xfe]);
        site.browser().get("/session/").cookies(&line).send().await.expect(200);
        assert_eq!(site.app.last().all("cookie"), [b"umlaut=\xc3\xa4; raw=\xff\xfe"]);
    }

    async fn names_that_are_not_visible_ascii_arrive_percent_encoded(stores) {
        let site = Site::start(stores).await;
        let eve = site.logged_in(EVE).await;
        let request = site.arrives(&eve, "/session/").await;
        for (name, value) in [("user-name", EVES_NAME), ("platform-name", EVES_PLATFORM)] {
            let sent = request.context(name).unwrap();
            assert!(sent.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{name}: {sent}");
            assert_eq!(percent_decoded(sent), value);
        }
        assert_eq!(request.context("roles"), Some("viewer"));
    }

    async fn a_context_over_its_budget_is_refused_and_nothing_is_forwarded(stores) {
        let site = Site::with(stores, |builder| builder.more("[context]\nbudget = \"2KiB\"")).await;
        let (ana, fay) = (site.logged_in(ANA).await, site.logged_in(FAY).await);
        site.arrives(&ana, "/session/").await;
        fay.get("/session/large").send().await.expect_problem(431, "context_too_large");
        assert!(site.app.take().is_empty());
        assert_eq!(site.proxy.request_line("/session/large").await["reason"], "context_too_large");
    }
}
