//! `fault` of a VirtualService's rule: `delay`, `abort`, or both.
//!
//! Does not: read Envoy's fault filter (`envoy_filter` does).

use crate::decode::{At, Object};
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::grpc;

/// `http[].fault`.
#[derive(Clone, Debug)]
pub struct Fault {
    pub delay: Option<Delay>,
    pub abort: Option<Abort>,
}

/// `fault.delay` with a `fixedDelay`.
#[derive(Clone, Debug)]
pub struct Delay {
    pub length: Duration,
    /// 0–100; `None` = nothing is injected.
    pub percentage: Option<f64>,
}

/// `fault.abort` with a status.
#[derive(Clone, Debug)]
pub struct Abort {
    pub status: Status,
    pub percentage: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Http(u16),
    Grpc(u8),
}

const LEAST: Duration = Duration::from_millis(1);
/// Percent: one in a million.
const LEAST_SHARE: f64 = 0.0001;

/// Reads `fault`.
pub fn fault(written: &Object<'_>) -> Fault {
    if !written.has("delay") && !written.has("abort") {
        let words = "`fault` needs `delay` or `abort`";
        written.sink.add(Problem::new(Code::Missing, written.place(), words));
    }
    let delay = written.object("delay").and_then(|delay| read_delay(&delay));
    let abort = written.object("abort").and_then(|abort| read_abort(&abort));
    written.end();
    Fault { delay, abort }
}

fn read_delay(delay: &Object<'_>) -> Option<Delay> {
    let length = delay.duration("fixedDelay", LEAST);
    if delay.has("exponentialDelay") {
        let words = "`exponentialDelay` is not supported, by Istio neither";
        delay.sink.add(delay.problem(Code::Value, "exponentialDelay", words).hint("use `fixedDelay`"));
    } else if !delay.has("fixedDelay") {
        let words = "a `delay` without `fixedDelay` delays nothing";
        delay.sink.add(Problem::new(Code::NoEffect, delay.place(), words));
    }
    delay.without_effect(&["exponentialDelay"]);
    let percent = delay.number("percent", 0, 100);
    if let Some(At { value, .. }) = &percent {
        let words = "`percent` is deprecated: Istio may drop it";
        let hint = format!("write `percentage: {{ value: {value} }}`");
        delay.sink.add(delay.problem(Code::Deprecated, "percent", words).hint(hint));
    }
    let percentage = percentage(delay, percent);
    delay.end();
    Some(Delay { length: length?.value, percentage })
}

fn read_abort(abort: &Object<'_>) -> Option<Abort> {
    let http = abort.number("httpStatus", 200, 600).map(|status| Status::Http(status.value as u16));
    let grpc = abort.text("grpcStatus").and_then(|name| grpc_status(abort, &name));
    if abort.has("http2Error") {
        let words = "`http2Error` is not supported, by Istio neither";
        abort.sink.add(abort.problem(Code::Value, "http2Error", words).hint("use `httpStatus` or `grpcStatus`"));
    }
    if !["httpStatus", "grpcStatus", "http2Error"].iter().any(|name| abort.has(name)) {
        let words = "an `abort` without `httpStatus` or `grpcStatus` aborts nothing";
        abort.sink.add(Problem::new(Code::NoEffect, abort.place(), words));
    }
    abort.without_effect(&["http2Error"]);
    let percent = abort.number("percent", 0, 100);
    if let Some(At { value, .. }) = &percent {
        let words = "Istio has no `percent` here any more: it would inject nothing";
        let hint = format!("it works in weir; for both write `percentage: {{ value: {value} }}`");
        abort.sink.add(abort.problem(Code::NotInIstio, "percent", words).hint(hint));
    }
    let percentage = percentage(abort, percent);
    abort.end();
    Some(Abort { status: http.or(grpc)?, percentage })
}

fn grpc_status(abort: &Object<'_>, name: &At<String>) -> Option<Status> {
    let number = grpc::of_name(&name.value);
    if number.is_none() {
        let words = format!("`grpcStatus: {}` is not the name of a gRPC status", name.value);
        let hint = crate::decode::similar(&name.value, grpc::names())
            .unwrap_or_else(|| format!("it is one of {}", grpc::names().join(", ")));
        abort.sink.add(Problem::new(Code::Value, name.place.clone(), words).hint(hint));
    }
    number.map(Status::Grpc)
}

/// `percentage.value`, or else the whole number of old.
fn percentage(part: &Object<'_>, percent: Option<At<i64>>) -> Option<f64> {
    let written = part.object("percentage").map(|percentage| {
        let value = percentage.fraction("value", 0.0, 100.0);
        percentage.end();
        if value.is_some_and(|value| value > 0.0 && value < LEAST_SHARE) {
            percentage.refuse("value", format!("`value` is below {LEAST_SHARE}, the least share that can be drawn"));
        }
        // An empty `percentage` is one of 0, as in every protobuf message.
        value.unwrap_or(0.0)
    });
    let found = written.or_else(|| percent.map(|percent| percent.value as f64));
    if found.is_none() && !part.has("percent") {
        let words = "without `percentage` nothing is injected, as in Istio";
        let hint = "add `percentage: { value: 100 }` for every request";
        part.sink.add(Problem::new(Code::NoEffect, part.place(), words).hint(hint));
    }
    found
}
