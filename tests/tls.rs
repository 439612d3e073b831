//! TLS against the real binary: what a Gateway ends, what a destination begins, and keys that are bad or change.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::keys::{Authority, Pair, Speaker, put};
use common::{Backend, Client, Weir, eventually, folder, free_port, service_entry};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A Gateway on loopback; each server is `HOST | TLS`.
fn edge(port: u16, servers: &[(&str, &str)]) -> String {
    let server = |(host, tls): &(&str, &str)| {
        format!(
            "  - {{ port: {{ number: {port}, name: \"s-{host}\", protocol: HTTPS }}, bind: 127.0.0.1, hosts: [\"{host}\"], tls: {{ {tls} }} }}\n"
        )
    };
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{ name: edge-{port} }}
spec:
  servers:
{}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: edge-{port} }}
spec:
  hosts: [\"*\"]
  gateways: [edge-{port}]
  http:
  - directResponse: {{ status: 200, body: {{ string: served }} }}
",
        servers.iter().map(server).collect::<String>()
    )
}

/// A folder of secrets with one named `web`, and a weir that serves TLS with it.
struct Edge {
    weir: Weir,
    at: SocketAddr,
    secrets: PathBuf,
}

impl Edge {
    fn start(servers: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Self {
        let (port, secrets) = (free_port(), folder());
        prepare(&secrets);
        let weir = Weir::start(&edge(port, servers), &["--secrets", &secrets.to_string_lossy()]);
        Self { weir, at: ([127, 0, 0, 1], port).into(), secrets }
    }

    fn web(&self) -> PathBuf {
        self.secrets.join("web")
    }

    fn is_open(&self) -> bool {
        TcpStream::connect(self.at).is_ok()
    }
}

const SIMPLE: &str = "mode: SIMPLE, credentialName: web";
const MUTUAL: &str = "mode: MUTUAL, credentialName: web";

#[test]
fn a_gateway_ends_tls_and_alpn_says_what_is_spoken() {
    let ca = Authority::new("ca");
    let edge =
        Edge::start(&[("app.test", SIMPLE)], |secrets| ca.issue(&["app.test"]).write(&secrets.join("web"), None));
    let mut secure = Speaker::new(&ca).open(edge.at, "app.test").expect("a handshake");
    assert_eq!(secure.get("app.test"), Some((200, "served".to_owned())));
    assert_eq!(secure.get("app.test"), Some((200, "served".to_owned())), "the connection is kept");
    assert_eq!(secure.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let both = Speaker::with(&ca, None, rustls::ALL_VERSIONS, &["h2", "http/1.1"]);
    let secure = both.open(edge.at, "app.test").expect("a handshake");
    assert_eq!(secure.stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let speaker = Speaker::with(&ca, None, &[version], &[]);
        assert_eq!(speaker.status(edge.at, "app.test"), Some(200), "{version:?}");
    }
}

#[test]
fn a_session_is_taken_up_again() {
    let ca = Authority::new("ca");
    let edge =
        Edge::start(&[("app.test", SIMPLE)], |secrets| ca.issue(&["app.test"]).write(&secrets.join("web"), None));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let speaker = Speaker::with(&ca, None, &[version], &[]);
        let mut first = speaker.open(edge.at, "app.test").expect("a handshake");
        assert_eq!(first.get("app.test").map(|(status, _)| status), Some(200));
        let second = speaker.open(edge.at, "app.test").expect("a handshake");
        assert_eq!(second.stream.conn.handshake_kind(), Some(rustls::HandshakeKind::Resumed), "{version:?}");
    }
}

#[test]
fn versions_and_suites_are_those_that_are_written() {
    let ca = Authority::new("ca");
    let servers = [
        (
            "old.test",
            "mode: SIMPLE, credentialName: web, maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384]",
        ),
        ("new.test", "mode: SIMPLE, credentialName: web, minProtocolVersion: TLSV1_3"),
    ];
    let names = ["old.test", "new.test"];
    let edge = Edge::start(&servers, |secrets| ca.issue(&names).write(&secrets.join("web"), None));
    let [old, new] =
        [&rustls::version::TLS12, &rustls::version::TLS13].map(|one| Speaker::with(&ca, None, &[one], &[]));
    assert_eq!(names.map(|name| old.status(edge.at, name)), [Some(200), None]);
    assert_eq!(names.map(|name| new.status(edge.at, name)), [None, Some(200)]);
    let secure = old.open(edge.at, "old.test").expect("a handshake");
    let suite = secure.stream.conn.negotiated_cipher_suite().expect("a suite").suite();
    assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
}

#[test]
fn clients_prove_who_they_are() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let servers = [
        ("must.test", MUTUAL),
        ("may.test", "mode: OPTIONAL_MUTUAL, credentialName: web"),
        ("named.test", "mode: MUTUAL, credentialName: web, subjectAltNames: [\"spiffe://td/ns/a/sa/good\"]"),
    ];
    let names = ["must.test", "may.test", "named.test"];
    let edge = Edge::start(&servers, |secrets| ca.issue(&names).write(&secrets.join("web"), Some(&ca)));
    let statuses = |speaker: &Speaker| names.map(|name| speaker.status(edge.at, name));
    assert_eq!(statuses(&Speaker::new(&ca)), [None, Some(200), None], "without a certificate");
    let good = ca.issue(&["spiffe://td/ns/a/sa/good"]);
    assert_eq!(statuses(&Speaker::proven(&ca, &good)), [Some(200); 3], "with the right one");
    let unnamed = ca.issue(&["spiffe://td/ns/a/sa/bad"]);
    assert_eq!(statuses(&Speaker::proven(&ca, &unnamed)), [Some(200), Some(200), None], "with another name");
    let foreign = other.issue(&["spiffe://td/ns/a/sa/good"]);
    assert_eq!(statuses(&Speaker::proven(&ca, &foreign)), [None; 3], "of another authority");
    let late = ca.issue_until(&["spiffe://td/ns/a/sa/good"], Duration::ZERO);
    assert_eq!(statuses(&Speaker::proven(&ca, &late)), [None; 3], "out of date");
    assert!(edge.weir.metric("weir_malformed_requests_total{reason=\"tls_client_certificate\"}") > 0);
}

