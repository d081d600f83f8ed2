//! Routes that take the platform from the request: two tabs of one session work with two platforms, nobody gets at
//! somebody else's, and what the client wrote never reaches the application.

use e2e::client::{Answer, Client};
use e2e::fixture::{ANA, BEN, CHO};
use e2e::stores::Stores;
use http::Method;

use crate::setup::{Site, on_every_backend};

/// Besides the usual routes, one of each kind.
async fn site(stores: Stores) -> Site {
    Site::with(stores, |builder| {
        builder
            .route(
                "/by-header/",
                "app",
                "\"platform\"",
                "platform_from = { header = \"X-Platform\" }\nchoose_platform = \"/session/platforms\"",
            )
            .route("/p/", "app", "\"platform\"", "platform_from = { path_segment = 1 }")
            .route(
                "/by-host/",
                "app",
                "{ platform = true, roles = [\"admin\", \"reviewer\", \"viewer\"] }",
                "host = \"*.app.test\"\nplatform_from = { host_label = 0 }",
            )
    })
    .await
}

/// Asks for a platform in each of the three ways.
async fn ask(browser: &Client, platform: &str) -> [Answer; 3] {
    [
        browser.get("/by-header/x").header("x-platform", platform).send().await,
        browser.get(&format!("/p/{platform}/x")).send().await,
        browser.naming(&format!("{platform}.app.test")).get("/by-host/x").send().await,
    ]
}

on_every_backend! {
    async fn two_tabs_of_one_session_work_with_two_platforms(stores) {
        let site = site(stores).await;
        let ana = site.logged_in(ANA).await;
        for round in 0..3 {
            for platform in ["11", "12"] {
                let _ = site.app.take();
                ask(&ana, platform).await.into_iter().for_each(|answer| drop(answer.expect(200)));
                for request in site.app.take() {
                    assert_eq!(request.context("platform-id"), Some(platform), "round {round} {}", request.target);
                    assert_eq!(request.context("user-id"), Some(ANA));
                }
                // The session's own choice stands, and decides elsewhere.
                assert_eq!(site.arrives(&ana, "/platform/").await.context("platform-id"), Some("11"));
            }
        }
    }

    async fn what_is_not_ones_own_is_refused_alike_and_never_replaced(stores) {
        let site = site(stores).await;
        let (ana, cho) = (site.logged_in(ANA).await, site.logged_in(CHO).await);
        // Ben's, inactive, unknown; twice each, so that copies answer as well.
        let mut told = std::collections::BTreeSet::new();
        for platform in ["21", "13", "9999", "21", "13", "9999"] {
            for answer in ask(&ana, platform).await {
                let mut problem = answer.expect_problem(403, "platform_unavailable").json();
                problem["request_id"] = serde_json::Value::Null;
                told.insert(problem.to_string());
            }
        }
        assert_eq!(told.len(), 1, "the answer tells which it is: {told:?}");
        for answer in ask(&cho, "11").await {
            answer.expect_problem(403, "platform_unavailable");
        }
        assert!(site.app.take().is_empty(), "a refused request was forwarded");
        // Who names nothing has no platform, whatever the session says; and is not sent to choose one in vain.
        let unnamed = ana.get("/by-header/x").navigating().send().await.expect(403);
        assert!(unnamed.header("location").is_empty());
        ana.get("/by-header/x").send().await.expect_problem(403, "platform_missing");
        ana.get("/p/").send().await.expect_problem(403, "platform_missing");
        assert!(site.app.take().is_empty());
    }

    async fn what_names_the_platform_never_reaches_the_application(stores) {
        let site = site(stores).await;
        let ana = site.logged_in(ANA).await;
        let call = ana.get("/by-header/x").header("x-platform", "12").header("X_Platform", "21").header("x.platform", "21");
        call.header("x-context-platform-id", "21").header("x-platform-of-my-own", "1").send().await.expect(200);
        let request = site.app.last();
        assert_eq!(request.context("platform-id"), Some("12"));
        let alike = request.headers.iter().filter(|(name, _)| name.replace(['_', '.'], "-") == "x-platform");
        assert_eq!(alike.count(), 0);
        assert_eq!(request.header("x-platform-of-my-own"), Some("1"));
        // Two that differ name nothing; two alike are one.
        let twice = |one: &str, two: &str| ana.get("/by-header/x").header("x-platform", one).header("x-platform", two);
        twice("12", "11").send().await.expect_problem(403, "platform_unavailable");
        twice("12", "12").send().await.expect(200);
        // A spelling of our own is not the header that was configured.
        ana.get("/by-header/x").header("x_platform", "12").send().await.expect_problem(403, "platform_missing");
        // Nominating it takes nothing away from us.
        ana.get("/by-header/x").header("x-platform", "12").header("connection", "x-platform").send().await.expect(200);
        assert_eq!(site.app.last().context("platform-id"), Some("12"));
    }

    async fn a_platform_that_is_switched_off_is_refused_at_once(stores) {
        let site = site(stores).await;
        let ben = site.logged_in(BEN).await;
        ask(&ben, "22").await.into_iter().for_each(|answer| drop(answer.expect(200)));
        if matches!(site.stores, Stores::Real(_)) {
            site.stores.sql("UPDATE platforms SET active = false WHERE id = '22'").await;
            e2e::eventually::until("the platform is refused", async || {
                ask(&ben, "22").await.iter().all(|answer| answer.status == 403)
            })
            .await;
        }
        ask(&ben, "21").await.into_iter().for_each(|answer| drop(answer.expect(200)));
    }

    async fn other_requirements_come_first_and_odd_paths_lead_nowhere(stores) {
        let site = site(stores).await;
        let (stranger, ana) = (site.browser(), site.logged_in(ANA).await);
        for answer in ask(&stranger, "11").await {
            answer.expect_problem(401, "no_cookie");
        }
        for path in ["/p/12;x/", "/p/%31%32/", "/P/12/", "/p/12%20/", "/p/%2e%2e/"] {
            let answer = ana.call(Method::GET, path).send().await;
            if path == "/p/%31%32/" {
                assert_eq!(site.app.last().context("platform-id"), Some("12"));
            } else {
                assert!((400..500).contains(&answer.status.as_u16()), "{path} {}", answer.status);
            }
        }
    }
}
