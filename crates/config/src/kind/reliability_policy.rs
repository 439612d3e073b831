//! `ReliabilityPolicy`: what services and routes have beyond Istio's settings. Ours.

use crate::decode::{At, Object};
use crate::problem::Code;

/// `ReliabilityPolicy.spec`, as far as it is enforced.
#[derive(Clone, Debug)]
pub struct ReliabilityPolicy {
    pub targets: Vec<Target>,
    /// `faultScope`; `None` = not written.
    pub fault_scope: Option<At<FaultScope>>,
}

/// `targetRefs[]` of a kind that it can be for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The policy's own, where none is written.
    pub namespace: String,
    pub name: At<String>,
    pub kind: TargetKind,
}

#[derive(Clone, Debug)]
pub enum TargetKind {
    /// A service, or what of it has this port and subset.
    Service { port: Option<u16>, subset: Option<String> },
    /// `VIRTUALSERVICE/ROUTE`.
    Route,
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
    let targets = spec.objects("targetRefs").filter_map(|written| target(&written, namespace)).collect();
    let words = [("istio", FaultScope::Istio), ("upstream", FaultScope::Upstream)];
    let fault_scope = spec.word("faultScope", &words);
    let fault_scope = fault_scope.map(|scope| At { place: spec.place_of("faultScope"), ..scope });
    spec.later(LATER);
    ReliabilityPolicy { targets, fault_scope }
}

fn target(written: &Object<'_>, namespace: &str) -> Option<Target> {
    let port = written.number("port", 1, i64::from(u16::MAX)).map(|port| port.value as u16);
    let subset = written.text("subset").map(|subset| subset.value);
    let own = written.text("namespace").map(|namespace| namespace.value);
    let (name, kind) = (written.text("name"), written.text("kind")?.value);
    let kind = match kind.as_str() {
        "Service" => TargetKind::Service { port, subset },
        "Route" => TargetKind::Route,
        "Gateway" | "Workload" => {
            let words = format!("a ReliabilityPolicy for a {kind} is accepted and not enforced yet");
            written.sink.add(written.problem(Code::NotEnforced, "kind", words));
            return None;
        }
        // The schema says so.
        _ => return None,
    };
    Some(Target { namespace: own.unwrap_or_else(|| namespace.to_owned()), name: name?, kind })
}
