//! `tls[]` and `tcp[]` of VirtualServices, and services that are not HTTP → [`weir_policy::tcp`].
//!
//! ```text
//!   Gateway server ─► PASSTHROUGH: tls[] by name │ AUTO_PASSTHROUGH: each cluster by its name │ else: tcp[]
//!   ServiceEntry port ─► a listener on loopback: tls[], tcp[] of VirtualServices that name its host, else the service
//! ```

use super::clusters::Clusters;
use super::scope::Scope;
use super::tables::{admitted, qualified};
use crate::bundle::Bundle;
use crate::decode::At;
use crate::kind::gateway::{Gateway as Words, Server, Serves};
use crate::kind::l4::{L4Match, L4Route, L4Rule};
use crate::kind::virtual_service::VirtualService;
use crate::names::{self, Protocol};
use crate::problem::{Code, Problem};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use weir_policy::plan::{Gateway, Listener};
use weir_policy::tcp::{Destination, Rule, Rules, Target};
use weir_policy::tls::Carries;

/// A server of a port, with its Gateway and that one's name.
type Served<'s> = (String, &'s Words, &'s Server);

/// Where the connections of a Gateway's port go that carry no requests.
pub fn gateway(
    port: u16,
    servers: &[Served<'_>],
    services: &[Arc<VirtualService>],
    clusters: &mut Clusters<'_>,
    bundle: &Bundle,
    problems: &mut Vec<Problem>,
) -> Rules {
    let mut rules = Rules::default();
    for (name, gateway, server) in servers {
        if matches!(server.serves, Serves::PassedByCluster) {
            by_cluster(gateway, server, clusters, &mut rules);
        }
        for of in services.iter().filter(|of| of.export.reaches(&gateway.namespace)) {
            let is = |found: &str| qualified(found, &of.namespace) == *name;
            if !of.gateways.iter().any(|gateway| is(&gateway.value)) {
                continue;
            }
            let here = |found: &[String]| found.is_empty() || found.iter().any(|found| is(found));
            let at = Place { port, here: &here, bundle };
            match server.serves {
                Serves::Passed => pass(of, gateway, server, &at, clusters, &mut rules, problems),
                Serves::Ended(_, Carries::Bytes) => {
                    let let_in = |host| admitted(host, of, gateway, server);
                    let names: Vec<Arc<str>> = of.hosts.iter().flat_map(let_in).map(Arc::from).collect();
                    if !names.is_empty() {
                        lower(of, &of.tcp, &names, &at, clusters, &mut rules.plain, problems);
                    }
                }
                Serves::Clear(Carries::Bytes) => lower(of, &of.tcp, &[], &at, clusters, &mut rules.plain, problems),
                Serves::Clear(Carries::Http) | Serves::Ended(_, Carries::Http) | Serves::PassedByCluster => {}
            }
        }
    }
    rules
}

/// What conditions on the listener are asked of.
struct Place<'p> {
    port: u16,
    /// Are these gateways this one?
    here: &'p dyn Fn(&[String]) -> bool,
    bundle: &'p Bundle,
}

impl Place<'_> {
    fn applies(&self, block: &L4Match) -> bool {
        let options = &self.bundle.options;
        block.port.is_none_or(|port| port == self.port)
            && (self.here)(&block.gateways)
            && block.source_labels.iter().all(|label| options.labels.contains(label))
            && block.source_namespace.as_ref().is_none_or(|namespace| *namespace == options.namespace)
    }
}

/// The `tls[]` of a VirtualService, for the names that the server lets in.
fn pass(
    of: &VirtualService,
    gateway: &Words,
    server: &Server,
    at: &Place<'_>,
    clusters: &mut Clusters<'_>,
    rules: &mut Rules,
    problems: &mut Vec<Problem>,
) {
    for (number, rule) in of.tls.iter().enumerate() {
        for block in rule.matches.iter().filter(|block| at.applies(block)) {
            let names: Vec<Arc<str>> =
                block.names.iter().flat_map(|name| narrowed(name, of, gateway, server)).collect();
            if !names.is_empty() {
                let block = L4Match { names, ..block.clone() };
                rules.passed.push(entry(of, rule, number, &block, clusters, problems));
            }
        }
    }
}

/// The name, where the server lets all of it in; else what it lets in of it.
fn narrowed(name: &Arc<str>, of: &VirtualService, gateway: &Words, server: &Server) -> Vec<Arc<str>> {
    let written = At { value: name.to_string(), place: server.place.clone() };
    let let_in = admitted(&written, of, gateway, server);
    if let_in.iter().any(|pattern| **pattern == **name) {
        return vec![Arc::clone(name)];
    }
    let_in.into_iter().map(Arc::from).collect()
}

