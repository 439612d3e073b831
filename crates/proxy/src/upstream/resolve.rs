//! Names → addresses, kept fresh: a thread that asks name servers and moves the endpoints of clusters.
//!
//! ```text
//!   prepare(plan) ─► want its names ─► (thread) ask, at most so many at once ─► Names
//!        └─ waits until each was answered or failed once, 5 s at most
//!   adopt(plan)   ─► watch its clusters ◄── an answer changed: only these clusters shift, by what changed
//! ```
//! Nothing here runs on a worker; a cluster's lock is held only for the shift. Does not: decide when to ask or what
//! follows (`weir_policy::discovery`).

use crate::clock::Clock;
use crate::error::StartError;
use crate::mesh::Cell;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use weir_observe::Lookups;
use weir_policy::balance::Table;
use weir_policy::discovery::{Discovery, Names, News, Shift};
use weir_policy::plan::{Endpoint, Plan, Upstream};
use weir_policy::time::Time;

/// How long a plan waits for the first answers of its names, as Envoy waits for its clusters to warm.
const SETTLE: Duration = Duration::from_secs(5);
/// How long one question may take, both address families and every try included.
const QUESTION: Duration = Duration::from_secs(5);
/// Names that requests asked for and that are remembered, and questions of theirs that wait.
const REMEMBERED: usize = 1024;
/// What a request asked for is remembered for so long at least.
const SOONEST: Duration = Duration::from_secs(1);
/// Questions under way at once.
const AT_ONCE: usize = 64;

/// Everything about names, for the whole process. No thread runs before the first name is wanted.
#[derive(Debug)]
pub(crate) struct Resolver {
    clock: Clock,
    servers: Vec<SocketAddr>,
    board: Arc<Board>,
    started: Mutex<bool>,
}

/// What the thread and the control side share.
#[derive(Default, Debug)]
struct Board {
    state: Mutex<State>,
    /// New names are wanted.
    wanted: Notify,
    /// A name was answered, or failed.
    told: Condvar,
    /// Names that requests ask for, and who waits for each.
    questions: Mutex<VecDeque<Question>>,
    /// Addresses of such names, while their answers hold.
    found: Mutex<HashMap<Arc<str>, Found>>,
    answers: AtomicU64,
    failures: AtomicU64,
}

/// A name that a request asks for.
#[derive(Debug)]
struct Question {
    name: Arc<str>,
    reply: oneshot::Sender<Option<IpAddr>>,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    ip: IpAddr,
    until: Time,
}

#[derive(Default, Debug)]
struct State {
    names: Names,
    watched: Vec<Watched>,
    by_name: HashMap<Arc<str>, Vec<usize>>,
}

/// A cluster with endpoints given by name.
#[derive(Debug)]
struct Watched {
    cell: Weak<Cell>,
    /// Those of the documents.
    fixed: Vec<Endpoint>,
    discovery: Discovery,
}

impl Resolver {
    /// `servers` are asked instead of those of `/etc/resolv.conf`, when there are any.
    pub(crate) fn new(clock: Clock, servers: Vec<SocketAddr>) -> Self {
        Self { clock, servers, board: Arc::default(), started: Mutex::new(false) }
    }

    /// Puts the addresses of its names into a plan; waits for those that were never asked about.
    pub(crate) fn prepare(&self, plan: &mut Plan) -> Result<Vec<Fixed>, StartError> {
        let named = |upstream: &&Arc<Upstream>| !upstream.discovery.names().is_empty();
        if !plan.clusters.iter().any(|upstream| named(&upstream)) {
            return Ok(Vec::new());
        }
        self.start()?;
        let mut state = self.board.state.lock();
        let State { names, watched, .. } = &mut *state;
        let before = watched.iter().map(|watched| &watched.discovery);
        let new = plan.clusters.iter().map(|upstream| &upstream.discovery);
        names.keep(before.chain(new).flat_map(Discovery::names).map(|named| &named.name), self.clock.now());
        self.board.wanted.notify_one();
        self.settle(&mut state);
        let mut fixed = Vec::new();
        for (index, upstream) in plan.clusters.iter_mut().enumerate().filter(|(_, upstream)| named(&&**upstream)) {
            let endpoints = state.names.endpoints(&upstream.discovery, &upstream.endpoints);
            fixed.push(Fixed { index, endpoints: upstream.endpoints.clone() });
            *upstream = Arc::new(Upstream { endpoints, ..(**upstream).clone() });
        }
        Ok(fixed)
    }

