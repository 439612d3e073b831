//! Retries and timeouts: what is retried, how long that takes, and which tries have no time.

use super::look::Look;
use super::{Doc, View};
use crate::duration::show;
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::plan::Compatibility;
use weir_policy::retry::{BackOff, Conditions, Rules};

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    for doc in view.of_kind("VirtualService") {
        for rule in doc.spec.items_at("http") {
            of_rule(view, doc, rule, out);
        }
    }
    for doc in view.of_kind("DestinationRule") {
        let policies = doc.spec.get("trafficPolicy").into_iter();
        let subsets = doc.spec.items_at("subsets").filter_map(|subset| subset.get("trafficPolicy"));
        for at in policies.chain(subsets).filter_map(|policy| policy.get("retryPolicy")) {
            if let Some(tries) = Tries::of_destination(at) {
                conditions(&tries, None, out);
            }
        }
    }
    for at in view.of_kind("Mesh").filter_map(|doc| doc.spec.get("defaultHttpRetryPolicy")) {
        if let Some(tries) = Tries::of_route(at) {
            conditions(&tries, None, out);
        }
    }
    for doc in view.of_kind("EnvoyFilter") {
        doc.spec.items_at("configPatches").for_each(|patch| everywhere(patch, out));
    }
}

/// The retries of one block, with Istio's defaults filled in.
struct Tries<'a> {
    at: Look<'a>,
    attempts: u32,
    attempts_at: Option<Look<'a>>,
    on: Conditions,
    on_at: Option<Look<'a>>,
    codes: bool,
    back_off: BackOff,
    back_off_at: Option<Look<'a>>,
    per_try: Option<(Duration, Look<'a>)>,
}

impl<'a> Tries<'a> {
    /// `None`: switched off.
    fn of_route(at: Look<'a>) -> Option<Self> {
        let base = at.duration_at("backoff").unwrap_or(BackOff::default().base);
        Self::read(at, "attempts", at.get("backoff"), BackOff { base, max: base * 10 })
    }

    fn of_destination(at: Look<'a>) -> Option<Self> {
        let base = at.duration_at("retryBackOff.baseInterval").unwrap_or(BackOff::default().base);
        let max = at.duration_at("retryBackOff.maxInterval").unwrap_or(base * 10).max(base);
        let mut tries = Self::read(at, "numRetries", at.get("retryBackOff"), BackOff { base, max })?;
        tries.codes |= at.items_at("retriableStatusCodes").next().is_some();
        Some(tries)
    }

    fn read(at: Look<'a>, count: &str, back_off_at: Option<Look<'a>>, back_off: BackOff) -> Option<Self> {
        let attempts_at = at.get(count);
        let attempts = attempts_at.map_or(Some(u64::from(Rules::default().attempts)), Look::number)?;
        let attempts = u32::try_from(attempts).ok().filter(|count| *count > 0)?;
        let on_at = at.get("retryOn").filter(|on| on.text().is_some_and(|text| !text.is_empty()));
        let (mut on, mut codes) = (Conditions::istio_default(), false);
        if let Some(text) = on_at.and_then(Look::text) {
            on = Conditions::default();
            for part in text.split(',').map(str::trim) {
                match Conditions::of_word(part) {
                    Some(condition) => on = on.with(condition),
                    None => codes |= part.parse::<u16>().is_ok(),
                }
            }
        }
        let per_try = at.duration_at("perTryTimeout").zip(at.get("perTryTimeout"));
        Some(Self { at, attempts, attempts_at, on, on_at, codes, back_off, back_off_at, per_try })
    }

    /// Is a try that took too long retried?
    fn covers_timeouts(&self) -> bool {
        self.on.has(Conditions::FIVE_XX.with(Conditions::GATEWAY_ERROR).with(Conditions::RESET))
    }

    /// The longest that the waits before the first `retries` retries can be together.
    fn waits(&self, retries: u32) -> Duration {
        let bounds = (1..=retries.min(1000)).map(|number| self.back_off.bound(number));
        bounds.fold(Duration::ZERO, Duration::saturating_add)
    }
}

