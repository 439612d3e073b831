//! Where effective values come from: every one of them has a place when it is written, and the right one.

#![allow(clippy::expect_used, reason = "this is a test")]

use weir_config::{Bundle, Options, Severity, Text, compile};
use weir_policy::effective::{self, Value};
use weir_policy::origin::{Origin, Source};
use weir_policy::plan::Plan;
use weir_policy::route::{Action, Forward, Route};

const SERVICE: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: app }
spec:
  hosts: [app.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }, { number: 81, name: other, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.1, labels: { version: v1 } }]
---
";

const MESH: &str = "apiVersion: weir.dev/v1alpha1
kind: Mesh
metadata: { name: mesh }
spec:
  compatibility: weir
  outboundTrafficPolicy: { mode: REGISTRY_ONLY }
  accessLog: { format: json }
  trustRequestOverrides: [10.0.0.0/8]
  gatewayTopology: { proxyProtocol: {} }
  connectTimeout: 3s
  requestBufferLimit: 64Ki
  retryBudget: { percent: 30 }
  defaultHttpRetryPolicy:
    attempts: 9
    retryOn: reset,418
    backoff: 30ms
    retryIgnorePreviousHosts: false
    retryNonIdempotent: true
  limits:
    connections: 100
    requestHead: 8Ki
    responseHead: 8Ki
    headers: 50
    headTimeout: 1s
    bodyTimeout: 2s
    minBodyRate: 100
    streamIdle: 3s
    connectionIdle: 4s
    replayMemory: 1Mi
    h2: { maxConcurrentStreams: 7 }
---
";

const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: app }
spec:
  hosts: [app.test]
  http:
  - name: main
    match: [{ uri: { prefix: /v1 } }]
    rewrite:
      uri: /v2
      authority: other.test
    headers:
      request:
        set: { x-a: '1' }
        add: { x-b: '2' }
        remove: [x-c]
      response:
        set: { x-a: '1' }
        add: { x-b: '2' }
        remove: [x-c]
    fault:
      delay: { fixedDelay: 1s, percentage: { value: 10 } }
      abort: { httpStatus: 503, percentage: { value: 5 } }
    corsPolicy: { allowOrigins: [{ exact: '*' }], maxAge: 1m }
    timeout: 5s
    retries:
      attempts: 3
      perTryTimeout: 1s
      retryOn: 5xx,404
      backoff: 40ms
      retryIgnorePreviousHosts: false
      retryNonIdempotent: true
    route:
    - destination: { host: app.test, port: { number: 80 } }
      weight: 80
      headers:
        request:
          set: { host: third.test, x-a: '3' }
    - destination: { host: app.test, port: { number: 81 }, subset: v1 }
      weight: 20
  - match: [{ uri: { prefix: /r } }]
    redirect: { uri: /new }
  - match: [{ uri: { prefix: /d } }]
    directResponse: { status: 200 }
  - match: [{ uri: { prefix: /x } }]
    rewrite:
      uriRegexRewrite: { match: a, rewrite: b }
    route: [{ destination: { host: app.test, port: { number: 80 } } }]
---
";

const RULE: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: app }
spec:
  host: app.test
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: 10
        connectTimeout: 30ms
        maxConnectionDuration: 5m
        tcpKeepalive: { time: 60s }
      http:
        http1MaxPendingRequests: 20
        http2MaxRequests: 30
        maxRetries: 4
        maxRequestsPerConnection: 50
        idleTimeout: 60s
        maxConcurrentStreams: 9
        h2UpgradePolicy: UPGRADE
        http2KeepAlive: { interval: 5s, timeout: 2s }
    loadBalancer: { simple: RANDOM }
    outlierDetection:
      consecutive5xxErrors: 7
      consecutiveGatewayErrors: 6
      splitExternalLocalOriginErrors: true
      consecutiveLocalOriginFailures: 5
      outlierDetectionHttpErrorCodes: [500]
      interval: 11s
      baseEjectionTime: 12s
      maxEjectionTime: 13s
      ejectionJitter: 14ms
      maxEjectionPercent: 50
      minHealthPercent: 60
    retryPolicy:
      retryOn: gateway-error
      numRetries: 6
      perTryTimeout: 2s
      retriableStatusCodes: [503]
      retryBackOff: { baseInterval: 70ms, maxInterval: 80ms }
      hostSelectionRetryMaxAttempts: 8
      retryNonIdempotent: false
      retryBudget:
        percent: 15
        minRetryConcurrency: 2
        budgetInterval: 5s
  subsets:
  - name: v1
    labels: { version: v1 }
    trafficPolicy:
      connectionPool:
        http: { http2MaxRequests: 31 }
      portLevelSettings:
      - port: { number: 81 }
        loadBalancer: { simple: ROUND_ROBIN }
