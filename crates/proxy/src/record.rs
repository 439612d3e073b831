//! What is remembered of one request until its end: then the metrics, the log line.
//!
//! Does not: format (`weir_observe` does).

use crate::decisions;
use crate::http::carrier::Protocol as Spoken;
use crate::mesh::{Cell, Door};
use crate::tls::greet::Secured;
use crate::worker::{Lease, Worker};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use weir_observe::{Line, Protocol, Sample, SeriesKey};
use weir_policy::call::Call;
use weir_policy::flag::Flags;
use weir_policy::limit;
use weir_policy::rate;
use weir_policy::refusal::Refusal;
use weir_policy::route::Route;
use weir_policy::time::Time;
use weir_policy::tls;
use weir_policy::trail::Trail;
use weir_wire::{Name, RequestHead, Version};

/// See the module.
pub(crate) struct Record<'a> {
    pub(crate) began: Time,
    pub(crate) status: u16,
    pub(crate) flags: Flags,
    pub(crate) details: &'static str,
    pub(crate) reason: Option<Refusal>,
    /// Body bytes from the client, and to it.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) attempts: u32,
    pub(crate) cell: Option<&'a Arc<Cell>>,
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) service_time: Option<u64>,
    pub(crate) route: Option<&'a Arc<Route>>,
    /// The plan that it runs under.
    pub(crate) live: Option<&'a Lease>,
    pub(crate) door: Door,
    /// Which destination of the route the weights chose.
    pub(crate) chosen: Option<usize>,
    pub(crate) trail: Trail,
    /// What rate limits said.
    pub(crate) marks: Vec<rate::Mark>,
    /// The delay that its rule's fault drew.
    pub(crate) delayed: Option<Duration>,
    /// The local limit that refused it.
    pub(crate) limited: Option<&'a limit::Rules>,
    pub(crate) peer: SocketAddr,
    /// `grpc-status`, of the head or of the trailers.
    pub(crate) grpc: Option<u16>,
    /// The client's handshake.
    pub(crate) secured: Option<Arc<Secured>>,
    /// Bytes from a client whose connection became a WebSocket.
    pub(crate) switched: u64,
    /// Why the latest try had no TLS.
    pub(crate) failure: Option<tls::Failure>,
}

/// What the log shows of a request's head.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a RequestHead,
    pub(crate) buf: &'a [u8],
    pub(crate) request_id: &'a [u8],
}

impl Record<'_> {
    pub(crate) fn new(peer: SocketAddr, door: Door, began: Time) -> Self {
        Self {
            began,
            status: 0,
            flags: Flags::NONE,
            details: "",
            reason: None,
            received: 0,
            sent: 0,
            attempts: 0,
            cell: None,
            upstream: None,
            service_time: None,
            route: None,
            live: None,
            door,
            chosen: None,
            trail: Trail::default(),
            marks: Vec::new(),
            delayed: None,
            limited: None,
            grpc: None,
            secured: None,
            failure: None,
            switched: 0,
            peer,
        }
    }

    /// The request is over; so is its `call`, when there was one whose trail is not here already.
    pub(crate) fn finish(&mut self, worker: &Rc<Worker>, asked: Option<&Asked<'_>>, call: Option<&mut Call>) {
        let now = worker.now();
        let duration = now.since(self.began);
        let grpc = asked.is_some_and(|asked| Spoken::of(asked.request, asked.buf) == Spoken::Grpc);
        let lost = (self.reason == Some(Refusal::UnknownHost)).then_some(worker.mesh.black_hole);
        let key = SeriesKey {
            labels: self.cell.map(|cell| cell.labels).or(lost),
            status: self.status,
            flags: self.flags.bits(),
            protocol: if grpc { Protocol::Grpc } else { Protocol::Http },
            grpc: self
                .grpc
                .filter(|_| grpc)
                .and_then(|status| u8::try_from(status).ok().filter(|status| *status <= 16)),
        };
        worker
            .shard
            .borrow_mut()
            .record(&key, &Sample { duration, request_bytes: self.received, response_bytes: self.sent });
        if worker.log.is_on() {
            self.log(worker, asked, duration);
        }
        if let Some(why) = worker.decisions.wants(worker, self) {
            if let Some(call) = call {
                self.trail = call.take_trail();
            }
            decisions::keep(self, worker, asked, duration, why);
        }
    }

    fn log(&self, worker: &Rc<Worker>, asked: Option<&Asked<'_>>, duration: Duration) {
        let millis = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let flags = if self.flags == Flags::NONE { Cow::Borrowed("-") } else { Cow::Owned(self.flags.to_string()) };
        let authority = asked.and_then(|asked| Some(asked.request.host?.of(asked.buf))).unwrap_or_default();
        worker.log.write(&Line {
            start_time_unix_ms: worker.clock.unix_millis().saturating_sub(millis(duration)),
            method: asked.map(|asked| asked.request.method.of(asked.buf)).unwrap_or_default(),
            path: asked.map(|asked| asked.request.target.of(asked.buf)).unwrap_or_default(),
            protocol: match asked.map(|asked| asked.request.version) {
                Some(Version::Http10) => "HTTP/1.0",
                Some(Version::Http2) => "HTTP/2",
                _ => "HTTP/1.1",
            },
            response_code: self.status,
            response_flags: &flags,
            response_code_details: self.details,
            bytes_received: self.received,
            bytes_sent: self.sent,
            duration_ms: millis(duration),
            upstream_service_time_ms: self.service_time,
            request_id: asked.map(|asked| asked.request_id).unwrap_or_default(),
            authority,
            upstream_host: self.upstream,
            upstream_cluster: self.cell.map_or("", |cell| &cell.name),
            route_name: self.route.map_or("", |route| &route.name),
            downstream_remote_address: self.peer,
            attempts: self.attempts,
            grpc_status: self.grpc,
            reason: self.reason.map_or("", Refusal::word),
            requested_server_name: self.secured.as_ref().and_then(|of| of.name.as_deref()).unwrap_or_default(),
            downstream_peer_uri_san: self.secured.as_ref().and_then(|of| of.principal.as_deref()).unwrap_or_default(),
            upstream_transport_failure_reason: self.failure.map_or("", tls::Failure::words),
        });
    }
}

/// The value of `x-request-id`, as sent or as made.
pub(crate) fn sent_request_id<'a>(request: &RequestHead, buf: &'a [u8]) -> Option<&'a [u8]> {
    Some(request.field(Name::XRequestId)?.value.of(buf)).filter(|value| !value.is_empty())
}
