//! Outlier detection: what can be ejected at all, when, and for how long.

use super::View;
use super::look::Look;
use super::policies::{Block, blocks};
use crate::duration::show;
use crate::problem::{Code, Problem};
use std::time::Duration;

/// Envoy's `max_ejection_time`, which Istio does not show: an ejection ends after it at the latest.
const LONGEST: Duration = Duration::from_secs(300);

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    for block in blocks(view, "outlierDetection") {
        ejects_nothing(&block, out);
        thresholds(&block, out);
        times(&block, out);
        local_origin(&block, out);
        panic_threshold(&block, out);
        consecutive_only(view, &block, out);
    }
}

/// Ejected iff 100 × (ejected + 1) / N ≤ max.
fn ejects_nothing(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let written = block.field("maxEjectionPercent");
    let percent = written.map_or(Some(10), Look::number).filter(|percent| *percent < 100);
    let Some(percent) = percent else { return };
    let at = block.at.get("maxEjectionPercent").unwrap_or(block.at);
    let by = if written.is_some() { "" } else { ", the default," };
    if percent == 0 {
        out.push(at.problem(Code::EjectsNothing, "`maxEjectionPercent: 0`: no endpoint is ever ejected"));
        return;
    }
    let needed = 100u64.div_ceil(percent);
    match block.endpoints() {
        Some(count) if (count as u64) < needed => {
            let words = format!(
                "`maxEjectionPercent` {percent}{by} of {count} endpoints is less than one: nothing is ever ejected"
            );
            let least = 100u64.div_ceil((count as u64).max(1)).min(100);
            let hint = format!("write {least} or more, or have at least {needed} endpoints");
            out.push(at.problem(Code::EjectsNothing, words).hint(hint));
        }
        None if needed > 1 => {
            let words = format!("`maxEjectionPercent` {percent}{by} ejects nothing with fewer than {needed} endpoints");
            let hint =
                format!("`{}` has none that are known here: compare, or write a higher percentage", block.host_text());
            out.push(at.problem(Code::EjectsNothing, words).hint(hint));
        }
        Some(_) | None => {}
    }
}

fn thresholds(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let any =
        block.field("consecutive5xxErrors").or_else(|| block.field("consecutiveErrors")).map_or(Some(5), Look::number);
    let gateway = block.at.get("consecutiveGatewayErrors");
    if let (Some(any), Some((at, number))) = (any, gateway.and_then(|at| Some((at, at.number()?))))
        && any > 0
        && number >= any
    {
        let words = format!(
            "`consecutiveGatewayErrors: {number}` has no effect: gateway errors count as 5xx too, and {any} of those eject first"
        );
        out.push(at.problem(Code::GatewayThreshold, words).hint(format!("make it less than {any}, or remove it")));
    }
    let off = |path| block.number(path).unwrap_or(0) == 0;
    let no_local = !block.is_true("splitExternalLocalOriginErrors");
    if any == Some(0) && off("consecutiveGatewayErrors") && no_local && rates(block.at).is_none() {
        let words = "every detector is off: 0 means \"never\", not \"at once\"";
        out.push(
            block.at.problem(Code::DetectorsOff, words).hint("write thresholds of 1 or more, or remove the block"),
        );
    }
}

fn times(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let base = block.duration("baseEjectionTime").unwrap_or(Duration::from_secs(30));
    let interval = block.duration("interval").unwrap_or(Duration::from_secs(10));
    if let Some(at) = block.at.get("baseEjectionTime").filter(|_| base >= LONGEST) {
        let words = format!(
            "an ejection is never longer than {}: with `baseEjectionTime: {}` repeated ejections do not grow",
            show(LONGEST.max(base)),
            show(base)
        );
        let hint = "a shorter one, such as 30s, lets an endpoint back soon and keeps a broken one out longer each time";
        out.push(at.problem(Code::EjectionNeverGrows, words).hint(hint));
    }
    if interval > base && (block.at.has("interval") || block.at.has("baseEjectionTime")) {
        let at = block.at.get("interval").unwrap_or(block.at);
        let words = format!(
            "endpoints come back only every `interval` ({}): an ejection of {} lasts longer than it says",
            show(interval),
            show(base)
        );
        out.push(
            at.problem(Code::IntervalAboveEjection, words).hint("make `interval` shorter than `baseEjectionTime`"),
        );
    }
}

fn local_origin(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let Some(at) = block.at.get("splitExternalLocalOriginErrors") else { return };
    if block.is_true("splitExternalLocalOriginErrors") && block.field("consecutiveLocalOriginFailures").is_none() {
        let words = "connect failures and timeouts are counted apart now, with a threshold of 5 that nothing here says";
        out.push(at.problem(Code::LocalOriginDefault, words).hint("write `consecutiveLocalOriginFailures`"));
    }
}

fn panic_threshold(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let Some(at) = block.at.get("minHealthPercent") else { return };
    let (Some(least), max) = (at.number(), block.number("maxEjectionPercent").unwrap_or(10)) else { return };
    if least == 0 {
        return;
    }
    let healthy = 100u64.saturating_sub(max);
    let (words, hint) = if least > healthy {
        let words = format!(
            "below {least}% healthy endpoints the ejected ones are used again, and `maxEjectionPercent: {max}` can bring it to {healthy}%"
        );
        (words, format!("keep `minHealthPercent` at {healthy} or less, or eject fewer"))
    } else {
        let words = format!(
            "`minHealthPercent: {least}` is never reached by ejections: at most {max}% are ejected, so {healthy}% stay"
        );
        (words, "remove it, or raise `maxEjectionPercent`".to_owned())
    };
    out.push(at.problem(Code::PanicThreshold, words).hint(hint));
}

fn rates(at: Look<'_>) -> Option<Look<'_>> {
    at.get("failurePercentage").or_else(|| at.get("successRate"))
}

/// Errors in a row: an endpoint that fails half of its requests is hardly ever found.
fn consecutive_only(view: &View<'_>, block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    if rates(block.at).is_some() || has_policy(view, block) {
        return;
    }
    let count = block.number("consecutive5xxErrors").unwrap_or(5).clamp(1, 30);
    let chance = 0.5f64.powi(count as i32) * 100.0;
    let chance = if chance >= 1.0 { format!("{chance:.0}") } else { "less than 1".to_owned() };
    let words = format!(
        "only errors in a row count, one success starts anew: an endpoint that fails half of its requests has {count} in a row with {chance}% of its tries"
    );
    let hint = "for a rate, add a ReliabilityPolicy with `outlier.failurePercentage` or `circuitBreaker.failureRate`";
    out.push(block.at.problem(Code::ConsecutiveOnly, words).hint(hint));
}

fn has_policy(view: &View<'_>, block: &Block<'_, '_>) -> bool {
    view.of_kind("ReliabilityPolicy").any(|policy| {
        let names = ["circuitBreaker", "outlier.failurePercentage", "outlier.successRate"];
        let ours = |target: Look<'_>| target.text_at("name").is_some_and(|name| view.name(name, policy) == block.host);
        policy.spec.items_at("targetRefs").any(ours) && names.iter().any(|name| policy.spec.has(name))
    })
}
