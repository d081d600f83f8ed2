//! Behind `PgBouncer` in transaction mode: each statement may go to another server, and none keeps anything.

use std::sync::Arc;

use e2e::eventually::until;
use e2e::fixture::{ANA, BEN};
use e2e::stores::Stores;

use crate::setup::Site;

/// Users who do something at the same time: more than `PgBouncer` has connections.
const CROWD: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_get_their_own_answers_though_statements_share_few_servers() {
    let (stores, _pooler) = Stores::behind_a_pooler();
    let site = Arc::new(Site::start(stores).await);
    let ana = site.logged_in(ANA).await;
    until("changes are heard past the pooler", async || {
        site.proxy.metric("countersign_directory_listening", &[]).await > 0.5
    })
    .await;
    // Logins and lookups at once: whoever ran a statement of somebody else would get another's answer, or none.
    for user in [ANA, BEN] {
        site.app.direct(&format!("/auth/{user}"), &format!("create;user=\"{user}\""));
    }
    let _ = site.app.take();
    let mut people = Vec::new();
    for number in 0..CROWD {
        let (site, user) = (Arc::clone(&site), if number % 2 == 0 { ANA } else { BEN });
        people.push(tokio::spawn(async move {
            for round in 0..4 {
                let browser = site.browser();
                browser.post(&format!("/auth/{user}"), "").send().await.expect(200);
                browser.get(&format!("/session/{user}/{number}/{round}")).send().await.expect(200);
            }
        }));
    }
    for person in people {
        person.await.unwrap();
    }
    let seen = site.app.take();
    let arrived = seen.iter().filter(|request| request.target.starts_with("/session/"));
    let users: Vec<_> =
        arrived.map(|request| (request.target.split('/').nth(2), request.context("user-id"))).collect();
    assert_eq!(users.len(), CROWD * 4);
    assert!(users.iter().all(|(meant, found)| meant == found), "{users:?}");
    site.stores.sql(&format!("UPDATE users SET name = 'Anna' WHERE id = '{ANA}'")).await;
    until("the change is heard", async || {
        site.arrives(&ana, "/session/").await.context("user-name") == Some("Anna")
    })
    .await;
    let failed = site.proxy.output();
    assert!(!failed.contains("the directory refused a query"), "{failed}");
}
