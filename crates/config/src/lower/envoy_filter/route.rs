//! HTTP_ROUTE and VIRTUAL_HOST patches: retries and timeouts of routes.
//!
//! As in Envoy a virtual host's policy holds for routes that have none of their own. Does not: touch filters.

use super::super::origins::{Before, patched};
use super::{Chosen, Ports, Side};
use crate::kind::envoy_filter::route::RetryPatch;
use crate::kind::envoy_filter::{ActionKind, Lists, Matches, Value};
use std::sync::Arc;
use std::time::Duration;
use weir_policy::effective;
use weir_policy::plan::Compatibility;
use weir_policy::retry::{BackOff, Conditions, NonIdempotent, Previous, Rules};
use weir_policy::route::{Action, Destination, Route, Table};

pub(super) fn apply(table: &mut Table, side: Side, chosen: &[Chosen<'_>], ports: &Ports, compatibility: Compatibility) {
    let here: Vec<&Chosen<'_>> = chosen.iter().filter(|of| side.takes(of.patch.context)).collect();
    for host in table.hosts_mut() {
        let is_here = |of: &&&Chosen<'_>| {
            is_host(&of.patch.matches, &host.name) && ports.fits(&of.patch.matches, side, &host.name)
        };
        let here: Vec<_> = here.iter().filter(is_here).collect();
        // Hosts are shared with other plans: only those that change are copied.
        if !host.entries.iter().any(|entry| here.iter().any(|of| changes(of, &entry.then))) {
            continue;
        }
        for entry in &mut Arc::make_mut(host).entries {
            for of in &here {
                if changes(of, &entry.then) {
                    change(Arc::make_mut(&mut entry.then), of, compatibility);
                }
            }
        }
    }
}

/// Istio names a virtual host `HOST:PORT`; the host alone will do.
pub(super) fn is_host(matches: &Matches, host: &str) -> bool {
    let is = |name: &str| {
        name == host || name.rsplit_once(':').is_some_and(|(front, port)| front == host && port.parse::<u16>().is_ok())
    };
    matches.host.as_deref().is_none_or(is) && matches.domain.as_deref().is_none_or(is)
}

pub(super) fn is_route(matches: &Matches, route: &Route) -> bool {
    let is_action = match matches.action {
        None | Some(ActionKind::Any) => true,
        Some(ActionKind::Route) => matches!(route.action, Action::Forward(_)),
        Some(ActionKind::Redirect) => matches!(route.action, Action::Redirect(_)),
        Some(ActionKind::Direct) => matches!(route.action, Action::Direct(_)),
    };
    is_action && matches.route.as_deref().is_none_or(|name| name == &*route.name)
}

/// Routes are shared by the matches of a rule: only those that change are copied.
fn changes(of: &Chosen<'_>, route: &Route) -> bool {
    let Action::Forward(_) = route.action else { return false };
    match &of.patch.value {
        Value::Route(patch) => is_route(&of.patch.matches, route) && (patch.retry.is_some() || patch.timeout.is_some()),
        Value::Host(patch) => patch.retry.is_some(),
        Value::Cluster(_) | Value::Manager(_) | Value::Insert(..) => false,
    }
}

fn change(route: &mut Route, of: &Chosen<'_>, compatibility: Compatibility) {
    let Action::Forward(forward) = &mut route.action else { return };
    for destination in &mut forward.destinations {
        let before = Before::of(effective::of_destination(destination));
        match &of.patch.value {
            Value::Route(patch) => {
                if let Some(retry) = &patch.retry {
                    merge(destination, retry, of.patch.lists, compatibility);
                }
                if let Some(timeout) = patch.timeout {
                    destination.timeout.whole = Some(timeout).filter(|timeout| !timeout.is_zero());
                }
            }
            Value::Host(patch) => {
                if let (Some(retry), None) = (&patch.retry, &destination.retry) {
                    merge(destination, retry, of.patch.lists, compatibility);
                }
            }
            Value::Cluster(_) | Value::Manager(_) | Value::Insert(..) => {}
        }
        let changed = before.changed(effective::of_destination(destination));
        patched(&mut destination.origins, changed, &of.patch.place);
    }
}

fn merge(destination: &mut Destination, patch: &RetryPatch, lists: Lists, compatibility: Compatibility) {
    let mut rules = destination.retry.as_deref().cloned().unwrap_or_else(|| empty(compatibility));
    rules.on = patch.on.unwrap_or(rules.on);
    rules.attempts = patch.attempts.unwrap_or(rules.attempts);
    rules.picks = patch.picks.unwrap_or(rules.picks);
    if lists == Lists::Replace {
        if !patch.codes.is_empty() {
            rules.codes.clear();
        }
        if !patch.headers.is_empty() {
            rules.headers.clear();
        }
        if !patch.request_headers.is_empty() {
            rules.request_headers.clear();
        }
    }
    rules.codes.extend(&patch.codes);
    rules.headers.extend(patch.headers.iter().cloned());
    rules.request_headers.extend(patch.request_headers.iter().cloned());
    rules.rate_limited = patch.rate_limited.or(rules.rate_limited);
    if let Some(base) = patch.base {
        rules.back_off = BackOff { base, max: base * 10 };
    }
    if let Some(max) = patch.max {
        rules.back_off.max = max.max(rules.back_off.base);
    }
    if patch.avoids_previous {
        rules.previous = Previous::Avoid;
    }
    if let Some(per_try) = patch.per_try {
        destination.timeout.per_try = Some(per_try).filter(|length| *length > Duration::ZERO);
    }
    destination.retry = (rules.attempts > 0).then(|| Arc::new(rules));
}

/// An Envoy RetryPolicy that nobody wrote into: one retry, and no condition to have it.
fn empty(compatibility: Compatibility) -> Rules {
    let non_idempotent = match compatibility {
        Compatibility::Istio => NonIdempotent::Retry,
        Compatibility::Weir => NonIdempotent::Guard,
    };
    Rules {
        attempts: 1,
        on: Conditions::default(),
        codes: Vec::new(),
        previous: Previous::Allow,
        picks: 1,
        non_idempotent,
        ..Rules::default()
    }
}
