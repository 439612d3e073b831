//! Nothing lost in HTTP/2 either: reloads, upgrades, a drain, under plain requests and gRPC calls in HTTP/2 on both sides,
//! beside a stream that is held open; and the two GOAWAYs (LIF-01, CFG-01 of the cases).
//!
//! Seconds by default; `make soak` runs the long versions.

#![allow(clippy::expect_used, reason = "this is a test")]

mod common;

use common::{Weir, eventually};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use weir_ledger::{Backend, Counts, Load, Running, Speaks, Talk};

/// `short`, or `soak` in the long version.
fn of(short: u32, soak: u32) -> u32 {
    if std::env::var_os("WEIR_SOAK").is_some() { soak } else { short }
}

fn mesh(port: u16, version: u32) -> String {
    format!(
        "{}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app }}
spec:
  hosts: [app.test]
  http:
  - headers: {{ response: {{ set: {{ x-version: \"{version}\" }} }} }}
    retries: {{ attempts: 0 }}
    route: [{{ destination: {{ host: app.test }} }}]
",
        common::service_entry("app.test", port).replace("protocol: HTTP,", "protocol: HTTP2,")
    )
}

/// Plain requests and gRPC calls at once.
struct Both {
    plain: Running,
    grpc: Running,
}

impl Both {
    fn start(to: SocketAddr, rate: u32) -> Self {
        let load = |speaks| Load {
            speaks,
            to,
            host: "app.test".to_owned(),
            clients: 4,
            rate: Some(rate),
            kept: 200,
            requests: None,
        };
        Self { plain: load(Speaks::Http2).start(), grpc: load(Speaks::Grpc).start() }
    }

    fn answered(&self) -> u64 {
        self.plain.book.counts().answered().min(self.grpc.book.counts().answered())
    }

    fn finish(self) -> [Counts; 2] {
        [self.plain.finish(), self.grpc.finish()]
    }
}

fn nothing_failed(counts: &[Counts]) {
    for counts in counts {
        assert_eq!(counts.failed(), 0, "{counts:?}");
        assert_eq!(counts.answered(), counts.classes[2], "{counts:?}");
    }
}

fn figure(what: &str, counts: &[Counts; 2]) {
    if std::env::var_os("WEIR_SOAK").is_some() {
        let [plain, grpc] = counts;
        eprintln!(
            "soak: HTTP/2, {what}: {} requests, {} gRPC calls, 0 failed; {} connections moved",
            plain.answered(),
            grpc.answered(),
            plain.closed + grpc.closed
        );
    }
}

#[test]
fn reloads_cut_no_stream_and_close_no_connection() {
    let backend = Backend::start_framed().expect("a backend");
    let weir = Weir::start(&mesh(backend.port, 0), &["--workers", "2"]);
    let mut talk = Talk::open(weir.outbound, "app.test").expect("a stream");
    let both = Both::start(weir.outbound, of(200, 500));
    for version in 1..=of(40, 1_000) {
        weir.write(&mesh(backend.port, version));
        let answer = weir.admin("POST", "/api/v1/reload");
        assert_eq!(answer.status, 200, "{}", answer.text());
        talk.say(format!("version {version}").as_bytes()).expect("the stream goes on");
    }
    eventually("requests go on", || both.answered() > 20);
    let counts = both.finish();
    nothing_failed(&counts);
    assert_eq!((counts[0].closed, counts[1].closed, talk.goaways()), (0, 0, 0), "{counts:?}");
    assert_eq!(talk.finish().as_deref(), Ok("0"));
    figure("reloads", &counts);
}

#[test]
fn upgrades_finish_every_stream_and_say_goaway_twice() {
    let backend = Backend::start_framed().expect("a backend");
    let mut weir = Weir::start(&mesh(backend.port, 0), &["--workers", "2"]);
    let both = Both::start(weir.outbound, of(200, 1_000));
    for _ in 0..of(2, 50) {
        let mut talk = Talk::open(weir.outbound, "app.test").expect("a stream");
        let answer = weir.upgrade();
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), weir.said());
        let before = both.answered();
        eventually("requests go on", || both.answered() > before + 20);
        eventually("two GOAWAYs", || talk.goaways() == 2);
        talk.say(b"still here").expect("the stream is finished by the old process");
        assert_eq!(talk.finish().as_deref(), Ok("0"));
    }
    let counts = both.finish();
    nothing_failed(&counts);
    figure("upgrades", &counts);
}

#[test]
fn a_drain_finishes_every_stream_and_says_goaway_twice() {
    let backend = Backend::start_framed().expect("a backend");
    let mut weir = Weir::start(&mesh(backend.port, 0), &["--workers", "2"]);
    let mut talk = Talk::open(weir.outbound, "app.test").expect("a stream");
    let both = Both::start(weir.outbound, of(200, 1_000));
    eventually("requests go on", || both.answered() > 50);
    weir.signal("TERM");
    eventually("two GOAWAYs", || talk.goaways() == 2);
    talk.say(b"still here").expect("the stream goes on");
    assert_eq!(talk.finish().as_deref(), Ok("0"));
    assert_eq!(weir.wait().code(), Some(0), "{}", weir.said());
    let counts = both.finish();
    for counts in &counts {
        // After the delay new connections are refused: that is what readiness has warned of.
        assert_eq!((counts.lost, counts.stale, counts.wrong), (0, 0, 0), "{counts:?}");
        assert_eq!(counts.answered(), counts.classes[2], "{counts:?}");
    }
    figure("a drain", &counts);
}

/// A backend whose every connection is given to `serve`.
fn raw(serve: impl Fn(TcpStream) + Send + Sync + Copy + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

#[test]
fn a_connection_on_which_no_ping_is_answered_is_ended() {
    // It begins as HTTP/2 does, and then only reads.
    let port = raw(|mut stream| {
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0").expect("SETTINGS");
        std::io::copy(&mut stream, &mut std::io::sink()).expect("reads to the end");
    });
    let pings = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: app }
spec:
  host: app.test
  trafficPolicy: { connectionPool: { http: { http2KeepAlive: { interval: 200ms, timeout: 200ms } } } }
";
    let weir = Weir::start(&(mesh(port, 0) + pings), &["--workers", "1"]);
    let answer = common::Client::open(weir.outbound).get("app.test", "/").expect("an answer");
    assert_eq!((answer.status, answer.header("x-weir-reason")), (503, Some("upstream_closed")));
}

#[test]
fn a_grpc_status_in_trailers_of_http1_is_counted() {
    let port = raw(|mut stream| {
        let mut seen = [0; 4096];
        let _ = stream.read(&mut seen).expect("a request");
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n\
                      2\r\nhi\r\n0\r\ngrpc-status: 5\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("an answer");
    });
    let weir = Weir::start(&common::service_entry("app.test", port), &["--workers", "1"]);
    let grpc = "content-type: application/grpc\r\nconnection: close\r\n";
    let answer = common::Client::open(weir.outbound).send("POST", "app.test", "/s/M", grpc).expect("an answer");
    assert_eq!(answer.status, 200);
    eventually("it is counted", || weir.admin("GET", "/metrics").text().contains("grpc_response_status=\"5\""));
}
