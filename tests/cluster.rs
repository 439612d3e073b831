//! The cluster side against the real binary: ejection, hashing, overrides, and the numbers that show them.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::{Client, Weir, eventually};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A backend with one status for everything; it counts its requests and names itself in each answer.
struct Server {
    port: u16,
    requests: Arc<AtomicU64>,
}

impl Server {
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || serve(stream, status, port, &counter));
            }
        });
        Self { port, requests }
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, status: u16, port: u16, counter: &AtomicU64) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            counter.fetch_add(1, Ordering::SeqCst);
            let body = port.to_string();
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()?;
        }
    }
}

/// `app.test` on these backends, with a traffic policy and further documents.
fn mesh(servers: &[Server], policy: &str, more: &str) -> String {
    let endpoints: Vec<String> =
        servers.iter().map(|server| format!("{{ address: 127.0.0.1, ports: {{ http: {} }} }}", server.port)).collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: app }}
spec:
  hosts: [app.test]
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP }}]
  endpoints: [{}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec: {{ host: app.test, trafficPolicy: {{ {policy} }} }}
{more}",
        endpoints.join(", ")
    )
}

/// The value of the first series of a family whose labels contain `labels`.
fn series(weir: &Weir, family: &str, labels: &str) -> Option<f64> {
    let text = weir.admin("GET", "/metrics").text();
    let line = text.lines().find(|line| line.starts_with(&format!("{family}{{")) && line.contains(labels))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn ten(bad: usize, count: usize) -> Vec<Server> {
    (0..count).map(|index| Server::start(if index < bad { 500 } else { 200 })).collect()
}

const SEED: &str = "loadBalancer: { simple: ROUND_ROBIN }, outlierDetection: { consecutive5xxErrors: 5, \
                    interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 10 }";

#[test]
fn five_errors_eject_one_of_ten_and_none_of_nine_and_the_metrics_say_so() {
    for (count, bad_ones, active) in [(10, 5, Some(1.0)), (9, 12, None)] {
        let servers = ten(1, count);
        let weir = Weir::start(&mesh(&servers, SEED, ""), &["--workers", "1"]);
        let mut client = Client::open(weir.outbound);
        let requests = 12 * count as u64;
        (0..requests).for_each(|_| drop(client.get("app.test", "/").expect("an answer")));
        assert_eq!(servers[0].requests(), bad_ones, "{count} endpoints");
        let endpoint = format!("endpoint=\"127.0.0.1:{}\"", servers[0].port);
        assert_eq!(series(&weir, "istio_outlier_detection_ejections_active", &endpoint), active);
        let total = format!("{endpoint},type=\"consecutive_5xx\"");
        assert_eq!(series(&weir, "istio_outlier_detection_ejections_total", &total), active);
        let forbidden = series(&weir, "istio_outlier_detection_ejections_overflow_total", "type=\"consecutive_5xx\"");
        assert_eq!(forbidden, Some(if count == 9 { 2.0 } else { 0.0 }));
    }
}

#[test]
fn a_reload_does_not_let_an_ejected_endpoint_back_in() {
    let servers = ten(1, 10);
    let weir = Weir::start(&mesh(&servers, SEED, ""), &["--workers", "1"]);
    let mut client = Client::open(weir.outbound);
    (0..60).for_each(|_| drop(client.get("app.test", "/").expect("an answer")));
    assert_eq!(servers[0].requests(), 5);
    let header = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: app }\nspec: { hosts: \
                  [app.test], http: [{ headers: { response: { set: { x-new: \"1\" } } }, route: [{ destination: { host: \
                  app.test } }] }] }\n";
    weir.write(&mesh(&servers, SEED, header));
    eventually("the new version", || client.get("app.test", "/").expect("an answer").header("x-new").is_some());
    (0..60).for_each(|_| assert_eq!(client.get("app.test", "/").expect("an answer").status, 200));
    assert_eq!(servers[0].requests(), 5);
}

#[test]
fn a_client_without_the_cookie_is_given_one_that_leads_it_back() {
    let servers = ten(0, 5);
    let policy = "loadBalancer: { consistentHash: { httpCookie: { name: user, path: /shop, ttl: 60s } } }";
    let weir = Weir::start(&mesh(&servers, policy, ""), &["--workers", "2"]);
    let mut hosts = BTreeSet::new();
    for _ in 0..20 {
        let first = Client::open(weir.outbound).get("app.test", "/").expect("an answer");
        let cookie = first.header("set-cookie").expect("a cookie").to_owned();
        assert!(cookie.ends_with("; Max-Age=60; Path=/shop; HttpOnly"), "{cookie}");
        let pair = cookie.split(';').next().expect("a pair").to_owned();
        for _ in 0..3 {
            let again = Client::open(weir.outbound);
            let again = { again }.send("GET", "app.test", "/", &format!("cookie: a=b; {pair}\r\n")).expect("an answer");
            assert_eq!(again.text(), first.text(), "the same endpoint");
            assert_eq!(again.header("set-cookie"), None);
        }
        hosts.insert(first.text());
    }
    assert!(hosts.len() >= 3, "clients are spread: {hosts:?}");
}

#[test]
fn trusted_clients_override_retries_and_others_do_not() {
    let trust = |ranges: &str| {
        format!(
            "---\napiVersion: weir.dev/v1alpha1\nkind: Mesh\nmetadata: {{ name: mesh }}\nspec: {{ trustRequestOverrides: \
             [{ranges}] }}\n"
        )
    };
    for (ranges, headers, tries) in [
        ("127.0.0.0/8", "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3\r\n", 4),
        ("127.0.0.0/8", "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3\r\nx-forwarded-for: 127.0.0.1\r\n", 1),
        ("10.0.0.0/8", "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3\r\n", 1),
    ] {
        let servers = ten(1, 1);
        let policy = "loadBalancer: { simple: ROUND_ROBIN }";
        let weir = Weir::start(&mesh(&servers, policy, &trust(ranges)), &["--workers", "1"]);
        let reply = Client::open(weir.outbound).send("GET", "app.test", "/", headers).expect("an answer");
        assert_eq!((reply.status, servers[0].requests()), (500, tries), "{ranges} {headers}");
        let waits = series(&weir, "istio_retry_backoff_milliseconds_count", "app.test");
        assert_eq!(waits, Some(tries as f64 - 1.0));
    }
}

#[test]
fn a_ceiling_that_is_reached_shows_its_state() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = Server { port: listener.local_addr().expect("an address").port(), requests: Arc::default() };
    let policy = "connectionPool: { http: { http2MaxRequests: 3 } }";
    let weir = Weir::start(&mesh(&[silent], policy, ""), &["--workers", "1"]);
    let waiting: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::open(weir.outbound);
            client.stream().write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").expect("sent");
            client
        })
        .collect();
    let requests = "resource=\"requests\"";
    eventually("three are under way", || series(&weir, "istio_circuit_breaker_state", requests) == Some(1.0));
    assert_eq!(series(&weir, "istio_circuit_breaker_remaining", requests), Some(0.0));
    let refused = Client::open(weir.outbound).get("app.test", "/").expect("an answer");
    assert_eq!((refused.status, refused.header("x-envoy-overloaded")), (503, Some("true")));
    assert_eq!(series(&weir, "istio_circuit_breaker_rejected_total", requests), Some(1.0));
    drop(waiting);
    eventually("they left", || series(&weir, "istio_circuit_breaker_state", requests) == Some(0.0));
    assert_eq!(series(&weir, "istio_circuit_breaker_remaining", requests), Some(3.0));
}
