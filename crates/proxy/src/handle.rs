//! The data plane as its owner sees it: start, commit a plan, drain.
//!
//! ```text
//!   commit(plan):  prepare cells ─► bind new ports ──failed──► nothing changed
//!                     └─► every worker takes it ─► the last one took it: the version counts
//! ```
//! Does not: compile documents or watch files.

use crate::clock::Clock;
use crate::decisions::{Decisions, Ring, Tap};
use crate::doors;
use crate::error::StartError;
use crate::listen::{self, Bound, Handed};
use crate::log::{self, Log};
use crate::mesh::{Door, Live, Mesh};
use crate::numbers::numbers;
use crate::pressure::{self, Ceilings};
use crate::tls::Trouble;
use crate::tls::keyring::Prepared;
use crate::worker::{self, Command, Start};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use weir_observe::{ClusterNumbers, Registry, Shard, Source};
use weir_policy::decision::{Decision, Filter};
use weir_policy::flag::Flags;
use weir_policy::outlier::Health;
use weir_policy::plan::{AccessLog, Compatibility, Gateway, Plan};

/// How long the end waits for the access log's last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What the data plane is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The outbound listener; `None` = off.
    pub outbound: Option<SocketAddr>,
    /// Event loops, ≥ 1.
    pub workers: usize,
    /// Overrides the plan's access log.
    pub access_log: Option<AccessLog>,
    /// This workload, in metrics.
    pub name: String,
    pub namespace: String,
    /// Requests of a million that nothing happened to and of which a record is kept all the same.
    pub sample: u32,
    /// Of the workers' generators; worker n draws from `seed + n`.
    pub seed: u64,
    /// Name servers to ask instead of those of `/etc/resolv.conf`.
    pub name_servers: Vec<SocketAddr>,
    /// The folder with a folder for each secret.
    pub secrets: Option<PathBuf>,
    /// What the process may use before it refuses work.
    pub ceilings: Ceilings,
}

/// A running data plane. Dropping it ends it at once; [`Handle::drain`] ends it in order.
pub struct Handle {
    mesh: Arc<Mesh>,
    shards: Vec<Arc<weir_observe::Series>>,
    /// What each worker keeps of requests.
    rings: Vec<Arc<Ring>>,
    commands: Vec<mpsc::UnboundedSender<Command>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Of the access log.
    writer: Mutex<Option<JoinHandle<()>>>,
    state: Mutex<State>,
}

struct State {
    outbound: Option<Bound>,
    /// The open Gateway listeners, by port.
    gateways: HashMap<u16, Bound>,
    /// The open listeners of services that are not HTTP.
    services: doors::Open,
    live: Arc<Live>,
    /// Plans that some request may still run under: dropped here, not on a worker.
    retired: Vec<Arc<Live>>,
}

/// Binds every listener, or takes it from `handed`; starts the workers; runs `plan`.
///
/// # Errors
/// A port is in use, cannot be bound, or the system refuses a thread: nothing is left running.
pub fn start(options: Options, plan: Plan, handed: &mut Handed) -> Result<Handle, StartError> {
    let workers = options.workers.max(1);
    let compatibility = plan.settings.compatibility;
    let registry = Registry::new(Source { workload: options.name.clone(), namespace: options.namespace.clone() });
    registry.show_code_class(compatibility == Compatibility::Weir);
    let mesh = Arc::new(Mesh::new(Clock::new(), registry, workers, &options));
    let outbound = options.outbound.map(|address| listen::bind(address, "outbound", workers, handed)).transpose()?;
    let ring = mesh.keyring.prepare(&plan).ring;
    let mut gateways = HashMap::new();
    // A port whose keys are not good stays closed; `renew` opens it when they are.
    for gateway in plan.gateways.iter().filter(|gateway| ring.opens(gateway)) {
        gateways.insert(gateway.port, bind_gateway(gateway, workers, handed)?);
    }
    // After the Gateways: those must have their ports.
    let mut services = doors::Open::default();
    let mut opened: Vec<(Door, Shares)> = services.open(&plan, workers, handed)?;
    for (port, bound) in &gateways {
        opened.push((Door::Gateway { port: *port }, bound.shares(workers)?));
    }
    if let Some(bound) = &outbound {
        opened.push((Door::Outbound, bound.shares(workers)?));
    }
    mesh.own.listen(addresses(&outbound, &gateways, &services));
    let live = Arc::new(mesh.prepare(plan, ring)?);
    mesh.adopt(&live);
    let mut handle = Handle {
        mesh: Arc::clone(&mesh),
        shards: Vec::new(),
        rings: Vec::new(),
        commands: Vec::new(),
        threads: Mutex::default(),
        writer: Mutex::default(),
        state: Mutex::new(State { outbound, gateways, services, live: Arc::clone(&live), retired: Vec::new() }),
    };
    handle.spawn_workers(&options, &live, workers)?;
    pressure::watch(Arc::downgrade(&mesh), options.ceilings).map_err(StartError::System)?;
    handle.tell_all(&live, opened, &[])?;
    Ok(handle)
}

