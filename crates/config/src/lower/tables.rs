//! Route tables: of the outbound listener, and of each Gateway port.

use super::clusters::Clusters;
use super::scope::Scope;
use super::{origins, route};
use crate::bundle::Bundle;
use crate::decode::At;
use crate::graph::canonical;
use crate::kind::gateway::{Gateway as Words, Server};
use crate::kind::http_match::HttpMatch;
use crate::kind::virtual_service::VirtualService;
use crate::problem::{Code, Problem};
use std::collections::hash_map::Entry as Entry_;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use weir_policy::filter::Chain;
use weir_policy::origin::Origins;
use weir_policy::place::Place;
use weir_policy::plan::Gateway;
use weir_policy::route::{Action, Destination, Entry, Forward, HeaderEdits, Match, Route, Table, Target, VirtualHost};
use weir_policy::timeout;

/// The rules of one host, as they are put together from several documents.
struct Host {
    patterns: Vec<String>,
    name: String,
    rules: Vec<Rule>,
    first: Place,
    /// VirtualServices that the rules are of.
    documents: usize,
}

/// One entry to be.
struct Rule {
    entry: Entry,
    /// Matches every request.
    open: bool,
}

/// What the listener is, for the conditions that depend on it.
enum At_<'l> {
    Mesh,
    Gateway(&'l [String]),
}

/// The outbound listener's table: a host for every service, with the rules of its VirtualServices or a default one.
pub fn outbound(
    clusters: &mut Clusters<'_>,
    services: &[Arc<VirtualService>],
    scope: &Scope<'_>,
    bundle: &Bundle,
    problems: &mut Vec<Problem>,
) -> Table {
    let namespace = &bundle.options.namespace;
    let mut hosts: Vec<Host> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for of in services.iter().filter(|of| binds(of, "mesh") && scope.uses(of)) {
        let rules = entries(of, &At_::Mesh, clusters, bundle, problems);
        for host in &of.hosts {
            let (key, patterns) = names(host, of, clusters, namespace);
            add(&mut hosts, &mut known, key, patterns, host, &rules, problems);
        }
    }
    for index in 0..clusters.graph.services.len() {
        let service = &clusters.graph.services[index];
        let key = canonical(&service.host, &service.namespace);
        if let Entry_::Vacant(place) = known.entry(key) {
            place.insert(hosts.len());
            let (patterns, name, first) = (service.aliases(namespace), service.host.clone(), service.place.clone());
            let rules = default_rules(index, clusters);
            hosts.push(Host { patterns, name, rules, first, documents: 1 });
        }
    }
    build(hosts, problems)
}

fn binds(of: &VirtualService, gateway: &str) -> bool {
    (of.gateways.is_empty() && gateway == "mesh") || of.gateways.iter().any(|found| found.value == gateway)
}

/// The key of a host, and the patterns that requests address it by.
fn names(host: &At<String>, of: &VirtualService, clusters: &Clusters<'_>, namespace: &str) -> (String, Vec<String>) {
    match clusters.graph.find(&host.value, &of.namespace) {
        Some(index) => {
            let service = &clusters.graph.services[index];
            (canonical(&service.host, &service.namespace), service.aliases(namespace))
        }
        None => {
            let name = canonical(&host.value, &of.namespace);
            let mut patterns = vec![name.clone()];
            let lower = host.value.to_ascii_lowercase();
            if lower != name {
                patterns.push(lower);
            }
            (name, patterns)
        }
    }
}

fn add(
    hosts: &mut Vec<Host>,
    known: &mut HashMap<String, usize>,
    key: String,
    patterns: Vec<String>,
    host: &At<String>,
    rules: &[Rule],
    problems: &mut Vec<Problem>,
) {
    let rules = rules.iter().map(|rule| Rule { entry: rule.entry.clone(), open: rule.open });
    match known.get(&key) {
        None => {
            known.insert(key, hosts.len());
            let (name, first) = (host.value.clone(), host.place.clone());
            hosts.push(Host { patterns, name, rules: rules.collect(), first, documents: 1 });
        }
        Some(index) => {
            let earlier = &mut hosts[*index];
            let words = format!(
                "`{}` has a VirtualService at {} already: the rules are put together",
                host.value, earlier.first
            );
            let hint = "Istio's sidecars use only one of them: write them as one";
            problems.push(Problem::new(Code::SeveralServices, host.place.clone(), words).hint(hint));
            earlier.rules.extend(rules);
            earlier.documents += 1;
        }
    }
}

