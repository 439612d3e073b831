//! Outlier detection: an endpoint that fails several times in a row is left alone for a while.
//!
//! ```text
//!              a counter reaches its threshold, and the percentage allows one more
//!      In ───────────────────────────────────────────────────────────────────────► Out(since, length)
//!       ▲   length = min(base × n, longest) + jitter, n = ejections lately            │
//!       └──────────── the first sweep (every `interval`) at or after its end ◄────────┘
//!   sweep: Out and over ─► In, counters 0       In with n > 0 ─► n - 1
//! ```
//! As Envoy's detector with Istio's settings: consecutive errors, gateway errors, failures of local origin. A success
//! sets the counters back; a refusal of our own (`Overflow`) counts as nothing. The sweep is lazy: whoever records or
//! picks calls [`Outlier::tick`] first, which looks only at endpoints that were ejected lately. Does not: choose
//! ([`crate::balance`]) or know addresses ([`crate::cluster`]).

use crate::outcome::{Connected, Outcome, Result};
use crate::rng::Rng;
use crate::time::Time;
use std::time::Duration;

/// `trafficPolicy.outlierDetection`, compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// `consecutive5xxErrors` (or the old `consecutiveErrors`); default 5, `None` (written 0) = off.
    pub errors: Option<u32>,
    /// `consecutiveGatewayErrors`: of 502, 503, 504 in a row; `None` = off, the default.
    pub gateway: Option<u32>,
    /// `splitExternalLocalOriginErrors`.
    pub origin: Origin,
    /// `outlierDetectionHttpErrorCodes`: exactly these are errors, in place of 5xx. Empty = 5xx.
    pub codes: Vec<u16>,
    /// Between sweeps; default 10 s, ≥ 1 ms.
    pub interval: Duration,
    /// Of the first ejection; default 30 s.
    pub base: Duration,
    /// No ejection is longer (jitter aside); default the longer of 300 s and `base`.
    pub longest: Duration,
    /// Added to every ejection: up to this much; default 0.
    pub jitter: Duration,
    /// `maxEjectionPercent`, 0 to 100; default 10: fewer than ten endpoints means that none is ejected.
    pub max_percent: u32,
    /// `minHealthPercent`, 0 to 100: with fewer in use, all are used; default 0 = never.
    pub min_health_percent: u32,
}

/// Do failures of local origin (no connection, time-outs) have a counter of their own?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// They count as 503 and 504.
    Shared,
    /// They count apart; ejected after so many in a row (default 5).
    Split(Option<u32>),
}

/// Envoy's longest ejection, unless the base is longer.
pub const LONGEST: Duration = Duration::from_secs(300);

impl Default for Rules {
    fn default() -> Self {
        Self {
            errors: Some(5),
            gateway: None,
            origin: Origin::Shared,
            codes: Vec::new(),
            interval: Duration::from_secs(10),
            base: Duration::from_secs(30),
            longest: LONGEST,
            jitter: Duration::ZERO,
            max_percent: 10,
            min_health_percent: 0,
        }
    }
}

/// Which counter ejected.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Errors,
    Gateway,
    LocalOrigin,
}

impl Kind {
    /// In the order of counters.
    pub const ALL: [Self; 3] = [Self::Errors, Self::Gateway, Self::LocalOrigin];

    /// The `type` label of metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Errors => "consecutive_5xx",
            Self::Gateway => "consecutive_gateway_failure",
            Self::LocalOrigin => "consecutive_local_origin_failure",
        }
    }
}

/// What one outcome means here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    sign: Sign,
    connected: Connected,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    /// A status that an upstream sent, or that a failure stands for.
    Status(u16),
    /// No connection, or no answer in time: in split mode only.
    Local,
    Nothing,
}

impl Seen {
    /// Of a try's outcome. `timeout` is the status that a time-out is answered with: 504, or 204 on request.
    pub fn of(rules: &Rules, outcome: &Outcome, timeout: u16) -> Self {
        let sign = match outcome.result {
            Result::Response(response) => Sign::Status(as_counted(rules, response.counted)),
            Result::ConnectFailed(_) | Result::Closed | Result::Reset | Result::RefusedStream | Result::Protocol => {
                local(rules, 503)
            }
            // Before there is a connection nobody can be blamed.
            Result::PerTryTimeout | Result::WholeTimeout if outcome.connected == Connected::Yes => {
                local(rules, timeout)
            }
            Result::PerTryTimeout | Result::WholeTimeout => Sign::Nothing,
            Result::Overflow
            | Result::Exhausted
            | Result::Idle
            | Result::SlowBody
            | Result::Abandoned
            | Result::Upload => Sign::Nothing,
        };
        Self { sign, connected: outcome.connected }
    }

