//! Patches of routes and virtual hosts: retries, the timeout, `rate_limits`, filters' configuration for them alone.

use super::fault::header_match;
use super::filter::{Filter, per_filter};
use super::limit::rate_limits;
use super::message::Message;
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::limit::Action;
use weir_policy::retry::Conditions;
use weir_policy::route::HeaderMatch;

/// HTTP_ROUTE.
#[derive(Default, Debug)]
pub struct RoutePatch {
    pub retry: Option<RetryPatch>,
    pub timeout: Option<Duration>,
    pub rate_limits: Vec<Vec<Action>>,
    pub per_filter: Vec<Filter>,
}

/// VIRTUAL_HOST.
#[derive(Default, Debug)]
pub struct HostPatch {
    pub retry: Option<RetryPatch>,
    pub rate_limits: Vec<Vec<Action>>,
    pub per_filter: Vec<Filter>,
}

/// `retry_policy`; what is absent stays as it is.
#[derive(Clone, Default, Debug)]
pub struct RetryPatch {
    pub on: Option<Conditions>,
    pub attempts: Option<u32>,
    pub per_try: Option<Duration>,
    pub codes: Vec<u16>,
    pub headers: Vec<HeaderMatch>,
    pub request_headers: Vec<HeaderMatch>,
    /// `rate_limited_retry_back_off.max_interval`, when `retry-after` is its one header.
    pub rate_limited: Option<Duration>,
    pub base: Option<Duration>,
    pub max: Option<Duration>,
    pub picks: Option<u32>,
    /// `retry_host_predicate` names `previous_hosts`.
    pub avoids_previous: bool,
}

const LEAST: Duration = Duration::from_millis(1);

/// Reads the value of an HTTP_ROUTE patch.
pub fn route(message: &Message<'_>) -> RoutePatch {
    let mut patch = RoutePatch { per_filter: per_filter(message), ..RoutePatch::default() };
    if let Some(action) = message.message("route") {
        patch.retry = action.message("retry_policy").map(|policy| retry(&policy));
        patch.timeout = action.length("timeout", Duration::ZERO);
        patch.rate_limits = rate_limits(&action);
        action.end();
    }
    message.end();
    patch
}

/// Reads the value of a VIRTUAL_HOST patch.
pub fn host(message: &Message<'_>) -> HostPatch {
    let patch = HostPatch {
        retry: message.message("retry_policy").map(|policy| retry(&policy)),
        rate_limits: rate_limits(message),
        per_filter: per_filter(message),
    };
    message.end();
    patch
}

fn retry(policy: &Message<'_>) -> RetryPatch {
    let back_off = policy.message("retry_back_off");
    let (base, max) = back_off.as_ref().map_or((None, None), |back_off| {
        let lengths = (back_off.length("base_interval", LEAST), back_off.length("max_interval", LEAST));
        back_off.end();
        lengths
    });
    if let (Some(base), Some(max)) = (base, max)
        && max < base
    {
        let words = format!("`{}.retry_back_off.max_interval` is below `base_interval`", policy.path);
        policy.object.sink.add(policy.refuse("retry_back_off", words));
    }
    let code = |node| crate::decode::number(node, "retriable_status_codes", 100, 599, policy.object.sink);
    let codes = policy.object.list("retriable_status_codes").iter().filter_map(code);
    let patch = RetryPatch {
        on: conditions(policy),
        attempts: policy.count("num_retries"),
        per_try: policy.length("per_try_timeout", LEAST),
        codes: codes.map(|code| code.value as u16).collect(),
        headers: headers(policy, "retriable_headers"),
        request_headers: headers(policy, "retriable_request_headers"),
        rate_limited: rate_limited(policy),
        base,
        max,
        picks: policy.count("host_selection_retry_max_attempts"),
        avoids_previous: predicates(policy),
    };
    policy.end();
    patch
}

fn conditions(policy: &Message<'_>) -> Option<Conditions> {
    let written = policy.object.text("retry_on")?;
    let mut out = Conditions::default();
    for part in written.value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match Conditions::of_word(part) {
            Some(condition) => out = out.with(condition),
            None => {
                let words = format!("`{}.retry_on` has `{part}`, which is no condition of Envoy's", policy.path);
                let hint = "statuses go into `retriable_status_codes`";
                policy.object.sink.add(Problem::new(Code::Value, written.place.clone(), words).hint(hint));
            }
        }
    }
    Some(out)
}

fn headers(policy: &Message<'_>, name: &'static str) -> Vec<HeaderMatch> {
    policy.messages(name).iter().filter_map(header_match).collect()
}

/// Envoy's default `max_interval`.
const RATE_LIMITED: Duration = Duration::from_secs(300);

fn rate_limited(policy: &Message<'_>) -> Option<Duration> {
    let back_off = policy.message("rate_limited_retry_back_off")?;
    let longest = back_off.length("max_interval", LEAST).unwrap_or(RATE_LIMITED);
    for header in back_off.messages("reset_headers") {
        let name = header.text("name").unwrap_or_default();
        let seconds = header.object.word("format", &[("SECONDS", true), ("UNIX_TIMESTAMP", false)]);
        header.end();
        if !name.eq_ignore_ascii_case("retry-after") || seconds.is_some_and(|seconds| !seconds.value) {
            let words = format!("`{}` is `{name}`: weir has only `retry-after` in SECONDS", header.path);
            header.object.sink.add(header.object.problem(Code::OutsideSubset, "name", words));
        }
    }
    back_off.end();
    Some(longest)
}

fn predicates(policy: &Message<'_>) -> bool {
    const PREVIOUS: &str = "envoy.retry_host_predicates.previous_hosts";
    let mut avoids = false;
    for predicate in policy.messages("retry_host_predicate") {
        let name = predicate.text("name").unwrap_or_default();
        predicate.object.without_effect(&["typed_config"]);
        predicate.end();
        if name == PREVIOUS {
            avoids = true;
        } else {
            let words = format!("`{}` is `{name}`: weir has only `{PREVIOUS}`", predicate.path);
            predicate.object.sink.add(predicate.object.problem(Code::OutsideSubset, "name", words));
        }
    }
    avoids
}
