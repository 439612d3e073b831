//! `mirror` and `mirrors` of a VirtualService's rule: where copies of requests go, and of which share.

use super::headers::Headers;
use super::virtual_service::{Destination, Weighted, read_destination};
use crate::decode::Object;
use crate::problem::{Code, Problem};

/// One mirror.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where to; its weight and headers mean nothing here.
    pub to: Weighted,
    /// 0–100.
    pub percentage: f64,
}

/// Reads a rule's `mirror`, its percentages, and `mirrors`.
pub fn mirrors(rule: &Object<'_>) -> Vec<Mirror> {
    if rule.has("mirror") && rule.has("mirrors") {
        rule.sink.add(rule.problem(Code::Conflict, "mirrors", "`mirror` and `mirrors` exclude each other"));
    }
    let percentage = share(rule);
    let mut out: Vec<Mirror> = Vec::new();
    if let Some(to) = rule.object("mirror").and_then(|written| destination(&written)) {
        out.push(Mirror { to, percentage: percentage.unwrap_or(100.0) });
    } else if percentage.is_some() && !rule.has("mirror") {
        let words = "a percentage of `mirror` without `mirror` does nothing";
        rule.sink.add(Problem::new(Code::NoEffect, rule.place(), words));
    }
    for written in rule.objects("mirrors") {
        let to = written.object("destination");
        let percentage = value(&written, "percentage");
        written.end();
        out.extend(to.and_then(|to| destination(&to)).map(|to| Mirror { to, percentage: percentage.unwrap_or(100.0) }));
    }
    out
}

/// `mirrorPercentage` wins over the whole numbers of old.
fn share(rule: &Object<'_>) -> Option<f64> {
    let mut old = None;
    for name in ["mirrorPercent", "mirror_percent"] {
        if let Some(percent) = rule.number(name, 0, 100) {
            let words = format!("`{name}` is deprecated");
            let hint = format!("write `mirrorPercentage: {{ value: {} }}`", percent.value);
            rule.sink.add(rule.problem(Code::Deprecated, name, words).hint(hint));
            old = Some(percent.value as f64);
        }
    }
    value(rule, "mirrorPercentage").or(old)
}

fn value(object: &Object<'_>, name: &'static str) -> Option<f64> {
    let percentage = object.object(name)?;
    let value = percentage.fraction("value", 0.0, 100.0);
    percentage.end();
    Some(value.unwrap_or(0.0))
}

fn destination(written: &Object<'_>) -> Option<Weighted> {
    let Destination { host, subset, port } = read_destination(written)?;
    Some(Weighted { host, subset, port, weight: 0, headers: Headers::default() })
}
