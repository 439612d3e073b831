//! `ServiceEntry` and `WorkloadEntry`: services and who serves them.

use crate::decode::{At, Object};
use crate::problem::{Code, Problem};
use std::net::{IpAddr, SocketAddr};
use weir_policy::place::Place;

/// `ServiceEntry.spec`.
#[derive(Debug)]
pub struct ServiceEntry {
    pub namespace: String,
    pub hosts: Vec<At<String>>,
    pub ports: Vec<Port>,
    pub resolution: Resolution,
    pub endpoints: Vec<Workload>,
    /// `workloadSelector.labels`.
    pub selector: Option<Vec<(String, String)>>,
    pub place: Place,
}

/// `spec.ports[]`.
#[derive(Clone, Debug)]
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
    None,
}

/// `spec.endpoints[]`, or a `WorkloadEntry`.
#[derive(Clone, Debug)]
pub struct Workload {
    pub namespace: String,
    pub address: At<String>,
    pub ip: Option<IpAddr>,
    pub ports: Vec<(String, u16)>,
    pub labels: Vec<(String, String)>,
    pub weight: u32,
    pub name: String,
}

/// Reads `ServiceEntry.spec`.
pub fn service_entry(spec: &Object<'_>, namespace: &str) -> ServiceEntry {
    let hosts = spec.texts("hosts");
    if hosts.is_empty() {
        spec.missing("hosts");
    }
    let resolutions = [
        ("STATIC", Resolution::Static),
        ("DNS", Resolution::Dns),
        ("DNS_ROUND_ROBIN", Resolution::Dns),
        ("NONE", Resolution::None),
        ("DYNAMIC_DNS", Resolution::Dns),
    ];
    let resolution = spec.word("resolution", &resolutions).map_or(Resolution::None, |found| found.value);
    if resolution != Resolution::Static {
        let words = "only `resolution: STATIC` is served yet: this service has no endpoints";
        spec.sink
            .add(spec.problem(Code::NotEnforced, "resolution", words).hint("list the addresses under `endpoints`"));
    }
    spec.word("location", &[("MESH_EXTERNAL", ()), ("MESH_INTERNAL", ())]);
    for name in ["addresses", "subjectAltNames", "exportTo"] {
        spec.texts(name);
    }
    spec.later(&["exportTo", "subjectAltNames"]);
    let ports: Vec<Port> = spec.objects("ports").filter_map(|port| service_port(&port)).collect();
    if ports.is_empty() && !spec.has("ports") {
        spec.missing("ports");
    }
    let selector = spec.object("workloadSelector").map(|selector| {
        let labels = selector.text_map("labels");
        selector.end();
        labels
    });
    if selector.is_some() && spec.has("endpoints") {
        let words = "`endpoints` and `workloadSelector` exclude each other";
        spec.sink.add(spec.problem(Code::Conflict, "workloadSelector", words));
    }
    let endpoints =
        spec.objects("endpoints").filter_map(|endpoint| workload(&endpoint, namespace, resolution)).collect();
    spec.end();
    ServiceEntry { namespace: namespace.to_owned(), hosts, ports, resolution, endpoints, selector, place: spec.place() }
}

fn service_port(port: &Object<'_>) -> Option<Port> {
    let number = port.number("number", 1, 65_535);
    let name = port.text("name").map(|name| name.value);
    let protocol = port.text("protocol").map_or_else(|| "TCP".to_owned(), |protocol| protocol.value.to_uppercase());
    let target = port.number("targetPort", 1, 65_535).map(|target| target.value as u16);
    port.end();
    if number.is_none() && !port.has("number") {
        port.missing("number");
    }
    if name.is_none() {
        port.missing("name");
    }
    Some(Port { number: number?.value as u16, name: name?, protocol, target, place: port.place() })
}

/// Reads an endpoint, or `WorkloadEntry.spec`.
pub fn workload(spec: &Object<'_>, namespace: &str, resolution: Resolution) -> Option<Workload> {
    let address = spec.text("address");
    let entries = spec.map("ports").iter();
    let ports = entries
        .filter_map(|(key, node)| {
            Some((key.text.clone(), crate::decode::number(node, "ports", 1, 65_535, spec.sink)?.value as u16))
        })
        .collect();
    let labels = spec.text_map("labels");
    let weight = spec.number("weight", 0, i64::from(u32::MAX)).map_or(1, |weight| weight.value.max(1) as u32);
    for name in ["network", "locality", "serviceAccount"] {
        spec.text(name);
    }
    spec.later(&["locality", "network"]);
    spec.end();
    let Some(address) = address else {
        spec.missing("address");
        return None;
    };
    let ip = address.value.parse::<IpAddr>().ok();
    if ip.is_none() && resolution == Resolution::Static {
        let socket = address.value.parse::<SocketAddr>().is_ok();
        let words = format!("`{}` is not an IP address, and the resolution is STATIC", address.value);
        let hint =
            if socket { "the port belongs into `ports`" } else { "name an IP address, or use `resolution: DNS`" };
        spec.sink.add(Problem::new(Code::Value, address.place.clone(), words).hint(hint));
    }
    Some(Workload { namespace: namespace.to_owned(), address, ip, ports, labels, weight, name: String::new() })
}
