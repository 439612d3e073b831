//! What documents become: the plan and the problems, for small meshes.

#![allow(clippy::expect_used, reason = "this is a test")]

use std::time::Duration;
use weir_config::{Bundle, Code, Options, Problem, Severity, Text, compile};
use weir_policy::budget;
use weir_policy::plan::{Compatibility, Plan};
use weir_policy::retry::{Conditions, NonIdempotent, Rules};
use weir_policy::route::{Action, Destination, Target};

const SERVICE: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: app }
spec:
  hosts: [app.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints:
  - { address: 10.0.0.1, labels: { version: v1 } }
  - { address: 10.0.0.2, labels: { version: v2 }, ports: { http: 8080 } }
";

fn document(kind: &str, spec: &str) -> String {
    format!("---\napiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{ name: it }}\nspec: {spec}\n")
}

fn route(rest: &str) -> String {
    document(
        "VirtualService",
        &format!("{{ hosts: [app.test], http: [{{ route: [{{ destination: {{ host: app.test }} }}]{rest} }}] }}"),
    )
}

fn rule(policy: &str) -> String {
    document("DestinationRule", &format!("{{ host: app.test, trafficPolicy: {policy} }}"))
}

fn compiled_as(text: &str, compatibility: Compatibility) -> (Plan, Vec<Problem>) {
    let texts = vec![Text { name: "t.yaml".into(), text: format!("{SERVICE}{text}").into() }];
    compile(&Bundle { texts, options: Options { compatibility: Some(compatibility), ..Options::default() } })
}

fn plan(text: &str) -> Plan {
    let (plan, problems) = compiled_as(text, Compatibility::Weir);
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    plan
}

fn codes(text: &str) -> Vec<Code> {
    compiled_as(text, Compatibility::Weir).1.into_iter().map(|problem| problem.code).collect()
}

fn destination(plan: &Plan) -> &Destination {
    let host = plan.outbound.hosts().iter().find(|host| &*host.name == "app.test").expect("the host");
    match &host.entries[0].then.action {
        Action::Forward(forward) => &forward.destinations[0],
        other => panic!("{other:?}"),
    }
}

fn retry(plan: &Plan) -> Rules {
    destination(plan).retry.as_deref().expect("retries").clone()
}

#[test]
fn without_retries_the_default_policy_holds_and_a_503_is_not_in_it() {
    for text in [String::new(), route("")] {
        let rules = retry(&plan(&text));
        assert_eq!((rules.attempts, rules.on, rules.codes), (2, Conditions::istio_default(), vec![]));
        assert_eq!(rules.non_idempotent, NonIdempotent::Guard);
    }
    let (istio, _) = compiled_as("", Compatibility::Istio);
    assert_eq!(retry(&istio).non_idempotent, NonIdempotent::Retry);
    assert_eq!(istio.clusters[0].budget, budget::Rules::Off);
    assert_eq!(plan("").clusters[0].budget, budget::Rules::Default);
}

#[test]
fn retries_as_written() {
    assert!(destination(&plan(&route(", retries: { attempts: 0 }"))).retry.is_none());
    let rules = retry(&plan(&route(", retries: { attempts: 5, retryOn: \"5xx,404,reset,503\", backoff: 100ms }")));
    assert_eq!((rules.attempts, rules.codes.as_slice()), (5, &[404, 503][..]));
    assert!(
        rules.on.has(Conditions::STATUS_CODES) && rules.on.has(Conditions::FIVE_XX) && rules.on.has(Conditions::RESET)
    );
    assert_eq!((rules.back_off.base, rules.back_off.max), (Duration::from_millis(100), Duration::from_secs(1)));
    for refused in ["5xx, reset", "5xx,", "sometimes", "1000"] {
        assert_eq!(
            codes(&route(&format!(", retries: {{ attempts: 1, retryOn: \"{refused}\" }}"))),
            [Code::Value],
            "{refused}"
        );
    }
    assert_eq!(codes(&route(", retries: { attempts: 0, perTryTimeout: 1s }")), [Code::Conflict]);
    assert_eq!(codes(&route(", retries: { attempts: 0, backoff: 1s }")), []);
}

#[test]
fn a_destinations_retry_policy_is_the_routes_default() {
    let policy = rule(
        "{ retryPolicy: { retryOn: \"5xx\", numRetries: 3, retryBackOff: { baseInterval: 1s, maxInterval: 10s } } }",
    );
    let rules = retry(&plan(&policy));
    assert_eq!((rules.attempts, rules.back_off.max), (3, Duration::from_secs(10)));
    let own = policy + &route(", retries: { attempts: 7 }").replace("name: it", "name: own");
    assert_eq!(retry(&plan(&own)).attempts, 7);
    assert_eq!(codes(&own), [Code::NotInIstio]);
}

#[test]
fn timeouts() {
    let limits = destination(&plan(&route(", timeout: 5s, retries: { attempts: 1, perTryTimeout: 2s }"))).timeout;
    assert_eq!((limits.whole, limits.per_try), (Some(Duration::from_secs(5)), Some(Duration::from_secs(2))));
    let text = route(", timeout: 2s, retries: { attempts: 1, perTryTimeout: 2s }");
    assert_eq!(destination(&plan(&text)).timeout.per_try, None);
    assert_eq!(codes(&text), [Code::PerTryIgnored]);
    assert_eq!(destination(&plan(&route(", timeout: 0s"))).timeout.whole, None);
    assert_eq!(codes(&route(", timeout: 5")), [Code::WrongType]);
    assert_eq!(codes(&route(", timeout: -5s")), [Code::Duration]);
}

#[test]
fn pools_and_ceilings() {
    let upstream = plan(&rule(
        "{ connectionPool: { tcp: { maxConnections: 10, connectTimeout: 30ms, idleTimeout: 9s }, http: { http2MaxRequests: 5, maxRetries: 3, idleTimeout: 3s, maxRequestsPerConnection: 1 } } }",
    ))
    .clusters[0]
        .clone();
    assert_eq!((upstream.inflight.connections, upstream.inflight.requests, upstream.inflight.retries), (10, 5, 3));
    assert_eq!(upstream.inflight.pending, u32::MAX);
    assert_eq!(upstream.connection.connect_timeout, Duration::from_millis(30));
    assert_eq!(upstream.connection.idle_timeout, Some(Duration::from_secs(3)), "http wins over tcp");
    assert_eq!(upstream.connection.max_requests, 1);
    assert_eq!(codes(&rule("{ connectionPool: { http: { maxRetries: 0 } } }")), [Code::ZeroIsUnset]);
    assert_eq!(codes(&rule("{}")), [Code::Missing]);
    assert_eq!(codes(&rule("{ connectionPool: {} }")), [Code::Missing]);
}

#[test]
fn endpoints_subsets_and_weights() {
    let text = document("DestinationRule", "{ host: app.test, subsets: [{ name: v2, labels: { version: v2 } }] }")
        + &document(
            "VirtualService",
            "{ hosts: [app.test], http: [{ route: [{ destination: { host: app.test, subset: v2 }, weight: 1 }, { destination: { host: app.test, subset: no }, weight: 3 }, { destination: { host: app.test }, weight: 0 }] }] }",
        );
    let plan = plan(&text);
    let addresses: Vec<String> =
        plan.clusters[1].endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    assert_eq!(
        (plan.clusters[1].name.as_ref(), addresses),
        ("outbound|80|v2|app.test", vec!["10.0.0.2:8080".to_owned()])
    );
    let host = &plan.outbound.hosts()[0];
    let Action::Forward(forward) = &host.entries[0].then.action else { panic!("a route") };
    assert_eq!((forward.destinations.len(), forward.total_weight), (2, 4));
    assert!(matches!(forward.destinations[1].target, Target::Unknown(_)));
    assert_eq!(codes(&text), [Code::UnknownDestination]);
}

#[test]
fn several_rules_are_merged_field_by_field_or_as_istio_does() {
    let text = rule("{ connectionPool: { tcp: { maxConnections: 1 } } }")
        + &rule(
            "{ connectionPool: { tcp: { maxConnections: 2, connectTimeout: 7s } }, loadBalancer: { simple: RANDOM } }",
        )
        .replace("name: it", "name: other");
    let (weir, problems) = compiled_as(&text, Compatibility::Weir);
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::SeveralRules]);
    assert!(problems[0].words.contains("t.yaml:"), "names the other place: {}", problems[0].words);
    assert_eq!(weir.clusters[0].inflight.connections, 1);
    assert_eq!(weir.clusters[0].connection.connect_timeout, Duration::from_secs(7));
    let (istio, _) = compiled_as(&text, Compatibility::Istio);
    assert_eq!(istio.clusters[0].connection.connect_timeout, Duration::from_secs(10));
}

