//! Mixer's quotas: a QuotaSpec says what to count, and something else how much is allowed.

use super::View;
use super::look::Look;
use crate::problem::{Code, Problem};
use std::collections::HashSet;

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    let known = amounts(view);
    for doc in view.of_kind("QuotaSpec") {
        removed(doc.whole, doc.kind, out);
        for quota in doc.spec.items_at("rules").flat_map(|rule| rule.items_at("quotas")) {
            let Some((name, at)) = quota.text_at("quota").zip(quota.get("quota")) else { continue };
            if !known.contains(first(name)) {
                let words = format!("nothing says how much `{name}` allows: no request is limited by it");
                let hint = "add a `memquota` handler with `maxAmount` and `validDuration`, or write a RateLimitPolicy";
                out.push(at.problem(Code::QuotaWithoutAmount, words).hint(hint));
            }
        }
    }
    let specs: HashSet<(&str, &str)> = view.of_kind("QuotaSpec").map(|doc| (doc.namespace, doc.name)).collect();
    for doc in view.of_kind("QuotaSpecBinding") {
        removed(doc.whole, doc.kind, out);
        for bound in doc.spec.items_at("quotaSpecs") {
            let namespace = bound.text_at("namespace").unwrap_or(doc.namespace);
            if let Some((name, at)) = bound.text_at("name").zip(bound.get("name"))
                && !specs.contains(&(namespace, name))
            {
                let words = format!("there is no QuotaSpec `{name}`: this binding does nothing");
                out.push(at.problem(Code::UnknownDestination, words).hint("mend the name, or add the QuotaSpec"));
            }
        }
    }
    for doc in ["handler", "instance", "rule", "memquota", "redisquota"].into_iter().flat_map(|kind| view.of_kind(kind))
    {
        removed(doc.whole, doc.kind, out);
    }
}

fn removed(whole: Look<'_>, kind: &str, out: &mut Vec<Problem>) {
    let at = whole.get("apiVersion").unwrap_or(whole);
    let words = format!("Istio removed {kind} with Mixer in 1.8: there it does nothing");
    out.push(
        at.problem(Code::RemovedApi, words).hint("it works in weir; a RateLimitPolicy says the same in one document"),
    );
}

/// The quotas that have an amount: first labels of their names.
fn amounts<'a>(view: &View<'a>) -> HashSet<&'a str> {
    let kinds = ["handler", "memquota", "redisquota"].into_iter();
    let quotas = kinds.flat_map(|kind| view.of_kind(kind)).flat_map(|doc| {
        let inside = doc.spec.get("params").unwrap_or(doc.spec);
        inside.items_at("quotas").collect::<Vec<_>>()
    });
    quotas.filter(|quota| quota.has("maxAmount")).filter_map(|quota| quota.text_at("name")).map(first).collect()
}

/// `requestcount.instance.istio-system` and `requestcount` are one quota.
fn first(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}
