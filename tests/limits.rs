//! Limits (reliability cases LIM): each ends what goes beyond it, when it should, with its word in a metric, and
//! nobody else suffers.
//!
//! Small numbers by default; `make soak` runs a thousand slow clients and a gigabyte each way.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::recorder::Recorder;
use common::{Backend, Client, Doors, Weir, eventually, folder, limits, rules, service_entry};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use weir_ledger::{Faults, Load, Speaks};

const SECOND: Duration = Duration::from_secs(1);

fn long() -> bool {
    std::env::var_os("WEIR_SOAK").is_some()
}

fn of<T>(short: T, soak: T) -> T {
    if long() { soak } else { short }
}

fn limited(weir: &Weir, word: &str) -> u64 {
    weir.metric(&format!("weir_limited_total{{limit=\"{word}\"}}"))
}

/// When each of some clients was ended, as far as the machine let us see: `late` is the longest time we did not look.
struct Ends {
    ends: Vec<Duration>,
    late: Duration,
}

/// Clients that each send one byte per second after `front`.
fn trickle(to: SocketAddr, front: &str, count: usize, patience: Duration) -> Ends {
    let began = Instant::now();
    let open = |_| {
        let mut stream = TcpStream::connect(to).expect("connected");
        stream.write_all(front.as_bytes()).expect("written");
        stream.set_nonblocking(true).expect("set");
        (stream, Instant::now(), None)
    };
    let mut clients: Vec<(TcpStream, Instant, Option<Duration>)> = (0..count).map(open).collect();
    let (mut late, mut looked) = (Duration::ZERO, Instant::now());
    for pass in 0.. {
        late = late.max(looked.elapsed());
        looked = Instant::now();
        if clients.iter().all(|(.., ended)| ended.is_some()) || began.elapsed() > patience {
            break;
        }
        for (index, (stream, since, ended)) in clients.iter_mut().enumerate().filter(|(_, (.., ended))| ended.is_none())
        {
            // Each its byte per second, a tenth of them at a time: strangers do not keep step.
            if index % 10 == pass % 10 {
                let _ = stream.write(b"a");
            }
            let mut bytes = [0; 1024];
            match stream.read(&mut bytes) {
                Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => *ended = Some(since.elapsed()),
            }
        }
        std::thread::park_timeout(SECOND / 10);
    }
    Ends { ends: clients.into_iter().map(|(.., ended)| ended.expect("ended within the patience")).collect(), late }
}

fn each_about(Ends { ends, late }: &Ends, limit: Duration) {
    let (first, last) = (ends.iter().min().expect("some"), ends.iter().max().expect("some"));
    assert!(
        *first + SECOND >= limit && *last <= limit + SECOND + *late,
        "limit {limit:?}, ended between {first:?} and {last:?}, looked every {late:?}"
    );
    if long() {
        eprintln!("soak: {} slow clients, limit {limit:?}: ended between {first:?} and {last:?}", ends.len());
    }
}

