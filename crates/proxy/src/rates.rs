//! What every key of every rate limit has used, for the whole process, and what each limit counted.
//!
//! ```text
//!   rule and key ─► tag (under a secret of the process) ─► one of 256 tables, each with its lock ─► cell
//! ```
//! Cells are found by the rule's id: a reload keeps them, and rules that are gone leave theirs to be forgotten. About a
//! million keys are kept (32 bytes and as much again of free places), and 131,072 of rolling windows. Does not: decide;
//! `weir_policy::rate` does.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_observe::{KeyNumbers, LimitNumbers};
use weir_policy::rate::{Cell, How, Keyed, Limit, Rules, Said, Sip, Slices, Taken, Verdict, Wish};
use weir_policy::time::Time;

/// Tables: so many that two requests seldom want the same lock, and one of them grows within some 30 µs.
const TABLES: usize = 256;
/// Keys of all tables.
const MOST_KEYS: usize = 1_000_000;
/// Of rolling windows, which take five times the room.
const MOST_ROLLING: usize = 131_072;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rates {
    secret: Sip,
    tables: Box<[Mutex<Pair>]>,
    by_id: Mutex<HashMap<Arc<str>, Arc<Counts>>>,
}

#[derive(Debug)]
struct Pair {
    cells: Keyed<Cell>,
    rolling: Keyed<Slices>,
}

/// What one limit counted.
#[derive(Default, Debug)]
pub(crate) struct Counts {
    allowed: AtomicU64,
    limited: AtomicU64,
    /// Requests that the shared store could not be asked about.
    unknown: AtomicU64,
}

impl Counts {
    pub(crate) fn add(&self, said: Said) {
        let count = match said {
            Said::Taken(Taken { verdict: Verdict::Allowed, .. }) => &self.allowed,
            Said::Taken(Taken { verdict: Verdict::Limited, .. }) => &self.limited,
            Said::Unknown => &self.unknown,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Rates {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        let pair = || Pair { cells: Keyed::new(MOST_KEYS / TABLES), rolling: Keyed::new(MOST_ROLLING / TABLES) };
        Self {
            secret: Sip::new(random.hash_one(1), random.hash_one(2)),
            tables: (0..TABLES).map(|_| Mutex::new(pair())).collect(),
            by_id: Mutex::default(),
        }
    }

    /// Takes what a request wants of its cell, when there is enough.
    pub(crate) fn take(&self, limit: &Limit, wish: &Wish, now: Time) -> Taken {
        let tag = wish.tag(&limit.rules, self.secret);
        // The tables look at the low bits.
        let mut pair = self.tables[(tag >> 56) as usize % TABLES].lock();
        match wish.amount.how {
            How::Bucket | How::Fixed => wish.amount.take(pair.cells.of(tag, now), wish.cost, now),
            How::Rolling => wish.amount.take_rolling(pair.rolling.of(tag, now), wish.cost, now),
        }
    }

    /// The counts of each limit of a plan; changes nothing that a request can see.
    pub(crate) fn prepare(&self, rules: &[Arc<Rules>]) -> Vec<Arc<Counts>> {
        let by_id = self.by_id.lock();
        rules.iter().map(|rules| by_id.get(&rules.id).map(Arc::clone).unwrap_or_default()).collect()
    }

    /// Forgets the counts of limits that a plan does not have.
    pub(crate) fn adopt(&self, rules: &[Arc<Rules>], counts: &[Arc<Counts>]) {
        let kept = rules.iter().zip(counts).map(|(rules, counts)| (Arc::clone(&rules.id), Arc::clone(counts)));
        let old = std::mem::replace(&mut *self.by_id.lock(), kept.collect());
        drop(old);
    }

    /// What each limit counted, by id.
    pub(crate) fn numbers(&self) -> Vec<LimitNumbers> {
        let number = |(id, counts): (&Arc<str>, &Arc<Counts>)| LimitNumbers {
            id: Arc::clone(id),
            allowed: counts.allowed.load(Ordering::Relaxed),
            limited: counts.limited.load(Ordering::Relaxed),
            unknown: counts.unknown.load(Ordering::Relaxed),
        };
        let mut numbers: Vec<LimitNumbers> = self.by_id.lock().iter().map(number).collect();
        numbers.sort_by(|a, b| a.id.cmp(&b.id));
        numbers
    }

    /// How many keys are remembered, and how many were forgotten while they were in use.
    pub(crate) fn keys(&self) -> KeyNumbers {
        let mut numbers = KeyNumbers::default();
        for table in &self.tables {
            let pair = table.lock();
            numbers.keys += (pair.cells.keys() + pair.rolling.keys()) as u64;
            numbers.evicted += pair.cells.evicted + pair.rolling.evicted;
        }
        numbers
    }
}
