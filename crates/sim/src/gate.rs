//! What a request meets before its call begins: the filters of its route, with the tokens that they take.
//!
//! ```text
//!   request ─► Gate ─ next ─► On ─► call
//!                       ├──► Wait(t) ─► next …      a fault's delay
//!                       └──► Answer(status)         a fault's abort, a limit
//! ```
//! The same `Passage` as the data path's. Does not: know header fields (simulated requests have none), or ask a store
//! that processes share (such rules let everybody pass).

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use weir_policy::filter::{Answer, Buckets, Chain, Filter, Passage, Paused, Step, View};
use weir_policy::flag::Flags;
use weir_policy::limit::{Limit, Taken, Tokens};
use weir_policy::rate;
use weir_policy::rng::Rng;
use weir_policy::route::{Facts, Headers};
use weir_policy::time::Time;

/// One request on its way through its filters.
#[derive(Clone, Debug)]
pub struct Gate {
    chain: Arc<Chain>,
    paused: Paused,
}

/// What is next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passed {
    /// Its call begins.
    On,
    Wait(Time),
    /// A filter answers with this status.
    Answer(u16),
}

/// The living tokens of the limits of a chain.
#[derive(Default, Debug)]
pub struct Pots {
    /// Of `local_ratelimit`.
    tokens: RefCell<Vec<Tokens>>,
    /// Of RateLimitPolicies, one for each rule: without header fields there is one key.
    cells: RefCell<Vec<rate::Cell>>,
}

impl Pots {
    /// Full buckets for every limit of a chain. Their places are those that the chain's limits name.
    pub fn of(chain: &Chain) -> Self {
        let mut limits: Vec<&Limit> = chain.filters.iter().filter_map(limit).collect();
        limits.sort_by_key(|limit| limit.index);
        let tokens = limits.iter().map(|limit| Tokens::new(Arc::clone(&limit.rules), Time::ZERO)).collect();
        let rates = chain.filters.iter().filter(|filter| matches!(filter, Filter::Rate(_))).count();
        Self { tokens: RefCell::new(tokens), cells: RefCell::new(vec![rate::Cell::default(); rates]) }
    }

    /// Requests that limits let through, and that they refused.
    pub fn counts(&self) -> Counts {
        self.tokens.borrow().iter().fold(Counts::default(), |sum, tokens| Counts {
            allowed: sum.allowed + tokens.allowed,
            limited: sum.limited + tokens.limited,
        })
    }
}

/// What limits counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    pub allowed: u64,
    pub limited: u64,
}

const fn limit(filter: &Filter) -> Option<&Limit> {
    match filter {
        Filter::Limit(limit) => Some(limit),
        Filter::Fault(_) | Filter::Cors(_) | Filter::Rate(_) => None,
    }
}

impl Buckets for Pots {
    fn admit(&self, limit: &Limit, matched: &[usize], now: Time) -> Taken {
        self.tokens.borrow_mut()[limit.index.0 as usize].admit(matched, now)
    }

    fn take(&self, limit: &rate::Limit, wish: &rate::Wish, now: Time) -> rate::Taken {
        wish.take(&mut self.cells.borrow_mut()[limit.index.0 as usize], now)
    }
}

/// No fields at all.
struct Bare;

impl Headers for Bare {
    fn each(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
}

const FACTS: Facts<'static> =
    Facts { authority: b"app", method: b"GET", scheme: b"http", path: b"/", query: None, port: 80, headers: &Bare };

impl Gate {
    pub fn new(chain: Arc<Chain>) -> Self {
        Self { chain, paused: Paused::default() }
    }

    /// DI, FI, RL.
    pub const fn flags(&self) -> Flags {
        self.paused.flags
    }

    /// The next step, now.
    pub fn next(&mut self, pots: &Pots, rng: &mut Rng, now: Time) -> Passed {
        let view = View { facts: &FACTS, peer: IpAddr::V4(Ipv4Addr::LOCALHOST), buckets: pots };
        let mut passage = Passage::resume(&self.chain, self.paused);
        let passed = match passage.next(view, rng, now) {
            Step::Pass | Step::Ask(_) => Passed::On,
            Step::Wait(until) => Passed::Wait(until),
            Step::Answer(Answer::Abort(status)) => Passed::Answer(status.http()),
            Step::Answer(Answer::Limited(rules)) => Passed::Answer(rules.status),
            Step::Answer(Answer::Exceeded(rules, _)) => Passed::Answer(rules.answer.status),
            Step::Answer(Answer::Preflight(..)) => Passed::Answer(200),
        };
        self.paused = passage.pause();
        passed
    }
}