#[test]
fn the_name_chooses_the_server_and_a_request_for_another_is_misdirected() {
    let ca = Authority::new("ca");
    let servers = [
        ("a.test", "mode: SIMPLE, credentialName: a"),
        ("*.b.test", "mode: SIMPLE, credentialName: b"),
        ("x.b.test", "mode: MUTUAL, credentialName: x"),
    ];
    let edge = Edge::start(&servers, |secrets| {
        ca.issue(&["a.test"]).write(&secrets.join("a"), None);
        ca.issue(&["*.b.test"]).write(&secrets.join("b"), None);
        ca.issue(&["x.b.test"]).write(&secrets.join("x"), Some(&ca));
    });
    let speaker = Speaker::new(&ca);
    assert_eq!(speaker.status(edge.at, "a.test"), Some(200));
    assert_eq!(speaker.status(edge.at, "y.b.test"), Some(200));
    assert_eq!(speaker.status(edge.at, "x.b.test"), None, "it asks for a certificate");
    assert!(speaker.open(edge.at, "c.test").is_err(), "there is no such server");
    let mut secure = speaker.open(edge.at, "y.b.test").expect("a handshake");
    assert_eq!(secure.get("z.b.test").map(|(status, _)| status), Some(200), "the same server");
    assert_eq!(secure.get("x.b.test").map(|(status, _)| status), Some(421), "not around its certificates");
    assert_eq!(secure.get("a.test").map(|(status, _)| status), Some(421));
    assert_eq!(secure.get("y.b.test:443").map(|(status, _)| status), Some(200), "the connection goes on");
}

