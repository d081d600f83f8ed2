//! Paths, hosts and methods that could be read in more than one way are refused, or are what policy says of them.

use std::time::Duration;

use e2e::proxy::Proxy;
use e2e::raw::{self, RawUpstream};
use e2e::stores::Stores;

/// Targets that aim at `/admin/` or `/session/` past a public route.
const TARGETS: &[&str] = &[
    "/public/../admin/",
    "/public/..;/admin/",
    "/public/..;a=b/admin/",
    "/public/.;/../admin/",
    "/public/%2e%2e/admin/",
    "/public/%2E%2E%2Fadmin/",
    "/public/.%2e/admin/",
    "/public/..%2fadmin/",
    "/public/..%5cadmin/",
    "/public/..\\admin/",
    "/public/%252e%252e/admin/",
    "/public/%25%32%65%25%32%65/admin/",
    "/public/%25%32%65%25%32%65%25%32%66admin/",
    "/%25%36%31dmin/",
    "/public/%c0%ae%c0%ae/admin/",
    "/public/%ef%bc%8e%ef%bc%8e/admin/",
    "/public/%u002e%u002e/admin/",
    "/public/%00/../admin/",
    "/public%2f..%2fadmin/",
    "//admin/",
    "/%2fadmin/",
    "///admin//",
    "/.//admin/",
    "/./admin/",
    "/admin/.",
    "/admin%2f",
    "/admin%00",
    "/admin%",
    "/admin%zz",
    "/%61dmin/",
    "/ADMIN/",
    "/Admin/",
    "/admin.",
    "/admin%20",
    "/admin;/",
    "/admin;a=b",
    "/admin",
    "/admin/",
    "/admin/deep/er",
    "/admin?public",
    "/admin#public",
    "/.countersign/../admin/",
    "/public/../.countersign/",
    "http://app.test/admin/",
    "http://app.test/public/../admin/",
    "http://other.test/public/",
    "https://user@app.test/public/",
    "//app.test/admin/",
    "admin/",
    "*",
    "app.test:80",
    "\\admin\\",
    "?/public/",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_path_gets_past_the_requirement_of_its_route() {
    let (app, proxy) = start().await;
    for target in TARGETS {
        let request = format!("GET {target} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        let arrived = String::from_utf8(app.take()).unwrap();
        let status = exchange.status();
        if !arrived.is_empty() {
            // Whatever arrives must be a path that is public in every reading.
            let line = arrived.lines().next().unwrap();
            assert!(line.starts_with("GET /public/"), "{target} arrived as {line}");
            let rest = line.to_lowercase();
            for trick in ["..", "%2e", "%2f", "%5c", "\\", "%00", "//", "%c0", "%ef%bc", "%25%"] {
                assert!(!rest.contains(trick), "{target} arrived as {line}");
            }
        }
        assert!((400..500).contains(&status) || !arrived.is_empty(), "{target}: {status}");
        assert!(status < 500 && status != 0, "{target}: {}", exchange.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_policy_matched_is_what_is_forwarded() {
    let (app, proxy) = start().await;
    for target in
        ["/public/", "/public/a%20b/%C3%A4?q=%2F..%2F&x=%zz?", "/public/a;b=c/d.e/~f", "/public/?", "/public"]
    {
        let request = format!("GET {target} HTTP/1.1\r\nHost: App.Test:8080\r\n\r\n");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert_eq!(exchange.status(), 200, "{target}: {}", exchange.text());
        let arrived = String::from_utf8(app.take()).unwrap();
        assert!(arrived.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{target}: {arrived}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_repeated_or_odd_host_is_refused() {
    let (app, proxy) = start().await;
    for hosts in [
        "",
        "Host:\r\n",
        "Host: app.test\r\nHost: app.test\r\n",
        "Host: app.test\r\nHost: other.test\r\n",
        "Host: app.test, other.test\r\n",
        "Host: user@app.test\r\n",
        "Host: app.test/admin\r\n",
        "Host: app.test:notaport\r\n",
        "Host: app.test:99999\r\n",
        "Host: app test\r\n",
        "Host: app.test#x\r\n",
        "Host: \u{e4}.test\r\n",
        "Host: [::1\r\n",
        "Host: app.test\\admin\r\n",
    ] {
        let request = format!("GET /public/ HTTP/1.1\r\n{hosts}\r\n");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert_eq!(exchange.status(), 400, "{hosts:?}: {}", exchange.text());
        assert!(app.take().is_empty(), "{hosts:?} was forwarded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn method_tricks_do_not_change_the_requirement() {
    let (app, proxy) = start().await;
    for method in ["HEAD", "OPTIONS", "get", "PROPFIND", "POST", "FOO"] {
        let request = format!(
            "{method} /admin/ HTTP/1.1\r\nHost: app.test\r\nX-HTTP-Method-Override: GET\r\nContent-Length: 0\r\n\r\n"
        );
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert!((400..500).contains(&exchange.status()), "{method}: {}", exchange.text());
        assert!(app.take().is_empty(), "{method} was forwarded");
    }
    for (method, target) in [("TRACE", "/public/"), ("CONNECT", "app.test:443"), ("CONNECT", "/public/")] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert!([400, 405, 501].contains(&exchange.status()), "{method}: {}", exchange.text());
        assert!(app.take().is_empty(), "{method} was forwarded");
    }
}

async fn start() -> (RawUpstream, Proxy) {
    let app = RawUpstream::start().await;
    // No route covers everything: what matches none of these is 404.
    let proxy = Proxy::builder()
        .upstream("app", app.address(), "")
        .route("/public/", "app", "\"nothing\"", "")
        .route("/admin/", "app", "{ roles = [\"admin\"] }", "")
        .start(&Stores::embedded())
        .await;
    (app, proxy)
}

const SILENCE: Duration = Duration::from_millis(300);
