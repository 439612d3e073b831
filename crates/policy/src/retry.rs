//! Again? When? The rules of a retry, and the order in which they are asked.
//!
//! ```text
//!   failed try ─► condition ─► not started ─► method guard ─► attempts ─► time left ─► maxRetries ─► budget ─► body kept
//!                     │no         │no            │no            │no URX      │no          │no UO        │no UO     │no
//!                     └───────────┴──────────────┴──── the failure goes to the client ────┴─────────────┴──────────┘
//! ```
//! Does not: choose the endpoint ([`crate::balance`]) or wait ([`crate::call`] says until when).

use crate::outcome::{Outcome, Reached, Response, Result};
use crate::rng::Rng;
use crate::route::{HeaderMatch, Headers};
use std::time::Duration;

/// `retries` of a route (or the destination's, or the mesh's default), compiled.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// Retries, not tries: at most `attempts + 1` requests. ≥ 1.
    pub attempts: u32,
    pub on: Conditions,
    /// Statuses that the upstream really sent, for [`Conditions::STATUS_CODES`].
    pub codes: Vec<u16>,
    /// `retriable_headers`, of a response: one of them will do, for [`Conditions::RETRIABLE_HEADERS`].
    pub headers: Vec<HeaderMatch>,
    /// `retriable_request_headers`: without one of them a request is not retried. Empty = every request may be.
    pub request_headers: Vec<HeaderMatch>,
    /// `rate_limited_retry_back_off` by `retry-after`: heeded up to so long, also under compatibility istio.
    pub rate_limited: Option<Duration>,
    pub back_off: BackOff,
    /// `retryIgnorePreviousHosts`.
    pub previous: Previous,
    /// How often the balancer picks anew to avoid a host tried before; Istio 5.
    pub picks: u32,
    pub non_idempotent: NonIdempotent,
}

/// What happens to a request that may have been processed and is not idempotent by its method.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum NonIdempotent {
    /// It is not sent again, unless it carries an `Idempotency-Key`.
    #[default]
    Guard,
    /// It is: `retryNonIdempotent: true`, or Istio's behaviour.
    Retry,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Previous {
    #[default]
    Avoid,
    Allow,
}

/// The set of `retryOn`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Conditions(u32);

impl Conditions {
    pub const FIVE_XX: Self = Self(1);
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    pub const RESET: Self = Self(1 << 2);
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    pub const REFUSED_STREAM: Self = Self(1 << 5);
    /// 409 only.
    pub const RETRIABLE_4XX: Self = Self(1 << 6);
    pub const STATUS_CODES: Self = Self(1 << 7);
    pub const RETRIABLE_HEADERS: Self = Self(1 << 8);
    pub const RATELIMITED: Self = Self(1 << 9);
    pub const GRPC_CANCELLED: Self = Self(1 << 10);
    pub const GRPC_DEADLINE_EXCEEDED: Self = Self(1 << 11);
    pub const GRPC_INTERNAL: Self = Self(1 << 12);
    pub const GRPC_RESOURCE_EXHAUSTED: Self = Self(1 << 13);
    pub const GRPC_UNAVAILABLE: Self = Self(1 << 14);
    /// HTTP/3 only: accepted, never true here.
    pub const HTTP3_POST_CONNECT_FAILURE: Self = Self(1 << 15);

    const WORDS: [(&'static str, Self); 16] = [
        ("5xx", Self::FIVE_XX),
        ("gateway-error", Self::GATEWAY_ERROR),
        ("reset", Self::RESET),
        ("reset-before-request", Self::RESET_BEFORE_REQUEST),
        ("connect-failure", Self::CONNECT_FAILURE),
        ("refused-stream", Self::REFUSED_STREAM),
        ("retriable-4xx", Self::RETRIABLE_4XX),
        ("retriable-status-codes", Self::STATUS_CODES),
        ("retriable-headers", Self::RETRIABLE_HEADERS),
        ("envoy-ratelimited", Self::RATELIMITED),
        ("cancelled", Self::GRPC_CANCELLED),
        ("deadline-exceeded", Self::GRPC_DEADLINE_EXCEEDED),
        ("internal", Self::GRPC_INTERNAL),
        ("resource-exhausted", Self::GRPC_RESOURCE_EXHAUSTED),
        ("unavailable", Self::GRPC_UNAVAILABLE),
        ("http3-post-connect-failure", Self::HTTP3_POST_CONNECT_FAILURE),
    ];

    /// The condition of one word of `retryOn`; `None` for an unknown word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, condition)| *condition)
    }

