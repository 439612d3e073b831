//! `outboundTrafficPolicy`: where hosts go that nobody declared.
//!
//! ```text
//!   Sidecar's > Mesh's > REGISTRY_ONLY
//!   REGISTRY_ONLY ─► no host `*`: 502 unknown_host
//!   ALLOW_ANY ─────► host `*` ─► PassthroughCluster: where the request's authority says
//!                           └──► egressProxy, when there is one
//! ```
//! As istiod: without timeout and retries. Does not: reach for a host that a VirtualService for `*` takes.

use super::clusters::Clusters;
use super::scope::Scope;
use crate::kind::mesh::Mesh;
use crate::kind::outbound::{EgressProxy, Outbound};
use crate::problem::{Code, Problem};
use std::sync::Arc;
use weir_policy::connection::Speaks;
use weir_policy::discovery::Discovery;
use weir_policy::filter::Chain;
use weir_policy::origin::{Origins, Source};
use weir_policy::plan::{ClusterIndex, Settings, UnknownHosts};
use weir_policy::route::{Action, Destination, Entry, Forward, HeaderEdits, Match, Named, Route, Target, VirtualHost};
use weir_policy::timeout;

/// Istio's names of the cluster and of the virtual host.
const CLUSTER: &str = "PassthroughCluster";
const ROUTE: &str = "allow_any";

/// The policy of this workload; `settings` show it.
pub fn policy(scope: &Scope<'_>, mesh: Option<&Mesh>, settings: &mut Settings) -> Option<Outbound> {
    if let Some(own) = &scope.outbound {
        settings.origins.set("outboundTrafficPolicy", Source::Sidecar, own.place.clone());
    }
    let policy = scope.outbound.clone().or_else(|| mesh?.outbound.clone())?;
    settings.unknown_hosts = policy.mode;
    Some(policy)
}

/// The virtual host of every host that is not declared.
pub fn anywhere(policy: &Outbound, clusters: &mut Clusters<'_>, problems: &mut Vec<Problem>) -> Option<Named> {
    if policy.mode == UnknownHosts::Refuse {
        return None;
    }
    let target = match &policy.proxy {
        Some(proxy) => through(proxy, clusters, problems),
        None => Target::Cluster(passing(policy, clusters)),
    };
    let destination = Destination {
        target,
        weight: 1,
        headers: HeaderEdits::default(),
        authority: None,
        timeout: timeout::Rules { whole: None, per_try: None },
        retry: None,
        rates: Vec::new(),
        origins: Origins::default(),
    };
    let forward = Forward {
        destinations: vec![destination],
        total_weight: 1,
        rewrite: None,
        authority: None,
        mirrors: Vec::new(),
        fault: None,
    };
    let then = Arc::new(Route {
        name: ROUTE.into(),
        action: Action::Forward(forward),
        headers: HeaderEdits::default(),
        origins: Origins::default(),
        chain: Chain::default(),
        place: policy.place.clone(),
    });
    let host = VirtualHost { name: ROUTE.into(), entries: vec![Entry { when: Match::default(), then }] };
    Some(Named { patterns: [Arc::from("*")].into(), host: Arc::new(host) })
}

/// The cluster of no service: to the address that the request names, spoken to as the client speaks.
fn passing(policy: &Outbound, clusters: &mut Clusters<'_>) -> ClusterIndex {
    let mut upstream = clusters.plain(CLUSTER, &policy.place);
    upstream.discovery = Discovery::OnDemand;
    upstream.connection.speaks = Speaks::AsClient;
    clusters.add(upstream)
}

fn through(proxy: &EgressProxy, clusters: &mut Clusters<'_>, problems: &mut Vec<Problem>) -> Target {
    let service = clusters.graph.find(&proxy.host, "");
    let found = service.and_then(|service| clusters.find(service, Some(proxy.port), proxy.subset.as_deref()).ok());
    match found {
        Some(index) if clusters.facts(index).guarded => Target::NotEnforced(proxy.host.as_str().into()),
        Some(index) => Target::Cluster(index),
        None => {
            let words = format!("there is no `{}` with this port and subset: unknown hosts answer 503", proxy.host);
            let problem = Problem::new(Code::UnknownDestination, proxy.place.clone(), words);
            problems.push(problem.hint("add a ServiceEntry for it"));
            Target::Unknown(proxy.host.as_str().into())
        }
    }
}
