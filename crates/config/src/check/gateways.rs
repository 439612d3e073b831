//! VirtualServices against their Gateways, and Gateways against each other.

use super::look::Look;
use super::{Doc, Labels, View};
use crate::graph::canonical;
use crate::lower::tables::covers;
use crate::problem::{Code, Problem};
use std::collections::{HashMap, HashSet};
use weir_policy::place::Place;

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    let gateways: HashMap<String, &Doc<'_>> =
        view.of_kind("Gateway").map(|doc| (format!("{}/{}", doc.namespace, doc.name), doc)).collect();
    for doc in view.of_kind("VirtualService") {
        hosts(doc, &gateways, out);
    }
    subsets(view, out);
    conflicts(view, out);
    certificates(view, out);
}

fn names<'a>(doc: &Doc<'a>) -> impl Iterator<Item = &'a str> {
    doc.spec.items_at("gateways").filter_map(Look::text).filter(|name| *name != "mesh")
}

fn qualified(name: &str, namespace: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// IST0132.
fn hosts(doc: &Doc<'_>, gateways: &HashMap<String, &Doc<'_>>, out: &mut Vec<Problem>) {
    let bound: Vec<&&Doc<'_>> = names(doc).filter_map(|name| gateways.get(&qualified(name, doc.namespace))).collect();
    let mesh = doc.spec.items_at("gateways").any(|name| name.text() == Some("mesh"));
    if bound.is_empty() || mesh {
        return;
    }
    for host in doc.spec.items_at("hosts") {
        let Some(text) = host.text() else { continue };
        let wanted = if text == "*" { text.to_owned() } else { canonical(text, doc.namespace) };
        let lets_in = |pattern: &str, gateway: &Doc<'_>| {
            let (from, pattern) = pattern.split_once('/').unwrap_or(("*", pattern));
            let ours = match from {
                "*" => true,
                "." => doc.namespace == gateway.namespace,
                name => doc.namespace == name,
            };
            let pattern = pattern.to_ascii_lowercase();
            let both = |one: &str| covers(&pattern, one) || covers(one, &pattern);
            ours && (both(&wanted) || both(&text.to_ascii_lowercase()))
        };
        let servers = |gateway: &Doc<'_>| {
            let mut patterns = gateway.spec.items_at("servers").flat_map(|server| server.items_at("hosts"));
            patterns.any(|pattern| pattern.text().is_some_and(|pattern| lets_in(pattern, gateway)))
        };
        if !bound.iter().any(|gateway| servers(gateway)) {
            let words = format!("no server of its Gateways lets `{text}` in: these rules are never used");
            out.push(host.problem(Code::HostNotInGateway, words).hint("add the host to a server, or mend the name"));
        }
    }
}

/// IST0140: rules of the mesh do not hold for requests that come through a Gateway.
fn subsets(view: &View<'_>, out: &mut Vec<Problem>) {
    let mut split: HashMap<String, Place> = HashMap::new();
    for doc in view.of_kind("VirtualService").filter(|doc| names(doc).next().is_none()) {
        let mut routes = doc.spec.items_at("http").flat_map(|rule| rule.items_at("route"));
        if routes.any(|route| route.has("destination.subset")) {
            for host in doc.spec.items_at("hosts") {
                if let Some(text) = host.text() {
                    split.entry(view.name(text, doc)).or_insert_with(|| host.place());
                }
            }
        }
    }
    for doc in view.of_kind("VirtualService").filter(|doc| names(doc).next().is_some()) {
        for destination in doc.spec.items_at("http").flat_map(|rule| rule.items_at("route")) {
            let Some(at) = destination.get("destination.host") else { continue };
            let host = view.name(at.text().unwrap_or_default(), doc);
            if let Some(place) = split.get(&host).filter(|_| !destination.has("destination.subset")) {
                let words =
                    format!("the subset routing at {place} does not hold here: this request comes from a Gateway");
                out.push(at.problem(Code::SubsetOnIngress, words).hint("name the subset here too"));
            }
        }
    }
}

/// IST0145: one port, one host, two Gateways of one selector.
fn conflicts(view: &View<'_>, out: &mut Vec<Problem>) {
    let mut known: HashMap<(Labels, u64, String), Place> = HashMap::new();
    for doc in view.of_kind("Gateway") {
        let mut selector = doc.spec.get("selector").map(Look::pairs).unwrap_or_default();
        selector.sort();
        for server in doc.spec.items_at("servers") {
            let Some(port) = server.number_at("port.number") else { continue };
            for host in server.items_at("hosts") {
                let key = (selector.clone(), port, host.text().unwrap_or_default().to_ascii_lowercase());
                match known.get(&key) {
                    None => {
                        known.insert(key, host.place());
                    }
                    Some(first) => {
                        let words = format!("port {port} has a server for `{}` at {first} already", key.2);
                        let hint = "write them as one server, or give one another port or selector";
                        out.push(host.problem(Code::GatewaysConflict, words).hint(hint));
                    }
                }
            }
        }
    }
}

/// IST0138: browsers use one HTTP/2 connection for all hosts of a certificate, whichever server it was opened to.
fn certificates(view: &View<'_>, out: &mut Vec<Problem>) {
    let mut known: HashMap<(String, u64), (String, Place)> = HashMap::new();
    let mut told = HashSet::new();
    for doc in view.of_kind("Gateway") {
        for server in doc.spec.items_at("servers") {
            let names = ["tls.credentialName", "tls.serverCertificate"];
            let Some(at) = names.iter().find_map(|name| server.get(name)) else { continue };
            let key = (at.text().unwrap_or_default().to_owned(), server.number_at("port.number").unwrap_or(0));
            let gateway = format!("{}/{}", doc.namespace, doc.name);
            let (first, place) = known.entry(key).or_insert_with(|| (gateway.clone(), at.place()));
            if *first != gateway && told.insert(gateway) {
                let words = format!(
                    "this certificate is used at {place} already: a reused HTTP/2 connection reaches the other Gateway and gets 404"
                );
                out.push(
                    at.problem(Code::CertificateTwice, words).hint("serve all hosts of a certificate by one Gateway"),
                );
            }
        }
    }
}
