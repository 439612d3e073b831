//! Connections to endpoints, with numbers: how long one may take to come, how many requests it carries, when it is let go,
//! and what the kernel is told about it.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::{Client, Weir, eventually, service_entry};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A backend that counts its connections, those that came and those that went.
#[derive(Clone, Default)]
struct Counts {
    opened: Arc<AtomicU64>,
    closed: Arc<AtomicU64>,
}

fn backend() -> (u16, Counts) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let counts = Counts::default();
    let counted = counts.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counts = counted.clone();
            counts.opened.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                answer_all(stream);
                counts.closed.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (port, counts)
}

fn answer_all(mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").ok()?;
        }
    }
}

/// `app.test` on this port with a connection pool, without retries.
fn start(port: u16, pool: &str) -> Weir {
    let group = "apiVersion: networking.istio.io/v1";
    let rule = format!("{{ host: app.test, trafficPolicy: {{ connectionPool: {pool} }} }}");
    let route =
        "{ hosts: [app.test], http: [{ retries: { attempts: 0 }, route: [{ destination: { host: app.test } }] }] }";
    let mesh = format!(
        "{}---\n{group}\nkind: DestinationRule\nmetadata: {{ name: app }}\nspec: {rule}\n---\n{group}\nkind: \
         VirtualService\nmetadata: {{ name: app }}\nspec: {route}\n",
        service_entry("app.test", port)
    );
    Weir::start(&mesh, &["--workers", "1"])
}

/// A listener whose line is full: further connections get no answer.
fn silent() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    rustix::net::listen(&listener, 0).expect("a shorter line");
    let address = listener.local_addr().expect("an address");
    let waiting: Vec<TcpStream> =
        std::iter::from_fn(|| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()).take(16).collect();
    assert!(waiting.len() < 16, "the line is never full");
    (listener, waiting)
}

#[test]
fn a_connection_that_does_not_come_within_a_hundred_milliseconds_is_given_up() {
    let (listener, _waiting) = silent();
    let port = listener.local_addr().expect("an address").port();
    let weir = start(port, "{ tcp: { connectTimeout: 100ms } }");
    let mut client = Client::open(weir.outbound);
    let began = Instant::now();
    let reply = client.get("app.test", "/").expect("an answer");
    let took = began.elapsed();
    assert_eq!((reply.status, reply.header("x-weir-reason")), (503, Some("connect_timeout")));
    // Istio's default is ten seconds, the kernel's first second try comes after one.
    assert!(took >= Duration::from_millis(100) && took < Duration::from_millis(900), "{took:?}");
}

#[test]
fn a_connection_carries_a_hundred_requests_and_the_next_request_opens_another() {
    let (port, counts) = backend();
    let weir = start(port, "{ http: { maxRequestsPerConnection: 100 } }");
    let mut client = Client::open(weir.outbound);
    for (requests, connections) in [(100, 1), (100, 2), (50, 3)] {
        (0..requests).for_each(|_| assert_eq!(client.get("app.test", "/").expect("an answer").status, 200));
        assert_eq!(counts.opened.load(Ordering::SeqCst), connections);
    }
    eventually("the first two are closed", || counts.closed.load(Ordering::SeqCst) == 2);
}

#[test]
fn an_idle_connection_is_closed_after_its_time_and_not_before() {
    let (port, counts) = backend();
    let weir = start(port, "{ http: { idleTimeout: 400ms } }");
    let mut client = Client::open(weir.outbound);
    let mut asked = Instant::now();
    for _ in 0..3 {
        asked = Instant::now();
        assert_eq!(client.get("app.test", "/").expect("an answer").status, 200);
    }
    eventually("it is closed", || counts.closed.load(Ordering::SeqCst) == 1);
    assert!(asked.elapsed() >= Duration::from_millis(400), "{:?}", asked.elapsed());
    assert_eq!(counts.opened.load(Ordering::SeqCst), 1);
    assert_eq!(client.get("app.test", "/").expect("an answer").status, 200);
    assert_eq!(counts.opened.load(Ordering::SeqCst), 2);
}

/// Seconds until the kernel probes the connection to this port: the timer 02 of /proc/net/tcp, in hundredths.
#[cfg(target_os = "linux")]
fn probes_in(port: u16) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's connections");
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(2);
        let (remote, state) = (columns.next()?, columns.next()?);
        let (kind, when) = columns.nth(1)?.split_once(':')?;
        let is_ours = remote.ends_with(&format!(":{port:04X}")) && state == "01" && kind == "02";
        is_ours.then(|| u64::from_str_radix(when, 16).ok())?.map(|when| when / 100)
    })
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_probes_a_quiet_connection_after_two_hours() {
    let (port, _) = backend();
    let weir = start(port, "{ tcp: { tcpKeepalive: { time: 7200s, interval: 75s, probes: 9 } } }");
    assert_eq!(Client::open(weir.outbound).get("app.test", "/").expect("an answer").status, 200);
    eventually("a timer of two hours", || probes_in(port).is_some_and(|left| (7180..=7200).contains(&left)));
    let (port, _) = backend();
    let weir = start(port, "{ tcp: { maxConnections: 10 } }");
    assert_eq!(Client::open(weir.outbound).get("app.test", "/").expect("an answer").status, 200);
    assert_eq!(probes_in(port), None, "nobody asked for it");
}
