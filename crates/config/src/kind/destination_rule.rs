//! `DestinationRule`: how to talk to a host and its subsets.

use super::client_tls::{ClientTls, client_tls};
use super::export::{Export, Hidden, export_to};
use super::load_balancer::{LoadBalancer, load_balancer};
use super::outlier_detection::{OutlierDetection, outlier_detection};
use super::policy;
use super::retries::RetryOn;
use crate::decode::{At, Object};
use crate::fields::Fields;
use crate::names;
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::connection::{Keepalive, Ping, Speaks, Told};
use weir_policy::place::Place;

/// `DestinationRule.spec`.
#[derive(Clone, Debug)]
pub struct DestinationRule {
    pub namespace: String,
    pub name: String,
    pub host: At<String>,
    pub policy: TrafficPolicy,
    pub subsets: Vec<Subset>,
    pub export: Export,
    /// Labels of the callers that it is for; empty = all.
    pub selector: Vec<(String, String)>,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub struct Subset {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub policy: TrafficPolicy,
    pub place: Place,
}

/// `trafficPolicy`, each block as a whole.
#[derive(Clone, Default, Debug)]
pub struct TrafficPolicy {
    pub pool: Option<Pool>,
    pub balance: Option<LoadBalancer>,
    pub outlier: Option<OutlierDetection>,
    pub retry: Option<RetryPolicy>,
    pub budget: Option<RetryBudget>,
    pub tls: Option<ClientTls>,
    /// `proxyProtocol`.
    pub told: Option<Told>,
    pub ports: Vec<(u16, TrafficPolicy)>,
    /// Where its fields stand, less those of ports.
    pub at: Fields,
    pub place: Option<Place>,
}

/// `connectionPool`.
#[derive(Clone, Default, Debug)]
pub struct Pool {
    pub max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub keepalive: Option<Keepalive>,
    pub tcp_idle: Option<Duration>,
    pub max_duration: Option<Duration>,
    pub max_pending: Option<u32>,
    pub max_requests: Option<u32>,
    pub per_connection: Option<u32>,
    pub max_retries: Option<u32>,
    pub http_idle: Option<Duration>,
    /// `maxConcurrentStreams`.
    pub streams: Option<u32>,
    /// `h2UpgradePolicy: UPGRADE`, or `useClientProtocol`.
    pub speaks: Option<Speaks>,
    /// `http2KeepAlive`.
    pub ping: Option<Ping>,
}

/// `retryPolicy`, which the seed uses and Istio lacks.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    pub retry_on: Option<RetryOn>,
    pub retries: Option<u32>,
    pub per_try: Option<Duration>,
    pub base: Option<Duration>,
    pub max: Option<Duration>,
    pub codes: Vec<u16>,
    pub picks: Option<u32>,
    pub non_idempotent: Option<bool>,
}

/// `retryBudget`.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    pub percent: Option<f64>,
    pub minimum: Option<u32>,
    pub interval: Option<Duration>,
}

const LEAST: Duration = Duration::from_millis(1);
const MOST: i64 = i32::MAX as i64;

/// Reads `DestinationRule.spec`.
pub fn destination_rule(spec: &Object<'_>, namespace: &str, name: &str) -> Option<DestinationRule> {
    let host = spec.text("host");
    if let Some(host) = host.as_ref().filter(|host| !names::is_wildcard_domain(&host.value)) {
        spec.sink.refuse(&host.place, format!("`{}` is not a host name", host.value));
    }
    let policy = spec.object("trafficPolicy").map(|policy| traffic_policy(&policy, Level::Host)).unwrap_or_default();
    let subsets: Vec<Subset> = spec.objects("subsets").filter_map(|subset| read_subset(&subset)).collect();
    for (index, subset) in subsets.iter().enumerate() {
        if subsets[..index].iter().any(|other| other.name == subset.name) {
            spec.sink.refuse(&subset.place, format!("the subset `{}` stands twice", subset.name));
        }
    }
    let export = export_to(spec, namespace, Hidden::Refused);
    let selector = workload_selector(spec, namespace, &export);
    spec.end();
    let Some(host) = host else {
        spec.missing("host");
        return None;
    };
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Some(DestinationRule { namespace, name, host, policy, subsets, export, selector, place: spec.place() })
}

/// The workloads whose calls a rule is about; such a rule stays in its namespace.
fn workload_selector(spec: &Object<'_>, namespace: &str, export: &Export) -> Vec<(String, String)> {
    policy::selector(spec, "workloadSelector", "matchLabels");
    let Some(selector) = spec.object("workloadSelector") else { return Vec::new() };
    let labels = selector.text_map("matchLabels");
    selector.end();
    let own = Export::Namespaces(vec![namespace.to_owned()]);
    if spec.has("exportTo") && !spec.list("exportTo").is_empty() && *export != own {
        let words = "a rule with `workloadSelector` is for its own namespace: `exportTo` can only be `.`";
        spec.sink.add(spec.problem(Code::Conflict, "exportTo", words));
    }
    labels
}