/// The sockets of one listener, by worker.
pub(crate) type Shares = Vec<Vec<TcpListener>>;

fn addresses(outbound: &Option<Bound>, gateways: &HashMap<u16, Bound>, services: &doors::Open) -> Vec<SocketAddr> {
    outbound.iter().chain(gateways.values()).chain(services.all()).map(|bound| bound.address).collect()
}

fn bind_gateway(gateway: &Gateway, workers: usize, handed: &mut Handed) -> Result<Bound, StartError> {
    let address = SocketAddr::new(gateway.bind, gateway.port);
    listen::bind(address, &format!("Gateway {}", gateway.name), workers, handed)
}

fn spawn(start: Start) -> Result<JoinHandle<()>, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(61)
        .build_local(tokio::runtime::LocalOptions::default());
    // A local runtime cannot leave the thread that made it, so only whether one can be made is tested here.
    drop(runtime.map_err(StartError::System)?);
    std::thread::Builder::new()
        .name(format!("worker-{}", start.index))
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(worker::run(start)),
                Err(why) => eprintln!("weir: a worker could not start: {why}"),
            }
        })
        .map_err(StartError::System)
}

/// One endpoint at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndpointState {
    pub address: SocketAddr,
    /// Requests under way to it.
    pub active: u32,
    /// For how long it is out at least, when it is.
    pub ejected: Option<Duration>,
}

impl Handle {
    fn spawn_workers(&mut self, options: &Options, live: &Arc<Live>, workers: usize) -> Result<(), StartError> {
        let format = options.access_log.unwrap_or(live.plan.settings.access_log);
        let writer = log::start_writer(format).map_err(StartError::System)?;
        let sender = writer.as_ref().map(|writer| writer.sender.clone());
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        self.commands.clone_from(&senders);
        for (index, commands) in receivers.into_iter().enumerate() {
            let shard = Shard::new();
            self.shards.push(shard.series());
            let decisions = Decisions { ring: Arc::default(), sample: options.sample };
            self.rings.push(Arc::clone(&decisions.ring));
            let start = Start {
                index,
                mesh: Arc::clone(&self.mesh),
                live: Arc::clone(live),
                shard,
                log: Log::new(format, sender.clone(), Arc::clone(&self.mesh)),
                decisions,
                seed: options.seed.wrapping_add(index as u64),
                peers: senders.clone(),
                commands,
            };
            self.threads.lock().push(spawn(start)?);
        }
        *self.writer.lock() = writer.map(|writer| writer.thread);
        Ok(())
    }

    /// Puts a plan in force: when this returns, every worker runs new requests under it. No connection is closed.
    ///
    /// # Errors
    /// A new port cannot be opened: nothing has changed.
    pub fn commit(&self, plan: Plan) -> Result<(), StartError> {
        let mut state = self.state.lock();
        if self.mesh.is_leaving() {
            // A drain must not open listeners again.
            return Err(StartError::Ended);
        }
        let workers = self.commands.len();
        let Prepared { ring, troubles } = self.mesh.keyring.prepare(&plan);
        if !troubles.is_empty() {
            // What is in force keeps its slots, and the broken ones go.
            self.mesh.keyring.retain(&state.live.ring);
            return Err(StartError::Keys(troubles));
        }
        let given_up = state.services.yield_to_gateways(&plan);
        if !given_up.is_empty() {
            self.tell_all(&Arc::clone(&state.live), Vec::new(), &given_up)?;
        }
        let (mut opened, mut fresh) = (Vec::new(), HashMap::new());
        for gateway in plan.gateways.iter().filter(|gateway| ring.opens(gateway)) {
            let open = state.gateways.get(&gateway.port);
            // The same port on another address: the old listener is closed below.
            if open.is_none_or(|bound| bound.address.ip() != gateway.bind) {
                let bound = bind_gateway(gateway, workers, &mut Handed::default())?;
                opened.push((Door::Gateway { port: gateway.port }, bound.shares(workers)?));
                fresh.insert(gateway.port, bound);
            }
        }
        let wanted = |port: &u16| plan.gateways.iter().any(|gateway| gateway.port == *port);
        let gone = |port: &&u16| fresh.contains_key(*port) || !wanted(port);
        let closed: Vec<u16> = state.gateways.keys().filter(gone).copied().collect();
        let mut doors: Vec<Door> = closed.iter().map(|port| Door::Gateway { port: *port }).collect();
        doors.extend(state.services.keep(&plan));
        opened.extend(state.services.open(&plan, workers, &mut Handed::default())?);
        let live = Arc::new(self.mesh.prepare(plan, ring)?);
        self.mesh.adopt(&live);
        self.tell_all(&live, opened, &doors)?;
        state.gateways.retain(|port, _| !closed.contains(port));
        state.gateways.extend(fresh);
        self.mesh.own.listen(addresses(&state.outbound, &state.gateways, &state.services));
        let old = std::mem::replace(&mut state.live, live);
        state.retired.push(old);
        // Those that no request runs under any more are dropped here, on the caller's thread.
        state.retired.retain(|live| Arc::strong_count(live) > 1);
        Ok(())
    }

