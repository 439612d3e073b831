//! Local rate limits: token buckets that fill steadily, as Envoy's local_ratelimit filter has them.
//!
//! ```text
//!   request ─► enabled? ─► a token of each matching descriptor (slowest first), then of the default bucket
//!                │ no          │ all there                     │ one is missing
//!                ▼             ▼                               ▼
//!                on ◄──────── allowed                      enforced? ─yes──► our answer: 429 `local_rate_limited`
//!                                                              └─no──► on, with the fields that mark it
//! ```
//! A bucket holds at most `max` tokens, starts full, and gains `per_fill` tokens in each `interval`, little by little.
//! It counts for the process. Does not: share tokens between processes, or queue.

use crate::grpc;
use crate::route::{Edits, Facts};
use crate::share::Share;
use crate::time::Time;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

mod descriptor;
#[cfg(test)]
mod tests;

pub use descriptor::{Absent, Action, Descriptor, Entry};

/// One limit, compiled.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// `namespace/policy#rule`: same id, same living tokens.
    pub id: Arc<str>,
    /// `token_bucket`; `None` = only descriptors limit.
    pub fill: Option<Fill>,
    /// `descriptors`, each with a bucket of its own.
    pub descriptors: Vec<Descriptor>,
    /// `always_consume_default_token_bucket`.
    pub default_use: DefaultUse,
    /// `filter_enabled`; Envoy's default is none.
    pub enabled: Share,
    /// `filter_enforced`; Envoy's default is none.
    pub enforced: Share,
    /// `status`, ≥ 400 (anything below is 429).
    pub status: u16,
    /// What a gRPC request is told.
    pub grpc_status: u8,
    pub scope: Scope,
    pub tell: Tell,
    /// `response_headers_to_add`, for answers of ours.
    pub response: Edits,
    /// `request_headers_to_add_when_not_enforced`.
    pub over: Edits,
}

/// How a bucket fills.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fill {
    /// `max_tokens`, ≥ 1.
    pub max: u32,
    /// `tokens_per_fill`, ≥ 1.
    pub per_fill: u32,
    /// `fill_interval`, ≥ 50 ms.
    pub interval: Duration,
}

/// When the default bucket is asked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DefaultUse {
    /// Always, after the descriptors.
    #[default]
    Always,
    /// Only when no descriptor matches.
    Unmatched,
}

/// What has one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Scope {
    #[default]
    Process,
    /// `local_rate_limit_per_downstream_connection`.
    Connection,
}

/// `enable_x_ratelimit_headers`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Tell {
    #[default]
    Nothing,
    /// `x-ratelimit-limit`, `-remaining`, `-reset` on every answer.
    Numbers,
}

/// A limit as one route uses it: what its requests are described by.
#[derive(Clone, Debug)]
pub struct Limit {
    pub rules: Arc<Rules>,
    /// Where its living tokens are among [`crate::plan::Plan::limits`].
    pub index: LimitIndex,
    /// `rate_limits`: each makes one description of a request.
    pub actions: Vec<Vec<Action>>,
}

/// A place in [`crate::plan::Plan::limits`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LimitIndex(pub u32);

/// Whose tokens were taken, or are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Default,
    /// A place in [`Rules::descriptors`].
    Descriptor(usize),
}

/// What a request was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    pub verdict: Verdict,
    /// The bucket that `x-ratelimit-*` tell of; `None` when none was asked.
    pub which: Option<Which>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Allowed,
    Limited,
}

/// `x-ratelimit-*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    pub limit: u32,
    /// Whole tokens left.
    pub remaining: u32,
    /// Seconds until there is a token, rounded up; 0 when there is one.
    pub reset: u64,
}

/// Tokens that come back steadily.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bucket {
    tokens: f64,
    at: Time,
}

/// The living tokens of one limit, and what it counted.
#[derive(Clone, Debug)]
pub struct Tokens {
    rules: Arc<Rules>,
    default: Option<Bucket>,
    descriptors: Vec<Bucket>,
    pub allowed: u64,
    pub limited: u64,
}

impl Fill {
    /// Tokens per second.
    fn rate(&self) -> f64 {
        f64::from(self.per_fill) / self.interval.as_secs_f64()
    }
}

impl Bucket {
    /// A full one.
    pub fn full(fill: &Fill, now: Time) -> Self {
        Self { tokens: f64::from(fill.max), at: now }
    }

    /// Takes a token, when there is a whole one.
    pub fn admit(&mut self, fill: &Fill, now: Time) -> Verdict {
        let there = self.there(fill, now);
        if there < 1.0 {
            return Verdict::Limited;
        }
        *self = Self { tokens: there - 1.0, at: self.at.max(now) };
        Verdict::Allowed
    }

    /// What is left and when there is more.
    pub fn numbers(&self, fill: &Fill, now: Time) -> Numbers {
        let there = self.there(fill, now);
        let reset = if there >= 1.0 { 0 } else { ((1.0 - there) / fill.rate()).ceil() as u64 };
        Numbers { limit: fill.max, remaining: there as u32, reset }
    }

