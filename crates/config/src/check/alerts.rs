//! Alerts whose series can never be, with the expression that was meant.

use super::View;
use super::look::Look;
use super::monitors::{Family, family};
use super::promql::{Matcher, Quantile, quantiles, selectors};
use crate::problem::{Code, Edit, Problem};

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    for doc in view.of_kind("PrometheusRule") {
        for rule in doc.spec.items_at("groups").flat_map(|group| group.items_at("rules")) {
            if let Some((at, text)) = rule.get("expr").and_then(|at| Some((at, at.text()?))) {
                expression(at, text, out);
            }
        }
    }
}

fn expression(at: Look<'_>, text: &str, out: &mut Vec<Problem>) {
    for selector in selectors(text) {
        metric(at, selector.name, out);
        if selector.name.is_empty() || selector.name.starts_with("istio_") {
            selector.matchers.iter().for_each(|matcher| never(at, matcher, out));
        }
    }
    quantiles(text).iter().for_each(|quantile| without_le(at, quantile, out));
}

fn metric(at: Look<'_>, name: &str, out: &mut Vec<Problem>) {
    match family(name) {
        Family::Istio | Family::Foreign => {}
        Family::Weir => {
            let words = format!("Istio has no metric `{name}`: this alert can fire with weir only");
            out.push(at.problem(Code::MetricNotInIstio, words).hint("weir exports it"));
        }
        Family::Unknown(similar) => {
            let words = format!("there is no metric `{name}`: this alert can never fire");
            let hint = similar.map_or_else(
                || "docs/src/metrics.md lists what there is".to_owned(),
                |one| format!("did you mean `{one}`?"),
            );
            out.push(at.problem(Code::UnknownMetric, words).hint(hint));
        }
    }
}

/// Labels whose values are known, and what they can be.
const VALUES: [(&str, &[&str]); 4] = [
    ("reporter", &["source", "destination", "waypoint"]),
    ("request_protocol", &["http", "grpc", "tcp", "unknown"]),
    ("connection_security_policy", &["mutual_tls", "none", "unknown"]),
    ("response_code_class", &["1xx", "2xx", "3xx", "4xx", "5xx"]),
];
/// Labels of other systems, and what Istio calls them.
const RENAMED: [(&str, &str); 5] = [
    ("status", "response_code"),
    ("code", "response_code"),
    ("status_code", "response_code"),
    ("response_flag", "response_flags"),
    ("grpc_status", "grpc_response_status"),
];

fn never(at: Look<'_>, matcher: &Matcher<'_>, out: &mut Vec<Problem>) {
    let Matcher { label, operator, value, text } = matcher;
    let problem = |words: String, new: Option<String>, hint: String| {
        let edit = new.map(|new| Edit { line: at.place().line, old: (*text).to_owned(), new });
        Problem { fix: edit, ..at.problem(Code::SelectorNeverMatches, words).hint(hint) }
    };
    if let Some((_, real)) = RENAMED.iter().find(|(wrong, _)| wrong == label) {
        let new = match class(value).filter(|_| *real == "response_code" && *operator == "=") {
            Some(class) => format!("response_code=~\"{class}..\""),
            None => text.replacen(label, real, 1),
        };
        out.push(problem(
            format!("`{text}` never matches: Istio's label is `{real}`"),
            Some(new.clone()),
            format!("write `{new}`"),
        ));
        return;
    }
    if value.is_empty() || operator.starts_with('!') {
        return;
    }
    if *label == "response_code" {
        if !code_matches(operator, value) {
            let new = class(value).map(|class| format!("response_code=~\"{class}..\""));
            let hint = new
                .as_ref()
                .map_or_else(|| "it is a status, such as \"503\"".to_owned(), |new| format!("write `{new}`"));
            let words = format!("`{text}` never matches: `response_code` is a status such as 503");
            out.push(problem(words, new, hint));
        }
        return;
    }
    let Some((_, known)) = VALUES.iter().find(|(name, _)| name == label) else { return };
    let possible = match *operator {
        "=" => known.contains(value),
        _ => anchored(value).is_none_or(|regex| known.iter().any(|one| regex.is_match(one))),
    };
    if !possible {
        out.push(problem(format!("`{text}` never matches"), None, format!("`{label}` is one of {}", known.join(", "))));
    }
}

fn code_matches(operator: &str, value: &str) -> bool {
    if operator == "=" {
        return value == "0" || value.parse::<u16>().is_ok_and(|code| (100..600).contains(&code));
    }
    anchored(value).is_none_or(|regex| regex.is_match("0") || (100..600).any(|code| regex.is_match(&code.to_string())))
}

/// Prometheus matches whole values. `None`: it is no pattern, or a huge one.
pub(super) fn anchored(pattern: &str) -> Option<regex::Regex> {
    regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(1 << 20).build().ok()
}

/// `5xx`, `5XX`, `5**`, `5..` of a class of statuses.
fn class(value: &str) -> Option<char> {
    let first = value.chars().next().filter(|digit| ('1'..='5').contains(digit))?;
    ["xx", "XX", "**", "..", "x", "*"].contains(&&value[1..]).then_some(first)
}

fn without_le(at: Look<'_>, quantile: &Quantile<'_>, out: &mut Vec<Problem>) {
    let over = quantile.over;
    let groups: Vec<&str> =
        over.split("by").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('(')?.split(')').next()).collect();
    let summed = ["sum", "avg", "max", "min"].iter().any(|word| over.trim_start().starts_with(word));
    let has_le = groups.iter().any(|labels| labels.split(',').any(|label| label.trim() == "le"));
    if has_le || over.is_empty() || (summed && over.contains("without")) || !over.contains("_bucket") {
        return;
    }
    let (words, new) = if summed {
        ("`histogram_quantile` needs the label `le`, and this sum drops it: there is no result".to_owned(), None)
    } else {
        let new = quantile.text.replacen(over, &format!("sum by (le) ({over})"), 1);
        (
            "a quantile of every single series: workers, codes and pairs of services apart, most with few samples"
                .to_owned(),
            Some(new),
        )
    };
    let hint = new.as_ref().map_or_else(|| "add `le` to `by (…)`".to_owned(), |new| format!("write `{new}`"));
    let fix = new.map(|new| Edit { line: at.place().line, old: quantile.text.to_owned(), new });
    out.push(Problem { fix, ..at.problem(Code::QuantileWithoutLe, words).hint(hint) });
}
