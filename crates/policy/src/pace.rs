//! How slowly a client may send its request's body or read its answer: patience that waiting uses up and bytes earn back.
//!
//! ```text
//!   patience ──┬── waits for the client: used up as time passes ──► none left: too slow
//!              └── bytes move: 1 / rate second earned for each, never more than the whole patience
//! ```
//! A client that stops is ended when its patience is over; one that trickles below the rate, hardly later; one that
//! keeps the rate, never. Time in which we do not wait for the client is free. Does not: know the direction.

use crate::time::Time;
use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    whole: Duration,
    /// Bytes per second; 0 = any byte earns the whole patience.
    rate: u32,
    left: Duration,
    waiting: Option<Time>,
}

impl Pace {
    /// Waits `patience` at most; `rate` bytes per second (0 = any) keep it up.
    pub const fn new(patience: Duration, rate: u32) -> Self {
        Self { whole: patience, rate, left: patience, waiting: None }
    }

    /// We wait for the client, from now or from earlier on.
    pub fn wait(&mut self, now: impl FnOnce() -> Time) {
        if self.waiting.is_none() {
            self.waiting = Some(now());
        }
    }

    /// `bytes` moved, or (0) it is not the client that we wait for any more. Reads the clock only when it must.
    pub fn moved(&mut self, bytes: u64, now: impl FnOnce() -> Time) {
        if let Some(since) = self.waiting.take() {
            self.left = self.left.saturating_sub(now().since(since));
        }
        if bytes == 0 || self.left == self.whole {
            return;
        }
        let earned = match self.rate {
            0 => self.whole,
            rate => Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / u64::from(rate)),
        };
        self.left = self.left.saturating_add(earned).min(self.whole);
    }

    /// When the patience is over, unless bytes move before.
    pub fn due(&self) -> Option<Time> {
        Some(self.waiting? + self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// `bytes` every `gap` milliseconds: when it is found too slow, in milliseconds; at most 1,000 s.
    fn ends(rate: u32, bytes: u64, gap: u64) -> Option<u64> {
        let mut pace = Pace::new(SECOND * 10, rate);
        let mut now = 0;
        while now < 1_000_000 {
            pace.wait(|| at(now));
            let due = pace.due().expect("waiting");
            if due < at(now + gap) {
                return Some(due.nanos() / 1_000_000);
            }
            now += gap;
            pace.moved(bytes, || at(now));
        }
        None
    }

    #[test]
    fn a_client_that_stops_has_its_whole_patience() {
        assert_eq!(ends(240, 0, 60_000), Some(10_000));
        assert_eq!(ends(0, 0, 60_000), Some(10_000));
    }

    #[test]
    fn one_that_trickles_is_ended_hardly_later() {
        let end = ends(240, 1, 1_000).expect("too slow");
        assert!((10_000..10_100).contains(&end), "{end}");
    }

    #[test]
    fn one_that_keeps_the_rate_goes_on() {
        assert_eq!(ends(240, 240, 1_000), None);
        assert_eq!(ends(240, 2_400, 10_000), None);
        assert_eq!(ends(0, 1, 9_999), None);
        assert!(ends(240, 200, 1_000).is_some());
    }

    #[test]
    fn a_large_piece_earns_no_more_than_the_whole() {
        let mut pace = Pace::new(SECOND * 10, 240);
        pace.moved(1 << 30, || at(0));
        pace.wait(|| at(0));
        assert_eq!(pace.due(), Some(at(10_000)));
    }

    #[test]
    fn time_that_is_not_the_clients_is_free() {
        let mut pace = Pace::new(SECOND * 10, 240);
        pace.wait(|| at(0));
        pace.moved(0, || at(9_000));
        assert_eq!(pace.due(), None);
        pace.wait(|| at(500_000));
        assert_eq!(pace.due(), Some(at(501_000)));
    }
}
