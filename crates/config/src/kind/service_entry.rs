//! `ServiceEntry` and `WorkloadEntry`: services and who serves them.

use super::export::{Export, Hidden, export_to};
use super::policy;
use crate::decode::{At, Object};
use crate::names::{self, Protocol};
use crate::problem::{Code, Problem};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use weir_policy::place::Place;

/// `ServiceEntry.spec`.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    pub namespace: String,
    pub hosts: Vec<At<String>>,
    pub ports: Vec<Port>,
    pub resolution: Resolution,
    pub endpoints: Vec<Workload>,
    /// `workloadSelector.labels`.
    pub selector: Option<Vec<(String, String)>>,
    /// Addresses of this machine that stand for its ports that are not HTTP.
    pub listens: Vec<IpAddr>,
    pub export: Export,
    pub place: Place,
}

impl ServiceEntry {
    /// Do both define the same services, whatever these are?
    pub fn has_names_of(&self, other: &Self) -> bool {
        let pairs = || self.hosts.iter().zip(&other.hosts);
        self.namespace == other.namespace
            && self.export == other.export
            && self.hosts.len() == other.hosts.len()
            && pairs().all(|(one, other)| one.value == other.value)
    }
}

/// `spec.ports[]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    pub number: u16,
    pub name: String,
    pub protocol: String,
    pub target: Option<u16>,
    pub place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    Static,
    Dns,
    DnsRoundRobin,
    OnDemand,
    None,
}

/// `spec.endpoints[]`, or a `WorkloadEntry`.
#[derive(Clone, PartialEq, Debug)]
pub struct Workload {
    pub namespace: String,
    pub address: At<String>,
    pub ip: Option<IpAddr>,
    pub ports: Vec<(String, u16)>,
    pub labels: Vec<(String, String)>,
    pub weight: u32,
    pub name: String,
}

const RESOLUTIONS: &[(&str, Resolution)] = &[
    ("STATIC", Resolution::Static),
    ("DNS", Resolution::Dns),
    ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin),
    ("NONE", Resolution::None),
    ("DYNAMIC_DNS", Resolution::OnDemand),
];

/// Reads `ServiceEntry.spec`.
pub fn service_entry(spec: &Object<'_>, namespace: &str) -> ServiceEntry {
    let hosts = read_hosts(spec);
    let resolution = spec.word("resolution", RESOLUTIONS).map_or(Resolution::None, |found| found.value);
    spec.word("location", &[("MESH_EXTERNAL", ()), ("MESH_INTERNAL", ())]);
    let listens = addresses(spec, resolution);
    spec.texts("subjectAltNames");
    spec.later(&["subjectAltNames"]);
    spec.without_effect(&["location"]);
    let export = export_to(spec, namespace, Hidden::Allowed);
    let ports: Vec<Port> = spec.objects("ports").filter_map(|port| service_port(&port)).collect();
    unique_ports(spec, &ports);
    policy::selector(spec, "workloadSelector", "labels");
    let selector = spec.object("workloadSelector").map(|selector| {
        let labels = selector.text_map("labels");
        selector.end();
        labels
    });
    if selector.is_some() && spec.has("endpoints") {
        let words = "`endpoints` and `workloadSelector` exclude each other";
        spec.sink.add(spec.problem(Code::Conflict, "workloadSelector", words));
    }
    let endpoints = endpoints(spec, namespace, resolution, &ports, &hosts);
    several_hosts(spec, &hosts, &ports, resolution);
    spec.end();
    let namespace = namespace.to_owned();
    ServiceEntry { namespace, hosts, ports, resolution, endpoints, selector, listens, export, place: spec.place() }
}

fn read_hosts(spec: &Object<'_>) -> Vec<At<String>> {
    let hosts = spec.texts("hosts");
    if hosts.is_empty() {
        spec.missing("hosts");
    }
    for host in &hosts {
        if host.value == "*" || !names::is_wildcard_domain(&host.value) {
            spec.sink.refuse(&host.place, format!("`{}` cannot be the host of a service", host.value));
        } else if names::is_partial_wildcard(&host.value) {
            let words = format!("`{}`: a wildcard stands for whole labels, as in `*.example.com`", host.value);
            spec.sink.add(Problem::new(Code::NoEffect, host.place.clone(), words));
        }
    }
    hosts
}

