//! Nothing lost: reloads, refused reloads, upgrades, a drain, injected faults; each under load, with the books compared.
//!
//! Seconds by default. `make soak` (`WEIR_SOAK=1`, release) runs the long versions and prints their figures.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::{Weir, eventually, service_entry};
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_ledger::{Backend, Book, Counts, Faults, Load, Speaks, count_log, count_metrics};

fn long() -> bool {
    std::env::var_os("WEIR_SOAK").is_some()
}

/// `short`, or `soak` in the long version.
fn of(short: u32, soak: u32) -> u32 {
    if long() { soak } else { short }
}

/// The figures of a long version, for the report.
fn figure(words: std::fmt::Arguments<'_>) {
    if long() {
        eprintln!("soak: {words}");
    }
}

fn mesh(port: u16, version: u32) -> String {
    let http = format!(
        "  - headers: {{ response: {{ set: {{ x-version: \"{version}\" }} }} }}
    retries: {{ attempts: 0 }}
    route: [{{ destination: {{ host: app.test }} }}]
"
    );
    service_entry("app.test", port) + &common::rules(&http)
}

fn load(to: SocketAddr, rate: u32) -> Load {
    Load {
        speaks: Speaks::Http1,
        to,
        host: "app.test".to_owned(),
        clients: 8,
        rate: Some(rate),
        kept: 50,
        requests: None,
    }
}

fn nothing_failed(counts: &Counts) {
    assert_eq!(counts.failed(), 0, "{counts:?}");
    assert_eq!(counts.answered(), counts.classes[2], "{counts:?}");
}

#[test]
fn reloads_fail_no_request_close_no_connection_and_keep_no_memory() {
    let backend = Backend::start(Faults::default()).expect("a backend");
    let weir = Weir::start(&mesh(backend.port, 0), &["--workers", "2"]);
    let rate = of(400, 1_100);
    let running = load(weir.outbound, rate).start();
    let (began, mut resident) = (Instant::now(), 0);
    let reloads = of(60, 1_000);
    for version in 1..=reloads {
        weir.write(&mesh(backend.port, version));
        let answer = weir.admin("POST", "/api/v1/reload");
        assert_eq!(answer.status, 200, "{}", answer.text());
        // Allocators fill their caches first; growth counts from there.
        if version == reloads / 5 {
            resident = weir.resident();
        }
        if long() {
            std::thread::park_timeout(Duration::from_millis(30));
        }
    }
    let (after, took) = (weir.resident(), began.elapsed().as_secs_f64());
    let counts = running.finish();
    nothing_failed(&counts);
    assert_eq!(counts.closed, 0, "{counts:?}");
    let per_second = counts.answered() as f64 / took;
    figure(format_args!(
        "{reloads} reloads in {took:.1} s at {per_second:.0} req/s: 0 failed, 0 closed, resident {} to {} KiB",
        resident >> 10,
        after >> 10
    ));
    if long() {
        assert!(after as f64 <= resident as f64 * 1.1, "resident {resident} -> {after}");
        assert!(per_second >= 1_000.0, "{per_second}");
    }
}

/// Documents that cannot be served, each in its own way; `number` chooses.
fn bad(port: u16, number: u32) -> String {
    let good = mesh(port, number + 1_000_000);
    let lines: Vec<&str> = good.lines().collect();
    let at = number as usize / 8 % lines.len();
    let line = lines[at];
    let whole = |changed: String| {
        let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        all[at] = changed;
        all.join("\n") + "\n"
    };
    match number % 8 {
        // A key that is none, a value of another kind, a line that is no YAML, one that is indented wrongly, …
        0 => good.replace("hosts:", &format!("hosts{number}:")),
        1 => good.replace("route: [", &format!("timeout: {number}x\n    route: [")),
        2 => whole(format!("{line} ]]]{number}")),
        3 => whole(format!("{line}: : {{ {number}")),
        4 => good.replace("attempts: 0", &format!("attempts: -{}", number + 1)),
        5 => good.replace("number: 80", &format!("number: {}", 70_000 + number)),
        6 => good.replace("kind: VirtualService", &format!("kind: VirtualServices{number}")),
        _ => format!(
            "{good}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{}}\nspec: {{ hosts: [{number}, [x]] }}\n"
        ),
    }
}

