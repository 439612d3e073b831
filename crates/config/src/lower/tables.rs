//! Route tables: of the outbound listener, and of each Gateway port.

use super::clusters::{Asked, Clusters};
use super::hosts::Hosts;
use super::memory::{Hosted, Lowered, Shelf};
use super::scope::Scope;
use super::{origins, route, tcp, tls, unknown_hosts};
use crate::bundle::Bundle;
use crate::decode::At;
use crate::graph::canonical;
use crate::kind::gateway::{FirstBytes, Gateway as Words, Server, Serves};
use crate::kind::http_match::HttpMatch;
use crate::kind::outbound::Outbound;
use crate::kind::virtual_service::VirtualService;
use crate::problem::{Code, Problem};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use weir_policy::filter::Chain;
use weir_policy::origin::Origins;
use weir_policy::place::Place;
use weir_policy::plan::Gateway;
use weir_policy::route::{
    Action, Destination, Entry, Forward, HeaderEdits, Match, Named, Redirect, Route, Table, Target, VirtualHost,
};
use weir_policy::timeout;
use weir_policy::tls::Carries;

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
    unknown: Option<&Outbound>,
    bundle: &Bundle,
    kept: &mut Vec<Lowered>,
    problems: &mut Vec<Problem>,
) -> Table {
    let namespace = &bundle.options.namespace;
    let mut shelf = Shelf::new(std::mem::take(kept));
    kept.reserve(services.len());
    for of in services.iter().filter(|of| binds(of, "mesh") && scope.uses(of)) {
        let lowered = shelf.take(of).and_then(|mut old| old.holds(clusters).then_some(old));
        let mut lowered = lowered.unwrap_or_else(|| {
            let rules = Rules::of(of, &At_::Mesh, clusters, bundle);
            let hosts =
                (0..of.hosts.len()).map(|at| hosted(at, of, rules.host(&of.hosts[at].value), clusters, namespace));
            let hosts = hosts.collect();
            rules.lowered(of, hosts)
        });
        if clusters.renamed {
            for host in &mut lowered.hosts {
                *host = hosted(host.at, of, Arc::clone(&host.named.host), clusters, namespace);
            }
        }
        kept.push(lowered);
    }
    let mut hosts = Hosts::of(kept, problems);
    for (index, service) in clusters.graph.services.iter().enumerate() {
        if hosts.is_free(&service.canonical) {
            hosts.alone(clusters.own(index, |clusters| own(index, clusters, namespace)));
        }
    }
    if let Some(policy) = unknown.filter(|_| hosts.is_free("*"))
        && let Some(named) = unknown_hosts::anywhere(policy, clusters, problems)
    {
        hosts.alone(named);
    }
    hosts.table()
}

/// A service that no VirtualService is for.
fn own(index: usize, clusters: &mut Clusters<'_>, namespace: &str) -> Named {
    let entries = default_rules(index, clusters);
    let service = &clusters.graph.services[index];
    let host = VirtualHost { name: service.host.as_str().into(), entries };
    Named { patterns: shared(service.aliases(namespace)), host: Arc::new(host) }
}

fn shared(patterns: Vec<String>) -> Arc<[Arc<str>]> {
    patterns.into_iter().map(Arc::from).collect()
}

fn binds(of: &VirtualService, gateway: &str) -> bool {
    (of.gateways.is_empty() && gateway == "mesh") || of.gateways.iter().any(|found| found.value == gateway)
}

/// A host of a VirtualService with its key, and the patterns that requests address it by.
fn hosted(at: usize, of: &VirtualService, host: Arc<VirtualHost>, clusters: &Clusters<'_>, namespace: &str) -> Hosted {
    let written = &of.hosts[at].value;
    let (key, patterns) = match clusters.graph.find(written, &of.namespace) {
        Some(index) => {
            let service = &clusters.graph.services[index];
            (service.canonical.clone(), service.aliases(namespace))
        }
        None => {
            let name = canonical(written, &of.namespace);
            let mut patterns = vec![name.clone()];
            let lower = written.to_ascii_lowercase();
            if lower != name {
                patterns.push(lower);
            }
            (name, patterns)
        }
    };
    Hosted { at, key: key.into(), named: Named { patterns: shared(patterns), host } }
}

/// The rules of a VirtualService on a listener, as they are lowered.
struct Rules {
    entries: Vec<Entry>,
    /// Of each: does it match every request?
    open: Vec<bool>,
    asked: Vec<Asked>,
    problems: Vec<Problem>,
}

