//! When a request has taken too long: whole request, one try.
//!
//! ```text
//!   request received ─┬────────── whole ──────────────────────────► 504, or the response is cut off
//!                     ├─ per try ─► next try ─ per try ─► …          (no longer once a response has begun)
//! ```
//! The clock of both starts when the whole request has been received, as Envoy's does: a slow upload is not the
//! upstream's fault. Does not: fire timers.

use crate::time::Time;
use std::time::Duration;

/// `http[].timeout` and `retries.perTryTimeout`; `None` = no limit (Istio's default).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rules {
    /// Whole request with all tries and back-off.
    pub whole: Option<Duration>,
    /// Each try, the first included. Lowering drops it when it is not below `whole`, as Envoy does.
    pub per_try: Option<Duration>,
}

/// The limits of one try, to be enforced by whoever carries it out. They start when the request is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// When the whole request began to count: known for a later try, or for a request without a body.
    pub received: Option<Time>,
    /// The rules of the route.
    pub rules: Rules,
    /// When this try began.
    pub began: Time,
}

/// Which limit ends a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Whole,
    PerTry,
}

impl Limits {
    /// The earlier of the two deadlines, given when the request was completely received.
    pub fn deadline(&self, received: Time) -> Option<(Time, Which)> {
        let whole = self.rules.whole.map(|length| (received + length, Which::Whole));
        let per_try = self.rules.per_try.map(|length| (self.began.max(received) + length, Which::PerTry));
        match (whole, per_try) {
            (Some(whole), Some(per_try)) => Some(if whole.0 <= per_try.0 { whole } else { per_try }),
            (whole, per_try) => whole.or(per_try),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_deadline_wins_and_a_later_try_counts_from_its_own_start() {
        let rules = Rules { whole: Some(Duration::from_secs(5)), per_try: Some(Duration::from_secs(2)) };
        let first = Limits { received: Some(Time::ZERO), rules, began: Time::ZERO };
        assert_eq!(first.deadline(Time::ZERO), Some((Time::from_millis(2000), Which::PerTry)));
        let late = Limits { began: Time::from_millis(4000), ..first };
        assert_eq!(late.deadline(Time::ZERO), Some((Time::from_millis(5000), Which::Whole)));
        assert_eq!(Limits { rules: Rules::default(), ..first }.deadline(Time::ZERO), None);
    }
}
