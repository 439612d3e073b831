//! Random meshes under random load, failures, reloads and impatient clients; what must always hold is looked at after
//! every event. 256 seeds by default; `SIM_SEEDS=10000` runs more, `SIM_SEED=7` runs one and shows its steps.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failure is a failure")]

#[path = "sweep/invariants.rs"]
mod invariants;
#[path = "sweep/mesh.rs"]
mod mesh;

use invariants::Invariants;
use mesh::Mesh;
use weir_sim::report::Report;
use weir_sim::trace::{Line, Naming};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Says which seed it was, also when a policy's own assertion fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}; again, with its steps: SIM_SEED={0} cargo test -p weir-sim --test sweep", self.0);
        }
    }
}

/// How a seed came out.
struct Outcome {
    report: Report,
    lines: Vec<Line>,
}

fn run(seed: u64) -> Outcome {
    let _seed = Seed(seed);
    let mesh = Mesh::draw(seed);
    let mut world = mesh.world();
    let mut invariants = Invariants::new(&mesh);
    let mut all = Vec::new();
    while let Some(due) = world.upcoming() {
        let at = due.at;
        world.act(due);
        let lines = world.lines();
        let held = invariants.after_event(world.cluster(0), &lines, at);
        all.extend(lines);
        if let Err(words) = held {
            let last: Vec<_> = all.iter().rev().take(12).rev().map(|line| line.text(Naming::Number)).collect();
            panic!("{words}\n{}", last.join("\n"));
        }
    }
    let under_way = world.under_way();
    world.drain();
    if let Err(words) = invariants.at_the_end(world.cluster(0), &world.report, under_way) {
        panic!("at the end: {words}");
    }
    Outcome { report: world.report, lines: all }
}

#[test]
fn what_must_hold_holds_for_every_seed() {
    if let Some(seed) = number("SIM_SEED") {
        for line in run(seed).lines {
            println!("{}", line.text(Naming::Number));
        }
        return;
    }
    let count = number("SIM_SEEDS").unwrap_or(256);
    let mut sum = Report::default();
    let (mut ejected, mut retried) = (0, 0);
    for seed in 0..count {
        let outcome = run(seed);
        sum.started += outcome.report.started;
        sum.tries += outcome.report.tries;
        ejected += outcome.lines.iter().filter(|line| line.what.to_string().starts_with("ejected")).count();
        retried += outcome.lines.iter().filter(|line| line.what.to_string().starts_with("wait")).count();
        sum.copies += outcome.report.copies;
        for (status, count) in outcome.report.filtered {
            *sum.filtered.entry(status).or_default() += count;
        }
        for (word, count) in outcome.report.refused {
            *sum.refused.entry(word).or_default() += count;
        }
    }
    println!(
        "{count} seeds: {} requests, {} tries, {retried} retries, {ejected} ejections; {:?}",
        sum.started, sum.tries, sum.refused
    );
    // A sweep in which nothing happens would hold as well.
    assert!(sum.started > 100 * count && retried as u64 > count && ejected as u64 > count / 4);
    assert!(sum.copies > 1000 && sum.filtered[&429] > 1000 && sum.filtered[&418] > 100, "{:?}", sum.filtered);
    for word in ["overflow", "client_gone", "timeout", "per_try_timeout", "no_healthy_endpoint", "connect_failed"] {
        assert!(sum.refused.get(word).is_some_and(|times| *times > 10), "never {word}");
    }
}

#[test]
fn the_same_seed_gives_the_same_steps() {
    for seed in [1, 2, 3, 1_000_000_007] {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.report, second.report);
        assert_eq!(first.lines, second.lines);
    }
}
