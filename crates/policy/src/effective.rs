//! The effective policy values of a request, each with its name, as text, and where it comes from.
//!
//! ```text
//!   Route ──────────► headers, rewrite, …        ┐
//!   Destination ────► timeout, retries, weight    ├─► Value { name, value, origin }
//!   Upstream ───────► pool, balance, outlier, …   │      names are Istio's paths
//!   Settings ───────► limits, access log, …       ┘
//! ```
//! Every struct of the plan is taken apart here completely: a new field does not compile until it has a value and a name,
//! and a test of `weir-config` wants a place for each name. Does not: print tables or JSON.

mod filters;

use crate::balance::key::Key;
use crate::balance::{self, Hash, Shape};
use crate::origin::{Origin, Origins};
use crate::plan::{AccessLog, Compatibility, Fronted, Limits, Settings, UnknownHosts, Upstream};
use crate::retry::{BackOff, Conditions, NonIdempotent, Previous};
use crate::route::{Action, Destination, Edits, Forward, HeaderEdits, Redirect, Rewrite, Route};
use crate::trust::Trust;
use crate::{budget, connection, inflight, outlier, retry, timeout, tls};
use std::fmt::Display;
use std::time::Duration;

/// One effective value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value<'p> {
    /// Istio's path of it, such as `retries.attempts`; ours where Istio has none.
    pub name: &'static str,
    /// As text: `5s`, `none`, `5xx,reset`.
    pub value: String,
    pub origin: Origin<'p>,
}

/// Collects values that have one table of origins.
struct Values<'p> {
    origins: &'p Origins,
    out: Vec<Value<'p>>,
}

impl<'p> Values<'p> {
    const fn of(origins: &'p Origins) -> Self {
        Self { origins, out: Vec::new() }
    }

    fn add(&mut self, name: &'static str, value: impl Display) {
        self.out.push(Value { name, value: value.to_string(), origin: self.origins.of(name) });
    }

    fn list<T: Display>(&mut self, name: &'static str, items: impl IntoIterator<Item = T>) {
        let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
        self.add(name, if items.is_empty() { "none".to_owned() } else { items.join(",") });
    }

    fn edits(&mut self, names: [&'static str; 3], edits: &Edits) {
        let Edits { set, add, remove } = edits;
        for (name, pairs) in [(names[0], set), (names[1], add)] {
            if !pairs.is_empty() {
                self.list(name, pairs.iter().map(|(header, value)| format!("{header}: {value}")));
            }
        }
        if !remove.is_empty() {
            self.list(names[2], remove);
        }
    }

    fn header_edits(&mut self, headers: &HeaderEdits) {
        let HeaderEdits { request, response } = headers;
        self.edits(["headers.request.set", "headers.request.add", "headers.request.remove"], request);
        self.edits(["headers.response.set", "headers.response.add", "headers.response.remove"], response);
    }
}

/// What a rule says itself: what it does to a request beside sending it on.
pub fn of_route(route: &Route) -> Vec<Value<'_>> {
    // Filters and mirrors are shown by `weir check` and the metrics; they have no value that another source could set.
    let Route { name: _, action, headers, chain, origins, place: _ } = route;
    let mut values = Values::of(origins);
    match action {
        Action::Forward(forward) => {
            // The destinations have values of their own.
            let Forward { destinations: _, total_weight: _, rewrite, authority, mirrors, fault } = forward;
            filters::mirrors(&mut values, mirrors);
            if let Some(rules) = fault {
                filters::faults(&mut values, rules);
                values.add("faultScope", "upstream");
            }
            match rewrite {
                Some(Rewrite::Prefix(uri)) => values.add("rewrite.uri", uri),
                Some(Rewrite::Regex { pattern, substitution }) => {
                    values.add("rewrite.uriRegexRewrite", format!("{pattern} -> {substitution}"));
                }
                None => {}
            }
            if let Some(authority) = authority {
                values.add("rewrite.authority", authority);
            }
        }
        Action::Redirect(Redirect { status, scheme, authority, path, port }) => {
            let kept = |part: &Option<Box<str>>| part.as_deref().unwrap_or("(kept)").to_owned();
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let to = format!("{status} {}://{}{port}{}", kept(scheme), kept(authority), kept(path));
            values.add("redirect", to);
        }
        Action::Direct(direct) => {
            values.add("directResponse", format!("{} ({} bytes)", direct.status, direct.body.len()))
        }
    }
    filters::chain(&mut values, chain);
    values.header_edits(headers);
    values.out
}

/// What holds on the way to one destination of a rule.
pub fn of_destination(destination: &Destination) -> Vec<Value<'_>> {
    of_terms(destination, destination.retry.as_deref(), &destination.timeout)
}