/// The entries of a VirtualService on a listener: one per match block, as istiod makes them.
fn entries(
    of: &VirtualService,
    at: &At_<'_>,
    clusters: &mut Clusters<'_>,
    bundle: &Bundle,
    problems: &mut Vec<Problem>,
) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for (index, rule) in of.http.iter().enumerate() {
        let Some(then) = route::lower(rule, index, of, clusters, problems) else { continue };
        if let Some(before) = out.iter().find(|rule| rule.open) {
            let words =
                format!("this rule is never reached: the one at {} matches every request", before.entry.then.place);
            problems.push(Problem::new(Code::Unreachable, rule.place.clone(), words).hint("move it before that one"));
        }
        if rule.matches.is_empty() {
            out.push(Rule { entry: Entry { when: Match::default(), then: Arc::clone(&then) }, open: true });
        }
        for written in rule.matches.iter().filter(|written| applies(written, of, at, bundle)) {
            let when = route::conditions(written);
            let open = is_open(written);
            out.push(Rule { entry: Entry { when, then: Arc::clone(&then) }, open });
        }
    }
    out
}

fn is_open(written: &HttpMatch) -> bool {
    let HttpMatch { uri, scheme, method, authority, headers, without_headers, query, port, .. } = written;
    [uri, scheme, method, authority].into_iter().all(Option::is_none)
        && headers.is_empty()
        && without_headers.is_empty()
        && query.is_empty()
        && port.is_none()
}

/// Conditions on the listener and on this workload are decided here, once.
fn applies(written: &HttpMatch, of: &VirtualService, at: &At_<'_>, bundle: &Bundle) -> bool {
    let here = match at {
        At_::Mesh => written.gateways.is_empty() || written.gateways.iter().any(|gateway| gateway == "mesh"),
        At_::Gateway(names) => {
            written.gateways.is_empty()
                || written.gateways.iter().any(|gateway| names.contains(&qualified(gateway, &of.namespace)))
        }
    };
    here && written.source_labels.iter().all(|label| bundle.options.labels.contains(label))
        && written.source_namespace.as_ref().is_none_or(|namespace| *namespace == bundle.options.namespace)
}

/// A service without rules: to itself, by port, with the default policies.
fn default_rules(service: usize, clusters: &mut Clusters<'_>) -> Vec<Rule> {
    let node = &clusters.graph.services[service];
    let (ports, place) = (node.ports.iter().map(|port| port.number).collect::<Vec<_>>(), node.place.clone());
    let several = ports.len() > 1;
    let mut out = Vec::new();
    for (nth, port) in ports.iter().enumerate() {
        let Ok(index) = clusters.find(service, Some(*port), None) else { continue };
        let guarded = clusters.facts(index).guarded;
        let target = if guarded { Target::NotEnforced("".into()) } else { Target::Cluster(index) };
        let per_try = clusters.default_per_try(Some(index));
        let destination = Destination {
            target,
            weight: 1,
            headers: HeaderEdits::default(),
            authority: None,
            timeout: timeout::Rules { whole: None, per_try },
            retry: clusters.default_retry(Some(index)).map(Arc::new),
            origins: origins::of_retries(&clusters.retry_origins(None, Some(index))),
        };
        let forward = Forward {
            destinations: vec![destination],
            total_weight: 1,
            rewrite: None,
            authority: None,
            mirrors: Vec::new(),
        };
        let route = Route {
            name: "default".into(),
            action: Action::Forward(forward),
            headers: HeaderEdits::default(),
            origins: Origins::default(),
            chain: Chain::default(),
            place: place.clone(),
        };
        let then = Arc::new(route);
        if several {
            let when = Match { port: Some(*port), ..Match::default() };
            out.insert(nth, Rule { entry: Entry { when, then: Arc::clone(&then) }, open: false });
        }
        if nth == 0 {
            out.push(Rule { entry: Entry { when: Match::default(), then }, open: true });
        }
    }
    out.sort_by_key(|rule| rule.open);
    out
}

fn build(hosts: Vec<Host>, _: &mut Vec<Problem>) -> Table {
    let hosts = hosts.into_iter().map(|mut host| {
        if host.documents > 1 {
            // Rules without conditions go last, so that they do not hide the others.
            host.rules.sort_by_key(|rule| rule.open);
        }
        let entries = host.rules.into_iter().map(|rule| rule.entry).collect();
        (host.patterns, VirtualHost { name: host.name.into(), entries })
    });
    Table::build(hosts.collect())
}

