//! What is remembered changes nothing: compiled again after any change, a bundle is as compiled for the first time.

#![allow(clippy::expect_used, reason = "this is a test")]

use proptest::prelude::*;
use std::sync::Arc;
use weir_config::{Bundle, Compiler, Options, Problem, Severity, Text, compile};
use weir_policy::plan::Plan;
use weir_policy::route::Table;

const START: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec:
  hosts: [a.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.1 }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: a }
spec:
  hosts: [a.test]
  http:
  - route: [{ destination: { host: a.test } }]
    timeout: 5s
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: a }
spec: { host: a.test, trafficPolicy: { connectionPool: { tcp: { maxConnections: 7 } } } }
";

fn bundle(texts: &[String]) -> Bundle {
    let texts = texts.iter().enumerate();
    let texts = texts.map(|(at, text)| Text { name: format!("{at}.yaml").into(), text: text.as_str().into() });
    Bundle { texts: texts.collect(), options: Options::default() }
}

/// Authorities that some document of this file makes known, and one that none does.
const AUTHORITIES: [&str; 9] = [
    "a.test",
    "b.test",
    "c.test",
    "x.wild.test",
    "k",
    "k.default.svc.cluster.local",
    "d.default",
    "edge.test",
    "nobody.test",
];

/// Everything that can be compared of a plan.
fn shown((plan, problems): &(Plan, Vec<Problem>)) -> String {
    let table = |table: &Table| {
        let found = AUTHORITIES.map(|name| table.host(name.as_bytes()).map(|host| Arc::clone(&host.name)));
        format!("{:#?} {found:?} {:?}", table.hosts(), table.chain)
    };
    let gateways = plan
        .gateways
        .iter()
        .map(|of| format!("{} {} {} {} {:?}", of.name, of.port, of.place, table(&of.table), of.tcp));
    let gateways: Vec<String> = gateways.collect();
    let Plan { settings, services, clusters, limits, rates, .. } = plan;
    format!(
        "{settings:#?}\n{services:#?}\n{clusters:#?}\n{limits:?}\n{rates:?}\n{}\n{gateways:#?}\n{problems:#?}",
        table(&plan.outbound)
    )
}

