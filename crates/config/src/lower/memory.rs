//! What was lowered before, and what it was lowered from: what has the same origins is not lowered again.
//!
//! ```text
//!   texts ─► words, an Arc each: unchanged = the same Arc
//!     Mesh, options ───────────────────────────► everything
//!     ReliabilityPolicies ─────────────────────► all routes
//!     services, endpoints, workloads, Sidecars ─► graph ─┐
//!     a service, its DestinationRules ─► stamp, clusters ┴─► answers to what a VirtualService asks
//!     the VirtualService and those answers ─────────────────► its routes
//! ```
//! What a bundle does not have is forgotten with it. Does not: change anything: a bundle compiled again is as compiled
//! for the first time.

use super::clusters::{Asked, Clusters, Kept};
use super::scope::Scope;
use super::services;
use crate::bundle::{Bundle, Options};
use crate::graph::Graph;
use crate::kind::gateway::Gateway;
use crate::kind::mesh::Mesh;
use crate::kind::policy::Guard;
use crate::kind::reliability_policy::ReliabilityPolicy;
use crate::kind::service::{Service, Serving};
use crate::kind::service_entry::{ServiceEntry, Workload};
use crate::kind::sidecar::Sidecar;
use crate::kind::virtual_service::VirtualService;
use crate::problem::Problem;
use crate::words::Words;
use std::collections::HashMap;
use std::sync::Arc;
use weir_policy::route::Named;

/// See the module.
#[derive(Default)]
pub struct Memory {
    mesh: Option<Arc<Mesh>>,
    options: Options,
    policies: Vec<Arc<ReliabilityPolicy>>,
    ground: Option<Ground>,
    pub clusters: Kept,
    pub outbound: Vec<Lowered>,
    pub doors: Doors,
}

/// Of Gateways.
#[derive(Default)]
pub struct Doors {
    gateways: Vec<Arc<Gateway>>,
    guards: Vec<Arc<Guard>>,
    pub ports: HashMap<u16, Vec<Lowered>>,
}

/// The graph and what it was made of.
pub struct Ground {
    entries: Vec<Arc<ServiceEntry>>,
    services: Vec<Arc<Service>>,
    serving: Vec<Arc<Serving>>,
    workloads: Vec<Arc<Workload>>,
    sidecars: Vec<Arc<Sidecar>>,
    pub graph: Arc<Graph>,
    /// A name may mean another service than in the bundle before.
    pub renamed: bool,
    problems: Vec<Problem>,
}

/// Are these the same documents?
pub fn same<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

impl Memory {
    /// Forgets what does not hold for this bundle.
    pub fn begin(&mut self, words: &Words, bundle: &Bundle) {
        let mesh = match (&self.mesh, &words.mesh) {
            (None, None) => true,
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if !mesh || self.options != bundle.options {
            *self = Self { mesh: words.mesh.clone(), options: bundle.options.clone(), ..Self::default() };
        }
        if !same(&self.policies, &words.policies) {
            self.policies.clone_from(&words.policies);
            self.forget_routes();
        }
        if !same(&self.doors.gateways, &words.gateways) || !same(&self.doors.guards, &words.guards) {
            let (gateways, guards) = (words.gateways.clone(), words.guards.clone());
            self.doors = Doors { gateways, guards, ports: HashMap::new() };
        }
    }

    /// The graph of a bundle: the one before, when it was made of the same documents.
    pub fn ground(&mut self, words: &Words, scope: &Scope<'_>, problems: &mut Vec<Problem>) -> Ground {
        let old = self.ground.take();
        let ground = match old {
            Some(old) if old.is_of(words) => Ground { renamed: false, ..old },
            Some(old) if old.renews(words) => old.renewed(words),
            old => Ground::new(words, scope, old.as_ref()),
        };
        if ground.renamed && !self.policies.is_empty() {
            // They may be for other services now.
            self.forget_routes();
        }
        problems.extend_from_slice(&ground.problems);
        ground
    }

    fn forget_routes(&mut self) {
        self.outbound.clear();
        self.doors.ports.clear();
    }

    /// Keeps the graph for the next bundle.
    pub fn keep(&mut self, ground: Ground) {
        self.ground = Some(ground);
    }
}

impl Ground {
    fn new(words: &Words, scope: &Scope<'_>, old: Option<&Self>) -> Self {
        let mut problems = Vec::new();
        let workloads: Vec<Workload> = words.workloads.iter().map(|workload| Workload::clone(workload)).collect();
        let services = services::entries(&words.services, &words.serving, &workloads, &mut problems);
        let entries = words.entries.iter().map(|entry| ServiceEntry::clone(entry)).chain(services);
        let graph = Graph::build(scope.services(entries), &workloads, &mut problems);
        Self {
            entries: words.entries.clone(),
            services: words.services.clone(),
            serving: words.serving.clone(),
            workloads: words.workloads.clone(),
            sidecars: words.sidecars.clone(),
            renamed: !old.is_some_and(|old| old.graph.same_names(&graph)),
            graph: Arc::new(graph),
            problems,
        }
    }

