//! So many in so much time: the arithmetic of one cell, in whole numbers.
//!
//! ```text
//!   Bucket    owes ──fills steadily──► nothing: full again at `until`       burst at once, then requests per time
//!   Fixed     used ──window ends────► 0                                    at most twice the amount around an edge
//!   Rolling   21 slices ──oldest goes──► …                                  never more than the amount in any window
//! ```
//! Nothing is rounded: what does not divide is carried. Does not: know keys.

use super::keyed::State;
use crate::time::Time;
use std::time::Duration;

/// `limit`: `requests` in each `per`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Amount {
    /// 0 = none is allowed.
    pub requests: u32,
    /// ≥ 1 ms.
    pub per: Duration,
    /// How many may come at once; ≥ 1 unless `requests` is 0. Of buckets only.
    pub burst: u32,
    pub how: How,
}

/// How an amount is counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum How {
    /// A token bucket: RateLimitPolicy.
    #[default]
    Bucket,
    /// `FIXED_WINDOW`: a window begins with the first request.
    Fixed,
    /// `ROLLING_WINDOW`, memquota.
    Rolling,
}

/// What a key has used of a bucket or a fixed window. The default is nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cell {
    /// When it is as new.
    until: Time,
    /// Bucket: `per` and `requests` when it was written; other rules owe the same tokens for another time.
    per: u64,
    requests: u32,
    /// Bucket: the part of a nanosecond that does not divide. Fixed: what is used.
    rest: u32,
}

/// Slices that a rolling window is counted in; one more is kept, so that none leaves too early.
pub const SLICES: u64 = 20;
const KEPT: usize = SLICES as usize + 1;

/// What a key has used of a rolling window.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Slices {
    until: Time,
    /// The length of a slice in nanoseconds: other rules make other slices.
    width: u64,
    /// The number of the newest slice.
    newest: u64,
    used: [u32; KEPT],
}

/// What a request was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    pub verdict: Verdict,
    /// Behind it.
    pub level: Level,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Allowed,
    Limited,
}

/// `x-ratelimit-*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// How many could come at once.
    pub limit: u32,
    /// How many can come now.
    pub remaining: u32,
    /// Until there is one more, or enough for the refused one; 0 when there is.
    pub reset: Duration,
}

impl State for Cell {
    fn until(&self) -> Time {
        self.until
    }
}

impl State for Slices {
    fn until(&self) -> Time {
        self.until
    }
}

impl Amount {
    /// A token bucket.
    pub const fn bucket(requests: u32, per: Duration, burst: u32) -> Self {
        Self { requests, per, burst, how: How::Bucket }
    }

    /// How many can come at once.
    pub const fn limit(&self) -> u32 {
        match self.how {
            How::Bucket => self.burst,
            How::Fixed | How::Rolling => self.requests,
        }
    }

