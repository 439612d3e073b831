//! One cluster per host, port and subset: `outbound|PORT|SUBSET|HOST`.

use super::fault_scope::Scopes;
use super::memory::{self, Ground};
use super::merge::{self, Merged};
use super::{balance, budget, connection, inflight, origins, outlier, tls};
use crate::fields::Fields;
use crate::graph::{Graph, Service as Node};
use crate::kind::destination_rule::{DestinationRule, RetryPolicy, Subset};
use crate::kind::load_balancer::{LoadBalancer, Simple};
use crate::kind::mesh::Mesh;
use crate::kind::service_entry::Port;
use crate::problem::Problem;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::connection::Rules as Connection;
use weir_policy::discovery::Discovery;
use weir_policy::place::Place;
use weir_policy::plan::{ClusterIndex, Compatibility, Service, Settings, Upstream};
use weir_policy::retry;
use weir_policy::route::Named;

/// Clusters as they are asked for, each made once; numbered in the order of asking, whatever was made before.
pub struct Clusters<'a> {
    pub graph: &'a Arc<Graph>,
    /// A name may mean another service than in the bundle before.
    pub renamed: bool,
    pub compatibility: Compatibility,
    /// Of the policies; nothing until it is set.
    pub scopes: Scopes,
    mesh: Option<&'a Mesh>,
    settings: &'a Settings,
    /// By place in the graph.
    services: Vec<Known>,
    stamps: u64,
    made: Vec<Arc<Upstream>>,
    facts: Vec<Arc<Made>>,
    asked: Vec<Asked>,
}

/// What lasts from one bundle to the next. Valid for the same Mesh and options only.
#[derive(Default)]
pub struct Kept {
    graph: Arc<Graph>,
    services: Vec<Known>,
    /// The latest [`Known::stamp`].
    stamps: u64,
}

/// One service and its clusters.
struct Known {
    /// Another one whenever the service or its rules change; from 1.
    stamp: u64,
    node: Arc<Node>,
    rules: Vec<Arc<DestinationRule>>,
    merged: Option<Merged>,
    /// By port and subset.
    slots: Vec<Slot>,
    own: Option<Own>,
}

struct Slot {
    port: u16,
    subset: Box<str>,
    /// `None`: not asked for yet, made for an earlier bundle.
    index: Option<ClusterIndex>,
    upstream: Arc<Upstream>,
    made: Arc<Made>,
}

/// The virtual host of a service that no VirtualService is for.
struct Own {
    /// Of its first port.
    first: Option<ClusterIndex>,
    host: Named,
}

/// A question and its answer: as long as the answers stay, what was made of them does.
pub struct Asked {
    host: Box<str>,
    port: Option<u16>,
    subset: Option<Box<str>>,
    stamp: u64,
    pub service: Option<usize>,
    pub found: Result<ClusterIndex, Nowhere>,
}

/// What routes need to know of a cluster beside the plan's part.
#[derive(Clone)]
pub struct Made {
    pub retry: Option<RetryPolicy>,
    /// Where the fields of its policy stand.
    pub at: Fields,
    /// Guarded by a security setting that is not enforced yet.
    pub guarded: bool,
}

/// Why a destination leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nowhere {
    Host,
    Subset,
    Port,
}

impl<'a> Clusters<'a> {
    pub fn new(
        ground: &'a Ground,
        rules: Vec<Arc<DestinationRule>>,
        mesh: Option<&'a Mesh>,
        settings: &'a Settings,
        kept: Kept,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let (graph, compatibility) = (&ground.graph, settings.compatibility);
        let mut groups = merge::group(graph, rules, compatibility, problems);
        let same = Arc::ptr_eq(graph, &kept.graph);
        let mut before: Vec<Option<Known>> = kept.services.into_iter().map(Some).collect();
        let mut stamps = kept.stamps;
        let known = |(index, node): (usize, &Arc<Node>)| {
            let rules = groups.remove(&index).unwrap_or_default();
            let at = if same { Some(index) } else { kept.graph.named(&node.canonical) };
            let old = at.and_then(|at| before.get_mut(at)?.take());
            let old = old.filter(|old| {
                (Arc::ptr_eq(&old.node, node) || *old.node == **node) && memory::same(&old.rules, &rules)
            });
            old.map(Known::again).unwrap_or_else(|| {
                stamps += 1;
                let merged = merge::merge(&rules, compatibility);
                Known { stamp: stamps, node: Arc::clone(node), rules, merged, slots: Vec::new(), own: None }
            })
        };
        let services = graph.services.iter().enumerate().map(known).collect();
        let (made, facts, asked) = (Vec::new(), Vec::new(), Vec::new());
        let (renamed, scopes) = (ground.renamed, Scopes::default());
        Self { graph, renamed, compatibility, scopes, mesh, settings, services, stamps, made, facts, asked }
    }

