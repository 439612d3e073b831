//! Shares of unequal weights, made once so that a pick costs the same however many endpoints there are.
//!
//! ```text
//!   sums   [3 4 9]          a draw below 9 finds its endpoint by halving
//!   order  [0 2 2 1 2 0 …]  a turn of round robin: each as often as its weight, spread evenly
//! ```
//! Does not: know who is usable.

use super::Weighted;
use crate::rng::Rng;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Longer turns are shortened: weights keep about their proportions.
const LONGEST: u64 = 1 << 16;

/// See the module.
#[derive(Debug)]
pub struct Shares {
    sums: Vec<u64>,
    order: Vec<u32>,
}

impl Shares {
    pub fn build(endpoints: &[Weighted<'_>]) -> Self {
        let weights = endpoints.iter().map(|endpoint| u64::from(endpoint.weight.max(1)));
        let mut total = 0;
        let sums = weights.clone().map(|weight| {
            total += weight;
            total
        });
        let sums: Vec<u64> = sums.collect();
        let divisor = weights.clone().fold(0, greatest_divisor).max(1).max(total.div_ceil(LONGEST));
        let turn: Vec<u64> = weights.map(|weight| (weight / divisor).max(1)).collect();
        Self { sums, order: spread(&turn) }
    }

    /// One endpoint at random, in proportion to the weights.
    pub fn draw(&self, rng: &mut Rng) -> usize {
        let at = rng.below(self.sums.last().copied().unwrap_or(0));
        self.sums.partition_point(|sum| *sum <= at)
    }

    /// Whose turn it is.
    pub fn turn(&self, number: u64) -> usize {
        self.order[(number % self.order.len() as u64) as usize] as usize
    }
}

const fn greatest_divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The next place of one endpoint: place k of weight w stands at (2k+1)/2w of the turn.
#[derive(PartialEq, Eq)]
struct Due {
    /// 2k + 1.
    half_steps: u64,
    weight: u64,
    owner: usize,
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// Exact: fractions are compared crosswise.
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (u128::from(self.half_steps), u128::from(other.half_steps));
        (own * u128::from(other.weight)).cmp(&(others * u128::from(self.weight))).then(self.owner.cmp(&other.owner))
    }
}

fn spread(weights: &[u64]) -> Vec<u32> {
    let first = |(owner, weight): (usize, &u64)| Reverse(Due { half_steps: 1, weight: *weight, owner });
    let mut heap: BinaryHeap<Reverse<Due>> = weights.iter().enumerate().map(first).collect();
    let total: u64 = weights.iter().sum();
    let mut order = Vec::with_capacity(total as usize);
    while (order.len() as u64) < total {
        let Some(Reverse(due)) = heap.pop() else { break };
        order.push(due.owner as u32);
        heap.push(Reverse(Due { half_steps: due.half_steps + 2, ..due }));
    }
    order
}