    /// Of an answer that broke off after its head.
    pub fn cut(rules: &Rules) -> Self {
        Self { sign: local(rules, 503), connected: Connected::Yes }
    }
}

fn local(rules: &Rules, status: u16) -> Sign {
    match rules.origin {
        Origin::Shared => Sign::Status(status),
        Origin::Split(_) => Sign::Local,
    }
}

/// What is remembered of one endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Health {
    errors: u32,
    gateway: u32,
    local: u32,
    /// How many times `base` the latest ejection lasts; each sweep in health takes one off.
    multiplier: u32,
    state: State,
    /// It is on the list of those that a sweep looks at.
    listed: bool,
    /// Ejections so far, by [`Kind`].
    pub ejections: [u64; Kind::ALL.len()],
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    #[default]
    In,
    Out {
        since: Time,
        length: Duration,
    },
}

impl Health {
    pub const fn is_ejected(&self) -> bool {
        matches!(self.state, State::Out { .. })
    }

    /// The earliest moment of its return, when it is ejected.
    pub fn until(&self) -> Option<Time> {
        match self.state {
            State::In => None,
            State::Out { since, length } => Some(since + length),
        }
    }
}

/// A change that whoever balances has to know of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Ejected,
    Returned,
}

/// The living state of a cluster's detector; each endpoint's is a [`Health`] that the caller keeps by slot.
#[derive(Clone, Default, Debug)]
pub struct Outlier {
    /// The next sweep, once the detector runs.
    next: Option<Time>,
    /// Slots that are out, or whose multiplier is above 0.
    listed: Vec<u32>,
    /// Endpoints that are out now.
    active: u32,
    /// Ejections that the percentage forbade, by [`Kind`].
    pub overflows: [u64; Kind::ALL.len()],
}

impl Outlier {
    /// How many endpoints are out now.
    pub const fn active(&self) -> u32 {
        self.active
    }

    /// When [`Outlier::tick`] next has something to do; `None` while nothing is ejected or wearing off.
    pub fn due(&self) -> Option<Time> {
        self.next.filter(|_| !self.listed.is_empty())
    }

    /// The detector runs from now on: its sweeps are every `interval` from here, as Envoy's timer.
    pub fn begin(&mut self, rules: &Rules, now: Time) {
        self.next.get_or_insert(now + rules.interval);
    }

    /// The rules changed to none: everyone returns.
    pub fn stop(&mut self, healths: &mut impl Healths) {
        for slot in std::mem::take(&mut self.listed) {
            let health = healths.of(slot);
            let was = std::mem::replace(health, Health { ejections: health.ejections, ..Health::default() });
            if was.is_ejected() {
                healths.changed(slot, Change::Returned);
            }
        }
        *self = Self { overflows: self.overflows, ..Self::default() };
    }

    /// A slot no longer belongs to the cluster: what it had done is forgotten.
    pub fn forget(&mut self, slot: u32, health: &mut Health) {
        if health.is_ejected() {
            self.active -= 1;
        }
        if health.listed {
            self.listed.retain(|known| *known != slot);
        }
        *health = Health::default();
    }