    /// Every word of `retryOn` that there is.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::WORDS.iter().map(|(word, _)| *word)
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Is it one of those that are judged by `grpc-status`?
    pub const fn is_grpc(self) -> bool {
        self.has(
            Self::GRPC_CANCELLED
                .with(Self::GRPC_DEADLINE_EXCEEDED)
                .with(Self::GRPC_INTERNAL)
                .with(Self::GRPC_RESOURCE_EXHAUSTED)
                .with(Self::GRPC_UNAVAILABLE),
        )
    }

    /// The condition that a `grpc-status` fulfils; none for most.
    pub const fn of_grpc(code: u16) -> Self {
        match code {
            1 => Self::GRPC_CANCELLED,
            4 => Self::GRPC_DEADLINE_EXCEEDED,
            8 => Self::GRPC_RESOURCE_EXHAUSTED,
            13 => Self::GRPC_INTERNAL,
            14 => Self::GRPC_UNAVAILABLE,
            _ => Self(0),
        }
    }

    /// Istio's default `retryOn`: a 503 is not in it.
    pub const fn istio_default() -> Self {
        Self::CONNECT_FAILURE
            .with(Self::REFUSED_STREAM)
            .with(Self::GRPC_UNAVAILABLE)
            .with(Self::GRPC_CANCELLED)
            .with(Self::STATUS_CODES)
    }
}

/// Exponential, fully jittered waits: uniform in `[0, interval)`, the interval doubling from `base` up to `max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackOff {
    /// ≥ 1 ms.
    pub base: Duration,
    /// ≥ `base`; by default ten times it.
    pub max: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl BackOff {
    /// The upper bound of the wait before retry `number` (from 1).
    pub fn bound(&self, number: u32) -> Duration {
        let mut interval = self.base;
        for _ in 1..number {
            interval = if interval < self.max / 2 { interval * 2 } else { self.max };
            if interval == self.max {
                break;
            }
        }
        interval
    }

    /// The wait before retry `number` (from 1): whole milliseconds, drawn evenly below the bound.
    pub fn draw(&self, number: u32, rng: &mut Rng) -> Duration {
        let bound = u64::try_from(self.bound(number).as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(rng.below(bound))
    }
}

/// Why a failed try is not repeated: one word each, in the order of asking.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum No {
    /// No condition of `retryOn` covers it.
    Condition,
    /// A part of the response went to the client: an interim 1xx.
    Started,
    /// The method is not idempotent and the request may have been processed.
    Method,
    /// All attempts are used (flag URX).
    Attempts,
    /// The deadline has passed.
    Time,
    /// `maxRetries` retries are under way (flag UO).
    MaxRetries,
    /// The retry budget is exhausted (flag UO).
    Budget,
    /// The body was too large to keep, so it cannot be sent again.
    BodyNotKept,
    /// The server asked not to be asked again (a negative `grpc-retry-pushback-ms`).
    PushBack,
}

impl No {
    /// The word in metrics, logs and docs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Condition => "condition",
            Self::Started => "response_started",
            Self::Method => "method_guard",
            Self::Attempts => "attempts",
            Self::Time => "time_left",
            Self::MaxRetries => "max_retries",
            Self::Budget => "budget",
            Self::BodyNotKept => "body_not_kept",
            Self::PushBack => "push_back",
        }
    }

    /// Every variant, in order: for counters.
    pub const ALL: [Self; 9] = [
        Self::Condition,
        Self::Started,
        Self::Method,
        Self::Attempts,
        Self::Time,
        Self::MaxRetries,
        Self::Budget,
        Self::BodyNotKept,
        Self::PushBack,
    ];
}

/// Whether a request may be processed twice without harm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idempotency {
    /// By its method (RFC 9110 section 9.2.2) or an `Idempotency-Key`.
    Safe,
    Unsafe,
}

impl Idempotency {
    /// Of a method; a non-empty `Idempotency-Key` makes any method safe.
    pub fn of_method(method: &[u8]) -> Self {
        match method {
            b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE" => Self::Safe,
            _ => Self::Unsafe,
        }
    }
}