    fn settle(&self, state: &mut MutexGuard<'_, State>) {
        let end = self.clock.now() + SETTLE;
        while !state.names.settled() && self.clock.now() < end {
            self.board.told.wait_for(state, end.since(self.clock.now()));
        }
    }

    /// Runs `adopt` while no answer can move endpoints, then watches the clusters of the plan it put in force.
    pub(crate) fn adopt(&self, plan: &Plan, cells: &[Arc<Cell>], fixed: &[Fixed], adopt: impl FnOnce()) {
        let mut state = self.board.state.lock();
        adopt();
        let watched = fixed.iter().map(|fixed| Watched {
            cell: Arc::downgrade(&cells[fixed.index]),
            fixed: fixed.endpoints.clone(),
            discovery: plan.clusters[fixed.index].discovery.clone(),
        });
        state.watched = watched.collect();
        let mut by_name: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (index, watched) in state.watched.iter().enumerate() {
            for named in watched.discovery.names() {
                by_name.entry(Arc::clone(&named.name)).or_default().push(index);
            }
        }
        let State { names, .. } = &mut *state;
        names.keep(by_name.keys(), self.clock.now());
        state.by_name = by_name;
        // What was answered since the plan was prepared.
        for index in 0..state.watched.len() {
            state.shift(index);
        }
        self.board.wanted.notify_one();
    }

    /// What came of the questions so far.
    pub(crate) fn lookups(&self) -> Lookups {
        Lookups {
            answers: self.board.answers.load(Ordering::Relaxed),
            failures: self.board.failures.load(Ordering::Relaxed),
            stale: self.board.state.lock().names.stale() as u64,
        }
    }

    /// The first address of a name that a request asks for; `None` when it has none, or too many ask at once.
    pub(crate) async fn find(&self, name: &str) -> Option<IpAddr> {
        let name: Arc<str> = name.to_ascii_lowercase().into();
        if let Some(found) = self.board.found.lock().get(&name).filter(|found| found.until > self.clock.now()) {
            return Some(found.ip);
        }
        self.start().ok()?;
        let (reply, answer) = oneshot::channel();
        {
            let mut questions = self.board.questions.lock();
            if questions.len() >= REMEMBERED {
                return None;
            }
            questions.push_back(Question { name, reply });
        }
        self.board.wanted.notify_one();
        answer.await.ok().flatten()
    }

    fn start(&self) -> Result<(), StartError> {
        let mut started = self.started.lock();
        if *started {
            return Ok(());
        }
        self.spawn()?;
        *started = true;
        Ok(())
    }

    fn spawn(&self) -> Result<(), StartError> {
        let servers = self.servers.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::System)?;
        let client = {
            let _inside = runtime.enter();
            client(&servers).map_err(|why| StartError::System(std::io::Error::other(format!("name servers: {why}"))))?
        };
        let (board, clock) = (Arc::downgrade(&self.board), self.clock);
        std::thread::Builder::new()
            .name("names".into())
            .spawn(move || runtime.block_on(ask_for_ever(&client, &board, clock)))
            .map_err(StartError::System)?;
        Ok(())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // The thread sees that the board is gone.
        self.board.wanted.notify_one();
    }
}

/// The endpoints of the documents of one cluster of a plan.
#[derive(Debug)]
pub(crate) struct Fixed {
    index: usize,
    endpoints: Vec<Endpoint>,
}