#[test]
fn a_port_without_good_keys_is_closed_until_it_has_them() {
    let ca = Authority::new("ca");
    let (good, other) = (ca.issue(&["app.test"]), ca.issue(&["app.test"]));
    let late = ca.issue_until(&["app.test"], Duration::ZERO);
    type Spoil = fn(&mut Pair, &Pair, &Pair);
    let cases: [(&str, &str, Spoil); 4] = [
        ("half written", "tls.key", |pair, _, _| pair.key.truncate(pair.key.len() / 2)),
        ("not a pair", "is not that of the certificate", |pair, other, _| pair.key.clone_from(&other.key)),
        ("expired", "expired on", |pair, _, late| pair.clone_from(late)),
        ("empty", "has no certificate", |pair, _, _| pair.certificate.clear()),
    ];
    let missing = Edge::start(&[("app.test", SIMPLE)], |_| {});
    assert!(!missing.is_open() && missing.weir.said().contains("cannot read"), "{}", missing.weir.said());
    for (what, words, spoil) in cases {
        let mut bad = good.clone();
        spoil(&mut bad, &other, &late);
        let edge = Edge::start(&[("app.test", SIMPLE)], |secrets| bad.write(&secrets.join("web"), None));
        assert!(!edge.is_open(), "{what}");
        let (said, status) = (edge.weir.said(), edge.weir.admin("GET", "/api/v1/version").text());
        assert!(said.contains(words) && said.contains("mesh.yaml:"), "{what}: {said}");
        assert!(status.contains("WEIR0216"), "{what}: {status}");
        good.write(&edge.web(), None);
        eventually(what, || Speaker::new(&ca).status(edge.at, "app.test") == Some(200));
        let cleared = || !edge.weir.admin("GET", "/api/v1/version").text().contains("WEIR0216");
        eventually("the problem is gone", cleared);
    }
}

#[test]
fn documents_that_need_bad_keys_are_refused_and_the_last_good_ones_stay() {
    let ca = Authority::new("ca");
    let mut edge_ =
        Edge::start(&[("app.test", SIMPLE)], |secrets| ca.issue(&["app.test"]).write(&secrets.join("web"), None));
    let (weir, port) = (&mut edge_.weir, edge_.at.port());
    weir.write(&edge(port, &[("app.test", "mode: SIMPLE, credentialName: none")]));
    eventually("refused", || weir.said().contains("the last good one stays"));
    assert_eq!(Speaker::new(&ca).status(edge_.at, "app.test"), Some(200));
    weir.write(&edge(port, &[("app.test", "mode: SIMPLE, credentialName: ../web")]));
    eventually("refused", || weir.said().contains("cannot name a secret"));
    assert_eq!(Speaker::new(&ca).status(edge_.at, "app.test"), Some(200));
}