impl Rules {
    /// Does a condition of `retryOn` cover this outcome? (Envoy's `wouldRetryFromHeaders` / `wouldRetryFromReset`.)
    pub fn covers(&self, outcome: &Outcome) -> bool {
        match outcome.result {
            Result::Response(ref response) => self.covers_response(response),
            Result::ConnectFailed(_) => self.on.has(
                Conditions::CONNECT_FAILURE
                    .with(Conditions::FIVE_XX)
                    .with(Conditions::GATEWAY_ERROR)
                    .with(Conditions::RESET)
                    .with(Conditions::RESET_BEFORE_REQUEST),
            ),
            Result::RefusedStream if self.on.has(Conditions::REFUSED_STREAM) => true,
            Result::Closed | Result::Reset | Result::RefusedStream | Result::Protocol | Result::PerTryTimeout => {
                let any = Conditions::FIVE_XX.with(Conditions::GATEWAY_ERROR).with(Conditions::RESET);
                // A stream that was refused was sent: `refused-stream` is for those.
                let unsent = outcome.reached == Reached::Nothing && outcome.result != Result::RefusedStream;
                self.on.has(any) || (unsent && self.on.has(Conditions::RESET_BEFORE_REQUEST))
            }
            Result::Overflow
            | Result::Exhausted
            | Result::WholeTimeout
            | Result::Idle
            | Result::SlowBody
            | Result::Abandoned
            | Result::Upload => false,
        }
    }

    fn covers_response(&self, response: &Response) -> bool {
        let status = response.status;
        if response.ratelimited {
            return self.on.has(Conditions::RATELIMITED);
        }
        (self.on.has(Conditions::FIVE_XX) && (500..600).contains(&status))
            || (self.on.has(Conditions::GATEWAY_ERROR) && matches!(status, 502..=504))
            || (self.on.has(Conditions::RETRIABLE_4XX) && status == 409)
            || (self.on.has(Conditions::STATUS_CODES) && self.codes.contains(&status))
            || (self.on.has(Conditions::RETRIABLE_HEADERS) && response.marked)
            || response.grpc.is_some_and(|code| self.on.has(Conditions::of_grpc(code)))
    }

    /// Is a response with these fields retriable?
    pub fn marks(&self, response: &dyn Headers) -> bool {
        self.on.has(Conditions::RETRIABLE_HEADERS) && self.headers.iter().any(|header| header.holds(response))
    }

    /// May a request with these fields be retried at all?
    pub fn allows(&self, request: &dyn Headers) -> bool {
        self.request_headers.is_empty() || self.request_headers.iter().any(|header| header.holds(request))
    }

    /// Can a try be followed by another after some of it was sent? If not, nobody needs to keep its body.
    pub fn after_send(&self) -> bool {
        let any = Conditions::FIVE_XX
            .with(Conditions::GATEWAY_ERROR)
            .with(Conditions::RESET)
            .with(Conditions::RETRIABLE_4XX)
            .with(Conditions::RETRIABLE_HEADERS)
            .with(Conditions::RATELIMITED);
        self.on.has(any) || (self.on.has(Conditions::STATUS_CODES) && !self.codes.is_empty())
    }

    /// The same of a gRPC request: its conditions are judged by the head of a response.
    pub const fn after_grpc(&self) -> bool {
        self.on.is_grpc()
    }

    /// Does the method guard let it pass? A request of which nothing was sent cannot have been processed.
    pub fn guard(&self, outcome: &Outcome, idempotency: Idempotency) -> bool {
        self.non_idempotent == NonIdempotent::Retry
            || idempotency == Idempotency::Safe
            || match outcome.result {
                // The server says itself that it may be asked again.
                Result::Response(response) => response.grpc.is_some_and(|code| self.on.has(Conditions::of_grpc(code))),
                _ => outcome.reached == Reached::Nothing,
            }
    }
}

/// Istio's default policy: 2 retries on what was surely not processed, other hosts first.
impl Default for Rules {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: Conditions::istio_default(),
            codes: Vec::new(),
            headers: Vec::new(),
            request_headers: Vec::new(),
            rate_limited: None,
            back_off: BackOff::default(),
            previous: Previous::Avoid,
            picks: 5,
            non_idempotent: NonIdempotent::Guard,
        }
    }
}
