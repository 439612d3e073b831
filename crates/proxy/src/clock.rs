//! The one place of the data plane that reads the clock.
//!
//! Does not: schedule anything.

#![allow(clippy::disallowed_methods, reason = "this is the place the ban points to")]

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

/// A second since the epoch as HTTP writes it (RFC 9110 section 5.6.7).
pub(crate) fn http_date(second: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second))
}
