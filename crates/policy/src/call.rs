//! One call's life, from first byte in to last byte out.
//!
//! ```text
//!              ┌────────────── Wait(t) ◄────────────┐ again, after back-off, before the deadline
//!              ▼ woke                               │
//!   start ──► Try(attempt) ──answered(outcome)──────┼──► Answer ──ended──► (gone)
//!     │                                             │
//!     └──► Refuse(why) ◄────────────────────────────┘ no response, and no retry
//! ```
//!
//! The order of questions, here and nowhere else:
//! 1. an endpoint? else `NoHealthy`; 2. the ceiling on requests? else `Overflow` (never retried);
//! 3. the try; 4. after a failure the questions of [`crate::retry`]; 5. the wait, cut short by the deadline.
//!
//! A try counts as under way from its `Try` until `answered` says that another follows, or `ended`. Every path ends
//! in `ended` exactly once; a call that is dropped on the way is ended by the wet side's guard with
//! [`outcome::Result::Abandoned`]. Does not: read a clock or wait.

use crate::cluster::{Cluster, Draw, EndpointId, Tried};
use crate::fault::{self, Rehearsal};
use crate::flag::Flags;
use crate::outcome::{self, Again, ConnectFailure, Outcome};
use crate::outlier;
use crate::refusal::Refusal;
use crate::retry::{self, Idempotency, No, Previous};
use crate::time::Time;
use crate::timeout;
use crate::trail::{End, Moment, Spent, Then, Trail};
use crate::wish::Late;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What the wet side does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Wait until then, and call [`Call::woke`].
    Wait(Time),
    /// Send the request there, and call [`Call::answered`].
    Try(Attempt),
    /// Pass the response on, and call [`Call::ended`] at its end.
    Answer,
    /// Answer it ourselves. The call is over; [`Call::ended`] need not be called.
    Refuse(Refusal),
}

/// One try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub endpoint: EndpointId,
    pub address: SocketAddr,
    /// From 1.
    pub number: u32,
    pub limits: timeout::Limits,
    /// What it feels before its connection, within its limits: the delay, then the abort in place of a response.
    pub fault: fault::Drawn,
}

/// See the module.
#[derive(Debug)]
pub struct Call {
    retry: Option<Arc<retry::Rules>>,
    timeout: timeout::Rules,
    idempotency: Idempotency,
    state: State,
    /// When the request was completely received.
    received: Option<Time>,
    attempts: u32,
    /// Endpoints tried, in order; empty until the first try failed.
    tried: Vec<Tried>,
    /// Whether this call holds a place among the retries under way.
    retrying: Retrying,
    flags: Flags,
    refused: Option<No>,
    /// `faultScope: upstream`: dice for every try.
    rehearsal: Option<Box<Rehearsal>>,
    /// Of the request, for balancers that hash.
    hash: Option<u64>,
    way: Way,
    late: Late,
    /// When it began.
    began: Time,
    trail: Trail,
}

/// Who says where a call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// The balancer.
    Balanced,
    /// The request, for a destination on demand ([`crate::discovery::Discovery::OnDemand`]).
    To(SocketAddr),
    /// The request, and what it names cannot be reached: 503 UH.
    Nowhere,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Fresh,
    Trying(EndpointId),
    Waiting,
    Answering(EndpointId),
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Retrying {
    No,
    Yes,
}

/// A server that asks for more than this is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a server says about another try.
const fn again(outcome: &Outcome) -> Again {
    match outcome.result {
        outcome::Result::Response(response) => response.again,
        _ => Again::Unsaid,
    }
}

impl Call {
    /// A call by the rules of its route. `received` says when the request was complete, if it already is.
    pub fn new(
        retry: Option<Arc<retry::Rules>>,
        timeout: timeout::Rules,
        idempotency: Idempotency,
        received: Option<Time>,
    ) -> Self {
        Self {
            retry,
            timeout,
            idempotency,
            state: State::Fresh,
            received,
            attempts: 0,
            tried: Vec::new(),
            retrying: Retrying::No,
            flags: Flags::NONE,
            refused: None,
            rehearsal: None,
            hash: None,
            way: Way::Balanced,
            late: Late::default(),
            began: Time::ZERO,
            trail: Trail::default(),
        }
    }

