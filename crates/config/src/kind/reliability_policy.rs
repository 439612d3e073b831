//! `ReliabilityPolicy`: what services and routes have beyond Istio's settings. Ours.

use super::target::{Target, TargetKind, target};
use crate::decode::{At, Object};
use crate::problem::Code;

/// `ReliabilityPolicy.spec`, as far as it is enforced.
#[derive(Clone, Debug)]
pub struct ReliabilityPolicy {
    pub targets: Vec<Target>,
    /// `faultScope`; `None` = not written.
    pub fault_scope: Option<At<FaultScope>>,
}

/// Where the faults of a rule are felt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultScope {
    /// Once per request, before retries and timeouts.
    Istio,
    /// By every try.
    Upstream,
}

/// Fields that are understood and do nothing yet.
const LATER: &[&str] = &[
    "circuitBreaker",
    "outlier",
    "healthCheck",
    "idempotency",
    "hedging",
    "adaptiveConcurrency",
    "admission",
    "bulkhead",
    "deadline",
];

/// Reads `ReliabilityPolicy.spec`.
pub fn reliability_policy(spec: &Object<'_>, namespace: &str) -> ReliabilityPolicy {
    let targets = spec.objects("targetRefs").filter_map(|written| of_a_kind_that_is_enforced(&written, namespace));
    let targets = targets.collect();
    let words = [("istio", FaultScope::Istio), ("upstream", FaultScope::Upstream)];
    let fault_scope = spec.word("faultScope", &words);
    let fault_scope = fault_scope.map(|scope| At { place: spec.place_of("faultScope"), ..scope });
    spec.later(LATER);
    ReliabilityPolicy { targets, fault_scope }
}

fn of_a_kind_that_is_enforced(written: &Object<'_>, namespace: &str) -> Option<Target> {
    let found = target(written, namespace)?;
    let kind = match found.kind {
        TargetKind::Service { .. } | TargetKind::Route => return Some(found),
        TargetKind::Gateway => "Gateway",
        TargetKind::Workload => "Workload",
    };
    let words = format!("a ReliabilityPolicy for a {kind} is accepted and not enforced yet");
    written.sink.add(written.problem(Code::NotEnforced, "kind", words));
    None
}
