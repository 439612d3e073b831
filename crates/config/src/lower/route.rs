//! `http[]` → [`weir_policy::route`]: conditions, actions, header edits.

use super::clusters::{Clusters, Nowhere};
use super::{origins, timeout};
use crate::decode::At;
use crate::kind::headers::{Headers, Operations};
use crate::kind::http_match::{HttpMatch, StringMatch};
use crate::kind::mirror::Mirror as MirrorWords;
use crate::kind::virtual_service::{Action as Words, HttpRule, VirtualService, Weighted};
use crate::problem::{Code, Problem};
use crate::re2;
use std::sync::Arc;
use weir_policy::fault;
use weir_policy::filter::{Chain, Filter};
use weir_policy::format::Value;
use weir_policy::origin::Source;
use weir_policy::plan::Compatibility;
use weir_policy::route::{
    Action, Case, Destination, Direct, Edits, Forward, HeaderEdits, HeaderMatch, Match, Mirror, Pattern, QueryMatch,
    Redirect, Rewrite, Route, Target, Want,
};
use weir_policy::share::Share;

/// The route of a rule; `None` when it is broken (a problem says why).
pub fn lower(
    rule: &HttpRule,
    index: usize,
    of: &VirtualService,
    clusters: &mut Clusters<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Route>> {
    let name = if rule.name.is_empty() { format!("{}/{}/{index}", of.namespace, of.name) } else { rule.name.clone() };
    let mut action = match &rule.action {
        Words::Broken => return None,
        Words::Redirect(written) => Action::Redirect(Redirect {
            status: written.status,
            scheme: written.scheme.as_deref().map(Into::into),
            authority: written.authority.as_deref().map(Into::into),
            path: written.uri.as_deref().map(Into::into),
            port: written.port,
        }),
        Words::Direct { status, body } => Action::Direct(Direct { status: *status, body: body.as_slice().into() }),
        Words::Route(destinations) => Action::Forward(forward(rule, destinations, of, clusters, problems)),
    };
    let mut origins = origins::of_route(&rule.at);
    let mut chain = chain(rule);
    if let Action::Forward(forward) = &mut action
        && let Words::Route(written) = &rule.action
        && let Some(place) = clusters.scopes.upstream(rule, of, written, clusters.graph, problems)
    {
        forward.fault = fault(rule).map(Arc::new);
        chain.filters.retain(|filter| !matches!(filter, Filter::Fault(_)));
        origins.set("faultScope", Source::Policy, place);
    }
    let headers = edits(&rule.headers, &rule.name);
    Some(Arc::new(Route { name: name.into(), action, headers, chain, origins, place: rule.place.clone() }))
}

fn forward(
    rule: &HttpRule,
    written: &[Weighted],
    of: &VirtualService,
    clusters: &mut Clusters<'_>,
    problems: &mut Vec<Problem>,
) -> Forward {
    let several = written.len() > 1;
    let chosen = written.iter().enumerate().filter(|(_, one)| !several || one.weight > 0);
    let mut destinations: Vec<Destination> =
        chosen.map(|(nth, one)| destination(rule, nth, one, several, of, clusters, problems)).collect();
    // It stays as long as the plan, and nearly always has one.
    destinations.shrink_to_fit();
    let total_weight = destinations.iter().map(|one| one.weight).sum::<u64>().max(1);
    let rewrite = rule.rewrite.as_ref().and_then(|rewrite| match (&rewrite.uri, &rewrite.regex) {
        (_, Some((pattern, substitution))) => Some(Rewrite::Regex {
            pattern: re2::search(&pattern.value).ok()?,
            substitution: groups(substitution).into(),
        }),
        (Some(uri), None) => Some(Rewrite::Prefix(uri.as_str().into())),
        (None, None) => None,
    });
    let authority = rule.rewrite.as_ref().and_then(|rewrite| rewrite.authority.clone());
    let authority = authority.or_else(|| host_of(&rule.headers.request)).map(Into::into);
    let mirrors = rule.mirrors.iter().filter_map(|mirror| mirror_of(mirror, of, clusters, problems)).collect();
    Forward { destinations, total_weight, rewrite, authority, mirrors, fault: None }
}

fn mirror_of(
    written: &MirrorWords,
    of: &VirtualService,
    clusters: &mut Clusters<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Mirror> {
    match target(&written.to, &of.namespace, clusters, problems) {
        Target::Cluster(cluster) => Some(Mirror { cluster, share: Share::of_percent(written.percentage) }),
        // A problem says why; the requests themselves are not concerned.
        Target::Unknown(_) | Target::NotEnforced(_) => None,
    }
    .filter(|mirror| mirror.share != Share::NONE)
}

/// What requests of a rule pass first, in istiod's order: fault, then CORS. Envoy knows CORS on forwarding routes only.
fn chain(rule: &HttpRule) -> Chain {
    let cors = rule.cors.as_ref().filter(|_| matches!(rule.action, Words::Route(_))).map(super::cors::lower);
    Chain { filters: fault(rule).map(Filter::Fault).into_iter().chain(cors.map(Filter::Cors)).collect() }
}

fn fault(rule: &HttpRule) -> Option<fault::Rules> {
    rule.fault.as_ref().map(super::fault::lower).filter(|rules| !rules.is_idle())
}

/// RE2's `\1` is our `${1}`.
fn groups(substitution: &str) -> String {
    let mut out = String::new();
    let mut characters = substitution.chars();
    while let Some(character) = characters.next() {
        match character {
            '$' => out.push_str("$$"),
            '\\' => match characters.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

fn destination(
    rule: &HttpRule,
    nth: usize,
    written: &Weighted,
    several: bool,
    of: &VirtualService,
    clusters: &mut Clusters<'_>,
    problems: &mut Vec<Problem>,
) -> Destination {
    let target = target(written, &of.namespace, clusters, problems);
    let index = match &target {
        Target::Cluster(index) => Some(*index),
        Target::Unknown(_) | Target::NotEnforced(_) => None,
    };
    let (retry, per_try) = match &rule.retries {
        Some(own) => {
            (super::retry::of_route(Some(own), clusters.compatibility, clusters.previous(index)), own.per_try.clone())
        }
        None => {
            let per_try = clusters.default_per_try(index);
            (clusters.default_retry(index), per_try.map(|value| At { value, place: rule.place.clone() }))
        }
    };
    let own = rule.retries.is_some().then_some(&rule.at);
    let origins = origins::of_destination(&rule.at, nth, &clusters.retry_origins(own, index));
    Destination {
        target,
        weight: if several { u64::from(written.weight) } else { 1 },
        headers: edits(&written.headers, &rule.name),
        authority: host_of(&written.headers.request).map(Into::into),
        timeout: timeout::lower(rule.timeout.as_ref(), per_try.as_ref(), problems),
        retry: retry.map(Arc::new),
        rates: Vec::new(),
        origins,
    }
}

fn target(written: &Weighted, namespace: &str, clusters: &mut Clusters<'_>, problems: &mut Vec<Problem>) -> Target {
    let host = &written.host;
    let mut unknown = |words: String, place, hint: &str| {
        problems.push(Problem::new(Code::UnknownDestination, place, words).hint(hint));
        Target::Unknown(host.value.as_str().into())
    };
    let subset = written.subset.as_ref().map(|subset| subset.value.as_str());
    let asked = clusters.ask(&host.value, namespace, written.port, subset);
    let found = asked.found;
    let Some(service) = asked.service else {
        let words = format!("no service has the host `{}`: requests to it get 503 NC", host.value);
        return unknown(words, host.place.clone(), "define it by a ServiceEntry, or mend the name");
    };
    match found {
        Ok(index) if clusters.facts(index).guarded => Target::NotEnforced(host.value.as_str().into()),
        Ok(index) => {
            let ports = &clusters.graph.services[service].ports;
            if written.port.is_none() && ports.len() > 1 {
                let words = format!(
                    "`{}` has {} ports and none is named: {} is used",
                    host.value,
                    ports.len(),
                    ports[0].number
                );
                let hint = "name one by `port: { number: … }`";
                problems.push(Problem::new(Code::AmbiguousPort, host.place.clone(), words).hint(hint));
            }
            Target::Cluster(index)
        }
        Err(Nowhere::Subset) => {
            let subset = written.subset.as_ref();
            let name = subset.map(|subset| subset.value.as_str()).unwrap_or_default();
            let words = format!("`{}` has no subset `{name}`: requests to it get 503 NC", host.value);
            let place = subset.map_or_else(|| host.place.clone(), |subset| subset.place.clone());
            unknown(words, place, "define it in a DestinationRule")
        }
        Err(Nowhere::Port | Nowhere::Host) => {
            let words = match written.port {
                Some(port) => format!("`{}` has no port {port}: requests to it get 503 NC", host.value),
                None => format!("`{}` has no ports: requests to it get 503 NC", host.value),
            };
            unknown(words, host.place.clone(), "name a port of the service")
        }
    }
}

/// A `host` that header operations set is the authority.
fn host_of(operations: &Operations) -> Option<String> {
    let all = operations.set.iter().chain(&operations.add);
    // Envoy fills in no variables there.
    all.into_iter().find(|(name, _)| is_host(name)).map(|(_, value)| value.replace("%%", "%"))
}

fn is_host(name: &str) -> bool {
    name == "host" || name == ":authority"
}

/// Header edits, less the host. `route` is the rule's name as the user wrote it.
pub fn edits(written: &Headers, route: &str) -> HeaderEdits {
    let side = |operations: &Operations| {
        let pairs = |pairs: &[(String, String)]| {
            let kept = pairs.iter().filter(|(name, _)| !is_host(name));
            // What is no value was refused as it was read.
            kept.filter_map(|(name, value)| Some((name.as_str().into(), Value::parse(value, route).ok()?))).collect()
        };
        Edits {
            set: pairs(&operations.set),
            add: pairs(&operations.add),
            remove: operations.remove.iter().filter(|name| !is_host(name)).map(|name| name.as_str().into()).collect(),
        }
    };
    HeaderEdits { request: side(&written.request), response: side(&written.response) }
}

/// The conditions of a rule's match block. Several fields of a header count as is safe for what the rule does: all of them
/// must say what lets a request through, one is enough for an answer of ours. In Envoy one always is.
pub fn conditions_of(rule: &Action, written: &HttpMatch, compatibility: Compatibility) -> Match {
    match (rule, compatibility) {
        (Action::Forward(_), Compatibility::Weir) => matching(written, Want::Every),
        (Action::Redirect(_) | Action::Direct(_), _) | (_, Compatibility::Istio) => conditions(written),
    }
}

/// The conditions of a match block that depend on the request; of several fields of a header one is enough.
pub fn conditions(written: &HttpMatch) -> Match {
    matching(written, Want::Value)
}

fn matching(written: &HttpMatch, value: fn(Pattern) -> Want) -> Match {
    let one = |found: &Option<At<StringMatch>>| found.as_ref().and_then(|found| pattern(&found.value));
    // Of a regular expression it says nothing, as in Envoy.
    let case = if written.ignore_case { Case::Ignored } else { Case::Matters };
    let wanted = |found: &Option<At<StringMatch>>| found.as_ref().map(|found| pattern(&found.value));
    let with = written.headers.iter().map(|(name, found)| {
        let want = match wanted(found) {
            None => Want::Present,
            Some(pattern) => value(pattern.unwrap_or_else(never)),
        };
        HeaderMatch { name: name.to_ascii_lowercase().into(), want }
    });
    let without = written.without_headers.iter().map(|(name, found)| {
        let want = match wanted(found) {
            None => Want::Absent,
            Some(pattern) => Want::Not(pattern.unwrap_or_else(never)),
        };
        HeaderMatch { name: name.to_ascii_lowercase().into(), want }
    });
    let query = written.query.iter().map(|(name, found)| QueryMatch {
        name: name.as_str().into(),
        value: wanted(found).map(|pattern| pattern.unwrap_or_else(never)),
    });
    Match {
        path: one(&written.uri),
        path_case: case,
        method: one(&written.method),
        scheme: one(&written.scheme),
        authority: one(&written.authority),
        headers: with.chain(without).collect(),
        query: query.collect(),
        port: written.port,
    }
}

/// Stands in for a pattern that was refused already: nothing is so long and has this name.
fn never() -> Pattern {
    Pattern::Exact(b"\0".as_slice().into())
}

/// A StringMatch; `None` for a regular expression that a problem was reported of.
pub fn pattern(found: &StringMatch) -> Option<Pattern> {
    match found {
        StringMatch::Exact(text) => Some(Pattern::Exact(text.as_bytes().into())),
        StringMatch::Prefix(text) => Some(Pattern::Prefix(text.as_bytes().into())),
        StringMatch::Regex(text) => re2::whole(text).ok().map(Pattern::Regex),
    }
}
