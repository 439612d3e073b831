//! Which endpoint: round robin, least request, random.
//!
//! ```text
//!   pick ─► among the usable ─► tried before? ──yes, and picks left──► pick again
//!                                   │ no, or none left
//!                                   └──► it
//! ```
//! A retry avoids hosts tried before as Envoy's `previous_hosts` does: the balancer picks anew, up to `picks` times,
//! and then takes what it gets. Does not: keep state; cursor and generator are the caller's.

use crate::rng::Rng;

/// `loadBalancer.simple`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Rules {
    /// Two endpoints drawn at random, the one with fewer requests under way (Istio's default; `LEAST_CONN` too).
    #[default]
    LeastRequest,
    RoundRobin,
    Random,
}

/// May new requests go there?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usable {
    Yes,
    No,
}

/// The endpoints to choose from, by index.
pub trait Pool {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Requests under way.
    fn active(&self, index: usize) -> u32;

    /// Relative share, ≥ 1.
    fn weight(&self, index: usize) -> u32;

    /// Do all have the same weight?
    fn is_even(&self) -> bool;

    fn usable(&self, index: usize) -> Usable;

    /// How many are usable.
    fn usable_count(&self) -> usize;

    /// One of the usable ones, in any fixed order; `rank` is below [`Pool::usable_count`].
    fn nth_usable(&self, rank: usize) -> usize;
}

/// Turns that may come to unusable endpoints before only the usable ones take turns.
const PROBES: usize = 16;

/// An endpoint, or `None` when none is usable.
pub fn pick(
    rules: Rules,
    pool: &impl Pool,
    avoid: &[u32],
    picks: u32,
    rng: &mut Rng,
    cursor: &mut u64,
) -> Option<usize> {
    let mut chosen = pick_once(rules, pool, rng, cursor)?;
    for _ in 0..picks {
        if !avoid.contains(&(chosen as u32)) {
            break;
        }
        chosen = pick_once(rules, pool, rng, cursor)?;
    }
    Some(chosen)
}

fn pick_once(rules: Rules, pool: &impl Pool, rng: &mut Rng, cursor: &mut u64) -> Option<usize> {
    if pool.usable_count() == 0 {
        return None;
    }
    match rules {
        Rules::RoundRobin => round_robin(pool, cursor),
        Rules::Random => draw(pool, rng),
        Rules::LeastRequest => {
            if pool.usable_count() == 1 {
                return draw(pool, rng);
            }
            let (first, second) = (draw(pool, rng)?, draw(pool, rng)?);
            // The weights are in the draw already; requests under way decide between the two.
            Some(if pool.active(second) < pool.active(first) { second } else { first })
        }
    }
}

/// One usable endpoint at random, in proportion to the weights.
fn draw(pool: &impl Pool, rng: &mut Rng) -> Option<usize> {
    let len = pool.len();
    if pool.is_even() {
        let rank = if pool.usable_count() == 1 { 0 } else { rng.below(pool.usable_count() as u64) };
        return Some(pool.nth_usable(rank as usize));
    }
    let usable = || (0..len).filter(|index| pool.usable(*index) == Usable::Yes);
    let total: u64 = usable().map(|index| u64::from(pool.weight(index))).sum();
    let mut left = rng.below(total);
    usable().find(|index| {
        let weight = u64::from(pool.weight(*index));
        let here = left < weight;
        left = left.wrapping_sub(weight);
        here
    })
}

/// The next in turn. With unequal weights a turn has as many places as the weights sum up to, spread evenly.
fn round_robin(pool: &impl Pool, cursor: &mut u64) -> Option<usize> {
    let len = pool.len();
    for _ in 0..PROBES {
        let turn = *cursor;
        *cursor = cursor.wrapping_add(1);
        let index = if pool.is_even() { (turn % len as u64) as usize } else { weighted_turn(pool, turn) };
        if pool.usable(index) == Usable::Yes {
            return Some(index);
        }
    }
    // Most are out: take turns among the others.
    Some(pool.nth_usable((*cursor % pool.usable_count() as u64) as usize))
}