    /// Makes up for the sweeps that were due until now. Costs nothing between sweeps, and nothing when nobody is out;
    /// a thousand missed sweeps cost as much as one.
    pub fn tick(&mut self, rules: &Rules, healths: &mut impl Healths, now: Time) {
        // A shorter interval holds at once.
        let Some(next) = self.next.map(|next| next.min(now + rules.interval)) else { return };
        if now < next {
            return;
        }
        let interval = (rules.interval.as_nanos().min(u128::from(u64::MAX)) as u64).max(1);
        let sweeps = (now.nanos() - next.nanos()) / interval + 1;
        self.next = Some(next + Duration::from_nanos(sweeps.saturating_mul(interval)));
        let mut index = 0;
        while index < self.listed.len() {
            let slot = self.listed[index];
            let health = healths.of(slot);
            let mut left = sweeps;
            if let Some(until) = health.until() {
                let returning = until.nanos().saturating_sub(next.nanos()).div_ceil(interval);
                if returning >= sweeps {
                    index += 1;
                    continue;
                }
                left = sweeps - returning - 1;
                let (multiplier, ejections) = (health.multiplier, health.ejections);
                *health = Health { multiplier, ejections, listed: true, ..Health::default() };
                self.active -= 1;
                healths.changed(slot, Change::Returned);
            }
            let health = healths.of(slot);
            health.multiplier = health.multiplier.saturating_sub(u32::try_from(left).unwrap_or(u32::MAX));
            if health.multiplier == 0 {
                health.listed = false;
                self.listed.swap_remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// An outcome of a try at `slot`.
    pub fn record(
        &mut self,
        rules: &Rules,
        healths: &mut impl Healths,
        slot: u32,
        seen: Seen,
        rng: &mut Rng,
        now: Time,
    ) {
        let health = healths.of(slot);
        if matches!(rules.origin, Origin::Split(_)) && seen.connected == Connected::Yes {
            health.local = 0;
        }
        let reached = match seen.sign {
            Sign::Nothing => return,
            Sign::Status(status) => count(rules, health, status),
            Sign::Local => {
                health.local = health.local.saturating_add(1);
                let limit = if let Origin::Split(limit) = rules.origin { limit } else { None };
                [(Some(health.local) == limit).then_some(Kind::LocalOrigin), None]
            }
        };
        for kind in reached.into_iter().flatten() {
            self.detected(rules, healths, slot, kind, rng, now);
        }
    }

    /// A counter reached its threshold: it starts anew either way, unless the endpoint is out already.
    fn detected(&mut self, rules: &Rules, healths: &mut impl Healths, slot: u32, kind: Kind, rng: &mut Rng, now: Time) {
        let hosts = u64::from(healths.hosts());
        let health = healths.of(slot);
        if health.is_ejected() {
            return;
        }
        match kind {
            Kind::Errors => health.errors = 0,
            Kind::Gateway => health.gateway = 0,
            Kind::LocalOrigin => health.local = 0,
        }
        let allowed = u64::from(self.active + 1) * 100 <= u64::from(rules.max_percent.min(100)) * hosts;
        if !allowed {
            self.overflows[kind as usize] += 1;
            return;
        }
        let jitter = if rules.jitter.is_zero() {
            Duration::ZERO
        } else {
            Duration::from_millis(rng.below(rules.jitter.as_millis() as u64 + 1))
        };
        if rules.base.saturating_mul(health.multiplier) < rules.longest.saturating_add(rules.base) {
            health.multiplier += 1;
        }
        let length = rules.base.saturating_mul(health.multiplier).min(rules.longest).saturating_add(jitter);
        health.state = State::Out { since: now, length };
        health.ejections[kind as usize] += 1;
        if !std::mem::replace(&mut health.listed, true) {
            self.listed.push(slot);
        }
        self.active += 1;
        healths.changed(slot, Change::Ejected);
    }
}

/// Where the caller keeps the endpoints.
pub trait Healths {
    /// How many endpoints the cluster has, ejected ones included.
    fn hosts(&self) -> u32;

    fn of(&mut self, slot: u32) -> &mut Health;

    /// An endpoint was ejected, or returned.
    fn changed(&mut self, slot: u32, change: Change);
}

/// With a list of codes, what is on it is an error and what is not is a success, as Envoy's matcher has it.
fn as_counted(rules: &Rules, status: u16) -> u16 {
    if rules.codes.is_empty() {
        status
    } else if !rules.codes.contains(&status) {
        200
    } else if (500..600).contains(&status) {
        status
    } else {
        500
    }
}

/// Counts a status; the counters that are at their threshold now, gateway first.
fn count(rules: &Rules, health: &mut Health, status: u16) -> [Option<Kind>; 2] {
    if !(500..600).contains(&status) {
        (health.errors, health.gateway) = (0, 0);
        return [None; 2];
    }
    health.gateway = if matches!(status, 502..=504) { health.gateway.saturating_add(1) } else { 0 };
    health.errors = health.errors.saturating_add(1);
    [
        (health.gateway > 0 && Some(health.gateway) == rules.gateway).then_some(Kind::Gateway),
        (Some(health.errors) == rules.errors).then_some(Kind::Errors),
    ]
}

/// Panic: with so few in use, all are used (Envoy's rule for one priority, over-provisioning 140 %).
pub fn is_panic(rules: &Rules, usable: u32, hosts: u32) -> bool {
    let (usable, hosts) = (u64::from(usable), u64::from(hosts));
    hosts > 0 && 140 * usable / hosts < 100 && usable * 100 < u64::from(rules.min_health_percent.min(100)) * hosts
}

/// The HTTP status that a `grpc-status` stands for, as Envoy maps it.
pub const fn status_of_grpc(code: u16) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

#[cfg(test)]
mod tests;
