//! Maglev's table (Envoy's `MAGLEV`): every endpoint fills slots by its own permutation, in turns by weight.
//!
//! ```text
//!   endpoint i wants slots (offset + n × skip) mod size, n = 0, 1, …      key ──► slot (key mod size) ──► endpoint
//! ```
//! Does not: leave out the unusable; whoever asks hashes on.

use super::{Weighted, xx};

/// Envoy's default.
pub const SIZE: u64 = 65_537;

const EMPTY: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub struct Maglev {
    slots: Vec<u32>,
}

/// One endpoint's way through the table.
struct Filler {
    owner: u32,
    weight: f64,
    /// It takes a slot in the first turn whose number × `weight` reaches it.
    target: f64,
    next: u64,
    skip: u64,
}

impl Maglev {
    /// Of `size` slots, a prime.
    pub fn build(endpoints: &[Weighted<'_>], size: u64) -> Self {
        let mut slots = vec![EMPTY; size as usize];
        let mut order: Vec<usize> = (0..endpoints.len()).collect();
        // The order of the documents must not matter: every proxy has the same table.
        order.sort_by_key(|index| endpoints[*index].key);
        let heaviest = endpoints.iter().map(|endpoint| f64::from(endpoint.weight)).fold(1.0, f64::max);
        let filler = |index: &usize| {
            let endpoint = &endpoints[*index];
            let next = xx::hash(endpoint.key.as_bytes(), 0) % size;
            let skip = xx::hash(endpoint.key.as_bytes(), 1) % (size - 1) + 1;
            Filler { owner: *index as u32, weight: f64::from(endpoint.weight), target: 0.0, next, skip }
        };
        let mut fillers: Vec<Filler> = order.iter().map(filler).collect();
        let (mut left, mut turn) = (size, 1.0);
        while left > 0 && !fillers.is_empty() {
            for filler in &mut fillers {
                if left == 0 || turn * filler.weight < filler.target {
                    continue;
                }
                filler.target += heaviest;
                while slots[filler.next as usize] != EMPTY {
                    filler.next = (filler.next + filler.skip) % size;
                }
                slots[filler.next as usize] = filler.owner;
                left -= 1;
            }
            turn += 1.0;
        }
        Self { slots }
    }

    pub fn owner(&self, hash: u64) -> usize {
        self.slots[(hash % self.slots.len() as u64) as usize] as usize
    }
}
