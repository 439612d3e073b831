//! A modelled server: workers, a bounded queue, service times, failures, and outages over time.
//!
//! ```text
//!   arrive ─► outage or unlucky draw ─────────────────────────► its fate at once
//!      │
//!      ├─ a worker is free ─► busy for a drawn time ─► done ─► response; the first of the queue begins
//!      └─ queue ─► (full: 503 at once)
//! ```
//! A server works on although its client has left, as most do. Does not: call other services yet.

use crate::latency::{Latency, share};
use std::collections::VecDeque;
use std::time::Duration;
use weir_policy::rng::Rng;
use weir_policy::time::Time;

/// How a server behaves. The default answers at once, any number at a time.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// Requests served at a time, ≥ 1.
    pub workers: u32,
    /// Requests that may wait for a worker; more are answered 503.
    pub queue: u32,
    /// How long a worker needs for one.
    pub latency: Latency,
    /// Each request draws once; the shares are percent and add up.
    pub failures: Vec<Failure>,
    pub outages: Vec<Outage>,
}

/// So many percent of requests end this way.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Failure {
    pub percent: f64,
    pub fate: Fate,
}

/// How a request ends that is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// A response with this status, without work.
    Status(u16),
    /// The connection is refused.
    Refused,
    /// The connection is closed before a response.
    Closed,
    /// Nothing ever comes.
    Silence,
}

/// From `from` until before `until` the server is not well.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Outage {
    pub from: Time,
    pub until: Time,
    pub fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// Every request ends so.
    Every(Fate),
    /// Work takes so many times as long.
    Slow(f64),
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            workers: u32::MAX,
            queue: u32::MAX,
            latency: Latency::Constant(Duration::ZERO),
            failures: Vec::new(),
            outages: Vec::new(),
        }
    }
}

/// What comes of an arrival. `J` names the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// A worker has it until then.
    Busy(Time),
    Queued,
    /// It is not served.
    Ended(Fate),
}

/// The first of the queue begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun<J> {
    pub job: J,
    pub until: Time,
}

/// The living state: who is busy, who waits.
#[derive(Debug)]
pub struct Server<J> {
    rules: Rules,
    busy: u32,
    queue: VecDeque<J>,
}

impl<J> Server<J> {
    /// An idle server.
    pub fn new(rules: Rules) -> Self {
        Self { rules, busy: 0, queue: VecDeque::new() }
    }

    /// A request arrives.
    pub fn arrive(&mut self, job: J, rng: &mut Rng, now: Time) -> Arrival {
        if let Some(fate) = self.fate(rng, now) {
            return Arrival::Ended(fate);
        }
        if self.busy < self.rules.workers {
            self.busy += 1;
            return Arrival::Busy(now + self.work(rng, now));
        }
        if self.queue.len() as u64 >= u64::from(self.rules.queue) {
            return Arrival::Ended(Fate::Status(503));
        }
        self.queue.push_back(job);
        Arrival::Queued
    }

    /// A worker is done; it takes the next.
    pub fn done(&mut self, rng: &mut Rng, now: Time) -> Option<Begun<J>> {
        let Some(job) = self.queue.pop_front() else {
            self.busy -= 1;
            return None;
        };
        Some(Begun { job, until: now + self.work(rng, now) })
    }

    /// Does it lie in an outage in which nothing gets through whole? What it had under way then ends so.
    pub fn down(&self, now: Time) -> Option<Fate> {
        self.outages(now).find_map(|outage| match outage.fault {
            Fault::Every(fate) => Some(fate),
            Fault::Slow(_) => None,
        })
    }

    fn outages(&self, now: Time) -> impl Iterator<Item = &Outage> {
        self.rules.outages.iter().filter(move |outage| outage.from <= now && now < outage.until)
    }

    fn fate(&self, rng: &mut Rng, now: Time) -> Option<Fate> {
        if let Some(fate) = self.down(now) {
            return Some(fate);
        }
        if self.rules.failures.is_empty() {
            return None;
        }
        let mut left = share(rng) * 100.0;
        self.rules.failures.iter().find_map(|failure| {
            left -= failure.percent;
            (left < 0.0).then_some(failure.fate)
        })
    }

    fn work(&self, rng: &mut Rng, now: Time) -> Duration {
        let length = self.rules.latency.draw(rng);
        self.outages(now).fold(length, |length, outage| match outage.fault {
            Fault::Slow(times) => Duration::from_secs_f64((length.as_secs_f64() * times).clamp(0.0, 3600.0)),
            Fault::Every(_) => length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_then_queue_then_503() {
        let latency = Latency::Constant(Duration::from_millis(10));
        let mut server = Server::new(Rules { workers: 1, queue: 1, latency, ..Rules::default() });
        let mut rng = Rng::new(1);
        assert_eq!(server.arrive('a', &mut rng, Time::ZERO), Arrival::Busy(Time::from_millis(10)));
        assert_eq!(server.arrive('b', &mut rng, Time::ZERO), Arrival::Queued);
        assert_eq!(server.arrive('c', &mut rng, Time::ZERO), Arrival::Ended(Fate::Status(503)));
        let begun = server.done(&mut rng, Time::from_millis(10));
        assert_eq!(begun, Some(Begun { job: 'b', until: Time::from_millis(20) }));
        assert_eq!(server.done(&mut rng, Time::from_millis(20)), None);
        assert_eq!(server.arrive('d', &mut rng, Time::from_millis(20)), Arrival::Busy(Time::from_millis(30)));
    }

    #[test]
    fn shares_of_failures_and_outages_hold() {
        let failures =
            vec![Failure { percent: 10.0, fate: Fate::Status(500) }, Failure { percent: 5.0, fate: Fate::Closed }];
        let outage =
            Outage { from: Time::from_millis(100), until: Time::from_millis(200), fault: Fault::Every(Fate::Refused) };
        let mut server = Server::new(Rules { failures, outages: vec![outage], ..Rules::default() });
        let mut rng = Rng::new(3);
        let all: Vec<_> = (0..10_000).map(|_| server.arrive((), &mut rng, Time::ZERO)).collect();
        let count = |fate| all.iter().filter(|arrival| **arrival == Arrival::Ended(fate)).count();
        assert!((900..1100).contains(&count(Fate::Status(500))) && (430..570).contains(&count(Fate::Closed)));
        for (at, down) in [(99, false), (100, true), (199, true), (200, false)] {
            assert_eq!(server.down(Time::from_millis(at)).is_some(), down, "{at}");
        }
    }
}
