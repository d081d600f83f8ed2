//! Platforms, settings, figures, and other sessions of the same user.

use e2e::body::whole;
use e2e::eventually::until;
use e2e::fixture::{ANA, BEN, CHO};
use http::Method;
use serde_json::json;

use super::Tab;
use crate::setup::{Site, on_every_backend};

const FIELDS: &str = "[settings]\nsize = \"200B\"\n[[settings.field]]\nname = \"max_posts_per_run\"\n\
    type = \"integer\"\nmin = 1\nmax = 500\ndefault = 50\n";

on_every_backend! {
    async fn platforms_are_listed_switched_and_left_and_only_ones_own(stores) {
        let site = Site::start(stores).await;
        let (ana, other, cho) = (Tab::of(&site, ANA).await, Tab::of(&site, ANA).await, Tab::of(&site, CHO).await);
        let list = ana.get("platforms").await.expect(200).json();
        assert_eq!((&list["count"], &list["active"], &list["platforms"][0]["id"]), (&json!(2), &json!("11"), &json!("11")));
        assert_eq!(cho.get("platforms").await.expect(200).json()["platforms"], json!([]));
        let switched = ana.post("platforms/12/switch").await.expect(200).json();
        assert_eq!(switched["platform"]["id"], "12");
        assert_eq!(site.arrives(&ana.browser, "/platform/").await.context("platform-id"), Some("12"));
        assert_eq!(site.arrives(&other.browser, "/platform/").await.context("platform-id"), Some("11"));
        for (id, status, code) in
            [("21", 404, "platform_not_found"), ("99", 404, "platform_not_found"), ("13", 409, "platform_inactive")]
        {
            ana.post(&format!("platforms/{id}/switch")).await.expect_problem(status, code);
            ana.get(&format!("platforms/{id}/settings")).await.expect_problem(status, code);
            ana.get(&format!("platforms/{id}/stats")).await.expect_problem(status, code);
            let change = ana.send(Method::PATCH, &format!("platforms/{id}/settings"), &json!({"a": 1}));
            change.send().await.expect_problem(status, code);
        }
        let stale = json!({"id": "11", "version": switched["version"].as_u64().unwrap() - 1});
        ana.send(Method::PUT, "platform", &stale).send().await.expect_problem(409, "changed_meanwhile");
        let now = json!({"id": "11", "version": switched["version"]});
        ana.send(Method::PUT, "platform", &now).send().await.expect(200);
        ana.post("platforms/12/switch").await.expect(200);
        let left = ana.call(Method::DELETE, "platform").send().await.expect(200).json();
        assert_eq!(left["platform"]["id"], "11");
        cho.get("settings").await.expect_problem(403, "platform_missing");
    }

    async fn settings_change_in_part_or_whole_and_never_in_half(stores) {
        let site = Site::with(stores, |b| b.more(FIELDS)).await;
        let (ana, other) = (Tab::of(&site, ANA).await, Tab::of(&site, ANA).await);
        assert_eq!(ana.get("settings").await.expect(200).json()["settings"], json!({"max_posts_per_run": 50}));
        let patch = json!({"max_posts_per_run": 20, "theirs": {"a": 1}});
        ana.send(Method::PATCH, "settings", &patch).send().await.expect(200);
        assert_eq!(other.get("settings").await.json()["settings"], patch);
        for odd in [json!({"a": "b\0"}), json!({"\0": 1}), json!({"a": [{"b": ["\0"]}]})] {
            ana.send(Method::PATCH, "settings", &odd).send().await.expect_problem(422, "invalid_fields");
        }
        let (one, two) = (json!({"a": 1}), json!({"b": 2}));
        let (one, two) = tokio::join!(
            ana.send(Method::PATCH, "settings", &one).send(),
            other.send(Method::PATCH, "settings", &two).send(),
        );
        one.expect(200);
        two.expect(200);
        let both = json!({"max_posts_per_run": 20, "theirs": {"a": 1}, "a": 1, "b": 2});
        assert_eq!(ana.get("settings").await.json()["settings"], both);
        let bad = ana.send(Method::PATCH, "settings", &json!({"max_posts_per_run": 501, "b": 3})).send().await;
        let bad = bad.expect_problem(422, "invalid_fields").json();
        assert_eq!(bad["errors"], json!([{"field": "max_posts_per_run", "expected": "a whole number from 1 to 500"}]));
        let large = json!({"note": "x".repeat(300)});
        ana.send(Method::PATCH, "settings", &large).send().await.expect_problem(422, "settings_too_large");
        let large = json!({"note": "x".repeat(10_000)});
        ana.send(Method::PATCH, "settings", &large).send().await.expect_problem(413, "body_too_large");
        ana.send(Method::PATCH, "settings", &json!([1])).send().await.expect_problem(422, "invalid_fields");
        let json_type = |call: e2e::client::Call| call.header("content-type", "application/json");
        let call = json_type(ana.call(Method::PUT, "settings")).body(whole("{\n \"a\": }"));
        let problem = call.send().await.expect_problem(400, "malformed_json").json();
        assert_eq!((&problem["line"], &problem["column"]), (&json!(2), &json!(7)));
        for twice in ["{\"a\": 1, \"a\": 2}", "{\"a\": {\"b\": [{\"c\": 1, \"c\": 1}]}}"] {
            let call = json_type(ana.call(Method::PUT, "settings")).body(whole(twice));
            call.send().await.expect_problem(400, "malformed_json");
        }
        json_type(ana.call(Method::PUT, "settings")).send().await.expect_problem(400, "malformed_json");
        let call = ana.call(Method::PUT, "settings").header("content-type", "text/plain").body(whole("{}"));
        call.send().await.expect_problem(415, "unsupported_media_type");
        assert_eq!(ana.get("settings").await.json()["settings"], both, "nothing was half-written");
        ana.send(Method::PUT, "settings", &json!({"c": 3})).send().await.expect(200);
        assert_eq!(other.get("platforms/11/settings").await.json()["settings"], json!({"c": 3, "max_posts_per_run": 50}));
        let ben = Tab::of(&site, BEN).await;
        assert_eq!(ben.get("settings").await.json()["settings"], json!({"max_posts_per_run": 50}));
    }

    async fn the_context_and_the_figures_are_the_users_own(stores) {
        let site = Site::start(stores).await;
        let ana = Tab::of(&site, ANA).await;
        let context = ana.get("context").await.expect(200).json();
        assert_eq!((&context["platform_count"], &context["error"]), (&json!(2), &json!(false)));
        assert_eq!((&context["user"]["id"], &context["active_platform"]["id"]), (&json!(ANA), &json!("11")));
        assert_eq!(crate::own::get(&site.browser(), "context").await.expect(200).json()["user"], json!(null));
        assert_eq!(ana.get("stats").await.expect(200).json()["stats"]["sessions"], 1);
        assert_eq!(ana.get("platforms/12/stats").await.expect(200).json()["stats"]["sessions"], 0);
    }

    async fn a_user_sees_their_sessions_and_ends_another_one(stores) {
        let site = Site::start(stores).await;
        let (here, there, ben) = (Tab::of(&site, ANA).await, Tab::of(&site, ANA).await, Tab::of(&site, BEN).await);
        let list = here.get("sessions").await.expect(200).json();
        let sessions = list["sessions"].as_array().unwrap();
        let id = |current: bool| sessions.iter().find(|s| s["current"] == current).unwrap()["id"].as_str().unwrap();
        assert_eq!(sessions.len(), 2);
        let end = async |tab: &Tab, id: &str| tab.call(Method::DELETE, &format!("sessions/{id}")).send().await;
        end(&here, id(true)).await.expect_problem(409, "current_session");
        end(&ben, id(false)).await.expect_problem(404, "no_such_session");
        end(&here, "nonsense").await.expect_problem(404, "no_such_session");
        assert_eq!(site.status(&there.browser).await, 200);
        end(&here, id(false)).await.expect(200);
        assert_eq!(site.status(&there.browser).await, 401);
        assert_eq!(site.status(&here.browser).await, 200);
        end(&here, id(false)).await.expect_problem(404, "no_such_session");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_proxy_sees_a_switch() {
    let site = Site::start(e2e::stores::Stores::real()).await;
    let key = site.proxy.secret("token");
    let builder = crate::setup::routes(e2e::proxy::Proxy::builder().upstream("app", site.app.address(), ""));
    let second = builder.token_key(&key).unseeded().start(&site.stores).await;
    let ana = Tab::of(&site, ANA).await;
    let elsewhere = ana.browser.over(e2e::client::Wire::Http1, second.addresses().http1);
    assert_eq!(site.arrives(&elsewhere, "/platform/").await.context("platform-id"), Some("11"));
    ana.post("platforms/12/switch").await.expect(200);
    until("the other proxy follows", async || {
        site.arrives(&elsewhere, "/platform/").await.context("platform-id") == Some("12")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_that_cannot_be_found_out_says_so() {
    let mut site = Site::start(e2e::stores::Stores::to_be_stopped()).await;
    let (ana, ben) = (Tab::of(&site, ANA).await, site.logged_in(BEN).await);
    crate::outages::until_redis_holds_all(&mut site, &ana.browser, "11", &ben).await;
    site.stores.postgres().stop();
    until("the list cannot be had any more", async || {
        ana.get("context").await.expect(200).json()["error"] == true
    })
    .await;
    let context = ana.get("context").await.json();
    assert_eq!((&context["user"]["id"], &context["active_platform"]["id"]), (&json!(ANA), &json!("11")));
    assert_eq!((&context["platforms"], &context["platform_count"]), (&json!([]), &json!(0)));
    ana.get("platforms").await.expect_problem(503, "store_unavailable");
}
