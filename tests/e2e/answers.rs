//! Answers of the proxy's own: redirects for a browser's navigation, problems for everything else.

use e2e::fixture::{ANA, BEN, CHO};
use e2e::stores::Stores;
use http::Method;

use crate::setup::{Site, on_every_backend, percent_decoded};

on_every_backend! {
    async fn only_a_navigation_is_redirected_to_the_login_page(stores) {
        let site = Site::start(stores).await;
        let nobody = site.browser();
        let answer = nobody.get("/page/a?b=c&d").navigating().send().await;
        assert!([302, 303, 307].contains(&answer.status.as_u16()), "{}", answer.status);
        let location = answer.header("location");
        assert_eq!(way_back(location), "/page/a?b=c&d");
        assert_eq!(answer.header("cache-control"), "no-store");
        // An old browser without Fetch Metadata.
        let answer = nobody.get("/page/").header("accept", "text/html,*/*;q=0.8").send().await;
        assert!(answer.status.is_redirection());
        for call in [
            nobody.get("/page/"),
            nobody.get("/page/").header("accept", "application/json"),
            nobody.get("/page/").header("accept", "text/html").header("sec-fetch-mode", "cors"),
            nobody.get("/page/").header("accept", "text/html").header("x-requested-with", "XMLHttpRequest").header("sec-fetch-mode", "same-origin"),
            nobody.post("/page/", "").navigating(),
            nobody.call(Method::DELETE, "/page/").navigating(),
            nobody.get("/session/").navigating(),
        ] {
            let answer = call.send().await.expect(401);
            assert!(answer.header("location").is_empty());
            assert!(answer.set_cookies().is_empty());
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        assert!(site.app.take().is_empty(), "something was forwarded");
    }

    async fn a_refusal_is_a_problem_document_with_a_stable_code(stores) {
        let site = Site::start(stores).await;
        let (nobody, ben, cho) = (site.browser(), site.logged_in(BEN).await, site.logged_in(CHO).await);
        nobody.get("/session/").send().await.expect_problem(401, "no_cookie");
        ben.get("/admin/").send().await.expect_problem(403, "role_missing");
        cho.get("/platform/").send().await.expect_problem(403, "platform_missing");
        nobody.get("/nowhere").send().await.expect_problem(404, "no_route");
        nobody.get("/.countersign/nothing").send().await.expect(404);
        let answer = cho.get("/platform/").navigating().send().await;
        assert!(answer.header("location").starts_with("/session/platforms"), "{:?}", answer.headers);
        assert!(site.app.take().is_empty(), "something was forwarded");
    }

    async fn a_session_of_somebody_who_was_deactivated_is_over_and_a_lost_platform_is_refused(stores) {
        let site = Site::start(stores).await;
        let (ana, ben) = (site.logged_in(ANA).await, site.logged_in(BEN).await);
        site.direct(&ana, "platform;id=\"12\"").await.expect(200);
        site.stores.sql("UPDATE users SET active = false WHERE id = '2'; UPDATE platforms SET active = false WHERE id = '12'").await;
        if let Stores::Real(real) = &site.stores {
            // What a context shows may be as old as its cache; here it is dropped by hand.
            for key in ["cs:user:2", "cs:platform:12", "cs:user_platforms:1"] {
                let _ = real.redis.command(&["DEL", key]);
            }
        }
        ben.get("/session/").send().await.expect_problem(401, "user_inactive");
        ana.get("/platform/").send().await.expect_problem(403, "platform_unavailable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_ours_can_be_read_by_the_origins_that_may() {
    let site = Site::with(Stores::embedded(), |builder| {
        let cors = "cors = { origins = [\"https://friend.test\"], preflight = true }";
        builder.route("/api/", "app", "\"session\"", cors)
    })
    .await;
    let ask = async |path: &str, origin: &str| site.browser().get(path).header("origin", origin).send().await;
    let answer = ask("/api/", "https://friend.test").await.expect(401);
    assert_eq!(answer.header("access-control-allow-origin"), "https://friend.test");
    assert!(answer.header("vary").to_lowercase().contains("origin"));
    for (path, origin) in
        [("/api/", "https://stranger.test"), ("/session/", "https://friend.test"), ("/api/", "null")]
    {
        let answer = ask(path, origin).await.expect(401);
        assert!(answer.header("access-control-allow-origin").is_empty(), "{path} {origin}");
    }
    let preflight = site.browser().call(Method::OPTIONS, "/api/").header("origin", "https://friend.test");
    preflight.header("access-control-request-method", "PUT").send().await.expect(200);
    assert_eq!(site.app.last().method, "OPTIONS");
    site.browser().call(Method::OPTIONS, "/api/").send().await.expect(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_back_after_a_login_never_leads_to_another_site() {
    let site = Site::start(Stores::embedded()).await;
    for path in ["/page/?next=https://evil.test", "/page/x%0d%0aset-cookie:a=b", "/page/a@evil.test"] {
        let answer = site.browser().get(path).navigating().send().await;
        if answer.status.is_redirection() {
            let location = answer.header("location");
            assert_eq!(way_back(location), path);
        }
        assert!(answer.set_cookies().is_empty());
    }
}

/// What the login page is told to lead back to, as it reads the query.
#[track_caller]
fn way_back(location: &str) -> String {
    let sent = location.strip_prefix("/auth/login?return_to=").unwrap_or_else(|| panic!("{location}"));
    assert!(!sent.contains(['&', '?', '#', '+']), "{location} would be read as something else");
    percent_decoded(sent)
}
