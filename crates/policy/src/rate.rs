//! Rate limits of RateLimitPolicies and quotas: so many requests in so much time, for each key.
//!
//! ```text
//!   request ─► when holds? ─no─► on, uncounted
//!                 │ yes
//!                 ▼
//!               key ─► amount (the first override that fits, or the rule's) ─► cost ─► cell ─┬─ enough ─► on
//!                                                                                           └─ not ─► enforce: 429
//!                                                                                                     shadow: on
//! ```
//! A *cell* is what one key has used. Cells are in [`Keyed`] tables of bounded size. Does not: hold the tables' locks,
//! ask a shared store, or answer.

use crate::grpc;
use crate::route::{Facts, Match};
use crate::time::Time;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

mod amount;
mod key;
mod keyed;
mod sip;
#[cfg(test)]
mod tests;

pub use amount::{Amount, Cell, How, Level, SLICES, Slices, Taken, Verdict};
pub use key::{Key, MOST_PARTS, Part};
pub use keyed::{Keyed, State};
pub use sip::Sip;

/// One rule, compiled.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `namespace/policy#rule`: same id, same cells.
    pub id: Arc<str>,
    /// `match`: one of them must hold; empty = every request.
    pub when: Vec<Match>,
    /// `key`: at most [`MOST_PARTS`]; empty = one cell for all.
    pub key: Vec<Part>,
    pub amount: Amount,
    /// `overrides`: the first whose key is the request's.
    pub overrides: Vec<Override>,
    pub cost: Cost,
    pub mode: Mode,
    pub answer: Answer,
    /// `scope: service`: where all processes count together; `None` = this process alone.
    pub shared: Option<Shared>,
}

/// `overrides[]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    /// In the order of the rule's `key`; `None` = any value. Each is [`Key::bytes`] of that value alone.
    pub values: Vec<Option<Box<[u8]>>>,
    pub amount: Amount,
}

impl Override {
    /// Is it for this key?
    pub fn fits(&self, key: &Key) -> bool {
        let mut have = key.values();
        let is = |wanted: &Option<Box<[u8]>>, have: Option<&[u8]>| match wanted {
            None => have.is_some(),
            Some(wanted) => have == Some(&**wanted),
        };
        self.values.iter().all(|wanted| is(wanted, have.next()))
    }
}

/// `cost`: what one request takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cost {
    /// Lower case; its value is the cost when it is a number.
    pub header: Option<Box<str>>,
    /// Default 1.
    pub default: u32,
}

/// `mode`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Mode {
    #[default]
    Enforce,
    /// Counts, and refuses nobody.
    Shadow,
}

/// `respond`: what a refused request is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// 400–599; default 429.
    pub status: u16,
    /// What a gRPC request is told; default 14, as for Envoy's local limit.
    pub grpc_status: u8,
    /// Empty = `local_rate_limited`.
    pub body: Box<str>,
    /// Lower-case names.
    pub fields: Vec<(Box<str>, Box<str>)>,
    pub retry_after: RetryAfter,
    pub tell: Tell,
}

/// `respond.headers.retry-after`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RetryAfter {
    /// Seconds until there is enough, rounded up, at least 1.
    #[default]
    Auto,
    Nothing,
}

/// `respond.headers.x-ratelimit`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Tell {
    #[default]
    Nothing,
    /// `x-ratelimit-limit`, `-remaining`, `-reset` on every answer.
    Numbers,
}

/// `store.redis`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shared {
    /// `redis://[user:password@]host:port[/database]`; several, separated by commas, are nodes of one cluster.
    pub url: Arc<str>,
    /// How long a request waits for it; default 5 ms.
    pub timeout: Duration,
    pub on_error: OnError,
    /// `bucketDuration`: the slices of a rolling window; `None` = a twentieth of it.
    pub slice: Option<Duration>,
}