/// `namespace/name` of a gateway as written in a VirtualService.
fn qualified(gateway: &str, namespace: &str) -> String {
    if gateway.contains('/') { gateway.to_owned() } else { format!("{namespace}/{gateway}") }
}

/// The listeners of all Gateways: servers of one port are one listener.
pub fn gateways(
    clusters: &mut Clusters<'_>,
    services: &[Arc<VirtualService>],
    gateways: &[Words],
    bundle: &Bundle,
    problems: &mut Vec<Problem>,
) -> Vec<Gateway> {
    let selected = |gateway: &&Words| gateway.selector.iter().all(|label| bundle.options.labels.contains(label));
    // Without labels of our own there is nothing to select by: every Gateway is ours.
    let ours: Vec<&Words> =
        gateways.iter().filter(|gateway| bundle.options.labels.is_empty() || selected(gateway)).collect();
    unknown_gateways(services, gateways, problems);
    let mut ports: BTreeMap<u16, Vec<(String, &Words, &Server)>> = BTreeMap::new();
    for gateway in ours {
        for server in &gateway.servers {
            let name = format!("{}/{}", gateway.namespace, gateway.name);
            ports.entry(server.port).or_default().push((name, gateway, server));
        }
    }
    ports.into_iter().map(|(port, servers)| listener(port, &servers, services, clusters, bundle, problems)).collect()
}

fn listener(
    port: u16,
    servers: &[(String, &Words, &Server)],
    services: &[Arc<VirtualService>],
    clusters: &mut Clusters<'_>,
    bundle: &Bundle,
    problems: &mut Vec<Problem>,
) -> Gateway {
    let mut hosts = Vec::new();
    let mut known = HashMap::new();
    for of in services {
        let bound: Vec<&(String, &Words, &Server)> = servers
            .iter()
            .filter(|(name, ..)| of.gateways.iter().any(|found| qualified(&found.value, &of.namespace) == *name))
            .filter(|(_, gateway, _)| of.export.reaches(&gateway.namespace))
            .collect();
        if bound.is_empty() {
            continue;
        }
        let names: Vec<String> = bound.iter().map(|(name, ..)| name.clone()).collect();
        let rules = entries(of, &At_::Gateway(&names), clusters, bundle, problems);
        for host in &of.hosts {
            let patterns: Vec<String> =
                bound.iter().flat_map(|(_, gateway, server)| admitted(host, of, gateway, server)).collect();
            for pattern in patterns.into_iter().collect::<HashSet<_>>() {
                add(&mut hosts, &mut known, pattern.clone(), vec![pattern], host, &rules, problems);
            }
        }
    }
    let (name, _, server) = &servers[0];
    let bind = server.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    Gateway { name: name.as_str().into(), bind, port, table: build(hosts, problems), place: server.place.clone() }
}

/// The hosts of a VirtualService that a server lets in: the narrower of the two names.
fn admitted(host: &At<String>, of: &VirtualService, gateway: &Words, server: &Server) -> Vec<String> {
    let wanted = if host.value == "*" { "*".to_owned() } else { canonical(&host.value, &of.namespace) };
    let both = server.hosts.iter().filter_map(|let_in| {
        let (namespace, pattern) = let_in.value.split_once('/').unwrap_or(("*", &let_in.value));
        let from = match namespace {
            "*" => true,
            "." => of.namespace == gateway.namespace,
            name => of.namespace == name,
        };
        let pattern = pattern.to_ascii_lowercase();
        if !from {
            None
        } else if covers(&pattern, &wanted) {
            Some(wanted.clone())
        } else {
            covers(&wanted, &pattern).then_some(pattern)
        }
    });
    both.collect()
}

/// Does the pattern match every host that the other one matches?
pub(crate) fn covers(pattern: &str, other: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => other.trim_start_matches('*').ends_with(suffix) && other != suffix,
        None => pattern == other,
    }
}

fn unknown_gateways(services: &[Arc<VirtualService>], gateways: &[Words], problems: &mut Vec<Problem>) {
    let known: HashSet<String> =
        gateways.iter().map(|gateway| format!("{}/{}", gateway.namespace, gateway.name)).collect();
    for of in services {
        for gateway in of.gateways.iter().filter(|gateway| gateway.value != "mesh") {
            if !known.contains(&qualified(&gateway.value, &of.namespace)) {
                let words = format!("there is no Gateway `{}`: nothing reaches these rules through it", gateway.value);
                problems.push(Problem::new(Code::UnknownGateway, gateway.place.clone(), words));
            }
        }
    }
}
