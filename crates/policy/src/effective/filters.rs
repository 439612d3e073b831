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
use crate::{cors, fault, limit};

pub(super) fn chain(values: &mut Values<'_>, chain: &Chain) {
    let Chain { filters } = chain;
    for filter in filters {
        match filter {
            Filter::Fault(rules) => faults(values, rules),
            Filter::Cors(rules) => values.add("corsPolicy", cors_of(rules)),
            Filter::Limit(limit) => values.add("localRateLimit", limit_of(limit)),
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

pub(super) fn mirrors(values: &mut Values<'_>, mirrors: &[Mirror]) {
    if !mirrors.is_empty() {
        values
            .list("mirrors", mirrors.iter().map(|Mirror { cluster: _, share }| format!("{} copied", percent(*share))));
    }
}