#[test]
fn what_is_guarded_and_not_enforced_is_refused_not_passed_in_plaintext() {
    let text = rule("{ tls: { mode: ISTIO_MUTUAL } }");
    assert!(matches!(destination(&plan(&text)).target, Target::NotEnforced(_)));
    assert_eq!(codes(&text), [Code::SecurityNotEnforced]);
}

#[test]
fn gateways_open_http_ports_and_keep_others_closed() {
    let text = document(
        "Gateway",
        "{ servers: [{ port: { number: 8080, name: a, protocol: HTTP }, hosts: [\"*\"] }, { port: { number: 8443, name: b, protocol: HTTPS }, hosts: [\"*\"], tls: { mode: ISTIO_MUTUAL } }, { port: { number: 8444, name: c, protocol: HTTPS }, hosts: [a.test], tls: { mode: SIMPLE, credentialName: c } }] }",
    ) + &document(
        "VirtualService",
        "{ hosts: [\"*\"], gateways: [it], http: [{ route: [{ destination: { host: app.test } }] }] }",
    );
    let plan = plan(&text);
    assert_eq!(plan.gateways.iter().map(|gateway| gateway.port).collect::<Vec<_>>(), [8080, 8444]);
    assert!(plan.gateways[0].tls.is_empty() && plan.gateways[1].tls.len() == 1);
    assert_eq!(plan.gateways[0].table.hosts().len(), 1);
    assert_eq!(codes(&text), [Code::PortClosed]);
}

