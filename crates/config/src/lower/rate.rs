//! RateLimitPolicies and quotas → [`weir_policy::rate::Rules`], and to the routes whose requests they count.
//!
//! ```text
//!   route > subset with port > port > subset > service > gateway      the most specific policies of a request hold
//!   quotas of a service                                               always, beside them
//! ```
//! A rule has one set of cells for all its targets. Done when everything else is lowered: only routes that have limits
//! are copied. Does not: read documents.

use super::route::conditions;
use crate::decode::At;
use crate::graph::Graph;
use crate::kind::gateway::Gateway as GatewayWords;
use crate::kind::rate_limit_policy::{RateLimitPolicy, Rule};
use crate::kind::target::{Target, TargetKind};
use crate::kind::virtual_service::VirtualService;
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use std::sync::Arc;
use weir_policy::filter::Filter;
use weir_policy::origin::Source;
use weir_policy::place::Place;
use weir_policy::plan::{Plan, Upstream};
use weir_policy::rate::{Key, Limit, Override, RateIndex, Rules};
use weir_policy::route::{Action, Route, Table, Target as To};

/// What is known of the mesh beside the plan.
pub struct Known<'k> {
    pub graph: &'k Graph,
    pub services: &'k [Arc<VirtualService>],
    pub gateways: &'k [Arc<GatewayWords>],
}

/// Limits, and whom they are for.
pub struct Attached {
    pub at: Attachment,
    /// A part of the precedence, or beside it.
    pub rank: Rank,
    pub limits: Vec<Limit>,
    pub place: Place,
}

pub enum Attachment {
    /// The rule that stands there.
    Route(Place),
    Service {
        host: String,
        port: Option<u16>,
        subset: Option<String>,
    },
    /// Ports of its servers.
    Gateway(Vec<u16>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rank {
    Gateway,
    Service,
    Subset,
    Port,
    Both,
    Route,
    /// Quotas: beside whatever else there is.
    Always,
}

/// Lowers policies and puts them, and the quotas, to the routes of the plan.
pub fn apply(
    plan: &mut Plan,
    policies: &[Arc<RateLimitPolicy>],
    known: &Known<'_>,
    quotas: Vec<Attached>,
    problems: &mut Vec<Problem>,
) {
    let mut all = quotas;
    for policy in policies {
        let limits: Vec<Limit> = policy.rules.iter().map(|rule| add(plan, lower(rule, policy))).collect();
        let Some(first) = policy.rules.first() else { continue };
        for target in &policy.targets {
            if let Some((at, rank)) = attachment(target, known, plan, problems) {
                all.push(Attached { at, rank, limits: limits.clone(), place: first.place.clone() });
            }
        }
    }
    if all.is_empty() {
        return;
    }
    let (clusters, all) = (plan.clusters.clone(), All::of(&all));
    attach(&mut plan.outbound, None, &all, &clusters);
    for gateway in &mut plan.gateways {
        attach(&mut gateway.table, Some(gateway.port), &all, &clusters);
    }
}

/// What is attached, by what it is for.
struct All<'a> {
    routes: HashMap<&'a Place, Vec<&'a Attached>>,
    services: HashMap<&'a str, Vec<&'a Attached>>,
    gateways: Vec<&'a Attached>,
}

impl<'a> All<'a> {
    fn of(all: &'a [Attached]) -> Self {
        let mut out = Self { routes: HashMap::new(), services: HashMap::new(), gateways: Vec::new() };
        for of in all {
            match &of.at {
                Attachment::Route(place) => out.routes.entry(place).or_default().push(of),
                Attachment::Service { host, .. } => out.services.entry(host).or_default().push(of),
                Attachment::Gateway(_) => out.gateways.push(of),
            }
        }
        out
    }

