//! The ring of consistent hashing (Ketama, Envoy's `RING_HASH`): a key belongs to the first point at or after it.
//!
//! ```text
//!   points: hash("address_0"), hash("address_1"), … of every endpoint, in order of the hashes
//!   key ──► first point ≥ key ──► its endpoint         an endpoint that leaves gives up only its own keys
//! ```
//! Does not: leave out the unusable; whoever asks walks on.

use super::{Weighted, xx};

/// Envoy's default.
pub const MINIMUM: u64 = 1024;
/// Envoy's default; a smaller share than one in this many gets fewer points.
pub const MAXIMUM: u64 = 8 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Ring {
    hashes: Vec<u64>,
    owners: Vec<u32>,
}

impl Ring {
    /// Of at least `minimum` points, in proportion to the weights.
    pub fn build(endpoints: &[Weighted<'_>], minimum: u64) -> Self {
        let total: f64 = endpoints.iter().map(|endpoint| f64::from(endpoint.weight)).sum();
        let least = endpoints.iter().map(|endpoint| f64::from(endpoint.weight) / total).fold(1.0, f64::min);
        let scale = ((least * minimum as f64).ceil() / least).min(MAXIMUM as f64);
        let mut points: Vec<Point> = Vec::with_capacity(scale.ceil() as usize);
        // Shares are seldom whole: the sums run on, so that the whole ring has the right size.
        let (mut made, mut wanted) = (0.0, 0.0);
        let mut key = String::new();
        for (owner, endpoint) in endpoints.iter().enumerate() {
            wanted += scale * (f64::from(endpoint.weight) / total);
            let mut number = 0u64;
            while made < wanted {
                key.clear();
                key.push_str(endpoint.key);
                key.push('_');
                key.push_str(&number.to_string());
                points.push(Point { hash: xx::hash(key.as_bytes(), 0), owner: owner as u32 });
                number += 1;
                made += 1.0;
            }
        }
        points.sort_by_key(|point| point.hash);
        Self {
            hashes: points.iter().map(|point| point.hash).collect(),
            owners: points.iter().map(|point| point.owner).collect(),
        }
    }

    /// Points of the ring.
    pub const fn len(&self) -> usize {
        self.owners.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Where `hash` belongs.
    pub fn place(&self, hash: u64) -> usize {
        let place = self.hashes.partition_point(|point| *point < hash);
        if place == self.hashes.len() { 0 } else { place }
    }

    /// The endpoint of a place; places go round.
    pub fn owner(&self, place: usize) -> usize {
        self.owners[place % self.owners.len()] as usize
    }
}

struct Point {
    hash: u64,
    owner: u32,
}