/// The same for a call whose retries and timeouts may be the client's wish: what differs is the request's word.
pub fn of_terms<'p>(
    destination: &'p Destination,
    retry: Option<&retry::Rules>,
    time: &timeout::Rules,
) -> Vec<Value<'p>> {
    let Destination { target: _, weight, headers, authority, timeout: planned_time, retry: planned, rates, origins } =
        destination;
    let mut values = Values::of(origins);
    timeouts(&mut values, time);
    retries(&mut values, retry);
    let mut own = Values::of(origins);
    timeouts(&mut own, planned_time);
    retries(&mut own, planned.as_deref());
    for value in &mut values.out {
        if !own.out.iter().any(|planned| planned.name == value.name && planned.value == value.value) {
            value.origin = Origin::Request;
        }
    }
    values.add("route.weight", weight);
    if let Some(authority) = authority {
        values.add("route.authority", authority);
    }
    filters::rates(&mut values, rates);
    values.header_edits(headers);
    values.out
}

fn timeouts(values: &mut Values<'_>, rules: &timeout::Rules) {
    let timeout::Rules { whole, per_try } = rules;
    values.add("timeout", length(*whole));
    values.add("retries.perTryTimeout", length(*per_try));
}

fn retries(values: &mut Values<'_>, rules: Option<&retry::Rules>) {
    let Some(rules) = rules else { return values.add("retries.attempts", "0 (off)") };
    let retry::Rules {
        attempts,
        on,
        codes,
        headers,
        request_headers,
        rate_limited,
        back_off,
        previous,
        picks,
        non_idempotent,
    } = rules;
    let BackOff { base, max } = back_off;
    values.add("retries.attempts", attempts);
    values.list(
        "retries.retryOn",
        Conditions::words().filter(|word| Conditions::of_word(word).is_some_and(|it| on.has(it))),
    );
    values.list("retries.retriableStatusCodes", codes);
    if !headers.is_empty() {
        values.list("retries.retriableHeaders", headers.iter().map(|header| &header.name));
    }
    if !request_headers.is_empty() {
        values.list("retries.retriableRequestHeaders", request_headers.iter().map(|header| &header.name));
    }
    if let Some(longest) = rate_limited {
        values.add("retries.rateLimitedBackoff", show(*longest));
    }
    values.add("retries.backoff", show(*base));
    values.add("retries.maxBackoff", show(*max));
    values.add("retries.retryIgnorePreviousHosts", *previous == Previous::Avoid);
    values.add("retries.hostSelectionRetryMaxAttempts", picks);
    values.add("retries.retryNonIdempotent", *non_idempotent == NonIdempotent::Retry);
}

/// What a cluster is talked to by.
pub fn of_upstream(upstream: &Upstream) -> Vec<Value<'_>> {
    let Upstream {
        id: _,
        name: _,
        service: _,
        // What they come to is shown as the endpoints.
        discovery: _,
        endpoints: _,
        balance,
        inflight,
        budget,
        connection,
        outlier,
        origins,
        place: _,
    } = upstream;
    let mut values = Values::of(origins);
    pool(&mut values, inflight, connection);
    budget_of(&mut values, budget);
    values.add("loadBalancer", balancer(balance));
    outliers(&mut values, outlier.as_ref());
    values.out
}

fn pool(values: &mut Values<'_>, inflight: &inflight::Rules, connection: &connection::Rules) {
    let inflight::Rules { connections, pending, requests, retries } = inflight;
    let connection::Rules {
        connect_timeout,
        idle_timeout,
        max_requests,
        max_duration,
        keepalive,
        speaks,
        streams,
        ping,
        tls,
        told,
    } = connection;
    transport(values, tls.as_deref());
    if let Some(told) = told {
        let version = if *told == connection::Told::V1 { "V1" } else { "V2" };
        values.add("proxyProtocol.version", version);
    }
    values.add("connectionPool.tcp.maxConnections", ceiling(*connections));
    values.add("connectionPool.tcp.connectTimeout", show(*connect_timeout));
    values.add("connectionPool.tcp.maxConnectionDuration", length(*max_duration));
    let keepalive = keepalive.map(|connection::Keepalive { time, interval, probes }| {
        let probes = probes.map_or("the system's".to_owned(), |probes| probes.to_string());
        format!("time {}, interval {}, probes {probes}", length(time), length(interval))
    });
    values.add("connectionPool.tcp.tcpKeepalive", keepalive.as_deref().unwrap_or("none"));
    values.add("connectionPool.http.http1MaxPendingRequests", ceiling(*pending));
    values.add("connectionPool.http.http2MaxRequests", ceiling(*requests));
    values.add("connectionPool.http.maxRetries", ceiling(*retries));
    let per_connection = if *max_requests == 0 { "unlimited".to_owned() } else { max_requests.to_string() };
    values.add("connectionPool.http.maxRequestsPerConnection", per_connection);
    values.add("connectionPool.http.idleTimeout", length(*idle_timeout));
    let protocol = match speaks {
        connection::Speaks::Http1 => return values.add("protocol", "HTTP/1.1"),
        connection::Speaks::Http2 => "HTTP/2",
        connection::Speaks::AsClient => "as the client's",
    };
    values.add("protocol", protocol);
    let most = if *streams == connection::MOST_STREAMS { "unlimited".to_owned() } else { streams.to_string() };
    values.add("connectionPool.http.maxConcurrentStreams", most);
    let ping = ping.map(|connection::Ping { interval, timeout }| {
        format!("interval {}, timeout {}", show(interval), show(timeout))
    });
    values.add("connectionPool.http.http2KeepAlive", ping.as_deref().unwrap_or("none"));
}

