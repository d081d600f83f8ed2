//! What the book and the README show and what needs more than a shell: the usual ports (a network of its own has them all
//! free), a Postgres, an nginx, a build. And the README's example in Rust, behind the proxy.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use e2e::client::Client;
use e2e::environment::{self, binary, python, root};
use e2e::fixture::ANA;
use e2e::ports;
use e2e::postgres::{run_sql, shared_database};
use e2e::proxy::run_to_end;
use e2e::stores::Stores;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::book::{Block, book, in_place, said};
use crate::readme_example;
use crate::setup::Site;

/// How the README and the book start what was built.
const BUILT: &str = "cargo run --release -- ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_for_a_terminal_serves() {
    let (mut demos, mut served, mut applied) = (0, 0, 0);
    for block in book().iter().filter(|block| block.kind == "console") {
        let scratch = tempfile::tempdir().unwrap();
        if let Some(words) = block.text.strip_prefix(BUILT) {
            let answer =
                alone(scratch.path(), "http://127.0.0.1:8080/public", &format!("countersign {words}")).await;
            assert_eq!(answer, "200", "{}:{}", block.page, block.line);
            demos += 1;
        } else if block.text.contains("countersign run countersign.toml") {
            // With the configuration that the page shows before.
            let shown = book().into_iter().find(|other| other.page == block.page && other.kind == "toml");
            let text = in_place(&shown.expect("a configuration").text, scratch.path());
            fs::write(scratch.path().join("countersign.toml"), text).unwrap();
            let answer = alone(scratch.path(), "http://127.0.0.1:9901/ready", &block.text).await;
            assert_eq!(answer, "200", "{}:{}", block.page, block.line);
            served += 1;
        } else {
            assert!(
                block.text.starts_with("psql -d DATABASE "),
                "{}:{} is run by no test",
                block.page,
                block.line
            );
            let database = shared_database();
            let _ = run_sql(&database, &fs::read_to_string(root().join("tests/schemas/django.sql")).unwrap());
            let command = block.text.replace("psql -d DATABASE", "psql -v ON_ERROR_STOP=1 -d \"$DATABASE\"");
            let mut shell = Command::new("sh");
            shell.args(["-eu", "-c", &command]).current_dir(root()).env("DATABASE", database);
            let output = environment::run(&mut shell, b"").await;
            assert!(output.status.success(), "{}:{}\n{}", block.page, block.line, said(&output));
            applied += 1;
        }
    }
    assert!(demos > 0 && served > 0 && applied > 0, "{demos} {served} {applied}");
}

