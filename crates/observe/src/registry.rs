//! What the process counts beside requests, and the labels of services.

use crate::filters::{KeyNumbers, LimitNumbers};
use crate::tcp::{TcpKey, TcpNumbers};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// This workload: Istio's `source_*` labels.
#[derive(Clone, Default, Debug)]
pub struct Source {
    pub workload: String,
    pub namespace: String,
}

/// A service: Istio's `destination_service*` labels.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ServiceLabels {
    pub host: Arc<str>,
    pub name: Arc<str>,
    pub namespace: Arc<str>,
}

/// A limit that ended or refused something; its word is the metric's label, the log's `reason` and the docs' name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// A request body that came too slowly.
    SlowBody,
    /// A client that read its answer too slowly.
    SlowReader,
    /// No byte of a request in either direction for too long.
    StreamIdle,
    /// A connection without a request for too long.
    ConnectionIdle,
    /// A body that was not kept for a retry, because the process keeps enough already.
    ReplayMemory,
    /// A request that was refused because memory is short.
    Overloaded,
    /// A request that was refused because no descriptor was left for a connection upstream.
    Descriptors,
    /// Memory became short: no connection is accepted for a while.
    Pressure,
}

impl Limit {
    /// Every limit, in the order of their counts.
    pub const ALL: [Self; 8] = [
        Self::SlowBody,
        Self::SlowReader,
        Self::StreamIdle,
        Self::ConnectionIdle,
        Self::ReplayMemory,
        Self::Overloaded,
        Self::Descriptors,
        Self::Pressure,
    ];

    /// The one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SlowBody => "slow_body",
            Self::SlowReader => "slow_reader",
            Self::StreamIdle => "stream_idle",
            Self::ConnectionIdle => "connection_idle",
            Self::ReplayMemory => "replay_memory",
            Self::Overloaded => "overloaded",
            Self::Descriptors => "descriptors",
            Self::Pressure => "pressure",
        }
    }
}

/// Questions to name servers since the process started, and names that live on an old answer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Lookups {
    pub answers: u64,
    pub failures: u64,
    pub stale: u64,
}

/// Services whose labels are remembered; those beyond share the labels `other`.
const MOST_SERVICES: usize = 100_000;

/// Process-wide counts and labels.
#[derive(Debug)]
pub struct Registry {
    pub(crate) source: Source,
    services: Mutex<Vec<ServiceLabels>>,
    code_class: AtomicBool,
    connections: AtomicU64,
    panics: AtomicU64,
    dropped_lines: AtomicU64,
    lookups: Mutex<Lookups>,
    malformed: Mutex<BTreeMap<&'static str, u64>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    limited: [AtomicU64; Limit::ALL.len()],
    filters: Mutex<Filters>,
    tcp: Mutex<BTreeMap<TcpKey, TcpNumbers>>,
}