#[test]
fn mistakes_of_virtual_services() {
    let with = |spec: &str| codes(&document("VirtualService", spec));
    assert_eq!(with("{ hosts: [\"*\"], http: [{ route: [{ destination: { host: app.test } }] }] }"), [Code::Value]);
    assert_eq!(with("{ hosts: [a.b], http: [{}] }"), [Code::Missing]);
    assert_eq!(
        with("{ hosts: [a.b], http: [{ redirect: { uri: / }, route: [{ destination: { host: app.test } }] }] }"),
        [Code::Conflict]
    );
    assert_eq!(
        with("{ hosts: [a.b], http: [{ match: [{ uri: { regex: \"(\" } }], directResponse: { status: 200 } }] }"),
        [Code::Regex]
    );
    assert_eq!(
        with("{ hosts: [a.b], http: [{ directResponse: { status: 200 } }, { directResponse: { status: 201 } }] }"),
        [Code::Unreachable]
    );
    assert_eq!(
        with("{ hosts: [a.b], http: [{ route: [{ destination: { host: nowhere.test } }] }] }"),
        [Code::UnknownDestination]
    );
    assert_eq!(
        with("{ hosts: [a.b], gateways: [none], http: [{ directResponse: { status: 200 } }] }"),
        [Code::UnknownGateway]
    );
}

#[test]
fn ten_thousand_services_compile_within_seconds() {
    let mut text = String::new();
    for number in 0..2_000 {
        text += &document("VirtualService", &format!("{{ hosts: [h{number}.test], http: [{{ match: [{{ uri: {{ prefix: /a }} }}], route: [{{ destination: {{ host: app.test }} }}] }}] }}")).replace("name: it", &format!("name: v{number}"));
    }
    let (plan, problems) = compiled_as(&text, Compatibility::Weir);
    assert!(problems.is_empty());
    assert_eq!(plan.outbound.hosts().len(), 2_001);
}

