//! The wet side of one call: what `drive` asks of the world, done with sockets and pools.
//!
//! Does not: decide; the steps come from `weir_policy::call`.

use super::exchange::Exchange;
use super::headers::Ask;
use super::inquiry::Fields;
use crate::mesh::Cell;
use crate::upstream::lane::Lane;
use crate::upstream::ride::Ride;
use crate::upstream::{pool, shared};
use crate::worker::Worker;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::call::{Attempt, Call};
use weir_policy::cluster::{Cluster, Draw};
use weir_policy::drive::World;
use weir_policy::outcome::{self, Again, ConnectFailure, Outcome, Reached, Result as Ended};
use weir_policy::outlier;
use weir_policy::plan::{Compatibility, Upstream};
use weir_policy::refusal::Refusal;
use weir_policy::retry;
use weir_policy::time::Time;
use weir_policy::tls;
use weir_wire::{Name, Version};

/// What a request speaks inside HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Plain,
    /// `content-type: application/grpc`, or `application/grpc+…`.
    Grpc,
}

impl Protocol {
    pub(crate) fn of(request: &weir_wire::RequestHead, buf: &[u8]) -> Self {
        let kind = request.field(Name::ContentType);
        let rest = kind.and_then(|field| field.value.of(buf).strip_prefix(b"application/grpc"));
        if rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'+') { Self::Grpc } else { Self::Plain }
    }
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

/// `grpc-retry-pushback-ms`: what is no number of milliseconds asks not to be asked again.
fn push_back(value: &[u8]) -> Again {
    number(value).map_or(Again::Never, |millis| Again::After(Duration::from_millis(millis)))
}

/// The wet side of one call.
pub(crate) struct Carrier<'a> {
    pub(crate) exchange: Exchange<'a>,
    pub(crate) cell: &'a Arc<Cell>,
    pub(crate) upstream: &'a Upstream,
    pub(crate) ask: Ask<'a>,
    /// Whether the latest try had a connection.
    pub(crate) connected: outcome::Connected,
    pub(crate) protocol: Protocol,
    pub(crate) compatibility: Compatibility,
    /// `grpc-status` of the latest answer, as far as it is known.
    pub(crate) grpc: Option<u16>,
    /// What the upstream is spoken to in.
    pub(crate) speaks: Version,
    /// The call's, for what it asks of response heads.
    pub(crate) retry: Option<&'a retry::Rules>,
    /// Where the latest try went.
    pub(crate) last: Option<std::net::SocketAddr>,
    /// Why the latest try had no TLS.
    pub(crate) failure: Option<tls::Failure>,
}

impl World for Carrier<'_> {
    type Reply = Lane;

    fn now(&self) -> Time {
        self.exchange.worker.now()
    }

    fn with<R>(&mut self, decide: impl FnOnce(&mut Cluster, &mut Draw<'_>) -> R) -> R {
        self.exchange.worker.with(self.cell, decide)
    }

    async fn wait(&mut self, until: Time) -> Result<(), Refusal> {
        self.exchange.pause(until).await.map_err(|()| Refusal::ClientGone)
    }

    async fn attempt(&mut self, attempt: &Attempt) -> (Outcome, Option<Lane>) {
        let (result, lane) = self.try_once(attempt).await;
        let exchange = &self.exchange;
        let outcome = Outcome {
            result,
            reached: exchange.wrote,
            received: exchange.upload.received,
            body: exchange.upload.kept(),
            interim: exchange.interim,
            connected: self.connected,
        };
        (outcome, lane)
    }
}

