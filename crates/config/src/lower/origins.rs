//! Fields of documents → [`weir_policy::origin`]: which of them each effective value comes from.
//!
//! The order of precedence is that of the values beside it: `retry`, `timeout`, `merge`, `connection`. A test changes
//! every place that is named here and wants the value to change. Does not: know values.

use crate::bundle::Options;
use crate::fields::Fields;
use crate::kind::mesh::Mesh;
use weir_policy::effective::Value;
use weir_policy::origin::{Origin, Origins, Source};
use weir_policy::place::Place;

/// `retries` of a route, and of the mesh: the same words.
const RETRIES: [(&str, &str); 7] = [
    ("attempts", "retries.attempts"),
    ("perTryTimeout", "retries.perTryTimeout"),
    ("retryOn", "retries.retryOn"),
    ("retryOn", "retries.retriableStatusCodes"),
    ("backoff", "retries.backoff"),
    ("retryIgnorePreviousHosts", "retries.retryIgnorePreviousHosts"),
    ("retryNonIdempotent", "retries.retryNonIdempotent"),
];

/// `retryPolicy` of a destination.
const RETRY_POLICY: [(&str, &str); 10] = [
    ("numRetries", "retries.attempts"),
    ("perTryTimeout", "retries.perTryTimeout"),
    // Codes alone add a condition.
    ("retriableStatusCodes", "retries.retryOn"),
    ("retryOn", "retries.retryOn"),
    ("retryOn", "retries.retriableStatusCodes"),
    ("retriableStatusCodes", "retries.retriableStatusCodes"),
    ("retryBackOff.baseInterval", "retries.backoff"),
    ("retryBackOff.maxInterval", "retries.maxBackoff"),
    ("hostSelectionRetryMaxAttempts", "retries.hostSelectionRetryMaxAttempts"),
    ("retryNonIdempotent", "retries.retryNonIdempotent"),
];

/// Values of a rule whose path is their name.
const ROUTE: [&str; 14] = [
    "fault.delay",
    "fault.abort",
    "corsPolicy",
    "rewrite.uri",
    "rewrite.uriRegexRewrite",
    "rewrite.authority",
    "redirect",
    "directResponse",
    "headers.request.set",
    "headers.request.add",
    "headers.request.remove",
    "headers.response.set",
    "headers.response.add",
    "headers.response.remove",
];

/// Values of a destination in its element of `route`.
const WEIGHTED: [(&str, &str); 7] = [
    ("weight", "route.weight"),
    ("headers.request.set", "headers.request.set"),
    ("headers.request.add", "headers.request.add"),
    ("headers.request.remove", "headers.request.remove"),
    ("headers.response.set", "headers.response.set"),
    ("headers.response.add", "headers.response.add"),
    ("headers.response.remove", "headers.response.remove"),
];

/// Values of a cluster whose path in `trafficPolicy` is their name.
const UPSTREAM: [&str; 28] = [
    "tls.mode",
    "tls.sni",
    "tls.caCertificates",
    "tls.caCrl",
    "tls.subjectAltNames",
    "connectionPool.tcp.maxConnections",
    "connectionPool.tcp.connectTimeout",
    "connectionPool.tcp.maxConnectionDuration",
    "connectionPool.tcp.tcpKeepalive",
    "connectionPool.http.http1MaxPendingRequests",
    "connectionPool.http.http2MaxRequests",
    "connectionPool.http.maxRetries",
    "connectionPool.http.maxRequestsPerConnection",
    "connectionPool.http.idleTimeout",
    "connectionPool.http.maxConcurrentStreams",
    "connectionPool.http.http2KeepAlive",
    "loadBalancer",
    "outlierDetection.consecutive5xxErrors",
    "outlierDetection.consecutiveGatewayErrors",
    "outlierDetection.splitExternalLocalOriginErrors",
    "outlierDetection.consecutiveLocalOriginFailures",
    "outlierDetection.outlierDetectionHttpErrorCodes",
    "outlierDetection.interval",
    "outlierDetection.baseEjectionTime",
    "outlierDetection.maxEjectionTime",
    "outlierDetection.ejectionJitter",
    "outlierDetection.maxEjectionPercent",
    "outlierDetection.minHealthPercent",
];

const BUDGET: [&str; 3] = ["retryBudget.percent", "retryBudget.minRetryConcurrency", "retryBudget.budgetInterval"];

/// Values of the mesh's settings.
const SETTINGS: [&str; 17] = [
    "compatibility",
    "outboundTrafficPolicy",
    "accessLog",
    "gatewayTopology",
    "trustRequestOverrides",
    "limits.connections",
    "limits.requestHead",
    "limits.responseHead",
    "limits.headers",
    "limits.headTimeout",
    "limits.bodyTimeout",
    "limits.minBodyRate",
    "limits.streamIdle",
    "limits.connectionIdle",
    "limits.h2.maxConcurrentStreams",
    "requestBufferLimit",
    "limits.replayMemory",
];

/// Of a rule itself.
pub fn of_route(rule: &Fields) -> Origins {
    let mut origins = Origins::default();
    for name in ROUTE {
        rule.tell(name, &mut origins, name, Source::Route);
    }
    for path in ["mirror", "mirrors"] {
        rule.tell(path, &mut origins, "mirrors", Source::Route);
    }
    if rule.place("rewrite.authority").is_none() {
        // A `Host` that header operations set is the authority.
        for name in ["headers.request.add", "headers.request.set"] {
            rule.tell(name, &mut origins, "rewrite.authority", Source::Route);
        }
    }
    origins
}

