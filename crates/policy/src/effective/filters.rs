//! The values of what a request passes before it is routed on: faults, CORS, limits, and the copies it leaves.
//!
//! Does not: know which documents can write them.

use super::{Values, show};
use crate::cors::{Credentials, Unmatched};
use crate::fault::{Abort, AbortStatus, Delay, Length, Status};
use crate::filter::{Chain, Filter};
use crate::limit::{DefaultUse, Fill, Limit, Scope, Tell};
use crate::route::Mirror;
use crate::share::Share;
use crate::{cors, fault, limit, rate};

pub(super) fn chain(values: &mut Values<'_>, chain: &Chain) {
    let Chain { filters } = chain;
    for filter in filters {
        match filter {
            Filter::Fault(rules) => faults(values, rules),
            Filter::Cors(rules) => values.add("corsPolicy", cors_of(rules)),
            Filter::Limit(limit) => values.add("localRateLimit", limit_of(limit)),
            Filter::Rate(limit) => values.add("rateLimits", rate_of(limit)),
        }
    }
}

/// A share as documents write it.
fn percent(share: Share) -> String {
    format!("{} %", f64::from(share.parts()) / 10_000.0)
}

pub(super) fn faults(values: &mut Values<'_>, rules: &fault::Rules) {
    let fault::Rules { delay, abort, headers } = rules;
    let only = if headers.is_empty() { "" } else { ", by headers" };
    if let Some(Delay { length, share }) = delay {
        let length = match length {
            Length::Fixed(length) => show(*length),
            Length::Header => "as x-envoy-fault-delay-request says".to_owned(),
        };
        values.add("fault.delay", format!("{length} for {}{only}", percent(*share)));
    }
    if let Some(Abort { status, share }) = abort {
        let status = match status {
            AbortStatus::Fixed(Status::Http(status)) => status.to_string(),
            AbortStatus::Fixed(Status::Grpc(code)) => format!("grpc-status {code}"),
            AbortStatus::Header => "as x-envoy-fault-abort-request says".to_owned(),
        };
        values.add("fault.abort", format!("{status} for {}{only}", percent(*share)));
    }
}

fn cors_of(rules: &cors::Rules) -> String {
    let cors::Rules { origins, methods, headers, expose, max_age, credentials, unmatched } = rules;
    let mut words: Vec<String> = origins.iter().map(|origin| format!("origin {origin}")).collect();
    for (name, value) in [("methods", methods), ("headers", headers), ("expose", expose)] {
        if !value.is_empty() {
            words.push(format!("{name} {value}"));
        }
    }
    words.extend(max_age.as_ref().map(|age| format!("maxAge {age}s")));
    if *credentials == Credentials::Yes {
        words.push("credentials".to_owned());
    }
    if *unmatched == Unmatched::Ignore {
        words.push("other preflights are answered".to_owned());
    }
    words.join(", ")
}

fn limit_of(limit: &Limit) -> String {
    let Limit { rules, index: _, actions: _ } = limit;
    let limit::Rules {
        id,
        fill,
        descriptors,
        default_use,
        enabled,
        enforced,
        status,
        grpc_status: _,
        scope,
        tell,
        response: _,
        over: _,
    } = &**rules;
    let mut words = vec![id.to_string()];
    words.extend(
        fill.map(|Fill { max, per_fill, interval }| format!("{max} tokens, {per_fill} more in {}", show(interval))),
    );
    if !descriptors.is_empty() {
        let only = if *default_use == DefaultUse::Unmatched { ", else the bucket" } else { "" };
        words.push(format!("{} descriptors{only}", descriptors.len()));
    }
    words.push(format!("{status} for {} of {}", percent(*enforced), percent(*enabled)));
    if *scope == Scope::Connection {
        words.push("for each connection".to_owned());
    }
    if *tell == Tell::Numbers {
        words.push("x-ratelimit-* told".to_owned());
    }
    words.join(", ")
}

/// Of a destination.
pub(super) fn rates(values: &mut Values<'_>, rates: &[rate::Limit]) {
    for limit in rates {
        values.add("rateLimits", rate_of(limit));
    }
}

fn rate_of(limit: &rate::Limit) -> String {
    let rate::Limit { rules, index: _ } = limit;
    let rate::Rules { id, when, key, amount, overrides, cost, mode, answer, shared } = &**rules;
    let mut words = vec![id.to_string(), amount_of(amount)];
    if !when.is_empty() {
        words.push(format!("if {}", when.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")));
    }
    if !key.is_empty() {
        words.push(format!("for each {}", key.iter().map(part_of).collect::<Vec<_>>().join(" and ")));
    }
    words.extend(overrides.iter().map(|over| format!("others {}", amount_of(&over.amount))));
    let rate::Cost { header, default } = cost;
    match header {
        Some(header) => words.push(format!("cost {header} or {default}")),
        None if *default != 1 => words.push(format!("cost {default}")),
        None => {}
    }
    if *mode == rate::Mode::Shadow {
        words.push("shadow".to_owned());
    }
    answered(answer, &mut words);
    if let Some(rate::Shared { url, timeout, on_error, slice }) = shared {
        let error = if *on_error == rate::OnError::Deny { "deny" } else { "allow" };
        let slice = slice.map(|slice| format!(", slices of {}", show(slice))).unwrap_or_default();
        words.push(format!("shared by {} within {}, else {error}{slice}", shown_url(url), show(*timeout)));
    }
    words.join(", ")
}

/// Without the password.
fn shown_url(url: &str) -> &str {
    url.rsplit('@').next().unwrap_or(url)
}

fn answered(answer: &rate::Answer, words: &mut Vec<String>) {
    let rate::Answer { status, grpc_status: _, body, fields, retry_after, tell } = answer;
    words.push(format!("answer {status}"));
    if !body.is_empty() {
        words.push(format!("{} bytes", body.len()));
    }
    words.extend(fields.iter().map(|(name, value)| format!("{name}: {value}")));
    if *retry_after == rate::RetryAfter::Nothing {
        words.push("no retry-after".to_owned());
    }
    if *tell == rate::Tell::Numbers {
        words.push("x-ratelimit-* told".to_owned());
    }
}

fn amount_of(amount: &rate::Amount) -> String {
    let rate::Amount { requests, per, burst, how } = amount;
    match how {
        rate::How::Bucket if burst == requests => format!("{requests} in {}", show(*per)),
        rate::How::Bucket => format!("{requests} in {}, {burst} at once", show(*per)),
        rate::How::Fixed => format!("{requests} in each {}", show(*per)),
        rate::How::Rolling => format!("{requests} in any {}", show(*per)),
    }
}

fn part_of(part: &rate::Part) -> String {
    match part {
        rate::Part::Header(name) => format!("header {name}"),
        rate::Part::ClientAddress => "client address".to_owned(),
        rate::Part::Query(name) => format!("query {name}"),
        rate::Part::Cookie(name) => format!("cookie {name}"),
        rate::Part::Method => "method".to_owned(),
        rate::Part::Path => "path".to_owned(),
    }
}

pub(super) fn mirrors(values: &mut Values<'_>, mirrors: &[Mirror]) {
    if !mirrors.is_empty() {
        values
            .list("mirrors", mirrors.iter().map(|Mirror { cluster: _, share }| format!("{} copied", percent(*share))));
    }
}