---
";

fn plan(text: &str) -> Plan {
    let texts = vec![Text { name: "t.yaml".into(), text: text.into() }];
    let (plan, problems) = compile(&Bundle { texts, options: Options::default() });
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    plan
}

fn routes(plan: &Plan) -> Vec<&Route> {
    let host = plan.outbound.hosts().iter().find(|host| &*host.name == "app.test").expect("the host");
    host.entries.iter().map(|entry| &*entry.then).collect()
}

fn forward(plan: &Plan, route: usize) -> &Forward {
    match &routes(plan)[route].action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

/// Its place is a line that has the last word of its name, or one that stands for it.
fn assert_named(text: &str, value: &Value<'_>) {
    let Origin::Written(_, place) = value.origin else { panic!("{} = {}: no place", value.name, value.value) };
    let line = text.lines().nth(place.line as usize - 1).expect("a line");
    let last = value.name.rsplit('.').next().expect("a word");
    let words: &[&str] = match value.name {
        "retries.attempts" => &["attempts", "numRetries"],
        "retries.retriableStatusCodes" => &["retryOn", "retriableStatusCodes"],
        "retries.backoff" => &["backoff", "baseInterval"],
        "retries.maxBackoff" => &["backoff", "maxInterval"],
        "connectionPool.http.maxRetries" => &["maxRetries", "percent", "retryBudget"],
        "rewrite.authority" | "route.authority" => &["authority", "host"],
        "protocol" => &["h2UpgradePolicy"],
        _ => &[last],
    };
    assert!(words.iter().any(|word| line.contains(word)), "{}: {line}", value.name);
}

fn source_of(values: &[Value<'_>], name: &str) -> Option<(Source, u32)> {
    let value = values.iter().find(|value| value.name == name).unwrap_or_else(|| panic!("no {name}"));
    match value.origin {
        Origin::Written(source, place) => Some((source, place.line)),
        _ => None,
    }
}

#[test]
fn each_value_of_a_mesh_in_which_all_is_written_has_its_place() {
    let text = format!("{SERVICE}{MESH}{ROUTE}{RULE}");
    let plan = plan(&text);
    let mut count = 0;
    let mut check = |values: Vec<Value<'_>>, unwritten: &[&str]| {
        for value in values.iter().filter(|value| !unwritten.contains(&value.name)) {
            assert_named(&text, value);
            count += 1;
        }
    };
    check(effective::of_settings(&plan.settings), &[]);
    for route in routes(&plan) {
        check(effective::of_route(route), &[]);
    }
    // Not of a route's `retries`, which have no such word; `retryPolicy` has.
    check(effective::of_destination(&forward(&plan, 0).destinations[0]), &["retries.hostSelectionRetryMaxAttempts"]);
    let rules =
        ["retries.hostSelectionRetryMaxAttempts", "retries.retryIgnorePreviousHosts", "timeout", "route.weight"];
    check(effective::of_destination(&forward(&plan, 3).destinations[0]), &rules[1..]);
    check(effective::of_upstream(&plan.clusters[0]), &[]);
    assert!(count >= 73, "{count} values");
}

#[test]
fn without_documents_for_it_everything_is_built_in() {
    let text = format!(
        "{SERVICE}{}",
        ROUTE.split("    rewrite").next().expect("a start").to_owned()
            + "    route: [{ destination: { host: app.test, port: { number: 80 } } }]\n"
    );
    let plan = plan(&text);
    let all = [
        effective::of_settings(&plan.settings),
        effective::of_route(routes(&plan)[0]),
        effective::of_destination(&forward(&plan, 0).destinations[0]),
        effective::of_upstream(&plan.clusters[0]),
    ];
    for value in all.iter().flatten() {
        assert_eq!(value.origin, Origin::BuiltIn, "{}", value.name);
    }
}

#[test]
fn a_route_s_own_retries_come_before_the_destination_s_and_the_mesh_s() {
    let of = |text: &str, route: usize| {
        let plan = plan(text);
        source_of(&effective::of_destination(&forward(&plan, route).destinations[0]), "retries.attempts").map(|it| it.0)
    };
    let all = format!("{SERVICE}{MESH}{ROUTE}{RULE}");
    assert_eq!(of(&all, 0), Some(Source::Route));
    assert_eq!(of(&all, 3), Some(Source::Destination));
    assert_eq!(of(&format!("{SERVICE}{MESH}{ROUTE}").replace(", subset: v1", ""), 3), Some(Source::Mesh));
    assert_eq!(of(&format!("{SERVICE}{ROUTE}").replace(", subset: v1", ""), 3), None);
}

#[test]
fn a_fault_of_every_try_has_the_place_of_its_policy() {
    let policy = "apiVersion: weir.dev/v1alpha1
kind: ReliabilityPolicy
metadata: { name: rehearsal }
spec:
  targetRefs: [{ kind: Route, name: app/main }]
  faultScope: upstream
---
";
    let text = format!("{SERVICE}{ROUTE}{RULE}{policy}");
    let plan = plan(&text);
    let values = effective::of_route(routes(&plan)[0]);
    let line = |needle: &str| text.lines().position(|line| line.contains(needle)).expect("a line") as u32 + 1;
    assert_eq!(source_of(&values, "faultScope"), Some((Source::Policy, line("faultScope"))));
    assert_eq!(source_of(&values, "fault.delay"), Some((Source::Route, line("fixedDelay"))));
    assert!(effective::of_route(routes(&plan)[3]).iter().all(|value| value.name != "faultScope"));
}

#[test]
fn a_port_s_settings_replace_the_subset_s_and_the_host_s() {
    let text = format!("{SERVICE}{ROUTE}{RULE}");
    let plan = plan(&text);
    let upstream = plan.clusters.iter().find(|upstream| &*upstream.id == "default/app.test|81|v1").expect("the subset");
    let values = effective::of_upstream(upstream);
    let line = |needle: &str| text.lines().position(|line| line.contains(needle)).expect("a line") as u32 + 1;
    assert_eq!(source_of(&values, "loadBalancer"), Some((Source::Destination, line("ROUND_ROBIN"))));
    assert_eq!(source_of(&values, "connectionPool.http.http2MaxRequests"), None, "the port leaves it open");
    let retries = effective::of_destination(&forward(&plan, 3).destinations[0]);
    assert_eq!(source_of(&retries, "retries.backoff"), Some((Source::Destination, line("baseInterval"))));
}

#[test]
fn of_two_rules_for_a_host_each_field_has_the_place_of_its_own() {
    let rule = |name: &str, policy: &str| {
        let head = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: ";
        format!("{head}{name} }}\nspec: {{ host: app.test, trafficPolicy: {policy} }}\n---\n")
    };
    let first = rule("a", "{ connectionPool: { http: { maxRetries: 1 } }, retryBudget: { percent: 5 } }");
    let second = rule(
        "b",
        "{ connectionPool: { http: { maxRetries: 2, http2MaxRequests: 7 } }, retryBudget: { minRetryConcurrency: 9 } }",
    );
    let text = format!("{SERVICE}{first}{second}");
    let plan = plan(&text);
    let values = effective::of_upstream(&plan.clusters[0]);
    let line = |needle: &str| text.lines().position(|line| line.contains(needle)).expect("a line") as u32 + 1;
    let of = |name| source_of(&values, name).map(|it| it.1);
    assert_eq!(of("connectionPool.http.http2MaxRequests"), Some(line("http2MaxRequests")));
    assert_eq!(of("retryBudget.percent"), Some(line("percent: 5")));
    assert_eq!(of("retryBudget.minRetryConcurrency"), None, "a budget is taken whole");
}

#[test]
fn what_an_envoy_filter_changes_has_the_place_of_its_patch() {
    let filter = "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: f }
spec:
  configPatches:
  - applyTo: HTTP_ROUTE
    match: { context: SIDECAR_OUTBOUND }
    patch: { operation: MERGE, value: { route: { timeout: 7s } } }
  - applyTo: CLUSTER
    match: { context: SIDECAR_OUTBOUND }
    patch: { operation: MERGE, value: { outlier_detection: { interval: 4s } } }
";
    let plan = plan(&format!("{SERVICE}{ROUTE}{RULE}{filter}"));
    let values = effective::of_destination(&forward(&plan, 0).destinations[0]);
    assert_eq!(source_of(&values, "timeout").map(|it| it.0), Some(Source::Filter));
    assert_eq!(source_of(&values, "retries.attempts").map(|it| it.0), Some(Source::Route));
    let values = effective::of_upstream(&plan.clusters[0]);
    assert_eq!(source_of(&values, "outlierDetection.interval").map(|it| it.0), Some(Source::Filter));
    assert_eq!(source_of(&values, "outlierDetection.baseEjectionTime").map(|it| it.0), Some(Source::Destination));
}
