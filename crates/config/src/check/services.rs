//! Kubernetes Services against each other and against Gateways, as far as selectors alone tell.
//!
//! Does not: know Pods: two selectors are for the same workloads when they are equal, and a Service is in front of a
//! Gateway's proxies when one selector has all labels of the other.

use super::look::Look;
use super::{Doc, Labels, View};
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use weir_policy::place::Place;

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    let services: Vec<Selecting<'_>> = view.of_kind("Service").filter_map(Selecting::of).collect();
    protocols(&services, out);
    for gateway in view.of_kind("Gateway") {
        ports(gateway, &services, out);
    }
}

/// A Service with a selector.
struct Selecting<'a> {
    doc: Doc<'a>,
    labels: Labels,
}

impl<'a> Selecting<'a> {
    fn of(doc: &Doc<'a>) -> Option<Self> {
        let mut labels = doc.spec.get("selector").map(Look::pairs)?;
        labels.sort();
        (!labels.is_empty()).then_some(Self { doc: *doc, labels })
    }
}

/// Where the requests of a port go: the number or name of a container's port.
fn target(port: Look<'_>) -> Option<&str> {
    port.text_at("targetPort").or_else(|| port.text_at("port"))
}

/// What a port says that it speaks; `None` when it does not say it.
fn speaks(port: Look<'_>) -> Option<String> {
    let word = port.text_at("appProtocol").or_else(|| port.text_at("name")?.split('-').next())?;
    let word = word.to_ascii_lowercase();
    ["grpc", "http", "http2", "https", "mongo", "mysql", "redis", "tcp", "tls", "udp"]
        .contains(&word.as_str())
        .then_some(word)
}

/// IST0116.
fn protocols(services: &[Selecting<'_>], out: &mut Vec<Problem>) {
    let mut known: HashMap<(&str, &Labels, &str), (String, Place)> = HashMap::new();
    for service in services {
        for port in service.doc.spec.items_at("ports") {
            let Some((target, own)) = target(port).zip(speaks(port)) else { continue };
            let key = (service.doc.namespace, &service.labels, target);
            let (first, place) = known.entry(key).or_insert_with(|| (own.clone(), port.value_place()));
            if *first != own {
                let words = format!("the same workloads' port {target} is {own} here and {first} at {place}");
                let at = port.get("appProtocol").or_else(|| port.get("name")).unwrap_or(port);
                let hint = "give both ports the same protocol: which one holds is not defined";
                out.push(at.problem(Code::WorkloadProtocol, words).hint(hint));
            }
        }
    }
}

/// IST0162.
fn ports(gateway: &Doc<'_>, services: &[Selecting<'_>], out: &mut Vec<Problem>) {
    let wanted = gateway.spec.get("selector").map(Look::pairs).unwrap_or_default();
    let within = |one: &Labels, other: &Labels| one.iter().all(|label| other.contains(label));
    let front = |service: &&Selecting<'_>| within(&wanted, &service.labels) || within(&service.labels, &wanted);
    let front: Vec<&Selecting<'_>> = services.iter().filter(front).filter(|_| !wanted.is_empty()).collect();
    let Some(first) = front.first() else { return };
    for server in gateway.spec.items_at("servers") {
        let Some(at) = server.get("port.number") else { continue };
        let number = at.text().unwrap_or_default();
        let opens = |port: Look<'_>| target(port) == Some(number) || port.text_at("port") == Some(number);
        if !front.iter().any(|service| service.doc.spec.items_at("ports").any(opens)) {
            let words = format!(
                "the Service `{}` in front of this Gateway has no port {number}: nothing outside the cluster reaches this server",
                first.doc.name
            );
            let hint = format!("add a port with `targetPort: {number}` to the Service, or use one that it has");
            out.push(at.problem(Code::GatewayPort, words).hint(hint));
        }
    }
}