    /// Makes the clusters that need no route to exist.
    pub fn every_port(&mut self) {
        for (index, service) in self.graph.services.iter().enumerate() {
            for port in &service.ports {
                // A service's own port and no subset: it always exists.
                let _ = self.find(index, Some(port.number), None);
            }
        }
    }

    /// The cluster of a destination as written, and a record of it.
    pub fn ask(&mut self, host: &str, namespace: &str, port: Option<u16>, subset: Option<&str>) -> &Asked {
        let service = self.graph.find(host, namespace);
        let found = service.map_or(Err(Nowhere::Host), |service| self.find(service, port, subset));
        let stamp = service.map_or(0, |service| self.services[service].stamp);
        let asked = Asked { host: host.into(), port, subset: subset.map(Into::into), stamp, service, found };
        self.asked.push(asked);
        &self.asked[self.asked.len() - 1]
    }

    /// What was asked since the last time.
    pub fn asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    /// Asks again: are the answer and what it leads to the same as then?
    pub fn still(&mut self, asked: &mut Asked, namespace: &str) -> bool {
        if self.renamed {
            asked.service = self.graph.find(&asked.host, namespace);
        }
        match asked.service {
            None => asked.found == Err(Nowhere::Host),
            Some(service) => {
                self.services[service].stamp == asked.stamp
                    && self.find(service, asked.port, asked.subset.as_deref()) == asked.found
            }
        }
    }

    /// The cluster of a service's port and subset; without a port, the first one's.
    pub fn find(&mut self, service: usize, port: Option<u16>, subset: Option<&str>) -> Result<ClusterIndex, Nowhere> {
        let known = &mut self.services[service];
        let port = match port {
            Some(number) => known.node.ports.iter().find(|port| port.number == number),
            None => known.node.ports.first(),
        };
        let port = port.ok_or(Nowhere::Port)?;
        let name = subset.unwrap_or_default();
        let at = known.slots.binary_search_by(|slot| (slot.port, &*slot.subset).cmp(&(port.number, name)));
        let at = match at {
            Ok(at) => at,
            Err(at) => {
                let subset = subset.map(|name| known.subset(name).ok_or(Nowhere::Subset)).transpose()?;
                let (upstream, made) = make(&known.node, port, subset, known.merged.as_ref(), self.mesh, self.settings);
                let (upstream, made) = (Arc::new(upstream), Arc::new(made));
                known.slots.insert(at, Slot { port: port.number, subset: name.into(), index: None, upstream, made });
                at
            }
        };
        let slot = &mut known.slots[at];
        if let Some(index) = slot.index {
            return Ok(index);
        }
        let index = ClusterIndex(self.made.len() as u32);
        self.made.push(Arc::clone(&slot.upstream));
        self.facts.push(Arc::clone(&slot.made));
        slot.index = Some(index);
        Ok(index)
    }

    /// A cluster that is no service's.
    pub fn add(&mut self, upstream: Upstream) -> ClusterIndex {
        let index = ClusterIndex(self.made.len() as u32);
        self.made.push(Arc::new(upstream));
        self.facts.push(Arc::new(Made { retry: None, at: Fields::default(), guarded: false }));
        index
    }

    /// What is the same for clusters that no document is for.
    pub fn plain(&self, name: &str, place: &Place) -> Upstream {
        let budget = budget::lower(self.mesh.and_then(|mesh| mesh.retry_budget.as_ref()), self.compatibility);
        Upstream {
            id: name.into(),
            name: name.into(),
            service: Service {
                host: "unknown".into(),
                name: name.into(),
                namespace: "unknown".into(),
                port: 80,
                subset: "".into(),
            },
            discovery: Discovery::Static,
            endpoints: Vec::new(),
            balance: balance::lower(None),
            inflight: inflight::lower(None, &budget),
            budget,
            connection: connection::lower(None, "HTTP", self.mesh.and_then(|mesh| mesh.connect_timeout)),
            outlier: None,
            origins: origins::of_upstream(&Fields::default(), self.mesh, &self.settings.origins),
            place: place.clone(),
        }
    }

    /// The virtual host of a service that no VirtualService is for; `make` makes it when it is not known.
    pub fn own(&mut self, service: usize, make: impl FnOnce(&mut Self) -> Named) -> Named {
        let first = self.find(service, None, None).ok();
        if let Some(own) = self.services[service].own.as_ref().filter(|own| own.first == first) {
            return own.host.clone();
        }
        let host = make(self);
        self.services[service].own = Some(Own { first, host: host.clone() });
        host
    }

    /// The subsets that DestinationRules define.
    pub fn subsets(&self, service: usize) -> Vec<String> {
        let merged = self.services[service].merged.as_ref();
        merged.map(|merged| merged.subsets.iter().map(|subset| subset.name.clone()).collect()).unwrap_or_default()
    }

    /// The rules of a cluster.
    pub fn rules(&self, index: ClusterIndex) -> &Upstream {
        &self.made[index.0 as usize]
    }

