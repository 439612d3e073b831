//! EnvoyFilters → the plan, changed: after everything else is lowered, in the order of priority, then of documents.
//!
//! ```text
//!   filters ─► chosen (namespace, labels) ─► routes: retries, timeout │ chains: filters │ clusters │ trust
//! ```
//! Does not: read patches (`kind::envoy_filter` does).

mod chain;
mod route;

use super::origins::{Before, patched};
use crate::bundle::Bundle;
use crate::kind::envoy_filter::cluster::{ClusterPatch, ManagerPatch};
use crate::kind::envoy_filter::{Elsewhere, EnvoyFilter, Lists, Matches, Patch, Reach, Value};
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use std::sync::Arc;
use weir_policy::plan::{Plan, Upstream};
use weir_policy::{budget, effective, outlier};

/// A patch with the filter that it stands in.
#[derive(Clone, Copy)]
struct Chosen<'f> {
    filter: &'f EnvoyFilter,
    patch: &'f Patch,
}

/// Which listeners' routes are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Outbound,
    Gateway(u16),
}

impl Side {
    const fn takes(self, context: Reach) -> bool {
        matches!(
            (self, context),
            (_, Reach::Any) | (Self::Outbound, Reach::Outbound) | (Self::Gateway(_), Reach::Gateway)
        )
    }
}

/// The ports of the services that there are: a virtual host of the outbound listener has those of its service.
struct Ports(HashMap<Arc<str>, Vec<u16>>);

impl Ports {
    fn of(clusters: &[Arc<Upstream>]) -> Self {
        let mut ports: HashMap<Arc<str>, Vec<u16>> = HashMap::new();
        for upstream in clusters {
            ports.entry(Arc::clone(&upstream.service.host)).or_default().push(upstream.service.port);
        }
        Self(ports)
    }

    /// Has the route configuration of one of the host's ports this name and number?
    fn fits(&self, matches: &Matches, side: Side, host: &str) -> bool {
        let named = |port: u16| match side {
            Side::Outbound => matches.config.as_deref().is_none_or(|name| name == port.to_string()),
            Side::Gateway(_) => matches.config.as_deref().is_none_or(|name| name == format!("http.{port}")),
        };
        let is = |port: u16| named(port) && matches.listener.is_none_or(|wanted| wanted == port);
        match (side, self.0.get(host)) {
            (Side::Gateway(port), _) => is(port),
            (Side::Outbound, Some(ports)) => ports.iter().any(|port| is(*port)),
            // A host of no service, on whatever port.
            (Side::Outbound, None) => true,
        }
    }
}

/// Istio's root namespace: its filters hold everywhere.
const ROOT: &str = "istio-system";

/// Applies every EnvoyFilter that selects this workload.
pub fn apply(plan: &mut Plan, filters: &[Arc<EnvoyFilter>], bundle: &Bundle, problems: &mut Vec<Problem>) {
    let chosen = choose(filters, bundle, problems);
    if chosen.is_empty() {
        return;
    }
    let compatibility = plan.settings.compatibility;
    let mut limits = Vec::new();
    let ports = Ports::of(&plan.clusters);
    route::apply(&mut plan.outbound, Side::Outbound, &chosen, &ports, compatibility);
    chain::apply(&mut plan.outbound, Side::Outbound, &chosen, &ports, &mut limits, problems);
    for gateway in &mut plan.gateways {
        let side = Side::Gateway(gateway.port);
        route::apply(&mut gateway.table, side, &chosen, &ports, compatibility);
        chain::apply(&mut gateway.table, side, &chosen, &ports, &mut limits, problems);
    }
    plan.limits = limits;
    for of in &chosen {
        match &of.patch.value {
            Value::Cluster(value) => clusters(plan, of, value, problems),
            Value::Manager(value) => {
                let before = Before::of(effective::of_settings(&plan.settings));
                trust(plan, of.patch.context, value);
                let changed = before.changed(effective::of_settings(&plan.settings));
                patched(&mut plan.settings.origins, changed, &of.patch.place);
            }
            Value::Route(_) | Value::Host(_) | Value::Insert(..) => {}
        }
    }
}