fn read_subset(subset: &Object<'_>) -> Option<Subset> {
    let name = subset.text("name");
    if let Some(name) = name.as_ref().filter(|name| !names::is_label(&name.value)) {
        subset.sink.refuse(&name.place, format!("`{}` is not the name of a subset", name.value));
    }
    let labels = policy::labels(subset, "labels");
    let policy = subset.object("trafficPolicy").map(|policy| traffic_policy(&policy, Level::Host)).unwrap_or_default();
    subset.end();
    let Some(name) = name else {
        subset.missing("name");
        return None;
    };
    Some(Subset { name: name.value, labels, policy, place: subset.place() })
}

/// Where a policy stands: a port's may hold less.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Host,
    Port,
}

fn traffic_policy(policy: &Object<'_>, level: Level) -> TrafficPolicy {
    if policy.is_empty() {
        let words = "`trafficPolicy` must have at least one field";
        policy.sink.add(Problem::new(Code::Missing, policy.place(), words));
    }
    let at = Fields::of(policy, &["portLevelSettings"]);
    let at = at.alias(policy, &["retryPolicy", "retryBudget"], "retryBudget");
    let mut out = TrafficPolicy { at, place: Some(policy.place()), ..TrafficPolicy::default() };
    out.pool = policy.object("connectionPool").map(|pool| connection_pool(&pool));
    out.balance = policy.object("loadBalancer").map(|balancer| load_balancer(&balancer));
    out.outlier = policy.object("outlierDetection").map(|outlier| outlier_detection(&outlier));
    out.tls = policy.object("tls").map(|tls| client_tls(&tls));
    if level == Level::Host {
        policy.ours("retryPolicy", "it refuses the object, or drops the field");
        out.retry = policy.object("retryPolicy").map(|retry| retry_policy(&retry, &mut out.budget));
        if let Some(budget) = policy.object("retryBudget") {
            out.budget = Some(retry_budget(&budget));
        }
        tunnel(policy);
        out.told = proxy_protocol(policy);
        for port in policy.objects("portLevelSettings") {
            let number = port.object("port").and_then(|number| {
                let found = number.number("number", 1, 65_535);
                number.end();
                found
            });
            let settings = traffic_policy(&port, Level::Port);
            match number {
                Some(number) => out.ports.push((number.value as u16, settings)),
                None => port.missing("port"),
            }
        }
    } else {
        policy.object("port");
        let blocks = ["connectionPool", "loadBalancer", "outlierDetection", "tls"];
        if policy.given(&blocks).is_empty() && !policy.is_empty() {
            let words = "the settings of a port must have at least one field";
            policy.sink.add(Problem::new(Code::Missing, policy.place(), words));
        }
    }
    policy.end();
    out
}

/// `tunnel`: checked, and not enforced yet.
fn tunnel(policy: &Object<'_>) {
    if policy.has("tunnel") && policy.has("proxyProtocol") {
        let words = "`tunnel` and `proxyProtocol` exclude each other";
        policy.sink.add(policy.problem(Code::Conflict, "proxyProtocol", words));
    }
    if let Some(tunnel) = policy.object("tunnel") {
        let word = |name| tunnel.text(name).map(|text| text.value).unwrap_or_default();
        if !["", "CONNECT", "POST"].contains(&word("protocol").as_str()) {
            tunnel.refuse("protocol", format!("`protocol: {}` is neither CONNECT nor POST", word("protocol")));
        }
        let host = word("targetHost");
        if !names::is_domain(&host) && !names::is_address(&host) {
            tunnel.refuse("targetHost", format!("`{host}` is neither a host name nor an address"));
        }
        tunnel.number("targetPort", 1, 65_535);
    }
    policy.later(&["tunnel"]);
}

/// `proxyProtocol`; V1 when no version is written.
fn proxy_protocol(policy: &Object<'_>) -> Option<Told> {
    let written = policy.object("proxyProtocol")?;
    let version = written.word("version", &[("V1", Told::V1), ("V2", Told::V2)]);
    written.end();
    Some(version.map_or(Told::V1, |version| version.value))
}