/// Keys that change under load lose no request, and bad ones are passed over. `WEIR_SOAK=1`: each second for a minute.
#[test]
fn rotation_under_load_loses_nothing() {
    let cas = [Authority::new("one"), Authority::new("two")];
    // Both are trusted by everybody: it is their certificates that change.
    let both = format!("{}{}", cas[0].pem, cas[1].pem);
    let edge = Edge::start(&[("app.test", MUTUAL)], |secrets| {
        cas[0].issue(&["app.test"]).write(&secrets.join("web"), None);
        put(&secrets.join("web/ca.crt"), &both);
    });
    let (done, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (at, clients) = (edge.at, cas.iter().map(|ca| ca.issue(&["spiffe://td/ns/a/sa/a"])).collect::<Vec<_>>());
    let mut kept = Speaker::proven(&cas[0], &clients[0]).open(at, "app.test").expect("a handshake");
    let load: Vec<_> = clients
        .iter()
        .map(|client| {
            // Either authority may have signed the server's certificate of the moment.
            let speakers = [&cas[0], &cas[1]].map(|ca| Speaker::proven(ca, client));
            let (done, requests) = (Arc::clone(&done), Arc::clone(&requests));
            std::thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let answered = speakers.iter().any(|speaker| speaker.status(at, "app.test") == Some(200));
                    // The certificate may have changed between the two.
                    assert!(answered || speakers.iter().any(|speaker| speaker.status(at, "app.test") == Some(200)));
                    requests.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let soak = std::env::var_os("WEIR_SOAK").is_some();
    let start = Instant::now();
    for round in 0..if soak { 60 } else { 10 } {
        if soak {
            let next = start + Duration::from_secs(round as u64);
            std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        let ca = &cas[(round + 1) % 2];
        let next = ca.issue(&["app.test"]);
        put(&edge.web().join("tls.crt"), "-----BEGIN CERTIFICATE-----\nhalf");
        put(&edge.web().join("tls.key"), &next.key);
        put(&edge.web().join("tls.crt"), &next.certificate);
        let began = Instant::now();
        let speaker = Speaker::proven(ca, &clients[0]);
        eventually("the new certificate is shown", || speaker.status(at, "app.test") == Some(200));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(kept.get("app.test").map(|(status, _)| status), Some(200), "a connection of before goes on");
    }
    done.store(true, Ordering::SeqCst);
    load.into_iter().for_each(|one| one.join().expect("no request failed"));
    assert!(requests.load(Ordering::SeqCst) > 20);
    eprintln!("{} requests under rotation, 0 failed", requests.load(Ordering::SeqCst));
    let shown = kept.shown();
    assert!(!shown.is_empty());
}

/// TLS-01: what is no TLS, or broken TLS, ends its connection and nothing else.
#[test]
fn malformed_records_end_their_connection_only() {
    let ca = Authority::new("ca");
    let edge =
        Edge::start(&[("app.test", SIMPLE)], |secrets| ca.issue(&["app.test"]).write(&secrets.join("web"), None));
    let mut hello = vec![22, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    hello.extend([0; 64]);
    let cases: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[22, 3, 1, 0xff, 0xff],
        &[22, 3, 3, 0, 0],
        &[23, 3, 3, 0, 1, 0],
        &[21, 3, 3, 0, 2, 2, 0],
        &[0x80, 0x2e, 1, 3, 0],
        &hello,
    ];
    for bytes in cases {
        let mut socket = TcpStream::connect(edge.at).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(15))).expect("set");
        socket.write_all(bytes).expect("written");
        // A record that is not whole is waited for, as long as a head may take: not here.
        socket.shutdown(std::net::Shutdown::Write).expect("shut");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "plaintext was answered in plaintext");
        assert!(answer.is_empty() || answer[0] == 21, "an alert, or nothing: {answer:?}");
    }
    assert_eq!(Speaker::new(&ca).status(edge.at, "app.test"), Some(200));
    // Broken in the middle of a connection.
    let mut secure = Speaker::new(&ca).open(edge.at, "app.test").expect("a handshake");
    assert_eq!(secure.get("app.test").map(|(status, _)| status), Some(200));
    secure.stream.sock.write_all(&[23, 3, 3, 0, 32, 1, 2, 3]).expect("written");
    secure.stream.sock.write_all(&[0; 29]).expect("written");
    assert_eq!(secure.get("app.test"), None);
    eventually("it is gone", || edge.weir.connections() == 0);
    assert_eq!(Speaker::new(&ca).status(edge.at, "app.test"), Some(200));
}

#[test]
fn plain_http_is_sent_to_https() {
    let port = free_port();
    let mesh = edge(port, &[("app.test", "httpsRedirect: true")]).replace("HTTPS", "HTTP");
    let _weir = Weir::start(&mesh, &[]);
    let mut client = Client::open(([127, 0, 0, 1], port).into());
    let reply = client.get("app.test", "/a?b=c").expect("an answer");
    assert_eq!((reply.status, reply.header("location")), (301, Some("https://app.test/a?b=c")));
    assert_eq!(client.get("other.test", "/").expect("an answer").status, 404);
}

/// A destination behind TLS: a Gateway of the same weir.
fn destination(port: u16, tls: &str) -> String {
    let rule = format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec: {{ host: app.test, trafficPolicy: {{ tls: {{ {tls} }} }} }}
"
    );
    service_entry("app.test", port) + &rule
}