/// Nothing is said of a destination in the clear.
fn transport(values: &mut Values<'_>, tls: Option<&tls::Client>) {
    let Some(tls::Client { identity, proof, name }) = tls else { return };
    let tls::Proof { authorities, revoked, names } = proof;
    values.add("tls.mode", if identity.is_some() { "MUTUAL" } else { "SIMPLE" });
    values.add("tls.sni", name.as_deref().unwrap_or("none"));
    let trusted = match authorities {
        tls::Authorities::System => "the system's".to_owned(),
        tls::Authorities::File(path) => path.to_string(),
        tls::Authorities::Secret(name) => format!("secret {name}"),
        tls::Authorities::Unverified => "anybody (insecureSkipVerify)".to_owned(),
    };
    values.add("tls.caCertificates", trusted);
    if let Some(revoked) = revoked {
        values.add("tls.caCrl", revoked);
    }
    if !names.is_empty() {
        values.add("tls.subjectAltNames", names.join(", "));
    }
}

fn budget_of(values: &mut Values<'_>, rules: &budget::Rules) {
    match rules {
        budget::Rules::Off => values.add("retryBudget.percent", "none"),
        budget::Rules::Default => values.add("retryBudget.percent", "20 of the last 10s, plus 3 per second"),
        budget::Rules::Written(budget::Written { percent, minimum, interval }) => {
            values.add("retryBudget.percent", percent);
            values.add("retryBudget.minRetryConcurrency", minimum);
            values.add("retryBudget.budgetInterval", length(*interval));
        }
    }
}

fn balancer(rules: &balance::Rules) -> String {
    match rules {
        balance::Rules::LeastRequest => "LEAST_REQUEST".to_owned(),
        balance::Rules::RoundRobin => "ROUND_ROBIN".to_owned(),
        balance::Rules::Random => "RANDOM".to_owned(),
        balance::Rules::Hash(Hash { key, shape }) => {
            let by = match key {
                Key::Header(name) => format!("header {name}"),
                Key::Cookie(cookie) => format!("cookie {}", cookie.name),
                Key::Query(name) => format!("query {name}"),
                Key::Source => "source address".to_owned(),
                Key::Nothing => "nothing".to_owned(),
            };
            let shape = match shape {
                Shape::Ring(points) => format!("ring of at least {points}"),
                Shape::Maglev(slots) => format!("maglev of {slots}"),
            };
            format!("consistentHash by {by}, {shape}")
        }
    }
}

fn outliers(values: &mut Values<'_>, rules: Option<&outlier::Rules>) {
    let Some(rules) = rules else { return values.add("outlierDetection", "off") };
    let outlier::Rules {
        errors,
        gateway,
        origin,
        codes,
        interval,
        base,
        longest,
        jitter,
        max_percent,
        min_health_percent,
    } = rules;
    let count = |count: Option<u32>| count.map_or("off".to_owned(), |count| count.to_string());
    values.add("outlierDetection.consecutive5xxErrors", count(*errors));
    values.add("outlierDetection.consecutiveGatewayErrors", count(*gateway));
    let split = matches!(origin, outlier::Origin::Split(_));
    values.add("outlierDetection.splitExternalLocalOriginErrors", split);
    if let outlier::Origin::Split(local) = origin {
        values.add("outlierDetection.consecutiveLocalOriginFailures", count(*local));
    }
    if !codes.is_empty() {
        values.list("outlierDetection.outlierDetectionHttpErrorCodes", codes);
    }
    values.add("outlierDetection.interval", show(*interval));
    values.add("outlierDetection.baseEjectionTime", show(*base));
    values.add("outlierDetection.maxEjectionTime", show(*longest));
    values.add("outlierDetection.ejectionJitter", show(*jitter));
    values.add("outlierDetection.maxEjectionPercent", max_percent);
    values.add("outlierDetection.minHealthPercent", min_health_percent);
}

