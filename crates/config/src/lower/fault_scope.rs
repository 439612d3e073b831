//! `faultScope` of ReliabilityPolicies: which rules have their faults felt by every try.
//!
//! ```text
//!   route ─► service with port and subset ─► with a subset ─► with a port ─► service      the first that says it
//! ```
//! A rule with several destinations has one fault: they must agree. Does not: lower the fault ([`super::fault`] does).

use super::clusters::Clusters;
use crate::decode::At;
use crate::graph::Graph;
use crate::kind::reliability_policy::{FaultScope, ReliabilityPolicy};
use crate::kind::target::{Target, TargetKind};
use crate::kind::virtual_service::{HttpRule, VirtualService, Weighted};
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use std::sync::Arc;
use weir_policy::place::Place;

/// What every policy says. The first of two that are for the same counts.
#[derive(Default)]
pub struct Scopes {
    /// By index in the graph.
    services: HashMap<usize, Vec<Part>>,
    /// By `namespace/virtualservice/route`.
    routes: HashMap<String, At<FaultScope>>,
}

/// A service, or a part of one.
struct Part {
    port: Option<u16>,
    subset: Option<String>,
    scope: At<FaultScope>,
}

impl Scopes {
    pub fn of(
        policies: &[Arc<ReliabilityPolicy>],
        services: &[Arc<VirtualService>],
        clusters: &Clusters<'_>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut scopes = Self::default();
        for policy in policies {
            let Some(scope) = &policy.fault_scope else { continue };
            for target in &policy.targets {
                match &target.kind {
                    TargetKind::Route => scopes.add_route(target, scope, services, problems),
                    TargetKind::Gateway | TargetKind::Workload => {}
                    TargetKind::Service { port, subset } => {
                        let part = Part { port: *port, subset: subset.clone(), scope: scope.clone() };
                        scopes.add_service(target, part, clusters, problems);
                    }
                }
            }
        }
        scopes
    }

    fn add_route(
        &mut self,
        target: &Target,
        scope: &At<FaultScope>,
        services: &[Arc<VirtualService>],
        problems: &mut Vec<Problem>,
    ) {
        let found = target.name.value.split_once('/').is_some_and(|(service, route)| {
            let named = |of: &&Arc<VirtualService>| of.name == service && of.namespace == target.namespace;
            services.iter().filter(named).any(|of| of.http.iter().any(|rule| rule.name == route))
        });
        if !found {
            let words = format!("no VirtualService in `{}` has the route `{}`", target.namespace, target.name.value);
            problems.push(unknown(target, words, "write VIRTUALSERVICE/ROUTE, with the `name` of a rule"));
        }
        self.routes.entry(format!("{}/{}", target.namespace, target.name.value)).or_insert_with(|| scope.clone());
    }

    fn add_service(&mut self, target: &Target, part: Part, clusters: &Clusters<'_>, problems: &mut Vec<Problem>) {
        let name = &target.name.value;
        let Some(service) = clusters.graph.find(name, &target.namespace) else {
            let words = format!("no service has the host `{name}`");
            return problems.push(unknown(target, words, "define it by a ServiceEntry, or mend the name"));
        };
        let ports = &clusters.graph.services[service].ports;
        if let Some(port) = part.port.filter(|port| !ports.iter().any(|known| known.number == *port)) {
            problems.push(unknown(target, format!("`{name}` has no port {port}"), "name a port of the service"));
        }
        if let Some(subset) = part.subset.as_deref().filter(|subset| !clusters.has_subset(service, subset)) {
            problems.push(unknown(
                target,
                format!("`{name}` has no subset `{subset}`"),
                "define it in a DestinationRule",
            ));
        }
        self.services.entry(service).or_default().push(part);
    }

    /// Where it is written that every try feels the rule's fault; `None`: it is felt once, before the router.
    pub fn upstream(
        &self,
        rule: &HttpRule,
        of: &VirtualService,
        destinations: &[Weighted],
        graph: &Graph,
        problems: &mut Vec<Problem>,
    ) -> Option<Place> {
        if rule.fault.is_none() || (self.routes.is_empty() && self.services.is_empty()) {
            return None;
        }
        if let Some(scope) = self.routes.get(&format!("{}/{}/{}", of.namespace, of.name, rule.name)) {
            return place(scope);
        }
        let several = destinations.len() > 1;
        let chosen = destinations.iter().filter(|one| !several || one.weight > 0);
        let places: Vec<Option<Place>> = chosen.map(|one| place(self.of_destination(one, of, graph)?)).collect();
        if places.iter().any(Option::is_some) && places.iter().any(Option::is_none) {
            let words =
                "`faultScope: upstream` is for some destinations of this rule only: its fault stays before them";
            let hint = "add a policy for the others, or for this route";
            problems.push(Problem::new(Code::NoEffect, rule.place.clone(), words).hint(hint));
            return None;
        }
        places.into_iter().flatten().next()
    }

    fn of_destination(&self, written: &Weighted, of: &VirtualService, graph: &Graph) -> Option<&At<FaultScope>> {
        let service = graph.find(&written.host.value, &of.namespace)?;
        let port = written.port.or_else(|| graph.services[service].ports.first().map(|port| port.number));
        let subset = written.subset.as_ref().map(|subset| subset.value.as_str());
        let holds = |part: &&Part| {
            part.port.is_none_or(|own| Some(own) == port)
                && part.subset.as_deref().is_none_or(|own| Some(own) == subset)
        };
        let parts = self.services.get(&service)?.iter().filter(holds);
        // Of equals the first: `max_by_key` would take the last.
        let best = parts.rev().max_by_key(|part| (part.subset.is_some(), part.port.is_some()));
        best.map(|part| &part.scope)
    }
}

fn place(scope: &At<FaultScope>) -> Option<Place> {
    (scope.value == FaultScope::Upstream).then(|| scope.place.clone())
}

fn unknown(target: &Target, words: String, hint: &str) -> Problem {
    Problem::new(Code::UnknownDestination, target.name.place.clone(), words).hint(hint)
}
