//! Selectors and subsets that select nothing, and ServiceEntries that need more or contradict each other.

use super::look::Look;
use super::{Labels, View};
use crate::kind::service_entry::Resolution;
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use weir_policy::place::Place;

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    subsets(view, out);
    selectors(view, out);
    addresses(view, out);
    protocols(view, out);
    port_names(view, out);
    target_ports(view, out);
}

/// IST0173.
fn subsets(view: &View<'_>, out: &mut Vec<Problem>) {
    for doc in view.of_kind("DestinationRule") {
        let Some(index) = doc.spec.text_at("host").and_then(|host| view.graph.find(host, doc.namespace)) else {
            continue;
        };
        let service = &view.graph.services[index];
        if service.resolution != Resolution::Static || service.workloads.is_empty() {
            continue;
        }
        for subset in doc.spec.items_at("subsets") {
            let labels = subset.get("labels").map(Look::pairs).unwrap_or_default();
            if !service.workloads.iter().any(|one| labels.iter().all(|label| one.labels.contains(label))) {
                let name = subset.text_at("name").unwrap_or_default();
                let words = format!(
                    "none of the {} endpoints of `{}` has the labels of subset `{name}`: requests to it get 503 UH",
                    service.workloads.len(),
                    service.host
                );
                let hint = "mend the labels here, or give them to the endpoints";
                out.push(subset.get("labels").unwrap_or(subset).problem(Code::SubsetSelectsNothing, words).hint(hint));
            }
        }
    }
}

/// IST0127, for ServiceEntries.
fn selectors(view: &View<'_>, out: &mut Vec<Problem>) {
    let workloads: Vec<(&str, Labels)> = view
        .of_kind("WorkloadEntry")
        .map(|doc| {
            let own = doc.spec.get("labels").map(Look::pairs).unwrap_or_default();
            let outer = doc.whole.get("metadata.labels").map(Look::pairs).unwrap_or_default();
            (doc.namespace, [own, outer].concat())
        })
        .collect();
    for doc in view.of_kind("ServiceEntry") {
        let Some(at) = doc.spec.get("workloadSelector") else { continue };
        let wanted = at.get("labels").map(Look::pairs).unwrap_or_default();
        let selects = |(namespace, labels): &(&str, Labels)| {
            *namespace == doc.namespace && wanted.iter().all(|label| labels.contains(label))
        };
        if !workloads.iter().any(selects) {
            let words = "no WorkloadEntry has these labels: the service has no endpoints";
            let hint = "mend the labels, or add WorkloadEntries in this namespace";
            out.push(at.problem(Code::SelectorSelectsNothing, words).hint(hint));
        }
    }
}

fn protocol(port: Look<'_>) -> String {
    port.text_at("protocol").unwrap_or("TCP").to_uppercase()
}

/// IST0134.
fn addresses(view: &View<'_>, out: &mut Vec<Problem>) {
    for doc in view.of_kind("ServiceEntry").filter(|doc| doc.spec.items_at("addresses").next().is_none()) {
        let raw = |port: &Look<'_>| matches!(protocol(*port).as_str(), "TCP" | "MONGO" | "MYSQL" | "REDIS");
        if let Some(port) = doc.spec.items_at("ports").find(raw) {
            let words = format!(
                "without `addresses` a {} port takes every connection to its number, whatever the host",
                protocol(port)
            );
            let hint = "list the virtual addresses of the service under `addresses`";
            out.push(port.get("protocol").unwrap_or(port).problem(Code::AddressesRequired, words).hint(hint));
        }
    }
}

/// IST0177.
fn protocols(view: &View<'_>, out: &mut Vec<Problem>) {
    let mut known: HashMap<(String, u64), (String, Place)> = HashMap::new();
    for doc in view.of_kind("ServiceEntry") {
        for host in doc.spec.items_at("hosts").filter_map(Look::text) {
            for port in doc.spec.items_at("ports") {
                let Some(number) = port.number_at("number") else { continue };
                let at = port.get("protocol").unwrap_or(port);
                let first = known.entry((view.name(host, doc), number)).or_insert((protocol(port), at.place()));
                if first.0 != protocol(port) {
                    let words =
                        format!("`{host}` port {number} is {} here and {} at {}", protocol(port), first.0, first.1);
                    out.push(at.problem(Code::ProtocolsConflict, words).hint("give both the same protocol"));
                }
            }
        }
    }
}

/// What Istio reads from the names of ports.
const PROTOCOLS: [&str; 12] =
    ["grpc", "grpc-web", "http", "http2", "https", "mongo", "mysql", "redis", "tcp", "tls", "udp", "http3"];

/// IST0118.
fn port_names(view: &View<'_>, out: &mut Vec<Problem>) {
    for doc in view.of_kind("Service") {
        for port in doc.spec.items_at("ports").filter(|port| !port.has("appProtocol")) {
            let name = port.text_at("name").unwrap_or_default();
            let says = |protocol: &str| name == protocol || name.starts_with(&format!("{protocol}-"));
            if !PROTOCOLS.iter().any(|protocol| says(protocol)) && port.text_at("protocol") != Some("UDP") {
                let words =
                    format!("the name `{name}` does not say this port's protocol: it is taken for TCP, or guessed");
                let hint = "name it like `http-NAME` or `grpc-NAME`, or write `appProtocol`";
                out.push(port.get("name").unwrap_or(port).problem(Code::PortName, words).hint(hint));
            }
        }
    }
}

/// IST0137.
fn target_ports(view: &View<'_>, out: &mut Vec<Problem>) {
    for doc in view.of_kind("Service") {
        let mut known: HashMap<(u64, &str), &str> = HashMap::new();
        for port in doc.spec.items_at("ports") {
            let Some((number, target)) = port.number_at("port").zip(port.text_at("targetPort")) else { continue };
            let protocol = port.text_at("protocol").unwrap_or("TCP");
            let first = known.entry((number, protocol)).or_insert(target);
            if *first != target {
                let words = format!("port {number} goes to {first} and to {target}");
                let at = port.get("targetPort").unwrap_or(port);
                out.push(at.problem(Code::TargetPortsConflict, words).hint("give one of them another port"));
            }
        }
    }
}