/// Reads `connectionPool`, of a rule or of a Sidecar.
pub fn connection_pool(pool: &Object<'_>) -> Pool {
    let mut out = Pool::default();
    let (tcp, http) = (pool.object("tcp"), pool.object("http"));
    if tcp.is_none() && http.is_none() {
        let words = "`connectionPool` must have `tcp` or `http`";
        pool.sink.add(Problem::new(Code::Missing, pool.place(), words));
    }
    if let Some(tcp) = tcp {
        out.max_connections = ceiling(&tcp, "maxConnections");
        out.connect_timeout = length(&tcp, "connectTimeout");
        // `0s` is "no timeout" here, in Istio's own words.
        let idle = tcp.duration("idleTimeout", Duration::ZERO);
        out.tcp_idle = idle.map(|idle| idle.value).filter(|idle| !idle.is_zero());
        out.max_duration = length(&tcp, "maxConnectionDuration");
        out.keepalive = tcp.object("tcpKeepalive").map(|keepalive| {
            // The system counts in seconds: less is one.
            let second = Duration::from_secs(1);
            let part = |name| {
                keepalive
                    .duration(name, LEAST)
                    .map(|length| At { value: length.value.max(second), ..length })
                    .map(|length| length.value)
            };
            let (time, interval) = (part("time"), part("interval"));
            let probes = keepalive
                .number("probes", 0, i64::from(u32::MAX))
                .map(|probes| probes.value.min(127) as u32)
                .filter(|probes| *probes > 0);
            keepalive.end();
            Keepalive { time, interval, probes }
        });
        tcp.end();
    }
    if let Some(http) = http {
        http_pool(&http, &mut out);
    }
    pool.end();
    out
}

fn http_pool(http: &Object<'_>, out: &mut Pool) {
    out.max_pending = ceiling(http, "http1MaxPendingRequests");
    out.max_requests = ceiling(http, "http2MaxRequests");
    out.per_connection = http.number("maxRequestsPerConnection", 0, MOST).map(|number| number.value as u32);
    out.max_retries = ceiling(http, "maxRetries");
    out.http_idle = length(http, "idleTimeout");
    out.streams = ceiling(http, "maxConcurrentStreams");
    let upgrade = http.word("h2UpgradePolicy", &[("DEFAULT", false), ("DO_NOT_UPGRADE", false), ("UPGRADE", true)]);
    let client = http.truth("useClientProtocol");
    let upgrade = upgrade.is_some_and(|upgrade| upgrade.value);
    if upgrade && client == Some(true) {
        let words = "`h2UpgradePolicy: UPGRADE` and `useClientProtocol` exclude each other";
        http.sink.add(http.problem(Code::Conflict, "useClientProtocol", words));
    }
    out.speaks = match client {
        Some(true) => Some(Speaks::AsClient),
        _ => upgrade.then_some(Speaks::Http2),
    };
    if let Some(keepalive) = http.object("http2KeepAlive") {
        let (interval, timeout) = (length(&keepalive, "interval"), length(&keepalive, "timeout"));
        out.ping = interval.map(|interval| Ping { interval, timeout: timeout.unwrap_or(PING_TIMEOUT) });
        keepalive.end();
    }
    http.end();
}

/// How long an answer to a PING may take when only the interval is written.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

fn length(object: &Object<'_>, name: &'static str) -> Option<Duration> {
    object.duration(name, LEAST).map(|length| length.value)
}

/// A ceiling: 0 is "not set", as Istio cannot tell the two apart.
fn ceiling(object: &Object<'_>, name: &'static str) -> Option<u32> {
    let number = object.number(name, 0, MOST)?;
    if number.value == 0 {
        let words = format!("`{name}: 0` means \"not set\", not \"none\"");
        object.sink.add(Problem::new(Code::ZeroIsUnset, number.place, words).hint("remove it, or write 1 or more"));
        return None;
    }
    Some(number.value as u32)
}

/// Reads `retryBudget`.
pub fn retry_budget(budget: &Object<'_>) -> RetryBudget {
    let percent = budget.fraction("percent", 0.0, 100.0);
    let minimum = budget.number("minRetryConcurrency", 0, i64::from(u32::MAX)).map(|number| number.value as u32);
    let interval = budget.duration("budgetInterval", Duration::ZERO).map(|length| length.value);
    budget.end();
    RetryBudget { percent, minimum, interval }
}

fn retry_policy(retry: &Object<'_>, budget: &mut Option<RetryBudget>) -> RetryPolicy {
    let retry_on = super::retries::retry_on(retry);
    let retries = retry.number("numRetries", 0, MOST).map(|number| number.value as u32);
    let per_try = length(retry, "perTryTimeout");
    let (mut base, mut max) = (None, None);
    if let Some(back_off) = retry.object("retryBackOff") {
        base = length(&back_off, "baseInterval");
        max = length(&back_off, "maxInterval");
        if let (Some(base), Some(max)) = (base, max)
            && max < base
        {
            let words = "`maxInterval` is below `baseInterval`";
            back_off.sink.add(back_off.problem(Code::Value, "maxInterval", words));
        }
        back_off.end();
    }
    let sink = retry.sink;
    let codes = retry.list("retriableStatusCodes").iter();
    let codes = codes
        .filter_map(|node| Some(crate::decode::number(node, "retriableStatusCodes", 100, 599, sink)?.value as u16))
        .collect();
    let picks = retry.number("hostSelectionRetryMaxAttempts", 0, 1000).map(|number| number.value as u32);
    let non_idempotent = retry.truth("retryNonIdempotent");
    if let Some(written) = retry.object("retryBudget") {
        *budget = Some(retry_budget(&written));
    }
    retry.end();
    RetryPolicy { retry_on, retries, per_try, base, max, codes, picks, non_idempotent }
}