/// The retries that hold for a rule: its own, else its first destination's.
fn effective<'a>(view: &View<'a>, doc: &Doc<'_>, rule: Look<'a>) -> Option<Tries<'a>> {
    if let Some(own) = rule.get("retries") {
        return Tries::of_route(own);
    }
    let host = rule.items_at("route").next()?.text_at("destination.host")?;
    let rules = view.rules_for(&view.name(host, doc)).iter();
    let policy = rules.filter_map(|rule| rule.spec.get("trafficPolicy.retryPolicy")).next()?;
    Tries::of_destination(policy)
}

fn of_rule(view: &View<'_>, doc: &Doc<'_>, rule: Look<'_>, out: &mut Vec<Problem>) {
    let timeout = rule.duration_at("timeout").filter(|length| !length.is_zero());
    if let Some(fault) = rule.get("fault").filter(|_| rule.has("timeout") || rule.has("retries"))
        && !felt_by_tries(view, doc, rule)
    {
        let words = "injected faults come before this rule's `timeout` and `retries`: an abort is not retried, a delay does not count";
        let hint = "a ReliabilityPolicy with `faultScope: upstream` lets every try feel them";
        out.push(fault.problem(Code::FaultBeforePolicies, words).hint(hint));
    }
    let Some(tries) = effective(view, doc, rule) else { return };
    if rule.has("retries") {
        conditions(&tries, timeout, out);
        unsafe_retries(view, &tries, rule, out);
        only_grpc(view, doc, &tries, rule, out);
    }
    match timeout {
        Some(timeout) => against_timeout(&tries, rule, timeout, out),
        None if rule.has("retries") => no_timeout(&tries, out),
        None => {}
    }
}

/// Is there a policy that has every try feel the rule's fault?
fn felt_by_tries(view: &View<'_>, doc: &Doc<'_>, rule: Look<'_>) -> bool {
    let targets = |kind: &'static str| {
        let policies = view.of_kind("ReliabilityPolicy");
        let policies = policies.filter(|policy| policy.spec.text_at("faultScope") == Some("upstream"));
        policies.flat_map(move |policy| {
            let targets = policy.spec.items_at("targetRefs").filter(move |it| it.text_at("kind") == Some(kind));
            targets.filter_map(move |target| Some((policy, target.text_at("name")?)))
        })
    };
    let route = format!("{}/{}", doc.name, rule.text_at("name").unwrap_or_default());
    let mut hosts = rule.items_at("route").filter_map(|one| one.text_at("destination.host")).peekable();
    targets("Route").any(|(policy, name)| policy.namespace == doc.namespace && name == route)
        || hosts.peek().is_some()
            && hosts
                .all(|host| targets("Service").any(|(policy, name)| view.name(name, policy) == view.name(host, doc)))
}

/// What `retryOn` covers.
fn conditions(tries: &Tries<'_>, timeout: Option<Duration>, out: &mut Vec<Problem>) {
    if let Some((per_try, at)) = tries.per_try
        && !tries.covers_timeouts()
        && timeout.is_none_or(|timeout| per_try < timeout)
    {
        let why = match tries.on_at {
            Some(_) => "`retryOn` has none of `5xx`, `gateway-error`, `reset`",
            None => "without `retryOn` Istio's default holds, which has none of `5xx`, `gateway-error`, `reset`",
        };
        let words =
            format!("a try that takes longer than {} is answered with 504 and not retried: {why}", show(per_try));
        let hint = "add `reset` to `retryOn`, or remove `perTryTimeout` and limit the request by `timeout`";
        out.push(at.problem(Code::PerTryNotRetried, words).hint(hint));
    }
    let Some(on_at) = tries.on_at else { return };
    let never = Conditions::HTTP3_POST_CONNECT_FAILURE.with(Conditions::RETRIABLE_HEADERS);
    let listed = Conditions::words().filter_map(Conditions::of_word);
    let mut possible = listed.filter(|one| tries.on.has(*one) && !never.has(*one) && *one != Conditions::STATUS_CODES);
    if possible.next().is_none() && !tries.codes {
        let words = "these conditions cannot happen: `retriable-status-codes` needs statuses beside it, `retriable-headers` has none, HTTP/3 is not spoken";
        out.push(
            on_at
                .problem(Code::RetryNeverFires, words)
                .hint("name what is to be retried, such as `connect-failure,503`"),
        );
    }
}