/// Those of loopback are listened on; without any, 127.0.0.1. Others would have to be led here by the kernel.
fn addresses(spec: &Object<'_>, resolution: Resolution) -> Vec<IpAddr> {
    let mut listens = Vec::new();
    for address in spec.texts("addresses") {
        if !names::is_subnet(&address.value) {
            let words = format!("`{}` is neither an address nor a range of them", address.value);
            spec.sink.refuse(&address.place, words);
        } else if address.value.contains('/') && resolution == Resolution::Dns {
            spec.sink.refuse(&address.place, "ranges of addresses need `resolution: NONE` or `STATIC`");
        }
        listens.extend(address.value.parse().ok().filter(IpAddr::is_loopback));
    }
    if spec.list("addresses").is_empty() {
        listens.push(Ipv4Addr::LOCALHOST.into());
    }
    listens
}

fn unique_ports(spec: &Object<'_>, ports: &[Port]) {
    for (index, port) in ports.iter().enumerate() {
        let twice = |same: &dyn Fn(&Port) -> bool| ports[..index].iter().any(same);
        if twice(&|other| other.name == port.name) {
            spec.sink.refuse(&port.place, format!("the port name `{}` stands twice", port.name));
        }
        if twice(&|other| other.number == port.number) {
            spec.sink.refuse(&port.place, format!("the port {} stands twice", port.number));
        }
    }
}

/// Reads `endpoints`, as the resolution allows them.
fn endpoints(
    spec: &Object<'_>,
    namespace: &str,
    resolution: Resolution,
    ports: &[Port],
    hosts: &[At<String>],
) -> Vec<Workload> {
    let mode = spec.text("resolution").map(|mode| mode.value).unwrap_or_default();
    let nodes = spec.list("endpoints");
    let refuse = |words: &str| spec.sink.add(spec.problem(Code::Conflict, "endpoints", words));
    match mode.as_str() {
        "" | "NONE" if !nodes.is_empty() => refuse("`resolution: NONE` has no endpoints: name STATIC or DNS"),
        "DYNAMIC_DNS" if !nodes.is_empty() => refuse("`resolution: DYNAMIC_DNS` has no endpoints"),
        "DNS_ROUND_ROBIN" if nodes.len() > 1 => refuse("`resolution: DNS_ROUND_ROBIN` has one endpoint at most"),
        "DNS" | "DNS_ROUND_ROBIN" if nodes.is_empty() => {
            for host in hosts.iter().filter(|host| !names::is_domain(&host.value)) {
                let words = format!("`{}` cannot be looked up: name an endpoint, or a full host", host.value);
                spec.sink.refuse(&host.place, words);
            }
        }
        _ => {}
    }
    let read = |endpoint: Object<'_>| {
        let found = workload(&endpoint, namespace, resolution);
        for (key, _) in endpoint.map("ports") {
            if !ports.iter().any(|port| port.name == key.text) {
                let words = format!("the service has no port named `{}`", key.text);
                endpoint.sink.refuse(&endpoint.sink.place(key.line, key.column), words);
            }
        }
        if resolution == Resolution::Dns && !endpoint.has("address") {
            endpoint.missing("address");
        }
        let socket = found.as_ref().is_some_and(|found| found.address.value.starts_with("unix://"));
        if socket && ports.len() != 1 {
            endpoint.refuse("address", "a service on a socket has exactly one port");
        }
        found
    };
    spec.objects("endpoints").filter_map(read).collect()
}

/// Without HTTP or TLS nothing tells hosts apart.
fn several_hosts(spec: &Object<'_>, hosts: &[At<String>], ports: &[Port], resolution: Resolution) {
    let told = |port: &&Port| !matches!(names::protocol(&port.protocol), Some(Protocol::Http | Protocol::Tls));
    if let Some(port) = ports.iter().find(told).filter(|_| hosts.len() > 1 && resolution != Resolution::None) {
        let words = format!("several hosts on a port of {}: nothing tells them apart", port.shown());
        let hint = "write one ServiceEntry a host, or use an HTTP or TLS protocol";
        spec.sink.add(Problem::new(Code::Value, port.place.clone(), words).hint(hint));
    }
}