/// Whose retries a destination of a rule has: the first that there are.
#[derive(Clone, Copy)]
pub struct Retries<'f> {
    pub route: Option<&'f Fields>,
    pub destination: Option<&'f Fields>,
    pub mesh: Option<&'f Mesh>,
    /// Of the destination's balancer, when it hashes: that changes a default of retries.
    pub hashing: Option<&'f Origins>,
    /// Of the mesh's settings: `compatibility` chooses defaults.
    pub settings: &'f Origins,
}

/// Of the `index`th destination of a rule.
pub fn of_destination(rule: &Fields, index: usize, retries: &Retries<'_>) -> Origins {
    let mut origins = of_retries(retries);
    rule.tell("timeout", &mut origins, "timeout", Source::Route);
    let only = rule.place("route.1.destination").is_none();
    for (path, name) in WEIGHTED.into_iter().filter(|(path, _)| !(only && *path == "weight")) {
        rule.tell(&format!("route.{index}.{path}"), &mut origins, name, Source::Route);
    }
    for verb in ["add", "set"] {
        rule.tell(&format!("route.{index}.headers.request.{verb}"), &mut origins, "route.authority", Source::Route);
    }
    origins
}

/// Of the retries of a route, its destination or the mesh.
pub fn of_retries(retries: &Retries<'_>) -> Origins {
    let mut origins = Origins::default();
    let Retries { route, destination, mesh, hashing, settings } = retries;
    if let Some(balancer) = hashing {
        copy(balancer, "loadBalancer", &mut origins, "retries.retryIgnorePreviousHosts");
    }
    copy(settings, "compatibility", &mut origins, "retries.retryNonIdempotent");
    if let Some(fields) = route {
        for (path, name) in RETRIES {
            fields.tell(&format!("retries.{path}"), &mut origins, name, Source::Route);
        }
    } else if let Some(fields) = destination {
        for (path, name) in RETRY_POLICY {
            fields.tell(&format!("retryPolicy.{path}"), &mut origins, name, Source::Destination);
        }
    } else if let Some(mesh) = mesh {
        for (path, name) in RETRIES.into_iter().filter(|(path, _)| *path != "perTryTimeout") {
            mesh.at.tell(&format!("defaultHttpRetryPolicy.{path}"), &mut origins, name, Source::Mesh);
        }
    }
    if origins.of("retries.maxBackoff") == Origin::BuiltIn {
        // The longest wait is ten times the first when only that is written.
        let own = origins.clone();
        copy(&own, "retries.backoff", &mut origins, "retries.maxBackoff");
    }
    origins
}

fn copy(from: &Origins, of: &str, into: &mut Origins, name: &'static str) {
    if let Origin::Written(source, place) = from.of(of) {
        into.set(name, source, place.clone());
    }
}

/// Of a cluster, by its effective `trafficPolicy`.
pub fn of_upstream(policy: &Fields, mesh: Option<&Mesh>, settings: &Origins) -> Origins {
    let mut origins = Origins::default();
    if let Some(mesh) = mesh {
        mesh.at.tell("connectTimeout", &mut origins, "connectionPool.tcp.connectTimeout", Source::Mesh);
    }
    policy.tell("connectionPool.tcp.idleTimeout", &mut origins, "connectionPool.http.idleTimeout", Source::Destination);
    for name in UPSTREAM {
        policy.tell(name, &mut origins, name, Source::Destination);
    }
    for path in ["connectionPool.http.h2UpgradePolicy", "connectionPool.http.useClientProtocol"] {
        policy.tell(path, &mut origins, "protocol", Source::Destination);
    }
    let (budget, source) = match (policy.place("retryBudget"), mesh) {
        (None, Some(mesh)) => (&mesh.at, Source::Mesh),
        _ => (policy, Source::Destination),
    };
    // A written budget replaces `maxRetries`, and the budget that weir has by default.
    if budget.place("retryBudget").is_some() {
        budget.tell("retryBudget", &mut origins, "connectionPool.http.maxRetries", source);
    } else {
        copy(settings, "compatibility", &mut origins, "retryBudget.percent");
    }
    for name in BUDGET {
        budget.tell(name, &mut origins, name, source);
    }
    origins
}

/// The values of something before an EnvoyFilter's patch: what differs behind it is the patch's word.
pub struct Before(Vec<(&'static str, String)>);

impl Before {
    pub fn of(values: Vec<Value<'_>>) -> Self {
        Self(values.into_iter().map(|value| (value.name, value.value)).collect())
    }

    /// The names of the values that are others now.
    pub fn changed(&self, now: Vec<Value<'_>>) -> Vec<&'static str> {
        let is_new = |value: &Value<'_>| !self.0.iter().any(|(name, old)| *name == value.name && *old == value.value);
        now.iter().filter(|value| is_new(value)).map(|value| value.name).collect()
    }
}

/// These values are a patch's word.
pub fn patched(origins: &mut Origins, names: Vec<&'static str>, place: &Place) {
    for name in names {
        origins.set(name, Source::Filter, place.clone());
    }
}

/// Of the mesh's settings; the command line has the last word on `compatibility`.
pub fn of_settings(mesh: Option<&Mesh>, options: &Options) -> Origins {
    let mut origins = Origins::default();
    if let Some(mesh) = mesh {
        for name in SETTINGS {
            mesh.at.tell(name, &mut origins, name, Source::Mesh);
        }
    }
    if options.compatibility.is_some() {
        let place = Place { file: "--compatibility".into(), line: 0, column: 0 };
        origins.set("compatibility", Source::CommandLine, place);
    }
    origins
}
