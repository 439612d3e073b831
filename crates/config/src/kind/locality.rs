//! `localityLbSetting` and `zoneAwareLbSetting`: checked, and not enforced yet.

use crate::decode::{At, Object, number};
use crate::problem::{Code, Problem};

/// Labels that `failover` speaks of already.
const TOPOLOGY: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// Checks `localityLbSetting`.
pub fn check(setting: &Object<'_>) {
    let distributes = !setting.list("distribute").is_empty();
    let fails_over = !setting.list("failover").is_empty();
    if distributes && fails_over {
        let words = "`distribute` and `failover` exclude each other";
        setting.sink.add(setting.problem(Code::Conflict, "failover", words));
        return;
    }
    let mut sources = Vec::new();
    for rule in setting.objects("distribute") {
        sources.extend(rule.text("from"));
        shares(&rule);
    }
    distinct(setting, &sources);
    failover(setting);
}

/// Checks `failover` and `failoverPriority`, which `zoneAwareLbSetting` has too.
pub fn failover(setting: &Object<'_>) {
    let fails_over = !setting.list("failover").is_empty();
    for label in setting.texts("failoverPriority").iter().filter(|_| fails_over) {
        if TOPOLOGY.contains(&label.value.as_str()) {
            let words = format!("`failover` is about regions already: `{}` cannot stand beside it", label.value);
            setting.sink.refuse(&label.place, words);
        }
    }
    setting.objects("failover").for_each(|rule| regions(&rule));
}

/// The shares of a rule are 1 to 100, and 100 together.
fn shares(rule: &Object<'_>) {
    let mut total = 0;
    let mut places = Vec::new();
    for (key, node) in rule.map("to") {
        let Some(share) = number(node, "to", 0, i64::from(u32::MAX), rule.sink) else { continue };
        if !(1..=100).contains(&share.value) {
            rule.sink.refuse(&share.place, format!("the share of `{}` must be 1 to 100", key.text));
        }
        total += share.value;
        places.push(At { value: key.text.clone(), place: rule.sink.place(key.line, key.column) });
    }
    if total != 100 {
        rule.refuse("to", format!("the shares sum up to {total}; they must sum up to 100"));
    }
    distinct(rule, &places);
}

/// Localities `region/zone/subzone`, none within another; `*` at the end only.
fn distinct(object: &Object<'_>, localities: &[At<String>]) {
    for (index, locality) in localities.iter().enumerate() {
        let text = locality.value.as_str();
        if text.matches('*').count() > usize::from(text.ends_with('*')) {
            let words = format!("`{text}`: one `*`, at the end");
            object.sink.refuse(&locality.place, words);
        } else if text.splitn(3, '/').any(str::is_empty) {
            let words = format!("`{text}` is not `region`, `region/zone` or `region/zone/subzone`");
            object.sink.refuse(&locality.place, words);
        } else if let Some(other) = localities[..index].iter().find(|other| overlap(&other.value, text)) {
            object.sink.refuse(&locality.place, format!("`{}` and `{text}` overlap", other.value));
        }
    }
}

/// Is one of the two within the other? A `*` is everything below; the later one may be the wider only where it is
/// written with fewer parts.
fn overlap(earlier: &str, later: &str) -> bool {
    let (one, other): (Vec<&str>, Vec<&str>) = (earlier.splitn(3, '/').collect(), later.splitn(3, '/').collect());
    for (nth, part) in one.iter().enumerate() {
        match other.get(nth) {
            None => return true,
            Some(_) if *part == "*" => return true,
            Some(same) if same != part => return false,
            Some(_) => {}
        }
    }
    true
}

fn regions(rule: &Object<'_>) {
    let word = |name| rule.text(name).map(|text| text.value).unwrap_or_default();
    let (from, to) = (word("from"), word("to"));
    let refuse = |words: &str| rule.sink.add(Problem::new(Code::Value, rule.place(), words));
    if from == to {
        refuse("`from` and `to` are the same region");
    }
    if from.contains('/') || to.contains('/') {
        refuse("`failover` is between regions: no zones");
    }
    if from.contains('*') || to.contains('*') {
        refuse("`failover` has no wildcards");
    }
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn overlaps() {
        for (one, other) in [("*", "r"), ("r", "r/z"), ("r/z", "r"), ("r/*", "r/z"), ("r/z/s", "r/z"), ("r/z", "r/z")] {
            assert!(overlap(one, other), "{one} {other}");
        }
        for (one, other) in [("r", "s"), ("r/z", "r/y"), ("r/z/s", "r/z/t"), ("r/z", "r/*")] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }
}
