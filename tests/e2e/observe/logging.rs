//! Which requests get a line, and what the lines of slow ones tell.

use std::os::unix::fs::PermissionsExt;

use e2e::eventually::until;
use e2e::fixture::ANA;
use e2e::stores::Stores;

use crate::setup::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn successes_are_sampled_and_everything_else_has_its_line() {
    let site = Site::with(Stores::embedded(), |b| b.more("[log]\nsuccesses = 0.1")).await;
    let nobody = site.browser();
    for number in 0..200 {
        nobody.get(&format!("/public/{number}")).send().await.expect(200);
        nobody.get(&format!("/session/{number}")).send().await.expect(401);
    }
    let lines = |prefix: &str| {
        let lines = site.proxy.request_lines();
        lines.iter().filter(|line| line["path"].as_str().is_some_and(|path| path.starts_with(prefix))).count()
    };
    until("every refusal has its line", async || lines("/session/") == 200).await;
    let kept = lines("/public/");
    assert!((10..=30).contains(&kept), "{kept} of 200 successes were logged");

    site.proxy.edit("successes = 0.1", "successes = 0.0");
    assert_eq!(site.proxy.reload().await["result"], "applied");
    for number in 200..250 {
        nobody.get(&format!("/public/{number}")).send().await.expect(200);
    }
    nobody.get("/session/last").send().await.expect(401);
    site.proxy.request_line("/session/last").await;
    assert!(lines("/public/") <= kept, "a success was logged though none should be");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_tells_how_long_each_step_took_even_where_only_warnings_are_logged() {
    let site = Site::with(Stores::real(), |b| b.more("[log]\nlevel = \"warn\"\nslow = \"1s\"")).await;
    let ana = site.logged_in(ANA).await;
    ana.get("/session/quick").send().await.expect(200);
    ana.get("/session/sleep/1200").send().await.expect(200);
    let line = site.proxy.request_line("/session/sleep/1200").await;
    assert_eq!((&line["level"], &line["slow"]), (&"WARN".into(), &true.into()), "{line}");
    let took = |step: &str| line[step].as_u64().unwrap_or_else(|| panic!("no {step} in {line}"));
    assert!(took("upstream_us") >= 1_190_000, "{line}");
    let steps = [
        "accept_us",
        "resolve_us",
        "decide_us",
        "connect_us",
        "sign_us",
        "upstream_us",
        "directive_us",
        "answer_us",
    ];
    let sum: u64 = steps.into_iter().map(took).sum();
    assert!(sum <= took("duration_us"), "{line}");
    let quick = site.proxy.request_lines().into_iter().any(|line| line["path"] == "/session/quick");
    assert!(!quick, "a request that was not slow has a line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_leaves_no_core_with_its_keys() {
    let site = Site::start(Stores::embedded()).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", site.proxy.process())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_looks_for_a_fault_may_allow_cores_and_is_told_what_they_hold() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("countersign");
    let binary = e2e::environment::binary();
    let script = format!("#!/bin/sh\nexec {} \"$@\" --core-dumps\n", binary.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let allowed = |id: u32| {
        let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        core.split_whitespace().nth(4).map(str::to_owned)
    };
    let site = Site::with(Stores::embedded(), |builder| builder.program(program)).await;
    assert_eq!(allowed(site.proxy.process()), allowed(std::process::id()), "not what it was started with");
    until("the log warns", async || site.proxy.output().contains("they see every key and token")).await;
}
