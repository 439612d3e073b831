//! What was decided about one call on its way: each try, its end, and what was asked then.
//!
//! ```text
//!   Try ─ began ─► (ended: how, how far) ─► retry? ─ Again(until) ─► Try …
//!                                                  └ Answer, Refused
//! ```
//! A call that is answered at the first try writes one entry in place; only a call that goes on allocates. Long calls
//! keep their first and their latest tries. Does not: format or keep records ([`crate::decision`]).

use crate::inflight::Inflight;
use crate::outcome::{Connected, Reached, Result};
use crate::refusal::Refusal;
use crate::retry::No;
use crate::time::Time;
use std::net::SocketAddr;

/// Tries that are kept beside the latest one.
const MOST: usize = 15;

/// One try, with what followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Try {
    /// From 1.
    pub number: u32,
    pub address: SocketAddr,
    pub began: Time,
    /// When its response head arrived, or it failed; `None` = it was broken off.
    pub end: Option<End>,
}

/// How a try ended, and what was asked then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    pub moment: Moment,
    pub result: Result,
    pub reached: Reached,
    pub connected: Connected,
    pub then: Then,
}

/// What the cluster's numbers were when it was asked what follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    pub at: Time,
    /// This try among them.
    pub inflight: Inflight,
    pub spent: Spent,
}

/// What followed a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It was tried again, not before then.
    Again(Time),
    /// Its response went to the client; `Some` = a failure, and this is why it was not tried again.
    Answer(Option<No>),
    Refused(Refusal, Option<No>),
}

/// What of the retry budget was used when a retry was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spent {
    /// First tries, and retries, of the last ten seconds.
    pub firsts: u64,
    pub retries: u64,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Trail {
    earlier: Vec<Try>,
    latest: Option<Try>,
    /// Tries in the middle that are not kept.
    left_out: u32,
}

impl Trail {
    /// Every try that is kept, in order.
    pub fn tries(&self) -> impl Iterator<Item = &Try> {
        self.earlier.iter().chain(&self.latest)
    }

    /// Tries in the middle of a long call that are not kept.
    pub const fn left_out(&self) -> u32 {
        self.left_out
    }

    pub(crate) fn begin(&mut self, number: u32, address: SocketAddr, now: Time) {
        if let Some(before) = self.latest.take() {
            if self.earlier.len() == MOST {
                self.earlier.remove(MOST / 2);
                self.left_out += 1;
            }
            self.earlier.push(before);
        }
        self.latest = Some(Try { number, address, began: now, end: None });
    }

    pub(crate) const fn end(&mut self, end: End) {
        if let Some(latest) = &mut self.latest {
            latest.end = Some(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_call_keeps_its_first_and_its_latest_tries() {
        let mut trail = Trail::default();
        for number in 1..=100 {
            trail.begin(number, SocketAddr::from(([127, 0, 0, 1], 80)), Time::from_millis(u64::from(number)));
        }
        let numbers: Vec<u32> = trail.tries().map(|one| one.number).collect();
        assert_eq!((numbers.len(), numbers[..7].to_vec(), numbers[15]), (16, vec![1, 2, 3, 4, 5, 6, 7], 100));
        assert_eq!(trail.left_out() as usize + numbers.len(), 100);
    }
}