/// `onError`: what happens to requests that the store could not be asked about.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Debug)]
pub enum OnError {
    /// They go on, uncounted.
    #[default]
    Allow,
    /// They are refused as if there were too many.
    Deny,
}

/// A rule as a chain of filters has it.
#[derive(Clone, Debug)]
pub struct Limit {
    pub rules: Arc<Rules>,
    /// Where its counts are among [`crate::plan::Plan::rates`].
    pub index: RateIndex,
}

/// A place in [`crate::plan::Plan::rates`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RateIndex(pub u32);

/// What a request asks of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish {
    pub key: Key,
    pub amount: Amount,
    pub cost: u32,
}

/// What a limit said about one request, for its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    pub index: RateIndex,
    /// Of the key's text; not its text: that may be a secret.
    pub key: u64,
    pub cost: u32,
    pub said: Said,
}

/// The same, when it no longer has its plan beside it.
#[derive(Clone, Debug)]
pub struct Judged {
    pub rules: Arc<Rules>,
    pub mark: Mark,
}

/// The answer of a process's cells, or of the shared store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    Taken(Taken),
    /// The store did not answer, or not in time: [`OnError`] decides.
    Unknown,
}

impl Rules {
    /// A rule for every request, with the defaults.
    pub fn new(id: Arc<str>, amount: Amount) -> Self {
        Self {
            id,
            when: Vec::new(),
            key: Vec::new(),
            amount,
            overrides: Vec::new(),
            cost: Cost { header: None, default: 1 },
            mode: Mode::Enforce,
            answer: Answer::default(),
            shared: None,
        }
    }

    /// What the request asks; `None` when the rule is not for it.
    pub fn wish(&self, facts: &Facts<'_>, peer: IpAddr) -> Option<Wish> {
        if !self.when.is_empty() && !self.when.iter().any(|when| when.holds(facts)) {
            return None;
        }
        let key = Key::of(&self.key, facts, peer);
        let fits = self.overrides.iter().find(|over| over.fits(&key));
        let amount = fits.map_or(self.amount, |over| over.amount);
        Some(Wish { key, amount, cost: self.cost.of(facts) })
    }

    /// Does this end the request?
    pub fn refuses(&self, said: Said) -> bool {
        let limited = match (said, &self.shared) {
            (Said::Taken(taken), _) => taken.verdict == Verdict::Limited,
            (Said::Unknown, Some(shared)) => shared.on_error == OnError::Deny,
            (Said::Unknown, None) => false,
        };
        limited && self.mode == Mode::Enforce
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 429,
            grpc_status: grpc::UNAVAILABLE,
            body: "".into(),
            fields: Vec::new(),
            retry_after: RetryAfter::Auto,
            tell: Tell::Nothing,
        }
    }
}

impl Cost {
    fn of(&self, facts: &Facts<'_>) -> u32 {
        let Some(header) = &self.header else { return self.default };
        let mut cost = None;
        facts.headers.each(header, &mut |value| {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
            cost = cost.or(number);
        });
        cost.unwrap_or(self.default)
    }
}

impl Wish {
    /// Which cell it is about: the rule and the key, under the process's secret.
    pub fn tag(&self, rules: &Rules, secret: Sip) -> u64 {
        secret.hash(&[rules.id.as_bytes(), self.key.bytes(), &[self.amount.how as u8]])
    }

    /// Takes it from the cell, when there is enough.
    pub fn take(&self, cell: &mut Cell, now: Time) -> Taken {
        self.amount.take(cell, self.cost, now)
    }
}

impl Level {
    /// `retry-after`: whole seconds, at least one.
    pub fn retry_after(&self) -> u64 {
        seconds(self.reset).max(1)
    }

    /// `x-ratelimit-reset`: whole seconds.
    pub fn reset_seconds(&self) -> u64 {
        seconds(self.reset)
    }
}

fn seconds(length: Duration) -> u64 {
    length.as_secs() + u64::from(length.subsec_nanos() > 0)
}
