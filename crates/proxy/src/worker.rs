//! One core: its event loop, its listeners, its pools, its generator, its counters.
//!
//! ```text
//!   commands (take a plan, drain, stop) ─► heed ──┐
//!   listeners ─► accept ─► serve (one task each) ─┼─ all on one thread; nothing here is Sync
//!   every second ─► sweep idle connections ───────┘
//! ```
//! Does not: decide; `Handle` commands it.

use crate::accept::{self, Opened};
use crate::buffer::{Spares, Store};
use crate::clock::Watch;
use crate::decisions::Decisions;
use crate::http::desk::Desks;
use crate::log::Log;
use crate::mesh::{Arrival, Cell, Door, Live, Mesh};
use crate::parting::Parting;
use crate::tcp::pump::Basins;
use crate::upstream::pool::Pools;
use std::cell::{Cell as StdCell, RefCell};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use weir_observe::{Limit, Shard};
use weir_policy::call::Call;
use weir_policy::cluster::{Cluster, Draw};
use weir_policy::rng::Rng;
use weir_policy::time::Time;

/// Where the two digits of each byte stand in a UUID.
const DIGITS_AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_millis(250);
/// A block that no allocator keeps for itself.
const LARGE: usize = 64 << 20;
/// In a drain, a connection without a request for so long is ended: a request that is on its way still arrives.
pub(crate) const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// A worker this far above the average hands new connections on: factor 1.25, plus this many.
const CROWD_MARGIN: u32 = 16;

/// A plan as requests hold it: counted per worker, so that no two cores write the same count.
pub(crate) type Lease = Rc<Arc<Live>>;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run new requests under this plan, on these listeners. Answers with what it ran under before.
    Take {
        live: Arc<Live>,
        opened: Vec<(Door, TcpListener)>,
        closed: Vec<Door>,
        done: oneshot::Sender<Option<Arc<Live>>>,
    },
    /// A client connection from a more crowded worker.
    Adopt(Arrival),
    /// Answers as soon as the event loop comes to it.
    Ping(oneshot::Sender<()>),
    /// No new connections; idle ones are closed; requests under way are finished.
    Drain,
    /// End now.
    Stop,
}

/// A client connection, as the worker sees it.
#[derive(Debug)]
struct Client {
    task: Option<AbortHandle>,
    activity: Activity,
    /// Of an HTTP/2 connection, which is asked to end in order.
    parting: Option<Parting>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Activity {
    /// No request yet, at the edge.
    Fresh {
        since: Time,
    },
    Idle {
        since: Time,
    },
    Busy,
}

/// See the module.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) clock: Rc<Watch>,
    pub(crate) pools: Pools,
    pub(crate) buffers: Store,
    pub(crate) spares: Spares,
    pub(crate) desks: Desks,
    pub(crate) basins: Basins,
    pub(crate) shard: RefCell<Shard>,
    pub(crate) log: Log,
    pub(crate) decisions: Decisions,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) listeners: RefCell<Vec<Opened>>,
    peers: Vec<mpsc::UnboundedSender<Command>>,
    live: RefCell<Lease>,
    clients: RefCell<Clients>,
    orphans: RefCell<Vec<(Call, Arc<Cell>)>>,
    orphaned: Notify,
    /// Copies of requests that are under way to mirrors.
    pub(crate) mirrors: Rc<StdCell<u32>>,
    draining: StdCell<Draining>,
    date: RefCell<Date>,
}

/// The `date` of a second, as long as it lasts.
struct Date {
    until: Time,
    text: Rc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Draining {
    No,
    Yes,
}

#[derive(Default)]
struct Clients {
    slots: Vec<Option<Client>>,
    free: Vec<usize>,
}

/// What a worker thread starts with.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) live: Arc<Live>,
    pub(crate) shard: Shard,
    pub(crate) log: Log,
    pub(crate) decisions: Decisions,
    pub(crate) seed: u64,
    pub(crate) peers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
}