/// Whose place `turn` is. Place k of weight w stands at (2k+1)/2w of the cycle, which is cut into 2³² parts; the part
/// where the turn's place stands is found by bisection, and those that share a part go in order.
fn weighted_turn(pool: &impl Pool, turn: u64) -> usize {
    let len = pool.len();
    let total: u64 = (0..len).map(|index| u64::from(pool.weight(index))).sum();
    let rank = turn % total.max(1);
    // Places of the endpoint in the parts before `part`: those with (2k+1) · 2³¹ / w < part.
    let before = |index: usize, part: u64| {
        let weight = u128::from(pool.weight(index));
        let half_steps = (u128::from(part) * weight).div_ceil(1 << 31).saturating_sub(1);
        u64::try_from(half_steps.div_ceil(2)).unwrap_or(u64::MAX)
    };
    let (mut low, mut high) = (0u64, 1u64 << 32);
    while low < high {
        let part = u64::midpoint(low, high);
        let places: u64 = (0..len).map(|index| before(index, part + 1)).sum();
        if places > rank { high = part } else { low = part + 1 }
    }
    let mut left = rank - (0..len).map(|index| before(index, low)).sum::<u64>();
    let found = (0..len).find(|index| {
        let here = before(*index, low + 1) - before(*index, low);
        let is_it = left < here;
        left = left.saturating_sub(here);
        is_it
    });
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    struct Fixed {
        weights: Vec<u32>,
        active: Vec<u32>,
        down: Vec<usize>,
    }

    impl Fixed {
        fn even(count: usize) -> Self {
            Self { weights: vec![1; count], active: vec![0; count], down: Vec::new() }
        }
    }

    impl Pool for Fixed {
        fn len(&self) -> usize {
            self.weights.len()
        }

        fn active(&self, index: usize) -> u32 {
            self.active[index]
        }

        fn weight(&self, index: usize) -> u32 {
            self.weights[index]
        }

        fn is_even(&self) -> bool {
            self.weights.windows(2).all(|pair| pair[0] == pair[1])
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

    fn many(rules: Rules, pool: &Fixed, count: usize) -> Vec<usize> {
        let (mut rng, mut cursor) = (Rng::new(1), 0);
        (0..count).map(|_| pick(rules, pool, &[], 0, &mut rng, &mut cursor).expect("usable")).collect()
    }

    #[test]
    fn round_robin_goes_in_turn_and_skips_the_unusable() {
        let mut pool = Fixed::even(3);
        assert_eq!(many(Rules::RoundRobin, &pool, 7), [0, 1, 2, 0, 1, 2, 0]);
        pool.down = vec![1];
        assert_eq!(many(Rules::RoundRobin, &pool, 4), [0, 2, 0, 2]);
    }

    #[test]
    fn least_request_avoids_the_busy_one() {
        let mut pool = Fixed::even(2);
        pool.active = vec![100, 0];
        let idle = many(Rules::LeastRequest, &pool, 1000).into_iter().filter(|index| *index == 1).count();
        assert!((700..800).contains(&idle), "three quarters, as both draws must hit the busy one: {idle}");
    }

    #[test]
    fn weights_share_random_draws() {
        let pool = Fixed { weights: vec![1, 3], active: vec![0, 0], down: Vec::new() };
        let second = many(Rules::Random, &pool, 10_000).into_iter().filter(|index| *index == 1).count();
        assert!((7_300..7_700).contains(&second), "{second}");
    }

    #[test]
    fn a_host_tried_before_is_avoided_while_picks_last() {
        let (pool, mut rng, mut cursor) = (Fixed::even(3), Rng::new(3), 0);
        assert_eq!(pick(Rules::RoundRobin, &pool, &[0, 1], 5, &mut rng, &mut cursor), Some(2));
        assert!(pick(Rules::RoundRobin, &Fixed::even(1), &[0], 5, &mut rng, &mut cursor) == Some(0), "or taken again");
    }

    #[test]
    fn a_turn_has_as_many_places_for_each_as_its_weight_says() {
        let pool = Fixed { weights: vec![3, 1, 2], active: vec![0; 3], down: Vec::new() };
        assert_eq!(many(Rules::RoundRobin, &pool, 12), [0, 2, 0, 1, 2, 0, 0, 2, 0, 1, 2, 0]);
    }

    proptest! {
        #[test]
        fn weighted_turns_are_exact(weights in proptest::collection::vec(1u32..200, 1..8), cycle in 0u64..1000) {
            let count = weights.len();
            let pool = Fixed { weights: weights.clone(), active: vec![0; count], down: Vec::new() };
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            let mut got = vec![0u32; count];
            for turn in 0..total {
                got[weighted_turn(&pool, cycle * total + turn)] += 1;
            }
            prop_assert_eq!(got, weights);
        }

        #[test]
        fn never_an_unusable_one(count in 1usize..8, down in proptest::collection::vec(0usize..8, 0..8), seed: u64, weights in proptest::collection::vec(1u32..5, 8)) {
            let pool = Fixed { weights: weights[..count].to_vec(), active: vec![0; count], down };
            let any = (0..count).any(|index| pool.usable(index) == Usable::Yes);
            let (mut rng, mut cursor) = (Rng::new(seed), seed % 100);
            for rules in [Rules::RoundRobin, Rules::Random, Rules::LeastRequest] {
                match pick(rules, &pool, &[], 0, &mut rng, &mut cursor) {
                    Some(index) => prop_assert!(pool.usable(index) == Usable::Yes),
                    None => prop_assert!(!any),
                }
            }
        }
    }
}
