//! One worker's series: found by a small key, counted without a lock.
//!
//! ```text
//!   key (labels, status, flags, protocol) ─► seen before? ─► its counters
//!                                              │ no: made, while there is room; else all share one series "other"
//! ```
//! Does not: format.

use crate::histogram::{BYTES, Counter, DURATION_MICROS, Histogram, Total};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Series of one worker. Beyond them requests are still counted, under the labels of [`SeriesKey::OTHER`].
pub const MOST_SERIES: usize = 10_000;

/// `request_protocol`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Protocol {
    Http,
    Grpc,
}

/// What tells one series of requests from another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SeriesKey {
    /// Of [`crate::Registry::labels`]; `None` when no service was reached.
    pub labels: Option<u32>,
    pub status: u16,
    /// Bits whose text the caller of `render` knows.
    pub flags: u32,
    pub protocol: Protocol,
    /// `grpc_response_status`: 0 to 16; `None` where there is none.
    pub grpc: Option<u8>,
}

impl SeriesKey {
    /// Where requests are counted that found no room.
    pub const OTHER: Self = Self { labels: Some(u32::MAX), status: 0, flags: 0, protocol: Protocol::Http, grpc: None };
}

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub duration: Duration,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// The counters of one key.
#[derive(Default, Debug)]
pub struct Counters {
    requests: Counter,
    duration: Histogram<20>,
    request_bytes: Histogram<12>,
    response_bytes: Histogram<12>,
}

/// The sum of one key's counters over all shards.
#[derive(Clone, Default, Debug)]
pub struct Totals {
    pub requests: u64,
    pub duration: Total<20>,
    pub request_bytes: Total<12>,
    pub response_bytes: Total<12>,
}

impl Counters {
    fn record(&self, sample: &Sample) {
        self.requests.add(1);
        let micros = u64::try_from(sample.duration.as_micros()).unwrap_or(u64::MAX);
        self.duration.record(micros, &DURATION_MICROS);
        self.request_bytes.record(sample.request_bytes, &BYTES);
        self.response_bytes.record(sample.response_bytes, &BYTES);
    }

    /// Adds what is counted here to `totals`.
    pub fn add_to(&self, totals: &mut Totals) {
        totals.requests += self.requests.value();
        self.duration.add_to(&mut totals.duration);
        self.request_bytes.add_to(&mut totals.request_bytes);
        self.response_bytes.add_to(&mut totals.response_bytes);
    }
}

/// The readers' side of a shard.
#[derive(Default, Debug)]
pub struct Series(RwLock<Vec<(SeriesKey, Arc<Counters>)>>);

impl Series {
    /// Calls `see` for each key.
    pub fn each(&self, mut see: impl FnMut(&SeriesKey, &Counters)) {
        // A panic while a series was added leaves the list whole.
        for (key, counters) in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            see(key, counters);
        }
    }
}

/// The worker's side.
#[derive(Debug, Default)]
pub struct Shard {
    known: HashMap<SeriesKey, Arc<Counters>>,
    /// The key of the latest request: most often the next one's too.
    last: Option<(SeriesKey, Arc<Counters>)>,
    series: Arc<Series>,
}

impl Shard {
    pub fn new() -> Self {
        Self::default()
    }

    /// What `render` reads.
    pub fn series(&self) -> Arc<Series> {
        Arc::clone(&self.series)
    }

    /// Counts a request.
    pub fn record(&mut self, key: &SeriesKey, sample: &Sample) {
        match &self.last {
            Some((last, counters)) if last == key => counters.record(sample),
            _ => {
                let counters = self.find(key);
                counters.record(sample);
                self.last = Some((*key, counters));
            }
        }
    }

    fn find(&mut self, key: &SeriesKey) -> Arc<Counters> {
        let key =
            if self.known.len() >= MOST_SERIES && !self.known.contains_key(key) { &SeriesKey::OTHER } else { key };
        let series = &self.series;
        let counters = self.known.entry(*key).or_insert_with(|| {
            let counters = Arc::new(Counters::default());
            series.0.write().unwrap_or_else(PoisonError::into_inner).push((*key, Arc::clone(&counters)));
            counters
        });
        Arc::clone(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_requests_are_counted_as_other() {
        let mut shard = Shard::new();
        let sample = Sample { duration: Duration::ZERO, request_bytes: 0, response_bytes: 0 };
        for number in 0..MOST_SERIES as u32 + 50 {
            let key = SeriesKey { labels: Some(number), status: 200, flags: 0, protocol: Protocol::Http, grpc: None };
            shard.record(&key, &sample);
        }
        let (mut series, mut requests, mut other) = (0, 0, 0);
        shard.series().each(|key, counters| {
            let mut totals = Totals::default();
            counters.add_to(&mut totals);
            series += 1;
            requests += totals.requests;
            other += if *key == SeriesKey::OTHER { totals.requests } else { 0 };
        });
        assert_eq!((series, requests, other), (MOST_SERIES + 1, MOST_SERIES as u64 + 50, 50));
    }
}
