//! Patches of clusters (outlier detection, the panic threshold, breakers) and of the HTTP connection manager (trust).

use super::message::Message;
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::budget::Written;
use weir_policy::trust::Cidr;

/// CLUSTER.
#[derive(Default, Debug)]
pub struct ClusterPatch {
    pub outlier: Option<OutlierPatch>,
    /// `common_lb_config.healthy_panic_threshold.value`.
    pub panic: Option<u32>,
    /// `circuit_breakers.thresholds` of the default priority.
    pub thresholds: Option<Thresholds>,
}

/// `outlier_detection`; what is absent stays as it is.
#[derive(Clone, Default, Debug)]
pub struct OutlierPatch {
    pub errors: Option<u32>,
    pub gateway: Option<u32>,
    pub interval: Option<Duration>,
    pub base: Option<Duration>,
    pub longest: Option<Duration>,
    pub jitter: Option<Duration>,
    pub max_percent: Option<u32>,
}

/// One entry of `thresholds`.
#[derive(Clone, Copy, Default, Debug)]
pub struct Thresholds {
    pub connections: Option<u32>,
    pub pending: Option<u32>,
    pub requests: Option<u32>,
    pub retries: Option<u32>,
    /// `retry_budget`.
    pub budget: Option<Written>,
}

/// NETWORK_FILTER.
#[derive(Default, Debug)]
pub struct ManagerPatch {
    pub use_remote_address: Option<bool>,
    /// `internal_address_config.cidr_ranges`.
    pub internal: Vec<Cidr>,
}

const LEAST: Duration = Duration::from_millis(1);

/// Reads the value of a CLUSTER patch.
pub fn cluster(message: &Message<'_>) -> ClusterPatch {
    let panic = message.message("common_lb_config").and_then(|common| {
        let threshold = common.message("healthy_panic_threshold");
        common.end();
        let threshold = threshold?;
        let value = threshold.object.fraction("value", 0.0, 100.0);
        threshold.end();
        Some(value.unwrap_or(0.0) as u32)
    });
    let patch = ClusterPatch {
        outlier: message.message("outlier_detection").map(|outlier| outlier_of(&outlier)),
        panic,
        thresholds: message.message("circuit_breakers").and_then(|breakers| breaker(&breakers)),
    };
    message.end();
    patch
}

fn outlier_of(outlier: &Message<'_>) -> OutlierPatch {
    let patch = OutlierPatch {
        errors: outlier.count("consecutive_5xx"),
        gateway: outlier.count("consecutive_gateway_failure"),
        interval: outlier.length("interval", LEAST),
        base: outlier.length("base_ejection_time", LEAST),
        longest: outlier.length("max_ejection_time", LEAST),
        jitter: outlier.length("max_ejection_time_jitter", Duration::ZERO),
        max_percent: outlier.object.number("max_ejection_percent", 0, 100).map(|percent| percent.value as u32),
    };
    outlier.end();
    patch
}

fn breaker(breakers: &Message<'_>) -> Option<Thresholds> {
    let mut found = None;
    for threshold in breakers.messages("thresholds") {
        let priorities = [("DEFAULT", true), ("HIGH", false)];
        let default = threshold.object.word("priority", &priorities).is_none_or(|word| word.value);
        let read = Thresholds {
            connections: threshold.count("max_connections"),
            pending: threshold.count("max_pending_requests"),
            requests: threshold.count("max_requests"),
            retries: threshold.count("max_retries"),
            budget: threshold.message("retry_budget").map(|budget| budget_of(&budget)),
        };
        threshold.object.truth("track_remaining");
        threshold.end();
        if default {
            found = found.or(Some(read));
        } else {
            let words = format!("`{}` has the priority HIGH, which no request of weir's has", threshold.path);
            threshold.object.sink.add(Problem::new(Code::NoEffect, threshold.object.place(), words));
        }
    }
    breakers.end();
    found
}

fn budget_of(budget: &Message<'_>) -> Written {
    let default = Written::default();
    let percent = budget.message("budget_percent").and_then(|percent| {
        let value = percent.object.fraction("value", 0.0, 100.0);
        percent.end();
        value
    });
    let written = Written {
        percent: percent.unwrap_or(default.percent),
        minimum: budget.count("min_retry_concurrency").unwrap_or(default.minimum),
        interval: budget.length("budget_interval", LEAST),
    };
    budget.end();
    written
}

/// Reads the value of a NETWORK_FILTER patch: of the HTTP connection manager.
pub fn manager(message: &Message<'_>) -> Option<ManagerPatch> {
    message.text("name");
    let typed = message.message("typed_config");
    message.end();
    let typed = typed?;
    const TYPE: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    if !typed.is_type(&[TYPE]) {
        return None;
    }
    let mut patch = ManagerPatch { use_remote_address: typed.object.truth("use_remote_address"), ..Default::default() };
    if let Some(internal) = typed.message("internal_address_config") {
        for range in internal.messages("cidr_ranges") {
            let (address, length) = (range.text("address_prefix"), range.count("prefix_len"));
            range.end();
            let text = format!("{}/{}", address.unwrap_or_default(), length.unwrap_or(0));
            match Cidr::parse(&text) {
                Some(range) => patch.internal.push(range),
                None => {
                    let words = format!("`{}`: `{text}` is not a range of addresses", range.path);
                    range.object.sink.add(Problem::new(Code::Value, range.object.place(), words));
                }
            }
        }
        internal.end();
    }
    if typed.count("xff_num_trusted_hops").is_some_and(|hops| hops > 0) {
        let words = "`xff_num_trusted_hops` above 0 is accepted and not enforced yet: the peer's address counts";
        typed.object.sink.add(typed.object.problem(Code::NotEnforced, "xff_num_trusted_hops", words));
    }
    typed.end();
    Some(patch)
}