#[test]
fn bad_configurations_are_refused_with_their_place_and_change_nothing() {
    let backend = Backend::start(Faults::default()).expect("a backend");
    let weir = Weir::start(&mesh(backend.port, 7), &["--workers", "2"]);
    let running = load(weir.outbound, of(300, 1_000)).start();
    let version = || {
        let text = weir.admin("GET", "/api/v1/version").text();
        text.split("\"version\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a version").to_owned()
    };
    let before = version();
    let kinds = 200;
    for number in 0..kinds {
        let documents = bad(backend.port, number);
        weir.write(&documents);
        let refused = weir.admin("POST", "/api/v1/reload");
        assert_eq!(refused.status, 422, "{number}:\n{documents}\n{}", refused.text());
        let text = refused.text();
        assert!(text.contains("mesh.yaml") && !text.contains("\"line\":0,"), "{number}: no place in {text}");
        assert!(text.contains("\"status\":\"degraded\""), "{text}");
    }
    assert_eq!(version(), before);
    let counts = running.finish();
    nothing_failed(&counts);
    assert_eq!(counts.closed, 0, "{counts:?}");
    figure(format_args!(
        "{kinds} bad configurations: all refused with place; {} requests, 0 failed",
        counts.answered()
    ));
}

#[test]
fn upgrades_refuse_no_connection_and_fail_no_request() {
    let backend = Backend::start(Faults::default()).expect("a backend");
    let json = ["--workers", "2", "--access-log", "json"];
    let mut weir = Weir::start_with(&mesh(backend.port, 0), &json, |command| {
        command.stdout(Stdio::piped());
    });
    let (log, lines) = (weir.access_log(), Arc::new(Book::default()));
    let reading = Arc::clone(&lines);
    std::thread::spawn(move || count_log(BufReader::with_capacity(1 << 20, log), &reading));
    let (rate, upgrades) = (of(400, 2_000), of(3, 50));
    let running = Load { clients: 16, ..load(weir.outbound, rate) }.start();
    let began = Instant::now();
    for _ in 0..upgrades {
        let answer = weir.upgrade();
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), weir.said());
        // The new process works for a while before its turn ends.
        let before = running.book.counts().answered();
        eventually("requests go on", || running.book.counts().answered() > before + u64::from(rate) / 5);
    }
    let took = began.elapsed().as_secs_f64();
    let book = Arc::clone(&running.book);
    let counts = running.finish();
    nothing_failed(&counts);
    // Each process writes its last lines before it ends.
    eventually("every line is written", || lines.counts().answered() >= counts.answered());
    assert_eq!(lines.counts().classes, counts.classes, "client and access log");
    assert_eq!(backend.book.counts().classes, counts.classes, "client and backend");
    figure(format_args!(
        "{upgrades} upgrades in {took:.1} s at {:.0} req/s: 0 refused, 0 failed, p99 {} us, {} connections moved",
        counts.answered() as f64 / took,
        book.quantile(0.99),
        counts.closed
    ));
}

#[test]
fn a_drain_cuts_no_request_and_refuses_only_when_it_is_not_ready() {
    let backend = Backend::start(Faults::default()).expect("a backend");
    let mut weir = Weir::start(&mesh(backend.port, 0), &["--workers", "2"]);
    let running = load(weir.outbound, of(400, 2_000)).start();
    eventually("requests go on", || running.book.counts().answered() > 200);
    weir.signal("TERM");
    eventually("not ready", || weir.admin("GET", "/ready").status == 503);
    assert_eq!(running.book.counts().failed(), 0);
    assert_eq!(weir.wait().code(), Some(0), "{}", weir.said());
    let counts = running.finish();
    // After the delay new connections are refused: that is what readiness has warned of.
    assert_eq!((counts.lost, counts.stale, counts.wrong), (0, 0, 0), "{counts:?}");
    assert!(counts.refused > 0, "{counts:?}");
    figure(format_args!("SIGTERM at {} req/s: 0 cut of {}", of(400, 2_000), counts.answered()));
}

