//! HTTP_FILTER patches and `typed_per_filter_config`: the filters of a listener, as each of its routes has them.
//!
//! ```text
//!   fault ─ cors ─ [router]   + INSERT_* ─► slots ─► per route: its own configuration, the host's, or the listener's
//! ```
//! A limit of a listener is one bucket; one that a route or host brings is one bucket per route entry, as in Envoy.

use super::super::origins::{Before, patched};
use super::route::{is_host, is_route};
use super::{Chosen, Ports, Side};
use crate::kind::envoy_filter::filter::{Config, Filter as Words};
use crate::kind::envoy_filter::limit::LocalRateLimit;
use crate::kind::envoy_filter::{Insert, Matches, Value};
use crate::lower::limit;
use crate::problem::{Code, Problem};
use std::sync::Arc;
use weir_policy::effective;
use weir_policy::filter::{Chain, Filter};
use weir_policy::limit::{Action, Limit, LimitIndex, Rules};
use weir_policy::route::{Route, Table};

const FAULT: &str = "envoy.filters.http.fault";
const CORS: &str = "envoy.filters.http.cors";
const ROUTER: &str = "envoy.filters.http.router";

/// A filter of the listener.
struct Slot<'f> {
    name: &'f str,
    kind: Kind<'f>,
}

enum Kind<'f> {
    /// istiod's own: it does what the routes say.
    Fault,
    Cors,
    Inserted(Brought<'f>, Option<Limit>),
}

/// A configuration and whose it is.
#[derive(Clone, Copy)]
struct Brought<'f> {
    config: &'f Config,
    of: Chosen<'f>,
}

pub(super) fn apply(
    table: &mut Table,
    side: Side,
    chosen: &[Chosen<'_>],
    ports: &Ports,
    limits: &mut Vec<Arc<Rules>>,
    problems: &mut Vec<Problem>,
) {
    let here: Vec<Chosen<'_>> = chosen.iter().filter(|of| side.takes(of.patch.context)).copied().collect();
    let concerns = |of: &&Chosen<'_>| match &of.patch.value {
        Value::Insert(..) => true,
        Value::Route(patch) => !patch.per_filter.is_empty(),
        Value::Host(patch) => !patch.per_filter.is_empty(),
        Value::Cluster(_) | Value::Manager(_) => false,
    };
    let Some(last) = here.iter().rfind(concerns).map(|of| &of.patch.place) else { return };
    let slots = slots(&here, side, limits, problems);
    table.chain = Chain { filters: slots.iter().filter_map(listener_filter).collect() };
    for host in table.hosts_mut() {
        let name = Arc::clone(&host.name);
        for nth in 0..host.entries.len() {
            let then = &host.entries[nth].then;
            let chain = Own { host: &name, nth, side, here: &here, ports, limits }.chain(&slots, then);
            // Hosts are shared with other plans: only those that change are copied.
            if chain.filters.is_empty() && then.chain.filters.is_empty() {
                continue;
            }
            let before = Before::of(effective::of_route(then));
            let route = Arc::make_mut(&mut Arc::make_mut(host).entries[nth].then);
            route.chain = chain;
            let changed = before.changed(effective::of_route(route));
            patched(&mut route.origins, changed, last);
        }
    }
}

fn slots<'f>(
    here: &[Chosen<'f>],
    side: Side,
    limits: &mut Vec<Arc<Rules>>,
    problems: &mut Vec<Problem>,
) -> Vec<Slot<'f>> {
    let mut slots = vec![Slot { name: FAULT, kind: Kind::Fault }, Slot { name: CORS, kind: Kind::Cors }];
    for of in here {
        let Value::Insert(insert, words) = &of.patch.value else { continue };
        let Some(at) = place(&slots, *insert, of.patch.matches.anchor.as_deref()) else {
            let words = "the filter that this patch is to stand beside is not there: it has no effect";
            problems.push(Problem::new(Code::NoEffect, of.patch.place.clone(), words));
            continue;
        };
        let limit = match &words.config {
            Config::Limit(written) => Some(made(written, format!("{}@{}", id(of), listener(side)), limits)),
            Config::Fault(_) => None,
        };
        let kind = Kind::Inserted(Brought { config: &words.config, of: *of }, limit);
        slots.insert(at, Slot { name: &words.name, kind });
    }
    slots
}