    /// The same tokens under other rules: never more than the new bucket holds.
    fn renew(&mut self, old: &Fill, new: &Fill, now: Time) {
        *self = Self { tokens: self.there(old, now).min(f64::from(new.max)), at: now };
    }

    fn there(&self, fill: &Fill, now: Time) -> f64 {
        (self.tokens + now.since(self.at).as_secs_f64() * fill.rate()).min(f64::from(fill.max))
    }
}

impl Tokens {
    /// Full buckets for these rules.
    pub fn new(rules: Arc<Rules>, now: Time) -> Self {
        let default = rules.fill.as_ref().map(|fill| Bucket::full(fill, now));
        let descriptors = rules.descriptors.iter().map(|descriptor| Bucket::full(&descriptor.fill, now)).collect();
        Self { rules, default, descriptors, allowed: 0, limited: 0 }
    }

    /// The rules in force.
    pub const fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Takes new rules; tokens stay where the bucket does. Returns the old rules: drop them elsewhere.
    pub fn renew(&mut self, rules: Arc<Rules>, now: Time) -> Arc<Rules> {
        let old = Arc::clone(&self.rules);
        match (&mut self.default, &old.fill, &rules.fill) {
            (Some(bucket), Some(before), Some(after)) => bucket.renew(before, after, now),
            (default, _, fill) => *default = fill.as_ref().map(|fill| Bucket::full(fill, now)),
        }
        let descriptors = rules.descriptors.iter().map(|after| {
            let before = old.descriptors.iter().zip(&self.descriptors);
            let kept = before.into_iter().find(|(before, _)| before.entries == after.entries);
            kept.map_or_else(
                || Bucket::full(&after.fill, now),
                |(before, bucket)| {
                    let mut bucket = *bucket;
                    bucket.renew(&before.fill, &after.fill, now);
                    bucket
                },
            )
        });
        self.descriptors = descriptors.collect();
        std::mem::replace(&mut self.rules, rules)
    }

    /// One request: takes a token of each of `matched` (in their order) and of the default bucket.
    pub fn admit(&mut self, matched: &[usize], now: Time) -> Taken {
        let rules = Arc::clone(&self.rules);
        let taken = self.take(&rules, matched, now);
        match taken.verdict {
            Verdict::Allowed => self.allowed += 1,
            Verdict::Limited => self.limited += 1,
        }
        taken
    }

    fn take(&mut self, rules: &Rules, matched: &[usize], now: Time) -> Taken {
        for &at in matched {
            // Matched under rules that a reload has replaced meanwhile: such a descriptor limits no more.
            let (Some(bucket), Some(descriptor)) = (self.descriptors.get_mut(at), rules.descriptors.get(at)) else {
                continue;
            };
            if bucket.admit(&descriptor.fill, now) == Verdict::Limited {
                return Taken { verdict: Verdict::Limited, which: Some(Which::Descriptor(at)) };
            }
        }
        let first = matched.first().map(|at| Which::Descriptor(*at));
        let (Some(bucket), Some(fill)) = (&mut self.default, &rules.fill) else {
            return Taken { verdict: Verdict::Allowed, which: first };
        };
        if first.is_some() && rules.default_use == DefaultUse::Unmatched {
            return Taken { verdict: Verdict::Allowed, which: first };
        }
        match bucket.admit(fill, now) {
            Verdict::Limited => Taken { verdict: Verdict::Limited, which: Some(Which::Default) },
            Verdict::Allowed => Taken { verdict: Verdict::Allowed, which: Some(first.unwrap_or(Which::Default)) },
        }
    }

    /// `x-ratelimit-*` of a bucket, now.
    pub fn numbers(&self, which: Which, now: Time) -> Option<Numbers> {
        match which {
            Which::Default => Some(self.default.as_ref()?.numbers(self.rules.fill.as_ref()?, now)),
            Which::Descriptor(at) => {
                Some(self.descriptors.get(at)?.numbers(&self.rules.descriptors.get(at)?.fill, now))
            }
        }
    }
}

impl Rules {
    /// Rules with Envoy's defaults: never enabled.
    pub fn new(id: Arc<str>, fill: Option<Fill>) -> Self {
        Self {
            id,
            fill,
            descriptors: Vec::new(),
            default_use: DefaultUse::Always,
            enabled: Share::NONE,
            enforced: Share::NONE,
            status: 429,
            grpc_status: grpc::UNAVAILABLE,
            scope: Scope::Process,
            tell: Tell::Nothing,
            response: Edits::default(),
            over: Edits::default(),
        }
    }
}

impl Limit {
    /// The descriptors that a request matches, slowest first.
    pub fn matched(&self, facts: &Facts<'_>, peer: IpAddr) -> Vec<usize> {
        if self.rules.descriptors.is_empty() || self.actions.is_empty() {
            return Vec::new();
        }
        let described = self.actions.iter().filter_map(|actions| descriptor::describe(actions, facts, peer));
        let mut matched: Vec<usize> = described
            .filter_map(|entries| self.rules.descriptors.iter().position(|descriptor| descriptor.fits(&entries)))
            .collect();
        let rate = |at: &usize| self.rules.descriptors[*at].fill.rate();
        matched.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
        matched
    }
}
