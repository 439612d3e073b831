//! Faults on purpose: a request is delayed, or answered with an error, or first one and then the other.
//!
//! ```text
//!   request ─► headers match? ─► dice: delay ──yes──► wait ─┐
//!                 │ no              │ no                    ▼
//!                 └──────────► on ◄─┴──────── dice: abort ──no──► on
//!                                                  └─yes──► our answer: `fault filter abort`
//! ```
//! As in Envoy this is before the router: an abort is never retried, a delay does not count in the timeout. With
//! `faultScope: upstream` each try has dice of its own ([`crate::call`]), and the fault stands for its upstream.
//! Does not: wait or answer ([`crate::filter`] and the wet side do).

use crate::flag::Flags;
use crate::outcome::{Outcome, Response, Result};
use crate::rng::Rng;
use crate::route::{HeaderMatch, Headers};
use crate::share::Share;
use crate::{grpc, outlier};
use std::sync::Arc;
use std::time::Duration;

/// `fault` of a rule, or the configuration of Envoy's fault filter. The default injects nothing.
#[derive(Clone, Default, Debug)]
pub struct Rules {
    pub delay: Option<Delay>,
    pub abort: Option<Abort>,
    /// `headers` of Envoy's filter: all must hold. Empty for a VirtualService, whose `match` says the same.
    pub headers: Vec<HeaderMatch>,
}

/// `fault.delay`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delay {
    pub length: Length,
    /// Its own dice; absent in the document = nothing, as in Istio.
    pub share: Share,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// `fixedDelay`, ≥ 1 ms.
    Fixed(Duration),
    /// `header_delay`: milliseconds in `x-envoy-fault-delay-request`.
    Header,
}

/// `fault.abort`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abort {
    pub status: AbortStatus,
    pub share: Share,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AbortStatus {
    Fixed(Status),
    /// `header_abort`: the status is in `x-envoy-fault-abort-request` or `x-envoy-fault-abort-grpc-request`.
    Header,
}

/// What an abort answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// `httpStatus`, 200–599. A gRPC request gets 200 and the gRPC status that goes with it.
    Http(u16),
    /// `grpcStatus`, by number. A request that is not gRPC gets 200 with the same words.
    Grpc(u8),
}

/// What the dice said of one request, or of one try.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Drawn {
    pub delay: Option<Duration>,
    /// After the delay, when there are both.
    pub abort: Option<Status>,
}

impl Drawn {
    /// Does nothing happen?
    pub const fn is_nothing(&self) -> bool {
        self.delay.is_none() && self.abort.is_none()
    }
}

impl Status {
    /// HTTP's, in an answer that is not gRPC's.
    pub const fn http(self) -> u16 {
        match self {
            Self::Http(status) => status,
            Self::Grpc(_) => 200,
        }
    }

    /// `grpc-status`, in an answer that is.
    pub const fn grpc(self) -> u8 {
        match self {
            Self::Http(status) => grpc::of_http(status),
            Self::Grpc(code) => code,
        }
    }

    /// The head of an upstream that answers a plain request so.
    pub const fn plain_response(self) -> Response {
        Response::plain(self.http())
    }

    /// The same to a gRPC request: 200, and the status in `grpc-status`.
    pub fn grpc_response(self) -> Response {
        let code = u16::from(self.grpc());
        Response { grpc: Some(code), counted: outlier::status_of_grpc(code), ..Response::plain(200) }
    }
}

/// A call's fault that each of its tries may feel.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    rules: Arc<Rules>,
    /// What the latest try feels.
    drawn: Drawn,
    /// DI, FI.
    pub(crate) flags: Flags,
}

impl Rehearsal {
    pub(crate) fn new(rules: Arc<Rules>) -> Self {
        Self { rules, drawn: Drawn::default(), flags: Flags::NONE }
    }

    /// Throws the dice for the next try. A VirtualService's fault asks nothing of the request.
    pub(crate) fn next(&mut self, rng: &mut Rng) -> Drawn {
        self.drawn = self.rules.draw(&Nothing, rng);
        self.drawn
    }

    /// The try has ended: one with an abort has no other response.
    pub(crate) const fn felt(&mut self, outcome: &Outcome) {
        if self.drawn.delay.is_some() {
            self.flags = self.flags.with(Flags::DELAY_INJECTED);
        }
        if self.drawn.abort.is_some() && matches!(outcome.result, Result::Response(_)) {
            self.flags = self.flags.with(Flags::FAULT_INJECTED);
        }
    }

    /// What takes the place of the latest try's response.
    pub(crate) const fn abort(&self) -> Option<Status> {
        self.drawn.abort
    }
}

/// The fields of no request.
struct Nothing;

impl Headers for Nothing {
    fn each(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
}

impl Rules {
    /// Can it do anything at all?
    pub fn is_idle(&self) -> bool {
        self.delay.is_none_or(|delay| delay.share == Share::NONE)
            && self.abort.is_none_or(|abort| abort.share == Share::NONE)
    }

