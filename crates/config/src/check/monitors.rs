//! Metric families that there are, and relabellings that keep none of them.

use super::View;
use super::alerts::anchored;
use super::look::Look;
use crate::problem::{Code, Problem};

/// Histograms: with `_bucket`, `_sum`, `_count`.
const HISTOGRAMS: [&str; 6] = [
    "istio_request_duration_milliseconds",
    "istio_request_bytes",
    "istio_response_bytes",
    "istio_retry_backoff_milliseconds",
    "istio_retry_duration_milliseconds",
    "istio_agent_startup_duration_seconds",
];
/// What Istio's proxies export.
const ISTIO: [&str; 9] = [
    "istio_requests_total",
    "istio_request_messages_total",
    "istio_response_messages_total",
    "istio_tcp_sent_bytes_total",
    "istio_tcp_received_bytes_total",
    "istio_tcp_connections_opened_total",
    "istio_tcp_connections_closed_total",
    "istio_build",
    "istio_info",
];
/// What only weir exports, under names that people look for.
const WEIR: [&str; 18] = [
    "istio_retry_attempts_total",
    "istio_retry_success_total",
    "istio_retry_limit_exceeded_total",
    "istio_retry_overflow_total",
    "istio_retry_budget_denied_total",
    "istio_retry_not_idempotent_skipped_total",
    "istio_retry_skipped_total",
    "istio_outlier_detection_ejections_total",
    "istio_outlier_detection_ejections_active",
    "istio_outlier_detection_ejections_overflow_total",
    "istio_circuit_breaker_state",
    "istio_circuit_breaker_remaining",
    "istio_circuit_breaker_rejected_total",
    "istio_circuit_breaker_transitions_total",
    "istio_rate_limit_allowed_total",
    "istio_rate_limit_limited_total",
    "istio_rate_limit_errors_total",
    "istio_fault_injected_total",
];

/// Where a metric comes from.
pub(super) enum Family {
    Istio,
    Weir,
    /// Under one of our prefixes, and nobody's; the closest one that there is.
    Unknown(Option<String>),
    /// Not ours to judge.
    Foreign,
}

pub(super) fn family(name: &str) -> Family {
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    let base = base.filter(|base| HISTOGRAMS.contains(base)).unwrap_or(name);
    if base.starts_with("istio_retry_") && HISTOGRAMS.contains(&base) || WEIR.contains(&base) {
        Family::Weir
    } else if ISTIO.contains(&base) || HISTOGRAMS.contains(&base) || base.starts_with("istio_agent_") {
        Family::Istio
    } else if base.starts_with("istio_") {
        let known: Vec<&str> = ISTIO.iter().chain(&WEIR).chain(&HISTOGRAMS).copied().collect();
        let close = known.iter().min_by_key(|one| strsim::damerau_levenshtein(one, base)).copied();
        Family::Unknown(close.filter(|one| strsim::damerau_levenshtein(one, base) <= 6).map(str::to_owned))
    } else if base.starts_with("envoy_") {
        Family::Unknown(None)
    } else {
        Family::Foreign
    }
}

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    for doc in view.of_kind("ServiceMonitor").chain(view.of_kind("PodMonitor")) {
        let endpoints = doc.spec.items_at("endpoints").chain(doc.spec.items_at("podMetricsEndpoints"));
        for rule in endpoints.flat_map(|endpoint| endpoint.items_at("metricRelabelings")) {
            keeps(rule, out);
        }
    }
}

fn keeps(rule: Look<'_>, out: &mut Vec<Problem>) {
    let labels: Vec<&str> = rule.items_at("sourceLabels").filter_map(Look::text).collect();
    let keep = rule.text_at("action").is_some_and(|action| action.eq_ignore_ascii_case("keep"));
    let Some((pattern, at)) = rule.text_at("regex").zip(rule.get("regex")) else { return };
    if !keep || labels != ["__name__"] {
        return;
    }
    let Some(regex) = anchored(pattern) else {
        out.push(at.problem(Code::Regex, format!("`{pattern}` is not a regular expression")));
        return;
    };
    if !["istio_", "envoy_", "weir_"].iter().any(|start| pattern.trim_start_matches(['^', '(']).starts_with(start)) {
        return;
    }
    let series = |one: &&str| HISTOGRAMS.contains(one);
    let all = ISTIO.iter().chain(&WEIR).chain(&HISTOGRAMS).copied();
    let names = all.flat_map(|one| {
        let ends: &[&str] = if series(&one) { &["_bucket", "_sum", "_count"] } else { &[""] };
        ends.iter().map(move |end| format!("{one}{end}"))
    });
    let kept: Vec<String> = names.filter(|name| regex.is_match(name)).collect();
    if kept.is_empty() && !pattern.contains("weir_") {
        let words = format!("`{pattern}` keeps no sample: no metric has such a name");
        out.push(at.problem(Code::KeepsNothing, words).hint("the whole name must match, such as `istio_request.*`"));
    } else if !kept.is_empty() && kept.iter().all(|name| matches!(family(name), Family::Weir)) {
        let words =
            format!("`{pattern}` keeps metrics that only weir has: with Istio's proxies every sample is dropped");
        out.push(at.problem(Code::MetricNotInIstio, words).hint("weir exports them"));
    }
}
