//! The one place of the data plane that reads the clock.
//!
//! Does not: schedule anything.

#![allow(clippy::disallowed_methods, reason = "this is the place the ban points to")]

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir_policy::time::Time;

/// Monotonic time since the process started, and the wall clock for logs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// The runtime's name for a moment of ours.
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        let length = Duration::from_nanos(time.nanos());
        // A moment beyond what the platform can say is as good as thirty years from now.
        let far = Duration::from_secs(60 * 60 * 24 * 365 * 30);
        tokio::time::Instant::from_std(self.origin.checked_add(length).unwrap_or_else(|| self.origin + far))
    }

    /// Milliseconds since the epoch.
    pub(crate) fn unix_millis(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |length| u64::try_from(length.as_millis()).unwrap_or(0))
    }
}

/// A worker's view of the clock. While one readiness event is dealt with, time stands still: the clock is read once,
/// and all that is decided in that moment agrees on it.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: Clock,
    reading: Cell<Reading>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    /// No event: every look reads the clock.
    Passing,
    /// An event, and nobody has looked yet.
    Due,
    Still(Time),
}

impl Watch {
    pub(crate) const fn new(clock: Clock) -> Self {
        Self { clock, reading: Cell::new(Reading::Passing) }
    }

    pub(crate) fn now(&self) -> Time {
        match self.reading.get() {
            Reading::Still(now) => now,
            Reading::Passing => self.clock.now(),
            Reading::Due => {
                let now = self.clock.now();
                self.reading.set(Reading::Still(now));
                now
            }
        }
    }

    /// An event begins.
    pub(crate) fn stop(&self) {
        self.reading.set(Reading::Due);
    }

    /// It is dealt with.
    pub(crate) fn go_on(&self) {
        self.reading.set(Reading::Passing);
    }

    /// As [`Clock::instant`].
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        self.clock.instant(time)
    }

    /// As [`Clock::unix_millis`].
    pub(crate) fn unix_millis(&self) -> u64 {
        self.clock.unix_millis()
    }
}

/// A second since the epoch as HTTP writes it (RFC 9110 section 5.6.7).
pub(crate) fn http_date(second: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second))
}
