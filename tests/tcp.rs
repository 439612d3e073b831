//! Connections that carry no requests, against the real binary: where they go, how they end, what is counted (TCP-01).

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::keys::{Authority, Speaker};
use common::recorder::Recorder;
use common::{Weir, eventually, folder, free_port};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn open(at: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(at).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.set_nodelay(true).expect("set");
    socket
}

/// A server that runs `serve` for each connection, in a thread of its own.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Sends back what comes, and its end.
fn echo(mut stream: TcpStream) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}

/// Says its name and ends.
fn named(name: &'static str) -> u16 {
    server(move |mut stream| drop(stream.write_all(name.as_bytes())))
}

/// A port that nobody listens on.
fn nobody() -> u16 {
    free_port()
}

fn said(at: SocketAddr) -> String {
    let mut text = String::new();
    // A connection that is refused may be reset: nothing was said.
    let _ = open(at).read_to_string(&mut text);
    text
}

/// A ServiceEntry of TCP whose endpoints are on loopback, not listened on itself.
fn service(host: &str, ports: &[u16]) -> String {
    let endpoints: Vec<String> =
        ports.iter().map(|port| format!("{{ address: 127.0.0.1, ports: {{ tcp: {port} }} }}")).collect();
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name} }}
spec:
  hosts: [{host}]
  addresses: [192.0.2.1]
  resolution: STATIC
  ports: [{{ number: 9000, name: tcp, protocol: TCP }}]
  endpoints: [{}]
",
        endpoints.join(", "),
        name = host.replace('.', "-")
    )
}

/// A Gateway on loopback; `server` is written after its port.
fn gateway(port: u16, protocol: &str, hosts: &str, server: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{ name: edge }}
spec:
  servers:
  - {{ port: {{ number: {port}, name: it, protocol: {protocol} }}, bind: 127.0.0.1, hosts: [{hosts}]{server} }}
"
    )
}

fn rules(hosts: &str, written: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: edge }}
spec:
  hosts: [{hosts}]
  gateways: [edge]
{written}"
    )
}

fn policy(host: &str, written: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: rule }}
spec: {{ host: {host}, trafficPolicy: {{ {written} }} }}
"
    )
}

/// A weir whose one Gateway leads every connection to `app.test`.
struct Edge {
    weir: Weir,
    at: SocketAddr,
}

impl Edge {
    fn start(ports: &[u16], more: &str) -> Self {
        let port = free_port();
        let mesh = service("app.test", ports)
            + &gateway(port, "TCP", "\"*\"", "")
            + &rules("\"*\"", "  tcp: [{ route: [{ destination: { host: app.test } }] }]\n")
            + more;
        Self { weir: Weir::start(&mesh, &[]), at: local(port) }
    }

