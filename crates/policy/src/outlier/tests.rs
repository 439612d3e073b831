//! Scripts of the detector, in virtual time.

use super::*;
use crate::outcome::{Body, ConnectFailure, Interim, Reached, Response};
use crate::rng::Rng;
use proptest::prelude::{any, prop_assert_eq, proptest};

struct Fleet(Vec<Health>, Vec<Change>);

impl Healths for Fleet {
    fn hosts(&self) -> u32 {
        self.0.len() as u32
    }

    fn of(&mut self, slot: u32) -> &mut Health {
        &mut self.0[slot as usize]
    }

    fn changed(&mut self, _: u32, change: Change) {
        self.1.push(change);
    }
}

struct Script {
    rules: Rules,
    outlier: Outlier,
    fleet: Fleet,
    rng: Rng,
    now: Time,
}

fn outcome(result: Result, connected: Connected) -> Outcome {
    let (reached, body, interim) = (Reached::Whole, Body::Kept, Interim::None);
    Outcome { result, reached, received: None, body, interim, connected }
}

impl Script {
    fn new(hosts: usize, rules: Rules) -> Self {
        let mut outlier = Outlier::default();
        outlier.begin(&rules, Time::ZERO);
        let fleet = Fleet(vec![Health::default(); hosts], Vec::new());
        Self { rules, outlier, fleet, rng: Rng::new(1), now: Time::ZERO }
    }

    fn sees(&mut self, slot: u32, outcome: &Outcome) -> bool {
        let seen = Seen::of(&self.rules, outcome, 504);
        self.outlier.record(&self.rules, &mut self.fleet, slot, seen, &mut self.rng, self.now);
        self.is_out(slot)
    }

    fn status(&mut self, slot: u32, status: u16) -> bool {
        self.sees(slot, &outcome(Result::Response(Response::plain(status)), Connected::Yes))
    }

    /// After which of the outcomes the endpoint was out, from 1.
    fn statuses(&mut self, slot: u32, statuses: &[u16]) -> Option<usize> {
        statuses.iter().position(|status| self.status(slot, *status)).map(|at| at + 1)
    }

    fn at(&mut self, millis: u64) -> &mut Self {
        self.now = Time::from_millis(millis);
        self.outlier.tick(&self.rules, &mut self.fleet, self.now);
        self
    }

    fn is_out(&self, slot: u32) -> bool {
        self.fleet.0[slot as usize].is_ejected()
    }
}

fn all() -> Rules {
    Rules { max_percent: 100, interval: Duration::from_secs(1), base: Duration::from_secs(3), ..Rules::default() }
}

#[test]
fn five_errors_eject_one_of_ten_and_none_of_nine_at_ten_percent() {
    let defaults = Rules { max_percent: 10, ..Rules::default() };
    let mut ten = Script::new(10, defaults.clone());
    assert_eq!(ten.statuses(0, &[500, 502, 503, 504, 500]), Some(5));
    assert_eq!(ten.statuses(1, &[500; 5]), None, "a second would be 20 %");
    assert_eq!((ten.outlier.active(), ten.outlier.overflows), (1, [1, 0, 0]));
    let mut nine = Script::new(9, defaults);
    assert_eq!(nine.statuses(0, &[500; 25]), None);
    assert_eq!((nine.outlier.active(), nine.outlier.overflows), (0, [5, 0, 0]), "each five are detected anew");
}

#[test]
fn the_percentage_holds_for_four_five_and_ten_endpoints() {
    for (hosts, percent, ejected) in [
        (4, 25, 1),
        (4, 24, 0),
        (4, 50, 2),
        (5, 20, 1),
        (5, 39, 1),
        (5, 40, 2),
        (10, 34, 3),
        (10, 100, 10),
        (3, 34, 1),
        (3, 33, 0),
    ] {
        let mut script = Script::new(hosts, Rules { max_percent: percent, ..all() });
        for slot in 0..hosts as u32 {
            script.statuses(slot, &[500; 5]);
        }
        assert_eq!(script.outlier.active(), ejected, "{percent} % of {hosts}");
    }
}

#[test]
fn a_success_starts_the_count_again() {
    let mut script = Script::new(1, Rules { errors: Some(3), ..all() });
    assert_eq!(script.statuses(0, &[500, 500, 200, 500, 500, 404, 500, 500, 500]), Some(9));
}

#[test]
fn gateway_errors_have_their_own_row_and_a_500_breaks_it() {
    let rules = Rules { errors: None, gateway: Some(2), ..all() };
    assert_eq!(Script::new(1, rules).statuses(0, &[503, 500, 502, 500, 504, 503]), Some(6));
    let both = Rules { errors: Some(3), gateway: Some(2), ..all() };
    let mut script = Script::new(1, both);
    assert_eq!(script.statuses(0, &[500, 502, 500, 500]), Some(3), "a gateway error is a 5xx too");
    let zero = Rules { errors: None, gateway: None, ..all() };
    assert_eq!(Script::new(1, zero).statuses(0, &[503; 50]), None, "0 is off");
}

#[test]
fn a_list_of_codes_stands_in_place_of_5xx() {
    let rules = Rules { errors: Some(2), codes: vec![429, 503], ..all() };
    let mut script = Script::new(1, rules.clone());
    assert_eq!(script.statuses(0, &[429, 500, 429, 503]), Some(4), "a 500 counts as a success");
    let gateway = Rules { errors: None, gateway: Some(2), ..rules };
    assert_eq!(Script::new(1, gateway).statuses(0, &[503, 429, 503, 503]), Some(4), "a listed 429 counts as a 500");
}