    fn route(&self, place: &Place) -> &[&'a Attached] {
        self.routes.get(place).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The rules, with a place in the plan.
pub fn add(plan: &mut Plan, rules: Rules) -> Limit {
    let (rules, index) = (Arc::new(rules), RateIndex(plan.rates.len() as u32));
    plan.rates.push(Arc::clone(&rules));
    Limit { rules, index }
}

fn lower(rule: &Rule, of: &RateLimitPolicy) -> Rules {
    let id = format!("{}/{}#{}", of.namespace, of.name, rule.name);
    let values = |values: &[String]| {
        let one = |value: &String| (value != "*").then(|| Key::written([value.as_str()]).bytes().into());
        values.iter().map(one).collect()
    };
    let overrides = rule.overrides.iter();
    Rules {
        when: rule.matches.iter().map(conditions).collect(),
        key: rule.key.clone(),
        overrides: overrides.map(|over| Override { values: values(&over.values), amount: over.amount }).collect(),
        cost: rule.cost.clone(),
        mode: rule.mode,
        answer: rule.answer.clone(),
        shared: rule.shared.clone(),
        ..Rules::new(id.into(), rule.amount)
    }
}

fn attachment(
    target: &Target,
    known: &Known<'_>,
    plan: &Plan,
    problems: &mut Vec<Problem>,
) -> Option<(Attachment, Rank)> {
    match &target.kind {
        TargetKind::Route => route(target, known, problems).map(|place| (Attachment::Route(place), Rank::Route)),
        TargetKind::Gateway => {
            let wanted = target.name.value.as_str();
            let named = |of: &&Arc<GatewayWords>| of.name == wanted && of.namespace == target.namespace;
            let Some(gateway) = known.gateways.iter().find(named) else {
                let words = format!("there is no Gateway `{wanted}`: this policy is for nothing");
                problems.push(Problem::new(Code::UnknownGateway, target.name.place.clone(), words));
                return None;
            };
            let ports = gateway.servers.iter().map(|server| server.port).collect();
            Some((Attachment::Gateway(ports), Rank::Gateway))
        }
        TargetKind::Service { port, subset } => {
            let (host, namespace) = (&target.name, &target.namespace);
            let host = service(host, namespace, known.graph, problems)?;
            let part = |of: &Arc<Upstream>| {
                *of.service.host == *host
                    && port.is_none_or(|port| port == of.service.port)
                    && subset.as_deref().is_none_or(|subset| subset == &*of.service.subset)
            };
            if !plan.clusters.iter().any(part) {
                let words = format!("no request of this mesh goes to this port and subset of `{host}`");
                problems.push(unknown(
                    &target.name,
                    words,
                    "name a port of the service, and a subset that a rule uses",
                ));
            }
            let rank = match (port, subset) {
                (Some(_), Some(_)) => Rank::Both,
                (Some(_), None) => Rank::Port,
                (None, Some(_)) => Rank::Subset,
                (None, None) => Rank::Service,
            };
            Some((Attachment::Service { host, port: *port, subset: subset.clone() }, rank))
        }
        TargetKind::Workload => None,
    }
}

fn route(target: &Target, known: &Known<'_>, problems: &mut Vec<Problem>) -> Option<Place> {
    let name = &target.name.value;
    let found = name.split_once('/').and_then(|(service, route)| {
        let named = |of: &&Arc<VirtualService>| of.name == service && of.namespace == target.namespace;
        known.services.iter().filter(named).flat_map(|of| &of.http).find(|rule| rule.name == route)
    });
    if found.is_none() {
        let words = format!("no VirtualService in `{}` has the route `{name}`", target.namespace);
        problems.push(unknown(&target.name, words, "write VIRTUALSERVICE/ROUTE, with the `name` of a rule"));
    }
    found.map(|rule| rule.place.clone())
}

/// The full host that a name means.
pub fn service(name: &At<String>, namespace: &str, graph: &Graph, problems: &mut Vec<Problem>) -> Option<String> {
    let found = graph.find(&name.value, namespace);
    if found.is_none() {
        let words = format!("no service has the host `{}`", name.value);
        problems.push(unknown(name, words, "define it by a ServiceEntry, or mend the name"));
    }
    found.map(|index| graph.services[index].host.clone())
}

fn unknown(name: &At<String>, words: String, hint: &str) -> Problem {
    Problem::new(Code::UnknownDestination, name.place.clone(), words).hint(hint)
}

fn attach(table: &mut Table, port: Option<u16>, all: &All<'_>, clusters: &[Arc<Upstream>]) {
    let of_port = |of: &&&Attached| match (&of.at, port) {
        (Attachment::Gateway(ports), Some(port)) => ports.contains(&port),
        _ => false,
    };
    let here: Vec<&Attached> = all.gateways.iter().filter(of_port).copied().collect();
    table.chain.filters.extend(filters(&here));
    // Match blocks of a rule share it.
    let mut known: HashMap<*const Route, Option<Arc<Route>>> = HashMap::new();
    for host in table.hosts_mut() {
        for nth in 0..host.entries.len() {
            let old = &host.entries[nth].then;
            let new = known.entry(Arc::as_ptr(old)).or_insert_with(|| limited(old, &here, all, clusters)).clone();
            if let Some(new) = new {
                Arc::make_mut(host).entries[nth].then = new;
            }
        }
    }
}

fn filters(of: &[&Attached]) -> impl Iterator<Item = Filter> {
    of.iter().flat_map(|of| of.limits.iter().cloned().map(Filter::Rate))
}

/// The route with its limits; `None` when it has none.
fn limited(route: &Arc<Route>, gateway: &[&Attached], all: &All<'_>, clusters: &[Arc<Upstream>]) -> Option<Arc<Route>> {
    let own = all.route(&route.place);
    let mut new = Arc::clone(route);
    let to_route = if own.is_empty() && !matches!(route.action, Action::Forward(_)) { gateway } else { own };
    if let Some(first) = to_route.first() {
        let changed = Arc::make_mut(&mut new);
        changed.chain.filters.extend(filters(to_route));
        changed.origins.set("rateLimits", Source::Policy, first.place.clone());
    }
    let destinations = match &route.action {
        Action::Forward(forward) => forward.destinations.as_slice(),
        Action::Redirect(_) | Action::Direct(_) => &[],
    };
    for (nth, destination) in destinations.iter().enumerate() {
        let upstream = match &destination.target {
            To::Cluster(index) => clusters.get(index.0 as usize),
            To::Unknown(_) | To::NotEnforced(_) => None,
        };
        let chosen = of_destination(upstream, own, gateway, all);
        let Some(first) = chosen.first() else { continue };
        if let Action::Forward(forward) = &mut Arc::make_mut(&mut new).action {
            let destination = &mut forward.destinations[nth];
            destination.rates = chosen.iter().flat_map(|of| of.limits.iter().cloned()).collect();
            destination.origins.set("rateLimits", Source::Policy, first.place.clone());
        }
    }
    (!Arc::ptr_eq(&new, route)).then_some(new)
}

/// Whose limits hold for requests to a cluster: the highest rank's unless the route has its own, and the quotas.
fn of_destination<'a>(
    upstream: Option<&Arc<Upstream>>,
    route: &[&Attached],
    gateway: &[&'a Attached],
    all: &All<'a>,
) -> Vec<&'a Attached> {
    let host = upstream.and_then(|upstream| all.services.get(&*upstream.service.host));
    let fits = |of: &&&Attached| match (&of.at, upstream) {
        (Attachment::Service { port, subset, .. }, Some(upstream)) => {
            port.is_none_or(|port| port == upstream.service.port)
                && subset.as_deref().is_none_or(|subset| subset == &*upstream.service.subset)
        }
        _ => false,
    };
    let own: Vec<&Attached> = host.into_iter().flatten().filter(fits).copied().collect();
    let best = own.iter().map(|of| of.rank).filter(|rank| *rank != Rank::Always).max();
    let quotas = own.iter().copied().filter(|of| of.rank == Rank::Always);
    let policies: Vec<&Attached> = match best {
        _ if !route.is_empty() => Vec::new(),
        Some(best) => own.iter().copied().filter(|of| of.rank == best).collect(),
        None => gateway.to_vec(),
    };
    policies.into_iter().chain(quotas).collect()
}