    /// Takes `cost`, when there is so much. Rolling windows are counted in [`Slices`]: here they are fixed ones.
    pub fn take(&self, cell: &mut Cell, cost: u32, now: Time) -> Taken {
        match self.how {
            How::Bucket => self.take_tokens(cell, cost, now),
            How::Fixed | How::Rolling => self.take_of_window(cell, cost, now),
        }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.per.as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// A token is `per` units, a nanosecond brings `requests` of them.
    fn take_tokens(&self, cell: &mut Cell, cost: u32, now: Time) -> Taken {
        let (token, speed) = (u128::from(self.nanos()), u128::from(self.requests));
        let full = u128::from(self.burst) * token;
        // Under other rules than it was written by it may owe more than there is.
        let owed = cell.owed(self, now).min(full);
        let (after, verdict) = match owed + u128::from(cost) * token {
            after if after <= full && (speed > 0 || cost == 0) => (after, Verdict::Allowed),
            _ => (owed, Verdict::Limited),
        };
        let (length, rest) = divided(after, speed);
        let (per, requests, rest) = (self.nanos(), self.requests, rest as u32);
        *cell = Cell { until: now + Duration::from_nanos(length), per, requests, rest };
        let left = u32::try_from(quotient(full - after, token)).unwrap_or(u32::MAX);
        let wanted = if verdict == Verdict::Limited { cost.max(1) } else { 1 };
        let missing = (after + u128::from(wanted) * token).saturating_sub(full);
        let reset = match verdict {
            _ if speed == 0 => self.per,
            Verdict::Limited if cost > self.burst => self.per,
            _ => Duration::from_nanos(divided(missing + speed - 1, speed).0),
        };
        Taken { verdict, level: Level { limit: self.burst, remaining: left, reset } }
    }

    fn take_of_window(&self, cell: &mut Cell, cost: u32, now: Time) -> Taken {
        if cell.until <= now {
            *cell = Cell { until: now + self.per, ..Cell::default() };
        }
        // Under shorter windows than it was written by it does not last longer.
        cell.until = cell.until.min(now + self.per);
        let most = u64::from(self.requests);
        let used = u64::from(cell.rest) + u64::from(cost);
        let verdict = if used <= most {
            cell.rest = u32::try_from(used).unwrap_or(u32::MAX);
            Verdict::Allowed
        } else {
            Verdict::Limited
        };
        let remaining = u32::try_from(most.saturating_sub(u64::from(cell.rest))).unwrap_or(u32::MAX);
        let short = remaining == 0 || verdict == Verdict::Limited;
        let reset = if short { cell.until.since(now) } else { Duration::ZERO };
        Taken { verdict, level: Level { limit: self.requests, remaining, reset } }
    }

    /// The same of a rolling window.
    pub fn take_rolling(&self, slices: &mut Slices, cost: u32, now: Time) -> Taken {
        let width = self.nanos().div_ceil(SLICES);
        slices.roll(now.nanos() / width, width);
        let used: u64 = slices.used.iter().map(|used| u64::from(*used)).sum();
        let most = u64::from(self.requests);
        let free = most.saturating_sub(used);
        let verdict = if u64::from(cost) <= free { Verdict::Allowed } else { Verdict::Limited };
        if verdict == Verdict::Allowed && cost > 0 {
            slices.used[place(slices.newest)] += cost;
            slices.until = Time::from_nanos((slices.newest + KEPT as u64).saturating_mul(width));
        }
        let left = if verdict == Verdict::Allowed { free - u64::from(cost) } else { free };
        let wanted = if verdict == Verdict::Limited { u64::from(cost.max(1)) } else { 1 };
        let reset = slices.reset(wanted.saturating_sub(left), width, now);
        let remaining = u32::try_from(left).unwrap_or(u32::MAX);
        Taken { verdict, level: Level { limit: self.requests, remaining, reset } }
    }
}

impl Cell {
    /// In units of the amount: a token is its `per`.
    fn owed(&self, amount: &Amount, now: Time) -> u128 {
        if self.until < now {
            return 0;
        }
        let nanos = u128::from(self.until.nanos() - now.nanos());
        let owed = nanos * u128::from(self.requests) + u128::from(self.rest);
        let (per, was) = (amount.nanos(), self.per);
        if per == was || owed == 0 {
            owed
        } else {
            owed.saturating_mul(u128::from(per)).div_ceil(u128::from(was.max(1)))
        }
    }
}

impl Slices {
    /// Makes `now` the newest slice; those behind the window are empty.
    fn roll(&mut self, now: u64, width: u64) {
        if self.width != width {
            let used = self.used.iter().fold(0u32, |sum, used| sum.saturating_add(*used));
            *self = Self { until: self.until, width, newest: now, used: [0; KEPT] };
            self.used[place(now)] = used;
        }
        let passed = now.saturating_sub(self.newest);
        for step in 1..=passed.min(KEPT as u64) {
            self.used[place(self.newest + step)] = 0;
        }
        if passed >= KEPT as u64 {
            self.used = [0; KEPT];
        }
        self.newest = self.newest.max(now);
    }

    /// How long until slices with so much have left.
    fn reset(&self, missing: u64, width: u64, now: Time) -> Duration {
        if missing == 0 {
            return Duration::ZERO;
        }
        let mut freed = 0;
        for age in (0..KEPT as u64).rev() {
            let Some(slice) = self.newest.checked_sub(age) else { continue };
            freed += u64::from(self.used[place(slice)]);
            if freed >= missing {
                return Time::from_nanos((slice + KEPT as u64).saturating_mul(width)).since(now);
            }
        }
        Duration::from_nanos(width.saturating_mul(SLICES))
    }
}

const fn place(slice: u64) -> usize {
    (slice % KEPT as u64) as usize
}

/// Whole nanoseconds, and what is left of one.
fn divided(units: u128, speed: u128) -> (u64, u64) {
    if speed == 0 {
        return (0, 0);
    }
    match (u64::try_from(units), u64::try_from(speed)) {
        (Ok(units), Ok(speed)) => (units / speed, units % speed),
        _ => (u64::try_from(units / speed).unwrap_or(u64::MAX), (units % speed) as u64),
    }
}

/// Most amounts fit in 64 bits, where a division is ten times as quick.
fn quotient(units: u128, by: u128) -> u128 {
    match (u64::try_from(units), u64::try_from(by)) {
        (Ok(units), Ok(by)) => u128::from(units / by.max(1)),
        _ => units / by.max(1),
    }
}