    /// The sum of a family's series with this text in their labels.
    fn counted(&self, name: &str, with: &str) -> u64 {
        let text = self.weir.admin("GET", "/metrics").text();
        let series = text.lines().filter(|line| line.starts_with(name) && line.contains(with));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

#[test]
fn bytes_pass_both_ways_and_each_half_ends_by_itself() {
    let edge = Edge::start(&[server(echo)], "");
    let mut client = open(edge.at);
    client.write_all(b"hello").expect("written");
    let mut five = [0; 5];
    client.read_exact(&mut five).expect("read");
    assert_eq!(&five, b"hello");
    client.shutdown(Shutdown::Write).expect("shut");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("an end, not a reset");
    assert!(rest.is_empty());
    eventually("it is counted", || edge.counted("istio_tcp_connections_closed_total", "app.test") == 1);
    let of = |name| edge.counted(name, "destination_service=\"app.test\"");
    assert_eq!(of("istio_tcp_connections_opened_total"), 1);
    assert_eq!((of("istio_tcp_received_bytes_total"), of("istio_tcp_sent_bytes_total")), (5, 5));
    // The server ends first: the client may still speak.
    let (heard, hears) = mpsc::channel();
    let deaf = server(move |mut stream| {
        stream.shutdown(Shutdown::Write).expect("shut");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        heard.send(text).expect("sent");
    });
    let edge = Edge::start(&[deaf], "");
    let mut client = open(edge.at);
    assert_eq!(client.read(&mut five).expect("an end"), 0);
    client.write_all(b"and yet").expect("written");
    drop(client);
    assert_eq!(hears.recv_timeout(PATIENCE).expect("heard"), "and yet");
}

/// A gigabyte each way: what comes is what was sent, and memory stays bounded.
#[test]
fn a_gigabyte_each_way_arrives_whole() {
    let edge = Edge::start(&[server(echo)], "");
    let length: u64 = 1 << 30;
    let before = edge.weir.resident();
    let mut client = open(edge.at);
    let mut writer = client.try_clone().expect("a clone");
    // Each block says where it stands.
    let block = |number: u64| -> Vec<u8> { number.to_be_bytes().repeat(8 * 1024) };
    let blocks = length / (64 * 1024);
    let writing = std::thread::spawn(move || {
        for number in 0..blocks {
            writer.write_all(&block(number)).expect("written");
        }
        writer.shutdown(Shutdown::Write).expect("shut");
    });
    let mut bytes = vec![0; 64 * 1024];
    for number in 0..blocks {
        client.read_exact(&mut bytes).expect("read");
        assert!(bytes == block(number), "block {number}");
    }
    assert_eq!(client.read(&mut bytes).expect("an end"), 0);
    writing.join().expect("all written");
    let grown = edge.weir.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    eventually("it is counted", || edge.counted("istio_tcp_sent_bytes_total", "app.test") == length);
}

#[test]
fn ten_thousand_short_connections_leave_nothing_behind() {
    let edge = Edge::start(&[named("hello")], "");
    assert_eq!(said(edge.at), "hello");
    let before = edge.weir.resources();
    let done = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (at, done) = (edge.at, Arc::clone(&done));
            std::thread::spawn(move || {
                for _ in 0..1250 {
                    assert_eq!(said(at), "hello");
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("all were served"));
    assert_eq!(done.load(Ordering::SeqCst), 10_000);
    eventually("all are gone", || {
        edge.weir.connections() == 0 && edge.weir.resources().descriptors <= before.descriptors
    });
    assert_eq!(edge.counted("istio_tcp_connections_closed_total", "app.test"), 10_001);
}

#[test]
fn a_reset_is_a_reset_on_the_other_side_too() {
    let rude = server(|mut stream| {
        let _ = stream.read(&mut [0; 16]);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("set");
    });
    let edge = Edge::start(&[rude], "");
    let mut client = open(edge.at);
    client.write_all(b"hello").expect("written");
    let why = client.read(&mut [0; 16]).expect_err("a reset");
    assert_eq!(why.kind(), std::io::ErrorKind::ConnectionReset);
    eventually("counted", || edge.counted("istio_tcp_connections_closed_total", "response_flags=\"UC\"") == 1);
    let (told, hears) = mpsc::channel();
    let patient = server(move |mut stream| {
        let _ = stream.read(&mut [0; 5]);
        told.send(stream.read(&mut [0; 16]).map_err(|why| why.kind())).expect("sent");
    });
    let edge = Edge::start(&[patient], "");
    let mut client = open(edge.at);
    client.write_all(b"hello").expect("written");
    eventually("it passed", || edge.counted("istio_tcp_connections_opened_total", "app.test") == 1);
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("set");
    drop(client);
    assert_eq!(hears.recv_timeout(PATIENCE).expect("told"), Err(std::io::ErrorKind::ConnectionReset));
    eventually("counted", || edge.counted("istio_tcp_connections_closed_total", "response_flags=\"DC\"") == 1);
}

#[test]
fn weights_are_shares_and_a_destination_that_is_nowhere_is_refused() {
    let port = free_port();
    let mesh = service("one.test", &[named("one")])
        + &service("two.test", &[named("two")])
        + &gateway(port, "TCP", "\"*\"", "")
        + &rules(
            "\"*\"",
            "  tcp:
  - match: [{ destinationSubnets: [10.0.0.0/8] }]
    route: [{ destination: { host: none.test } }]
  - match: [{ destinationSubnets: [127.0.0.0/8], port: PORT }, { port: 1 }]
    route:
    - { destination: { host: one.test, port: { number: 9000 } }, weight: 75 }
    - { destination: { host: two.test }, weight: 25 }
",
        )
        .replace("PORT", &port.to_string());
    let weir = Weir::start(&mesh, &[]);
    let answers: Vec<String> = (0..400).map(|_| said(local(port))).collect();
    let ones = answers.iter().filter(|answer| *answer == "one").count();
    assert_eq!(ones + answers.iter().filter(|answer| *answer == "two").count(), 400);
    assert!((250..350).contains(&ones), "{ones} of 400");
    weir.write(&mesh.replace("127.0.0.0/8", "192.0.2.0/24"));
    eventually("no rule", || said(local(port)).is_empty());
    weir.write(&mesh.replace("10.0.0.0/8", "127.0.0.1"));
    eventually("no cluster", || {
        said(local(port)).is_empty() && weir.admin("GET", "/metrics").text().contains("response_flags=\"NC\"")
    });
}

#[test]
fn connections_have_a_ceiling_and_it_is_exact() {
    let edge = Edge::start(&[server(echo)], &policy("app.test", "connectionPool: { tcp: { maxConnections: 3 } }"));
    let hold = || {
        let mut client = open(edge.at);
        client.write_all(b"x").ok()?;
        client.read_exact(&mut [0]).ok()?;
        Some(client)
    };
    let mut held: Vec<TcpStream> = (0..3).map(|_| hold().expect("there is room")).collect();
    assert!(hold().is_none(), "the fourth is ended");
    eventually("counted", || edge.counted("istio_tcp_connections_closed_total", "response_flags=\"UO\"") == 1);
    held.pop();
    eventually("there is room again", || hold().is_some());
}

#[test]
fn an_endpoint_that_refuses_connections_is_ejected() {
    let detector =
        "outlierDetection: { consecutive5xxErrors: 2, interval: 1h, baseEjectionTime: 1h, maxEjectionPercent: 50 },
      loadBalancer: { simple: ROUND_ROBIN }";
    let edge = Edge::start(&[named("alive"), nobody()], &policy("app.test", detector));
    let answers: Vec<bool> = (0..40).map(|_| said(edge.at) == "alive").collect();
    let failed = answers.iter().filter(|alive| !**alive).count();
    assert!((2..=4).contains(&failed), "{failed} of 40 met the dead one");
    assert!(answers[20..].iter().all(|alive| *alive));
    assert_eq!(edge.counted("istio_tcp_connections_closed_total", "response_flags=\"UF\""), failed as u64);
    // All are out of reach: said at once.
    let edge = Edge::start(&[nobody()], "");
    assert_eq!(said(edge.at), "");
}

#[test]
fn silence_and_age_end_a_connection() {
    let edge = Edge::start(&[server(echo)], &policy("app.test", "connectionPool: { tcp: { idleTimeout: 400ms } }"));
    let mut client = open(edge.at);
    let began = Instant::now();
    for _ in 0..6 {
        client.write_all(b"x").expect("written");
        client.read_exact(&mut [0]).expect("each byte earns it more time");
        std::thread::park_timeout(Duration::from_millis(150));
    }
    assert!(began.elapsed() > Duration::from_millis(800));
    let latest = Instant::now();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    assert!((200..5000).contains(&latest.elapsed().as_millis()), "{:?}", latest.elapsed());
    eventually("counted", || edge.counted("istio_tcp_connections_closed_total", "response_flags=\"SI\"") == 1);
    let most = "connectionPool: { tcp: { maxConnectionDuration: 500ms } }";
    let edge = Edge::start(&[server(echo)], &policy("app.test", most));
    let mut client = open(edge.at);
    let began = Instant::now();
    while client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok() {
        std::thread::park_timeout(Duration::from_millis(20));
        assert!(began.elapsed() < PATIENCE, "it never ends");
    }
    assert!(began.elapsed() >= Duration::from_millis(490), "{:?}", began.elapsed());
    eventually("counted", || edge.counted("istio_tcp_connections_closed_total", "response_flags=\"DT\"") == 1);
}

/// A weir that ends TLS for each name and says it: the servers behind one that passes TLS on.
fn secure_backend(names: &[&str], ca: &Authority) -> (Weir, u16) {
    let (port, secrets) = (free_port(), folder());
    let mut mesh = String::new();
    for (number, name) in names.iter().enumerate() {
        ca.issue(&[name]).write(&secrets.join(format!("s{number}")), None);
        let tls = format!(", tls: {{ mode: SIMPLE, credentialName: s{number} }}");
        // The name of a cluster is no host's.
        let host = if name.contains('_') { "\"*\"".to_owned() } else { format!("\"{name}\"") };
        mesh += &gateway(port, "HTTPS", &host, &tls).replace("name: edge", &format!("name: edge-{number}"));
        let answer = format!("  http: [{{ directResponse: {{ status: 200, body: {{ string: \"{name}\" }} }} }}]\n");
        mesh += &rules(&host, &answer).replace("edge", &format!("edge-{number}"));
    }
    (Weir::start(&mesh, &["--secrets", &secrets.to_string_lossy()]), port)
}

fn asked(ca: &Authority, at: SocketAddr, name: &str) -> Option<String> {
    Speaker::new(ca).open(at, name).ok()?.get(name).map(|(_, body)| body)
}

#[test]
fn tls_is_passed_on_by_its_name_and_not_ended() {
    let ca = Authority::new("ca");
    let (_one, a) = secure_backend(&["a.test"], &ca);
    let (_two, b) = secure_backend(&["b.test", "c.b.test"], &ca);
    let port = free_port();
    let tls = ", tls: { mode: PASSTHROUGH }";
    let mesh = service("one.test", &[a])
        + &service("two.test", &[b])
        + &gateway(port, "TLS", "\"*.test\", \"a.test\"", tls)
        + &rules(
            "\"*.test\"",
            "  tls:
  - match: [{ sniHosts: [\"*.test\"] }]
    route: [{ destination: { host: two.test } }]
  - match: [{ port: 1, sniHosts: [\"c.b.test\"] }, { sniHosts: [a.test] }]
    route: [{ destination: { host: one.test } }]
",
        );
    let mut weir = Weir::start_with(&mesh, &["--access-log", "json"], |command| {
        command.stdout(Stdio::piped());
    });
    let at = local(port);
    for name in ["a.test", "b.test", "c.b.test"] {
        assert_eq!(asked(&ca, at, name).as_deref(), Some(name), "its own server answered");
    }
    assert_eq!(asked(&ca, at, "a.other"), None, "no rule is for it");
    let plain = open(at);
    (&plain).write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("written");
    assert_eq!((&plain).read(&mut [0; 16]).unwrap_or(0), 0, "what is not TLS is ended");
    // A name in small pieces is a name all the same.
    let log = weir.access_log();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(log)).map_while(Result::ok);
    let line = lines.find(|line| line.contains("b.test")).expect("a line");
    for part in ["\"requested_server_name\":\"b.test\"", "outbound|9000||two.test", "default/edge#0"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn a_port_passes_some_names_on_and_ends_others() {
    let ca = Authority::new("ca");
    let (_one, a) = secure_backend(&["a.test"], &ca);
    let (port, secrets) = (free_port(), folder());
    ca.issue(&["own.test"]).write(&secrets.join("own"), None);
    ca.issue(&["bytes.test"]).write(&secrets.join("bytes"), None);
    let entry = |name: &str, protocol: &str, tls: &str| {
        format!(
            "  - {{ port: {{ number: {port}, name: {name}, protocol: {protocol} }}, bind: 127.0.0.1, hosts: [\"{name}.test\"], tls: {{ {tls} }} }}\n"
        )
    };
    let gateway = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: edge }
spec:
  servers:
"
    .to_owned()
        + &entry("own", "HTTPS", "mode: SIMPLE, credentialName: own")
        + &entry("bytes", "TLS", "mode: SIMPLE, credentialName: bytes")
        + &entry("a", "TLS", "mode: PASSTHROUGH");
    let mesh = service("one.test", &[a])
        + &service("echo.test", &[server(echo)])
        + &gateway
        + &rules(
            "own.test, a.test, bytes.test",
            "  http: [{ directResponse: { status: 200, body: { string: ended here } } }]
  tls: [{ match: [{ sniHosts: [a.test] }], route: [{ destination: { host: one.test } }] }]
  tcp: [{ route: [{ destination: { host: echo.test } }] }]
",
        );
    let _weir = Weir::start(&mesh, &["--secrets", &secrets.to_string_lossy()]);
    assert_eq!(asked(&ca, local(port), "own.test").as_deref(), Some("ended here"));
    assert_eq!(asked(&ca, local(port), "a.test").as_deref(), Some("a.test"));
    let mut bytes = Speaker::new(&ca).open(local(port), "bytes.test").expect("a handshake");
    assert_eq!(bytes.stream.conn.alpn_protocol(), None, "no protocol is promised");
    bytes.stream.write_all(b"hello").expect("written");
    let mut five = [0; 5];
    bytes.stream.read_exact(&mut five).expect("read");
    assert_eq!(&five, b"hello");
    assert!(Speaker::new(&ca).open(local(port), "other.test").is_err());
}

#[test]
fn a_name_of_a_cluster_leads_to_it() {
    let ca = Authority::new("ca");
    let name = "outbound_.9000_.v1_.app.test";
    let (_one, a) = secure_backend(&[name], &ca);
    let port = free_port();
    let mesh = service("app.test", &[a]).replace("address: 127.0.0.1", "labels: { version: v1 }, address: 127.0.0.1")
        + &gateway(port, "TLS", "\"*.test\"", ", tls: { mode: AUTO_PASSTHROUGH }")
        // As it came: that the destination speaks TLS is not asked twice.
        + &policy("app.test", "tls: { mode: SIMPLE }").replace(" } }\n", " }, subsets: [{ name: v1, labels: { version: v1 } }] }\n");
    let _weir = Weir::start(&mesh, &[]);
    assert_eq!(asked(&ca, local(port), name).as_deref(), Some(name));
    assert_eq!(asked(&ca, local(port), "outbound_.9000_.v2_.app.test"), None);
    assert_eq!(asked(&ca, local(port), "app.test"), None);
}

#[test]
fn a_destination_may_be_reached_over_tls() {
    let ca = Authority::new("ca");
    let (_one, a) = secure_backend(&["app.test"], &ca);
    let trust = folder().join("ca.pem");
    std::fs::write(&trust, &ca.pem).expect("written");
    let tls = format!("tls: {{ mode: SIMPLE, sni: app.test, caCertificates: {} }}", trust.display());
    let edge = Edge::start(&[a], &policy("app.test", &tls));
    let mut client = common::Client::open(edge.at);
    assert_eq!(client.get("app.test", "/").expect("an answer").text(), "app.test");
    let other = Authority::new("other");
    std::fs::write(&trust, &other.pem).expect("written");
    eventually("it is verified", || common::Client::open(edge.at).get("app.test", "/").is_none());
    assert!(edge.counted("istio_tcp_connections_closed_total", "\"UF\"") > 0);
}

#[test]
fn the_proxy_protocol_says_who_the_client_is() {
    let (told, hears) = mpsc::channel();
    let listening = server(move |mut stream| {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        told.send(bytes).expect("sent");
    });
    let send = |edge: &Edge, bytes: &[u8]| {
        let mut client = open(edge.at);
        let from = client.local_addr().expect("an address");
        // In two parts, as networks do.
        client.write_all(&bytes[..bytes.len() / 2]).expect("written");
        std::thread::park_timeout(Duration::from_millis(20));
        // One that is refused at its first half may be gone.
        let _ = client.write_all(&bytes[bytes.len() / 2..]);
        let _ = client.shutdown(Shutdown::Write);
        // Nothing is said back.
        let _ = client.read(&mut [0]);
        from
    };
    // Out.
    let edge = Edge::start(&[listening], &policy("app.test", "proxyProtocol: { version: V1 }"));
    let from = send(&edge, b"hello");
    let heard = hears.recv_timeout(PATIENCE).expect("heard");
    let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nhello", from.port(), edge.at.port());
    assert_eq!(String::from_utf8_lossy(&heard), line);
    // In, and out in the other version.
    let fronted = "---
apiVersion: weir.dev/v1alpha1
kind: Mesh
metadata: { name: mesh }
spec: { gatewayTopology: { proxyProtocol: {} } }
";
    let both = policy("app.test", "proxyProtocol: { version: V2 }") + fronted;
    let edge = Edge::start(&[listening], &both);
    send(&edge, b"PROXY TCP4 192.0.2.7 192.0.2.8 5000 443\r\nhello");
    let heard = hears.recv_timeout(PATIENCE).expect("heard");
    assert_eq!(heard[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c");
    assert_eq!(
        (&heard[16..20], &heard[24..26], &heard[28..]),
        (&[192, 0, 2, 7][..], &5000u16.to_be_bytes()[..], &b"hello"[..])
    );
    // Without the header a connection is nobody's.
    send(&edge, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(hears.recv_timeout(Duration::from_millis(300)), Err(mpsc::RecvTimeoutError::Timeout));
    assert_eq!(edge.counted("weir_malformed_requests_total", "proxy_protocol"), 1);
}

#[test]
fn requests_behind_the_proxy_protocol_come_from_the_client_it_names() {
    let backend = Recorder::start();
    let port = free_port();
    let mesh = common::service_entry("app.test", backend.port)
        + &common::gateway(port)
        + "---
apiVersion: weir.dev/v1alpha1
kind: Mesh
metadata: { name: mesh }
spec: { gatewayTopology: { proxyProtocol: {} } }
";
    let _weir = Weir::start(&mesh, &[]);
    let mut client = common::Client::open(local(port));
    let head = b"PROXY TCP4 192.0.2.7 192.0.2.8 5000 443\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n";
    assert_eq!(client.raw(head).expect("an answer").status, 200);
    let seen = backend.last().to_ascii_lowercase();
    assert!(seen.contains("x-forwarded-for: 192.0.2.7\r\n"), "{seen}");
}

#[test]
fn a_service_that_is_not_http_is_reached_at_its_own_port() {
    let ca = Authority::new("ca");
    let (_secure, a) = secure_backend(&["a.test", "b.test"], &ca);
    let (plain, tls) = (free_port(), free_port());
    let entry = |host: &str, port: u16, protocol: &str, target: u16, more: &str| {
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {} }}
spec:
  hosts: [{host}]
  resolution: STATIC
  ports: [{{ number: {port}, name: it, protocol: {protocol}, targetPort: {target} }}]
  endpoints: [{{ address: 127.0.0.1 }}]
{more}",
            host.replace('.', "-")
        )
    };
    let mesh = entry("db.test", plain, "MYSQL", named("one"), "")
        + &entry("other.test", plain, "TCP", named("two"), "  addresses: [127.0.0.3]\n")
        + &entry("a.test", tls, "TLS", a, "")
        + &entry("b.test", tls, "HTTPS", a, "");
    let weir = Weir::start(&mesh, &[]);
    assert_eq!(said(local(plain)), "one", "a server that speaks first");
    assert_eq!(said(([127, 0, 0, 3], plain).into()), "two", "an address of its own");
    assert_eq!(asked(&ca, local(tls), "a.test").as_deref(), Some("a.test"));
    assert_eq!(asked(&ca, local(tls), "b.test").as_deref(), Some("b.test"));
    assert_eq!(asked(&ca, local(tls), "c.test"), None);
    // A VirtualService of the mesh leads it elsewhere; a reload ends nothing.
    let kept = open(local(tls));
    let moved = "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: moved }
spec:
  hosts: [db.test]
  tcp: [{ route: [{ destination: { host: other.test } }] }]
";
    weir.write(&(mesh.clone() + moved));
    eventually("led elsewhere", || said(local(plain)) == "two");
    weir.write(&entry("db.test", plain, "MYSQL", named("three"), ""));
    eventually("a new endpoint", || said(local(plain)) == "three");
    eventually("the port of a service that is gone is closed", || TcpStream::connect(local(tls)).is_err());
    drop(kept);
    // One whose port is taken is said, and the others are there.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    weir.write(&(mesh + &entry("busy.test", port, "TCP", named("four"), "")));
    eventually("said", || weir.said().contains(&format!("`busy.test` cannot be reached at 127.0.0.1:{port}")));
    eventually("the others are there", || said(local(plain)) == "one");
}

#[test]
fn a_drain_lets_connections_finish() {
    let mut edge = Edge::start(&[server(echo)], "");
    let mut client = open(edge.at);
    client.write_all(b"x").expect("written");
    client.read_exact(&mut [0]).expect("read");
    edge.weir.signal("TERM");
    eventually("no new ones", || TcpStream::connect(edge.at).is_err());
    client.write_all(b"y").expect("written");
    client.read_exact(&mut [0]).expect("it goes on");
    drop(client);
    assert_eq!(edge.weir.wait().code(), Some(0));
}