/// Runs a command where every port is free, until an address there answers; answers its status.
async fn alone(directory: &Path, url: &str, command: &str) -> String {
    let tools = directory.join("tools");
    fs::create_dir(&tools).unwrap();
    std::os::unix::fs::symlink(binary(), tools.join("countersign")).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut unshared = Command::new("unshare");
    unshared.args(["--user", "--map-root-user", "--net"]).arg(python());
    unshared.arg(root().join("tests/apps/alone.py")).args([url, command]);
    let output = environment::run(unshared.current_dir(directory).env("PATH", path), b"").await;
    assert!(output.status.success(), "{command}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn what_the_readme_builds_with_is_there() {
    let manifest = fs::read_to_string(root().join("proxy/Cargo.toml")).unwrap();
    let mut seen = 0;
    for block in book().iter().filter(|block| block.kind == "sh" && block.page == "README.md") {
        let commands = block.text.lines().filter_map(|line| line.split('#').next());
        for command in commands.flat_map(|line| line.split("&&")).map(str::trim) {
            let words: Vec<_> = command.split_whitespace().collect();
            let program = |folder: &str, name: &str| {
                let place = root().join(folder).join(name);
                place.with_extension("rs").is_file() || place.join("main.rs").is_file()
            };
            let is_there = match words.as_slice() {
                ["tests/run"] => root().join("tests/run").is_file(),
                // The first is run in `what_is_shown_for_a_terminal_serves`.
                ["cargo", "run", "--release", "--", "demo"] => true,
                ["cargo", "build", "--profile", "dist", "--workspace", targets @ ..] => {
                    targets.as_chunks().0.iter().all(|[kind, name]| match (*kind, *name) {
                        ("--bin", "countersign") => program("proxy/src", "main"),
                        ("--bin", name) => program("tests/src/bin", name),
                        ("--example", name) => program("proxy/examples", name),
                        _ => false,
                    })
                }
                ["target/dist/bench"] => program("tests/src/bin", "bench"),
                ["target/dist/bench", part] => {
                    let parts = fs::read_to_string(root().join("tests/src/bin/bench/main.rs")).unwrap();
                    parts.contains(&format!("\"{part}\" =>"))
                }
                ["cargo", "bench", "-p", "countersign", "--bench", name] => {
                    manifest.contains(&format!("name = \"{name}\"")) && program("proxy/benches", name)
                }
                _ => false,
            };
            assert!(is_there, "{}:{} {command}", block.page, block.line);
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} commands were found");
}

#[test]
fn every_statement_in_the_book_is_one() {
    let mut ran = 0;
    for block in book().iter().filter(|block| block.kind == "sql") {
        let database = shared_database();
        let _ = run_sql(&database, &fs::read_to_string(root().join("migrations/existing/tell.sql")).unwrap());
        let statement = if block.text.contains("countersign_tell_row") {
            format!("CREATE TABLE members (member_id text); {}", block.text)
        } else if block.text.contains("ALTER ROLE countersign") {
            let role =
                "DO $$ BEGIN CREATE ROLE countersign; EXCEPTION WHEN duplicate_object THEN NULL; END $$;";
            format!("{role} {}", block.text)
        } else if block.text.contains("$1") {
            let tables = "CREATE TABLE users (id bigint, name text); CREATE TABLE roles (id bigint, name text); \
                          CREATE TABLE model_has_roles (role_id bigint, model_type text, model_id bigint);";
            format!("{tables} PREPARE shown (bigint[]) AS {}; EXECUTE shown ('{{1}}');", block.text)
        } else {
            panic!("{}:{} is run by no test", block.page, block.line)
        };
        let _ = run_sql(&database, &statement);
        ran += 1;
    }
    assert!(ran >= 3, "only {ran} statements were found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_in_front_is_believed_about_where_requests_come_from() {
    let site = Site::start(Stores::embedded()).await;
    let address = site.proxy.addresses().http1;
    let listen = format!("address = \"{address}\"");
    site.proxy.edit(&listen, &format!("{listen}\ntrusted_proxies = [\"127.0.0.1/32\"]"));
    assert_eq!(site.proxy.reload().await["result"], "applied");
    let blocks: Vec<Block> = book().into_iter().filter(|block| block.kind == "nginx").collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let scratch = tempfile::tempdir().unwrap();
        let front = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let location = block.text.replace("127.0.0.1:8081", &address.to_string());
        assert_ne!(location, block.text, "{}:{} leads elsewhere", block.page, block.line);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};"))
            .concat();
        let text = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}\n\
             http {{ access_log off; {temporary} server {{ listen {front}; {location} }} }}"
        );
        fs::write(scratch.path().join("nginx.conf"), text).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(scratch.path()).args(["-c", "nginx.conf", "-e", "stderr"]).kill_on_drop(true);
        let _nginx = nginx.spawn().expect("nginx is installed");
        e2e::eventually::until("nginx listens", async || TcpStream::connect(front).await.is_ok()).await;
        let _ = site.app.take();
        Client::new(front).get("/public/through").send().await.expect(200);
        let arrived = site.app.last();
        assert_eq!(arrived.authority, "app.test");
        assert_eq!(arrived.header("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_example_in_rust_lets_the_proxy_in_and_nobody_else() {
    let blocks: Vec<Block> = book().into_iter().filter(|block| block.kind == "rust").collect();
    let ours = include_str!("readme_example.rs").split_once("\n\n").unwrap().1;
    assert!(!blocks.is_empty() && blocks.iter().all(|block| block.text == ours), "they differ");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let site = Site::with(Stores::embedded(), |builder| {
        builder.upstream("captions", address, "").route("/captions/", "captions", "\"session\"", "")
    })
    .await;
    site.proxy.edit("{ id = \"hmac-1\"", "{ id = \"h1\"");
    assert_eq!(site.proxy.reload().await["result"], "applied");
    let config = site.proxy.config().to_str().unwrap();
    let key = run_to_end(&["key", "derive", "captions", "--config", config]).stdout;
    let jwks = site.proxy.admin().get("/jwks.json").send().await.expect(200).text();
    let verifier = readme_example::verifier(String::from_utf8(key).unwrap().trim(), &jwks).unwrap();
    let verifier = Arc::new(verifier);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let verifier = verifier.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let mut answer = Response::new(Full::<Bytes>::default());
                match readme_example::user(&verifier, &request) {
                    Ok(user) => *answer.body_mut() = Full::from(user.unwrap_or_default()),
                    Err(_) => *answer.status_mut() = StatusCode::FORBIDDEN,
                }
                async move { Ok::<_, Infallible>(answer) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let browser = site.logged_in(ANA).await;
    assert_eq!(browser.get("/captions/a%20b?c=d").send().await.expect(200).text(), ANA);
    for forged in [("x-context-user-id", ANA), ("x-context-jwt", "e30.e30.")] {
        let around = Client::new(address).get("/captions/").header("x-context-authn", "session");
        around.header(forged.0, forged.1).send().await.expect(403);
    }
}