impl Rules {
    fn of(of: &VirtualService, at: &At_<'_>, clusters: &mut Clusters<'_>, bundle: &Bundle) -> Self {
        let mut rules = Self { entries: Vec::new(), open: Vec::new(), asked: Vec::new(), problems: Vec::new() };
        rules.lower(of, at, clusters, bundle);
        rules.asked = clusters.asked();
        rules
    }

    /// A virtual host with these rules.
    fn host(&self, name: &str) -> Arc<VirtualHost> {
        Arc::new(VirtualHost { name: name.into(), entries: self.entries.clone() })
    }

    fn lowered(self, of: &Arc<VirtualService>, hosts: Vec<Hosted>) -> Lowered {
        let Self { open, asked, problems, .. } = self;
        Lowered { of: Arc::clone(of), asked, problems, open, hosts }
    }

    /// One entry per match block, as istiod makes them.
    fn lower(&mut self, of: &VirtualService, at: &At_<'_>, clusters: &mut Clusters<'_>, bundle: &Bundle) {
        for (index, rule) in of.http.iter().enumerate() {
            let Some(then) = route::lower(rule, index, of, clusters, &mut self.problems) else { continue };
            if let Some(before) = self.open.iter().position(|open| *open) {
                let before = &self.entries[before].then.place;
                let words = format!("this rule is never reached: the one at {before} matches every request");
                let problem = Problem::new(Code::Unreachable, rule.place.clone(), words);
                self.problems.push(problem.hint("move it before that one"));
            }
            if rule.matches.is_empty() {
                self.entries.push(Entry { when: Match::default(), then: Arc::clone(&then) });
                self.open.push(true);
            }
            for written in rule.matches.iter().filter(|written| applies(written, of, at, bundle)) {
                let when = route::conditions_of(&then.action, written, clusters.compatibility);
                self.entries.push(Entry { when, then: Arc::clone(&then) });
                self.open.push(is_open(written));
            }
        }
    }
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
fn default_rules(service: usize, clusters: &mut Clusters<'_>) -> Vec<Entry> {
    let node = &clusters.graph.services[service];
    let (ports, place) = (node.ports.iter().map(|port| port.number).collect::<Vec<_>>(), node.place.clone());
    let several = ports.len() > 1;
    let (mut out, mut last) = (Vec::new(), None);
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
            rates: Vec::new(),
            origins: origins::of_retries(&clusters.retry_origins(None, Some(index))),
        };
        let forward = Forward {
            destinations: vec![destination],
            total_weight: 1,
            rewrite: None,
            authority: None,
            mirrors: Vec::new(),
            fault: None,
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
        if nth == 0 {
            last = Some(Entry { when: Match::default(), then: Arc::clone(&then) });
        }
        if several {
            out.push(Entry { when: Match { port: Some(*port), ..Match::default() }, then });
        }
    }
    out.extend(last);
    out
}

/// `namespace/name` of a gateway as written in a VirtualService.
pub(super) fn qualified(gateway: &str, namespace: &str) -> String {
    if gateway.contains('/') { gateway.to_owned() } else { format!("{namespace}/{gateway}") }
}

/// The listeners of all Gateways: servers of one port are one listener.
pub fn gateways(
    clusters: &mut Clusters<'_>,
    services: &[Arc<VirtualService>],
    gateways: &[Words],
    bundle: &Bundle,
    kept: &mut HashMap<u16, Vec<Lowered>>,
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
    let listener = |(port, servers): (u16, Vec<(String, &Words, &Server)>)| {
        listener(port, &servers, services, clusters, bundle, kept.entry(port).or_default(), problems)
    };
    ports.into_iter().map(listener).collect()
}

fn listener(
    port: u16,
    servers: &[(String, &Words, &Server)],
    services: &[Arc<VirtualService>],
    clusters: &mut Clusters<'_>,
    bundle: &Bundle,
    kept: &mut Vec<Lowered>,
    problems: &mut Vec<Problem>,
) -> Gateway {
    let (name, _, first) = &servers[0];
    let servers: Vec<_> = servers.iter().filter(|(_, _, server)| is_alike(server, first, problems)).cloned().collect();
    let requests: Vec<_> = servers.iter().filter(|(_, _, server)| has_requests(server)).cloned().collect();
    let mut shelf = Shelf::new(std::mem::take(kept));
    for of in services.iter().filter(|of| of.gateways.iter().any(|gateway| gateway.value != "mesh")) {
        let lowered = shelf.take(of).and_then(|mut old| old.holds(clusters).then_some(old));
        kept.extend(lowered.or_else(|| brought(&requests, of, clusters, bundle)));
    }
    let bind = first.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut hosts = Hosts::of(kept, problems);
    for (pattern, place) in redirected(&servers) {
        if hosts.is_free(&pattern) {
            hosts.alone(Named { patterns: shared(vec![pattern.clone()]), host: to_https(&pattern, place) });
        }
    }
    let tls = servers.iter().filter_map(|(_, _, server)| tls::server(server)).collect();
    let tcp = tcp::gateway(port, &servers, services, clusters, bundle, problems);
    let carries = if first.serves.first_bytes() == FirstBytes::Any { Carries::Bytes } else { Carries::Http };
    let (name, table, place) = (name.as_str().into(), hosts.table(), first.place.clone());
    Gateway { name, bind, port, table, tls, carries, tcp, place }
}

