//! How many retries a cluster's traffic may carry: the brake on retry storms.
//!
//! ```text
//!   default   retries started in the last 10 s  ≤  20 % of first tries in the last 10 s + 3 per second
//!   written   retries at this moment            <  max(percent of requests under way, minimum)    (Envoy's formula)
//! ```
//! Does not: count retries under way ([`crate::inflight`] does).

use crate::inflight::Inflight;
use crate::time::Time;
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
    /// `budgetInterval`: when set, requests started within it count, not only those under way. Looks back 10 s at most.
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
}

/// The budget said no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted;

impl Budget {
    /// A first try was started.
    pub fn first(&mut self, now: Time) {
        self.firsts.count(now);
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
                    Some(_) => self.firsts.sum(now) as f64,
                    None => f64::from(inflight.requests) + f64::from(inflight.pending),
                };
                let earned = (base * written.percent / 100.0).max(f64::from(written.minimum));
                f64::from(inflight.retries) < earned
            }
        };
        if !allowed {
            return Err(Exhausted);
        }
        self.retries.count(now);
        Ok(())
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
            budget.first(now);
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
}
