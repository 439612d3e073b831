//! What a run came to: counts, latencies, amplification, each endpoint's share, second by second.
//!
//! Does not: print tables yet.

use crate::histogram::Histogram;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use weir_policy::refusal::Refusal;
use weir_policy::time::Time;

/// The counts of a run.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Requests that began.
    pub started: u64,
    /// Those of them that are copies of others.
    pub copies: u64,
    /// Requests that a filter answered, by status: a fault's abort, a limit.
    pub filtered: BTreeMap<u16, u64>,
    /// Requests that are over, one way or another.
    pub ended: u64,
    /// Requests answered by an upstream, by status.
    pub answered: BTreeMap<u16, u64>,
    /// Requests weir answered itself, by the reason's word.
    pub refused: BTreeMap<&'static str, u64>,
    /// Responses that the client did not get to the end: it left, or time ran out.
    pub broken_off: u64,
    /// Tries, first ones included.
    pub tries: u64,
    /// By service and address.
    pub endpoints: BTreeMap<Endpoint, Share>,
    /// From first byte in to last byte out, of requests answered below 500.
    pub latency: Histogram,
    /// By the second in which it happened.
    pub seconds: Vec<Second>,
}

/// One endpoint of one service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Endpoint {
    pub service: usize,
    pub address: SocketAddr,
}

/// What an endpoint had to do with it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Share {
    pub tries: u64,
    /// Tries that ended without a response below 500.
    pub failures: u64,
}

/// What happened in one second.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Second {
    pub started: u64,
    pub tries: u64,
    /// Answered below 500, to the end.
    pub succeeded: u64,
    /// All other ends.
    pub failed: u64,
}

/// A run longer than this has its later seconds in the last one.
const SECONDS: usize = 100_000;

impl Report {
    /// Tries per request.
    pub fn amplification(&self) -> f64 {
        self.tries as f64 / self.started.max(1) as f64
    }

    /// Percent of ended requests that were answered below 500.
    pub fn success_rate(&self) -> f64 {
        100.0 * self.latency.count() as f64 / self.ended.max(1) as f64
    }

    /// The sum of the seconds `from` to before `until`.
    pub fn between(&self, from: usize, until: usize) -> Second {
        let mut sum = Second::default();
        for second in self.seconds.iter().take(until).skip(from) {
            sum.started += second.started;
            sum.tries += second.tries;
            sum.succeeded += second.succeeded;
            sum.failed += second.failed;
        }
        sum
    }

    pub(crate) fn start(&mut self, now: Time) {
        self.started += 1;
        self.second(now).started += 1;
    }

    pub(crate) fn attempt(&mut self, endpoint: Endpoint, now: Time) {
        self.tries += 1;
        self.second(now).tries += 1;
        self.endpoints.entry(endpoint).or_default().tries += 1;
    }

    pub(crate) fn failure(&mut self, endpoint: Endpoint) {
        self.endpoints.entry(endpoint).or_default().failures += 1;
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal, now: Time) {
        self.ended += 1;
        *self.refused.entry(refusal.word()).or_default() += 1;
        self.second(now).failed += 1;
    }

    pub(crate) fn filter(&mut self, status: u16, now: Time) {
        self.ended += 1;
        *self.filtered.entry(status).or_default() += 1;
        self.second(now).failed += 1;
    }

    pub(crate) fn answer(&mut self, status: u16, took: Duration, now: Time) {
        self.ended += 1;
        *self.answered.entry(status).or_default() += 1;
        if status < 500 {
            self.latency.record(took);
            self.second(now).succeeded += 1;
        } else {
            self.second(now).failed += 1;
        }
    }

    pub(crate) fn break_off(&mut self, now: Time) {
        self.ended += 1;
        self.broken_off += 1;
        self.second(now).failed += 1;
    }

    fn second(&mut self, now: Time) -> &mut Second {
        let index = ((now.nanos() / 1_000_000_000) as usize).min(SECONDS);
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Second::default());
        }
        &mut self.seconds[index]
    }
}