#[test]
fn failures_of_local_origin_count_as_503_and_504_unless_they_are_split() {
    let refused = outcome(Result::ConnectFailed(ConnectFailure::Refused), Connected::No);
    let late = outcome(Result::PerTryTimeout, Connected::Yes);
    let closed = outcome(Result::Closed, Connected::Yes);
    let mut shared = Script::new(1, Rules { gateway: Some(3), errors: None, ..all() });
    assert!(!shared.sees(0, &refused) && !shared.sees(0, &late) && shared.sees(0, &closed));

    let split = Rules { origin: Origin::Split(Some(2)), errors: Some(2), ..all() };
    let mut script = Script::new(1, split.clone());
    assert!(!script.sees(0, &refused) && !script.status(0, 500), "each its own counter");
    assert!(!script.sees(0, &refused), "the connection of the 500 set it back");
    assert!(script.sees(0, &refused));
    let mut resets = Script::new(1, split);
    assert!((0..9).all(|_| !resets.sees(0, &closed)), "each of them had a connection");
}

#[test]
fn our_own_refusals_and_time_outs_before_a_connection_count_as_nothing() {
    let mut script = Script::new(1, Rules { errors: Some(1), ..all() });
    for result in [Result::Overflow, Result::Idle, Result::Abandoned, Result::Upload] {
        assert!(!script.sees(0, &outcome(result, Connected::Yes)), "{result:?}");
    }
    assert!(!script.sees(0, &outcome(Result::WholeTimeout, Connected::No)));
    assert!(script.sees(0, &outcome(Result::WholeTimeout, Connected::Yes)));
}

#[test]
fn it_returns_at_the_first_sweep_after_its_time_with_its_counters_at_zero() {
    let mut script = Script::new(1, Rules { errors: Some(2), ..all() });
    script.at(1500).statuses(0, &[500; 2]);
    assert!(script.at(4499).is_out(0), "3 s are over at 4.5 s");
    assert!(script.at(4999).is_out(0), "no sweep since");
    assert!(!script.at(5000).is_out(0));
    assert!(!script.status(0, 500), "one error is not two");
    assert_eq!(script.fleet.1, [Change::Ejected, Change::Returned]);
}

#[test]
fn ejections_grow_to_the_longest_and_wear_off() {
    let mut script = Script::new(1, Rules { errors: Some(1), longest: Duration::from_secs(6), ..all() });
    let mut lengths = Vec::new();
    for _ in 0..4 {
        script.status(0, 500);
        let began = script.now;
        let until = script.fleet.0[0].until().expect("out");
        lengths.push(until.since(began).as_secs());
        let millis = until.nanos() / 1_000_000;
        script.at(millis);
    }
    assert_eq!(lengths, [3, 6, 6, 6]);
    // Each sweep in health takes one off: after enough of them it is the first again.
    let millis = script.now.nanos() / 1_000_000 + 20_000;
    script.at(millis).status(0, 500);
    assert_eq!(script.fleet.0[0].until().expect("out").since(script.now), Duration::from_secs(3));
}

#[test]
fn a_day_without_a_call_is_made_up_in_one_look() {
    let mut script = Script::new(3, Rules { errors: Some(1), interval: Duration::from_millis(1), ..all() });
    script.status(0, 500);
    script.status(2, 500);
    assert!(script.outlier.due().is_some());
    assert_eq!(script.at(86_400_000).outlier.active(), 0);
    assert_eq!(script.outlier.due(), None);
}

#[test]
fn when_the_rules_go_everyone_returns_and_a_forgotten_slot_is_new() {
    let mut script = Script::new(2, Rules { errors: Some(1), ..all() });
    script.status(0, 500);
    script.outlier.stop(&mut script.fleet);
    assert!(!script.is_out(0) && script.outlier.active() == 0);
    script.outlier.begin(&script.rules, script.now);
    script.status(1, 500);
    let mut health = script.fleet.0[1];
    script.outlier.forget(1, &mut health);
    assert_eq!((health, script.outlier.active(), script.outlier.due()), (Health::default(), 0, None));
}

#[test]
fn panic_is_envoys() {
    let rules = |min_health_percent| Rules { min_health_percent, ..Rules::default() };
    assert!(!is_panic(&rules(0), 0, 10), "off");
    assert!(is_panic(&rules(50), 4, 10) && !is_panic(&rules(50), 5, 10));
    assert!(!is_panic(&rules(100), 8, 10), "eight of ten carry the whole load by over-provisioning");
    assert!(is_panic(&rules(100), 7, 10));
    assert!(is_panic(&rules(1), 0, 10) && !is_panic(&rules(1), 0, 0));
}

proptest! {
    /// One late look and a look at every sweep come to the same.
    #[test]
    fn late_sweeps_are_the_same_as_punctual_ones(
        events in proptest::collection::vec((0u32..4, 1u64..3000, any::<bool>()), 1..60),
        interval in 100u64..1500,
        base in 100u64..2500,
    ) {
        let interval = Duration::from_millis(interval);
        let rules = Rules { errors: Some(1), interval, base: Duration::from_millis(base), longest: Duration::from_secs(5), ..all() };
        let (mut late, mut punctual) = (Script::new(4, rules.clone()), Script::new(4, rules));
        let mut now = 0;
        for (slot, pause, bad) in events {
            for millis in now..now + pause {
                punctual.at(millis);
            }
            now += pause;
            punctual.at(now);
            late.at(now);
            let status = if bad { 500 } else { 200 };
            prop_assert_eq!(late.status(slot, status), punctual.status(slot, status));
            prop_assert_eq!(&late.fleet.0, &punctual.fleet.0);
            prop_assert_eq!(late.outlier.active(), punctual.outlier.active());
        }
    }
}