fn choose<'f>(filters: &'f [Arc<EnvoyFilter>], bundle: &Bundle, problems: &mut Vec<Problem>) -> Vec<Chosen<'f>> {
    let options = &bundle.options;
    let mut ours: Vec<&EnvoyFilter> = Vec::new();
    for filter in filters.iter().map(AsRef::as_ref) {
        let here = filter.namespace == options.namespace || filter.namespace == ROOT;
        if filter.elsewhere == Elsewhere::Yes {
            let words = "`targetRefs` select gateways and waypoints of Kubernetes: this EnvoyFilter has no effect";
            problems.push(Problem::new(Code::NoEffect, filter.place.clone(), words).hint("use `workloadSelector`"));
        } else if here && filter.labels.iter().all(|label| options.labels.contains(label)) {
            ours.push(filter);
        } else {
            let words =
                format!("this EnvoyFilter does not select this workload, of the namespace {}", options.namespace);
            problems.push(Problem::new(Code::NoEffect, filter.place.clone(), words));
        }
    }
    // Those of the root namespace come first, as in Istio.
    ours.sort_by_key(|filter| (filter.namespace != ROOT, filter.priority));
    let patches = ours.into_iter().flat_map(|filter| filter.patches.iter().map(move |patch| Chosen { filter, patch }));
    let patches = patches.filter(|of| of.patch.matches.proxy == Elsewhere::No);
    let (inbound, chosen): (Vec<_>, Vec<_>) = patches.partition(|of| of.patch.context == Reach::Inbound);
    for of in inbound {
        let words = "weir has no inbound listener yet: this patch has no effect";
        problems.push(Problem::new(Code::NotEnforced, of.patch.place.clone(), words));
    }
    chosen
}

fn clusters(plan: &mut Plan, of: &Chosen<'_>, patch: &ClusterPatch, problems: &mut Vec<Problem>) {
    if let (Some(_), Lists::Append) = (patch.thresholds, of.patch.lists) {
        let words =
            "a merge appends to `thresholds`, and of several for one priority the first counts: nothing changes";
        let hint = "use `MERGE_AND_REPLACE_LIST`, or `connectionPool` of a DestinationRule";
        problems.push(Problem::new(Code::NoEffect, of.patch.place.clone(), words).hint(hint));
    }
    for upstream in &mut plan.clusters {
        if fits(upstream, &of.patch.matches) {
            let before = Before::of(effective::of_upstream(upstream));
            let upstream = Arc::make_mut(upstream);
            merge(upstream, patch, of.patch.lists);
            let changed = before.changed(effective::of_upstream(upstream));
            patched(&mut upstream.origins, changed, &of.patch.place);
        }
    }
}

fn fits(upstream: &Upstream, matches: &Matches) -> bool {
    matches.cluster.as_deref().is_none_or(|name| name == &*upstream.name)
        && matches.service.as_deref().is_none_or(|host| host == &*upstream.service.host)
        && matches.subset.as_deref().is_none_or(|subset| subset == &*upstream.service.subset)
        && matches.port.is_none_or(|port| port == upstream.service.port)
}

/// Envoy's panic threshold where nobody writes one.
const ENVOY_PANIC: u32 = 50;

fn merge(upstream: &mut Upstream, patch: &ClusterPatch, lists: Lists) {
    if let Some(patch) = &patch.outlier {
        let new = || outlier::Rules { min_health_percent: ENVOY_PANIC, ..outlier::Rules::default() };
        let rules = upstream.outlier.get_or_insert_with(new);
        // A written 0 switches a counter off.
        let counter = |count: u32| Some(count).filter(|count| *count > 0);
        if let Some(count) = patch.errors {
            rules.errors = counter(count);
        }
        if let Some(count) = patch.gateway {
            rules.gateway = counter(count);
        }
        rules.interval = patch.interval.unwrap_or(rules.interval);
        rules.base = patch.base.unwrap_or(rules.base);
        rules.longest = patch.longest.unwrap_or(rules.longest).max(rules.base);
        rules.jitter = patch.jitter.unwrap_or(rules.jitter);
        rules.max_percent = patch.max_percent.unwrap_or(rules.max_percent);
    }
    if let (Some(percent), Some(rules)) = (patch.panic, &mut upstream.outlier) {
        rules.min_health_percent = percent;
    }
    if let (Some(new), Lists::Replace) = (patch.thresholds, lists) {
        let rules = &mut upstream.inflight;
        // Envoy's own defaults: the list that istiod wrote is gone.
        rules.connections = new.connections.unwrap_or(1024);
        rules.pending = new.pending.unwrap_or(1024);
        rules.requests = new.requests.unwrap_or(1024);
        rules.retries = new.retries.unwrap_or(3);
        if let Some(written) = new.budget {
            // It takes the place of `max_retries`.
            upstream.budget = budget::Rules::Written(written);
            rules.retries = u32::MAX;
        }
    }
}

/// With `use_remote_address` the peer's address tells whether it is internal, and internal clients are obeyed.
fn trust(plan: &mut Plan, context: Reach, patch: &ManagerPatch) {
    if patch.use_remote_address != Some(true) || patch.internal.is_empty() {
        return;
    }
    let trust = &mut plan.settings.trust;
    if matches!(context, Reach::Any | Reach::Outbound) {
        trust.outbound.extend(&patch.internal);
    }
    if matches!(context, Reach::Any | Reach::Gateway) {
        trust.gateways.extend(&patch.internal);
    }
}
