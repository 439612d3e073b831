//! `Mesh`: mesh-wide defaults (ours; Istio's MeshConfig names where one exists).

use super::destination_rule::{RetryBudget, retry_budget};
use super::outbound::{self, Outbound};
use super::retries::{Retries, retries};
use crate::decode::{At, Object};
use crate::fields::Fields;
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::place::Place;
use weir_policy::plan::{AccessLog, Compatibility, Fronted, Limits};
use weir_policy::trust::Cidr;

/// `Mesh.spec`.
#[derive(Debug)]
pub struct Mesh {
    pub compatibility: Option<Compatibility>,
    pub outbound: Option<Outbound>,
    pub connect_timeout: Option<Duration>,
    pub retries: Option<Retries>,
    pub retry_budget: Option<RetryBudget>,
    pub access_log: Option<AccessLog>,
    pub limits: Limits,
    /// `trustRequestOverrides`.
    pub trust: Vec<Cidr>,
    /// `gatewayTopology`.
    pub fronted: Fronted,
    /// Where its fields stand.
    pub at: Fields,
    pub place: Place,
}

/// Reads `Mesh.spec`.
pub fn mesh(spec: &Object<'_>) -> Mesh {
    let compatibility = [("weir", Compatibility::Weir), ("istio", Compatibility::Istio)];
    let compatibility = spec.word("compatibility", &compatibility).map(|word| word.value);
    let outbound = outbound::of_mesh(spec);
    let connect_timeout = spec.duration("connectTimeout", Duration::from_millis(1)).map(|length| length.value);
    let default_retries = spec.object("defaultHttpRetryPolicy").map(|policy| {
        // As in Istio's MeshConfig, where it is not taken over either.
        policy.without_effect(&["perTryTimeout"]);
        retries(&policy)
    });
    let budget = spec.object("retryBudget").map(|budget| retry_budget(&budget));
    let trust = trust(spec);
    let fronted = spec.object("gatewayTopology").map(|topology| fronted(&topology)).unwrap_or_default();
    spec.list("extensionProviders");
    spec.later(&["extensionProviders"]);
    let access_log = spec.object("accessLog").and_then(|log| {
        let format =
            log.word("format", &[("json", AccessLog::Json), ("text", AccessLog::Text), ("off", AccessLog::Off)]);
        log.text("path");
        log.later(&["path"]);
        log.end();
        format.map(|format| format.value)
    });
    let mut limits = Limits::default();
    if let Some(bytes) = size(spec, "requestBufferLimit") {
        limits.replay_request = bytes;
    }
    if let Some(written) = spec.object("limits") {
        read_limits(&written, &mut limits);
    }
    spec.end();
    Mesh {
        compatibility,
        outbound,
        connect_timeout,
        retries: default_retries,
        retry_budget: budget,
        access_log,
        limits,
        trust,
        fronted,
        at: Fields::of(spec, &[]),
        place: spec.place(),
    }
}

/// As in Istio's ProxyConfig.
fn fronted(topology: &Object<'_>) -> Fronted {
    let announced = topology.object("proxyProtocol").map(|empty| empty.end());
    topology.end();
    announced.map_or(Fronted::Directly, |()| Fronted::ByProxyProtocol)
}

fn trust(spec: &Object<'_>) -> Vec<Cidr> {
    let ranges = spec.texts("trustRequestOverrides");
    let known = ranges.into_iter().filter_map(|At { value, place }| {
        let range = Cidr::parse(&value);
        if range.is_none() {
            let words = format!("`{value}` is not a range of addresses");
            spec.sink.add(Problem::new(Code::Value, place, words).hint("write it like 10.0.0.0/8 or 127.0.0.1"));
        }
        range
    });
    known.collect()
}

fn read_limits(written: &Object<'_>, limits: &mut Limits) {
    let head = |name| size(written, name).map(|bytes| bytes.clamp(1024, 1 << 20) as u32);
    let count = |name| written.number(name, 1, i64::from(u32::MAX)).map(|number| number.value as u32);
    let length = |name| written.duration(name, Duration::from_millis(1)).map(|length| length.value);
    limits.connections = count("connections").unwrap_or(limits.connections);
    limits.request_head = head("requestHead").unwrap_or(limits.request_head);
    limits.response_head = head("responseHead").unwrap_or(limits.response_head);
    limits.headers = count("headers").unwrap_or(limits.headers);
    limits.head_timeout = length("headTimeout").unwrap_or(limits.head_timeout);
    limits.body_timeout = length("bodyTimeout").unwrap_or(limits.body_timeout);
    let rate = written.number("minBodyRate", 0, i64::from(u32::MAX)).map(|number| number.value as u32);
    limits.body_rate = rate.unwrap_or(limits.body_rate);
    limits.stream_idle = length("streamIdle").unwrap_or(limits.stream_idle);
    limits.connection_idle = length("connectionIdle").unwrap_or(limits.connection_idle);
    limits.replay_memory = size(written, "replayMemory").unwrap_or(limits.replay_memory);
    if let Some(h2) = written.object("h2") {
        let streams = h2.number("maxConcurrentStreams", 1, i64::from(i32::MAX)).map(|number| number.value as u32);
        limits.streams = streams.unwrap_or(limits.streams);
        h2.end();
    }
    written.end();
}

/// Bytes: a number, or one with `Ki`, `Mi`, `Gi`.
fn size(object: &Object<'_>, name: &'static str) -> Option<u64> {
    let node = object.node(name)?;
    let crate::yaml::Value::Scalar(text, _) = &node.value else {
        object.sink.add(object.problem(Code::WrongType, name, format!("`{name}` must be a size, such as 64Ki")));
        return None;
    };
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text.as_str(), 1u64));
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    if bytes.is_none() {
        let words = format!("`{name}: {text}` is not a size");
        object.sink.add(object.problem(Code::Value, name, words).hint("write it like 65536, 64Ki or 1Mi"));
    }
    bytes
}
