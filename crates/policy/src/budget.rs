//! How many retries a cluster's traffic may carry: the brake on retry storms.
//!
//! ```text
//!   default   retries started in the last 10 s  ≤  20 % of first tries in the last 10 s + 3 per second
//!   written   retries at this moment            <  max(percent of requests under way, minimum)    (Envoy's formula)
//! ```
//! Does not: count retries under way ([`crate::inflight`] does).

use crate::inflight::Inflight;
use crate::time::Time;
use crate::trail::Spent;
use crate::window::{LENGTH, Window};
use std::time::Duration;

const DEFAULT_PERCENT: u64 = 20;
const DEFAULT_PER_SECOND: u64 = 3;

/// Which budget a cluster has.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub enum Rules {
    /// weir's own, when nothing is written.
    #[default]
    Default,
    /// `trafficPolicy.retryBudget` (or the mesh's): replaces `maxRetries`.
    Written(Written),
    /// None: Istio's default.
    Off,
}

/// Envoy's retry budget.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Written {
    /// Of active and waiting requests; default 20.
    pub percent: f64,
    /// `minRetryConcurrency`: so many retries are always allowed; default 3.
    pub minimum: u32,
    /// `budgetInterval`: when set, requests started within it count, not only those under way.
    pub interval: Option<Duration>,
}

impl Default for Written {
    fn default() -> Self {
        Self { percent: 20.0, minimum: 3, interval: None }
    }
}

/// The living state: what was tried lately.
#[derive(Clone, Default, Debug)]
pub struct Budget {
    firsts: Window,
    retries: Window,
    /// First tries within a written interval.
    recent: Recent,
}

/// The budget said no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted;

impl Budget {
    /// A first try was started.
    pub fn first(&mut self, rules: &Rules, now: Time) {
        match rules {
            Rules::Default => self.firsts.count(now),
            Rules::Written(Written { interval: Some(interval), .. }) => self.recent.count(*interval, now),
            Rules::Written(_) | Rules::Off => {}
        }
    }

    /// What is counted now.
    pub fn spent(&mut self, now: Time) -> Spent {
        Spent { firsts: self.firsts.sum(now), retries: self.retries.sum(now) }
    }

    /// May a retry start? Counts it when it may.
    pub fn admit(&mut self, rules: &Rules, inflight: &Inflight, now: Time) -> Result<(), Exhausted> {
        let allowed = match rules {
            Rules::Off => true,
            Rules::Default => {
                let earned = self.firsts.sum(now) * DEFAULT_PERCENT / 100 + DEFAULT_PER_SECOND * LENGTH.as_secs();
                self.retries.sum(now) < earned
            }
            Rules::Written(written) => {
                let base = match written.interval {
                    Some(interval) => self.recent.sum(interval, now) as f64,
                    None => f64::from(inflight.requests) + f64::from(inflight.pending),
                };
                // Whole retries: 24 requests at 20 % earn four.
                let earned = (base * written.percent / 100.0).floor().max(f64::from(written.minimum));
                f64::from(inflight.retries) < earned
            }
        };
        if !allowed {
            return Err(Exhausted);
        }
        if *rules == Rules::Default {
            self.retries.count(now);
        }
        Ok(())
    }
}

const SLOTS: u64 = 10;

/// A count over an interval that documents choose, in ten slots.
#[derive(Clone, Copy, Default, Debug)]
struct Recent {
    slots: [u32; SLOTS as usize],
    /// The number of the latest slot, since the origin, in slots of this length.
    last: u64,
    length: u64,
}

impl Recent {
    fn count(&mut self, interval: Duration, now: Time) {
        self.advance(interval, now);
        let slot = &mut self.slots[(self.last % SLOTS) as usize];
        *slot = slot.saturating_add(1);
    }

    fn sum(&mut self, interval: Duration, now: Time) -> u64 {
        self.advance(interval, now);
        self.slots.iter().map(|slot| u64::from(*slot)).sum()
    }

    fn advance(&mut self, interval: Duration, now: Time) {
        let length = (u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX) / SLOTS).max(1);
        if length != self.length {
            // Another interval: what was counted by the old one says nothing.
            *self = Self { length, last: now.nanos() / length, ..Self::default() };
        }
        let current = now.nanos() / length;
        for step in 1..=current.saturating_sub(self.last).min(SLOTS) {
            self.slots[((self.last + step) % SLOTS) as usize] = 0;
        }
        self.last = self.last.max(current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_at_a_thousand_requests_a_second_is_amplified_by_at_most_a_fifth_and_a_bit() {
        let mut budget = Budget::default();
        let (mut firsts, mut retries) = (0u32, 0u32);
        for tick in 0..60_000u64 {
            let now = Time::from_millis(tick);
            budget.first(&Rules::Default, now);
            firsts += 1;
            for _ in 0..3 {
                retries += u32::from(budget.admit(&Rules::Default, &Inflight::default(), now).is_ok());
            }
        }
        let amplification = f64::from(firsts + retries) / f64::from(firsts);
        assert!((1.15..=1.22).contains(&amplification), "{amplification}");
    }

    #[test]
    fn a_written_budget_is_envoys_formula() {
        let rules = Rules::Written(Written::default());
        let mut budget = Budget::default();
        let busy = |requests, retries| Inflight { requests, retries, ..Inflight::default() };
        assert!(budget.admit(&rules, &busy(25, 4), Time::ZERO).is_ok(), "25 active allow 5");
        assert!(budget.admit(&rules, &busy(25, 5), Time::ZERO).is_err());
        assert!(budget.admit(&rules, &busy(2, 2), Time::ZERO).is_ok(), "2 active still allow 3");
        assert!(budget.admit(&rules, &busy(2, 3), Time::ZERO).is_err());
    }

    #[test]
    fn whole_retries_are_earned() {
        let rules = Rules::Written(Written::default());
        let mut budget = Budget::default();
        let busy = |requests, retries| Inflight { requests, retries, ..Inflight::default() };
        assert!(budget.admit(&rules, &busy(24, 3), Time::ZERO).is_ok());
        assert!(budget.admit(&rules, &busy(24, 4), Time::ZERO).is_err(), "4.8 are four");
    }

    #[test]
    fn with_an_interval_the_requests_started_in_it_count() {
        let rules = Rules::Written(Written { interval: Some(Duration::from_secs(20)), ..Written::default() });
        let mut budget = Budget::default();
        (0..100).for_each(|number| budget.first(&rules, Time::from_millis(number * 10)));
        let retries = |retries| Inflight { retries, ..Inflight::default() };
        let at = Time::from_millis(19_000);
        assert!(budget.admit(&rules, &retries(19), at).is_ok(), "20 % of 100");
        assert!(budget.admit(&rules, &retries(20), at).is_err());
        let later = Time::from_millis(22_000);
        assert!(budget.admit(&rules, &retries(2), later).is_ok() && budget.admit(&rules, &retries(3), later).is_err());
    }
}
