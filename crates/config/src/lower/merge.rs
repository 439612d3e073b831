//! Several documents for one host: what wins, and a warning that names both places.
//!
//! ```text
//!   weir    field by field; the first document that has a field wins it
//!   istio   the first whole trafficPolicy wins, subsets are added up
//! ```

use crate::graph::Graph;
use crate::kind::destination_rule::{DestinationRule, Pool, RetryPolicy, Subset, TrafficPolicy};
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use std::sync::Arc;
use weir_policy::plan::Compatibility;

/// The rules of one service, merged.
#[derive(Default, Debug)]
pub struct Merged {
    pub policy: TrafficPolicy,
    pub subsets: Vec<Subset>,
}

/// The rules by the service they are for; rules for unknown hosts are reported and left out.
pub fn group(
    graph: &Graph,
    rules: Vec<Arc<DestinationRule>>,
    compatibility: Compatibility,
    problems: &mut Vec<Problem>,
) -> HashMap<usize, Vec<Arc<DestinationRule>>> {
    let mut groups: HashMap<usize, Vec<Arc<DestinationRule>>> = HashMap::new();
    for rule in rules {
        let Some(service) = graph.find(&rule.host.value, &rule.namespace) else {
            let words = format!("no service has the host `{}`: this DestinationRule has no effect", rule.host.value);
            let hint = "define it by a ServiceEntry, or mend the name";
            problems.push(Problem::new(Code::UnknownDestination, rule.host.place.clone(), words).hint(hint));
            continue;
        };
        let group = groups.entry(service).or_default();
        if let Some(first) = group.first() {
            let how = match compatibility {
                Compatibility::Weir => "they are merged field by field, the first one wins a field",
                Compatibility::Istio => "the first whole trafficPolicy wins, this one is ignored",
            };
            let words = format!("`{}` has a DestinationRule at {} already: {how}", rule.host.value, first.place);
            problems.push(Problem::new(Code::SeveralRules, rule.place.clone(), words).hint("write them as one"));
        }
        group.push(rule);
    }
    groups
}

/// The rules of one service as one; `None` when there are none.
pub fn merge(rules: &[Arc<DestinationRule>], compatibility: Compatibility) -> Option<Merged> {
    let (first, others) = rules.split_first()?;
    let mut into = Merged { policy: first.policy.clone(), subsets: first.subsets.clone() };
    for rule in others {
        if compatibility == Compatibility::Weir {
            fill(&mut into.policy, &rule.policy);
        } else if into.policy.place.is_none() {
            into.policy = rule.policy.clone();
        }
        add_subsets(&mut into.subsets, &rule.subsets);
    }
    Some(into)
}

fn add_subsets(into: &mut Vec<Subset>, from: &[Subset]) {
    for subset in from {
        match into.iter_mut().find(|known| known.name == subset.name) {
            Some(known) => fill(&mut known.policy, &subset.policy),
            None => into.push(subset.clone()),
        }
    }
}

fn fill(into: &mut TrafficPolicy, from: &TrafficPolicy) {
    into.at.fill(&from.at, &["loadBalancer", "proxyProtocol", "retryBudget", "tls"]);
    match (&mut into.pool, &from.pool) {
        (Some(pool), Some(other)) => fill_pool(pool, other),
        (pool @ None, Some(other)) => *pool = Some(other.clone()),
        (_, None) => {}
    }
    match (&mut into.retry, &from.retry) {
        (Some(retry), Some(other)) => fill_retry(retry, other),
        (retry @ None, Some(other)) => *retry = Some(other.clone()),
        (_, None) => {}
    }
    match (&mut into.outlier, &from.outlier) {
        (Some(outlier), Some(other)) => outlier.fill(other),
        (outlier @ None, Some(other)) => *outlier = Some(other.clone()),
        (_, None) => {}
    }
    into.balance = into.balance.take().or_else(|| from.balance.clone());
    into.budget = into.budget.take().or_else(|| from.budget.clone());
    into.tls = into.tls.take().or_else(|| from.tls.clone());
    into.told = into.told.or(from.told);
    into.place = into.place.take().or_else(|| from.place.clone());
    for (port, policy) in &from.ports {
        match into.ports.iter_mut().find(|(known, _)| known == port) {
            Some((_, known)) => fill(known, policy),
            None => into.ports.push((*port, policy.clone())),
        }
    }
}

fn fill_pool(into: &mut Pool, from: &Pool) {
    *into = Pool {
        max_connections: into.max_connections.or(from.max_connections),
        connect_timeout: into.connect_timeout.or(from.connect_timeout),
        keepalive: into.keepalive.or(from.keepalive),
        tcp_idle: into.tcp_idle.or(from.tcp_idle),
        max_duration: into.max_duration.or(from.max_duration),
        max_pending: into.max_pending.or(from.max_pending),
        max_requests: into.max_requests.or(from.max_requests),
        per_connection: into.per_connection.or(from.per_connection),
        max_retries: into.max_retries.or(from.max_retries),
        http_idle: into.http_idle.or(from.http_idle),
        streams: into.streams.or(from.streams),
        speaks: into.speaks.or(from.speaks),
        ping: into.ping.or(from.ping),
    };
}

fn fill_retry(into: &mut RetryPolicy, from: &RetryPolicy) {
    into.retry_on = into.retry_on.take().or_else(|| from.retry_on.clone());
    into.retries = into.retries.or(from.retries);
    into.per_try = into.per_try.or(from.per_try);
    into.base = into.base.or(from.base);
    into.max = into.max.or(from.max);
    into.picks = into.picks.or(from.picks);
    into.non_idempotent = into.non_idempotent.or(from.non_idempotent);
    if into.codes.is_empty() {
        into.codes.clone_from(&from.codes);
    }
}

/// The policy of a port and a subset: a subset's blocks replace the host's; a port's replace both, and what the port
/// leaves out falls to the defaults.
pub fn effective(merged: Option<&Merged>, port: u16, subset: Option<&Subset>) -> TrafficPolicy {
    let Some(merged) = merged else { return TrafficPolicy::default() };
    let host = &merged.policy;
    let mut out = match subset {
        None => host.clone(),
        Some(subset) => {
            let own = &subset.policy;
            let mut at = own.at.clone();
            at.inherit(&host.at);
            TrafficPolicy {
                pool: own.pool.clone().or_else(|| host.pool.clone()),
                balance: own.balance.clone().or_else(|| host.balance.clone()),
                outlier: own.outlier.clone().or_else(|| host.outlier.clone()),
                retry: own.retry.clone().or_else(|| host.retry.clone()),
                budget: own.budget.clone().or_else(|| host.budget.clone()),
                tls: own.tls.clone().or_else(|| host.tls.clone()),
                told: own.told.or(host.told),
                ports: if own.ports.is_empty() { host.ports.clone() } else { own.ports.clone() },
                at,
                place: own.place.clone().or_else(|| host.place.clone()),
            }
        }
    };
    if let Some((_, own)) = out.ports.iter().find(|(number, _)| *number == port).cloned() {
        out.pool = own.pool;
        out.balance = own.balance;
        out.outlier = own.outlier;
        out.tls = own.tls;
        out.at.replace(&own.at, &["connectionPool", "loadBalancer", "outlierDetection", "tls"]);
    }
    out
}
