//! What a local limit costs a request: its key, its table's lock, its cell; among 100,000 keys.
//!
//! ```text
//!   cargo bench -p weir-policy --bench rate        one check ≤ 100 ns
//! ```
//! Does not: carry requests (the root's `benches/request.rs` does).

#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a bench run by hand: a failure is a failure")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use weir_policy::rate::{Amount, Cell, Keyed, Part, Rules, Sip, Verdict};
use weir_policy::route::{Facts, Headers};
use weir_policy::time::Time;

const KEYS: u64 = 100_000;
const CHECKS: u64 = 2_000_000;
const ROUNDS: usize = 5;
const BOUND: f64 = 100.0;
const TABLES: usize = 256;

struct Tenant([u8; 12]);

impl Headers for Tenant {
    fn each(&self, _: &str, see: &mut dyn FnMut(&[u8])) {
        see(&self.0);
    }
}

/// `tenant` and the number's digits.
fn tenant(number: u64) -> Tenant {
    let mut name = *b"tenant000000";
    let mut rest = number;
    for digit in name.iter_mut().rev().take(6) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Tenant(name)
}

fn main() -> ExitCode {
    let checks = if std::env::args().any(|argument| argument == "--test") { 1_000 } else { CHECKS };
    let amount = Amount::bucket(10, Duration::from_secs(1), 20);
    let mut rules = Rules::new("default/policy#rule".into(), amount);
    rules.key = vec![Part::Header("x-tenant".into())];
    let secret = Sip::new(1, 2);
    let tables: Vec<Mutex<Keyed<Cell>>> = (0..TABLES).map(|_| Mutex::new(Keyed::new(1_000_000 / TABLES))).collect();
    let run = || {
        let (began, mut allowed) = (Instant::now(), 0);
        for number in 0..checks {
            let headers = tenant(number.wrapping_mul(7_919) % KEYS);
            let facts = Facts {
                authority: b"app",
                method: b"GET",
                scheme: b"http",
                path: b"/api/users",
                query: None,
                port: 80,
                headers: &headers,
            };
            let now = Time::from_nanos(number * 1_000);
            let wish = rules.wish(&facts, IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("a rule for all requests");
            let tag = wish.tag(&rules, secret);
            let mut table = tables[(tag >> 56) as usize % TABLES].lock().expect("no panic");
            allowed += u64::from(wish.take(table.of(tag, now), now).verdict == Verdict::Allowed);
        }
        black_box(allowed);
        began.elapsed()
    };
    let best = (0..ROUNDS).map(|_| run()).min().expect("rounds");
    let nanos = best.as_nanos() as f64 / checks as f64;
    println!("one check {nanos:>7.1} ns, its request made up included (bound {BOUND})");
    if checks == CHECKS && nanos > BOUND { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