fn place(slots: &[Slot<'_>], insert: Insert, anchor: Option<&str>) -> Option<usize> {
    match (insert, anchor) {
        (Insert::First, _) | (Insert::Before, None) => Some(0),
        (Insert::After, None) => Some(slots.len()),
        (Insert::Before, Some(ROUTER)) => Some(slots.len()),
        // Nothing runs behind the router.
        (Insert::After, Some(ROUTER)) => None,
        (_, Some(name)) => {
            let at = slots.iter().position(|slot| slot.name == name)?;
            Some(if insert == Insert::Before { at } else { at + 1 })
        }
    }
}

fn id(of: &Chosen<'_>) -> String {
    format!("{}/{}#{}", of.filter.namespace, of.filter.name, of.patch.index)
}

fn listener(side: Side) -> String {
    match side {
        Side::Outbound => "outbound".to_owned(),
        Side::Gateway(port) => port.to_string(),
    }
}

fn made(written: &LocalRateLimit, id: String, limits: &mut Vec<Arc<Rules>>) -> Limit {
    let rules = Arc::new(limit::lower(written, id.into()));
    let index = LimitIndex(limits.len() as u32);
    limits.push(Arc::clone(&rules));
    Limit { rules, index, actions: written.actions.clone() }
}

/// What a slot does to requests that no route takes.
fn listener_filter(slot: &Slot<'_>) -> Option<Filter> {
    match &slot.kind {
        Kind::Fault | Kind::Cors => None,
        Kind::Inserted(Brought { config: Config::Fault(rules), .. }, _) => Some(Filter::Fault(rules.clone())),
        Kind::Inserted(_, limit) => limit.clone().map(Filter::Limit),
    }
}

/// One entry of a virtual host.
struct Own<'a, 'f> {
    host: &'a str,
    nth: usize,
    side: Side,
    here: &'a [Chosen<'f>],
    ports: &'a Ports,
    limits: &'a mut Vec<Arc<Rules>>,
}

impl<'f> Own<'_, 'f> {
    fn chain(&mut self, slots: &[Slot<'f>], route: &Route) -> Chain {
        let actions = self.actions(route);
        let filters = slots.iter().filter_map(|slot| self.filter(slot, route, &actions)).collect();
        Chain { filters }
    }

    fn filter(&mut self, slot: &Slot<'f>, route: &Route, actions: &[Vec<Action>]) -> Option<Filter> {
        if let Kind::Inserted(Brought { of, .. }, _) = &slot.kind
            && !self.ports.fits(&of.patch.matches, self.side, self.host)
        {
            return None;
        }
        let own = self.brought(slot.name, route);
        match (own, &slot.kind) {
            (Some(Brought { config: Config::Fault(rules), .. }), Kind::Fault | Kind::Inserted(..)) => {
                Some(Filter::Fault(rules.clone())).filter(|_| !rules.is_idle())
            }
            (Some(Brought { config: Config::Limit(written), of }), Kind::Inserted(..)) => {
                let id = format!("{}@{}/{}/{}/{}", id(&of), listener(self.side), self.host, route.name, self.nth);
                Some(described(made(written, id, self.limits), actions))
            }
            (_, Kind::Fault) => kept(route, |filter| matches!(filter, Filter::Fault(_))),
            (_, Kind::Cors) => kept(route, |filter| matches!(filter, Filter::Cors(_))),
            (None, Kind::Inserted(Brought { config: Config::Fault(rules), .. }, _)) => {
                Some(Filter::Fault(rules.clone()))
            }
            (None, Kind::Inserted(_, limit)) => limit.clone().map(|limit| described(limit, actions)),
        }
    }

    fn is_mine(&self, matches: &Matches) -> bool {
        is_host(matches, self.host) && self.ports.fits(matches, self.side, self.host)
    }

    /// The last configuration that the route brings for a filter, or else its host.
    fn brought(&self, name: &str, route: &Route) -> Option<Brought<'f>> {
        let mine = self.here.iter().filter(|of| self.is_mine(&of.patch.matches));
        let find = |of: &Chosen<'f>, filters: &'f [Words]| {
            let found = filters.iter().find(|filter| filter.name == name)?;
            Some(Brought { config: &found.config, of: *of })
        };
        let mut by_route =
            mine.clone().filter(|of| is_route(&of.patch.matches, route)).filter_map(|of| match &of.patch.value {
                Value::Route(patch) => find(of, &patch.per_filter),
                _ => None,
            });
        let mut by_host = mine.filter_map(|of| match &of.patch.value {
            Value::Host(patch) => find(of, &patch.per_filter),
            _ => None,
        });
        by_route.next_back().or_else(|| by_host.next_back())
    }

    /// `rate_limits` of the route, or else of its host.
    fn actions(&self, route: &Route) -> Vec<Vec<Action>> {
        let (mut by_route, mut by_host) = (Vec::new(), Vec::new());
        for of in self.here.iter().filter(|of| self.is_mine(&of.patch.matches)) {
            match &of.patch.value {
                Value::Route(patch) if is_route(&of.patch.matches, route) => {
                    by_route.extend(patch.rate_limits.iter().cloned());
                }
                Value::Host(patch) => by_host.extend(patch.rate_limits.iter().cloned()),
                _ => {}
            }
        }
        if by_route.is_empty() { by_host } else { by_route }
    }
}

fn described(limit: Limit, actions: &[Vec<Action>]) -> Filter {
    let actions = if limit.actions.is_empty() { actions.to_vec() } else { limit.actions };
    Filter::Limit(Limit { actions, ..limit })
}

fn kept(route: &Route, is: impl Fn(&Filter) -> bool) -> Option<Filter> {
    route.chain.filters.iter().find(|filter| is(filter)).cloned()
}
