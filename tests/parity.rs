//! One script of outcomes through the simulator, and through `drive` on tokio's paused clock: the same steps, byte for
//! byte. And it can fail: with two steps swapped on either side they differ.
//!
//! A microsecond of the script is a millisecond of tokio's, whose timers know nothing smaller.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failure to read is a failure")]

#[path = "parity/paused.rs"]
mod paused;
#[path = "parity/random.rs"]
mod random;

use std::fs;
use std::path::{Path, PathBuf};
use weir_sim::event::Event;
use weir_sim::script::Script;
use weir_sim::trace::Line;

fn scripts() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/script");
    let folders = fs::read_dir(root).expect("testdata/script").flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten());
    let mut all: Vec<PathBuf> = files.map(|file| file.path()).collect();
    all.sort();
    all
}

fn read(text: &str) -> Script {
    Script::read(text).unwrap_or_else(|problem| panic!("line {}: {}\n{text}", problem.line, problem.words))
}

/// Where the two sides differ first.
fn difference(script: &Script, simulated: &[Line], driven: &[Line]) -> Option<String> {
    let (left, right) = (script.with_steps(simulated), script.with_steps(driven));
    if left == right && simulated == driven {
        return None;
    }
    let at = left.lines().zip(right.lines()).position(|(left, right)| left != right);
    let show = |text: &str| at.and_then(|at| text.lines().nth(at)).unwrap_or("(the end)").to_owned();
    Some(format!("simulated {}\ndriven    {}\n\n{left}", show(&left), show(&right)))
}

#[test]
fn every_golden_script_has_the_same_steps_simulated_and_driven() {
    for path in scripts() {
        let script = read(&fs::read_to_string(&path).expect("readable"));
        let difference = difference(&script, &script.run(), &paused::run(&script, paused::Order::Straight));
        assert!(difference.is_none(), "{}\n{}", path.display(), difference.unwrap_or_default());
    }
}

#[test]
fn random_scripts_have_the_same_steps_simulated_and_driven() {
    let count = std::env::var("SIM_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(128u64);
    let one = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let mut steps = 0;
    for seed in one.map_or(0..count, |seed| seed..seed + 1) {
        let script = read(&random::script(seed));
        let simulated = script.run();
        steps += simulated.len();
        let difference = difference(&script, &simulated, &paused::run(&script, paused::Order::Straight));
        assert!(difference.is_none(), "seed {seed}, again with SIM_SEED={seed}\n{}", difference.unwrap_or_default());
    }
    assert!(one.is_some() || steps as u64 > count * 20, "scripts in which little happens show little: {steps} steps");
}

/// The simulator with the first reply acted upon only after the event that follows it.
fn swapped(script: &Script) -> Vec<Line> {
    let mut world = script.world();
    let (mut held, mut done) = (None, false);
    while let Some(due) = world.upcoming() {
        if !done && held.is_none() && matches!(due.event, Event::Reply(..)) {
            held = Some(due);
            continue;
        }
        world.act(due);
        if let Some(late) = held.take() {
            world.act(late);
            done = true;
        }
    }
    world.lines()
}

#[test]
fn two_steps_swapped_on_either_side_alone_are_seen() {
    let text = "endpoints: 2\nretry: on 5xx, attempts 2\ninflight: requests 2\n\n\
                0ms 503@10ms 200@10ms\n1ms 503@11ms 200@1ms\n12ms look\n";
    let script = read(text);
    let (simulated, driven) = (script.run(), paused::run(&script, paused::Order::Straight));
    assert_eq!(difference(&script, &simulated, &driven), None);
    assert!(difference(&script, &swapped(&script), &driven).is_some(), "swapped in the simulator");
    let swapped = paused::run(&script, paused::Order::WokeBeforeTheWait);
    assert!(difference(&script, &simulated, &swapped).is_some(), "swapped in the driver");
}
