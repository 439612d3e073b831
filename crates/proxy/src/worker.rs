//! One core: its event loop, its listeners, its pools, its generator, its counters.
//!
//! ```text
//!   commands (take a plan, drain, stop) ─► heed ──┐
//!   listeners ─► accept ─► serve (one task each) ─┼─ all on one thread; nothing here is Sync
//!   every second ─► sweep idle connections ───────┘
//! ```
//! Does not: decide; `Handle` commands it.

use crate::buffer::Store;
use crate::http::serve;
use crate::log::Log;
use crate::mesh::{Arrival, Cell, Door, Live, Mesh};
use crate::upstream::pool::Pools;
use std::cell::{Cell as StdCell, RefCell};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use weir_observe::Shard;
use weir_policy::call::Call;
use weir_policy::cluster::{Cluster, Draw};
use weir_policy::rng::Rng;
use weir_policy::time::Time;

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_millis(500);
/// After an accept error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
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
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Activity {
    Idle { since: Time },
    Busy,
}

/// See the module.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) pools: Pools,
    pub(crate) buffers: Store,
    pub(crate) shard: RefCell<Shard>,
    pub(crate) log: Log,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) listeners: RefCell<Vec<(Door, AbortHandle)>>,
    peers: Vec<mpsc::UnboundedSender<Command>>,
    live: RefCell<Lease>,
    clients: RefCell<Clients>,
    orphans: RefCell<Vec<(Call, Arc<Cell>)>>,
    orphaned: Notify,
    draining: StdCell<Draining>,
    /// The second, and its `date`.
    date: RefCell<(u64, Rc<str>)>,
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
    pub(crate) seed: u64,
    pub(crate) peers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
}

/// Runs a worker until it is told to stop.
pub(crate) async fn run(start: Start) {
    let worker = Rc::new(Worker {
        index: start.index,
        mesh: start.mesh,
        pools: Pools::default(),
        buffers: Store::default(),
        shard: RefCell::new(start.shard),
        log: start.log,
        rng: RefCell::new(Rng::new(start.seed)),
        listeners: RefCell::new(Vec::new()),
        peers: start.peers,
        live: RefCell::new(Rc::new(start.live)),
        clients: RefCell::new(Clients::default()),
        orphans: RefCell::new(Vec::new()),
        orphaned: Notify::new(),
        draining: StdCell::new(Draining::No),
        date: RefCell::new((0, "".into())),
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
    drop(worker.pools.clear());
}

async fn heed(worker: &Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Take { live, opened, closed, done } => {
                let old = worker.take(live);
                worker.close_listeners(&closed);
                for (door, socket) in opened {
                    worker.open_listener(door, socket);
                }
                // The commander may have given up waiting; the old plan is then dropped here.
                drop(done.send(old));
            }
            Command::Adopt(arrival) => welcome(worker, arrival),
            Command::Drain => worker.drain(),
            Command::Stop => return,
        }
    }
}

impl Worker {
    pub(crate) fn now(&self) -> Time {
        self.mesh.clock.now()
    }

    /// The plan in force, for a whole request.
    pub(crate) fn live(&self) -> Lease {
        Rc::clone(&self.live.borrow())
    }

