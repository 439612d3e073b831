//! Limits that processes share, on a real Redis: exact, whatever happens to it, alone and as a cluster of three.
//!
//! Without a `redis-server` these tests fail: `bash scripts/test.sh environment` installs it.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against real processes needs deadlines in real time")]

mod common;

use common::{Backend, Client, Weir, eventually, folder, free_port, service_entry, signal};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A Redis of its own; ended with the test.
struct Redis {
    port: u16,
    folder: PathBuf,
    more: &'static [&'static str],
    child: Child,
}

impl Redis {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &'static [&'static str]) -> Self {
        let (port, folder) = (port_with_bus(), folder());
        let child = Self::spawn(port, &folder, more);
        let redis = Self { port, folder, more, child };
        redis.until_ready();
        redis
    }

    fn spawn(port: u16, folder: &PathBuf, more: &[&str]) -> Child {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(more).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("redis-server runs: `bash scripts/test.sh environment` installs it")
    }

    /// One command in one line; the first line of the answer.
    fn say(&self, line: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }

    fn until_ready(&self) {
        eventually("Redis answers", || self.say("PING").as_deref() == Some("+PONG"));
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    fn restart(&mut self) {
        self.child = Self::spawn(self.port, &self.folder, self.more);
        self.until_ready();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A node of a cluster listens 10,000 above its port too: that one must be free as well, and below the ephemeral range.
fn port_with_bus() -> u16 {
    loop {
        let port = free_port();
        if port < 22_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

fn policy(rules: &str) -> String {
    format!(
        "---\napiVersion: weir.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{ name: it }}\nspec:\n  \
         targetRefs: [{{ kind: Service, name: app.test }}]\n  rules:\n{rules}"
    )
}

/// A rule for one path, shared by the Redis at `url`.
fn rule(name: &str, limit: &str, url: &str, on_error: &str) -> String {
    format!(
        "  - name: {name}\n    match: [{{ path: {{ prefix: /{name} }} }}]\n    key: [{{ header: x-key }}]\n    \
         limit: {limit}\n    scope: service\n    store: {{ redis: {{ url: \"{url}\", timeout: 500ms, onError: {on_error} }} }}\n    \
         respond: {{ headers: {{ x-ratelimit: true }} }}\n"
    )
}

fn ask(weir: &Weir, path: &str, key: &str) -> common::Reply {
    let headers = format!("x-key: {key}\r\n");
    Client::open(weir.outbound).send("GET", "app.test", path, &headers).expect("an answer")
}

const RATE: f64 = 1000.0;
const BURST: f64 = 10.0;
const LENGTH: Duration = Duration::from_secs(10);
/// Clients of each process.
const CLIENTS: usize = 6;
/// Between two requests of one client: all of them offer 5,000 a second, on a machine that can.
const PACE: Duration = Duration::from_micros(4800);

/// These tests want the machine for themselves.
static ALONE: Mutex<()> = Mutex::new(());

/// Asks in its rhythm until the end: when it asked, when it was answered, and how many came through.
fn offer(address: std::net::SocketAddr, end: Instant) -> Offered {
    let mut client = Client::open(address);
    let mut offered = Offered::default();
    let mut next = Instant::now();
    while next < end {
        while Instant::now() < next {
            std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        offered.asked.push(Instant::now());
        let reply = client.send("GET", "app.test", "/all", "x-key: one\r\n").expect("an answer");
        offered.answered.push(Instant::now());
        offered.admitted += u64::from(reply.status == 200);
        next = (next + PACE).max(Instant::now() - PACE * 4);
    }
    offered
}

#[derive(Default)]
struct Offered {
    asked: Vec<Instant>,
    answered: Vec<Instant>,
    admitted: u64,
}

/// Asks Redis every millisecond until the end: how long it was away in all, beyond what the burst lasts. On a busy
/// machine a process may not run for a while, and the tokens of that time are nobody's.
fn away(port: u16, end: Instant) -> Duration {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    let mut reader = BufReader::new(stream);
    let (mut away, mut last, mut line) = (Duration::ZERO, Instant::now(), String::new());
    while last < end {
        std::thread::park_timeout(Duration::from_millis(1));
        reader.get_mut().write_all(b"PING\r\n").expect("sent");
        line.clear();
        reader.read_line(&mut line).expect("an answer");
        away += last.elapsed().saturating_sub(Duration::from_millis(8));
        last = Instant::now();
    }
    away
}

/// What a bucket without any fault admits of these.
fn ideal(mut times: Vec<Instant>) -> u64 {
    times.sort();
    let (mut tokens, mut admitted) = (BURST, 0);
    let mut last = times[0];
    for time in times {
        tokens = (tokens + (time - last).as_secs_f64() * RATE).min(BURST);
        last = time;
        if tokens >= 1.0 {
            tokens -= 1.0;
            admitted += 1;
        }
    }
    admitted
}

#[test]
fn four_processes_share_one_amount_within_two_percent() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (backend, redis) = (Backend::start(), Redis::start());
    let limit = "{ requests: 1000, per: 1s, burst: 10 }";
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let mesh = service_entry("app.test", backend.port) + &policy(&rule("all", limit, &url, "deny"));
    let weirs: Vec<Weir> = (0..4).map(|_| Weir::start(&mesh, &["--workers", "1"])).collect();
    for weir in &weirs {
        eventually("the store is asked", || ask(weir, "/all", "first").header("x-ratelimit-limit").is_some());
    }
    let (began, end) = (Instant::now(), Instant::now() + LENGTH);
    let port = redis.port;
    let metronome = std::thread::spawn(move || away(port, end));
    let clients = weirs.iter().flat_map(|weir| [weir.outbound; CLIENTS]);
    let clients: Vec<_> = clients.map(|address| std::thread::spawn(move || offer(address, end))).collect();
    let done: Vec<Offered> = clients.into_iter().map(|client| client.join().expect("a client")).collect();
    let (length, admitted) = (began.elapsed().as_secs_f64(), done.iter().map(|of| of.admitted).sum::<u64>());
    // On a machine that is too busy to offer enough without a break, no limiter admits what was not asked for in time.
    let asked: Vec<Instant> = done.iter().flat_map(|of| of.asked.iter().copied()).collect();
    let answered: Vec<Instant> = done.iter().flat_map(|of| of.answered.iter().copied()).collect();
    let offered = asked.len();
    let away = metronome.join().expect("the metronome").as_secs_f64();
    let (most, least) = ((RATE * length + BURST) * 1.02, ideal(asked).min(ideal(answered)) as f64 * 0.98 - RATE * away);
    let unknown: u64 =
        weirs.iter().map(|weir| weir.metric("istio_rate_limit_unknown_total{policy=\"default/it#all\"}")).sum();
    println!(
        "{admitted} of {offered} in {length:.2} s, at least {least:.0}, Redis {away:.3} s away, {unknown} unknown"
    );
    assert!((admitted as f64) <= most, "{admitted} in {length} s");
    assert!((admitted as f64) >= least, "{admitted} in {length} s, at least {least}, {unknown} unknown");
}

#[test]
fn what_happens_without_the_store_is_as_declared_and_it_is_found_again() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (backend, mut redis) = (Backend::start(), Redis::start());
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let limit = "{ requests: 3, per: 1h }";
    let rules = rule("allow", limit, &url, "allow") + &rule("deny", limit, &url, "deny");
    let weir = Weir::start(&(service_entry("app.test", backend.port) + &policy(&rules)), &["--workers", "1"]);
    let counted = |path: &str, key: &str| ask(&weir, path, key).header("x-ratelimit-limit").is_some();
    eventually("the store is asked", || counted("/deny", "warm"));
    let statuses = |path: &str, key: &str| (0..5).map(|_| ask(&weir, path, key).status).collect::<Vec<_>>();
    assert_eq!(statuses("/allow", "a"), [200, 200, 200, 429, 429]);
    assert_eq!(statuses("/deny", "a"), [200, 200, 200, 429, 429]);
    // Wrong: another kind of value has the key.
    assert_eq!(redis.say("RPUSH weir:rate:default/it#allow:B:0162 x").as_deref(), Some(":1"));
    assert_eq!(statuses("/allow", "b"), [200; 5]);
    // Gone, and back.
    redis.kill();
    eventually("the loss is seen", || !counted("/allow", "warm"));
    assert_eq!(statuses("/allow", "c"), [200; 5]);
    assert_eq!(statuses("/deny", "c"), [429; 5]);
    assert!(weir.metric("istio_rate_limit_unknown_total{policy=\"default/it#deny\"}") >= 5);
    redis.restart();
    let back = Instant::now();
    eventually("the store is asked again", || counted("/deny", "warm"));
    let took = back.elapsed();
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert_eq!(statuses("/deny", "d"), [200, 200, 200, 429, 429]);
    // Slow: stopped, it holds requests no longer than the rule has patience.
    signal(redis.child.id(), "STOP");
    let began = Instant::now();
    let reply = ask(&weir, "/allow", "e");
    let took = began.elapsed();
    signal(redis.child.id(), "CONT");
    assert_eq!(reply.status, 200);
    assert!(took >= Duration::from_millis(490) && took < Duration::from_secs(3), "{took:?}");
    eventually("the store is asked again", || counted("/deny", "warm"));
}

#[test]
fn windows_of_a_redisquota_count_over_processes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (backend, redis) = (Backend::start(), Redis::start());
    let quota = |name: &str, more: &str| {
        format!("---\napiVersion: config.istio.io/v1alpha2\nkind: {name}\nmetadata: {{ name: reads }}\nspec: {more}\n")
    };
    let amounts = |algorithm: &str| {
        quota("QuotaSpec", "{ rules: [{ quotas: [{ charge: 2, quota: reads }] }] }")
            + &quota("QuotaSpecBinding", "{ quotaSpecs: [{ name: reads }], services: [{ name: app.test }] }")
            + &quota(
                "handler",
                &format!(
                    "{{ compiledAdapter: redisquota, params: {{ redisServerUrl: \"127.0.0.1:{}\", quotas: [{{ name: \
                     reads, maxAmount: 10, validDuration: 2s, bucketDuration: 100ms, rateLimitAlgorithm: {algorithm} }}] }} }}",
                    redis.port
                ),
            )
    };
    for algorithm in ["FIXED_WINDOW", "ROLLING_WINDOW"] {
        let mesh = service_entry("app.test", backend.port) + &amounts(algorithm);
        let weirs = [Weir::start(&mesh, &["--workers", "1"]), Weir::start(&mesh, &["--workers", "1"])];
        // Redis's timeout is 5 ms here, and a busy machine may need more: what is unknown passes uncounted.
        let sums = |name: &str| {
            let name = format!("istio_rate_limit_{name}_total{{policy=\"default/reads#reads\"}}");
            weirs.iter().map(|weir| weir.metric(&name)).sum::<u64>()
        };
        eventually("both processes ask the store", || {
            weirs.iter().all(|weir| {
                ask(weir, "/", "a");
                weir.metric("istio_rate_limit_allowed_total{policy=\"default/reads#reads\"}") > 0
                    || weir.metric("istio_rate_limit_limited_total{policy=\"default/reads#reads\"}") > 0
            })
        });
        eventually("more than five of one window are refused", || {
            weirs.iter().for_each(|weir| drop(ask(weir, "/", "a")));
            sums("limited") > 0
        });
        let before = sums("allowed");
        eventually("a later window allows again", || {
            weirs.iter().for_each(|weir| drop(ask(weir, "/", "a")));
            sums("allowed") > before
        });
        assert!(redis.say("DBSIZE").is_some_and(|size| size != ":0"), "{algorithm} is in the store");
    }
}

const NODE: &[&str] =
    &["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000"];

fn cluster() -> Vec<Redis> {
    let nodes: Vec<Redis> = (0..3).map(|_| Redis::start_with(NODE)).collect();
    let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(addresses)
        .args(["--cluster-replicas", "0", "--cluster-yes"])
        .stdout(Stdio::null())
        .status();
    assert!(made.expect("redis-cli runs").success());
    for node in &nodes {
        eventually("the node knows the cluster", || node.say("CLUSTER COUNTKEYSINSLOT 0").is_some() && knows_all(node));
    }
    nodes
}

fn knows_all(node: &Redis) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", node.port)).expect("connected");
    stream.write_all(b"CLUSTER INFO\r\nQUIT\r\n").expect("sent");
    let lines: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
    lines.iter().any(|line| line.trim() == "cluster_state:ok")
        && lines.iter().any(|line| line.trim() == "cluster_slots_ok:16384")
}

#[test]
fn a_cluster_of_three_counts_each_key_and_a_node_may_come_and_go() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (backend, mut nodes) = (Backend::start(), cluster());
    let url = nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",");
    let mesh =
        service_entry("app.test", backend.port) + &policy(&rule("deny", "{ requests: 3, per: 1h }", &url, "deny"));
    let weirs = [Weir::start(&mesh, &["--workers", "1"]), Weir::start(&mesh, &["--workers", "1"])];
    let counted = |weir: &Weir, key: &str| ask(weir, "/deny", key).header("x-ratelimit-limit").is_some();
    for weir in &weirs {
        eventually("the cluster is asked", || counted(weir, "warm"));
    }
    let keys: Vec<String> = (0..24).map(|key| format!("key{key}")).collect();
    for key in &keys {
        let admitted = (0..3).flat_map(|_| &weirs).filter(|weir| ask(weir, "/deny", key).status == 200).count();
        assert_eq!(admitted, 3, "{key}");
    }
    let held: Vec<String> = nodes.iter().map(|node| node.say("DBSIZE").expect("an answer")).collect();
    assert!(held.iter().all(|size| size != ":0"), "every node has some of the keys: {held:?}");
    nodes[0].kill();
    let unknown = |weir: &Weir, key: &str| !counted(weir, &format!("new{key}"));
    let mut lost = None;
    eventually("some keys are unknown and others are not", || {
        let (gone, here): (Vec<&String>, Vec<&String>) = keys.iter().partition(|key| unknown(&weirs[0], key));
        lost = gone.first().map(|key| (*key).clone());
        !gone.is_empty() && !here.is_empty()
    });
    let lost = lost.expect("a key of the node that is gone");
    nodes[0].restart();
    eventually("the node is of the cluster again", || knows_all(&nodes[0]));
    let back = Instant::now();
    eventually("its keys are counted again", || weirs.iter().all(|weir| !unknown(weir, &lost)));
    let took = back.elapsed();
    println!("its keys counted {took:?} after the node was back");
    assert!(took <= Duration::from_secs(1), "{took:?}");
}
