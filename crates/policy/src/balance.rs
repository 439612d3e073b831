//! Which endpoint: round robin, least request, random, or by a hash of the request.
//!
//! ```text
//!   pick ─► among the usable ─► tried before? ──yes, and picks left──► pick again
//!                                   │ no, or none left
//!                                   └──► it
//! ```
//! A retry avoids hosts tried before as Envoy's `previous_hosts` does: the balancer picks anew, up to `picks` times,
//! and then takes what it gets. What a pick needs is made once, when a plan is prepared ([`Table`]); a pick costs the
//! same however many endpoints there are. Does not: keep state; cursor and generator are the caller's.

pub mod key;
pub mod maglev;
pub mod ring;
pub mod turns;
pub mod xx;

use crate::plan::{Endpoint, Upstream};
use crate::rng::Rng;
use key::Key;
use maglev::Maglev;
use ring::Ring;
use turns::Shares;

/// `loadBalancer`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Rules {
    /// Two endpoints drawn at random, the one with fewer requests under way (Istio's default; `LEAST_CONN` too).
    #[default]
    LeastRequest,
    RoundRobin,
    Random,
    /// `consistentHash`.
    Hash(Hash),
}

/// `consistentHash`: the same key, the same endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hash {
    pub key: Key,
    pub shape: Shape,
}

/// How keys are shared out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `ringHash`: at least so many points, 1 to [`ring::MAXIMUM`]; default [`ring::MINIMUM`].
    Ring(u64),
    /// `maglev`: so many slots, a prime below 5,000,011; default [`maglev::SIZE`].
    Maglev(u64),
}

impl Rules {
    /// By what a request is hashed, if it is.
    pub const fn key(&self) -> Option<&Key> {
        match self {
            Self::Hash(hash) => Some(&hash.key),
            Self::LeastRequest | Self::RoundRobin | Self::Random => None,
        }
    }
}

/// An endpoint as tables know it.
#[derive(Clone, Copy, Debug)]
pub struct Weighted<'a> {
    /// Its address, as text.
    pub key: &'a str,
    /// ≥ 1.
    pub weight: u32,
}

/// What picks need of the rules and the endpoints, made outside of any lock.
#[derive(Debug)]
pub enum Table {
    LeastRequest(Option<Shares>),
    RoundRobin(Option<Shares>),
    Random(Option<Shares>),
    Ring(Ring),
    Maglev(Maglev),
}

impl Table {
    /// Would the table of `old` be the same as that of `new`?
    pub fn fits(old: &Upstream, new: &Upstream) -> bool {
        let pairs = || old.endpoints.iter().zip(&new.endpoints);
        old.balance == new.balance
            && old.endpoints.len() == new.endpoints.len()
            && pairs().all(|(old, new)| old.address == new.address && old.weight == new.weight)
    }

    /// Of the endpoints in their order.
    pub fn build(rules: &Rules, endpoints: &[Endpoint]) -> Self {
        let uneven = endpoints.windows(2).any(|pair| pair[0].weight != pair[1].weight);
        let needs_keys = matches!(rules, Rules::Hash(_));
        let key = |endpoint: &Endpoint| if needs_keys { endpoint.address.to_string() } else { String::new() };
        let keys: Vec<String> = endpoints.iter().map(key).collect();
        let weighted: Vec<Weighted<'_>> = keys
            .iter()
            .zip(endpoints)
            .map(|(key, endpoint)| Weighted { key, weight: endpoint.weight.max(1) })
            .collect();
        // Of equal weights nothing needs to be known.
        let shares = || uneven.then(|| Shares::build(&weighted));
        match rules {
            Rules::LeastRequest => Self::LeastRequest(shares()),
            Rules::RoundRobin => Self::RoundRobin(shares()),
            Rules::Random => Self::Random(shares()),
            // No endpoint, no place on a ring: nothing is picked from it either.
            Rules::Hash(_) if endpoints.is_empty() => Self::Random(None),
            Rules::Hash(Hash { shape: Shape::Ring(minimum), .. }) => Self::Ring(Ring::build(&weighted, *minimum)),
            Rules::Hash(Hash { shape: Shape::Maglev(size), .. }) => Self::Maglev(Maglev::build(&weighted, *size)),
        }
    }
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

