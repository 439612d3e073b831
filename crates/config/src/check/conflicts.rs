//! Documents of which only one can hold.

use super::look::Look;
use super::{Doc, Labels, View};
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use weir_policy::place::Place;

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    several_rules(view, out);
    one_per_workload(view, "Sidecar", Code::SidecarsConflict, out);
    one_per_workload(view, "Telemetry", Code::TelemetriesConflict, out);
    for doc in view.of_kind("Telemetry") {
        providers(doc, out);
    }
}

/// Also for hosts that are not known here, which the compiler leaves out.
fn several_rules(view: &View<'_>, out: &mut Vec<Problem>) {
    for (_, rules) in view.ruled() {
        let Some((first, others)) = rules.split_first() else { continue };
        for other in others {
            let words = format!(
                "`{}` has a DestinationRule at {} already: the first one wins a field, and in Istio its whole trafficPolicy wins",
                other.spec.text_at("host").unwrap_or_default(),
                first.spec.value_place()
            );
            let problem = Problem::new(Code::SeveralRules, other.spec.value_place(), words);
            out.push(problem.hint("write them as one"));
        }
    }
}

/// IST0110, IST0111, IST0159, IST0160: one for a workload, one for the namespace.
fn one_per_workload(view: &View<'_>, kind: &'static str, code: Code, out: &mut Vec<Problem>) {
    let mut known: HashMap<(&str, Labels), Place> = HashMap::new();
    for doc in view.of_kind(kind) {
        let selector = doc.spec.get("workloadSelector.labels").or_else(|| doc.spec.get("selector.matchLabels"));
        let mut labels = selector.map(Look::pairs).unwrap_or_default();
        labels.sort();
        let key = (doc.namespace, labels);
        match known.get(&key) {
            None => {
                known.insert(key, doc.spec.value_place());
            }
            Some(first) => {
                let whom = if key.1.is_empty() { "this namespace has" } else { "these workloads have" };
                let words = format!("{whom} a {kind} at {first} already: which one holds is not defined");
                let at = selector.unwrap_or(doc.spec);
                out.push(at.problem(code, words).hint("write them as one, or select other workloads"));
            }
        }
    }
}

/// IST0157.
fn providers(doc: &Doc<'_>, out: &mut Vec<Problem>) {
    for log in doc.spec.items_at("accessLogging") {
        if log.items_at("providers").next().is_none() {
            let words = "no provider is named: in Istio nothing is logged unless the mesh has a default one";
            out.push(log.problem(Code::EmptyProviders, words).hint("name one, such as `providers: [{ name: envoy }]`"));
        }
    }
}