#[test]
fn lim_01_slow_clients_are_ended_at_their_limit_and_good_ones_do_not_suffer() {
    let backend = weir_ledger::Backend::start(Faults::default()).expect("a backend");
    let (head, body) = (of(2, 10), of(3, 12));
    let written = limits(&format!("headTimeout: {head}s, bodyTimeout: {body}s"));
    let doors = Doors::open_with(backend.port, &written, &["--workers", "2"]);
    // The same good clients of a second weir, which no slow one calls: what the machine does to both is no difference.
    let calm = Doors::open_with(backend.port, &written, &["--workers", "2"]);
    let good = |to| {
        let (host, rate) = ("app.test".to_owned(), Some(250));
        Load { speaks: Speaks::Http1, to, host, clients: 4, rate, kept: 100, requests: None }.start()
    };
    let (beside, alone) = (good(doors.edge), good(calm.edge));
    let books = [&beside, &alone].map(|running| Arc::clone(&running.book));
    let count = of(20, 1_000);
    let (heads, bodies) = std::thread::scope(|scope| {
        let heads = scope.spawn(|| trickle(doors.edge, "GET / HTTP/1.1\r\nX: ", count, SECOND * 40));
        let front = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100000\r\n\r\n";
        let bodies = scope.spawn(|| trickle(doors.edge, front, count, SECOND * 40));
        (heads.join().expect("no panic"), bodies.join().expect("no panic"))
    });
    each_about(&heads, Duration::from_secs(head));
    each_about(&bodies, Duration::from_secs(body));
    for counts in [beside.finish(), alone.finish()] {
        assert_eq!(counts.failed(), 0, "{counts:?}");
    }
    let [beside, alone] = books.map(|book| book.quantile(0.99));
    if long() {
        eprintln!("soak: p99 of good clients {beside} us beside {} slow ones, {alone} us without", 2 * count);
        assert!(beside <= 2 * alone.max(500), "{alone} -> {beside}");
    }
    assert_eq!(doors.weir.metric("weir_malformed_requests_total{reason=\"head_timeout\"}"), count as u64);
    assert_eq!(limited(&doors.weir, "slow_body"), count as u64);
}

#[test]
fn lim_01_a_slow_body_is_told_so() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, &limits("bodyTimeout: 300ms"));
    let mut client = Client::open(doors.edge);
    let reply = client.raw(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nabc").expect("an answer");
    assert_eq!((reply.status, reply.header("x-weir-reason")), (408, Some("slow_body")));
    assert!(client.is_closed());
    // Inside the mesh nobody is in a hurry: only the upstream's and the route's limits hold.
    let mut patient = Client::open(doors.weir.outbound);
    patient.stream().write_all(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\na").expect("written");
    assert_eq!(
        trickle(doors.edge, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", 1, SECOND * 9).ends.len(),
        1
    );
    assert_eq!(patient.raw(b"bc").expect("an answer").status, 200);
}

#[test]
fn lim_01_a_client_that_sends_nothing_is_ended_too() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, &limits("headTimeout: 1s"));
    each_about(&trickle(doors.edge, "", 1, SECOND * 9), SECOND);
    let began = Instant::now();
    assert!(Client::open(doors.edge).is_closed());
    assert!(began.elapsed() >= Duration::from_millis(900) && began.elapsed() <= SECOND * 2, "{:?}", began.elapsed());
}

#[test]
fn lim_02_a_slow_reader_is_ended() {
    let port = fountain(64 << 20);
    let doors = Doors::open(port, &limits("bodyTimeout: 1s"));
    let mut stream = TcpStream::connect(doors.edge).expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").expect("written");
    eventually("it is ended", || limited(&doors.weir, "slow_reader") == 1);
    eventually("it is gone", || doors.weir.connections() == 0);
    let mut all = Vec::new();
    assert!(stream.read_to_end(&mut all).is_err() || all.len() < 64 << 20, "not all of it");
}

#[test]
fn lim_03_connections_beyond_the_cap_are_refused_and_all_places_come_back() {
    const MOST: usize = 50;
    let backend = Backend::start();
    let doors = Doors::open_with(backend.port, &limits(&format!("connections: {MOST}")), &["--workers", "2"]);
    for round in 1..=3 {
        let mut served: Vec<Client> = Vec::new();
        let mut refused = 0;
        for _ in 0..MOST + 100 {
            let mut client = Client::open(doors.both()[served.len() % 2]);
            match client.get("app.test", "/") {
                Some(reply) => {
                    assert_eq!(reply.status, 200);
                    served.push(client);
                }
                None => refused += 1,
            }
        }
        assert_eq!((served.len(), refused), (MOST, 100));
        // Whoever is in stays in, and the admin address answers.
        assert!(served.iter_mut().all(|client| client.get("app.test", "/").is_some_and(|reply| reply.status == 200)));
        let counted = doors.weir.metric("weir_connections_refused_total{reason=\"connection_limit\"}");
        assert_eq!(counted, 100 * round);
        assert_eq!(doors.weir.connections(), MOST as u64);
        drop(served);
        eventually("all places are free", || doors.weir.connections() == 0);
    }
}

