//! What the workers share: the plan in force, the living state of its clusters, process-wide counts.
//!
//! ```text
//!   prepare(plan) ─► Live { plan, cells }      cells by id: same id, same living state
//!        │ nothing visible yet
//!   adopt(&live)  ─► cells take their new rules; vanished ids are forgotten when their last call ends
//! ```
//! Does not: reach the workers (`handle` does).

use crate::clock::Clock;
use crate::decisions::Taps;
use crate::error::StartError;
use crate::handle::Options;
use crate::limits::{Limits, Pot};
use crate::own::Own;
use crate::pressure::Pressure;
use crate::rates::{Meter, Rates};
use crate::tls::greet::Secured;
use crate::tls::keyring::{Entrance, Keyring, Ring};
use crate::upstream::resolve::{Fixed, Resolver};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use weir_observe::{Registry, ServiceLabels};
use weir_policy::balance::Table;
use weir_policy::cluster::Cluster;
use weir_policy::discovery::Shift;
use weir_policy::plan::{Gateway, Listener, Plan, Upstream};
use weir_policy::tcp;
use weir_policy::tls::Carries;

/// A plan with the living state of its clusters: what a request runs under, from its first byte to its last.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) plan: Plan,
    /// By `ClusterIndex`.
    pub(crate) cells: Vec<Arc<Cell>>,
    /// By `ClusterIndex`: what their balancers need, made when the plan was prepared.
    tables: Vec<Arc<Table>>,
    /// By `LimitIndex`.
    pub(crate) limits: Vec<Arc<Pot>>,
    /// By `RateIndex`.
    pub(crate) rates: Vec<Meter>,
    /// Of clusters whose endpoints have names: those of the documents.
    fixed: Vec<Fixed>,
    /// What TLS is spoken with.
    pub(crate) ring: Ring,
    /// Of doors where not only requests in the clear come in.
    meets: HashMap<Door, Meets>,
}

/// What the connections of a door begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meets {
    /// Requests in the clear.
    Requests,
    /// TLS that is ended here, and requests in it.
    Handshakes,
    /// TLS of which some is passed on, or carries other than requests.
    Sorted,
    /// Bytes.
    Bytes,
}

fn meets(plan: &Plan) -> HashMap<Door, Meets> {
    let of = |gateway: &Gateway| {
        let bytes = gateway.tls.iter().any(|entry| entry.rules.carries == Carries::Bytes);
        match (gateway.tls.is_empty(), gateway.tcp.passed.is_empty()) {
            (false, true) if !bytes => Meets::Handshakes,
            (true, true) if gateway.carries == Carries::Http => Meets::Requests,
            (true, true) => Meets::Bytes,
            _ => Meets::Sorted,
        }
    };
    let gateways = plan.gateways.iter().map(|gateway| (Door::Gateway { port: gateway.port }, of(gateway)));
    let at = |listener: &Listener| Door::Service { at: SocketAddr::new(listener.bind, listener.port) };
    gateways.chain(plan.services.iter().map(|listener| (at(listener), Meets::Bytes))).collect()
}

impl Live {
    /// The servers of a port that end TLS.
    pub(crate) fn entrance(&self, door: Door) -> Option<&Entrance> {
        match door {
            Door::Gateway { port } => self.ring.entrances.get(&port),
            Door::Outbound | Door::Service { .. } => None,
        }
    }

    /// May a request for this host use the connection that the client opened?
    pub(crate) fn admits(&self, door: Door, secured: Option<&Secured>, authority: &[u8]) -> bool {
        self.entrance(door).is_none_or(|entrance| secured.is_some_and(|secured| entrance.admits(secured, authority)))
    }

    /// What the connections of a door begin with.
    pub(crate) fn meets(&self, door: Door) -> Meets {
        self.meets.get(&door).copied().unwrap_or(Meets::Requests)
    }

