//! Shares, turns, stickiness, and what moves when an endpoint leaves.

use super::*;
use crate::place::Place;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

struct Fixed {
    weights: Vec<u32>,
    active: Vec<u32>,
    down: Vec<usize>,
}

impl Fixed {
    fn even(count: usize) -> Self {
        Self { weights: vec![1; count], active: vec![0; count], down: Vec::new() }
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |(index, weight): (usize, &u32)| Endpoint {
            address: SocketAddr::from(([10, 0, 0, 1], 8000 + index as u16)),
            weight: *weight,
            workload: "".into(),
            place: Place::default(),
        };
        self.weights.iter().enumerate().map(endpoint).collect()
    }

    fn table(&self, rules: &Rules) -> Table {
        Table::build(rules, &self.endpoints())
    }
}

impl Pool for Fixed {
    fn len(&self) -> usize {
        self.weights.len()
    }

    fn active(&self, index: usize) -> u32 {
        self.active[index]
    }

    fn usable(&self, index: usize) -> Usable {
        if self.down.contains(&index) { Usable::No } else { Usable::Yes }
    }

    fn usable_count(&self) -> usize {
        (0..self.len()).filter(|index| !self.down.contains(index)).count()
    }

    fn nth_usable(&self, rank: usize) -> usize {
        (0..self.len()).filter(|index| !self.down.contains(index)).nth(rank).expect("a rank")
    }
}

fn ring(minimum: u64) -> Rules {
    Rules::Hash(Hash { key: Key::Nothing, shape: Shape::Ring(minimum) })
}

fn maglev() -> Rules {
    Rules::Hash(Hash { key: Key::Nothing, shape: Shape::Maglev(maglev::SIZE) })
}

fn many(rules: &Rules, pool: &Fixed, count: usize) -> Vec<usize> {
    let (table, mut rng, mut cursor) = (pool.table(rules), crate::rng::Rng::new(1), 0);
    (0..count).map(|_| pick(&table, pool, &Ask::default(), &mut rng, &mut cursor).expect("usable")).collect()
}

/// Where each of `count` keys goes.
fn places(table: &Table, pool: &Fixed, count: u64) -> Vec<usize> {
    let (mut rng, mut cursor) = (crate::rng::Rng::new(1), 0);
    let hash = |key: u64| Some(xx::hash(&key.to_le_bytes(), 0));
    (0..count)
        .map(|key| {
            pick(table, pool, &Ask { hash: hash(key), ..Ask::default() }, &mut rng, &mut cursor).expect("usable")
        })
        .collect()
}

fn shares(chosen: &[usize]) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    chosen.iter().for_each(|index| *counts.entry(*index).or_default() += 1);
    counts
}

#[test]
fn round_robin_goes_in_turn_and_skips_the_unusable() {
    let mut pool = Fixed::even(3);
    assert_eq!(many(&Rules::RoundRobin, &pool, 7), [0, 1, 2, 0, 1, 2, 0]);
    pool.down = vec![1];
    assert_eq!(many(&Rules::RoundRobin, &pool, 4), [0, 2, 0, 2]);
}

#[test]
fn round_robin_by_weight_is_exact_and_spread_out() {
    let pool = Fixed { weights: vec![10, 30, 20], active: vec![0; 3], down: Vec::new() };
    let turns = many(&Rules::RoundRobin, &pool, 60);
    assert_eq!(shares(&turns), BTreeMap::from([(0, 10), (1, 30), (2, 20)]));
    assert!(turns.windows(3).all(|three| three != [1, 1, 1]), "{turns:?}");
}

#[test]
fn a_turn_has_as_many_places_for_each_as_its_weight_says() {
    let pool = Fixed { weights: vec![3, 1, 2], active: vec![0; 3], down: Vec::new() };
    assert_eq!(many(&Rules::RoundRobin, &pool, 12), [0, 2, 0, 1, 2, 0, 0, 2, 0, 1, 2, 0]);
}

#[test]
fn least_request_avoids_the_busy_one() {
    let mut pool = Fixed::even(2);
    pool.active = vec![100, 0];
    let idle = many(&Rules::LeastRequest, &pool, 1000).into_iter().filter(|index| *index == 1).count();
    assert!((700..800).contains(&idle), "three quarters, as both draws must hit the busy one: {idle}");
}

#[test]
fn weights_share_random_draws() {
    let pool = Fixed { weights: vec![1, 3], active: vec![0, 0], down: Vec::new() };
    let second = many(&Rules::Random, &pool, 10_000).into_iter().filter(|index| *index == 1).count();
    assert!((7_300..7_700).contains(&second), "{second}");
}

