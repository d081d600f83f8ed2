//! What one user may have and do: sessions at once, switches within an hour, acting for others; and when a login has to
//! be repeated.

use std::time::Duration;

use e2e::client::Answer;
use e2e::eventually::until;
use e2e::fixture::{ANA, BEN, CHO};
use e2e::proxy::COOKIE;
use e2e::stores::Stores;
use e2e::verifier::from_base64url;
use serde_json::Value;

use crate::admin::{command, get, said};
use crate::own::Tab;
use crate::setup::{Site, on_every_backend};

on_every_backend! {
    async fn the_oldest_session_ends_when_one_too_many_begins(stores) {
        let site = Site::with(stores, |b| b.session("sessions_per_user = 2")).await;
        let first = site.logged_in(ANA).await;
        let second = site.logged_in(ANA).await;
        // A rotated session is still one.
        site.direct(&second, "rotate").await.expect(200);
        assert_eq!((site.status(&first).await, site.status(&second).await), (200, 200));
        let third = site.logged_in(ANA).await;
        let answer = first.get("/session/").send().await;
        answer.expect_problem(401, "session_ended");
        let log = get(&site, "/v1/audit?limit=2").await.expect(200).json();
        let said = |line: usize| (log["audit"][line]["event"].as_str(), log["audit"][line]["by"].as_str());
        assert_eq!((said(0), said(1)), ((Some("session_ended"), Some("proxy")), (Some("session_started"), Some("upstream:app"))));
        assert_eq!((site.status(&second).await, site.status(&third).await), (200, 200));
        assert_eq!(site.status(&site.logged_in(BEN).await).await, 200);
        // Who logs in again in the same browser takes nobody else's place.
        site.direct(&third, &format!("create;user=\"{ANA}\"")).await.expect(200);
        assert_eq!((site.status(&second).await, site.status(&third).await), (200, 200));
        let log = get(&site, "/v1/audit?limit=2").await.expect(200).json();
        assert_eq!(log["audit"][1]["event"], "session_replaced");
    }

    async fn one_too_many_does_not_begin_where_that_is_the_rule(stores) {
        let site = Site::with(stores, |b| b.session("sessions_per_user = 2\nwhen_exceeded = \"refuse\"")).await;
        let (first, second) = (site.logged_in(ANA).await, site.logged_in(ANA).await);
        let third = site.browser();
        site.direct(&third, &format!("create;user=\"{ANA}\"")).await.expect_problem(409, "too_many_sessions");
        assert_eq!(third.cookie(COOKIE), None);
        assert_eq!((site.status(&first).await, site.status(&second).await), (200, 200));
        site.direct(&first, "end").await.expect(200);
        assert_eq!(site.status(&site.logged_in(ANA).await).await, 200);
        // At the same moment: never more than are allowed.
        let (one, two, three) = (site.browser(), site.browser(), site.browser());
        let create = format!("create;user=\"{BEN}\"");
        let _ = tokio::join!(site.direct(&one, &create), site.direct(&two, &create), site.direct(&three, &create));
        let mut alive = 0;
        for browser in [&one, &two, &three] {
            alive += usize::from(site.status(browser).await == 200);
        }
        assert!(alive <= 2, "{alive} sessions");
    }

    async fn platforms_are_switched_only_so_often(stores) {
        let site = Site::with(stores, |b| b.session("platform_switches_per_hour = 3")).await;
        let ana = site.logged_in(ANA).await;
        for platform in ["12", "11", "12"] {
            site.direct(&ana, &format!("platform;id=\"{platform}\"")).await.expect(200);
        }
        let refused = site.direct(&ana, "platform;id=\"11\"").await.expect_problem(429, "too_many_switches");
        let within_the_hour = |answer: &Answer| (1..=3601).contains(&answer.header("retry-after").parse::<u64>().unwrap());
        assert!(within_the_hour(&refused));
        // Whatever way a page takes.
        let tab = Tab::open(&ana).await;
        let refused = tab.post("platforms/11/switch").await.expect_problem(429, "too_many_switches");
        assert!(within_the_hour(&refused));
        assert_eq!(site.arrives(&ana, "/platform/").await.context("platform-id"), Some("12"));
        let ben = site.logged_in(BEN).await;
        site.direct(&ben, "platform;id=\"22\"").await.expect(200);
    }

    async fn an_actor_with_a_role_for_it_is_named_in_the_signed_context(stores) {
        let site = Site::with(stores, |b| b.session("impersonation_roles = [\"admin\"]")).await;
        let admin = site.logged_in(ANA).await;
        let before = admin.cookie(COOKIE).unwrap();
        site.direct(&admin, &format!("create;user=\"{BEN}\";actor=\"{ANA}\"")).await.expect(200);
        assert_ne!(admin.cookie(COOKIE).unwrap(), before, "the id survived a change of privilege");
        let request = site.arrives(&admin, "/session/").await;
        assert_eq!((request.context("user-id"), request.context("actor-id")), (Some(BEN), Some(ANA)));
        let token = request.context("jwt").unwrap().to_owned();
        let claims: Value = serde_json::from_slice(&from_base64url(token.split('.').nth(1).unwrap())).unwrap();
        assert_eq!((&claims["sub"], &claims["act"]["sub"]), (&BEN.into(), &ANA.into()));
        admin.get("/admin/").send().await.expect_problem(403, "role_missing");
        // Nobody acts out of a session in which somebody acts, and nobody without the role.
        site.direct(&admin, &format!("create;user=\"{CHO}\";actor=\"{ANA}\"")).await.expect_problem(502, "directive_refused");
        assert_eq!(site.arrives(&admin, "/session/").await.context("user-id"), Some(BEN));
        let ben = site.logged_in(BEN).await;
        site.direct(&ben, &format!("create;user=\"{ANA}\";actor=\"{BEN}\"")).await.expect_problem(502, "directive_refused");
        assert_eq!(site.arrives(&ben, "/session/").await.context("user-id"), Some(BEN));
    }

    async fn what_an_actor_does_ends_when_they_log_out_everywhere(stores) {
        let site = Site::with(stores, |b| b.session("impersonation_roles = [\"admin\"]")).await;
        let (acting, elsewhere) = (site.logged_in(ANA).await, site.logged_in(ANA).await);
        let act = format!("create;user=\"{BEN}\";actor=\"{ANA}\"");
        site.direct(&acting, &act).await.expect(200);
        let ben = site.logged_in(BEN).await;
        assert_eq!((site.status(&acting).await, site.status(&ben).await), (200, 200));
        // What is done in somebody's name is told with the name of who does it.
        Tab::open(&acting).await.post("platforms/22/switch").await.expect(200);
        let log = get(&site, "/v1/audit?limit=1").await.expect(200).json();
        assert_eq!((&log["audit"][0]["event"], &log["audit"][0]["by"]), (&"platform_switched".into(), &"user for user:1".into()));
        site.direct(&elsewhere, "end-all").await.expect(200);
        acting.get("/session/").send().await.expect_problem(401, "impersonation_over");
        assert_eq!(site.status(&ben).await, 200, "the user's own session stands");
        let again = site.logged_in(ANA).await;
        site.direct(&again, &act).await.expect(200);
        assert_eq!(site.status(&again).await, 200);
    }

    async fn a_route_can_ask_for_a_recent_login(stores) {
        let more = "login = \"/auth/login\"";
        let site = Site::with(stores, |b| b.route("/careful/", "app", "{ recent_login = \"2s\" }", more)).await;
        let ana = site.logged_in(ANA).await;
        until("the login is too old", async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            ana.get("/careful/").send().await.status == 401
        })
        .await;
        ana.get("/careful/x").send().await.expect_problem(401, "login_too_old");
        let sent_on = ana.get("/careful/x?y=1").navigating().send().await.expect(303);
        assert!(sent_on.header("location").starts_with("/auth/login?"), "{}", sent_on.header("location"));
        assert_eq!(site.status(&ana).await, 200, "other routes do not ask");
        let before = ana.cookie(COOKIE).unwrap();
        site.direct(&ana, "rotate;authenticated").await.expect(200);
        assert_ne!(ana.cookie(COOKIE).unwrap(), before);
        ana.get("/careful/x").send().await.expect(200);
        // No grace: whoever had the old token has nothing.
        ana.get("/session/").cookies(format!("{COOKIE}={before}")).send().await.expect_problem(401, "session_ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_actor_does_ends_with_the_role_for_it() {
    let site = Site::with(Stores::real(), |b| b.session("impersonation_roles = [\"admin\"]")).await;
    let acting = site.logged_in(ANA).await;
    site.direct(&acting, &format!("create;user=\"{BEN}\";actor=\"{ANA}\"")).await.expect(200);
    let cookie = acting.cookie(COOKIE).unwrap();
    let config = site.proxy.config().display().to_string();
    let look = ["test-session", &config, "--cookie", "-"];
    let known = command(&site.proxy, &look, &cookie).await;
    assert!(known.status.success() && said(&known).contains("acts for the user"), "{}", said(&known));
    site.stores.sql("UPDATE users SET roles = '{reviewer}' WHERE id = '1';").await;
    until("the role is gone", async || site.status(&acting).await == 401).await;
    acting.get("/session/").send().await.expect_problem(401, "impersonation_over");
    let over = command(&site.proxy, &look, &cookie).await;
    assert!(said(&over).contains("impersonation_over"), "{}", said(&over));
}