/// Rules for connections; those without their own names have `names`.
fn lower(
    of: &VirtualService,
    written: &[L4Rule],
    names: &[Arc<str>],
    at: &Place<'_>,
    clusters: &mut Clusters<'_>,
    into: &mut Vec<Rule>,
    problems: &mut Vec<Problem>,
) {
    let any = L4Match {
        names: Vec::new(),
        subnets: Vec::new(),
        port: None,
        source_labels: Vec::new(),
        source_namespace: None,
        gateways: Vec::new(),
    };
    for (number, rule) in written.iter().enumerate() {
        let blocks = if rule.matches.is_empty() { std::slice::from_ref(&any) } else { &rule.matches };
        for block in blocks.iter().filter(|block| at.applies(block)) {
            let names = if block.names.is_empty() { names.to_vec() } else { block.names.clone() };
            let block = L4Match { names, ..block.clone() };
            into.push(entry(of, rule, number, &block, clusters, problems));
        }
    }
}

fn entry(
    of: &VirtualService,
    rule: &L4Rule,
    number: usize,
    block: &L4Match,
    clusters: &mut Clusters<'_>,
    problems: &mut Vec<Problem>,
) -> Rule {
    let routes = rule.routes.iter().map(|route| destination(route, of, clusters, problems));
    let destinations = routes.collect();
    // The answers are used up here: nothing of this is kept for the next bundle.
    drop(clusters.asked());
    Rule {
        name: format!("{}/{}#{number}", of.namespace, of.name).into(),
        names: block.names.clone(),
        subnets: block.subnets.clone(),
        destinations,
        place: rule.place.clone(),
    }
}

fn destination(
    route: &L4Route,
    of: &VirtualService,
    clusters: &mut Clusters<'_>,
    problems: &mut Vec<Problem>,
) -> Destination {
    let written = &route.destination;
    let subset = written.subset.as_ref().map(|subset| subset.value.as_str());
    let found = clusters.ask(&written.host.value, &of.namespace, written.port, subset).found;
    let target = match found {
        Ok(index) if clusters.facts(index).guarded => Target::NotEnforced,
        Ok(index) => Target::Cluster(index),
        Err(_) => {
            let words = format!(
                "`{}` is known nowhere with that port and subset: its connections are ended",
                written.host.value
            );
            let problem = Problem::new(Code::UnknownDestination, written.host.place.clone(), words);
            problems.push(problem.hint("add a ServiceEntry, or mend the name"));
            Target::Nowhere
        }
    };
    Destination { target, weight: route.weight }
}

/// Each cluster that the server's hosts let in, by the name that other meshes call it by.
fn by_cluster(gateway: &Words, server: &Server, clusters: &mut Clusters<'_>, rules: &mut Rules) {
    for index in 0..clusters.graph.services.len() {
        let service = Arc::clone(&clusters.graph.services[index]);
        let let_in = server.hosts.iter().any(|host| {
            let (namespace, pattern) = host.value.split_once('/').unwrap_or(("*", &host.value));
            let from = match namespace {
                "*" => true,
                "." => service.namespace == gateway.namespace,
                name => service.namespace == name,
            };
            from && super::tables::covers(&pattern.to_ascii_lowercase(), &service.host)
        });
        if !let_in {
            continue;
        }
        let subsets = clusters.subsets(index);
        for port in &service.ports {
            for subset in std::iter::once(None).chain(subsets.iter().map(|name| Some(name.as_str()))) {
                let Ok(found) = clusters.find(index, Some(port.number), subset) else { continue };
                let name = format!("outbound_.{}_.{}_.{}", port.number, subset.unwrap_or_default(), service.host);
                rules.passed.push(Rule {
                    name: name.as_str().into(),
                    names: vec![name.to_ascii_lowercase().into()],
                    subnets: Vec::new(),
                    destinations: vec![Destination { target: Target::Untouched(found), weight: 1 }],
                    place: server.place.clone(),
                });
            }
        }
    }
}

