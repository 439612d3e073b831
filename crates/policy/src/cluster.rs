//! The living state of one upstream: what is under way to it and to each endpoint, its budget, its counters.
//!
//! ```text
//!   Upstream (rules, from the plan) ──renew──► Cluster ──► slots: one per address, kept while in use
//!                                                 │            In the rules, or Gone (draining its last requests)
//!                                                 └─ inflight, budget, counts
//! ```
//! One per cluster id and process, behind a lock that the wet side holds for a moment. A new plan changes the rules
//! under it and forgets nothing. Does not: know connections or clocks.

use crate::balance::{self, Ask, Pool, Table, Usable};
use crate::budget::Budget;
use crate::discovery::Shift;
use crate::inflight::Inflight;
use crate::outlier::{self, Change, Health, Healths, Outlier, Seen};
use crate::plan::Upstream;
use crate::retry::No;
use crate::rng::Rng;
use crate::spread::Spread;
use crate::time::Time;
use crate::turnout::Turnout;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A worker's own part in a decision: its generator and its round-robin cursor for this cluster.
#[derive(Debug)]
pub struct Draw<'a> {
    pub rng: &'a mut Rng,
    pub cursor: &'a mut u64,
}

/// An endpoint as calls refer to it: stays valid over reloads while a request to it is under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EndpointId(pub u32);

/// An endpoint that a call has tried before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tried {
    pub(crate) endpoint: EndpointId,
    pub(crate) address: SocketAddr,
}

/// What a cluster counted since the process started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// First tries.
    pub firsts: u64,
    /// Retries started.
    pub retries: u64,
    /// Requests that a retry saved: answered without a retriable failure after at least one retry.
    pub retry_successes: u64,
    /// Retries refused, by reason, in the order of [`No::ALL`].
    pub refused: [u64; No::ALL.len()],
    /// The waits before retries.
    pub back_off: Spread,
    /// From the start of a request that was retried to its answer's head, or to giving up.
    pub retried: Spread,
    /// Requests refused by the ceiling on requests.
    pub overflow_requests: u64,
    /// Requests refused by the ceiling on waiting ones.
    pub overflow_pending: u64,
    /// TCP connections refused by the ceiling on connections.
    pub overflow_connections: u64,
}

impl Counts {
    pub(crate) const fn refuse(&mut self, no: No) {
        self.refused[no as usize] += 1;
    }
}

/// Endpoints of a cluster that requests name themselves; beyond, one of them is forgotten for each new one.
const VISITED: usize = 1024;

/// What was in force before: to be dropped outside of locks.
#[derive(Debug)]
pub struct Replaced {
    _rules: Arc<Upstream>,
    _table: Arc<Table>,
}

#[derive(Debug)]
struct Slot {
    address: SocketAddr,
    /// Requests under way.
    active: u32,
    /// Where in `live` it stands; `None` when the plan no longer has it.
    live: Option<u32>,
    health: Health,
}

/// See the module. Nothing else shares its lines of the processors' caches: they go from core to core as it is locked.
#[derive(Debug)]
#[repr(align(128))]
pub struct Cluster {
    rules: Arc<Upstream>,
    slots: Vec<Slot>,
    /// The slot of each endpoint of `rules`, in order.
    live: Vec<u32>,
    /// Made of `rules`, for picks.
    table: Arc<Table>,
    free: Vec<u32>,
    /// The slot of each address that is in use or still has requests under way.
    by_address: HashMap<SocketAddr, u32>,
    /// Which of `live` are in use.
    turnout: Turnout,
    outlier: Outlier,
    pub inflight: Inflight,
    pub budget: Budget,
    pub counts: Counts,
}

struct Live<'a> {
    cluster: &'a Cluster,
}

impl Pool for Live<'_> {
    fn len(&self) -> usize {
        self.cluster.live.len()
    }

    fn active(&self, index: usize) -> u32 {
        self.cluster.slots[self.cluster.live[index] as usize].active
    }

    fn usable(&self, index: usize) -> Usable {
        if self.cluster.turnout.has(index) { Usable::Yes } else { Usable::No }
    }

    fn usable_count(&self) -> usize {
        self.cluster.turnout.count()
    }

    fn nth_usable(&self, rank: usize) -> usize {
        self.cluster.turnout.nth(rank)
    }
}

impl Cluster {
    /// A cluster nothing has happened to yet.
    pub fn new(rules: Arc<Upstream>) -> Self {
        let mut cluster = Self {
            rules: Arc::clone(&rules),
            slots: Vec::new(),
            live: Vec::new(),
            table: Arc::new(Table::build(&rules.balance, &rules.endpoints)),
            free: Vec::new(),
            by_address: HashMap::new(),
            turnout: Turnout::default(),
            outlier: Outlier::default(),
            inflight: Inflight::default(),
            budget: Budget::default(),
            counts: Counts::default(),
        };
        cluster.place(&rules);
        cluster.turnout.judge(rules.outlier.as_ref());
        cluster
    }