#[test]
fn lim_04_out_of_descriptors_the_rest_goes_on() {
    let backend = Backend::start();
    let weir = with_files(80, &service_entry("app.test", backend.port));
    let mut kept = Client::open(weir.outbound);
    assert_eq!(kept.get("app.test", "/").expect("an answer").status, 200);
    let crowd: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(weir.outbound).expect("queued")).collect();
    // The admin address answers all the while: some descriptors are no client's.
    let refused = || weir.metric("weir_connections_refused_total{reason=\"descriptors\"}");
    eventually("the rest is refused", || refused() > 60);
    for _ in 0..20 {
        assert_eq!(kept.get("app.test", "/").expect("an answer").status, 200, "existing traffic");
    }
    drop(crowd);
    eventually("new clients are served again", || {
        Client::try_open(weir.outbound)
            .and_then(|mut client| client.get("app.test", "/"))
            .is_some_and(|it| it.status == 200)
    });
}

/// A weir that may open so many files: hard, so that it cannot be raised.
fn with_files(most: u32, mesh: &str) -> Weir {
    Weir::start_with(mesh, &["--workers", "1"], |command| {
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
        let said = std::fs::File::create(folder().join("stderr")).expect("a file");
        *command = Command::new("sh");
        let limited = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited]).arg(program).args(arguments).stderr(said);
    })
}

#[test]
fn lim_04_a_dial_without_descriptors_is_not_the_endpoints_fault() {
    const MOST: u32 = 80;
    let gate = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let open = Arc::clone(&gate);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if open.load(Ordering::SeqCst) {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            } else {
                held.push(stream);
            }
        }
    });
    let touchy = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: app }\nspec: { host: app.test, trafficPolicy: { outlierDetection: { consecutive5xxErrors: 1, baseEjectionTime: 600s, maxEjectionPercent: 100 } } }\n";
    let weir = with_files(MOST, &(service_entry("app.test", port) + touchy));
    let mut clients: Vec<Client> = (0..50).map(|_| Client::open(weir.outbound)).collect();
    for client in &mut clients {
        client.stream().write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").expect("written");
    }
    // The admin address has descriptors of its own.
    eventually("some find no descriptor", || limited(&weir, "descriptors") > 5);
    let told = clients.iter_mut().find_map(|client| {
        client.stream().set_read_timeout(Some(Duration::from_millis(50))).expect("set");
        client.reply()
    });
    let told = told.expect("one of fifty is answered");
    assert_eq!((told.status, told.header("x-weir-reason")), (503, Some("descriptors")));
    gate.store(true, Ordering::SeqCst);
    drop(clients);
    eventually("the endpoint serves: it was never ejected", || {
        // None: refused while the clients that left are still counted.
        let Some(reply) = Client::open(weir.outbound).get("app.test", "/") else { return false };
        assert_ne!(reply.header("x-weir-reason"), Some("no_healthy_endpoint"));
        reply.status == 200
    });
}