const fn has_requests(server: &Server) -> bool {
    matches!(server.serves, Serves::Clear(Carries::Http) | Serves::Ended(_, Carries::Http))
}

/// A port carries requests, bytes or TLS: the first server decides.
fn is_alike(server: &Server, first: &Server, problems: &mut Vec<Problem>) -> bool {
    let alike = server.serves.first_bytes() == first.serves.first_bytes();
    if !alike {
        let words = format!(
            "the server at {} has port {} already; HTTP, TCP and TLS cannot be one port: this one stays closed",
            first.place, server.port
        );
        problems.push(Problem::new(Code::PortClosed, server.place.clone(), words).hint("give it another port"));
    }
    alike
}

/// The hosts of servers with `httpsRedirect`.
fn redirected<'s>(servers: &'s [(String, &Words, &'s Server)]) -> impl Iterator<Item = (String, &'s Place)> {
    let servers = servers.iter().filter(|(_, _, server)| server.redirects);
    servers.flat_map(|(_, _, server)| {
        let host = |host: &At<String>| host.value.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        server.hosts.iter().map(move |written| (host(written), &server.place))
    })
}

/// A virtual host that sends every request to HTTPS, as Envoy does with `require_tls: ALL`.
fn to_https(name: &str, place: &Place) -> Arc<VirtualHost> {
    let redirect = Redirect { status: 301, scheme: Some("https".into()), authority: None, path: None, port: None };
    let route = Route {
        name: "https-redirect".into(),
        action: Action::Redirect(redirect),
        headers: HeaderEdits::default(),
        origins: Origins::default(),
        chain: Chain::default(),
        place: place.clone(),
    };
    let entry = Entry { when: Match::default(), then: Arc::new(route) };
    Arc::new(VirtualHost { name: name.into(), entries: vec![entry] })
}

/// A VirtualService on the listener of these servers; `None` when it is for none of them.
fn brought(
    servers: &[(String, &Words, &Server)],
    of: &Arc<VirtualService>,
    clusters: &mut Clusters<'_>,
    bundle: &Bundle,
) -> Option<Lowered> {
    let bound: Vec<&(String, &Words, &Server)> = servers
        .iter()
        .filter(|(name, ..)| of.gateways.iter().any(|found| qualified(&found.value, &of.namespace) == *name))
        .filter(|(_, gateway, _)| of.export.reaches(&gateway.namespace))
        .collect();
    if bound.is_empty() {
        return None;
    }
    let names: Vec<String> = bound.iter().map(|(name, ..)| name.clone()).collect();
    let rules = Rules::of(of, &At_::Gateway(&names), clusters, bundle);
    let mut hosts = Vec::new();
    for (at, host) in of.hosts.iter().enumerate() {
        let patterns: BTreeMap<String, &Server> = bound
            .iter()
            .flat_map(|(_, gateway, server)| {
                admitted(host, of, gateway, server).into_iter().map(move |pattern| (pattern, *server))
            })
            .collect();
        if !patterns.is_empty() {
            let shared = rules.host(&host.value);
            hosts.extend(patterns.into_iter().map(|(pattern, server)| {
                let host = match server.redirects {
                    true => to_https(&pattern, &server.place),
                    false => Arc::clone(&shared),
                };
                let key: Arc<str> = pattern.into();
                Hosted { at, named: Named { patterns: [Arc::clone(&key)].into(), host }, key }
            }));
        }
    }
    Some(rules.lowered(of, hosts))
}

/// The hosts of a VirtualService that a server lets in: the narrower of the two names.
pub(super) fn admitted(host: &At<String>, of: &VirtualService, gateway: &Words, server: &Server) -> Vec<String> {
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