/// Runs a worker until it is told to stop.
pub(crate) async fn run(start: Start) {
    let worker = Rc::new(Worker {
        index: start.index,
        clock: Rc::new(Watch::new(start.mesh.clock)),
        mesh: start.mesh,
        pools: Pools::default(),
        buffers: Store::default(),
        spares: Spares::default(),
        desks: Desks::default(),
        basins: Basins::default(),
        shard: RefCell::new(start.shard),
        log: start.log,
        decisions: start.decisions,
        rng: RefCell::new(Rng::new(start.seed)),
        listeners: RefCell::new(Vec::new()),
        peers: start.peers,
        live: RefCell::new(Rc::new(start.live)),
        clients: RefCell::new(Clients::default()),
        orphans: RefCell::new(Vec::new()),
        orphaned: Notify::new(),
        mirrors: Rc::default(),
        draining: StdCell::new(Draining::No),
        date: RefCell::new(Date { until: Time::ZERO, text: "".into() }),
    });
    let sweeper = tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    let undertaker = tokio::task::spawn_local(bury(Rc::clone(&worker)));
    let writer = tokio::task::spawn_local(crate::log::flush(Rc::clone(&worker)));
    heed(&worker, start.commands).await;
    worker.stop_listening();
    sweeper.abort();
    undertaker.abort();
    writer.abort();
    worker.log.flush_now();
    // A desk holds its worker.
    worker.desks.clear();
    drop(worker.pools.clear());
}

async fn heed(worker: &Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Take { live, opened, closed, done } => {
                let old = worker.take(live);
                worker.close_listeners(&closed);
                for (door, socket) in opened {
                    worker.listeners.borrow_mut().push(accept::open(worker, door, socket));
                }
                // The commander may have given up waiting; the old plan is then dropped here.
                drop(done.send(old));
            }
            Command::Adopt(arrival) => accept::welcome(worker, arrival),
            // Whoever asked may have given up.
            Command::Ping(done) => drop(done.send(())),
            Command::Drain => worker.drain(),
            Command::Stop => return,
        }
    }
}

impl Worker {
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The plan in force, for a whole request.
    pub(crate) fn live(&self) -> Lease {
        Rc::clone(&self.live.borrow())
    }

    /// The `date` of now, made once per second.
    pub(crate) fn date(&self) -> Rc<str> {
        let now = self.now();
        let mut date = self.date.borrow_mut();
        if now >= date.until {
            let millis = self.clock.unix_millis();
            let until = now + Duration::from_millis(1000 - millis % 1000);
            *date = Date { until, text: crate::clock::http_date(millis / 1000).into() };
        }
        Rc::clone(&date.text)
    }