#[test]
fn lim_04_short_of_memory_new_requests_are_refused_until_it_is_had_back() {
    const HOLDERS: usize = 400;
    let backend = Backend::start();
    let mesh = service_entry("app.test", backend.port);
    let weir = Weir::start(&mesh, &["--workers", "1", "--memory-limit", "32Mi"]);
    let mut holders: Vec<TcpStream> =
        (0..HOLDERS).map(|_| TcpStream::connect(weir.outbound).expect("connected")).collect();
    let mut good: Vec<Client> = (0..20).map(|_| Client::open(weir.outbound)).collect();
    eventually("all are accepted", || weir.connections() == HOLDERS as u64 + 20);
    // Heads that never end, inside the mesh, where nobody is in a hurry: a buffer each.
    let head = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(50 * 1024));
    for holder in &mut holders {
        holder.write_all(head.as_bytes()).expect("written");
    }
    let mut refused = None;
    eventually("requests are refused", || {
        let reply = good.pop().expect("one of twenty").get("app.test", "/").expect("an answer");
        refused = Some(reply).filter(|reply| reply.status == 503);
        std::thread::park_timeout(Duration::from_millis(100));
        refused.is_some()
    });
    let refused = refused.expect("a refusal");
    assert_eq!(refused.header("x-weir-reason"), Some("overloaded"));
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(limited(&weir, "overloaded") >= 1 && limited(&weir, "pressure") >= 1);
    drop(holders);
    eventually("it is served again", || {
        Client::try_open(weir.outbound).is_some_and(|mut client| {
            client.stream().set_read_timeout(Some(Duration::from_millis(500))).expect("set");
            client.get("app.test", "/").is_some_and(|reply| reply.status == 200)
        })
    });
}

/// A backend whose answer to anything is `size` bytes of the pattern.
fn fountain(size: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let block = pattern();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let block = block.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
                let _ = stream.write_all(head.as_bytes());
                for _ in 0..size / block.len() {
                    if stream.write_all(&block).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

fn pattern() -> Vec<u8> {
    (0..1 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Bytes of the pattern as they come, compared block by block: summing them up took an unoptimised build, on a machine
/// with more to do, longer than a client is patient.
struct Pattern {
    block: Vec<u8>,
    seen: usize,
}

impl Pattern {
    fn new() -> Self {
        Self { block: pattern(), seen: 0 }
    }

    fn see(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let rest = &self.block[self.seen % self.block.len()..];
            let (now, later) = data.split_at(data.len().min(rest.len()));
            assert!(now == &rest[..now.len()], "other bytes behind {}", self.seen);
            self.seen += now.len();
            data = later;
        }
    }
}

#[test]
fn lim_05_large_bodies_pass_a_slow_side_without_being_gathered() {
    let size = of(32 << 20, 1 << 30);
    let port = fountain(size);
    let doors = Doors::open(port, "");
    Client::open(doors.edge).get("app.test", "/").expect("a first answer");
    let before = doors.weir.resident();
    let mut stream = TcpStream::connect(doors.edge).expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").expect("written");
    let (mut found, mut most, mut head) = (Pattern::new(), 0, Vec::new());
    let mut piece = vec![0; 1 << 20];
    while found.seen < size {
        let count = stream.read(&mut piece).expect("more");
        assert!(count > 0, "ended after {}", found.seen);
        let mut data = &piece[..count];
        if found.seen == 0 {
            head.extend_from_slice(data);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            data = &head[end + 4..];
        }
        found.see(data);
        most = most.max(doors.weir.resident());
    }
    let grown = most.saturating_sub(before);
    // What is configured: 64 KiB each way and per direction of a connection.
    assert!(grown <= 2 << 20, "{grown} bytes");
    if long() {
        eprintln!("soak: {size} bytes down, byte for byte, resident +{} KiB", grown >> 10);
    }
}

#[test]
fn lim_05_large_uploads_wait_for_a_slow_upstream() {
    let size = of(32 << 20, 1 << 30);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let block = pattern();
    let sink = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut head, mut piece, mut found) = (Vec::new(), vec![0; 1 << 18], Pattern::new());
        while found.seen < size {
            let count = stream.read(&mut piece).expect("more");
            let mut data = &piece[..count];
            if found.seen == 0 {
                head.extend_from_slice(data);
                let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                data = &head[end + 4..];
            }
            found.see(data);
            // Slower than the client: the buffers in between are full.
            std::thread::park_timeout(Duration::from_micros(500));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").expect("written");
    });
    let doors = Doors::open(port, "");
    let before = doors.weir.resident();
    let mut client = Client::open(doors.edge);
    let head = format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {size}\r\n\r\n");
    client.stream().write_all(head.as_bytes()).expect("written");
    let mut most = 0;
    for _ in 0..size / block.len() {
        client.stream().write_all(&block).expect("written");
        most = most.max(doors.weir.resident());
    }
    assert_eq!(client.reply().expect("an answer").status, 200);
    sink.join().expect("byte for byte");
    let grown = most.saturating_sub(before);
    // Beside the buffers, the first MiB is kept for a retry, and was a smaller piece before it was a larger one.
    assert!(grown <= 6 << 20, "{grown} bytes");
    if long() {
        eprintln!("soak: {size} bytes up, byte for byte, resident +{} KiB", grown >> 10);
    }
}

#[test]
fn lim_06_idle_streams_and_idle_connections_end() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let doors = Doors::open(port, &limits("streamIdle: 500ms, connectionIdle: 1s"));
    let mut client = Client::open(doors.edge);
    let reply = client.get("app.test", "/").expect("an answer");
    assert_eq!((reply.status, reply.header("x-weir-reason")), (408, Some("stream_idle")));
    assert_eq!(limited(&doors.weir, "stream_idle"), 1);
    let mut idle = Client::open(doors.weir.outbound);
    assert_eq!(idle.get("nowhere.test", "/").expect("an answer").status, 502);
    assert!(idle.is_closed());
    assert!(limited(&doors.weir, "connection_idle") >= 1);
}

