//! One service as a modelled proxy sees it: the cluster's living state and the connections to its endpoints.
//!
//! Does not: answer requests ([`crate::server`] does).

use crate::event::Ticket;
use crate::latency::Latency;
use crate::pool::{Lent, Next, Pool};
use crate::trace::Watch;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::cluster::Cluster;
use weir_policy::plan::Upstream;

/// See the module.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) cluster: Cluster,
    /// Where round robin stands.
    pub(crate) cursor: u64,
    /// How long a dial takes.
    pub(crate) connect: Latency,
    /// For traces.
    pub(crate) watch: Watch,
    pools: BTreeMap<SocketAddr, Pool<Ticket>>,
}

impl Service {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        let connect = Latency::Constant(Duration::ZERO);
        Self { cluster: Cluster::new(upstream), cursor: 0, connect, watch: Watch::default(), pools: BTreeMap::new() }
    }

    pub(crate) fn lend(&mut self, address: SocketAddr, who: Ticket) -> Lent {
        let ceilings = self.cluster.rules().inflight;
        self.pools.entry(address).or_default().lend(&mut self.cluster.inflight, &ceilings, who)
    }

    pub(crate) fn dialled(&mut self, address: SocketAddr) {
        self.pools.entry(address).or_default().dialled(&mut self.cluster.inflight);
    }

    pub(crate) fn failed(&mut self, address: SocketAddr) -> Next<Ticket> {
        self.pools.entry(address).or_default().failed(&mut self.cluster.inflight)
    }

    pub(crate) fn leave_line(&mut self, address: SocketAddr, who: Ticket) -> Next<Ticket> {
        self.pools.entry(address).or_default().leave_line(&mut self.cluster.inflight, &who);
        Next::Nobody
    }

    pub(crate) fn give_back(&mut self, address: SocketAddr) -> Next<Ticket> {
        self.pools.entry(address).or_default().give_back(&mut self.cluster.inflight)
    }

    pub(crate) fn close(&mut self, address: SocketAddr) -> Next<Ticket> {
        self.pools.entry(address).or_default().close(&mut self.cluster.inflight)
    }

    /// Closes idle connections.
    pub(crate) fn drain(&mut self) {
        for pool in self.pools.values_mut() {
            pool.drain(&mut self.cluster.inflight);
        }
    }
}