    /// A request id for a client that sent none: random, in the form of a UUID (version 4).
    pub(crate) fn make_request_id<'i>(&self, into: &'i mut Vec<u8>) -> &'i [u8] {
        let mut rng = self.rng.borrow_mut();
        let (high, low) = (rng.next() & !0xf000 | 0x4000, rng.next() & !(0b11 << 62) | (0b10 << 62));
        let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        let mut text = [b'-'; 36];
        for (byte, at) in bytes.into_iter().zip(DIGITS_AT) {
            text[at] = b"0123456789abcdef"[usize::from(byte >> 4)];
            text[at + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        into.clear();
        into.extend_from_slice(&text);
        into
    }

    /// Runs a decision under the cluster's lock.
    pub(crate) fn with<R>(&self, cell: &Arc<Cell>, decide: impl FnOnce(&mut Cluster, &mut Draw<'_>) -> R) -> R {
        self.end_orphans();
        self.pools.with(cell, |local| {
            let mut rng = self.rng.borrow_mut();
            let mut draw = Draw { rng: &mut rng, cursor: &mut local.cursor };
            decide(&mut cell.cluster.lock(), &mut draw)
        })
    }

    /// A call whose task was dropped: it is ended soon, outside of any lock that the dropping code may hold.
    pub(crate) fn orphan(&self, call: Call, cell: Arc<Cell>) {
        self.orphans.borrow_mut().push((call, cell));
        self.orphaned.notify_one();
    }

    fn end_orphans(&self) {
        if self.orphans.borrow().is_empty() {
            return;
        }
        let now = self.now();
        for (mut call, cell) in self.orphans.take() {
            call.ended(&mut cell.cluster.lock(), now);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get() == Draining::Yes
    }

    fn take(&self, live: Arc<Live>) -> Option<Arc<Live>> {
        let gone = self.pools.retain(&live.cells);
        drop(gone);
        let old = self.live.replace(Rc::new(live));
        Some(Arc::clone(&old))
    }

    fn close_listeners(&self, doors: &[Door]) {
        self.listeners.borrow_mut().retain(|opened| !doors.contains(&opened.door));
    }

    fn stop_listening(&self) {
        self.listeners.take();
    }

    fn drain(&self) {
        self.draining.set(Draining::Yes);
        self.stop_listening();
    }

    /// Ends the connections that are idle for too long.
    fn close_idle(&self, now: Time) {
        let live = self.live();
        let limits = &live.plan.settings.limits;
        let most = if self.is_draining() { DRAIN_IDLE } else { Duration::MAX };
        for client in self.clients.borrow().slots.iter().flatten() {
            if let Some(parting) = client.parting.as_ref().filter(|_| self.mesh.is_leaving()) {
                parting.tell(now);
            }
            let (since, limit) = match client.activity {
                Activity::Fresh { since } => (since, limits.head_timeout),
                Activity::Idle { since } => (since, limits.connection_idle),
                Activity::Busy => continue,
            };
            if let Some(task) = client.task.as_ref().filter(|_| now.since(since) >= limit.min(most)) {
                if client.parting.as_ref().is_some_and(|parting| parting.is_polite(now)) {
                    continue;
                }
                task.abort();
                let fresh = matches!(client.activity, Activity::Fresh { .. });
                match most {
                    DRAIN_IDLE => {}
                    _ if fresh => self.mesh.registry.malformed("head_timeout"),
                    _ => self.mesh.registry.limited(Limit::ConnectionIdle),
                }
            }
        }
    }

    /// The connection with this key speaks HTTP/2.
    pub(crate) fn may_part(&self, key: usize, parting: &Parting) {
        if let Some(Some(client)) = self.clients.borrow_mut().slots.get_mut(key) {
            client.parting = Some(parting.clone());
        }
    }

    pub(crate) fn mark(&self, key: usize, activity: Activity) {
        if let Some(Some(client)) = self.clients.borrow_mut().slots.get_mut(key) {
            client.activity = activity;
        }
    }

    fn enter(&self) -> usize {
        let client = Some(Client { task: None, activity: Activity::Idle { since: self.now() }, parting: None });
        let mut clients = self.clients.borrow_mut();
        match clients.free.pop() {
            Some(key) => {
                clients.slots[key] = client;
                key
            }
            None => {
                clients.slots.push(client);
                clients.slots.len() - 1
            }
        }
    }

    /// The task of the connection with this key.
    pub(crate) fn entered(&self, key: usize, task: AbortHandle) {
        if let Some(Some(client)) = self.clients.borrow_mut().slots.get_mut(key) {
            client.task = Some(task);
        }
    }

    fn leave(&self, key: usize) {
        let mut clients = self.clients.borrow_mut();
        clients.slots[key] = None;
        clients.free.push(key);
        self.mesh.connections.fetch_sub(1, Ordering::Relaxed);
        self.mesh.crowd[self.index].fetch_sub(1, Ordering::Relaxed);
    }

    /// The worker that should have the next connection, when that is not this one.
    pub(crate) fn emptier(&self) -> Option<&mpsc::UnboundedSender<Command>> {
        let crowd: Vec<u32> = self.mesh.crowd.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let average = crowd.iter().map(|count| u64::from(*count)).sum::<u64>() / crowd.len() as u64;
        if u64::from(crowd[self.index]) <= average * 5 / 4 + u64::from(CROWD_MARGIN) {
            return None;
        }
        let (emptiest, _) = crowd.iter().enumerate().min_by_key(|(_, count)| **count)?;
        (emptiest != self.index).then(|| &self.peers[emptiest])
    }
}

/// A client's place among the worker's connections; given back when its task ends, however it ends.
pub(crate) struct Place {
    worker: Rc<Worker>,
    pub(crate) key: usize,
}

impl Place {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        Self { worker: Rc::clone(worker), key: worker.enter() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.leave(self.key);
    }
}

async fn sweep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let now = worker.now();
        drop(worker.pools.sweep(now));
        if worker.is_draining() {
            drop(worker.pools.clear());
        }
        worker.close_idle(now);
        if worker.mesh.pressure.stops_accepting() {
            worker.buffers.clear();
            worker.spares.clear();
            worker.desks.clear();
            worker.basins.clear();
            // Allocators give memory back while they are used, and this thread may be idle now: a large block, never
            // touched, makes them look at what they hold.
            drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
        }
    }
}

async fn bury(worker: Rc<Worker>) {
    loop {
        worker.orphaned.notified().await;
        worker.end_orphans();
    }
}