impl Port {
    fn shown(&self) -> &str {
        if self.protocol.is_empty() { "an unnamed protocol" } else { &self.protocol }
    }
}

fn service_port(port: &Object<'_>) -> Option<Port> {
    let number = port.number("number", 1, 65_535);
    let name = port.text("name");
    let protocol = port.text("protocol").map(|protocol| {
        let known = protocol.value.is_empty() || names::protocol(&protocol.value).is_some();
        if !known {
            port.sink.refuse(&protocol.place, format!("the protocol `{}` is not known", protocol.value));
        }
        protocol.value.to_uppercase()
    });
    let target = port.number("targetPort", 1, 65_535).map(|target| target.value as u16);
    port.without_effect(&["protocol"]);
    port.end();
    if number.is_none() && !port.has("number") {
        port.missing("number");
    }
    match &name {
        None => port.missing("name"),
        Some(name) if !names::is_label(&name.value) => {
            port.sink.refuse(&name.place, format!("`{}` is not a port's name", name.value));
        }
        Some(_) => {}
    }
    let (name, protocol) = (name?.value, protocol.unwrap_or_default());
    Some(Port { number: number?.value as u16, name, protocol, target, place: port.place() })
}

/// Ports by name: labels as keys.
pub fn port_names(spec: &Object<'_>) {
    for (key, _) in spec.map("ports").iter().filter(|(key, _)| !names::is_label(&key.text)) {
        spec.sink.refuse(&spec.sink.place(key.line, key.column), format!("`{}` is not a port's name", key.text));
    }
}

/// Reads an endpoint, or `WorkloadEntry.spec`.
pub fn workload(spec: &Object<'_>, namespace: &str, resolution: Resolution) -> Option<Workload> {
    let address = spec.text("address").filter(|address| !address.value.is_empty());
    port_names(spec);
    let entries = spec.map("ports").iter();
    let ports = entries
        .filter_map(|(key, node)| {
            Some((key.text.clone(), crate::decode::number(node, "ports", 1, 65_535, spec.sink)?.value as u16))
        })
        .collect();
    let labels = policy::labels(spec, "labels");
    let weight = spec.number("weight", 0, i64::from(u32::MAX)).map_or(1, |weight| weight.value.max(1) as u32);
    for name in ["network", "locality", "serviceAccount"] {
        spec.text(name);
    }
    spec.later(&["locality", "network"]);
    spec.without_effect(&["serviceAccount"]);
    spec.end();
    let Some(address) = address else {
        if !spec.has("network") {
            spec.missing("address");
        }
        return None;
    };
    let ip = address.value.parse::<IpAddr>().ok();
    check_address(spec, &address, resolution);
    Some(Workload { namespace: namespace.to_owned(), address, ip, ports, labels, weight, name: String::new() })
}

/// An address, a name where names are looked up, or the path of a socket.
fn check_address(spec: &Object<'_>, address: &At<String>, resolution: Resolution) {
    let text = address.value.as_str();
    if let Some(path) = names::socket_path(text) {
        if !names::is_socket_path(path) || resolution == Resolution::Dns {
            spec.sink.refuse(&address.place, format!("`{text}` is not the path of a socket"));
        } else if spec.has("ports") {
            let words = "the address is a socket, so it has no `ports`";
            spec.sink.add(spec.problem(Code::Conflict, "ports", words));
        } else {
            let words = "sockets are accepted and not served yet: this endpoint is left out";
            spec.sink.add(Problem::new(Code::NotEnforced, address.place.clone(), words));
        }
    } else if !names::is_address(text) && (resolution == Resolution::Static || !names::is_domain(text)) {
        let socket = text.parse::<SocketAddr>().is_ok();
        let words = match resolution {
            Resolution::Static => format!("`{text}` is not an IP address, and the resolution is STATIC"),
            _ => format!("`{text}` is neither an IP address nor a host name"),
        };
        let hint =
            if socket { "the port belongs into `ports`" } else { "name an IP address, or use `resolution: DNS`" };
        spec.sink.add(Problem::new(Code::Value, address.place.clone(), words).hint(hint));
    }
}