impl Carrier<'_> {
    async fn try_once(&mut self, attempt: &Attempt) -> (Ended, Option<Lane>) {
        self.last = Some(attempt.address);
        self.failure = None;
        self.exchange.wrote = Reached::Nothing;
        self.connected = outcome::Connected::No;
        if !attempt.fault.is_nothing()
            && let Some(ended) = self.feel(attempt).await
        {
            return (ended, None);
        }
        loop {
            let mut lane = match self.lend(attempt).await {
                Ok(lane) => lane,
                Err(ended) => {
                    if let Ended::ConnectFailed(ConnectFailure::Tls(why)) = ended {
                        self.failure = Some(why);
                    }
                    return (ended, None);
                }
            };
            self.connected = outcome::Connected::Yes;
            let expected = self.expected(attempt);
            self.exchange.write_request(&self.ask, attempt.number, expected);
            match self.exchange.head(&mut lane, &attempt.limits).await {
                Ok(()) => {
                    let mut seen = self.seen();
                    if let Lane::Shared(ride) = &mut lane
                        && self.may_peek(attempt, &seen)
                    {
                        self.peek(ride, &mut seen).await;
                    }
                    self.grpc = seen.grpc;
                    return (Ended::Response(seen), Some(lane));
                }
                Err(ended) => {
                    // A pooled connection that was over before our request came: take another, nothing was lost.
                    let raced = ended == Ended::Closed && lane.is_reused() && self.exchange.wrote == Reached::Nothing;
                    lane.close(self.exchange.worker);
                    if !raced || self.exchange.upload.kept() == outcome::Body::NotKept {
                        return (ended, None);
                    }
                }
            }
        }
    }

    /// A fault of one try, before its connection. It stands for an upstream that has the whole request: what it ends is
    /// that endpoint's doing. `None`: the try goes on.
    async fn feel(&mut self, attempt: &Attempt) -> Option<Ended> {
        self.exchange.wrote = Reached::Whole;
        self.connected = outcome::Connected::Yes;
        let registry = &self.exchange.worker.mesh.registry;
        if let Some(length) = attempt.fault.delay {
            registry.fault(Some(self.cell.labels), "delay");
            let until = self.exchange.worker.now() + length;
            if let Err(ended) = self.exchange.hold(until, &attempt.limits).await {
                return Some(ended);
            }
        }
        if let Some(status) = attempt.fault.abort {
            registry.fault(Some(self.cell.labels), "abort");
            return Some(Ended::Response(match self.protocol {
                Protocol::Grpc => status.grpc_response(),
                Protocol::Plain => status.plain_response(),
            }));
        }
        self.exchange.wrote = Reached::Nothing;
        self.connected = outcome::Connected::No;
        None
    }

    /// What of the response's head matters to policies.
    fn seen(&self) -> outcome::Response {
        let way = &self.exchange.way;
        let buf = way.answer.unread();
        let mut seen = outcome::Response::plain(way.response.status);
        let marks = self.retry.filter(|rules| !rules.headers.is_empty());
        seen.marked = marks.is_some_and(|rules| rules.marks(&Fields { fields: &way.response.fields, buf }));
        let limited = self.retry.and_then(|rules| rules.rate_limited);
        let heeds = self.compatibility == Compatibility::Weir || limited.is_some();
        for field in &way.response.fields {
            match field.id {
                Name::XEnvoyRatelimited => seen.ratelimited = true,
                Name::GrpcStatus => seen.grpc = number(field.value.of(buf)),
                Name::RetryAfter if heeds => {
                    let seconds = number(field.value.of(buf)).map(Duration::from_secs);
                    // One that asks for more than is written does not count, as in Envoy.
                    let seconds = seconds.filter(|length| limited.is_none_or(|longest| *length <= longest));
                    seen.again = seconds.map_or(seen.again, Again::After);
                }
                Name::GrpcRetryPushbackMs if self.compatibility == Compatibility::Weir => {
                    seen.again = push_back(field.value.of(buf))
                }
                _ => {}
            }
        }
        if let (Some(code), Protocol::Grpc) = (seen.grpc, self.protocol) {
            seen.counted = outlier::status_of_grpc(code);
        }
        seen
    }

    /// Whether a gRPC answer is looked at a little further than its head: its status may follow at once.
    fn may_peek(&self, attempt: &Attempt, seen: &outcome::Response) -> bool {
        self.protocol == Protocol::Grpc
            && self.compatibility == Compatibility::Weir
            && seen.grpc.is_none()
            && seen.status == 200
            && self.exchange.is_sent()
            && self.retry.is_some_and(|rules| rules.after_grpc() && attempt.number <= rules.attempts)
    }

    /// Waits a moment for the first piece of the answer's body; without one, its trailers say how it ended.
    async fn peek(&mut self, ride: &mut Ride, seen: &mut outcome::Response) {
        self.exchange.peek(ride).await;
        let Some(trailers) = ride.trailers() else { return };
        if let Some(value) = trailers.get("grpc-retry-pushback-ms") {
            seen.again = push_back(value.as_bytes());
        }
        // Outlier detection does not look at trailers, as Envoy's.
        seen.grpc = trailers.get("grpc-status").and_then(|value| number(value.as_bytes()));
    }

    /// A connection, unless the client leaves or the time is up first.
    async fn lend(&mut self, attempt: &Attempt) -> Result<Lane, Ended> {
        let (worker, rules) = (self.exchange.worker, &self.upstream.connection);
        if self.speaks == Version::Http2 {
            let lending = shared::lend(worker, self.cell, attempt.endpoint, attempt.address, rules);
            let ride = self.exchange.unless_over(lending, &attempt.limits).await?;
            return Ok(Lane::Shared(Box::new(ride)));
        }
        if let Some(link) = pool::take_idle(worker, self.cell, attempt.endpoint, attempt.address, rules) {
            return Ok(Lane::Own(link));
        }
        let lending = pool::lend(worker, self.cell, attempt.endpoint, attempt.address, rules);
        self.exchange.unless_over(lending, &attempt.limits).await.map(Lane::Own)
    }

    /// `x-envoy-expected-rq-timeout-ms`: what is left for this try.
    fn expected(&self, attempt: &Attempt) -> Option<u64> {
        let rules = attempt.limits.rules;
        let millis = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        // Whole milliseconds are gone, as Envoy counts them; at the end one is left.
        let left = rules.whole.map(|whole| match self.exchange.upload.received {
            Some(received) => millis(whole).saturating_sub(millis(attempt.limits.began.since(received))).max(1),
            None => millis(whole),
        });
        match (left, rules.per_try.map(millis)) {
            (Some(left), Some(per_try)) => Some(left.min(per_try)),
            (left, per_try) => left.or(per_try),
        }
    }
}

/// A call that is under way; however it is dropped, it is ended.
pub(crate) struct Guard<'a> {
    pub(crate) call: Option<Call>,
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) cell: &'a Arc<Cell>,
}

impl Guard<'_> {
    /// The answer broke off upstream.
    pub(crate) fn cut(&mut self) {
        if let Some(call) = &mut self.call {
            let now = self.worker.now();
            self.worker.with(self.cell, |cluster, draw| call.cut(cluster, draw, now));
        }
    }

    /// The call ended in order.
    pub(crate) fn end(&mut self) {
        if let Some(call) = &mut self.call
            && !call.over()
        {
            let now = self.worker.now();
            self.worker.with(self.cell, |cluster, _| call.ended(cluster, now));
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take_if(|call| !call.over()) {
            self.worker.orphan(call, Arc::clone(self.cell));
        }
    }
}
