//! Paths of a front end from before the proxy, and the same protection in front of an application.

use e2e::body::whole;
use e2e::fixture::ANA;
use serde_json::json;

use super::Tab;
use crate::setup::{Site, on_every_backend};

const ALIASES: &str = "[[alias]]\npath = \"/api/switch_platform/{id}\"\nendpoint = \"platform-switch\"\n\
    [[alias]]\npath = \"/api/session/state\"\nendpoint = \"session-state\"\n\
    [[alias]]\npath = \"/api/update_user_settings\"\nendpoint = \"settings-change\"\n";

on_every_backend! {
    async fn an_existing_front_end_keeps_working(stores) {
        let site = Site::with(stores, |b| b.more(ALIASES)).await;
        let ana = Tab::of(&site, ANA).await;
        let post = |path: &str| ana.browser.post(path, "");
        // An empty body that calls itself JSON was the 400 of the seeds.
        let call = post("/api/switch_platform/12").header("content-type", "application/json");
        let answer = call.header("sec-fetch-site", "same-origin").send().await.expect(200).json();
        assert_eq!((&answer["success"], &answer["platform"]["platform_type"]), (&json!(true), &json!("mastodon")));
        assert_eq!(site.arrives(&ana.browser, "/platform/").await.context("platform-id"), Some("12"));
        post("/api/switch_platform/11").header("x-csrftoken", &ana.token).send().await.expect(200);
        post("/api/switch_platform/12").send().await.expect_problem(403, "origin_unproven");
        let foreign = post("/api/switch_platform/12").header("sec-fetch-site", "cross-site");
        foreign.header("x-csrftoken", &ana.token).send().await.expect_problem(403, "foreign_origin");
        let refused = post("/api/switch_platform/99").header("x-csrftoken", &ana.token).send().await;
        assert_eq!(refused.expect_problem(404, "platform_not_found").json()["success"], false);
        let state = ana.browser.get("/api/session/state").send().await.expect(200).json();
        assert_eq!((&state["success"], &state["platform"]["id"]), (&json!(true), &json!("11")));
        let call = post("/api/update_user_settings").header("origin", "http://app.test").body(whole("{\"a\":1}"));
        call.send().await.expect(200);
        ana.browser.get("/API/session/state").send().await.expect_problem(404, "no_route");
    }

    async fn a_route_can_ask_for_the_same_protection(stores) {
        let site = Site::with(stores, |b| b.route("/guarded/", "app", "\"session\"", "csrf = true")).await;
        let ana = Tab::of(&site, ANA).await;
        let post = || ana.browser.post("/guarded/x", "");
        ana.browser.get("/guarded/x").send().await.expect(200);
        post().send().await.expect_problem(403, "origin_unproven");
        post().header("origin", "https://evil.example").send().await.expect_problem(403, "foreign_origin");
        post().header("origin", "http://app.test").send().await.expect_problem(403, "csrf_missing");
        let call = post().header("origin", "http://app.test").header("x-csrf-token", &ana.token);
        call.send().await.expect(200);
    }
}