#[test]
fn outlier_detection_has_istios_defaults_and_zero_switches_a_counter_off() {
    use weir_policy::outlier::{Origin, Rules};
    let of = |block: &str| plan(&rule(&format!("{{ outlierDetection: {block} }}"))).clusters[0].outlier.clone();
    assert_eq!(plan("").clusters[0].outlier, None, "absent: none");
    let default = Rules::default();
    assert_eq!(of("{}"), Some(default.clone()), "present: the defaults");
    assert_eq!((default.errors, default.gateway, default.max_percent), (Some(5), None, 10));
    let both = of("{ consecutive5xxErrors: 4, consecutiveGatewayErrors: 3 }").expect("rules");
    assert_eq!((both.errors, both.gateway), (Some(4), Some(3)));
    let off = of("{ consecutive5xxErrors: 0, consecutiveGatewayErrors: 0 }").expect("rules");
    assert_eq!((off.errors, off.gateway), (None, None));
    assert_eq!(of("{ splitExternalLocalOriginErrors: true }").expect("rules").origin, Origin::Split(Some(5)));
    let split = "{ splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 10 }";
    assert_eq!(of(split).expect("rules").origin, Origin::Split(Some(10)));
    assert_eq!(of("{ outlierDetectionHttpErrorCodes: [429, 503] }").expect("rules").codes, [429, 503]);
    let long = of("{ baseEjectionTime: 10m, minHealthPercent: 20 }").expect("rules");
    assert_eq!((long.longest, long.min_health_percent), (Duration::from_secs(600), 20));
    assert_eq!(of("{ maxEjectionPercent: 0 }").expect("rules").max_percent, 10, "0 is not set");
    assert!(codes(&rule("{ outlierDetection: { consecutiveErrors: 7 } }")).contains(&Code::Deprecated));
    assert_eq!(of("{ consecutiveErrors: 7 }").expect("rules").errors, Some(5), "the old word does nothing");
    let lonely = rule("{ outlierDetection: { consecutiveLocalOriginFailures: 3 } }");
    assert!(codes(&lonely).contains(&Code::Conflict));
}

#[test]
fn consistent_hash_is_lowered_and_its_retries_stay_with_their_host() {
    use weir_policy::balance::{Hash, Rules, Shape, key::Key};
    use weir_policy::retry::Previous;
    let hash = |text: &str| rule(&format!("{{ loadBalancer: {{ consistentHash: {text} }} }}"));
    let of = |text: &str| match plan(&hash(text)).clusters[0].balance.clone() {
        Rules::Hash(hash) => hash,
        other => panic!("{other:?}"),
    };
    let header = Key::Header("x-user".into());
    assert_eq!(of("{ httpHeaderName: X-User }"), Hash { key: header.clone(), shape: Shape::Ring(1024) });
    assert_eq!(of("{ httpHeaderName: x-user, ringHash: { minimumRingSize: 2 } }").shape, Shape::Ring(2));
    assert_eq!(of("{ httpHeaderName: x-user, maglev: {} }"), Hash { key: header, shape: Shape::Maglev(65_537) });
    assert_eq!(
        of("{ useSourceIp: true, maglev: { tableSize: 101 } }"),
        Hash { key: Key::Source, shape: Shape::Maglev(101) }
    );
    for wrong in
        ["{ useSourceIp: true, maglev: { tableSize: 100 } }", "{ useSourceIp: true, maglev: { tableSize: 5000011 } }"]
    {
        assert!(codes(&hash(wrong)).contains(&Code::Value), "{wrong}");
    }
    assert!(codes(&hash("{ useSourceIp: true, httpHeaderName: x }")).contains(&Code::Conflict));
    assert!(codes(&hash("{ useSourceIp: true, minimumRingSize: 4, maglev: {} }")).contains(&Code::Conflict));
    let bound = hash("{ useSourceIp: true }");
    assert_eq!(retry(&plan(&bound)).previous, Previous::Allow);
    assert_eq!(retry(&plan(&(bound.clone() + &route(", retries: { attempts: 2 }")))).previous, Previous::Allow);
    let other = bound + &route(", retries: { attempts: 2, retryIgnorePreviousHosts: true }");
    assert_eq!(retry(&plan(&other)).previous, Previous::Avoid);
}

