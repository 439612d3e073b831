//! Header fields (reliability cases HDR): one meaning each, on every side.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::recorder::Recorder;
use common::{Client, Doors, eventually, rules};
use std::io::Write;

fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n")
}

#[test]
fn hdr_01_hosts_that_are_not_one() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    for lines in [
        "Host: a.test\r\nHost: b.test\r\n",
        "Host: app.test\r\nHost: app.test\r\n",
        "",
        "Host: a.test/x@b\r\n",
        "Host: user@app.test\r\n",
        "Host: app.test:0\r\n",
        "Host: app.test:65536\r\n",
        "Host: app.test:80:80\r\n",
        "Host: app.test, b.test\r\n",
        "Host: app.test \x0b\r\n",
    ] {
        for door in doors.both() {
            let mut client = Client::open(door);
            let reply = client.raw(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).expect("an answer");
            assert_eq!((reply.status, reply.header("connection")), (400, Some("close")), "{lines:?}");
            assert!(client.is_closed());
        }
    }
    assert_eq!(backend.bytes(), b"");
}

#[test]
fn hdr_03_hop_by_hop_ends_here_and_nothing_else_by_the_clients_wish() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    for door in doors.both() {
        let lines = "Connection: close, X-Auth, X-Forwarded-For, Host, Authorization, Cookie, X-Request-Id\r\n\
                     X-Auth: a\r\nX-Forwarded-For: 9.9.9.9\r\nAuthorization: Basic b\r\nCookie: c=d\r\nTE: gzip\r\n\
                     Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: x\r\nX-Request-Id: mine\r\n";
        let reply = Client::open(door).raw(get(lines).as_bytes()).expect("an answer");
        assert_eq!(reply.status, 200);
        let seen = backend.last().to_ascii_lowercase();
        for gone in
            ["\r\nconnection:", "\r\nx-auth:", "\r\nte:", "\r\nkeep-alive:", "\r\nproxy-connection:", "\r\nupgrade:"]
        {
            assert!(!seen.contains(gone), "{gone:?} in {seen}");
        }
        for stays in
            ["\r\nhost: app.test", "9.9.9.9", "\r\nauthorization: basic b", "\r\ncookie: c=d", "x-request-id: mine"]
        {
            assert!(seen.contains(stays), "{stays:?} not in {seen}");
        }
    }
}

#[test]
fn hdr_04_the_edge_owns_who_the_client_is() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    let lines = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Envoy-Internal: true\r\n\
                 X-Envoy-Retry-On: 5xx\r\nX-Weir-Identity: root\r\n";
    assert_eq!(Client::open(doors.edge).raw(get(lines).as_bytes()).expect("an answer").status, 200);
    let seen = backend.last().to_ascii_lowercase();
    let line = |name: &str| seen.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    // Whatever the client says stands in front of what we know.
    let forwarded = line("x-forwarded-for: ").expect("a field");
    assert_eq!(forwarded.rsplit(',').next(), Some("127.0.0.1"), "{seen}");
    assert_eq!(line("x-forwarded-proto: ").as_deref(), Some("http"), "{seen}");
    for gone in ["x-envoy-internal", "x-envoy-retry-on", "x-weir-identity"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    // Inside the mesh, what the caller's sidecar says is passed on.
    assert_eq!(Client::open(doors.weir.outbound).raw(get(lines).as_bytes()).expect("an answer").status, 200);
    assert!(backend.last().to_ascii_lowercase().contains("x-forwarded-for: 6.6.6.6\r\n"));
}

#[test]
fn hdr_05_a_route_sees_every_line_of_a_field() {
    let backend = Recorder::start();
    let routes = rules(
        "  - match: [{ headers: { x-denied: { exact: evil } } }]
    directResponse: { status: 403 }
  - match: [{ headers: { x-tenant: { exact: good } } }]
    route: [{ destination: { host: app.test } }]
  - match: [{ headers: { x-pattern: { regex: \"go+d\" } } }]
    route: [{ destination: { host: app.test } }]
",
    );
    let doors = Doors::open(backend.port, &routes);
    let ask = |lines: &[u8]| {
        let bytes = [b"GET / HTTP/1.1\r\nHost: app.test\r\n", lines, b"\r\n\r\n"].concat();
        Client::open(doors.weir.outbound).raw(&bytes).expect("an answer").status
    };
    assert_eq!(ask(b"X-Tenant: good"), 200);
    // Allowed once and denied once is not allowed; and a pattern never matches what is not text.
    for lines in [
        &b"X-Tenant: good\r\nX-Tenant: evil"[..],
        b"X-Tenant: evil\r\nX-Tenant: good",
        b"X-Tenant: good\xff",
        b"X-Pattern: good\xff",
        b"X-Pattern: good\r\nX-Pattern: \xff",
        b"X-Pattern: good\r\nX-Pattern: evil",
    ] {
        assert_eq!(ask(lines), 404, "{}", String::from_utf8_lossy(lines));
    }
    // A second field does not hide the first from a rule that denies.
    for lines in [
        &b"X-Tenant: good\r\nX-Denied: evil\r\nX-Denied: good"[..],
        b"X-Tenant: good\r\nX-Denied: good\r\nX-Denied: evil",
    ] {
        assert_eq!(ask(lines), 403, "{}", String::from_utf8_lossy(lines));
    }
    assert_eq!(ask(b"X-Pattern: gooood"), 200);
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn hdr_07_heads_beyond_the_bounds_cost_no_memory() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    let rows = [
        (get(&format!("X: {}\r\n", "a".repeat(64 * 1024))), &[431][..]),
        (get(&"X: a\r\n".repeat(1000)), &[431]),
        (format!("GET /{} HTTP/1.1\r\nHost: app.test\r\n\r\n", "a".repeat(100 * 1024)), &[414, 431, 400]),
        (" / HTTP/1.1\r\nHost: app.test\r\n\r\n".to_owned(), &[400]),
    ];
    let mut resident = 0;
    for round in 0..20 {
        for (request, statuses) in &rows {
            for door in doors.both() {
                let mut client = Client::open(door);
                // The answer may come before all is written.
                let _ = client.stream().write_all(request.as_bytes());
                let reply = client.reply().expect("an answer");
                assert!(statuses.contains(&reply.status), "{}", reply.status);
            }
        }
        if round == 4 {
            resident = doors.weir.resident();
        }
    }
    let grown = doors.weir.resident().saturating_sub(resident);
    assert!(grown < 1 << 20, "{grown} bytes in 120 requests");
    assert_eq!(backend.bytes(), b"");
    eventually("all are gone", || doors.weir.connections() == 0);
    assert!(doors.weir.metric("weir_malformed_requests_total{reason=\"head_too_large\"}") >= 40);
    assert!(doors.weir.metric("weir_malformed_requests_total{reason=\"too_many_headers\"}") >= 40);
}

#[test]
fn hdr_09_names_with_underscores_stop_at_the_edge() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    let mut client = Client::open(doors.edge);
    let reply = client.raw(get("X_Forwarded_For: 6.6.6.6\r\n").as_bytes()).expect("an answer");
    assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
    assert!(client.is_closed());
    assert_eq!(backend.bytes(), b"");
    assert_eq!(doors.weir.metric("weir_malformed_requests_total{reason=\"underscore\"}"), 1);
    // Inside the mesh they are names as others.
    assert_eq!(Client::open(doors.weir.outbound).raw(get("X_Y: z\r\n").as_bytes()).expect("an answer").status, 200);
    assert!(backend.last().contains("X_Y: z\r\n"));
}
