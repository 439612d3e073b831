//! Names that stand for endpoints: what is known of each, when to ask again, and which endpoints follow.
//!
//! ```text
//!             asked for ─► Wanted ──answered──► Known(addresses, until) ──until──► asked again
//!                            ▲ │ failed                     │ failed
//!                 back-off   └─┘                            └─► Known, stale: kept, asked again after the back-off
//! ```
//! An answer that cannot be had never takes endpoints away. Does not: ask a name server (`proxy/upstream/resolve` does).

use crate::place::Place;
use crate::plan::{Endpoint, Upstream};
use crate::time::Time;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How a cluster's endpoints are found (`ServiceEntry.spec.resolution`).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Discovery {
    /// `STATIC`: all of them are in the documents.
    #[default]
    Static,
    /// `DNS`: every address of every name is an endpoint, beside those in the documents.
    EveryAddress(Vec<Named>),
    /// `DNS_ROUND_ROBIN`: new connections go to the first address of the latest answer.
    FirstAddress(Vec<Named>),
    /// `NONE`, `DYNAMIC_DNS`, or `PASSTHROUGH` as the balancer: each request goes where its authority says.
    OnDemand,
}

/// An endpoint given by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// Lower case, without final dot.
    pub name: Arc<str>,
    pub port: u16,
    /// Of each of its addresses, ≥ 1.
    pub weight: u32,
    pub workload: Arc<str>,
    pub place: Place,
}

impl Discovery {
    /// The names whose answers matter.
    pub fn names(&self) -> &[Named] {
        match self {
            Self::Static | Self::OnDemand => &[],
            Self::EveryAddress(names) | Self::FirstAddress(names) => names,
        }
    }
}

/// Shortest and longest time between two questions about one name, whatever its TTL says.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(3600);
/// After a first failure; doubles with each further one.
const BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// Addresses of one name that are used.
const ADDRESSES: usize = 20_000;

/// What is known of every name in use.
#[derive(Default, Debug)]
pub struct Names {
    known: HashMap<Arc<str>, Known>,
}

#[derive(Debug)]
struct Known {
    addresses: Option<Arc<[IpAddr]>>,
    /// When to ask (again); `None` while a question is under way.
    due: Option<Time>,
    /// Failures since the last answer.
    failures: u32,
}

/// Whether an answer changed anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    Same,
    Changed,
}

impl Names {
    /// Keeps exactly these names; new ones are due at once. What is known of the others is forgotten.
    pub fn keep<'n>(&mut self, names: impl Iterator<Item = &'n Arc<str>>, now: Time) {
        let wanted: HashSet<&Arc<str>> = names.collect();
        self.known.retain(|name, _| wanted.contains(name));
        for name in wanted {
            let new = || Known { addresses: None, due: Some(now), failures: 0 };
            self.known.entry(Arc::clone(name)).or_insert_with(new);
        }
    }

    /// The names to ask about now; each is given once until it is answered or failed.
    pub fn ask(&mut self, now: Time) -> Vec<Arc<str>> {
        let due = self.known.iter_mut().filter(|(_, known)| known.due.is_some_and(|due| due <= now));
        due.map(|(name, known)| {
            known.due = None;
            Arc::clone(name)
        })
        .collect()
    }

    /// When the next question is due.
    pub fn due(&self) -> Option<Time> {
        self.known.values().filter_map(|known| known.due).min()
    }

    /// Has every name been answered, or failed, at least once?
    pub fn settled(&self) -> bool {
        self.known.values().all(|known| known.addresses.is_some() || known.failures > 0)
    }

    /// An answer: the addresses in its order, and how long it holds. An empty answer is a failure.
    pub fn answered(&mut self, name: &str, mut addresses: Vec<IpAddr>, ttl: Duration, now: Time) -> News {
        if addresses.is_empty() {
            self.failed(name, now);
            return News::Same;
        }
        let Some(known) = self.known.get_mut(name) else { return News::Same };
        addresses.truncate(ADDRESSES);
        known.due = Some(now + ttl.clamp(SOONEST, LATEST));
        known.failures = 0;
        if known.addresses.as_deref() == Some(&addresses[..]) {
            return News::Same;
        }
        known.addresses = Some(addresses.into());
        News::Changed
    }

    /// No answer: what was known stays, and it is asked again after a growing wait.
    pub fn failed(&mut self, name: &str, now: Time) {
        if let Some(known) = self.known.get_mut(name) {
            let wait = BACK_OFF.saturating_mul(1 << known.failures.min(6)).min(LONGEST_BACK_OFF);
            known.failures = known.failures.saturating_add(1);
            known.due = Some(now + wait);
        }
    }

    /// The latest addresses of a name, however old.
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        self.known.get(name).and_then(|known| known.addresses.as_deref()).unwrap_or_default()
    }

    /// Names whose latest question failed.
    pub fn stale(&self) -> usize {
        self.known.values().filter(|known| known.failures > 0).count()
    }

    /// The endpoints that follow for a cluster: `fixed` ones first, each address once.
    pub fn endpoints(&self, discovery: &Discovery, fixed: &[Endpoint]) -> Vec<Endpoint> {
        let mut seen: HashSet<SocketAddr> = HashSet::new();
        let mut endpoints = fixed.to_vec();
        endpoints.retain(|endpoint| seen.insert(endpoint.address));
        for named in discovery.names() {
            let addresses = self.addresses(&named.name);
            let used = match discovery {
                Discovery::FirstAddress(_) => &addresses[..addresses.len().min(1)],
                _ => addresses,
            };
            let sockets = used.iter().map(|ip| SocketAddr::new(*ip, named.port)).filter(|socket| seen.insert(*socket));
            endpoints.extend(sockets.map(|address| Endpoint {
                address,
                weight: named.weight,
                workload: Arc::clone(&named.workload),
                place: named.place.clone(),
            }));
        }
        endpoints
    }
}

