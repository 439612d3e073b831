//! What the decisions of one request cost: `Call` from start to end, every policy on, under its lock as the proxy has it.
//!
//! ```text
//!   one thread     start, answered, ended, each under the lock          ≤ 1 µs
//!   two threads    the same cluster, a microsecond of other work between ≥ 1.7 ×
//!   instructions   of one call, by callgrind, against `benches/call.txt` grown by ≤ 5 %
//! ```
//! `cargo bench --bench call`; `-- --renew` writes the file anew. A request's own work is about 15 µs, so the second
//! line is stricter than what the proxy sees. Does not: carry bytes (`benches/request.rs` does).

#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a bench run by hand: a failure is a failure")]

use parking_lot::Mutex;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use weir_policy::call::{Call, Step};
use weir_policy::cluster::{Cluster, Draw};
use weir_policy::origin::Origins;
use weir_policy::outcome::Outcome;
use weir_policy::place::Place;
use weir_policy::plan::{Endpoint, Service, Upstream};
use weir_policy::retry::{self, Idempotency};
use weir_policy::rng::Rng;
use weir_policy::time::Time;
use weir_policy::{balance, budget, connection, inflight, outlier, timeout};

const CALLS: u64 = 1_000_000;
const INSTRUMENTED: u64 = 20_000;
/// Growth of instructions beyond this share fails.
const BOUND: f64 = 0.05;
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--child") {
        let calls = arguments[at + 1].parse().expect("a number");
        black_box(calls_of_one(&Mutex::new(Cluster::new(Arc::new(upstream()))), calls, 0, Duration::ZERO));
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--test") {
        black_box(calls_of_one(&Mutex::new(Cluster::new(Arc::new(upstream()))), 1000, 0, Duration::ZERO));
        return ExitCode::SUCCESS;
    }
    let alone = best(|| threads(1, Duration::ZERO));
    let nanos = alone.as_nanos() as f64 / CALLS as f64;
    println!("one thread       {nanos:>7.0} ns per call (bound 1000)");
    let beside = Duration::from_micros(1);
    let (one, two) = (best(|| threads(1, beside)), best(|| threads(2, beside)));
    let scale = 2.0 * one.as_secs_f64() / two.as_secs_f64();
    println!("two threads      {scale:>7.2} x one (bound 1.7), one cluster, 1 µs of other work per call");
    let tight = 2.0 * alone.as_secs_f64() / best(|| threads(2, Duration::ZERO)).as_secs_f64();
    println!("two threads      {tight:>7.2} x one, nothing but the calls (no bound)");
    let grown = instructions(arguments.iter().any(|argument| argument == "--renew"));
    if nanos <= 1000.0 && scale >= 1.7 && !grown { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn best(mut run: impl FnMut() -> Duration) -> Duration {
    (0..ROUNDS).map(|_| run()).min().expect("rounds")
}

/// So many threads, each with [`CALLS`] calls to one cluster: from their common start to the last one's end.
fn threads(count: usize, beside: Duration) -> Duration {
    let cluster = Mutex::new(Cluster::new(Arc::new(upstream())));
    let barrier = Barrier::new(count + 1);
    let began = std::thread::scope(|scope| {
        for seed in 0..count as u64 {
            let (cluster, barrier) = (&cluster, &barrier);
            scope.spawn(move || {
                barrier.wait();
                black_box(calls_of_one(cluster, CALLS, seed, beside));
            });
        }
        barrier.wait();
        Instant::now()
    });
    began.elapsed()
}

/// One worker's calls, one after the other: one in a hundred fails and is retried.
fn calls_of_one(cluster: &Mutex<Cluster>, calls: u64, seed: u64, beside: Duration) -> u64 {
    let retry = Arc::new(retry::Rules { on: retry::Conditions::FIVE_XX, ..retry::Rules::default() });
    let limits = timeout::Rules { whole: Some(Duration::from_secs(5)), per_try: Some(Duration::from_secs(1)) };
    let (mut rng, mut cursor, mut attempts) = (Rng::new(seed), seed, 0);
    for number in 0..calls {
        let mut now = Time::from_nanos(number * 20_000);
        let mut call = Call::new(Some(Arc::clone(&retry)), limits, Idempotency::Safe, Some(now)).hashed(Some(number));
        let mut with = |act: &mut dyn FnMut(&mut Cluster, &mut Draw<'_>) -> Step| {
            let mut draw = Draw { rng: &mut rng, cursor: &mut cursor };
            act(&mut cluster.lock(), &mut draw)
        };
        let mut step = with(&mut |cluster, draw| call.start(cluster, draw, now));
        loop {
            step = match step {
                Step::Try(attempt) => {
                    attempts += u64::from(attempt.number);
                    work(beside);
                    let status = if number % 100 == 0 && attempt.number == 1 { 503 } else { 200 };
                    let outcome = Outcome::response(status, now);
                    with(&mut |cluster, draw| call.answered(cluster, draw, &outcome, now))
                }
                Step::Wait(until) => {
                    now = until;
                    with(&mut |cluster, draw| call.woke(cluster, draw, now))
                }
                Step::Answer | Step::Refuse(_) => break,
            };
        }
        call.ended(&mut cluster.lock(), now);
    }
    attempts
}

/// What a worker does outside of the lock.
fn work(length: Duration) {
    if length.is_zero() {
        return;
    }
    let began = Instant::now();
    while began.elapsed() < length {
        std::hint::spin_loop();
    }
}

/// Ten endpoints on a ring, with every rule that a request can meet.
fn upstream() -> Upstream {
    let endpoint = |last| Endpoint {
        address: SocketAddr::from(([10, 0, 0, last], 80)),
        weight: 1,
        workload: "".into(),
        place: Place::default(),
    };
    let hash = balance::Hash { key: balance::key::Key::Source, shape: balance::Shape::Ring(1024) };
    Upstream {
        id: "default/app|80|".into(),
        name: "outbound|80||app".into(),
        service: Service {
            host: "app".into(),
            name: "app".into(),
            namespace: "default".into(),
            port: 80,
            subset: "".into(),
        },
        discovery: weir_policy::discovery::Discovery::default(),
        endpoints: (1..=10).map(endpoint).collect(),
        origins: Origins::default(),
        balance: balance::Rules::Hash(hash),
        inflight: inflight::Rules { connections: 1000, pending: 1000, requests: 1000, retries: 100 },
        budget: budget::Rules::Default,
        connection: connection::Rules::default(),
        outlier: Some(outlier::Rules { gateway: Some(3), ..outlier::Rules::default() }),
        place: Place::default(),
    }
}

/// Instructions per call; has it grown?
fn instructions(renew: bool) -> bool {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/call.txt");
    let (few, many) = (count(INSTRUMENTED), count(3 * INSTRUMENTED));
    let now = (many - few) / (2 * INSTRUMENTED);
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let known = before.lines().find_map(|line| line.strip_prefix("call")?.trim().parse::<u64>().ok());
    let change = known.map_or(0.0, |known| now as f64 / known as f64 - 1.0);
    println!("instructions     {now:>7} per call, {:+.1} % against {}", change * 100.0, known.unwrap_or(0));
    if renew {
        let text = format!("# instructions of one call, from start to end (user code, callgrind)\ncall {now}\n");
        std::fs::write(&file, text).expect("written");
    }
    !renew && change > BOUND
}

fn count(calls: u64) -> u64 {
    let out = std::env::temp_dir().join(format!("weir-call-{}-{calls}", std::process::id()));
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("this program"))
        .args(["--child", &calls.to_string()])
        .stdout(Stdio::null())
        .status()
        .expect("valgrind is installed");
    assert!(ran.success(), "the child ran");
    let text = std::fs::read_to_string(&out).expect("its output");
    std::fs::remove_file(&out).expect("removed");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.expect("a total")
}