    /// Where connections of a door go that carry no requests.
    pub(crate) fn tcp(&self, door: Door) -> Option<&tcp::Rules> {
        match door {
            Door::Outbound => None,
            Door::Gateway { port } => self.plan.gateways.iter().find(|gateway| gateway.port == port).map(|of| &of.tcp),
            Door::Service { at } => {
                let is = |listener: &&Listener| listener.port == at.port() && listener.bind == at.ip();
                self.plan.services.iter().find(is).map(|of| &of.tcp)
            }
        }
    }
}

/// The living state of one cluster id, for the whole process.
#[derive(Debug)]
pub(crate) struct Cell {
    /// Its place in each worker's table of pools; used again once nobody holds the cell.
    pub(crate) number: u32,
    /// Its labels in the metrics.
    pub(crate) labels: u32,
    pub(crate) name: Arc<str>,
    /// Held for a moment only: never across an await, never while anything is dropped that could lock it.
    pub(crate) cluster: Mutex<Cluster>,
    numbers: Arc<Mutex<Vec<u32>>>,
}

impl Cell {
    /// Takes new rules. What changes among its endpoints is worked out before the lock is taken, and what is old is
    /// dropped after it: both may be large.
    fn renew(&self, new: &Arc<Upstream>, table: &Arc<Table>) {
        let old = Arc::clone(self.cluster.lock().rules());
        let Some(shift) = Shift::onto(&old, new) else {
            let replaced = self.cluster.lock().renew(Arc::clone(new), Arc::clone(table));
            return drop(replaced);
        };
        let table = if Table::fits(&shift.rules, new) {
            Arc::clone(table)
        } else {
            Arc::new(Table::build(&shift.rules.balance, &shift.rules.endpoints))
        };
        // Nobody else changes rules while a plan is adopted (`Resolver::adopt`).
        let replaced = self.cluster.lock().shift(&shift, table);
        drop(replaced);
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.numbers.lock().push(self.number);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) clock: Clock,
    pub(crate) registry: Registry,
    /// Not ready, and every answer says `connection: close`: clients are to go elsewhere.
    pub(crate) leaving: AtomicBool,
    /// Is memory or are descriptors short?
    pub(crate) pressure: Pressure,
    /// Who watches requests live.
    pub(crate) taps: Taps,
    /// Client connections of the process.
    pub(crate) connections: AtomicU32,
    /// Listeners that may still accept, over all workers.
    pub(crate) listening: AtomicU32,
    /// Bytes kept for retries by the process.
    pub(crate) replay: AtomicU64,
    /// Client connections of each worker, so that a crowded one can hand new ones on.
    pub(crate) crowd: Vec<AtomicU32>,
    pub(crate) limits: Limits,
    pub(crate) rates: Rates,
    pub(crate) resolver: Resolver,
    /// The labels of requests to unknown hosts that are refused: Istio's `BlackHoleCluster`.
    pub(crate) black_hole: u32,
    /// Our own addresses.
    pub(crate) own: Own,
    pub(crate) keyring: Keyring,
    cells: Mutex<Cells>,
}

#[derive(Debug, Default)]
struct Cells {
    by_id: HashMap<Arc<str>, Arc<Cell>>,
    free: Arc<Mutex<Vec<u32>>>,
    next: u32,
}

impl Mesh {
    pub(crate) fn new(clock: Clock, registry: Registry, workers: usize, options: &Options) -> Self {
        let black_hole = registry.labels(ServiceLabels {
            host: "unknown".into(),
            name: "BlackHoleCluster".into(),
            namespace: "unknown".into(),
        });
        Self {
            clock,
            registry,
            black_hole,
            leaving: AtomicBool::new(false),
            pressure: Pressure::new(&options.ceilings),
            taps: Taps::default(),
            connections: AtomicU32::new(0),
            listening: AtomicU32::new(0),
            replay: AtomicU64::new(0),
            crowd: (0..workers).map(|_| AtomicU32::new(0)).collect(),
            limits: Limits::default(),
            rates: Rates::new(),
            resolver: Resolver::new(clock, options.name_servers.clone()),
            own: Own::default(),
            keyring: Keyring::new(clock, options.secrets.clone()),
            cells: Mutex::new(Cells::default()),
        }
    }

