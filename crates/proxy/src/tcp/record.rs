//! What is remembered of a connection that carries no requests: its metrics, its line in the log.
//!
//! Does not: format (`weir_observe` does).

use super::carry::Carried;
use super::pump::{Ended, Moved, Side};
use crate::mesh::Cell;
use crate::tls::greet::Secured;
use crate::worker::Worker;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use weir_observe::{Line, TcpKey, TcpNumbers};
use weir_policy::flag::Flags;
use weir_policy::refusal::Refusal;
use weir_policy::time::Time;
use weir_policy::tls::Failure;

/// See the module.
pub(crate) struct Record {
    began: Time,
    peer: SocketAddr,
    name: Option<Box<str>>,
    secured: Option<Arc<Secured>>,
    pub(crate) route: Arc<str>,
    pub(crate) cell: Option<Arc<Cell>>,
    pub(crate) upstream: Option<SocketAddr>,
    /// Why there was no TLS with the endpoint.
    pub(crate) failure: Option<Failure>,
    moved: Moved,
}

impl Record {
    pub(crate) fn new(worker: &Worker, client: &Carried) -> Self {
        Self {
            began: worker.now(),
            peer: client.peer,
            name: client.name.clone(),
            secured: client.secured.clone(),
            route: "".into(),
            cell: None,
            upstream: None,
            failure: None,
            moved: Moved::default(),
        }
    }

    fn count(&self, worker: &Worker, flags: Flags, numbers: &TcpNumbers) {
        let labels = self.cell.as_ref().map(|cell| cell.labels);
        worker.mesh.registry.tcp(TcpKey { labels, flags: flags.bits() }, numbers);
    }

    /// Both sides are connected.
    pub(crate) fn opened(&self, worker: &Worker) {
        self.count(worker, Flags::NONE, &TcpNumbers { opened: 1, ..TcpNumbers::default() });
    }

    /// Bytes were passed on.
    pub(crate) fn moved(&mut self, worker: &Worker, moved: Moved) {
        self.moved.up += moved.up;
        self.moved.down += moved.down;
        let numbers = TcpNumbers { received: moved.up, sent: moved.down, ..TcpNumbers::default() };
        self.count(worker, Flags::NONE, &numbers);
    }

    /// It is over.
    pub(crate) fn ended(self, worker: &Rc<Worker>, ended: &Ended) {
        let (flags, reason) = match ended {
            Ended::Whole => (Flags::NONE, ""),
            Ended::Broken(Side::Client) => (Flags::CLIENT_GONE, ""),
            Ended::Broken(Side::Endpoint) => (Flags::CONNECTION_TERMINATED, ""),
            Ended::Idle => (Flags::STREAM_IDLE, "connection_idle"),
            Ended::TooOld => (Flags::MAX_DURATION, "max_connection_duration"),
        };
        self.count(worker, flags, &TcpNumbers { closed: 1, ..TcpNumbers::default() });
        self.log(worker, flags, reason);
    }

    /// It was not passed on: there is nothing more to do.
    pub(crate) fn refused(self, worker: &Rc<Worker>, why: Refusal) {
        let numbers = TcpNumbers { opened: 1, closed: 1, ..TcpNumbers::default() };
        self.count(worker, why.flags(), &numbers);
        self.log(worker, why.flags(), why.word());
    }

    fn log(&self, worker: &Rc<Worker>, flags: Flags, reason: &str) {
        if !worker.log.is_on() {
            return;
        }
        let duration = worker.now().since(self.began).as_millis();
        let duration = u64::try_from(duration).unwrap_or(u64::MAX);
        let shown = if flags == Flags::NONE { Cow::Borrowed("-") } else { Cow::Owned(flags.to_string()) };
        worker.log.write(&Line {
            start_time_unix_ms: worker.clock.unix_millis().saturating_sub(duration),
            method: b"-",
            path: b"-",
            protocol: "-",
            response_code: 0,
            response_flags: &shown,
            response_code_details: "",
            bytes_received: self.moved.up,
            bytes_sent: self.moved.down,
            duration_ms: duration,
            upstream_service_time_ms: None,
            request_id: b"-",
            authority: b"-",
            upstream_host: self.upstream,
            upstream_cluster: self.cell.as_ref().map_or("", |cell| &cell.name),
            route_name: &self.route,
            downstream_remote_address: self.peer,
            attempts: u32::from(self.upstream.is_some()),
            grpc_status: None,
            reason,
            requested_server_name: self.name.as_deref().unwrap_or_default(),
            downstream_peer_uri_san: self.secured.as_ref().and_then(|of| of.principal.as_deref()).unwrap_or_default(),
            upstream_transport_failure_reason: self.failure.map_or("", Failure::words),
        });
    }
}

/// A connection that no rule is for.
pub(crate) fn refuse(worker: &Rc<Worker>, client: &Carried, why: Refusal) {
    Record::new(worker, client).refused(worker, why);
}
