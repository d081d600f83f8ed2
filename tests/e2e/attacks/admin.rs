//! A page in the operator's browser whose name was pointed at this machine reads nothing (THREATS O2).

use e2e::raw;

use super::{SILENCE, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_of_this_machine_answers_to_no_other_name() {
    let (_app, proxy) = start().await;
    for (host, status) in [("127.0.0.1", 200), ("localhost:9901", 200), ("rebound.example", 421), ("", 421)] {
        for path in ["/metrics", "/live", "/jwks.json"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let exchange = raw::exchange(proxy.addresses().admin, request.as_bytes(), SILENCE).await;
            assert_eq!(exchange.status(), status, "{host:?} {path}: {}", exchange.text());
        }
    }
}
