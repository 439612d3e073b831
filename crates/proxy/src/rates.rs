//! What every key of every rate limit has used, for the whole process, and what each limit counted.
//!
//! ```text
//!   rule and key ─► tag (under a secret of the process) ─► one of 256 tables, each with its lock ─► cell
//! ```
//! Cells are found by the rule's id: a reload keeps them, and rules that are gone leave theirs to be forgotten. About a
//! million keys are kept (32 bytes and as much again of free places), and 131,072 of rolling windows. Of a limit that is
//! shared the store has the cells (`shared`); here is only what need not be asked for a while. Does not: decide;
//! `weir_policy::rate` does.

use crate::shared::{Store, Stores};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use weir_observe::{KeyNumbers, LimitNumbers};
use weir_policy::rate::{Cell, How, Keyed, Level, Limit, Rules, Said, Sip, Slices, State, Taken, Verdict, Wish};
use weir_policy::time::Time;

/// Tables: so many that two requests seldom want the same lock, and one of them grows within some 30 µs.
const TABLES: usize = 256;
/// Keys of all tables.
const MOST_KEYS: usize = 1_000_000;
/// Of rolling windows, which take five times the room.
const MOST_ROLLING: usize = 131_072;
/// Of shared limits that were refused.
const MOST_CLOSED: usize = 131_072;
/// How long a refusal of the store is believed.
const LONGEST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Rates {
    secret: Sip,
    tables: Box<[Mutex<Pair>]>,
    by_id: Mutex<HashMap<Arc<str>, Arc<Counts>>>,
    stores: Stores,
}

/// What one limit of a plan counts with.
#[derive(Debug)]
pub(crate) struct Meter {
    counts: Arc<Counts>,
    /// Where all processes count together.
    pub(crate) store: Option<Arc<Store>>,
}

#[derive(Debug)]
struct Pair {
    cells: Keyed<Cell>,
    rolling: Keyed<Slices>,
    closed: Keyed<Closed>,
}

/// A key that the store refused: until then nothing of this cost can be there.
#[derive(Clone, Copy, Default, Debug)]
struct Closed {
    until: Time,
    cost: u32,
    remaining: u32,
}

impl State for Closed {
    fn until(&self) -> Time {
        self.until
    }
}

/// What one limit counted.
#[derive(Default, Debug)]
pub(crate) struct Counts {
    allowed: AtomicU64,
    limited: AtomicU64,
    /// Requests that the shared store could not be asked about.
    unknown: AtomicU64,
}

impl Meter {
    pub(crate) fn add(&self, said: Said) {
        let count = match said {
            Said::Taken(Taken { verdict: Verdict::Allowed, .. }) => &self.counts.allowed,
            Said::Taken(Taken { verdict: Verdict::Limited, .. }) => &self.counts.limited,
            Said::Unknown => &self.counts.unknown,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Rates {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        let pair = || Pair {
            cells: Keyed::new(MOST_KEYS / TABLES),
            rolling: Keyed::new(MOST_ROLLING / TABLES),
            closed: Keyed::new(MOST_CLOSED / TABLES),
        };
        Self {
            secret: Sip::new(random.hash_one(1), random.hash_one(2)),
            tables: (0..TABLES).map(|_| Mutex::new(pair())).collect(),
            by_id: Mutex::default(),
            stores: Stores::default(),
        }
    }

    /// Takes what a request wants of its cell, when there is enough.
    pub(crate) fn take(&self, limit: &Limit, wish: &Wish, now: Time) -> Taken {
        let tag = wish.tag(&limit.rules, self.secret);
        let mut pair = self.table(tag).lock();
        match wish.amount.how {
            How::Bucket | How::Fixed => wish.amount.take(pair.cells.of(tag, now), wish.cost, now),
            How::Rolling => wish.amount.take_rolling(pair.rolling.of(tag, now), wish.cost, now),
        }
    }

    /// What the store said of this a moment ago, when it cannot be otherwise yet.
    pub(crate) fn remembered(&self, limit: &Limit, wish: &Wish, now: Time) -> Option<Taken> {
        let tag = wish.tag(&limit.rules, self.secret);
        let closed = self.table(tag).lock().closed.get(tag)?;
        let level = Level { limit: wish.amount.limit(), remaining: closed.remaining, reset: closed.until.since(now) };
        (closed.until > now && wish.cost >= closed.cost).then_some(Taken { verdict: Verdict::Limited, level })
    }

    /// Remembers a refusal of the store.
    pub(crate) fn remember(&self, limit: &Limit, wish: &Wish, taken: Taken, now: Time) {
        if taken.verdict == Verdict::Limited {
            let tag = wish.tag(&limit.rules, self.secret);
            let until = now + taken.level.reset.min(LONGEST);
            *self.table(tag).lock().closed.of(tag, now) =
                Closed { until, cost: wish.cost, remaining: taken.level.remaining };
        }
    }

    fn table(&self, tag: u64) -> &Mutex<Pair> {
        // The tables look at the low bits.
        &self.tables[(tag >> 56) as usize % TABLES]
    }

    /// What each limit of a plan counts with; changes nothing that a request can see.
    pub(crate) fn prepare(&self, rules: &[Arc<Rules>]) -> Vec<Meter> {
        let mut by_id = self.by_id.lock().clone();
        let meter = |rules: &Arc<Rules>| Meter {
            counts: Arc::clone(by_id.entry(Arc::clone(&rules.id)).or_default()),
            store: rules.shared.as_ref().and_then(|shared| self.stores.of(&shared.url)),
        };
        rules.iter().map(meter).collect()
    }

    /// Forgets the counts of limits that a plan does not have.
    pub(crate) fn adopt(&self, rules: &[Arc<Rules>], meters: &[Meter]) {
        let kept = rules.iter().zip(meters).map(|(rules, meter)| (Arc::clone(&rules.id), Arc::clone(&meter.counts)));
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