/// What holds for every request.
pub fn of_settings(settings: &Settings) -> Vec<Value<'_>> {
    let Settings { compatibility, unknown_hosts, limits, access_log, trust, fronted, origins } = settings;
    let mut values = Values::of(origins);
    values.add("compatibility", if *compatibility == Compatibility::Istio { "istio" } else { "weir" });
    let mode = if *unknown_hosts == UnknownHosts::Pass { "ALLOW_ANY" } else { "REGISTRY_ONLY" };
    values.add("outboundTrafficPolicy", mode);
    let format = match access_log {
        AccessLog::Off => "off",
        AccessLog::Json => "json",
        AccessLog::Text => "text",
    };
    values.add("accessLog", format);
    let Trust { outbound, gateways } = trust;
    let topology = if *fronted == Fronted::ByProxyProtocol { "proxyProtocol" } else { "none" };
    values.add("gatewayTopology", topology);
    values.add("trustRequestOverrides", format!("{} ranges, {} on gateways", outbound.len(), gateways.len()));
    let Limits {
        connections,
        request_head,
        response_head,
        headers,
        head_timeout,
        body_timeout,
        body_rate,
        stream_idle,
        connection_idle,
        streams,
        replay_request,
        replay_memory,
    } = limits;
    values.add("limits.connections", connections);
    values.add("limits.requestHead", request_head);
    values.add("limits.responseHead", response_head);
    values.add("limits.headers", headers);
    values.add("limits.headTimeout", show(*head_timeout));
    values.add("limits.bodyTimeout", show(*body_timeout));
    values.add("limits.minBodyRate", body_rate);
    values.add("limits.streamIdle", show(*stream_idle));
    values.add("limits.connectionIdle", show(*connection_idle));
    values.add("limits.h2.maxConcurrentStreams", streams);
    values.add("requestBufferLimit", replay_request);
    values.add("limits.replayMemory", replay_memory);
    values.out
}

/// The longest that a request can take, and the most tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Worst {
    pub tries: u64,
    /// `None`: nothing ends a try that does not end.
    pub time: Option<Duration>,
}

impl Worst {
    /// Of a call by these rules: every try as long as it may be, every wait as long as it can be drawn.
    pub fn of(retry: Option<&retry::Rules>, time: &timeout::Rules) -> Self {
        let attempts = retry.map_or(0, |rules| rules.attempts);
        let tries = u64::from(attempts) + 1;
        let waits = retry.map_or(Duration::ZERO, |rules| waits(&rules.back_off, attempts));
        let times = u32::try_from(tries).unwrap_or(u32::MAX);
        let all = time.per_try.map(|per_try| per_try.saturating_mul(times).saturating_add(waits));
        let time = match (time.whole, all) {
            (Some(whole), Some(all)) => Some(whole.min(all)),
            (whole, all) => whole.or(all),
        };
        Self { tries, time }
    }
}

/// The sum of the bounds of the waits: once it is at its longest, the rest is a product.
fn waits(back_off: &BackOff, attempts: u32) -> Duration {
    let mut sum = Duration::ZERO;
    for number in 1..=attempts {
        let bound = back_off.bound(number);
        if bound >= back_off.max {
            return sum.saturating_add(bound.saturating_mul(attempts - number + 1));
        }
        sum = sum.saturating_add(bound);
    }
    sum
}

fn ceiling(value: u32) -> String {
    if value == u32::MAX { "unlimited".to_owned() } else { value.to_string() }
}

fn length(value: Option<Duration>) -> String {
    value.map_or("none".to_owned(), show)
}

/// A duration as documents write it.
pub fn show(length: Duration) -> String {
    let millis = length.as_millis();
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_is_every_try_and_every_wait_within_the_timeout() {
        let rules = retry::Rules { attempts: 3, ..retry::Rules::default() };
        let time = |whole: Option<u64>, per_try: Option<u64>| timeout::Rules {
            whole: whole.map(Duration::from_millis),
            per_try: per_try.map(Duration::from_millis),
        };
        let worst = |time: timeout::Rules| Worst::of(Some(&rules), &time);
        let all = Worst { tries: 4, time: Some(Duration::from_millis(4 * 2000 + 25 + 50 + 100)) };
        assert_eq!(worst(time(None, Some(2000))), all);
        assert_eq!(worst(time(Some(5000), Some(2000))).time, Some(Duration::from_secs(5)));
        assert_eq!(worst(time(None, None)).time, None);
        assert_eq!(Worst::of(None, &time(Some(1000), None)), Worst { tries: 1, time: Some(Duration::from_secs(1)) });
        let many = retry::Rules { attempts: u32::MAX, ..rules.clone() };
        assert_eq!(Worst::of(Some(&many), &time(None, Some(1))).tries, u64::from(u32::MAX) + 1);
    }
}