    /// The rules in force.
    pub fn rules(&self) -> &Arc<Upstream> {
        &self.rules
    }

    /// What picks of the rules in force need.
    pub const fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Takes new rules, with the table made of them, and forgets nothing of endpoints that remain. Returns the old
    /// ones: drop them elsewhere.
    pub fn renew(&mut self, rules: Arc<Upstream>, table: Arc<Table>) -> Replaced {
        let same = self.rules.endpoints.len() == rules.endpoints.len()
            && self.rules.endpoints.iter().zip(&rules.endpoints).all(|(old, new)| old.address == new.address);
        if !same {
            self.place(&rules);
        }
        self.replace(rules, table)
    }

    fn replace(&mut self, rules: Arc<Upstream>, table: Arc<Table>) -> Replaced {
        if rules.outlier.is_none() {
            let Self { outlier, slots, turnout, .. } = self;
            outlier.stop(&mut Fleet { slots, turnout, rules: &outlier::Rules::default() });
        }
        self.turnout.judge(rules.outlier.as_ref());
        Replaced {
            _rules: std::mem::replace(&mut self.rules, rules),
            _table: std::mem::replace(&mut self.table, table),
        }
    }

    /// Takes other endpoints, and the rules with them, at the cost of what changed. Returns what to drop elsewhere.
    pub fn shift(&mut self, shift: &Shift, table: Arc<Table>) -> Replaced {
        for &place in &shift.removed {
            self.remove(place);
        }
        for &address in &shift.added {
            let slot = self.slot_of(address);
            self.append(slot);
        }
        self.replace(Arc::clone(&shift.rules), table)
    }

    /// The endpoint at an address that a request named: known before, or taken in.
    pub(crate) fn visit(&mut self, address: SocketAddr) -> EndpointId {
        let slot = self.slot_of(address);
        if self.slots[slot as usize].live.is_none() {
            if self.live.len() >= VISITED {
                // Any of them; its requests under way end in order.
                let place = (self.counts.firsts % VISITED as u64) as u32;
                self.remove(place);
            }
            self.append(slot);
        }
        EndpointId(slot)
    }

    fn remove(&mut self, place: u32) {
        let slot = self.live.swap_remove(place as usize);
        self.turnout.shrink(place);
        if let Some(moved) = self.live.get(place as usize) {
            self.slots[*moved as usize].live = Some(place);
        }
        self.slots[slot as usize].live = None;
        self.leave(slot);
    }

    fn append(&mut self, slot: u32) {
        self.slots[slot as usize].live = Some(self.live.len() as u32);
        self.live.push(slot);
        self.turnout.grow();
    }

    fn place(&mut self, rules: &Upstream) {
        let mut before = std::mem::take(&mut self.live);
        // In the order of slots: same events, same numbers. Documents may give an address twice.
        before.sort_unstable();
        before.dedup();
        for &slot in &before {
            self.slots[slot as usize].live = None;
        }
        let mut live = Vec::with_capacity(rules.endpoints.len());
        for (place, endpoint) in rules.endpoints.iter().enumerate() {
            let index = self.slot_of(endpoint.address);
            self.slots[index as usize].live = Some(place as u32);
            live.push(index);
        }
        for slot in before {
            if self.slots[slot as usize].live.is_none() {
                self.leave(slot);
            }
        }
        self.turnout =
            Turnout::new(live.len() as u32, |place| self.slots[live[place as usize] as usize].health.is_ejected());
        self.live = live;
    }

    /// A host that is gone is forgotten, as Envoy forgets it; its slot stays while requests to it are under way.
    fn leave(&mut self, slot: u32) {
        let gone = &mut self.slots[slot as usize];
        self.outlier.forget(slot, &mut gone.health);
        if gone.active == 0 {
            self.release(slot);
        }
    }

    fn release(&mut self, slot: u32) {
        self.by_address.remove(&self.slots[slot as usize].address);
        self.free.push(slot);
    }

    /// The slot that the address has, or a new one.
    fn slot_of(&mut self, address: SocketAddr) -> u32 {
        if let Some(index) = self.by_address.get(&address) {
            return *index;
        }
        let slot = Slot { address, active: 0, live: None, health: Health::default() };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.by_address.insert(address, index);
        index
    }

    /// The address of an endpoint that a request is under way to.
    pub fn address(&self, endpoint: EndpointId) -> SocketAddr {
        self.slots[endpoint.0 as usize].address
    }