#[test]
fn a_destination_is_reached_over_tls_or_not_at_all() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let (port, plain, files) = (free_port(), Backend::start(), folder());
    let own = ca.issue(&["spiffe://td/ns/a/sa/me"]);
    ca.issue(&["app.test"]).write(&files.join("web"), Some(&ca));
    own.write(&files.join("me"), Some(&ca));
    put(&files.join("ca.pem"), &ca.pem);
    put(&files.join("other.pem"), &other.pem);
    let (secrets, at) = (files.to_string_lossy().into_owned(), |name: &str| files.join(name).display().to_string());
    let cases = [
        (port, SIMPLE, format!("mode: SIMPLE, caCertificates: {}", at("ca.pem")), 200, ""),
        (port, SIMPLE, "mode: SIMPLE, credentialName: me".to_owned(), 200, ""),
        (port, SIMPLE, "mode: SIMPLE, insecureSkipVerify: true".to_owned(), 200, ""),
        // Its alert is not HTTP.
        (port, SIMPLE, "mode: DISABLE".to_owned(), 502, ""),
        (port, SIMPLE, format!("mode: SIMPLE, caCertificates: {}", at("other.pem")), 503, "unknown authority"),
        (
            port,
            SIMPLE,
            format!("mode: SIMPLE, caCertificates: {}, sni: b.test", at("ca.pem")),
            503,
            "unrecognized name",
        ),
        (
            port,
            SIMPLE,
            format!("mode: SIMPLE, caCertificates: {}, subjectAltNames: [c.test]", at("ca.pem")),
            503,
            "other names",
        ),
        (
            port,
            SIMPLE,
            format!("mode: SIMPLE, caCertificates: {}, subjectAltNames: [c.test, app.test]", at("ca.pem")),
            200,
            "",
        ),
        (port, MUTUAL, format!("mode: SIMPLE, caCertificates: {}", at("ca.pem")), 503, ""),
        (port, MUTUAL, "mode: MUTUAL, credentialName: me".to_owned(), 200, ""),
        (
            port,
            MUTUAL,
            format!(
                "mode: MUTUAL, clientCertificate: {}, privateKey: {}, caCertificates: {}",
                at("me/tls.crt"),
                at("me/tls.key"),
                at("ca.pem")
            ),
            200,
            "",
        ),
        (plain.port, SIMPLE, format!("mode: SIMPLE, caCertificates: {}", at("ca.pem")), 503, "does not speak TLS"),
    ];
    for (to, server, tls, status, reason) in cases {
        let mesh = destination(to, &tls) + &edge(port, &[("app.test", server)]);
        let log = ["--secrets", &secrets, "--access-log", "json"];
        let mut weir = Weir::start_with(&mesh, &log, |command| {
            command.stdout(std::process::Stdio::piped());
        });
        let reply = Client::open(weir.outbound).get("app.test", "/").expect("an answer");
        assert_eq!(reply.status, status, "{tls} to {server}: {}", reply.text());
        if reason.is_empty() {
            continue;
        }
        assert_eq!(reply.header("x-weir-reason"), Some("tls_failed"), "{tls}");
        let mut log = String::new();
        let mut lines = std::io::BufReader::new(weir.access_log());
        while !log.contains("upstream_transport_failure_reason") {
            let read = std::io::BufRead::read_line(&mut lines, &mut log).expect("a line");
            assert!(read > 0, "{log}");
        }
        assert!(log.contains(reason) && log.contains("\"response_flags\":\"UF"), "{tls}: {log}");
    }
}

/// A connection in the clear is not used again once its destination is behind TLS.
#[test]
fn a_reload_to_tls_leaves_no_connection_in_the_clear() {
    let (ca, backend, files) = (Authority::new("ca"), Backend::start(), folder());
    put(&files.join("ca.pem"), &ca.pem);
    let weir = Weir::start(&destination(backend.port, "mode: DISABLE"), &["--workers", "1"]);
    let mut client = Client::open(weir.outbound);
    assert_eq!(client.get("app.test", "/").expect("an answer").status, 200);
    let tls = format!("mode: SIMPLE, caCertificates: {}", files.join("ca.pem").display());
    weir.write(&destination(backend.port, &tls));
    eventually("the version is in force", || weir.said().contains("version 2-"));
    assert_eq!(client.get("app.test", "/").expect("an answer").status, 503);
}

/// A destination whose own keys are missing is not spoken to, and is as soon as they are there.
#[test]
fn a_destination_without_good_keys_answers_503_until_it_has_them() {
    let (ca, port, files) = (Authority::new("ca"), free_port(), folder());
    ca.issue(&["app.test"]).write(&files.join("web"), None);
    let mesh = destination(port, "mode: MUTUAL, credentialName: me") + &edge(port, &[("app.test", SIMPLE)]);
    let weir = Weir::start(&mesh, &["--secrets", &files.to_string_lossy()]);
    let status = || Client::open(weir.outbound).get("app.test", "/").expect("an answer").status;
    assert_eq!(status(), 503);
    ca.issue(&["spiffe://td/ns/a/sa/me"]).write(&files.join("me"), Some(&ca));
    eventually("it is reached", || status() == 200);
}