#[test]
fn after_a_kill_it_listens_again_with_the_last_good_plan() {
    let backend = Backend::start(Faults::default()).expect("a backend");
    let state = common::folder();
    let mut weir = Weir::start(&mesh(backend.port, 5), &["--state", &state.to_string_lossy()]);
    weir.write("kind: [broken");
    let took = weir.kill_and_restart();
    let most = if long() { Duration::from_secs(1) } else { Duration::from_secs(5) };
    assert!(took <= most, "{took:?}");
    let answer = common::Client::open(weir.outbound).get("app.test", "/1").expect("an answer");
    assert_eq!(answer.header("x-version"), Some("5"));
    figure(format_args!("kill -9, restart: serving the last good plan after {} ms", took.as_millis()));
    let _ = std::fs::remove_dir_all(state);
}

#[test]
fn four_books_agree_while_faults_are_injected() {
    // Of a hundred requests five are answered by a fault, and never reach the backend.
    let fault = "  - fault: { abort: { percentage: { value: 5 }, httpStatus: 503 } }\n    headers:";
    let faulty = |port| mesh(port, 0).replace("  - headers:", fault);
    books_agree(Faults::default(), faulty, u64::from(of(6_000, 1_000_000)), |client, backend, injected| {
        assert_eq!(client[2], backend[2], "client and backend");
        assert_eq!((backend[5], client[5]), (0, injected), "what failed was a fault on purpose");
    });
}

#[test]
fn four_books_agree_while_the_backend_fails() {
    let failing = Faults { errors: 25, closes: 25 };
    books_agree(
        failing,
        |port| mesh(port, 0),
        u64::from(of(3_000, 100_000)),
        |client, backend, injected| {
            assert_eq!(client, backend, "client and backend");
            assert_eq!(injected, 0);
        },
    );
}

/// The books of `requests` requests, about a twentieth of which fail; `upstream` compares the client's with the backend's,
/// by class of status, given the faults that were injected.
fn books_agree(
    faults: Faults,
    mesh: impl Fn(u16) -> String,
    requests: u64,
    upstream: impl Fn([u64; 6], [u64; 6], u64),
) {
    let backend = Backend::start(faults).expect("a backend");
    let json = ["--workers", "2", "--access-log", "json"];
    let mut weir = Weir::start_with(&mesh(backend.port), &json, |command| {
        command.stdout(Stdio::piped());
    });
    let (log, lines) = (weir.access_log(), Arc::new(Book::default()));
    let reading = Arc::clone(&lines);
    std::thread::spawn(move || count_log(BufReader::with_capacity(1 << 20, log), &reading));
    let began = Instant::now();
    let running = Load { rate: None, requests: Some(requests), ..load(weir.outbound, 1) }.start();
    let client = running.wait();
    assert_eq!((client.failed(), client.answered()), (0, requests), "{client:?}");
    assert_eq!(weir.metric("weir_access_log_dropped_total"), 0);
    eventually("every line is written", || lines.counts().answered() >= requests);
    let metrics = weir.admin("GET", "/metrics").text();
    let metric = count_metrics(&metrics);
    let faults = metrics.lines().filter(|line| line.starts_with("istio_fault_injected_total{"));
    let injected = faults.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    upstream(client.classes, backend.book.counts().classes, injected);
    assert_eq!(client.classes, metric, "client and metrics");
    assert_eq!(client.classes, lines.counts().classes, "client and access log");
    let share = client.classes[5] as f64 / requests as f64;
    assert!((0.03..0.07).contains(&share), "{share} failed on purpose");
    figure(format_args!(
        "four books agree: {requests} requests, {} 2xx, {} 5xx, {:.0} req/s",
        client.classes[2],
        client.classes[5],
        requests as f64 / began.elapsed().as_secs_f64()
    ));
}