    /// The hash that the request's destination balances by.
    #[must_use]
    pub const fn hashed(mut self, hash: Option<u64>) -> Self {
        self.hash = hash;
        self
    }

    /// Who says where it goes.
    #[must_use]
    pub const fn to(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// The fault that each of its tries may feel.
    #[must_use]
    pub fn faulted(mut self, fault: Option<Arc<fault::Rules>>) -> Self {
        self.rehearsal = fault.map(|rules| Box::new(Rehearsal::new(rules)));
        self
    }

    /// How a time-out of this call is answered.
    #[must_use]
    pub const fn late(mut self, late: Late) -> Self {
        self.late = late;
        self
    }

    /// Tries so far, one that found no endpoint or no room included.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What the access log shows of the way so far: URX, UO; DI, FI when any try felt a fault.
    pub const fn flags(&self) -> Flags {
        match &self.rehearsal {
            Some(rehearsal) => self.flags.with(rehearsal.flags),
            None => self.flags,
        }
    }

    /// The abort that [`Refusal::Fault`] answers with.
    pub fn abort(&self) -> Option<fault::Status> {
        self.rehearsal.as_ref()?.abort()
    }

    /// Why the last failure was not retried, when there was one.
    pub const fn refused(&self) -> Option<No> {
        self.refused
    }

    /// What was decided so far.
    pub const fn trail(&self) -> &Trail {
        &self.trail
    }

    /// The same, to be kept.
    pub fn take_trail(&mut self) -> Trail {
        std::mem::take(&mut self.trail)
    }

    /// The endpoint that a try or an answer is under way with.
    pub const fn endpoint(&self) -> Option<EndpointId> {
        match self.state {
            State::Trying(endpoint) | State::Answering(endpoint) => Some(endpoint),
            _ => None,
        }
    }

    /// When the whole request runs out of time.
    pub fn deadline(&self) -> Option<Time> {
        Some(self.received? + self.timeout.whole?)
    }

    /// The first step.
    pub fn start(&mut self, cluster: &mut Cluster, draw: &mut Draw<'_>, now: Time) -> Step {
        debug_assert_eq!(self.state, State::Fresh);
        cluster.counts.firsts += 1;
        self.began = now;
        let budget = cluster.rules().budget;
        cluster.budget.first(&budget, now);
        cluster.tick(now);
        let step = self.attempt(cluster, draw, now);
        cluster.check(now);
        step
    }

    /// A wait is over.
    pub fn woke(&mut self, cluster: &mut Cluster, draw: &mut Draw<'_>, now: Time) -> Step {
        debug_assert_eq!(self.state, State::Waiting);
        let step = match self.deadline() {
            Some(deadline) if now >= deadline => self.refuse(cluster, Refusal::Timeout),
            _ => {
                cluster.tick(now);
                self.attempt(cluster, draw, now)
            }
        };
        cluster.check(now);
        step
    }

    /// A try has an outcome: a response head, or a failure.
    pub fn answered(&mut self, cluster: &mut Cluster, draw: &mut Draw<'_>, outcome: &Outcome, now: Time) -> Step {
        let State::Trying(endpoint) = self.state else {
            debug_assert!(false, "answered without a try");
            return self.refuse(cluster, Refusal::Closed);
        };
        self.received = self.received.or(outcome.received);
        if let Some(rehearsal) = &mut self.rehearsal {
            rehearsal.felt(outcome);
        }
        self.release_retry(cluster);
        cluster.tick(now);
        let late = self.late.status();
        cluster.record(endpoint, |rules| outlier::Seen::of(rules, outcome, late), draw.rng, now);
        let spent = if failed(outcome) { cluster.budget.spent(now) } else { Spent::default() };
        let moment = Moment { at: now, inflight: cluster.inflight, spent };
        let asked = self.ask(cluster, outcome, now);
        let step = match asked {
            Ok(()) => {
                self.tried.push(Tried { endpoint, address: cluster.address(endpoint) });
                self.leave(cluster, endpoint);
                self.back_off(cluster, draw, outcome, now)
            }
            Err(no) => {
                if self.attempts > 1 {
                    cluster.counts.retried.record(now.since(self.began));
                }
                self.settle(cluster, endpoint, outcome, no)
            }
        };
        self.note(outcome, asked.err().flatten(), &step, moment);
        cluster.check(now);
        step
    }

    /// Writes down what followed a try.
    fn note(&mut self, outcome: &Outcome, no: Option<No>, step: &Step, moment: Moment) {
        let uncovered = (failed(outcome) && self.retry.is_some()).then_some(No::Condition);
        let then = match step {
            Step::Wait(until) => Then::Again(*until),
            Step::Refuse(why) => Then::Refused(*why, no.or(uncovered)),
            Step::Answer | Step::Try(_) => Then::Answer(no.or(uncovered)),
        };
        let Outcome { result, reached, connected, .. } = *outcome;
        self.trail.end(End { moment, result, reached, connected, then });
    }

    /// The answer broke off upstream, after its head: the endpoint is to blame. [`Call::ended`] follows.
    pub fn cut(&mut self, cluster: &mut Cluster, draw: &mut Draw<'_>, now: Time) {
        if let State::Answering(endpoint) = self.state {
            cluster.tick(now);
            cluster.record(endpoint, outlier::Seen::cut, draw.rng, now);
        }
    }

    /// The answer was passed on to its end, or broke off, or the client left.
    pub fn ended(&mut self, cluster: &mut Cluster, now: Time) {
        if let State::Trying(endpoint) | State::Answering(endpoint) = self.state {
            self.leave(cluster, endpoint);
        }
        self.release_retry(cluster);
        self.state = State::Over;
        cluster.check(now);
    }

    /// Is there nothing left to give back?
    pub const fn over(&self) -> bool {
        matches!(self.state, State::Over | State::Fresh)
    }

    fn attempt(&mut self, cluster: &mut Cluster, draw: &mut Draw<'_>, now: Time) -> Step {
        self.attempts += 1;
        let picks = self.retry.as_ref().map_or(0, |rules| match rules.previous {
            Previous::Avoid => rules.picks,
            Previous::Allow => 0,
        });
        let tried: &[Tried] = if picks == 0 { &[] } else { &self.tried };
        let picked = match self.way {
            Way::Balanced => cluster.pick(tried, picks, self.hash, draw),
            Way::To(address) => Some(cluster.visit(address)),
            Way::Nowhere => None,
        };
        let Some(endpoint) = picked else { return self.refuse(cluster, Refusal::NoHealthy) };
        let ceiling = cluster.rules().inflight;
        if cluster.inflight.admit(&ceiling).is_err() {
            cluster.counts.overflow_requests += 1;
            return self.refuse(cluster, Refusal::Overflow);
        }
        cluster.begin(endpoint);
        self.state = State::Trying(endpoint);
        let limits = timeout::Limits { received: self.received, rules: self.timeout, began: now };
        let address = cluster.address(endpoint);
        self.trail.begin(self.attempts, address, now);
        let fault = self.rehearsal.as_mut().map_or_else(Default::default, |rehearsal| rehearsal.next(draw.rng));
        Step::Try(Attempt { endpoint, address, number: self.attempts, limits, fault })
    }

    /// The questions of [`crate::retry`], in their order. `Ok` = again, and the retry is counted.
    fn ask(&self, cluster: &mut Cluster, outcome: &Outcome, now: Time) -> Result<(), Option<No>> {
        let Some(rules) = &self.retry else { return Err(None) };
        if !rules.covers(outcome) {
            return Err(None);
        }
        let refuse = |cluster: &mut Cluster, no: No| {
            cluster.counts.refuse(no);
            Err(Some(no))
        };
        if outcome.interim == outcome::Interim::Passed {
            return refuse(cluster, No::Started);
        }
        if !rules.guard(outcome, self.idempotency) {
            return refuse(cluster, No::Method);
        }
        if self.attempts > rules.attempts {
            return refuse(cluster, No::Attempts);
        }
        let wait = match again(outcome) {
            Again::Unsaid => Duration::ZERO,
            Again::After(length) if length > LONGEST_WAIT => return refuse(cluster, No::Time),
            Again::After(length) => length,
            Again::Never => return refuse(cluster, No::PushBack),
        };
        if self.deadline().is_some_and(|deadline| now + wait >= deadline) {
            return refuse(cluster, No::Time);
        }
        if cluster.inflight.retries >= cluster.rules().inflight.retries {
            return refuse(cluster, No::MaxRetries);
        }
        if outcome.body == outcome::Body::NotKept {
            return refuse(cluster, No::BodyNotKept);
        }
        let (budget, inflight) = (cluster.rules().budget, cluster.inflight);
        if cluster.budget.admit(&budget, &inflight, now).is_err() {
            return refuse(cluster, No::Budget);
        }
        cluster.inflight.retries += 1;
        cluster.counts.retries += 1;
        Ok(())
    }

    fn back_off(&mut self, cluster: &mut Cluster, draw: &mut Draw<'_>, outcome: &Outcome, now: Time) -> Step {
        self.state = State::Waiting;
        self.retrying = Retrying::Yes;
        let wait = match again(outcome) {
            Again::After(length) => length,
            Again::Unsaid | Again::Never => {
                self.retry.as_ref().map_or_else(Default::default, |rules| rules.back_off.draw(self.attempts, draw.rng))
            }
        };
        cluster.counts.back_off.record(wait);
        let until = now + wait;
        Step::Wait(self.deadline().map_or(until, |deadline| until.min(deadline)))
    }

    fn settle(&mut self, cluster: &mut Cluster, endpoint: EndpointId, outcome: &Outcome, no: Option<No>) -> Step {
        self.refused = no;
        self.flags = match no {
            Some(No::Attempts) => Flags::RETRIES_EXHAUSTED,
            Some(No::MaxRetries | No::Budget) => Flags::OVERFLOW,
            _ => Flags::NONE,
        };
        let refusal = match outcome.result {
            outcome::Result::Response(_) => {
                if self.attempts > 1 && no.is_none() {
                    cluster.counts.retry_successes += 1;
                }
                if self.abort().is_some() {
                    return self.refuse(cluster, Refusal::Fault);
                }
                self.state = State::Answering(endpoint);
                return Step::Answer;
            }
            outcome::Result::ConnectFailed(ConnectFailure::Refused) => Refusal::ConnectFailed,
            outcome::Result::ConnectFailed(ConnectFailure::Tls(_)) => Refusal::TlsFailed,
            outcome::Result::ConnectFailed(ConnectFailure::TimedOut) => Refusal::ConnectTimeout,
            outcome::Result::Closed => Refusal::Closed,
            outcome::Result::Reset => Refusal::Reset,
            outcome::Result::RefusedStream => Refusal::RefusedStream,
            outcome::Result::Protocol => Refusal::Protocol,
            outcome::Result::Overflow => {
                cluster.counts.overflow_pending += 1;
                Refusal::Overflow
            }
            outcome::Result::Exhausted => Refusal::Descriptors,
            outcome::Result::PerTryTimeout => Refusal::PerTryTimeout,
            outcome::Result::WholeTimeout => Refusal::Timeout,
            outcome::Result::Idle => Refusal::Idle,
            outcome::Result::SlowBody => Refusal::SlowBody,
            outcome::Result::Upload => Refusal::Upload,
            outcome::Result::Abandoned => Refusal::ClientGone,
        };
        self.refuse(cluster, refusal)
    }

    fn refuse(&mut self, cluster: &mut Cluster, refusal: Refusal) -> Step {
        if let State::Trying(endpoint) = self.state {
            self.leave(cluster, endpoint);
        }
        self.release_retry(cluster);
        self.state = State::Over;
        self.flags = self.flags.with(refusal.flags());
        Step::Refuse(refusal)
    }

    fn leave(&mut self, cluster: &mut Cluster, endpoint: EndpointId) {
        cluster.end(endpoint);
        self.state = State::Over;
    }

    /// The place among the retries is held from the back-off to the next decision.
    fn release_retry(&mut self, cluster: &mut Cluster) {
        if self.retrying == Retrying::Yes {
            self.retrying = Retrying::No;
            debug_assert!(cluster.inflight.retries > 0, "a retry ended that never began");
            cluster.inflight.retries = cluster.inflight.retries.saturating_sub(1);
        }
    }
}

/// Is it one that a person would ask about?
const fn failed(outcome: &Outcome) -> bool {
    match outcome.result {
        outcome::Result::Response(response) => response.status >= 400,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
