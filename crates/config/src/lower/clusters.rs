//! One cluster per host, port and subset: `outbound|PORT|SUBSET|HOST`.

use super::merge::{self, Merged};
use super::{balance, budget, connection, inflight, origins, outlier};
use crate::fields::Fields;
use crate::graph::{Graph, Service as Node};
use crate::kind::destination_rule::{DestinationRule, RetryPolicy, Subset};
use crate::kind::mesh::Mesh;
use crate::kind::service_entry::Port;
use crate::problem::Problem;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::plan::{ClusterIndex, Compatibility, Service, Settings, Upstream};
use weir_policy::retry;

/// Clusters as they are asked for, each made once.
pub struct Clusters<'a> {
    pub graph: &'a Graph,
    pub compatibility: Compatibility,
    merged: HashMap<usize, Merged>,
    mesh: Option<&'a Mesh>,
    settings: &'a Settings,
    made: Vec<Arc<Upstream>>,
    facts: Vec<Made>,
    known: HashMap<(usize, u16, String), ClusterIndex>,
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
        graph: &'a Graph,
        rules: Vec<DestinationRule>,
        mesh: Option<&'a Mesh>,
        settings: &'a Settings,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let compatibility = settings.compatibility;
        let merged = merge::merge(graph, rules, compatibility, problems);
        let (made, facts, known) = (Vec::new(), Vec::new(), HashMap::new());
        Self { graph, compatibility, merged, mesh, settings, made, facts, known }
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

    /// The cluster of a service's port and subset; without a port, the first one's.
    pub fn find(&mut self, service: usize, port: Option<u16>, subset: Option<&str>) -> Result<ClusterIndex, Nowhere> {
        let node = &self.graph.services[service];
        let port = match port {
            Some(number) => node.ports.iter().find(|port| port.number == number),
            None => node.ports.first(),
        };
        let port = port.ok_or(Nowhere::Port)?;
        let key = (service, port.number, subset.unwrap_or_default().to_owned());
        if let Some(index) = self.known.get(&key) {
            return Ok(*index);
        }
        let merged = self.merged.get(&service);
        let subset = match subset {
            None => None,
            Some(name) => {
                let found = merged.and_then(|merged| merged.subsets.iter().find(|subset| subset.name == name));
                Some(found.ok_or(Nowhere::Subset)?)
            }
        };
        let (upstream, facts) = make(node, port, subset, merged, self.mesh, self.settings);
        let index = ClusterIndex(self.made.len() as u32);
        self.made.push(Arc::new(upstream));
        self.facts.push(facts);
        self.known.insert(key, index);
        Ok(index)
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

    pub fn finish(self) -> Vec<Arc<Upstream>> {
        self.made
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
        discovery: node.discovery(port, labels),
        endpoints: node.endpoints(port, labels),
        balance: balance::lower(policy.balance.as_ref()),
        inflight: inflight::lower(policy.pool.as_ref(), &budget),
        budget,
        connection: connection::lower(
            policy.pool.as_ref(),
            &port.protocol.to_uppercase(),
            mesh.and_then(|mesh| mesh.connect_timeout),
        ),
        outlier: outlier::lower(policy.outlier.as_ref()),
        origins: origins::of_upstream(&policy.at, mesh, &settings.origins),
        place: node.place.clone(),
    };
    (upstream, Made { retry: policy.retry, at: policy.at, guarded: policy.guarded.is_some() })
}