    /// Reads the keys in force again, and opens ports whose keys have become good. No connection is closed. What is
    /// still wrong is returned; of each server and destination the last good keys stay.
    pub fn renew(&self) -> Vec<Trouble> {
        let mut troubles = self.mesh.keyring.renew();
        let mut state = self.state.lock();
        if self.mesh.is_leaving() {
            return troubles;
        }
        let live = Arc::clone(&state.live);
        let closed = |gateway: &&Gateway| !gateway.tls.is_empty() && !state.gateways.contains_key(&gateway.port);
        let ready: Vec<&Gateway> =
            live.plan.gateways.iter().filter(closed).filter(|gateway| live.ring.opens(gateway)).collect();
        for gateway in ready {
            let opened = bind_gateway(gateway, self.commands.len(), &mut Handed::default()).and_then(|bound| {
                let shares = bound.shares(self.commands.len())?;
                self.tell_all(&live, vec![(Door::Gateway { port: gateway.port }, shares)], &[])?;
                Ok(bound)
            });
            match opened {
                Ok(bound) => drop(state.gateways.insert(gateway.port, bound)),
                Err(why) => troubles.push(Trouble {
                    place: gateway.place.clone(),
                    words: why.to_string(),
                    hint: "the keys are good now, and the port is not free",
                }),
            }
        }
        self.mesh.own.listen(addresses(&state.outbound, &state.gateways, &state.services));
        troubles
    }

    /// Folders with keys: a change in them is a reason to [`Handle::renew`].
    pub fn key_folders(&self) -> BTreeSet<PathBuf> {
        self.mesh.keyring.folders()
    }

    fn tell_all(&self, live: &Arc<Live>, opened: Vec<(Door, Shares)>, closed: &[Door]) -> Result<(), StartError> {
        let mut shares: Vec<Vec<(Door, TcpListener)>> = self.commands.iter().map(|_| Vec::new()).collect();
        for (door, sockets) in opened {
            for (share, sockets) in shares.iter_mut().zip(sockets) {
                share.extend(sockets.into_iter().map(|socket| (door, socket)));
            }
        }
        let mut taken = Vec::new();
        for (sender, opened) in self.commands.iter().zip(shares) {
            let (done, receiver) = oneshot::channel();
            let command = Command::Take { live: Arc::clone(live), opened, closed: closed.to_vec(), done };
            sender.send(command).map_err(|_| StartError::Ended)?;
            taken.push(receiver);
        }
        for receiver in taken {
            // The old plan comes back to be dropped on this thread.
            drop(receiver.blocking_recv().map_err(|_| StartError::Ended)?);
        }
        Ok(())
    }

    /// Where the outbound listener really is.
    pub fn outbound(&self) -> Option<SocketAddr> {
        self.state.lock().outbound.as_ref().map(|bound| bound.address)
    }

    /// Where the Gateway listeners really are.
    pub fn gateways(&self) -> Vec<SocketAddr> {
        self.state.lock().gateways.values().map(|bound| bound.address).collect()
    }

    /// Another address of this process: no request is sent there because it names it.
    pub fn own(&self, address: SocketAddr) {
        self.mesh.own.add(address);
    }

    /// Does it accept requests?
    pub fn ready(&self) -> bool {
        !self.mesh.is_leaving()
    }

    /// Client connections that are open.
    pub fn connections(&self) -> u64 {
        u64::from(self.mesh.connections.load(Ordering::Relaxed))
    }

