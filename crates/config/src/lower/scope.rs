//! What this workload sees of the mesh: `exportTo`, and the `Sidecar` that is for it.
//!
//! ```text
//!   Sidecar with matching labels > Sidecar of the namespace > Sidecar of istio-system > everything
//! ```
//! A service that is not seen is unknown to the outbound side. Gateways see what is exported to their namespace.

use crate::bundle::Options;
use crate::graph::canonical;
use crate::kind::destination_rule::DestinationRule;
use crate::kind::outbound::Outbound;
use crate::kind::service_entry::ServiceEntry;
use crate::kind::sidecar::{Seen, Sidecar};
use crate::kind::virtual_service::VirtualService;
use crate::names;
use crate::problem::{Code, Problem};
use std::sync::Arc;

/// The namespace whose Sidecar is everybody's default.
const ROOT: &str = "istio-system";

/// The point of view of one workload.
pub struct Scope<'w> {
    options: &'w Options,
    /// `None` = no Sidecar narrows it.
    seen: Option<Vec<Seen>>,
    /// What its Sidecar says of unknown hosts.
    pub outbound: Option<Outbound>,
}

impl<'w> Scope<'w> {
    /// The scope of this workload; Sidecars that contradict each other are reported.
    pub fn of(sidecars: &[Arc<Sidecar>], options: &'w Options, problems: &mut Vec<Problem>) -> Self {
        conflicts(sidecars, problems);
        let selects = |sidecar: &&Arc<Sidecar>| {
            sidecar.namespace == options.namespace
                && !sidecar.selector.is_empty()
                && sidecar.selector.iter().all(|label| options.labels.contains(label))
        };
        let whole = |namespace: &str| {
            sidecars.iter().find(|sidecar| sidecar.namespace == namespace && sidecar.selector.is_empty())
        };
        let chosen = sidecars.iter().find(selects).or_else(|| whole(&options.namespace)).or_else(|| whole(ROOT));
        let seen = chosen.and_then(|sidecar| sidecar.seen.clone());
        Self { options, seen, outbound: chosen.and_then(|sidecar| sidecar.outbound.clone()) }
    }

    /// Keeps the hosts of entries that are exported here and seen.
    pub fn services(&self, entries: impl Iterator<Item = ServiceEntry>) -> Vec<ServiceEntry> {
        let narrow = |mut entry: ServiceEntry| {
            entry.hosts.retain(|host| self.sees(&entry.namespace, &canonical(&host.value, &entry.namespace)));
            (entry.export.reaches(&self.options.namespace) && !entry.hosts.is_empty()).then_some(entry)
        };
        entries.filter_map(narrow).collect()
    }

    /// Keeps the rules that are exported here and for this workload.
    pub fn rules(&self, rules: &[Arc<DestinationRule>]) -> Vec<Arc<DestinationRule>> {
        let ours = |rule: &&Arc<DestinationRule>| {
            rule.export.reaches(&self.options.namespace)
                && (rule.selector.is_empty()
                    || (rule.namespace == self.options.namespace
                        && rule.selector.iter().all(|label| self.options.labels.contains(label))))
        };
        rules.iter().filter(ours).cloned().collect()
    }

    /// Is the VirtualService used by the outbound side?
    pub fn uses(&self, service: &VirtualService) -> bool {
        let seen = |host: &str| self.sees(&service.namespace, &canonical(host, &service.namespace));
        service.export.reaches(&self.options.namespace)
            && (self.seen.is_none() || service.hosts.iter().any(|host| seen(&host.value)))
    }

    fn sees(&self, namespace: &str, host: &str) -> bool {
        let Some(seen) = &self.seen else { return true };
        seen.iter()
            .any(|one| (one.namespace == "*" || one.namespace == namespace) && names::hosts_overlap(&one.host, host))
    }
}

/// Two Sidecars for the same workloads: the first one counts.
fn conflicts(sidecars: &[Arc<Sidecar>], problems: &mut Vec<Problem>) {
    for (index, sidecar) in sidecars.iter().enumerate() {
        let same = |other: &&Arc<Sidecar>| other.namespace == sidecar.namespace && other.selector == sidecar.selector;
        if let Some(first) = sidecars[..index].iter().find(same) {
            let words = format!("the Sidecar at {} is for the same workloads: this one is ignored", first.place);
            let problem = Problem::new(Code::DuplicateResource, sidecar.place.clone(), words);
            problems.push(problem.hint("keep one of them"));
        }
    }
}