    /// Requests under way to each endpoint of the rules: for `endpoints` views and tests.
    pub fn active(&self) -> impl Iterator<Item = (SocketAddr, u32)> {
        self.live.iter().map(|&slot| {
            let slot = &self.slots[slot as usize];
            (slot.address, slot.active)
        })
    }

    /// The detector's view of each endpoint of the rules: for metrics and tests.
    pub fn healths(&self) -> impl Iterator<Item = (SocketAddr, &Health)> {
        self.live.iter().map(|&slot| {
            let slot = &self.slots[slot as usize];
            (slot.address, &slot.health)
        })
    }

    /// The detector as a whole.
    pub const fn outlier(&self) -> &Outlier {
        &self.outlier
    }

    /// When [`Cluster::tick`] next has something to do, if nothing else happens before.
    pub fn due(&self) -> Option<Time> {
        self.outlier.due()
    }

    /// Makes up for what was due until now: ejected endpoints return. Calls do it themselves.
    pub fn tick(&mut self, now: Time) {
        let Self { rules, outlier, slots, turnout, .. } = self;
        let Some(rules) = &rules.outlier else { return };
        outlier.begin(rules, now);
        outlier.tick(rules, &mut Fleet { slots, turnout, rules }, now);
    }

    /// What a try at `endpoint` came to, for the detector.
    pub(crate) fn record(
        &mut self,
        endpoint: EndpointId,
        seen: impl Fn(&outlier::Rules) -> Seen,
        rng: &mut Rng,
        now: Time,
    ) {
        let Self { rules, outlier, slots, turnout, .. } = self;
        let Some(rules) = &rules.outlier else { return };
        if slots[endpoint.0 as usize].live.is_none() {
            return;
        }
        outlier.record(rules, &mut Fleet { slots, turnout, rules }, endpoint.0, seen(rules), rng, now);
    }

    /// Where it stands among the endpoints now. A reload may have given its number to another.
    fn still(&self, tried: &Tried) -> Option<u32> {
        self.slots.get(tried.endpoint.0 as usize).filter(|slot| slot.address == tried.address)?.live
    }

    /// Picks an endpoint: by `hash` where the balancer hashes, avoiding those of `tried`; counts nothing.
    pub(crate) fn pick(
        &self,
        tried: &[Tried],
        picks: u32,
        hash: Option<u64>,
        draw: &mut Draw<'_>,
    ) -> Option<EndpointId> {
        let live = Live { cluster: self };
        let chosen = if tried.is_empty() {
            balance::pick(&self.table, &live, &Ask { avoid: &[], picks: 0, hash }, draw.rng, draw.cursor)
        } else {
            let avoid: Vec<u32> = tried.iter().filter_map(|tried| self.still(tried)).collect();
            balance::pick(&self.table, &live, &Ask { avoid: &avoid, picks, hash }, draw.rng, draw.cursor)
        };
        chosen.map(|index| EndpointId(self.live[index]))
    }

    /// A try to `endpoint` begins. The request was admitted by [`Inflight::admit`].
    pub(crate) fn begin(&mut self, endpoint: EndpointId) {
        self.slots[endpoint.0 as usize].active += 1;
    }

    /// A try to `endpoint` is over.
    pub(crate) fn end(&mut self, endpoint: EndpointId) {
        self.inflight.done();
        let slot = &mut self.slots[endpoint.0 as usize];
        debug_assert!(slot.active > 0, "a try ended that never began");
        slot.active = slot.active.saturating_sub(1);
        if slot.active == 0 && slot.live.is_none() {
            self.release(endpoint.0);
        }
    }

    /// Our own invariants, in debug builds: what is under way to the endpoints is what is under way in all.
    pub(crate) fn check(&self, _: Time) {
        debug_assert_eq!(
            self.slots.iter().map(|slot| u64::from(slot.active)).sum::<u64>(),
            u64::from(self.inflight.requests),
            "requests by endpoint and in all"
        );
    }
}

/// The slots as the detector sees them.
struct Fleet<'a> {
    slots: &'a mut Vec<Slot>,
    turnout: &'a mut Turnout,
    rules: &'a outlier::Rules,
}

impl Healths for Fleet<'_> {
    fn hosts(&self) -> u32 {
        self.turnout.len()
    }

    fn of(&mut self, slot: u32) -> &mut Health {
        &mut self.slots[slot as usize].health
    }

    fn changed(&mut self, slot: u32, change: Change) {
        if let Some(place) = self.slots[slot as usize].live {
            match change {
                Change::Ejected => self.turnout.take(place),
                Change::Returned => self.turnout.put(place),
            }
            self.turnout.judge(Some(self.rules));
        }
    }
}