    fn is_of(&self, words: &Words) -> bool {
        same(&self.entries, &words.entries) && self.is_beside(words)
    }

    /// Is nothing but ServiceEntries changed, each for one that has the same names?
    fn renews(&self, words: &Words) -> bool {
        let mut pairs = self.entries.iter().zip(&words.entries);
        // Of two with one name only the first counts: which one that is has been reported.
        self.problems.is_empty()
            && self.entries.len() == words.entries.len()
            && self.is_beside(words)
            && pairs.all(|(old, new)| Arc::ptr_eq(old, new) || old.has_names_of(new))
    }

    fn renewed(self, words: &Words) -> Self {
        let workloads: Vec<Workload> = words.workloads.iter().map(|workload| Workload::clone(workload)).collect();
        let mut graph = Graph::clone(&self.graph);
        for (old, new) in self.entries.iter().zip(&words.entries).filter(|(old, new)| !Arc::ptr_eq(old, new)) {
            graph.replace(old, ServiceEntry::clone(new), &workloads);
        }
        Self { entries: words.entries.clone(), renamed: false, graph: Arc::new(graph), ..self }
    }

    /// Is everything else the same?
    fn is_beside(&self, words: &Words) -> bool {
        same(&self.services, &words.services)
            && same(&self.serving, &words.serving)
            && same(&self.workloads, &words.workloads)
            && same(&self.sidecars, &words.sidecars)
    }
}

/// A VirtualService as it was lowered for a listener.
pub struct Lowered {
    pub of: Arc<VirtualService>,
    pub asked: Vec<Asked>,
    pub problems: Vec<Problem>,
    /// Of each entry: does it match every request? The virtual hosts all have these entries.
    pub open: Vec<bool>,
    pub hosts: Vec<Hosted>,
}

/// A host of a VirtualService.
pub struct Hosted {
    /// In [`VirtualService::hosts`].
    pub at: usize,
    /// What it is merged by with other documents.
    pub key: Arc<str>,
    pub named: Named,
}

impl Lowered {
    /// Would it be lowered to the same again?
    pub fn holds(&mut self, clusters: &mut Clusters<'_>) -> bool {
        let namespace = &self.of.namespace;
        self.asked.iter_mut().all(|asked| clusters.still(asked, namespace))
    }
}

/// What is known of a listener, to be taken in about the order it was put in.
pub struct Shelf {
    lowered: Vec<Option<Lowered>>,
    next: usize,
    /// Made when the order is another one.
    places: Option<HashMap<*const VirtualService, usize>>,
}

impl Shelf {
    pub fn new(lowered: Vec<Lowered>) -> Self {
        Self { lowered: lowered.into_iter().map(Some).collect(), next: 0, places: None }
    }

    /// What this very document was lowered to.
    pub fn take(&mut self, of: &Arc<VirtualService>) -> Option<Lowered> {
        let is = |found: &Option<Lowered>| found.as_ref().is_some_and(|found| Arc::ptr_eq(&found.of, of));
        if !self.lowered.get(self.next).is_some_and(is) {
            let places = self.places.get_or_insert_with(|| {
                let all = self.lowered.iter().enumerate();
                all.filter_map(|(at, found)| Some((Arc::as_ptr(&found.as_ref()?.of), at))).collect()
            });
            self.next = *places.get(&Arc::as_ptr(of))?;
        }
        self.next += 1;
        self.lowered[self.next - 1].take()
    }
}