#[test]
fn the_source_of_retries_is_route_then_subset_then_host_then_mesh_then_built_in() {
    let mesh = "---\napiVersion: weir.dev/v1alpha1\nkind: Mesh\nmetadata: { name: mesh }\nspec: { defaultHttpRetryPolicy: { attempts: 7 } }\n";
    let policy = |retries: u32| format!("trafficPolicy: {{ retryPolicy: {{ numRetries: {retries} }} }}");
    let subsets = |own: &str| format!("subsets: [{{ name: v1, labels: {{ version: v1 }}{own} }}]");
    let rules =
        |host: &str, own: &str| document("DestinationRule", &format!("{{ host: app.test{host}, {} }}", subsets(own)));
    let to_subset = |rest: &str| {
        let to = "{ destination: { host: app.test, subset: v1 } }";
        document("VirtualService", &format!("{{ hosts: [app.test], http: [{{ route: [{to}]{rest} }}] }}"))
    };
    let (host, subset) = (format!(", {}", policy(5)), format!(", {}", policy(4)));
    let cases = [
        (rules("", "") + &to_subset(""), 2),
        (rules("", "") + &to_subset("") + mesh, 7),
        (rules(&host, "") + &to_subset("") + mesh, 5),
        (rules(&host, &subset) + &to_subset("") + mesh, 4),
        (rules(&host, &subset) + &to_subset(", retries: { attempts: 3 }") + mesh, 3),
    ];
    for (text, attempts) in cases {
        assert_eq!(retry(&plan(&text)).attempts, attempts, "{text}");
    }
}

#[test]
fn what_an_upstream_is_spoken_to_in() {
    use weir_policy::connection::{Ping, Speaks};
    let speaks = |text: &str| plan(text).clusters[0].connection.speaks;
    let http = |fields: &str| rule(&format!("{{ connectionPool: {{ http: {{ {fields} }} }} }}"));
    assert_eq!(speaks(""), Speaks::Http1);
    assert_eq!(speaks(&http("h2UpgradePolicy: UPGRADE")), Speaks::Http2);
    assert_eq!(speaks(&http("useClientProtocol: true")), Speaks::AsClient);
    for (protocol, expected) in [("GRPC", Speaks::Http2), ("HTTP2", Speaks::Http2), ("GRPC-WEB", Speaks::Http2)] {
        let text = SERVICE.replace("protocol: HTTP }", &format!("protocol: {protocol} }}"));
        let texts = vec![Text { name: "t.yaml".into(), text: text.into() }];
        let (plan, _) = compile(&Bundle { texts, options: Options::default() });
        assert_eq!(plan.clusters[0].connection.speaks, expected, "{protocol}");
    }
    let written = http("maxConcurrentStreams: 7, http2KeepAlive: { interval: 2s, timeout: 1s }");
    let connection = plan(&written).clusters[0].connection.clone();
    assert_eq!(connection.streams, 7);
    assert_eq!(connection.ping, Some(Ping { interval: Duration::from_secs(2), timeout: Duration::from_secs(1) }));
}

/// A rule with a fault, and what policies say of it.
fn rehearsed(route: &str, policies: &[(&str, &str)]) -> String {
    let fault = "fault: { abort: { httpStatus: 503, percentage: { value: 5 } } }";
    let subsets =
        "{ host: app.test, subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }] }";
    let mut text = document("DestinationRule", subsets)
        + &document("VirtualService", &format!("{{ hosts: [app.test], http: [{{ name: main, {fault}, {route} }}] }}"));
    for (nth, (target, scope)) in policies.iter().enumerate() {
        text += &format!(
            "---\napiVersion: weir.dev/v1alpha1\nkind: ReliabilityPolicy\nmetadata: {{ name: p{nth} }}\n\
             spec: {{ targetRefs: [{target}], faultScope: {scope} }}\n"
        );
    }
    text
}

