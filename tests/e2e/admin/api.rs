//! Who gets in, what is listed, what ends, what is told of it, and that no secret is ever told.

use e2e::eventually::until;
use e2e::fixture::{ANA, BEN, DOV};
use e2e::proxy::COOKIE;
use e2e::stores::Stores;
use serde_json::{Value, json};

use super::{authorized, delete, get, post};
use crate::setup::{Site, on_every_backend};

on_every_backend! {
    async fn nothing_is_told_without_the_token_or_to_a_page_of_another_site(stores) {
        let site = Site::start(stores).await;
        let paths = ["/v1/status", "/v1/config", "/v1/sessions", "/v1/audit", "/v1/nothing"];
        for path in paths {
            site.proxy.admin().get(path).send().await.expect_problem(401, "token_needed");
            let wrong = site.proxy.admin().get(path).header("authorization", "Bearer wrong-wrong-wrong");
            wrong.send().await.expect_problem(401, "token_needed");
            let foreign = authorized(&site, site.proxy.admin().get(path)).header("origin", "http://evil.example");
            foreign.send().await.expect_problem(403, "foreign_origin");
        }
        let cross = authorized(&site, site.proxy.admin().post("/v1/users/1/invalidate", ""));
        cross.header("sec-fetch-site", "cross-site").send().await.expect_problem(403, "foreign_origin");
        get(&site, "/v1/status").await.expect(200);
        let form = authorized(&site, site.proxy.admin().post("/v1/sessions", "user=1"));
        form.header("content-type", "text/plain").send().await.expect_problem(415, "not_json");
        for (body, status, code) in [
            ("{", 400, "malformed_json"),
            ("{}", 422, "invalid_body"),
            ("{\"user\":\"1\",\"rol\":1}", 422, "invalid_body"),
        ] {
            let call = authorized(&site, site.proxy.admin().post("/v1/sessions", body));
            call.header("content-type", "application/json").send().await.expect_problem(status, code);
        }
        let large = authorized(&site, site.proxy.admin().post("/v1/sessions", vec![b' '; 100_000]));
        large.header("content-type", "application/json").send().await.expect_problem(413, "body_too_large");
    }

    async fn sessions_are_created_listed_shown_and_ended(stores) {
        let site = Site::start(stores).await;
        let created = post(&site, "/v1/sessions", &json!({ "user": ANA, "platform": "12" })).await.expect(201).json();
        let id = created["session"]["id"].as_str().unwrap().to_owned();
        let browser = site.browser();
        browser.set_cookie(COOKIE, created["cookie"]["value"].as_str().unwrap());
        assert_eq!(site.arrives(&browser, "/platform/").await.context("platform-id"), Some("12"));
        post(&site, "/v1/sessions", &json!({ "user": DOV })).await.expect_problem(422, "impossible");
        post(&site, "/v1/sessions", &json!({ "user": ANA, "platform": "21" })).await.expect_problem(422, "impossible");

        let ben = site.logged_in(BEN).await;
        let all = get(&site, "/v1/sessions").await.expect(200).json();
        assert_eq!(all["sessions"].as_array().unwrap().len(), 2);
        let anas = get(&site, "/v1/users/1/sessions").await.expect(200).json();
        assert_eq!(anas["sessions"][0]["id"], id.as_str());
        assert_eq!(get(&site, &format!("/v1/sessions/{}", &id[..8])).await.expect(200).json()["user"], ANA);

        delete(&site, &format!("/v1/sessions/{}", &id[..8])).await.expect(200);
        until("the session is over", async || site.status(&browser).await == 401).await;
        assert_eq!(delete(&site, &format!("/v1/sessions/{id}")).await.expect(200).json()["was_over"], true);
        assert_eq!(get(&site, &format!("/v1/sessions/{id}")).await.expect(200).json()["state"], "ended");
        get(&site, &format!("/v1/sessions/{}", "A".repeat(43))).await.expect_problem(404, "session_not_found");

        delete(&site, "/v1/users/2/sessions").await.expect(200);
        until("all of Ben's are over", async || site.status(&ben).await == 401).await;
        delete(&site, "/v1/users/nobody/sessions").await.expect_problem(404, "user_not_found");
    }

    async fn a_platform_is_cleared_and_records_are_read_again(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        site.direct(&ana, "platform;id=\"12\"").await.expect(200);
        let cleared = post(&site, "/v1/platforms/12/clear", &json!({})).await.expect(200).json();
        assert_eq!(cleared["cleared"], 1);
        until("the default is back", async || {
            site.arrives(&ana, "/platform/").await.context("platform-id") == Some("11")
        })
        .await;
        for path in ["users/1", "platforms/11", "users/1/settings/11", "users/1/stats/11"] {
            post(&site, &format!("/v1/{path}/invalidate"), &json!({})).await.expect(200);
        }
        site.arrives(&ana, "/platform/").await;
    }

    async fn every_change_is_in_the_log_with_who_did_it(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        site.direct(&ana, "rotate").await.expect(200);
        site.direct(&ana, "platform;id=\"12\"").await.expect(200);
        site.direct(&ana, "end").await.expect(200);
        let ben = site.logged_in(BEN).await;
        site.direct(&ben, "end-all").await.expect(200);
        let made = post(&site, "/v1/sessions", &json!({ "user": ANA })).await.expect(201).json();
        let token = made["cookie"]["value"].as_str().unwrap();
        delete(&site, "/v1/users/1/sessions").await.expect(200);
        post(&site, "/v1/users/1/invalidate", &json!({})).await.expect(200);
        let answer = get(&site, "/v1/audit?limit=200").await.expect(200);
        assert!(!answer.text().contains(token));
        let log = answer.json();
        let lines: Vec<(&str, &str)> = log["audit"].as_array().unwrap().iter().rev()
            .map(|line| (line["event"].as_str().unwrap(), line["by"].as_str().unwrap()))
            .collect();
        assert_eq!(lines, [
            ("session_started", "upstream:app"),
            ("session_rotated", "upstream:app"),
            ("platform_switched", "upstream:app"),
            ("session_ended", "upstream:app"),
            ("session_started", "upstream:app"),
            ("sessions_ended", "upstream:app"),
            ("session_started", "admin"),
            ("sessions_ended", "admin"),
            ("user_invalidated", "admin"),
        ]);
        let bens = get(&site, "/v1/audit?user=2&since=2020-01-01T00:00:00Z").await.expect(200).json();
        assert_eq!(bens["audit"].as_array().unwrap().len(), 2);
        assert_eq!(bens["audit"][0]["from"], "127.0.0.1");
    }

    async fn a_thousand_sessions_are_paged_without_repeating_or_hiding_one(stores) {
        let site = Site::start(stores).await;
        let rows: Vec<String> = (0..1_000).map(|number| {
            let id = format!("{number:0>42}A");
            // Seven at each moment: the order hangs on the id as well.
            let created = 1_600_000_000_000_u64 + number / 7;
            format!("('{id}', '1', {created}, {created}, 9000000000000, 1)")
        }).collect();
        let insert = "INSERT INTO sessions (id, user_id, created_at, authenticated_at, expires_at, version) VALUES";
        site.stores.sql(&format!("{insert} {};", rows.join(", "))).await;
        let mut seen = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let cursor = next.map(|next| format!("&cursor={next}")).unwrap_or_default();
            let page = get(&site, &format!("/v1/sessions?limit=150{cursor}")).await.expect(200).json();
            seen.extend(page["sessions"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(cursor) => next = Some(cursor.to_owned()),
                None => break,
            }
        }
        let expected: Vec<String> = (0..1_000).rev().map(|number| format!("{number:0>42}A")).collect();
        assert_eq!(seen, expected);
        get(&site, "/v1/sessions?limit=201").await.expect_problem(422, "invalid_parameter");
        get(&site, "/v1/sessions?usr=1").await.expect_problem(422, "invalid_parameter");
        get(&site, "/v1/sessions?cursor=x").await.expect_problem(422, "invalid_parameter");
    }

    async fn no_answer_holds_a_secret(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        let token = ana.cookie(COOKIE).unwrap();
        let mut told = String::new();
        for path in ["status", "config", "sessions", "audit", "users/1/sessions", "nothing"] {
            told += &get(&site, &format!("/v1/{path}")).await.text();
        }
        for path in ["test-session", "explain"] {
            let body = json!({ "cookie": token });
            told += &post(&site, &format!("/v1/{path}"), &body).await.text();
        }
        let body = json!({ "cookie": token, "method": "GET", "url": "/admin/" });
        told += &post(&site, "/v1/explain", &body).await.expect(200).text();
        told += &site.proxy.output();
        for name in ["admin-token", "token", "csrf", "sealing", "hmac"] {
            assert!(!told.contains(&site.proxy.secret(name)), "{name}");
        }
        let keys = [site.proxy.secret("jwt"), site.proxy.secret("message")];
        let lines = keys.iter().flat_map(|key| key.lines()).filter(|line| !line.starts_with("-----"));
        assert!(lines.into_iter().all(|line| !told.contains(line)));
        assert!(!told.contains(&token));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_what_is_away_and_nothing_is_claimed_meanwhile() {
    let mut site = Site::start(Stores::to_be_stopped()).await;
    let ana = site.logged_in(ANA).await;
    let id = get(&site, "/v1/sessions").await.json()["sessions"][0]["id"].as_str().unwrap().to_owned();
    let status = get(&site, "/v1/status").await.expect(200).json();
    assert_eq!(
        (&status["store"]["reachable"], &status["phase"]),
        (&Value::from(true), &Value::from("serving"))
    );
    site.stores.postgres().stop();
    let status = get(&site, "/v1/status").await.expect(200).json();
    assert_eq!(status["directory"]["reachable"], false);
    get(&site, "/v1/sessions").await.expect_problem(503, "undetermined");
    let answer = delete(&site, &format!("/v1/sessions/{id}")).await;
    // 503 while nothing makes it durable; 202 once the outbox does.
    assert!([503, 202].contains(&answer.status.as_u16()), "{}", answer.text());
    until("whoever asks the store is told", async || site.status(&ana).await == 401).await;
}
