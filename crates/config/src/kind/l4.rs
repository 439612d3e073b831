//! `tls[]` and `tcp[]` of a VirtualService: checked, and not enforced yet.

use super::policy;
use super::virtual_service::{gateway_names, read_destination};
use crate::decode::{At, Object};
use crate::names;
use crate::problem::{Code, Problem};

/// Checks both lists. `wide` is a VirtualService that the mesh sees.
pub fn check(spec: &Object<'_>, hosts: &[At<String>], wide: bool) {
    for rule in spec.objects("tls") {
        if rule.list("match").is_empty() {
            rule.missing("match");
        }
        for block in rule.objects("match") {
            conditions(&block);
            sni_hosts(&block, hosts, wide);
        }
        route(&rule);
    }
    for rule in spec.objects("tcp") {
        rule.objects("match").for_each(|block| conditions(&block));
        route(&rule);
    }
}

fn conditions(block: &Object<'_>) {
    for subnet in block.texts("destinationSubnets") {
        if !names::is_subnet(&subnet.value) {
            let words = format!("`{}` is neither an address nor a range of them", subnet.value);
            block.sink.refuse(&subnet.place, words);
        }
    }
    block.number("port", 0, 65_535);
    policy::labels(block, "sourceLabels");
    gateway_names(block);
}

fn sni_hosts(block: &Object<'_>, hosts: &[At<String>], wide: bool) {
    let names_ = block.texts("sniHosts");
    if names_.is_empty() {
        block.missing("sniHosts");
    }
    for name in names_ {
        let good = if wide { names::is_wildcard_domain(&name.value) } else { names::is_sni_domain(&name.value) };
        if !good && names::is_address(&name.value) {
            let words = format!("`{}`: clients send no addresses as SNI", name.value);
            block.sink.add(Problem::new(Code::NoEffect, name.place, words));
        } else if !good {
            block.sink.refuse(&name.place, format!("`{}` is not a host name", name.value));
        } else if !hosts.iter().any(|host| names::is_subset(&name.value, &host.value)) {
            let words = format!("`{}` is none of the `hosts` of this VirtualService", name.value);
            block.sink.refuse(&name.place, words);
        }
    }
}

fn route(rule: &Object<'_>) {
    if rule.list("route").is_empty() {
        rule.missing("route");
    }
    let mut total = 0;
    for route in rule.objects("route") {
        total += route.number("weight", 0, i64::from(i32::MAX)).map_or(0, |weight| weight.value);
        match route.object("destination") {
            Some(destination) => drop(read_destination(&destination)),
            None => route.missing("destination"),
        }
    }
    if rule.list("route").len() > 1 && total == 0 {
        let words = "the weights of the destinations sum up to 0";
        rule.sink.add(rule.problem(Code::Value, "route", words).hint("give each destination a `weight`"));
    }
}