    /// Finds or makes the cell of each cluster; changes nothing that a request can see.
    pub(crate) fn prepare(&self, mut plan: Plan, ring: Ring) -> Result<Live, StartError> {
        let fixed = self.resolver.prepare(&mut plan)?;
        let cells: Vec<Arc<Cell>> = {
            let mut cells = self.cells.lock();
            plan.clusters.iter().map(|upstream| cells.find_or_make(upstream, &self.registry)).collect()
        };
        let tables = plan.clusters.iter().zip(&cells).map(|(upstream, cell)| {
            let (rules, table) = {
                let cluster = cell.cluster.lock();
                (Arc::clone(cluster.rules()), Arc::clone(cluster.table()))
            };
            if Arc::ptr_eq(&rules, upstream) || Table::fits(&rules, upstream) {
                table
            } else {
                Arc::new(Table::build(&upstream.balance, &upstream.endpoints))
            }
        });
        let tables = tables.collect();
        let limits = self.limits.prepare(&plan.limits, &self.clock);
        let rates = self.rates.prepare(&plan.rates);
        let meets = meets(&plan);
        Ok(Live { plan, cells, tables, limits, rates, fixed, ring, meets })
    }

    /// Puts a prepared plan's rules in force, and forgets clusters that it does not have.
    pub(crate) fn adopt(&self, live: &Live) {
        self.keyring.retain(&live.ring);
        self.limits.adopt(&live.plan.limits, &live.limits, &self.clock);
        self.rates.adopt(&live.plan.rates, &live.rates);
        self.resolver.adopt(&live.plan, &live.cells, &live.fixed, || self.renew(live));
    }

    fn renew(&self, live: &Live) {
        for ((cell, upstream), table) in live.cells.iter().zip(&live.plan.clusters).zip(&live.tables) {
            // Most clusters of most plans are those of the plan before.
            if Arc::ptr_eq(cell.cluster.lock().rules(), upstream) {
                continue;
            }
            cell.renew(upstream, table);
        }
        let kept: HashMap<Arc<str>, Arc<Cell>> = live
            .plan
            .clusters
            .iter()
            .zip(&live.cells)
            .map(|(upstream, cell)| (Arc::clone(&upstream.id), Arc::clone(cell)))
            .collect();
        let old = std::mem::replace(&mut self.cells.lock().by_id, kept);
        drop(old);
    }

    /// Every cluster's living state, for metrics.
    pub(crate) fn cells(&self) -> Vec<Arc<Cell>> {
        self.cells.lock().by_id.values().cloned().collect()
    }

    pub(crate) fn cell(&self, id: &str) -> Option<Arc<Cell>> {
        self.cells.lock().by_id.get(id).cloned()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Takes `bytes` of the memory for replays, when there is that much.
    pub(crate) fn take_replay(&self, bytes: u64, limit: u64) -> bool {
        let before = self.replay.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= limit.min(self.pressure.replay) {
            return true;
        }
        self.give_replay(bytes);
        false
    }

    pub(crate) fn give_replay(&self, bytes: u64) {
        // Most requests have nothing to give back, and all workers count here.
        if bytes > 0 {
            self.replay.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Cells {
    fn find_or_make(&mut self, upstream: &Arc<Upstream>, registry: &Registry) -> Arc<Cell> {
        if let Some(cell) = self.by_id.get(&upstream.id) {
            return Arc::clone(cell);
        }
        let number = self.free.lock().pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        Arc::new(Cell {
            number,
            labels: registry.labels(ServiceLabels {
                host: Arc::clone(&upstream.service.host),
                name: Arc::clone(&upstream.service.name),
                namespace: Arc::clone(&upstream.service.namespace),
            }),
            name: Arc::clone(&upstream.name),
            cluster: Mutex::new(Cluster::new(Arc::clone(upstream))),
            numbers: Arc::clone(&self.free),
        })
    }
}

/// Through which door a client came in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Door {
    /// The outbound listener: the host chooses the service.
    Outbound,
    /// A Gateway's port: edge rules hold.
    Gateway { port: u16 },
    /// An address that stands for services which are not HTTP.
    Service { at: SocketAddr },
}

/// A client connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) door: Door,
}
