//! State, validity, signs of life, and the end of a session.

use e2e::fixture::{ANA, CHO};
use e2e::proxy::COOKIE;
use http::Method;

use super::{BASE, Tab, get};
use crate::setup::{Site, on_every_backend};

on_every_backend! {
    async fn the_state_says_who_and_with_which_platform_and_nothing_that_opens_anything(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        let answer = get(&ana, "session").await.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert!(answer.header("access-control-allow-origin").is_empty());
        assert!(!answer.text().contains(&ana.cookie(COOKIE).unwrap()));
        let state = answer.json();
        assert_eq!(state["authenticated"], true);
        assert_eq!(state["user"]["id"], ANA);
        assert_eq!(state["user"]["roles"], serde_json::json!(["admin", "reviewer"]));
        assert_eq!(state["platform"]["id"], "11");
        assert!(state["platform"].get("credential").is_none());
        for moment in ["created_at", "authenticated_at", "last_activity", "idle_expires_at", "expires_at"] {
            assert!(state[moment].as_str().unwrap().ends_with('Z'), "{moment}: {state}");
        }
        assert_eq!(get(&ana, "session/validate").await.expect(200).json()["valid"], true);
        assert_eq!(get(&site.logged_in(CHO).await, "session").await.json()["platform"], serde_json::json!(null));
    }

    async fn asking_how_things_stand_is_no_use_of_a_session_and_a_sign_of_life_is(stores) {
        let site = Site::start(stores).await;
        let ana = Tab::of(&site, ANA).await;
        let last = async || ana.get("session").await.json()["last_activity"].as_str().unwrap().to_owned();
        let begin = last().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        ana.post("session/validate").await.expect(200);
        assert_eq!(last().await, begin);
        ana.post("session/heartbeat").await.expect(200);
        assert!(last().await > begin);
    }

    async fn nobody_is_told_so(stores) {
        let site = Site::start(stores).await;
        let nobody = site.browser();
        let state = get(&nobody, "session").await.expect(200).json();
        assert_eq!(state, serde_json::json!({"authenticated": false, "reason": "no_cookie"}));
        let validity = get(&nobody, "session/validate").await.expect(200).json();
        assert_eq!(validity, serde_json::json!({"valid": false, "reason": "no_cookie"}));
        for path in ["platforms", "settings", "stats", "sessions", "csrf-token"] {
            get(&nobody, path).await.expect_problem(401, "no_cookie");
        }
        let over = Tab::of(&site, ANA).await;
        site.direct(&over.browser.stranger(), "end").await;
        let kept = over.browser.cookie(COOKIE).unwrap();
        over.post("logout").await.expect(200);
        over.browser.set_cookie(COOKIE, &kept);
        assert_eq!(over.get("session").await.json()["reason"], "session_ended");
    }

    async fn what_is_not_there_is_404_and_another_method_405(stores) {
        let site = Site::start(stores).await;
        let ana = Tab::of(&site, ANA).await;
        for path in ["", "nothing", "session/", "session/x", "platforms/11", "Session"] {
            get(&ana.browser, path).await.expect_problem(404, "no_route");
        }
        let refused = ana.call(Method::DELETE, "settings").send().await;
        let refused = refused.expect_problem(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), "GET, PATCH, PUT, HEAD");
        let head = ana.browser.call(Method::HEAD, &format!("{BASE}/session")).send().await.expect(200);
        assert!(head.body.is_empty() && head.header("content-length") != "0");
    }

    async fn logging_out_ends_this_session_and_takes_the_cookie_away(stores) {
        let site = Site::start(stores).await;
        let (here, there) = (Tab::of(&site, ANA).await, Tab::of(&site, ANA).await);
        let kept = here.browser.cookie(COOKIE).unwrap();
        let answer = here.post("logout").await.expect(200);
        assert_eq!(answer.json(), serde_json::json!({"ended": true, "durable": true}));
        assert!(answer.set_cookies()[0].contains("Max-Age=0"));
        assert_eq!(here.browser.cookie(COOKIE), None);
        here.browser.set_cookie(COOKIE, &kept);
        assert_eq!(site.status(&here.browser).await, 401);
        assert_eq!(site.status(&there.browser).await, 200);
        here.post("logout").await.expect_problem(401, "session_ended");
    }

    async fn logging_out_everywhere_ends_every_session_of_this_user(stores) {
        let site = Site::start(stores).await;
        let (here, there, cho) = (Tab::of(&site, ANA).await, Tab::of(&site, ANA).await, Tab::of(&site, CHO).await);
        here.post("logout/everywhere").await.expect(200);
        assert_eq!(here.browser.cookie(COOKIE), None);
        assert_eq!(site.status(&there.browser).await, 401);
        assert_eq!(site.status(&cho.browser).await, 200);
    }
}