/// What filters counted. Bounded: kinds and results are fixed words, services and limits come from the documents.
#[derive(Clone, Default, Debug)]
pub(crate) struct Filters {
    pub(crate) faults: BTreeMap<(Option<u32>, &'static str), u64>,
    pub(crate) mirrors: BTreeMap<&'static str, u64>,
    pub(crate) limits: Vec<LimitNumbers>,
    pub(crate) keys: KeyNumbers,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts stay usable whatever panicked while one was taken.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub const fn new(source: Source) -> Self {
        Self {
            source,
            services: Mutex::new(Vec::new()),
            code_class: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            dropped_lines: AtomicU64::new(0),
            lookups: Mutex::new(Lookups { answers: 0, failures: 0, stale: 0 }),
            malformed: Mutex::new(BTreeMap::new()),
            refused: Mutex::new(BTreeMap::new()),
            limited: [const { AtomicU64::new(0) }; Limit::ALL.len()],
            filters: Mutex::new(Filters {
                faults: BTreeMap::new(),
                mirrors: BTreeMap::new(),
                limits: Vec::new(),
                keys: KeyNumbers { keys: 0, evicted: 0 },
            }),
            tcp: Mutex::new(BTreeMap::new()),
        }
    }

    /// A number for a service's labels; the same labels, the same number.
    pub fn labels(&self, labels: ServiceLabels) -> u32 {
        let mut services = lock(&self.services);
        if let Some(index) = services.iter().position(|known| *known == labels) {
            return index as u32;
        }
        if services.len() >= MOST_SERVICES {
            return u32::MAX;
        }
        services.push(labels);
        services.len() as u32 - 1
    }

    pub(crate) fn services(&self) -> Vec<ServiceLabels> {
        lock(&self.services).clone()
    }

    /// Whether requests carry `response_code_class` (`5xx`), which Istio has not.
    pub fn show_code_class(&self, show: bool) {
        self.code_class.store(show, Ordering::Relaxed);
    }

    pub(crate) fn code_class(&self) -> bool {
        self.code_class.load(Ordering::Relaxed)
    }

    /// Client connections open now.
    pub fn connections(&self, now: u64) {
        self.connections.store(now, Ordering::Relaxed);
    }

    /// A request's code panicked.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Access lines that the writer was too slow for.
    pub fn dropped_lines(&self, lines: u64) {
        self.dropped_lines.fetch_add(lines, Ordering::Relaxed);
    }

    /// What came of asking name servers.
    pub fn lookups(&self, lookups: Lookups) {
        *lock(&self.lookups) = lookups;
    }

    /// A request was not HTTP; `reason` is one of a fixed set of words.
    pub fn malformed(&self, reason: &'static str) {
        *lock(&self.malformed).entry(reason).or_default() += 1;
    }

    /// A connection was not accepted; `reason` is one of a fixed set of words.
    pub fn refused_connection(&self, reason: &'static str) {
        *lock(&self.refused).entry(reason).or_default() += 1;
    }

    /// A limit ended or refused something.
    pub fn limited(&self, limit: Limit) {
        self.limited[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A fault was injected into a request to the service of `labels`; `kind` is `delay` or `abort`.
    pub fn fault(&self, labels: Option<u32>, kind: &'static str) {
        *lock(&self.filters).faults.entry((labels, kind)).or_default() += 1;
    }

    /// A copy of a request was dealt with; `result` is one of a fixed set of words.
    pub fn mirrored(&self, result: &'static str) {
        *lock(&self.filters).mirrors.entry(result).or_default() += 1;
    }

    /// Connections that carry no requests, and what they moved.
    pub fn tcp(&self, key: TcpKey, more: &TcpNumbers) {
        lock(&self.tcp).entry(key).or_default().add(more);
    }

    pub(crate) fn all_tcp(&self) -> BTreeMap<TcpKey, TcpNumbers> {
        lock(&self.tcp).clone()
    }

    /// What limits remember of keys, as it is now.
    pub fn limit_keys(&self, now: KeyNumbers) {
        lock(&self.filters).keys = now;
    }

    /// Every limit's counts, as they are now.
    pub fn limits(&self, now: Vec<LimitNumbers>) {
        lock(&self.filters).limits = now;
    }

    pub(crate) fn filters(&self) -> Filters {
        lock(&self.filters).clone()
    }

    pub(crate) fn process(&self) -> Process {
        Process {
            connections: self.connections.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
            dropped_lines: self.dropped_lines.load(Ordering::Relaxed),
            lookups: *lock(&self.lookups),
            malformed: lock(&self.malformed).clone(),
            refused: lock(&self.refused).clone(),
            limited: Limit::ALL.map(|limit| (limit.word(), self.limited[limit as usize].load(Ordering::Relaxed))),
        }
    }
}

/// The process-wide counts at one moment.
pub(crate) struct Process {
    pub(crate) connections: u64,
    pub(crate) panics: u64,
    pub(crate) dropped_lines: u64,
    pub(crate) lookups: Lookups,
    pub(crate) malformed: BTreeMap<&'static str, u64>,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) limited: [(&'static str, u64); Limit::ALL.len()],
}