    /// Throws the dice for one request.
    pub fn draw(&self, headers: &dyn Headers, rng: &mut Rng) -> Drawn {
        if !self.headers.iter().all(|header| header.holds(headers)) {
            return Drawn::default();
        }
        Drawn {
            delay: self.delay.and_then(|delay| delay.draw(headers, rng)),
            abort: self.abort.and_then(|abort| abort.draw(headers, rng)),
        }
    }
}

impl Delay {
    fn draw(&self, headers: &dyn Headers, rng: &mut Rng) -> Option<Duration> {
        match self.length {
            Length::Fixed(length) => self.share.hits(rng).then_some(length),
            Length::Header => {
                let millis = number(headers, "x-envoy-fault-delay-request").filter(|millis| *millis > 0)?;
                let share = asked(headers, "x-envoy-fault-delay-request-percentage", self.share);
                share.hits(rng).then(|| Duration::from_millis(millis))
            }
        }
    }
}

impl Abort {
    fn draw(&self, headers: &dyn Headers, rng: &mut Rng) -> Option<Status> {
        match self.status {
            AbortStatus::Fixed(status) => self.share.hits(rng).then_some(status),
            AbortStatus::Header => {
                let http = number(headers, "x-envoy-fault-abort-request").filter(|code| (200..600).contains(code));
                let http = http.and_then(|code| u16::try_from(code).ok()).map(Status::Http);
                let grpc =
                    || number(headers, "x-envoy-fault-abort-grpc-request").and_then(|code| u8::try_from(code).ok());
                let status = http.or_else(|| grpc().map(Status::Grpc))?;
                let share = asked(headers, "x-envoy-fault-abort-request-percentage", self.share);
                share.hits(rng).then_some(status)
            }
        }
    }
}

/// A whole number in a header; the first field counts.
fn number(headers: &dyn Headers, name: &str) -> Option<u64> {
    let mut found = None;
    headers.each(name, &mut |value| {
        found = found.or_else(|| std::str::from_utf8(value).ok()?.trim().parse().ok());
    });
    found
}

/// The percentage that the request asks for, at most the configured one.
fn asked(headers: &dyn Headers, name: &str, most: Share) -> Share {
    match number(headers, name) {
        Some(percent) => Share::of_fraction(u32::try_from(percent).unwrap_or(u32::MAX), 100).min(most),
        None => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pairs(&'static [(&'static str, &'static str)]);

    impl Headers for Pairs {
        fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
            self.0.iter().filter(|(known, _)| *known == name).for_each(|(_, value)| see(value.as_bytes()));
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn both(delay: f64, abort: f64) -> Rules {
        Rules {
            delay: Some(Delay { length: Length::Fixed(SECOND), share: Share::of_percent(delay) }),
            abort: Some(Abort { status: AbortStatus::Fixed(Status::Http(500)), share: Share::of_percent(abort) }),
            headers: Vec::new(),
        }
    }

    #[test]
    fn the_dice_of_delay_and_abort_are_independent() {
        let (rules, mut rng) = (both(50.0, 20.0), Rng::new(3));
        let drawn: Vec<Drawn> = (0..100_000).map(|_| rules.draw(&Pairs(&[]), &mut rng)).collect();
        let count = |holds: fn(&Drawn) -> bool| drawn.iter().filter(|drawn| holds(drawn)).count();
        let within = |count: usize, expected: f64| {
            let deviation = (100_000.0 * expected * (1.0 - expected)).sqrt();
            assert!((count as f64 - 100_000.0 * expected).abs() < 6.0 * deviation, "{count} for {expected}");
        };
        within(count(|drawn| drawn.delay.is_some()), 0.5);
        within(count(|drawn| drawn.abort.is_some()), 0.2);
        within(count(|drawn| drawn.delay.is_some() && drawn.abort.is_some()), 0.1);
    }

    #[test]
    fn without_a_share_nothing_happens() {
        let rules = both(0.0, 0.0);
        assert!(rules.is_idle());
        assert_eq!(rules.draw(&Pairs(&[]), &mut Rng::new(1)), Drawn::default());
        assert!(!both(0.0, 0.0001).is_idle());
    }

    #[test]
    fn a_header_chooses_within_the_configured_share() {
        let rules = Rules {
            delay: Some(Delay { length: Length::Header, share: Share::ALL }),
            abort: Some(Abort { status: AbortStatus::Header, share: Share::ALL }),
            headers: Vec::new(),
        };
        let mut rng = Rng::new(1);
        let mut draw = |pairs| rules.draw(&Pairs(pairs), &mut rng);
        assert_eq!(draw(&[]), Drawn::default());
        let delayed = draw(&[("x-envoy-fault-delay-request", "250")]);
        assert_eq!(delayed.delay, Some(Duration::from_millis(250)));
        assert_eq!(draw(&[("x-envoy-fault-abort-request", "503")]).abort, Some(Status::Http(503)));
        assert_eq!(draw(&[("x-envoy-fault-abort-request", "99")]).abort, None);
        assert_eq!(draw(&[("x-envoy-fault-abort-request", "600")]).abort, None);
        assert_eq!(draw(&[("x-envoy-fault-abort-request", "many")]).abort, None);
        assert_eq!(draw(&[("x-envoy-fault-abort-grpc-request", "14")]).abort, Some(Status::Grpc(14)));
        let never = draw(&[("x-envoy-fault-abort-request", "503"), ("x-envoy-fault-abort-request-percentage", "0")]);
        assert_eq!(never.abort, None);
    }

    #[test]
    fn headers_of_the_filter_must_match() {
        let want = crate::route::Want::Value(crate::route::Pattern::Exact(b"yes".as_slice().into()));
        let rules = Rules { headers: vec![HeaderMatch { name: "x-test".into(), want }], ..both(100.0, 100.0) };
        let mut rng = Rng::new(1);
        assert_eq!(rules.draw(&Pairs(&[]), &mut rng), Drawn::default());
        assert!(rules.draw(&Pairs(&[("x-test", "yes")]), &mut rng).abort.is_some());
    }
}