/// gRPC conditions alone, and a destination that does not speak it.
fn only_grpc(view: &View<'_>, doc: &Doc<'_>, tries: &Tries<'_>, rule: Look<'_>, out: &mut Vec<Problem>) {
    let Some(on_at) = tries.on_at else { return };
    let grpc = Conditions::GRPC_CANCELLED
        .with(Conditions::GRPC_DEADLINE_EXCEEDED)
        .with(Conditions::GRPC_INTERNAL)
        .with(Conditions::GRPC_RESOURCE_EXHAUSTED)
        .with(Conditions::GRPC_UNAVAILABLE);
    let mut others = Conditions::words().filter_map(Conditions::of_word).filter(|one| !grpc.has(*one));
    if tries.codes || !tries.on.has(grpc) || others.any(|one| tries.on.has(one)) {
        return;
    }
    let plain = |destination: Look<'_>| {
        let service = view.graph.find(destination.text_at("host")?, doc.namespace)?;
        let ports = &view.graph.services[service].ports;
        let number = destination.number_at("port.number");
        let mut ours = ports.iter().filter(|port| number.is_none_or(|number| number == u64::from(port.number)));
        Some(ours.all(|port| matches!(port.protocol.to_uppercase().as_str(), "HTTP" | "TCP")))
    };
    let mut destinations = rule.items_at("route").filter_map(|one| one.get("destination"));
    if rule.items_at("route").next().is_some() && destinations.all(|one| plain(one) == Some(true)) {
        let words = "these are gRPC's conditions, and the destination's port is HTTP: nothing is ever retried";
        let hint = "add `connect-failure` or statuses, or name the port's protocol GRPC";
        out.push(on_at.problem(Code::RetryNeverFires, words).hint(hint));
    }
}

/// Methods that are safe to repeat, RFC 9110 section 9.2.2.
const IDEMPOTENT: [&str; 7] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"];

fn unsafe_retries(view: &View<'_>, tries: &Tries<'_>, rule: Look<'_>, out: &mut Vec<Problem>) {
    let after_bytes = Conditions::FIVE_XX.with(Conditions::GATEWAY_ERROR).with(Conditions::RESET);
    let may_be_done = tries.on.has(after_bytes) || tries.codes;
    let asked = tries.at.is_true_at("retryNonIdempotent");
    let istio = view.compatibility == Compatibility::Istio && tries.at.text_at("retryNonIdempotent") != Some("false");
    let safe = |block: Look<'_>| block.text_at("method.exact").is_some_and(|method| IDEMPOTENT.contains(&method));
    let only_safe = rule.has("match") && rule.items_at("match").all(safe);
    if may_be_done && (asked || istio) && !only_safe {
        let at = tries.at.get("retryNonIdempotent").or(tries.on_at).unwrap_or(tries.at);
        let words = "POST and PATCH are sent again after answers that say nothing about whether they were carried out";
        let hint =
            "limit the rule to idempotent methods, or retry only `connect-failure,refused-stream,reset-before-request`";
        out.push(at.problem(Code::RetriesUnsafe, words).hint(hint));
    }
}