    /// Every series, in the Prometheus text format.
    pub fn metrics(&self) -> String {
        self.mesh.registry.connections(self.connections());
        self.mesh.registry.limits([self.mesh.limits.numbers(), self.mesh.rates.numbers()].concat());
        self.mesh.registry.limit_keys(self.mesh.rates.keys());
        self.mesh.registry.lookups(self.mesh.resolver.lookups());
        let now = self.mesh.clock.now();
        let clusters: Vec<ClusterNumbers> = self.mesh.cells().iter().map(|cell| numbers(cell, now)).collect();
        let mut out = String::new();
        let flags = |bits: u32| Flags::from_bits(bits).to_string();
        weir_observe::render(&self.mesh.registry, &self.shards, &clusters, &flags, &mut out);
        out
    }

    /// The records that are kept, in no order between workers.
    pub fn decisions(&self) -> Vec<Arc<Decision>> {
        self.rings.iter().flat_map(|ring| ring.all()).collect()
    }

    /// Live records that pass the filter; `None` = too many watch already.
    pub fn tap(&self, filter: Filter) -> Option<Tap> {
        self.mesh.taps.open(filter)
    }

    /// Shows the plan in force.
    pub fn inspect(&self, see: &mut dyn FnMut(&Plan)) {
        let live = Arc::clone(&self.state.lock().live);
        see(&live.plan);
    }

    /// The endpoints of a cluster as they are now; empty when there is no such cluster.
    pub fn endpoints(&self, id: &str) -> Vec<EndpointState> {
        let Some(cell) = self.mesh.cell(id) else { return Vec::new() };
        let now = self.mesh.clock.now();
        let mut cluster = cell.cluster.lock();
        cluster.tick(now);
        let state = |((address, active), (_, health)): ((SocketAddr, u32), (SocketAddr, &Health))| EndpointState {
            address,
            active,
            ejected: health.until().map(|until| until.since(now)),
        };
        cluster.active().zip(cluster.healths()).map(state).collect()
    }

    /// Copies of all listening sockets, for a process that is to go on in our place.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn listeners(&self) -> std::io::Result<Vec<TcpListener>> {
        let state = self.state.lock();
        let mut copies = Vec::new();
        for bound in state.gateways.values().chain(state.services.all()).chain(&state.outbound) {
            copies.extend(bound.copies()?);
        }
        Ok(copies)
    }

    /// Does every worker's event loop turn? Waits for the last one at most `within`.
    pub fn alive(&self, within: Duration) -> bool {
        let clock = self.mesh.clock;
        let end = clock.now() + within;
        let answers: Vec<oneshot::Receiver<()>> = self
            .commands
            .iter()
            .filter_map(|sender| {
                let (done, answer) = oneshot::channel();
                sender.send(Command::Ping(done)).ok().map(|()| answer)
            })
            .collect();
        answers.len() == self.commands.len()
            && answers.into_iter().all(|mut answer| {
                loop {
                    match answer.try_recv() {
                        Ok(()) => break true,
                        Err(oneshot::error::TryRecvError::Empty) if clock.now() < end => {
                            std::thread::park_timeout(Duration::from_millis(5));
                        }
                        Err(_) => break false,
                    }
                }
            })
    }

    /// Not ready any more; every answer asks its client to go elsewhere (`connection: close`). New connections are
    /// still served.
    pub fn leave(&self) {
        self.mesh.leaving.store(true, Ordering::Relaxed);
    }

    /// Returns after `length`.
    pub fn wait(&self, length: Duration) {
        let clock = self.mesh.clock;
        let end = clock.now() + length;
        while clock.now() < end {
            std::thread::park_timeout(Duration::from_millis(5).min(end.since(clock.now())));
        }
    }

    /// No new connections, idle ones closed, requests under way finished: returns when no connection is left, or
    /// after `within`; and says how many were cut.
    pub fn drain(&self, within: Duration) -> u64 {
        self.leave();
        // Our own copies too: as long as one is open, the kernel takes connections in.
        let mut state = self.state.lock();
        state.gateways.clear();
        state.services = doors::Open::default();
        state.outbound = None;
        drop(state);
        self.tell(|| Command::Drain);
        let clock = self.mesh.clock;
        let end = clock.now() + within;
        let busy = || self.mesh.listening.load(Ordering::SeqCst) > 0 || self.connections() > 0;
        while busy() && clock.now() < end {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let cut = self.connections();
        self.stop();
        cut
    }

    /// Ends now.
    fn stop(&self) {
        self.tell(|| Command::Stop);
        for thread in self.threads.lock().drain(..) {
            // A worker that panicked has said so on stderr.
            let _ = thread.join();
        }
        // The workers' ends are gone: it ends when the last line is written, unless its reader does not read.
        let end = self.mesh.clock.now() + LAST_LINES;
        if let Some(writer) = self.writer.lock().take() {
            while !writer.is_finished() && self.mesh.clock.now() < end {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for sender in &self.commands {
            // A worker that has ended needs no telling.
            let _ = sender.send(command());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