    /// The `date` of now, made once per second.
    pub(crate) fn date(&self) -> Rc<str> {
        let second = self.mesh.clock.unix_millis() / 1000;
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            *date = (second, crate::clock::http_date(second).into());
        }
        Rc::clone(&date.1)
    }

    /// A request id for a client that sent none: random, in the form of a UUID (version 4).
    pub(crate) fn make_request_id<'i>(&self, into: &'i mut Vec<u8>) -> &'i [u8] {
        let mut rng = self.rng.borrow_mut();
        let (high, low) = (rng.next() & !0xf000 | 0x4000, rng.next() & !(0b11 << 62) | (0b10 << 62));
        into.clear();
        for (index, byte) in high.to_be_bytes().into_iter().chain(low.to_be_bytes()).enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                into.push(b'-');
            }
            into.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
            into.push(b"0123456789abcdef"[usize::from(byte & 15)]);
        }
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

    fn open_listener(self: &Rc<Self>, door: Door, socket: TcpListener) {
        let task = tokio::task::spawn_local(accept(Rc::clone(self), door, socket));
        self.listeners.borrow_mut().push((door, task.abort_handle()));
    }

    fn close_listeners(&self, doors: &[Door]) {
        self.listeners.borrow_mut().retain(|(door, task)| {
            let close = doors.contains(door);
            if close {
                task.abort();
            }
            !close
        });
    }

    fn stop_listening(&self) {
        for (_, task) in self.listeners.take() {
            task.abort();
        }
    }

    fn drain(&self) {
        self.draining.set(Draining::Yes);
        self.stop_listening();
        self.close_idle(|_| true);
        drop(self.pools.clear());
    }

    /// Ends the connections that are idle and that `chosen` says.
    fn close_idle(&self, chosen: impl Fn(Time) -> bool) {
        let clients = self.clients.borrow();
        for client in clients.slots.iter().flatten() {
            if let (Activity::Idle { since }, Some(task)) = (client.activity, &client.task)
                && chosen(since)
            {
                task.abort();
            }
        }
    }

    pub(crate) fn mark(&self, key: usize, activity: Activity) {
        if let Some(Some(client)) = self.clients.borrow_mut().slots.get_mut(key) {
            client.activity = activity;
        }
    }

    fn enter(&self) -> usize {
        let client = Some(Client { task: None, activity: Activity::Idle { since: self.now() } });
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

    fn leave(&self, key: usize) {
        let mut clients = self.clients.borrow_mut();
        clients.slots[key] = None;
        clients.free.push(key);
        self.mesh.connections.fetch_sub(1, Ordering::Relaxed);
        self.mesh.crowd[self.index].fetch_sub(1, Ordering::Relaxed);
    }

    /// The worker that should have the next connection, when that is not this one.
    fn emptier(&self) -> Option<&mpsc::UnboundedSender<Command>> {
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

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.leave(self.key);
    }
}

async fn accept(worker: Rc<Worker>, door: Door, socket: TcpListener) {
    let Ok(listener) = tokio::net::TcpListener::from_std(socket) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let limit = worker.live().plan.settings.limits.connections;
                if worker.mesh.connections.load(Ordering::Relaxed) >= limit {
                    worker.mesh.registry.refused_connection("connection_limit");
                    continue;
                }
                let Ok(stream) = stream.into_std() else { continue };
                let arrival = Arrival { stream, peer, door };
                match worker.emptier() {
                    Some(other) => {
                        // A worker that has ended no longer counts: keep the connection.
                        if let Err(mpsc::error::SendError(Command::Adopt(arrival))) =
                            other.send(Command::Adopt(arrival))
                        {
                            welcome(&worker, arrival);
                        }
                    }
                    None => welcome(&worker, arrival),
                }
            }
            // The client gave up already, or we are out of descriptors: either way, go on.
            Err(why) if why.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(_) => {
                worker.mesh.registry.refused_connection("accept_failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn welcome(worker: &Rc<Worker>, arrival: Arrival) {
    let Ok(stream) = tokio::net::TcpStream::from_std(arrival.stream) else { return };
    if stream.set_nodelay(true).is_err() || worker.is_draining() {
        return;
    }
    worker.mesh.connections.fetch_add(1, Ordering::Relaxed);
    worker.mesh.crowd[worker.index].fetch_add(1, Ordering::Relaxed);
    let place = Place { worker: Rc::clone(worker), key: worker.enter() };
    let key = place.key;
    let task = tokio::task::spawn_local(serve::serve(Rc::clone(worker), place, stream, arrival.peer, arrival.door));
    if let Some(Some(client)) = worker.clients.borrow_mut().slots.get_mut(key) {
        client.task = Some(task.abort_handle());
    }
}

async fn sweep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let now = worker.now();
        drop(worker.pools.sweep(now));
        let limit = worker.live().plan.settings.limits.connection_idle;
        worker.close_idle(|since| now.since(since) >= limit);
    }
}

async fn bury(worker: Rc<Worker>) {
    loop {
        worker.orphaned.notified().await;
        worker.end_orphans();
    }
}