    fn usable(&self, index: usize) -> Usable;

    /// How many are usable.
    fn usable_count(&self) -> usize;

    /// One of the usable ones, in any fixed order; `rank` is below [`Pool::usable_count`].
    fn nth_usable(&self, rank: usize) -> usize;
}

/// What one call asks for.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ask<'a> {
    /// Tried before.
    pub avoid: &'a [u32],
    /// How often another is picked to avoid them.
    pub picks: u32,
    /// By which a hashing balancer chooses; without it any will do.
    pub hash: Option<u64>,
}

/// Places that may belong to unusable endpoints before only the usable ones are looked at.
const PROBES: usize = 16;
/// The same on a ring, where to walk on is what keeps other keys where they are.
const STEPS: usize = 128;

/// An endpoint, or `None` when none is usable.
pub fn pick(table: &Table, pool: &impl Pool, ask: &Ask<'_>, rng: &mut Rng, cursor: &mut u64) -> Option<usize> {
    if pool.usable_count() == 0 {
        return None;
    }
    let hash = match table {
        Table::Ring(_) | Table::Maglev(_) => ask.hash.unwrap_or_else(|| rng.next()),
        Table::LeastRequest(_) | Table::RoundRobin(_) | Table::Random(_) => 0,
    };
    let mut chosen = pick_once(table, pool, hash, 0, rng, cursor);
    for again in 1..=u64::from(ask.picks) {
        if !ask.avoid.contains(&(chosen as u32)) {
            break;
        }
        chosen = pick_once(table, pool, hash, again, rng, cursor);
    }
    Some(chosen)
}

fn pick_once(table: &Table, pool: &impl Pool, hash: u64, again: u64, rng: &mut Rng, cursor: &mut u64) -> usize {
    match table {
        Table::RoundRobin(shares) => round_robin(shares.as_ref(), pool, cursor),
        Table::Random(shares) => draw(shares.as_ref(), pool, rng),
        Table::LeastRequest(shares) => {
            let first = draw(shares.as_ref(), pool, rng);
            if pool.usable_count() == 1 {
                return first;
            }
            let second = draw(shares.as_ref(), pool, rng);
            // The weights are in the draw already; requests under way decide between the two.
            if pool.active(second) < pool.active(first) { second } else { first }
        }
        Table::Ring(ring) => {
            let place = ring.place(hash) + again as usize;
            first_usable(pool, hash, (place..).take(STEPS).map(|place| ring.owner(place)))
        }
        Table::Maglev(table) => {
            let hashes = (again..).take(STEPS).map(|again| hash ^ 0u64.wrapping_sub(again));
            first_usable(pool, hash, hashes.map(|hash| table.owner(hash)))
        }
    }
}

/// One usable endpoint at random, in proportion to the weights.
fn draw(shares: Option<&Shares>, pool: &impl Pool, rng: &mut Rng) -> usize {
    if let Some(shares) = shares {
        for _ in 0..PROBES {
            let index = shares.draw(rng);
            if pool.usable(index) == Usable::Yes {
                return index;
            }
        }
    }
    let rank = if pool.usable_count() == 1 { 0 } else { rng.below(pool.usable_count() as u64) };
    pool.nth_usable(rank as usize)
}

/// The next in turn. With unequal weights a turn has as many places as the weights sum up to, spread evenly.
fn round_robin(shares: Option<&Shares>, pool: &impl Pool, cursor: &mut u64) -> usize {
    for _ in 0..PROBES {
        let turn = *cursor;
        *cursor = cursor.wrapping_add(1);
        let index = shares.map_or_else(|| (turn % pool.len() as u64) as usize, |shares| shares.turn(turn));
        if pool.usable(index) == Usable::Yes {
            return index;
        }
    }
    // Most are out: take turns among the others.
    pool.nth_usable((*cursor % pool.usable_count() as u64) as usize)
}

/// The first usable one on the way; when nearly all are out, one that the hash alone decides.
fn first_usable(pool: &impl Pool, hash: u64, mut way: impl Iterator<Item = usize>) -> usize {
    way.find(|index| pool.usable(*index) == Usable::Yes)
        .unwrap_or_else(|| pool.nth_usable((hash % pool.usable_count() as u64) as usize))
}

#[cfg(test)]
mod tests;