impl State {
    /// Moves the endpoints of a watched cluster to what the answers say.
    fn shift(&self, index: usize) {
        let watched = &self.watched[index];
        let Some(cell) = watched.cell.upgrade() else { return };
        let rules = Arc::clone(cell.cluster.lock().rules());
        let wanted = self.names.endpoints(&watched.discovery, &watched.fixed);
        if let Some(shift) = Shift::between(&rules, wanted) {
            let table = Arc::new(Table::build(&shift.rules.balance, &shift.rules.endpoints));
            // Dropped after the lock.
            let old = cell.cluster.lock().shift(&shift, table);
            drop(old);
        }
    }

    fn answered(&mut self, name: &Arc<str>, found: Option<&(Vec<IpAddr>, Duration)>, clock: &Clock) {
        let now = clock.now();
        match found {
            None => self.names.failed(name, now),
            Some((addresses, ttl)) => {
                if self.names.answered(name, addresses.clone(), *ttl, now) == News::Changed {
                    let touched = self.by_name.get(name).cloned().unwrap_or_default();
                    touched.into_iter().for_each(|index| self.shift(index));
                }
            }
        }
    }
}

impl Board {
    fn take(&self, answer: Answer, clock: &Clock) {
        let Some(reply) = answer.reply else {
            self.state.lock().answered(&answer.name, answer.found.as_ref(), clock);
            self.told.notify_all();
            return;
        };
        let first = answer.found.as_ref().and_then(|(addresses, ttl)| Some((*addresses.first()?, *ttl)));
        if let Some((ip, ttl)) = first {
            let now = clock.now();
            let mut found = self.found.lock();
            if found.len() >= REMEMBERED {
                found.retain(|_, found| found.until > now);
            }
            if found.len() < REMEMBERED {
                found.insert(answer.name, Found { ip, until: now + ttl.max(SOONEST) });
            }
        }
        // A request that has gone needs no answer.
        let _ = reply.send(first.map(|(ip, _)| ip));
    }
}

fn client(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if servers.is_empty() {
        TokioResolver::builder(provider).map_err(|why| why.to_string())?
    } else {
        let servers = servers.iter().map(|server| {
            let at = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            NameServerConfig::new(server.ip(), true, vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())])
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, provider)
    };
    let options = builder.options_mut();
    // Ours is the memory: what is asked is asked of the server.
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    builder.build().map_err(|why| why.to_string())
}

struct Answer {
    name: Arc<str>,
    /// Who waits for it, when a request asked.
    reply: Option<oneshot::Sender<Option<IpAddr>>>,
    found: Option<(Vec<IpAddr>, Duration)>,
}

async fn look_up(client: TokioResolver, name: Arc<str>, reply: Option<oneshot::Sender<Option<IpAddr>>>) -> Answer {
    let asked = tokio::time::timeout(QUESTION, client.lookup_ip(&*name)).await;
    let found = asked.ok().and_then(Result::ok).map(|found| {
        let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
        (found.iter().collect(), Duration::from_secs(u64::from(ttl)))
    });
    Answer { name, reply, found }
}

async fn ask_for_ever(client: &TokioResolver, board: &Weak<Board>, clock: Clock) {
    let mut under_way = JoinSet::new();
    let mut waiting: Vec<Arc<str>> = Vec::new();
    loop {
        let Some(board) = board.upgrade() else { return };
        let due = {
            let mut state = board.state.lock();
            waiting.extend(state.names.ask(clock.now()));
            state.names.due()
        };
        while under_way.len() < AT_ONCE
            && let Some(name) = waiting.pop()
        {
            under_way.spawn(look_up(client.clone(), name, None));
        }
        while under_way.len() < AT_ONCE
            && let Some(Question { name, reply }) = board.questions.lock().pop_front()
        {
            under_way.spawn(look_up(client.clone(), name, Some(reply)));
        }
        // A moment that never comes when nothing is due.
        let pause = due.map_or(Duration::from_secs(3600), |due| due.since(clock.now()));
        tokio::select! {
            () = board.wanted.notified() => {}
            () = tokio::time::sleep(pause), if pause > Duration::ZERO => {}
            Some(Ok(answer)) = under_way.join_next() => {
                let counter = if answer.found.is_some() { &board.answers } else { &board.failures };
                counter.fetch_add(1, Ordering::Relaxed);
                board.take(answer, &clock);
            }
        }
    }
}
