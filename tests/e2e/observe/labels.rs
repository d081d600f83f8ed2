//! Labels come from closed sets: whatever strangers send, it makes no new series.

use std::collections::BTreeSet;

use e2e::dice::Dice;
use e2e::fixture::ANA;
use e2e::proxy::COOKIE;
use e2e::stores::Stores;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::setup::Site;

/// How many random requests are sent.
const REQUESTS: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_random_requests_make_no_new_series() {
    let site = Site::with(Stores::embedded(), |b| b.more("[log]\nlevel = \"warn\"")).await;
    let ana = site.logged_in(ANA).await;
    let token = ana.cookie(COOKIE).unwrap();
    // One of each kind, so that every word that they can lead to was said once.
    for round in 0..3 {
        for kind in 0..KINDS {
            ask(&site, &request(kind, &mut Dice::seeded(kind + 100 * round), &token)).await;
        }
    }
    let before = series(&site).await;
    let senders = (0..8).map(|sender| {
        let (site, token) = (&site, &token);
        async move {
            let mut dice = Dice::seeded(1_000 + sender);
            for _ in 0..REQUESTS / 8 {
                let kind = dice.number() % KINDS;
                ask(site, &request(kind, &mut dice, token)).await;
            }
        }
    });
    futures_util::future::join_all(senders).await;
    let after = series(&site).await;
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{} new series: {new:?}", new.len());
    let counted = site.proxy.metric("countersign_refusals_total", &["no_route"]).await;
    assert!(counted > 1_000.0, "only {counted} reached the proxy");
}

/// Kinds of requests: six kinds of targets times five of claims.
const KINDS: u64 = 30;

/// A request of one kind, with everything else at random.
fn request(kind: u64, dice: &mut Dice, token: &str) -> String {
    let word = |dice: &mut Dice, most: u64| {
        let length = 1 + dice.number() % most;
        (0..length).map(|_| char::from(b'a' + u8::try_from(dice.number() % 26).unwrap())).collect::<String>()
    };
    let (path, host, method) = match kind % 6 {
        0 => (
            format!("/{}/{}?{}", word(dice, 20), word(dice, 40), word(dice, 30)),
            "app.test".to_owned(),
            "GET".to_owned(),
        ),
        1 => (format!("/public/{}", word(dice, 60)), format!("{}.test", word(dice, 20)), "GET".to_owned()),
        2 => (format!("/session/{}", word(dice, 60)), "app.test".to_owned(), "GET".to_owned()),
        3 => (format!("/x{}", word(dice, 9)), "app.test".to_owned(), word(dice, 12).to_uppercase()),
        4 => {
            (format!("/{}/%2e%2e/{}", word(dice, 9), word(dice, 9)), "app.test".to_owned(), "GET".to_owned())
        }
        _ => (format!("/.countersign/{}", word(dice, 12)), "app.test".to_owned(), "GET".to_owned()),
    };
    let cookie = match kind / 6 {
        0 => String::new(),
        1 => format!("cookie: {COOKIE}={}\r\n", word(dice, 60)),
        // The right shape, which not every last letter has, and a wrong checksum.
        2 => format!(
            "cookie: {COOKIE}={}c\r\n",
            (0..42).map(|_| char::from(b'a' + u8::try_from(dice.number() % 26).unwrap())).collect::<String>()
        ),
        3 => format!("cookie: {COOKIE}={token}\r\n"),
        _ => format!(
            "cookie: {}={}\r\nx-context-user-id: {}\r\n",
            word(dice, 9),
            word(dice, 40),
            word(dice, 9)
        ),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {}\r\n{cookie}connection: close\r\n\r\n",
        word(dice, 30)
    )
}

async fn ask(site: &Site, request: &str) {
    let mut stream = TcpStream::connect(site.proxy.addresses().http1).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 "), "no answer to {request}");
}

/// Every series, without its value. Batches that the clock writes, whoever asks, are left out.
async fn series(site: &Site) -> BTreeSet<String> {
    let text = site.proxy.metrics().await;
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("countersign_activity_batches_total"));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned()).collect()
}