/// A listener for each address and port that stands for services which are not HTTP.
pub fn services(
    clusters: &mut Clusters<'_>,
    virtual_services: &[Arc<VirtualService>],
    scope: &Scope<'_>,
    gateways: &[Gateway],
    bundle: &Bundle,
    problems: &mut Vec<Problem>,
) -> Vec<Listener> {
    let mut out: BTreeMap<(IpAddr, u16), Listener> = BTreeMap::new();
    let of_mesh = |of: &&Arc<VirtualService>| {
        let mesh = of.gateways.is_empty() || of.gateways.iter().any(|gateway| gateway.value == "mesh");
        mesh && (!of.tls.is_empty() || !of.tcp.is_empty()) && scope.uses(of)
    };
    let ruling: Vec<&Arc<VirtualService>> = virtual_services.iter().filter(of_mesh).collect();
    for index in 0..clusters.graph.services.len() {
        let service = Arc::clone(&clusters.graph.services[index]);
        for port in &service.ports {
            let Some(kind) = names::protocol(&port.protocol) else { continue };
            let Ok(found) = clusters.find(index, Some(port.number), None) else { continue };
            if kind == Protocol::Http && clusters.rules(found).connection.told.is_some() {
                let words = format!(
                    "`proxyProtocol` is for TCP: port {} of `{}` is HTTP, and its connections are shared by clients",
                    port.number, service.host
                );
                problems.push(
                    Problem::new(Code::NoEffect, clusters.rules(found).place.clone(), words)
                        .hint("x-forwarded-for says who the client is"),
                );
            }
            if !matches!(kind, Protocol::Tcp | Protocol::Tls) {
                continue;
            }
            for &bind in &service.listens {
                if is_taken(SocketAddr::new(bind, port.number), gateways, &clusters.rules(found).endpoints) {
                    continue;
                }
                let target = if clusters.facts(found).guarded { Target::NotEnforced } else { Target::Cluster(found) };
                let mut rules = ruled(index, port.number, &ruling, clusters, bundle, problems);
                let own = Rule {
                    name: "default".into(),
                    names: if kind == Protocol::Tls { vec![service.host.as_str().into()] } else { Vec::new() },
                    subnets: Vec::new(),
                    destinations: vec![Destination { target, weight: 1 }],
                    place: service.place.clone(),
                };
                match kind {
                    Protocol::Tls => rules.passed.push(own),
                    _ => rules.plain.push(own),
                }
                join(&mut out, bind, port.number, &service, kind, rules, problems);
            }
        }
    }
    out.into_values().collect()
}

/// A port of a Gateway is not a service's; nor is one that the service is served at: it would call itself.
fn is_taken(at: SocketAddr, gateways: &[Gateway], endpoints: &[weir_policy::plan::Endpoint]) -> bool {
    gateways.iter().any(|gateway| gateway.port == at.port()) || endpoints.iter().any(|endpoint| endpoint.address == at)
}

/// The rules that VirtualServices have for a service's port.
fn ruled(
    index: usize,
    port: u16,
    ruling: &[&Arc<VirtualService>],
    clusters: &mut Clusters<'_>,
    bundle: &Bundle,
    problems: &mut Vec<Problem>,
) -> Rules {
    let mut rules = Rules::default();
    let here = |found: &[String]| found.is_empty() || found.iter().any(|found| found == "mesh");
    let at = Place { port, here: &here, bundle };
    for of in ruling {
        let service = &clusters.graph.services[index];
        let names_it = |host: &At<String>| {
            let known = clusters.graph.find(&host.value, &of.namespace);
            known.map_or_else(
                || super::tables::covers(&host.value.to_ascii_lowercase(), &service.host),
                |found| found == index,
            )
        };
        if !of.hosts.iter().any(names_it) {
            continue;
        }
        lower(of, &of.tls, &[], &at, clusters, &mut rules.passed, problems);
        lower(of, &of.tcp, &[], &at, clusters, &mut rules.plain, problems);
    }
    rules
}

/// Services of one address and port share its listener: TLS by its name; of those in the clear the first has it.
fn join(
    out: &mut BTreeMap<(IpAddr, u16), Listener>,
    bind: IpAddr,
    port: u16,
    service: &crate::graph::Service,
    kind: Protocol,
    rules: Rules,
    problems: &mut Vec<Problem>,
) {
    let place = service.place.clone();
    let listener = out.entry((bind, port)).or_insert_with(|| {
        let name = service.host.as_str().into();
        Listener { name, bind, port, tcp: Rules::default(), place: place.clone() }
    });
    if kind == Protocol::Tcp && !listener.tcp.plain.is_empty() {
        let words = format!(
            "{bind}:{port} stands for the service at {} already: nothing tells connections to `{}` apart",
            listener.place, service.host
        );
        let hint = "give each an address of its own, such as 127.0.0.2, in `addresses`";
        problems.push(Problem::new(Code::NoEffect, place, words).hint(hint));
        return;
    }
    listener.tcp.passed.extend(rules.passed);
    listener.tcp.plain.extend(rules.plain);
}