/// Where the fault of the only rule is: before the router, at the tries.
fn fault_places(text: &str) -> (usize, usize) {
    let plan = plan(text);
    let host = plan.outbound.hosts().iter().find(|host| &*host.name == "app.test").expect("the host");
    let route = &host.entries[0].then;
    (route.chain.filters.len(), usize::from(route.fault().is_some()))
}

const TO_V1: &str = "route: [{ destination: { host: app.test, port: { number: 80 }, subset: v1 } }]";

#[test]
fn a_fault_is_before_the_router_or_at_every_try() {
    let (before, tries) = ((1, 0), (0, 1));
    let service = "{ kind: Service, name: app.test }";
    assert_eq!(fault_places(&rehearsed(TO_V1, &[])), before);
    assert_eq!(fault_places(&rehearsed(TO_V1, &[(service, "istio")])), before);
    for target in [
        service,
        "{ kind: Service, name: app.test, port: 80 }",
        "{ kind: Service, name: app.test, subset: v1 }",
        "{ kind: Route, name: it/main }",
        "{ kind: Route, name: it/main, namespace: default }",
    ] {
        assert_eq!(fault_places(&rehearsed(TO_V1, &[(target, "upstream")])), tries, "{target}");
    }
    for target in ["{ kind: Service, name: app.test, subset: v2 }", "{ kind: Gateway, name: it }"] {
        assert_eq!(fault_places(&rehearsed(TO_V1, &[(target, "upstream")])), before, "{target}");
    }
}

#[test]
fn the_most_specific_fault_scope_wins_and_of_equals_the_first() {
    let (before, tries) = ((1, 0), (0, 1));
    let targets = [
        "{ kind: Service, name: app.test }",
        "{ kind: Service, name: app.test, port: 80 }",
        "{ kind: Service, name: app.test, subset: v1 }",
        "{ kind: Service, name: app.test, port: 80, subset: v1 }",
        "{ kind: Route, name: it/main }",
    ];
    for pair in targets.windows(2) {
        let (wide, narrow) = (pair[0], pair[1]);
        assert_eq!(fault_places(&rehearsed(TO_V1, &[(wide, "istio"), (narrow, "upstream")])), tries, "{narrow}");
        assert_eq!(fault_places(&rehearsed(TO_V1, &[(narrow, "istio"), (wide, "upstream")])), before, "{narrow}");
        assert_eq!(fault_places(&rehearsed(TO_V1, &[(wide, "upstream"), (wide, "istio")])), tries, "{wide}");
    }
}

#[test]
fn a_fault_scope_for_some_destinations_or_for_nobody_is_told() {
    let both = "route: [{ destination: { host: app.test, subset: v1 }, weight: 50 }, { destination: { host: app.test, subset: v2 }, weight: 50 }]";
    let v1 = ("{ kind: Service, name: app.test, subset: v1 }", "upstream");
    let v2 = ("{ kind: Service, name: app.test, subset: v2 }", "upstream");
    assert_eq!(fault_places(&rehearsed(both, &[v1])), (1, 0));
    assert_eq!(codes(&rehearsed(both, &[v1])), [Code::NoEffect]);
    assert_eq!(fault_places(&rehearsed(both, &[v1, v2])), (0, 1));
    assert_eq!(codes(&rehearsed(both, &[v1, v2])), []);
    for target in [
        "{ kind: Service, name: nobody.test }",
        "{ kind: Service, name: app.test, port: 81 }",
        "{ kind: Service, name: app.test, subset: v3 }",
        "{ kind: Route, name: it/other }",
        "{ kind: Route, name: main }",
    ] {
        assert_eq!(codes(&rehearsed(TO_V1, &[(target, "upstream")])), [Code::UnknownDestination], "{target}");
    }
}

#[test]
fn a_direct_response_has_no_tries_and_keeps_its_fault() {
    // Of a root: a rule itself has either a fault or a direct response.
    let part = "{ http: [{ directResponse: { status: 200 } }] }";
    let part = document("VirtualService", part).replace("name: it", "name: part");
    let text = rehearsed("delegate: { name: part }", &[("{ kind: Route, name: it/main }", "upstream")]) + &part;
    assert_eq!(fault_places(&text), (1, 0));
}
