//! One connection, from the rule that was found for it to its end.
//!
//! ```text
//!   destination ─► Passage (endpoint, room) ─► dial ─► PROXY header, first bytes ─► pump ─► record
//! ```
//! Does not: choose the rule (`meet` does).

use super::pump::{Ended, Pump};
use super::record::Record;
use crate::mesh::{Cell, Live};
use crate::stream::Stream;
use crate::tls::greet::Secured;
use crate::tls::reach::Inside;
use crate::upstream::connect;
use crate::worker::Worker;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use weir_policy::balance::key::{self, Key};
use weir_policy::connection::{Rules, Told};
use weir_policy::discovery::Discovery;
use weir_policy::outcome::{ConnectFailure, Result as Tried};
use weir_policy::refusal::Refusal;
use weir_policy::tcp::{Passage, Rule, Span, Target};
use weir_wire::{Ends, ProxyVersion, write_proxy};

/// A client's side.
pub(crate) struct Carried {
    pub(crate) stream: Stream,
    /// What was read of it already.
    pub(crate) first: Vec<u8>,
    pub(crate) peer: SocketAddr,
    /// The name of its handshake.
    pub(crate) name: Option<Box<str>>,
    /// When TLS was ended here.
    pub(crate) secured: Option<Arc<Secured>>,
}

/// A place at an endpoint, given back however this ends.
pub(crate) struct Taken<'c> {
    passage: Option<Passage>,
    cell: &'c Arc<Cell>,
}

impl Taken<'_> {
    /// What came of dialling, for the detector. Our own want of descriptors is not the endpoint's fault.
    fn record(&self, worker: &Rc<Worker>, dialled: &Result<Stream, Tried>) {
        let seen = match dialled {
            Ok(_) => Ok(()),
            Err(Tried::ConnectFailed(why)) => Err(*why),
            Err(_) => return,
        };
        let Some(passage) = &self.passage else { return };
        let now = worker.now();
        worker.with(self.cell, |cluster, draw| passage.record(cluster, seen, draw, now));
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(passage) = self.passage.take() {
            passage.ended(&mut self.cell.cluster.lock());
        }
    }
}

/// A connection whose destination is known. It needs no plan any more: it may last longer than many.
pub(crate) struct Way {
    cell: Arc<Cell>,
    rules: Rules,
    hash: Option<u64>,
    record: Record,
}

impl Way {
    /// By a rule; `None`: it leads nowhere, and that is recorded.
    pub(crate) fn find(worker: &Rc<Worker>, live: &Live, rule: &Rule, client: &Carried) -> Option<Self> {
        let mut record = Record::new(worker, client);
        record.route = Arc::clone(&rule.name);
        let target = {
            let mut rng = worker.rng.borrow_mut();
            rule.choose(&mut rng).map_or(Target::Nowhere, |chosen| chosen.target)
        };
        let index = match target {
            Target::Cluster(index) | Target::Untouched(index) => index,
            Target::Nowhere => return nowhere(record, worker, Refusal::NoCluster),
            Target::NotEnforced => return nowhere(record, worker, Refusal::NotEnforced),
        };
        let (cell, upstream) = (Arc::clone(&live.cells[index.0 as usize]), live.plan.upstream(index));
        let mut rules = upstream.connection.clone();
        if matches!(target, Target::Untouched(_)) {
            rules.tls = None;
        }
        record.cell = Some(Arc::clone(&cell));
        if upstream.discovery == Discovery::OnDemand {
            // Only the kernel could say where such a connection was to go.
            return nowhere(record, worker, Refusal::NoHealthy);
        }
        let source = upstream.balance.key().filter(|key| matches!(key, Key::Source));
        let hash = source.map(|_| key::of_source(client.peer.ip()));
        Some(Self { cell, rules, hash, record })
    }

    /// Has an endpoint chosen and dialled, and passes bytes until either side ends.
    pub(crate) async fn go(self, worker: &Rc<Worker>, mut client: Carried) {
        let Self { cell, rules, hash, mut record } = self;
        let now = worker.now();
        let passage = match worker.with(&cell, |cluster, draw| Passage::admit(cluster, hash, draw, now)) {
            Ok(passage) => passage,
            Err(why) => return record.refused(worker, why),
        };
        record.upstream = Some(passage.address);
        let server = client.stream.local_addr().unwrap_or(passage.address);
        let dialled = connect(worker, &cell, &rules, passage, &Ends { client: client.peer, server }).await;
        match dialled {
            Ok(Reached { mut stream, taken: _taken }) => {
                record.opened(worker);
                let span = Span { idle: rules.idle_timeout, most: rules.max_duration };
                let first = [client.first.as_slice(), &[]];
                let mut pump = Pump::new(&mut client.stream, &mut stream, first, span, worker);
                let ended = pump.run(worker, |moved| record.moved(worker, moved)).await;
                record.ended(worker, &ended);
                if matches!(ended, Ended::Broken(_)) {
                    pump.break_off();
                }
            }
            Err(why) => {
                if let Tried::ConnectFailed(ConnectFailure::Tls(failure)) = why {
                    record.failure = Some(failure);
                }
                record.refused(worker, word(why));
            }
        }
    }
}

fn nowhere(record: Record, worker: &Rc<Worker>, why: Refusal) -> Option<Way> {
    record.refused(worker, why);
    None
}

/// Why there is no connection.
pub(crate) const fn word(why: Tried) -> Refusal {
    match why {
        Tried::ConnectFailed(ConnectFailure::Refused) => Refusal::ConnectFailed,
        Tried::ConnectFailed(ConnectFailure::TimedOut) => Refusal::ConnectTimeout,
        Tried::ConnectFailed(ConnectFailure::Tls(_)) => Refusal::TlsFailed,
        _ => Refusal::Descriptors,
    }
}

/// An endpoint's side, and its place there.
pub(crate) struct Reached<'c> {
    pub(crate) stream: Stream,
    pub(crate) taken: Taken<'c>,
}

/// Dials, and says to the detector what came of it. `ends` is what the endpoint is told, where it is to be told.
pub(crate) async fn connect<'c>(
    worker: &Rc<Worker>,
    cell: &'c Arc<Cell>,
    rules: &Rules,
    passage: Passage,
    ends: &Ends,
) -> Result<Reached<'c>, Tried> {
    let address = passage.address;
    let taken = Taken { passage: Some(passage), cell };
    let dialled = dial(worker, address, rules, ends).await;
    taken.record(worker, &dialled);
    dialled.map(|stream| Reached { stream, taken })
}

async fn dial(worker: &Rc<Worker>, address: SocketAddr, rules: &Rules, ends: &Ends) -> Result<Stream, Tried> {
    if worker.mesh.own.has(address) {
        return Err(Tried::ConnectFailed(ConnectFailure::Refused));
    }
    let Some(told) = rules.told else { return connect::dial(address, rules, Inside::Bytes, &worker.mesh).await };
    let mut header = Vec::new();
    let version = if told == Told::V1 { ProxyVersion::V1 } else { ProxyVersion::V2 };
    write_proxy(version, ends, &mut header);
    connect::dial_announced(address, rules, Inside::Bytes, &worker.mesh, &header).await
}