#[test]
fn lim_07_memory_for_replays_is_bounded() {
    let backend = Recorder::start();
    let retries = rules(
        "  - retries: { attempts: 2, retryOn: 5xx }
    route: [{ destination: { host: app.test } }]
",
    );
    let doors = Doors::open(backend.port, &(limits("replayMemory: 64Ki") + &retries));
    let body = "x".repeat(200 * 1024);
    let request = format!("PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(Client::open(doors.weir.outbound).raw(request.as_bytes()).expect("an answer").status, 200);
    assert_eq!(limited(&doors.weir, "replay_memory"), 1);
    assert!(backend.last().ends_with(&body));
}

#[test]
fn lim_08_hostile_documents_and_admin_bodies_are_refused_quickly() {
    let backend = Recorder::start();
    let weir = Weir::start(&service_entry("app.test", backend.port), &[]);
    let virtual_service = |matching: &str| {
        format!(
            "{}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: v }}\nspec:\n  hosts: [app.test]\n  http:\n  - match: [{{ uri: {{ regex: \"{matching}\" }} }}]\n    route: [{{ destination: {{ host: app.test }} }}]\n",
            service_entry("app.test", backend.port)
        )
    };
    let nested = format!("spec: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let hostile = [virtual_service("((a{1000}){1000}){1000}"), virtual_service("(a+"), nested];
    for documents in hostile {
        weir.write(&documents);
        let began = Instant::now();
        assert_eq!(weir.admin("POST", "/api/v1/reload").status, 422, "{}", &documents[..80]);
        assert!(began.elapsed() < SECOND * 5, "{:?}", began.elapsed());
    }
    // A pattern that backtracks elsewhere is matched in linear time here.
    weir.write(&virtual_service("/(a+)+b"));
    assert_eq!(weir.admin("POST", "/api/v1/reload").status, 200);
    let began = Instant::now();
    let path = format!("/{}", "a".repeat(30_000));
    assert_eq!(Client::open(weir.outbound).get("app.test", &path).expect("an answer").status, 404);
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    let deep = "[".repeat(100_000);
    let request =
        format!("POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{deep}", deep.len());
    let mut client = Client::open(weir.admin);
    let _ = client.stream().write_all(request.as_bytes());
    assert!(client.reply().is_none_or(|reply| reply.status < 500));
    assert_eq!(weir.admin("GET", "/ready").status, 200);
}