/// Which try has no time.
fn against_timeout(tries: &Tries<'_>, rule: Look<'_>, timeout: Duration, out: &mut Vec<Problem>) {
    let at = rule.get("timeout").unwrap_or(rule);
    if tries.back_off.base >= timeout && tries.back_off_at.is_some() {
        let words = format!(
            "the first wait is up to {}, and `timeout` is {}: most retries come too late",
            show(tries.back_off.base),
            show(timeout)
        );
        out.push(at.problem(Code::BackOffExceedsTimeout, words).hint("wait less, or allow more time"));
    }
    let Some((per_try, _)) = tries.per_try.filter(|(per_try, _)| *per_try < timeout) else { return };
    let count = tries.attempts.saturating_add(1);
    let needed = per_try.saturating_mul(count).saturating_add(tries.waits(tries.attempts));
    if needed <= timeout {
        return;
    }
    let ends = |number: u32| per_try.saturating_mul(number).saturating_add(tries.waits(number - 1));
    let cut = (1..=count.min(1000)).find(|number| ends(*number) > timeout).unwrap_or(count);
    let gone = (1..=count.min(1000)).find(|number| per_try.saturating_mul(number - 1) >= timeout);
    let fate = match gone {
        Some(gone) if gone <= cut => format!("try {gone} can never start when those before it time out"),
        Some(gone) => format!("try {cut} may be cut short, try {gone} can never start when those before it time out"),
        None => format!("try {cut} may be cut short"),
    };
    let words = format!(
        "{count} tries of {} and up to {} of back-off take up to {}, longer than `timeout: {}`: {fate}",
        show(per_try),
        show(tries.waits(tries.attempts)),
        show(needed),
        show(timeout)
    );
    let fit = (1..count).rev().find(|number| ends(*number) <= timeout).unwrap_or(1) - 1;
    let hint = format!("`attempts: {fit}` fits, or `timeout: {}`", show(needed));
    let at = tries.attempts_at.filter(|_| rule.has("retries")).unwrap_or(at);
    out.push(at.problem(Code::TriesExceedTimeout, words).hint(hint));
}

fn no_timeout(tries: &Tries<'_>, out: &mut Vec<Problem>) {
    let at = tries.attempts_at.unwrap_or(tries.at);
    let count = tries.attempts.saturating_add(1);
    let waits = tries.waits(tries.attempts);
    let words = match tries.per_try {
        None => {
            format!("no `timeout` and no `perTryTimeout`: up to {count} tries, each as long as the destination likes")
        }
        Some((per_try, _)) if tries.covers_timeouts() => format!(
            "no `timeout`: in the worst case {count} tries and the waits take {}",
            show(per_try.saturating_mul(count).saturating_add(waits))
        ),
        Some((per_try, _)) => {
            format!("no `timeout`: in the worst case the request ends after {}, with one try", show(per_try))
        }
    };
    out.push(at.problem(Code::NoTimeout, words).hint("`timeout` limits the whole request, its retries included"));
}

/// An EnvoyFilter's retries.
fn everywhere(patch: Look<'_>, out: &mut Vec<Problem>) {
    let value = patch.get("patch.value");
    let found = value.and_then(|value| value.get("route.retry_policy").or_else(|| value.get("retry_policy")));
    let Some(policy) = found else { return };
    if !["match.routeConfiguration", "match.cluster"].iter().any(|part| patch.has(part)) {
        let codes: Vec<&str> = policy.items_at("retriable_status_codes").filter_map(Look::text).collect();
        let codes = match codes.as_slice() {
            [] => String::new(),
            codes => format!(", and makes {} retriable in Istio, for POST too", codes.join(" and ")),
        };
        let words = format!("this changes the retries of every outbound route{codes}");
        let hint = "say which by `match.routeConfiguration.vhost.route.name`, or write `retries` in a VirtualService";
        out.push(policy.problem(Code::RetriesEverywhere, words).hint(hint));
    }
    if !policy.has("retry_on") {
        let words = "no `retry_on`: a route keeps its own conditions, and one without retries gets none";
        let at = policy.get("retry_back_off").unwrap_or(policy);
        out.push(at.problem(Code::RetryNeverFires, words).hint("name the conditions by `retry_on`"));
    }
}
