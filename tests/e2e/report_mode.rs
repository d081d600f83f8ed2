//! Routes that only report: everything is resolved, scrubbed and signed as elsewhere, nobody is refused, and log and
//! metrics tell who would have been.

use e2e::eventually::{eventually, until};
use e2e::fixture::CHO;
use e2e::stores::Stores;
use e2e::upstream::Recorded;

use crate::setup::Site;

const ROUTES: [(&str, &str, &str); 3] = [
    ("/report/", "\"session\"", "mode = \"report\"\nlogin = \"/auth/login\""),
    ("/report-admin/", "{ roles = [\"admin\"] }", "mode = \"report\""),
    ("/report-csrf/", "\"session\"", "mode = \"report\"\ncsrf = true"),
];

async fn site(stores: Stores) -> Site {
    Site::with(stores, |builder| {
        ROUTES
            .iter()
            .fold(builder, |builder, (path, require, more)| builder.route(path, "app", require, more))
    })
    .await
}

/// What was signed says who it is, and nothing that the client invented came through.
fn is_signed(seen: &Recorded, authn: &str, user: Option<&str>) {
    assert!(seen.header("signature").is_some() && seen.context("jwt").is_some(), "{seen:?}");
    assert_eq!((seen.context("authn"), seen.context("user-id")), (Some(authn), user), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_and_everybody_is_scrubbed_signed_and_told() {
    let site = site(Stores::real()).await;
    let warned = "this route only reports: it refuses nobody, whatever it requires";
    until("the operator is told at the start", async || site.proxy.output().contains(warned)).await;

    let forged = |path: &str| site.browser().get(path).header("x-context-user-id", "1").send();
    let _ = site.app.take();
    forged("/report/a").await.expect(200);
    is_signed(&site.app.last(), "none", None);
    let line = site.proxy.request_line("/report/a").await;
    assert_eq!(
        (&line["outcome"], &line["would_refuse"]),
        (&"forwarded".into(), &"no_cookie".into()),
        "{line}"
    );
    assert!(line["reason"].is_null(), "{line}");

    let cho = site.logged_in(CHO).await;
    let seen = site.arrives(&cho, "/report-admin/b").await;
    is_signed(&seen, "session", Some(CHO));
    assert_eq!(site.proxy.request_line("/report-admin/b").await["would_refuse"], "role_missing");
    let seen = site.arrives(&cho, "/report/c").await;
    is_signed(&seen, "session", Some(CHO));
    assert!(site.proxy.request_line("/report/c").await["would_refuse"].is_null());

    let _ = site.app.take();
    cho.post("/report-csrf/d", "").send().await.expect(200);
    is_signed(&site.app.last(), "session", Some(CHO));
    let line = site.proxy.request_line("/report-csrf/d").await;
    assert!(line["would_refuse"].as_str().is_some(), "{line}");

    let count = async |route: &str, reason: &str| {
        let labels = [format!("route=\"{route}\""), format!("reason=\"{reason}\"")];
        site.proxy.metric("countersign_reported_refusals_total", &[&labels[0], &labels[1]]).await
    };
    assert!(count("/report/", "no_cookie").await >= 1.0);
    assert!(count("/report-admin/", "role_missing").await >= 1.0);
    // What is no question of the session stays refused: the gate, and other routes.
    site.browser().get("/report/%2e%2e/admin/").send().await.expect(400);
    site.browser().get("/session/").send().await.expect(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_reported_as_one_and_nobody_becomes_anonymous() {
    let mut site = site(Stores::to_be_stopped()).await;
    let cho = site.logged_in(CHO).await;
    let seen = site.arrives(&cho, "/report/").await;
    is_signed(&seen, "session", Some(CHO));
    site.stores.redis().kill();
    site.stores.postgres().kill();
    let seen = eventually("nobody can say", async || {
        let seen = site.arrives(&cho, "/report/").await;
        assert_ne!(seen.context("authn"), Some("none"), "an outage makes nobody anonymous");
        (seen.context("authn") == Some("undetermined")).then_some(seen)
    })
    .await;
    is_signed(&seen, "undetermined", None);
    cho.get("/session/").send().await.expect(503);
}