/// How the endpoints of a cluster become others, in steps that cost what changed and not what there is.
#[derive(Clone, PartialEq, Debug)]
pub struct Shift {
    /// Places to leave, in this order; the last endpoint takes the place of each.
    pub(crate) removed: Vec<u32>,
    /// New ones, at the end.
    pub(crate) added: Vec<SocketAddr>,
    /// The rules with the endpoints as they stand then.
    pub rules: Arc<Upstream>,
}

impl Shift {
    /// From the endpoints of `rules` to `wanted`; `None` when they are the same in some order.
    pub fn between(rules: &Upstream, wanted: Vec<Endpoint>) -> Option<Self> {
        let new = wanted.into_iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        let moves = Moves::between(&rules.endpoints, new);
        if moves.is_nothing() {
            return None;
        }
        let Moves { removed, added, endpoints, .. } = moves;
        Some(Self { removed, added, rules: Arc::new(Upstream { endpoints, ..rules.clone() }) })
    }

    /// From `old` to `new` rules, whatever they differ in. `None` when that cannot be said in steps: an address is given
    /// twice, or the endpoints are what requests name.
    pub fn onto(old: &Upstream, new: &Arc<Upstream>) -> Option<Self> {
        if old.discovery == Discovery::OnDemand || new.discovery == Discovery::OnDemand {
            return None;
        }
        let same = |(old, new): (&Endpoint, &Endpoint)| old.address == new.address;
        if old.endpoints.len() == new.endpoints.len() && old.endpoints.iter().zip(&new.endpoints).all(same) {
            return Some(Self { removed: Vec::new(), added: Vec::new(), rules: Arc::clone(new) });
        }
        let by_address = |endpoints: &[Endpoint]| -> Option<HashMap<SocketAddr, Endpoint>> {
            let map: HashMap<SocketAddr, Endpoint> =
                endpoints.iter().map(|endpoint| (endpoint.address, endpoint.clone())).collect();
            (map.len() == endpoints.len()).then_some(map)
        };
        by_address(&old.endpoints)?;
        let Moves { removed, added, endpoints, .. } = Moves::between(&old.endpoints, by_address(&new.endpoints)?);
        Some(Self { removed, added, rules: Arc::new(Upstream { endpoints, ..(**new).clone() }) })
    }
}

/// What [`Shift`] is made of.
struct Moves {
    removed: Vec<u32>,
    added: Vec<SocketAddr>,
    /// As they stand then.
    endpoints: Vec<Endpoint>,
    reweighted: Reweighted,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reweighted {
    None,
    Some,
}

impl Moves {
    fn between(old: &[Endpoint], mut new: HashMap<SocketAddr, Endpoint>) -> Self {
        let mut endpoints = old.to_vec();
        let (mut removed, mut reweighted) = (Vec::new(), Reweighted::None);
        // From the end, so that a place that is filled anew has been looked at already.
        for place in (0..endpoints.len()).rev() {
            match new.remove(&endpoints[place].address) {
                None => {
                    endpoints.swap_remove(place);
                    removed.push(place as u32);
                }
                Some(endpoint) => {
                    if endpoint.weight != endpoints[place].weight {
                        reweighted = Reweighted::Some;
                    }
                    endpoints[place] = endpoint;
                }
            }
        }
        let mut rest: Vec<Endpoint> = new.into_values().collect();
        rest.sort_by_key(|endpoint| endpoint.address);
        let added = rest.iter().map(|endpoint| endpoint.address).collect();
        endpoints.append(&mut rest);
        Self { removed, added, endpoints, reweighted }
    }

    fn is_nothing(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.reweighted == Reweighted::None
    }
}

#[cfg(test)]
mod tests;
