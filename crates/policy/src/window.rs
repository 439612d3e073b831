//! Counts over the last ten seconds, in slots of 100 ms: what budgets measure with.
//!
//! Does not: allocate after it was made.

use crate::time::Time;
use std::time::Duration;

const SLOTS: usize = 100;

/// How far back a [`Window`] looks.
pub const LENGTH: Duration = Duration::from_secs(10);
const SLOT_NANOS: u64 = LENGTH.as_nanos() as u64 / SLOTS as u64;

/// A sliding count. The oldest slot leaves as a whole, so it looks back 9.9 to 10 s.
#[derive(Clone, Debug)]
pub struct Window {
    slots: Box<[u32; SLOTS]>,
    sum: u64,
    /// The slot number (since the origin) that `slots` ends with.
    last: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { slots: Box::new([0; SLOTS]), sum: 0, last: 0 }
    }
}

impl Window {
    /// Counts one more at `now`. A `now` before the latest one seen counts into the latest slot.
    pub fn count(&mut self, now: Time) {
        self.advance(now);
        let slot = &mut self.slots[(self.last % SLOTS as u64) as usize];
        *slot = slot.saturating_add(1);
        self.sum += 1;
    }

    /// How many were counted in the last ten seconds.
    pub fn sum(&mut self, now: Time) -> u64 {
        self.advance(now);
        self.sum
    }

    fn advance(&mut self, now: Time) {
        let current = now.nanos() / SLOT_NANOS;
        if current <= self.last {
            return;
        }
        let steps = (current - self.last).min(SLOTS as u64);
        for step in 1..=steps {
            let slot = &mut self.slots[((self.last + step) % SLOTS as u64) as usize];
            self.sum -= u64::from(*slot);
            *slot = 0;
        }
        if current - self.last > SLOTS as u64 {
            // Every slot is empty now; which one comes next does not matter, but it must fit `current`.
            self.sum = 0;
        }
        self.last = current;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_ten_seconds_is_forgotten() {
        let mut window = Window::default();
        for second in 0..5 {
            window.count(Time::from_millis(second * 1000));
        }
        assert_eq!(window.sum(Time::from_millis(9_999)), 5);
        assert_eq!(window.sum(Time::from_millis(10_000)), 4);
        assert_eq!(window.sum(Time::from_millis(13_950)), 1);
        assert_eq!(window.sum(Time::from_millis(1_000_000)), 0);
        window.count(Time::from_millis(999));
        assert_eq!(window.sum(Time::from_millis(1_000_000)), 1, "time that went backwards is still counted");
    }
}
