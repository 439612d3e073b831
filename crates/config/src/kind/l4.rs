//! `tls[]` and `tcp[]` of a VirtualService: where connections go that carry no requests we could read.

use super::policy;
use super::virtual_service::{Destination, gateway_names, read_destination};
use crate::decode::{At, Object};
use crate::names;
use crate::problem::{Code, Problem};
use std::sync::Arc;
use weir_policy::place::Place;
use weir_policy::trust::Cidr;

/// One rule.
#[derive(Clone, Debug)]
pub struct L4Rule {
    /// Empty = every connection.
    pub matches: Vec<L4Match>,
    pub routes: Vec<L4Route>,
    pub place: Place,
}

/// `match[]`: all that is written must hold.
#[derive(Clone, Debug)]
pub struct L4Match {
    /// Lower case; empty in `tcp[]`.
    pub names: Vec<Arc<str>>,
    pub subnets: Vec<Cidr>,
    pub port: Option<u16>,
    pub source_labels: Vec<(String, String)>,
    pub source_namespace: Option<String>,
    /// Empty = those of the VirtualService.
    pub gateways: Vec<String>,
}

/// `route[]`.
#[derive(Clone, Debug)]
pub struct L4Route {
    pub destination: Destination,
    pub weight: u32,
}

/// Reads `tls[]`. `wide` is a VirtualService that the mesh sees.
pub fn tls(spec: &Object<'_>, hosts: &[At<String>], wide: bool) -> Vec<L4Rule> {
    let read = |rule: Object<'_>| {
        if rule.list("match").is_empty() {
            rule.missing("match");
        }
        let matches = rule.objects("match").map(|block| {
            let names = sni_hosts(&block, hosts, wide);
            conditions(&block, names)
        });
        finish(&rule, matches.collect())
    };
    spec.objects("tls").map(read).collect()
}

/// Reads `tcp[]`.
pub fn tcp(spec: &Object<'_>) -> Vec<L4Rule> {
    let read = |rule: Object<'_>| {
        let matches = rule.objects("match").map(|block| {
            block.text("sourceSubnet");
            block.later(&["sourceSubnet"]);
            conditions(&block, Vec::new())
        });
        finish(&rule, matches.collect())
    };
    spec.objects("tcp").map(read).collect()
}

fn finish(rule: &Object<'_>, matches: Vec<L4Match>) -> L4Rule {
    let routes = routes(rule);
    rule.end();
    L4Rule { matches, routes, place: rule.place() }
}

fn conditions(block: &Object<'_>, names: Vec<Arc<str>>) -> L4Match {
    let mut subnets = Vec::new();
    for subnet in block.texts("destinationSubnets") {
        match Cidr::parse(&subnet.value).filter(|_| names::is_subnet(&subnet.value)) {
            Some(range) => subnets.push(range),
            None => {
                let words = format!("`{}` is neither an address nor a range of them", subnet.value);
                block.sink.refuse(&subnet.place, words);
            }
        }
    }
    let port = block.number("port", 0, 65_535).map(|port| port.value as u16).filter(|port| *port > 0);
    let source_labels = policy::labels(block, "sourceLabels");
    let gateways = gateway_names(block).into_iter().map(|gateway| gateway.value).collect();
    let source_namespace = block.text("sourceNamespace").map(|text| text.value).filter(|text| !text.is_empty());
    block.end();
    L4Match { names, subnets, port, source_labels, source_namespace, gateways }
}

fn sni_hosts(block: &Object<'_>, hosts: &[At<String>], wide: bool) -> Vec<Arc<str>> {
    let written = block.texts("sniHosts");
    if written.is_empty() {
        block.missing("sniHosts");
    }
    for name in &written {
        let good = if wide { names::is_wildcard_domain(&name.value) } else { names::is_sni_domain(&name.value) };
        if !good && names::is_address(&name.value) {
            let words = format!("`{}`: clients send no addresses as SNI", name.value);
            block.sink.add(Problem::new(Code::NoEffect, name.place.clone(), words));
        } else if !good {
            block.sink.refuse(&name.place, format!("`{}` is not a host name", name.value));
        } else if !hosts.iter().any(|host| names::is_subset(&name.value, &host.value)) {
            let words = format!("`{}` is none of the `hosts` of this VirtualService", name.value);
            block.sink.refuse(&name.place, words);
        }
    }
    written.into_iter().map(|name| name.value.to_ascii_lowercase().into()).collect()
}

fn routes(rule: &Object<'_>) -> Vec<L4Route> {
    if rule.list("route").is_empty() {
        rule.missing("route");
    }
    let (mut total, mut out) = (0, Vec::new());
    let alone = rule.list("route").len() == 1;
    for route in rule.objects("route") {
        let weight = route.number("weight", 0, i64::from(i32::MAX)).map_or(0, |weight| weight.value);
        total += weight;
        match route.object("destination") {
            Some(destination) => {
                // A single destination takes everything, whatever its weight.
                let weight = if alone { 1 } else { weight as u32 };
                out.extend(read_destination(&destination).map(|destination| L4Route { destination, weight }));
            }
            None => route.missing("destination"),
        }
        route.end();
    }
    if rule.list("route").len() > 1 && total == 0 {
        let words = "the weights of the destinations sum up to 0";
        rule.sink.add(rule.problem(Code::Value, "route", words).hint("give each destination a `weight`"));
    }
    out
}