    /// Does a DestinationRule define it?
    pub fn has_subset(&self, service: usize, name: &str) -> bool {
        self.services[service].subset(name).is_some()
    }

    /// What is known of a cluster.
    pub fn facts(&self, index: ClusterIndex) -> &Made {
        &self.facts[index.0 as usize]
    }

    /// The retries of a route without its own: the destination's, the mesh's, the built-in.
    pub fn default_retry(&self, index: Option<ClusterIndex>) -> Option<retry::Rules> {
        if let Some(policy) = index.and_then(|index| self.facts(index).retry.as_ref()) {
            return super::retry::of_destination(policy, self.compatibility, self.previous(index));
        }
        let mesh = self.mesh.and_then(|mesh| mesh.retries.as_ref());
        super::retry::of_route(mesh, self.compatibility, self.previous(index))
    }

    /// Where the retries of a route come from, given its own fields when it has retries itself.
    pub fn retry_origins<'f>(&'f self, route: Option<&'f Fields>, index: Option<ClusterIndex>) -> origins::Retries<'f> {
        let upstream = index.map(|index| &self.made[index.0 as usize]);
        let hashing = upstream.filter(|upstream| upstream.balance.key().is_some()).map(|upstream| &upstream.origins);
        let facts = index.map(|index| self.facts(index));
        let destination = facts.filter(|facts| facts.retry.is_some()).map(|facts| &facts.at);
        origins::Retries { route, destination, mesh: self.mesh, hashing, settings: &self.settings.origins }
    }

    /// Whether retries to it avoid hosts tried before when nothing is written.
    pub fn previous(&self, index: Option<ClusterIndex>) -> retry::Previous {
        index.map_or_else(Default::default, |index| balance::previous(&self.made[index.0 as usize].balance))
    }

    /// The per-try timeout that comes with a destination's retries.
    pub fn default_per_try(&self, index: Option<ClusterIndex>) -> Option<Duration> {
        index.and_then(|index| self.facts(index).retry.as_ref()?.per_try)
    }

    /// The clusters, and what to keep for the next bundle: those that nobody asked for are forgotten.
    pub fn finish(mut self) -> Finished {
        for known in &mut self.services {
            known.slots.retain(|slot| slot.index.is_some());
        }
        let kept = Kept { graph: Arc::clone(self.graph), services: self.services, stamps: self.stamps };
        Finished { clusters: self.made, kept }
    }
}

/// See [`Clusters::finish`].
pub struct Finished {
    pub clusters: Vec<Arc<Upstream>>,
    pub kept: Kept,
}

impl Known {
    /// For another bundle: everything made is to be asked for anew.
    fn again(mut self) -> Self {
        for slot in &mut self.slots {
            slot.index = None;
        }
        self
    }

    fn subset(&self, name: &str) -> Option<&Subset> {
        self.merged.as_ref()?.subsets.iter().find(|subset| subset.name == name)
    }
}

fn make(
    node: &Node,
    port: &Port,
    subset: Option<&Subset>,
    merged: Option<&Merged>,
    mesh: Option<&Mesh>,
    settings: &Settings,
) -> (Upstream, Made) {
    let policy = merge::effective(merged, port.number, subset);
    let labels = subset.map(|subset| subset.labels.as_slice()).unwrap_or_default();
    let name = subset.map(|subset| subset.name.as_str()).unwrap_or_default();
    let written = policy.budget.as_ref().or_else(|| mesh.and_then(|mesh| mesh.retry_budget.as_ref()));
    let budget = budget::lower(written, settings.compatibility);
    let passes = matches!(policy.balance, Some(LoadBalancer::Simple(Simple::Passthrough)));
    let upstream = Upstream {
        id: format!("{}/{}|{}|{name}", node.namespace, node.host, port.number).into(),
        name: format!("outbound|{}|{name}|{}", port.number, node.host).into(),
        service: Service {
            host: node.host.as_str().into(),
            name: node.name().into(),
            namespace: node.namespace.as_str().into(),
            port: port.number,
            subset: name.into(),
        },
        discovery: if passes { Discovery::OnDemand } else { node.discovery(port, labels) },
        endpoints: if passes { Vec::new() } else { node.endpoints(port, labels) },
        balance: balance::lower(policy.balance.as_ref()),
        inflight: inflight::lower(policy.pool.as_ref(), &budget),
        budget,
        connection: Connection {
            tls: tls::client(policy.tls.as_ref(), &node.host),
            told: policy.told,
            ..connection::lower(
                policy.pool.as_ref(),
                &port.protocol.to_uppercase(),
                mesh.and_then(|mesh| mesh.connect_timeout),
            )
        },
        outlier: outlier::lower(policy.outlier.as_ref()),
        origins: origins::of_upstream(&policy.at, mesh, &settings.origins),
        place: node.place.clone(),
    };
    (upstream, Made { retry: policy.retry, at: policy.at, guarded: tls::is_guarded(policy.tls.as_ref()) })
}