/// A change of one text: bytes taken out and words put in.
fn changes() -> impl Strategy<Value = Vec<(usize, usize, usize, String)>> {
    let words =
        prop_oneof![Just("\n---\n".to_owned()), Just("\n".to_owned()), Just("9".to_owned()), "[a-z:{}\n -]{0,9}"];
    proptest::collection::vec((0usize..2, 0usize..700, 0usize..20, words), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn compiled_again_is_compiled_anew(changes in changes()) {
        let other = START.replace("a.test", "b.test").replace("name: a", "name: b");
        let mut texts = vec![START.to_owned(), other];
        let mut compiler = Compiler::default();
        for (which, at, length, new) in changes {
            let text = &mut texts[which];
            let at = at.min(text.len());
            text.replace_range(at..(at + length).min(text.len()), &new);
            let bundle = bundle(&texts);
            prop_assert_eq!(shown(&compiler.compile(&bundle)), shown(&compile(&bundle)));
        }
    }
}

/// Documents in which one thing or another is different.
const VARIANTS: [&[&str]; 20] = [
    &[
        "kind: ServiceEntry|spec: { hosts: [a.test], resolution: STATIC, ports: [{ number: 80, name: http, protocol: HTTP }], endpoints: [{ address: 10.0.0.1, labels: { v: '1' } }] }",
        "kind: ServiceEntry|spec: { hosts: [a.test], resolution: STATIC, ports: [{ number: 80, name: http, protocol: HTTP }], endpoints: [{ address: 10.0.0.2 }] }",
        "kind: ServiceEntry|spec: { hosts: [a.test], resolution: STATIC, ports: [{ number: 80, name: http, protocol: HTTP }, { number: 81, name: more, protocol: HTTP }], endpoints: [{ address: 10.0.0.1 }] }",
    ],
    &[
        "kind: ServiceEntry|spec: { hosts: [b.test, c.test], resolution: STATIC, ports: [{ number: 80, name: http, protocol: HTTP }], workloadSelector: { labels: { app: b } } }",
        "kind: ServiceEntry|spec: { hosts: [c.test, b.test], resolution: STATIC, ports: [{ number: 80, name: http, protocol: HTTP }], workloadSelector: { labels: { app: c } } }",
    ],
    &[
        "kind: WorkloadEntry|spec: { address: 10.0.1.1, labels: { app: b, v: '1' } }",
        "kind: WorkloadEntry|spec: { address: 10.0.1.2, labels: { app: c } }",
    ],
    &[
        "kind: DestinationRule|spec: { host: a.test, subsets: [{ name: one, labels: { v: '1' } }, { name: two }] }",
        "kind: DestinationRule|spec: { host: a.test, trafficPolicy: { loadBalancer: { consistentHash: { httpHeaderName: x } } }, subsets: [{ name: two }] }",
        "kind: DestinationRule|spec: { host: b.test, trafficPolicy: { connectionPool: { tcp: { maxConnections: 3 } } } }",
    ],
    &[
        "kind: DestinationRule|spec: { host: a.test, trafficPolicy: { outlierDetection: { interval: 3s } }, subsets: [{ name: three }] }",
        "kind: DestinationRule|spec: { host: k, trafficPolicy: { tls: { mode: SIMPLE } } }",
    ],
    &[
        "kind: VirtualService|spec: { hosts: [a.test], http: [{ route: [{ destination: { host: a.test, subset: one }, weight: 1 }, { destination: { host: a.test, subset: two }, weight: 2 }], timeout: 5s }] }",
        "kind: VirtualService|spec: { hosts: [a.test], http: [{ route: [{ destination: { host: a.test, subset: three } }] }] }",
        "kind: VirtualService|spec: { hosts: [b.test, a.test], http: [{ match: [{ uri: { prefix: /x } }], route: [{ destination: { host: k } }] }, { route: [{ destination: { host: b.test, port: { number: 80 } } }], retries: { attempts: 2, perTryTimeout: 9s }, timeout: 5s }] }",
    ],
    &[
        "kind: VirtualService|spec: { hosts: [c.test], http: [{ route: [{ destination: { host: d.default } }], mirror: { host: a.test, subset: two } }] }",
        "kind: VirtualService|spec: { hosts: [a.test], http: [{ name: f, match: [{ uri: { exact: /y } }], fault: { abort: { httpStatus: 503, percentage: { value: 5 } } }, route: [{ destination: { host: a.test } }] }, { match: [{ uri: { exact: /y } }], route: [{ destination: { host: c.test } }] }, { redirect: { uri: /z } }] }",
    ],
    &[
        "kind: VirtualService|spec: { hosts: ['*.wild.test', k], http: [{ fault: { delay: { fixedDelay: 1s, percentage: { value: 5 } } }, route: [{ destination: { host: a.test, subset: one }, weight: 1 }, { destination: { host: k }, weight: 1 }] }] }",
        "kind: VirtualService|spec: { hosts: [edge.test], gateways: [g, mesh], http: [{ match: [{ gateways: [mesh], uri: { prefix: /m } }, { uri: { prefix: /e } }], route: [{ destination: { host: a.test, subset: two } }] }] }",
        "kind: VirtualService|spec: { hosts: [edge.test], gateways: [g], http: [{ delegate: { name: n8 } }] }",
    ],
    &[
        "kind: VirtualService|spec: { http: [{ match: [{ uri: { prefix: /d } }], route: [{ destination: { host: k, port: { number: 8080 } } }] }] }",
        "kind: VirtualService|spec: { http: [{ route: [{ destination: { host: a.test, subset: one } }] }] }",
    ],
    &[
        "kind: Gateway|metadata: { name: g }|spec: { selector: { app: g }, servers: [{ port: { number: 8081, name: http, protocol: HTTP }, hosts: ['*'] }] }",
        "kind: Gateway|metadata: { name: g }|spec: { selector: { app: g }, servers: [{ port: { number: 8081, name: http, protocol: HTTP }, hosts: ['edge.test'] }, { port: { number: 8082, name: more, protocol: HTTP }, hosts: ['*.test'] }] }",
    ],
    &[
        "kind: Service|metadata: { name: k }|spec: { ports: [{ port: 80, name: http }, { port: 8080, name: more }] }",
        "kind: Service|metadata: { name: k }|spec: { ports: [{ port: 8080, name: more }], selector: { app: b } }",
        "kind: Service|metadata: { name: d }|spec: { ports: [{ port: 80, name: http }] }",
    ],
    &[
        "kind: Endpoints|metadata: { name: k }|subsets: [{ addresses: [{ ip: 10.0.2.1 }], ports: [{ port: 90, name: http }] }]",
        "kind: Endpoints|metadata: { name: k }|subsets: [{ addresses: [{ ip: 10.0.2.2 }], ports: [{ port: 91, name: more }] }]",
    ],
    &[
        "kind: Mesh|spec: { defaultHttpRetryPolicy: { attempts: 5 } }",
        "kind: Mesh|spec: { compatibility: istio, connectTimeout: 7s }",
    ],
    &[
        "kind: Sidecar|spec: { egress: [{ hosts: ['./a.test', './k.default.svc.cluster.local'] }] }",
        "kind: AuthorizationPolicy|spec: {}",
    ],
    &[
        "kind: EnvoyFilter|spec: { configPatches: [{ applyTo: HTTP_ROUTE, match: { routeConfiguration: { vhost: { name: a.test } } }, patch: { operation: MERGE, value: { route: { timeout: 3s } } } }] }",
        "kind: EnvoyFilter|spec: { configPatches: [{ applyTo: CLUSTER, match: { cluster: { service: a.test } }, patch: { operation: MERGE, value: { outlier_detection: { interval: 7s } } } }] }",
    ],
    &[
        "kind: ReliabilityPolicy|spec: { targetRefs: [{ kind: Service, name: a.test }], faultScope: upstream }",
        "kind: ReliabilityPolicy|spec: { targetRefs: [{ kind: Service, name: a.test }, { kind: Route, name: n6/f }], faultScope: istio }",
        "kind: ReliabilityPolicy|spec: { targetRefs: [{ kind: Service, name: k }, { kind: Service, name: a.test, subset: two }], faultScope: upstream }",
    ],
    &[
        "kind: RateLimitPolicy|spec: { targetRefs: [{ kind: Service, name: a.test }], rules: [{ limit: { requests: 1, per: 1s } }] }",
        "kind: RateLimitPolicy|spec: { targetRefs: [{ kind: Route, name: n6/f }, { kind: Service, name: a.test, subset: two }], rules: [{ limit: { requests: 2, per: 1s } }] }",
        "kind: RateLimitPolicy|spec: { targetRefs: [{ kind: Service, name: k, port: 80 }], rules: [{ name: x, limit: { requests: 3, per: 1s } }] }",
    ],
    &[
        "kind: QuotaSpec|spec: { rules: [{ quotas: [{ quota: q }] }] }",
        "kind: QuotaSpec|spec: { rules: [{ quotas: [{ quota: q, charge: 3 }] }] }",
    ],
    &[
        "kind: QuotaSpecBinding|spec: { quotaSpecs: [{ name: n17 }], services: [{ name: a.test }] }",
        "kind: QuotaSpecBinding|spec: { quotaSpecs: [{ name: n17 }], services: [{ name: k }] }",
    ],
    &["kind: memquota|spec: { quotas: [{ name: q, maxAmount: 5, validDuration: 1s }] }"],
];

/// A document, the `nth` one of the bundle.
fn variant(nth: usize, which: usize, lines: usize) -> String {
    let words = VARIANTS[nth][which % VARIANTS[nth].len()];
    let api = match words.split(['|', ' ']).nth(1) {
        Some("Service" | "Endpoints") => "v1",
        Some("Mesh" | "ReliabilityPolicy" | "RateLimitPolicy") => "weir.dev/v1alpha1",
        Some("QuotaSpec" | "QuotaSpecBinding" | "memquota") => "config.istio.io/v1alpha2",
        Some("AuthorizationPolicy") => "security.istio.io/v1",
        Some("EnvoyFilter") => "networking.istio.io/v1alpha3",
        _ => "networking.istio.io/v1",
    };
    let name = if words.contains("metadata") { String::new() } else { format!("metadata: {{ name: n{nth} }}\n") };
    format!("{}apiVersion: {api}\n{name}{}\n", "#\n".repeat(lines), words.replace('|', "\n"))
}

/// What is done to the bundle.
#[derive(Clone, Debug)]
enum Change {
    Put(usize, usize, usize),
    Remove(usize),
    Swap(usize, usize),
    Joined,
}

fn change() -> impl Strategy<Value = Change> {
    let nth = 0..VARIANTS.len();
    prop_oneof![
        8 => (nth.clone(), 0usize..3, 0usize..3).prop_map(|(nth, which, lines)| Change::Put(nth, which, lines)),
        2 => nth.clone().prop_map(Change::Remove),
        2 => (nth.clone(), nth).prop_map(|(one, other)| Change::Swap(one, other)),
        1 => Just(Change::Joined),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Documents come, go, change, and change places, alone in their texts or together in one.
    #[test]
    fn whatever_documents_change_the_plan_is_as_compiled_anew(changes in proptest::collection::vec(change(), 1..24)) {
        let mut texts: Vec<(usize, String)> = (0..VARIANTS.len()).map(|nth| (nth, variant(nth, 0, 0))).collect();
        let (mut compiler, mut joined) = (Compiler::default(), false);
        compiler.compile(&bundle(&texts.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>()));
        for change in changes {
            match change {
                Change::Put(nth, which, lines) => {
                    let text = variant(nth, which, lines);
                    match texts.iter_mut().find(|(own, _)| *own == nth) {
                        Some(found) => found.1 = text,
                        None => texts.push((nth, text)),
                    }
                }
                Change::Remove(nth) => texts.retain(|(own, _)| *own != nth),
                Change::Swap(one, other) if one.max(other) < texts.len() => texts.swap(one, other),
                Change::Swap(..) => {}
                Change::Joined => joined = !joined,
            }
            let now: Vec<String> = texts.iter().map(|(_, text)| text.clone()).collect();
            let bundle = bundle(&if joined { vec![now.join("---\n")] } else { now });
            prop_assert_eq!(shown(&compiler.compile(&bundle)), shown(&compile(&bundle)));
        }
    }
}

/// Otherwise the test above would compare little.
#[test]
fn the_variants_are_accepted() {
    for (nth, variants) in VARIANTS.iter().enumerate() {
        for which in 0..variants.len() {
            let problems = compile(&bundle(&[variant(nth, which, 0)])).1;
            let refused = problems.iter().find(|problem| problem.severity == Severity::Error);
            assert!(refused.is_none(), "{nth} {which}: {refused:?}");
        }
    }
}

/// What did not change is the same object, so that whoever takes the plan need not look at it.
#[test]
fn what_did_not_change_is_shared_by_both_plans() {
    let other = START.replace("a.test", "b.test").replace("name: a", "name: b");
    let mut compiler = Compiler::default();
    let (before, _) = compiler.compile(&bundle(&[START.to_owned(), other.clone()]));
    let (after, _) = compiler.compile(&bundle(&[START.replace("maxConnections: 7", "maxConnections: 8"), other]));
    let clusters: Vec<bool> = before.clusters.iter().zip(&after.clusters).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
    let hosts = before.outbound.hosts().iter().zip(after.outbound.hosts());
    let hosts: Vec<bool> = hosts.map(|(a, b)| Arc::ptr_eq(a, b)).collect();
    assert_eq!((clusters, hosts), (vec![false, true], vec![false, true]));
}

#[test]
fn a_text_that_is_gone_is_forgotten() {
    let texts = vec![START.to_owned(), START.replace("a.test", "b.test").replace("name: a", "name: b")];
    let mut compiler = Compiler::default();
    assert_eq!(compiler.compile(&bundle(&texts)).0.clusters.len(), 2);
    assert_eq!(compiler.compile(&bundle(&texts[..1])).0.clusters.len(), 1);
    assert_eq!(compiler.compile(&bundle(&texts)).0.clusters.len(), 2);
}