#[test]
fn a_host_tried_before_is_avoided_while_picks_last() {
    let (pool, mut rng, mut cursor) = (Fixed::even(3), crate::rng::Rng::new(3), 0);
    let ask = Ask { avoid: &[0, 1], picks: 5, hash: Some(7) };
    assert_eq!(pick(&pool.table(&Rules::RoundRobin), &pool, &ask, &mut rng, &mut cursor), Some(2));
    let one = Fixed::even(1);
    let again = Ask { avoid: &[0], picks: 5, hash: None };
    assert_eq!(pick(&one.table(&Rules::RoundRobin), &one, &again, &mut rng, &mut cursor), Some(0), "or taken again");
    for rules in [ring(1024), maglev()] {
        let table = pool.table(&rules);
        let first = pick(&table, &pool, &Ask { hash: Some(7), ..Ask::default() }, &mut rng, &mut cursor).expect("one");
        let avoid = [first as u32];
        let ask = Ask { avoid: &avoid, picks: 20, hash: Some(7) };
        let second = pick(&table, &pool, &ask, &mut rng, &mut cursor).expect("another");
        assert_ne!(first, second);
        assert_eq!(pick(&table, &pool, &ask, &mut rng, &mut cursor), Some(second), "a retry is sticky too");
    }
}

#[test]
fn a_ring_has_envoys_number_of_points() {
    let points = |weights: Vec<u32>, minimum| {
        let pool = Fixed { active: vec![0; weights.len()], weights, down: Vec::new() };
        match pool.table(&ring(minimum)) {
            Table::Ring(ring) => ring.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(points(vec![1; 3], 1024), 1026, "342 each");
    assert_eq!(points(vec![1; 4], 2), 4, "never fewer than endpoints");
    assert_eq!(points(vec![1, 3], 10), 12, "three for the lighter one");
}

#[test]
fn keys_are_shared_in_proportion_and_a_key_stays() {
    for (rules, tolerance) in [(ring(8192), 0.10), (maglev(), 0.02)] {
        let pool = Fixed { weights: vec![1, 1, 2], active: vec![0; 3], down: Vec::new() };
        let table = pool.table(&rules);
        let chosen = places(&table, &pool, 40_000);
        for (index, count) in shares(&chosen) {
            let wanted = 10_000.0 * f64::from(pool.weights[index]);
            assert!((count as f64 - wanted).abs() < tolerance * wanted, "{rules:?}: {index} has {count} of {wanted}");
        }
        assert_eq!(chosen, places(&table, &pool, 40_000));
    }
}

#[test]
fn when_one_is_out_or_leaves_only_its_own_keys_move() {
    for rules in [ring(4096), maglev()] {
        let mut pool = Fixed::even(10);
        let table = pool.table(&rules);
        let before = places(&table, &pool, 10_000);
        pool.down = vec![3];
        let ejected = places(&table, &pool, 10_000);
        assert!(before.iter().zip(&ejected).all(|(old, new)| old == new || *old == 3), "{rules:?}: ejected");
        let heirs: BTreeSet<usize> =
            before.iter().zip(&ejected).filter(|(old, _)| **old == 3).map(|(_, new)| *new).collect();
        assert_eq!(heirs.len(), 9, "{rules:?}: its keys are shared by all others");
        // The last of ten leaves the plan: the others keep their numbers.
        let nine = Fixed::even(9);
        let after = places(&nine.table(&rules), &nine, 10_000);
        let moved = before.iter().zip(&after).filter(|(old, new)| **old != 9 && old != new).count();
        // A ring of nine has a few more points of each, as Envoy's has.
        assert!(moved < 1_200, "{rules:?}: {moved} of 10,000 moved for no reason");
    }
}

#[test]
fn with_nearly_all_out_a_key_still_stays() {
    for rules in [ring(1024), maglev()] {
        let mut pool = Fixed::even(300);
        pool.down = (0..298).collect();
        let table = pool.table(&rules);
        let chosen = places(&table, &pool, 40);
        assert_eq!(chosen, places(&table, &pool, 40));
        assert_eq!(shares(&chosen).len(), 2);
    }
}

proptest! {
    #[test]
    fn weighted_turns_are_exact(weights in proptest::collection::vec(1u32..200, 1..8)) {
        let total: u32 = weights.iter().sum();
        let pool = Fixed { active: vec![0; weights.len()], weights, down: Vec::new() };
        let counts = shares(&many(&Rules::RoundRobin, &pool, total as usize));
        let wanted: BTreeMap<usize, usize> = pool.weights.iter().map(|weight| *weight as usize).enumerate().collect();
        prop_assert_eq!(counts, wanted);
    }

    #[test]
    fn never_an_unusable_one(count in 1usize..8, down in proptest::collection::vec(0usize..8, 0..8), seed: u64, weights in proptest::collection::vec(1u32..5, 8)) {
        let pool = Fixed { weights: weights[..count].to_vec(), active: vec![0; count], down };
        let any = (0..count).any(|index| pool.usable(index) == Usable::Yes);
        let (mut rng, mut cursor) = (crate::rng::Rng::new(seed), seed % 100);
        let small = Rules::Hash(Hash { key: Key::Nothing, shape: Shape::Maglev(13) });
        for rules in [Rules::RoundRobin, Rules::Random, Rules::LeastRequest, ring(16), small] {
            match pick(&pool.table(&rules), &pool, &Ask::default(), &mut rng, &mut cursor) {
                Some(index) => prop_assert!(pool.usable(index) == Usable::Yes),
                None => prop_assert!(!any),
            }
        }
    }
}
