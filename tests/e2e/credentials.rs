//! The credential of a platform is opened for the route that asks for it, and is nowhere else.

use e2e::environment::{self, python};
use e2e::fixture::{ANA, BEN};
use e2e::proxy::COOKIE;
use e2e::stores::Stores;
use tokio::process::Command;

use crate::setup::{Site, on_every_backend, percent_decoded};

const PLANTED: &str = "planted credential: \u{e4}\u{1f511} 100%";
/// 32 zero bytes, as Fernet writes keys.
const FERNET_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

on_every_backend! {
    async fn the_credential_arrives_where_it_is_asked_for_and_is_nowhere_else(stores) {
        let site = Site::with(stores, |builder| {
            let asks = "platform_authorization = true";
            builder.route("/credential/", "app", "\"platform\"", asks).variable("PLATFORM_ENCRYPTION_KEY", FERNET_KEY)
        })
        .await;
        let key = site.proxy.secret("sealing");
        let ours = seal(&["countersign", &key, "11", PLANTED]).await;
        let seeds = seal(&["fernet", FERNET_KEY, "21", PLANTED]).await;
        let elsewhere = seal(&["countersign", &key, "11", PLANTED]).await;
        for (platform, sealed) in [("11", &ours), ("21", &seeds), ("12", &elsewhere), ("22", &"cs1.gone.AAAA".to_owned())] {
            site.stores.sql(&format!("UPDATE platforms SET credential = '{sealed}' WHERE id = '{platform}'")).await;
        }
        let mut answers = String::new();
        for user in [ANA, BEN] {
            let browser = site.logged_in(user).await;
            let request = site.arrives(&browser, "/credential/").await;
            assert_eq!(percent_decoded(request.context("platform-authorization").unwrap()), PLANTED);
            assert!(request.header("signature-input").unwrap().contains("\"x-context-platform-authorization\""));
            for path in ["/platform/", "/session/", "/public/", "/optional/"] {
                let request = site.arrives(&browser, path).await;
                assert_eq!(request.context("platform-authorization"), None, "{path}");
                assert!(!format!("{request:?}").contains("planted"), "{path}");
            }
            // Sealed for another row, or with a key that is gone: refused, not sent without.
            let other = if user == ANA { "12" } else { "22" };
            site.direct(&browser, &format!("platform;id=\"{other}\"")).await.expect(200);
            let _ = site.app.take();
            let refused = browser.get("/credential/").send().await.expect_problem(503, "credential_unreadable");
            answers += &refused.text();
            assert!(site.app.take().is_empty());
            site.arrives(&browser, "/platform/").await;
        }
        answers += &site.proxy.metrics().await;
        let mut everything = site.proxy.output() + &answers;
        if let Stores::Real(real) = &site.stores {
            for key in real.redis.command(&["KEYS", "cs:platform:*"]).lines() {
                everything += &real.redis.command(&["GET", key]);
            }
            assert!(everything.contains("cs1.sealing-1."), "the credential is not cached sealed");
        }
        assert!(!everything.contains("planted"), "the credential is somewhere it should not be");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_with_tls_and_an_acl_user_is_reached_through_the_seeds_variables() {
    let options = e2e::redis::Options {
        tls: true,
        password: Some("planted-password".to_owned()),
        ..Default::default()
    };
    let mut stores = Stores::real();
    let real = stores.servers();
    real.redis = e2e::redis::Redis::start_with(&options);
    let tls = format!("tls = {{ ca = \"{}\" }}", real.redis.authority_file().display());
    real.store_keys = Some(format!("username = \"{}\"\n{tls}", e2e::redis::USER));
    let port = real.redis.port().to_string();
    let mut site = Site::with(stores, |builder| {
        builder
            .variable("REDIS_HOST", "localhost")
            .variable("REDIS_PORT", &port)
            .variable("REDIS_PASSWORD", "planted-password")
    })
    .await;
    let ana = site.logged_in(ANA).await;
    assert_eq!(site.arrives(&ana, "/platform/").await.context("user-id"), Some(ANA));
    assert!(ana.cookie(COOKIE).is_some());
    assert!(!site.stores.redis().command(&["KEYS", "cs:session:*"]).is_empty(), "Redis was not used");
    assert!(!site.proxy.output().contains("planted-password"));
}

async fn seal(arguments: &[&str]) -> String {
    let mut command = Command::new(python());
    command.arg(environment::root().join("tests/verifiers/seal.py")).args(arguments);
    let output = environment::run(&mut command, b"").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
