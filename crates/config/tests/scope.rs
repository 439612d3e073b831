//! Who sees what: delegates, `exportTo`, Sidecars, selectors; Kubernetes' services and their endpoints.

#![allow(clippy::expect_used, reason = "this is a test")]

use weir_config::{Bundle, Code, Options, Problem, Severity, Text, compile};
use weir_policy::plan::Plan;
use weir_policy::route::Action;

fn document(version: &str, kind: &str, meta: &str, spec: &str) -> String {
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{ {meta} }}\nspec: {spec}\n")
}

fn istio(kind: &str, meta: &str, spec: &str) -> String {
    document("networking.istio.io/v1", kind, meta, spec)
}

fn entry(host: &str, namespace: &str, rest: &str) -> String {
    let spec = format!(
        "{{ hosts: [{host}], resolution: STATIC, ports: [{{ number: 80, name: http, protocol: HTTP }}], endpoints: [{{ address: 10.0.0.1 }}]{rest} }}"
    );
    istio("ServiceEntry", &format!("name: e-{}, namespace: {namespace}", host.replace('.', "-")), &spec)
}

fn compiled(text: &str, options: Options) -> (Plan, Vec<Problem>) {
    let (plan, problems) = compile(&Bundle { texts: vec![Text { name: "t.yaml".into(), text: text.into() }], options });
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    (plan, problems)
}

fn labelled(labels: &[(&str, &str)]) -> Options {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Options { labels, ..Options::default() }
}

fn hosts(plan: &Plan) -> Vec<String> {
    let mut names: Vec<String> = plan.outbound.hosts().iter().map(|host| host.name.to_string()).collect();
    names.sort();
    names
}

/// The names of a host's routes, and where they lead.
fn routes(plan: &Plan, name: &str) -> Vec<String> {
    let host = plan.outbound.hosts().iter().find(|host| &*host.name == name).expect("the host");
    let show = |action: &Action| match action {
        Action::Direct(direct) => direct.status.to_string(),
        Action::Forward(_) => "forward".to_owned(),
        Action::Redirect(_) => "redirect".to_owned(),
    };
    host.entries.iter().map(|entry| format!("{} {}", entry.then.name, show(&entry.then.action))).collect()
}

const ROOT: &str = "{ hosts: [a.test], http: [{ name: shop, timeout: 3s, match: [{ uri: { prefix: /shop } }], delegate: { name: shop, namespace: team } }, { name: rest, directResponse: { status: 404 } }] }";

#[test]
fn a_delegates_rules_stand_in_the_place_of_the_roots() {
    let delegate = "{ http: [{ name: cart, match: [{ uri: { prefix: /shop/cart } }], directResponse: { status: 201 } }, { name: out, match: [{ uri: { prefix: /x } }], directResponse: { status: 202 } }, { directResponse: { status: 203 } }] }";
    let text = istio("VirtualService", "name: root", ROOT)
        + &istio("VirtualService", "name: shop, namespace: team", delegate)
        + &istio("VirtualService", "name: alone", "{ http: [{ directResponse: { status: 200 } }] }");
    let (plan, problems) = compiled(&text, Options::default());
    assert_eq!(routes(&plan, "a.test"), ["shop-cart 201", "shop 203", "rest 404"]);
    let codes: Vec<Code> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::Unreachable, Code::NoEffect]);
}

#[test]
fn a_delegate_that_is_not_there_or_not_exported_is_reported() {
    let private = "{ exportTo: [\".\"], http: [{ directResponse: { status: 200 } }] }";
    for delegate in ["", &istio("VirtualService", "name: shop, namespace: team", private)] {
        let (plan, problems) = compiled(&(istio("VirtualService", "name: root", ROOT) + delegate), Options::default());
        assert_eq!(routes(&plan, "a.test"), ["rest 404"]);
        assert!(problems.iter().any(|problem| problem.code == Code::UnknownDestination));
    }
}

#[test]
fn what_is_not_exported_here_is_not_seen() {
    let text = entry("a.test", "other", ", exportTo: [\".\"]")
        + &entry("b.test", "other", ", exportTo: [default]")
        + &entry("c.test", "default", ", exportTo: [\"~\"]")
        + &entry("d.test", "other", "");
    let (plan, _) = compiled(&text, Options::default());
    assert_eq!(hosts(&plan), ["b.test", "d.test"]);
    let (plan, _) = compiled(&text, Options { namespace: "other".to_owned(), ..Options::default() });
    assert_eq!(hosts(&plan), ["a.test", "d.test"]);
}

#[test]
fn rules_are_for_the_workloads_and_namespaces_they_name() {
    let pool = |selector: &str| {
        format!("{{ host: a.test, trafficPolicy: {{ connectionPool: {{ tcp: {{ maxConnections: 7 }} }} }}{selector} }}")
    };
    let limit = |meta: &str, spec: &str, options: Options| {
        let text = entry("a.test", "default", "") + &istio("DestinationRule", meta, spec);
        compiled(&text, options).0.clusters[0].inflight.connections
    };
    let selector = ", workloadSelector: { matchLabels: { app: x } }";
    assert_eq!(limit("name: r", &pool(selector), labelled(&[("app", "x")])), 7);
    assert_ne!(limit("name: r", &pool(selector), labelled(&[("app", "y")])), 7);
    assert_ne!(limit("name: r, namespace: other", &pool(", exportTo: [\".\"]"), Options::default()), 7);
    assert_eq!(limit("name: r, namespace: other", &pool(", exportTo: [default]"), Options::default()), 7);
}

#[test]
fn a_sidecar_narrows_what_is_seen() {
    let mesh = entry("a.test", "default", "") + &entry("b.test", "other", "") + &entry("c.x.test", "third", "");
    let with = |sidecars: &str, options: Options| hosts(&compiled(&(mesh.clone() + sidecars), options).0);
    let own = istio("Sidecar", "name: s", "{ egress: [{ hosts: [\"./*\"] }] }");
    let one = istio(
        "Sidecar",
        "name: one",
        "{ workloadSelector: { labels: { app: x } }, egress: [{ hosts: [\"other/b.test\", \"*/*.x.test\"] }] }",
    );
    let none = istio("Sidecar", "name: n, namespace: istio-system", "{ egress: [{ hosts: [\"~/*\"] }] }");
    assert_eq!(with("", Options::default()), ["a.test", "b.test", "c.x.test"]);
    assert_eq!(with(&own, Options::default()), ["a.test"]);
    assert_eq!(with(&(own.clone() + &one), labelled(&[("app", "x")])), ["b.test", "c.x.test"]);
    assert_eq!(with(&(one + &own), labelled(&[("app", "y")])), ["a.test"]);
    assert!(with(&none, Options::default()).is_empty());
    assert_eq!(with(&(none + &own), Options::default()), ["a.test"]);
}

#[test]
fn a_gateway_behind_a_policy_that_is_not_enforced_stays_closed() {
    let gateway = istio(
        "Gateway",
        "name: gw",
        "{ selector: { istio: in }, servers: [{ port: { number: 8080, name: a, protocol: HTTP }, hosts: [\"*\"] }] }",
    );
    let policy = |kind: &str, meta: &str, spec: &str| document("security.istio.io/v1", kind, meta, spec);
    let open = |policy: &str| compiled(&(gateway.clone() + policy), Options::default()).0.gateways.len();
    assert_eq!(open(""), 1);
    assert_eq!(open(&policy("AuthorizationPolicy", "name: p", "{ rules: [{}] }")), 0);
    assert_eq!(open(&policy("RequestAuthentication", "name: p, namespace: istio-system", "{}")), 0);
    let selects = "{ selector: { matchLabels: { istio: in } }, rules: [{}] }";
    assert_eq!(open(&policy("AuthorizationPolicy", "name: p", selects)), 0);
    let other = "{ selector: { matchLabels: { app: shop } }, rules: [{}] }";
    assert_eq!(open(&policy("AuthorizationPolicy", "name: p", other)), 1);
    assert_eq!(open(&policy("AuthorizationPolicy", "name: p, namespace: far", "{ rules: [{}] }")), 1);
    assert_eq!(open(&policy("PeerAuthentication", "name: p", "{ mtls: { mode: STRICT } }")), 1);
}

fn endpoints(plan: &Plan) -> Vec<String> {
    let show = |cluster: &weir_policy::plan::Upstream| {
        let addresses: Vec<String> = cluster.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        format!("{} {}", cluster.name, addresses.join(","))
    };
    plan.clusters.iter().map(|cluster| show(cluster)).collect()
}

const SERVICE: &str = "{ selector: { app: shop }, ports: [{ name: http, port: 80, targetPort: web }, { name: grpc, port: 81, targetPort: 9000 }] }";

#[test]
fn a_service_is_served_by_its_endpoints() {
    let service = document("v1", "Service", "name: shop, namespace: team", SERVICE);
    let listed = "---\napiVersion: v1\nkind: Endpoints\nmetadata: { name: shop, namespace: team }\nsubsets:\n- addresses: [{ ip: 10.0.0.1 }]\n  notReadyAddresses: [{ ip: 10.0.0.9 }]\n  ports: [{ name: http, port: 8080 }]\n";
    let slices = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: shop-1, namespace: team, labels: { kubernetes.io/service-name: shop } }\naddressType: IPv4\nendpoints:\n- addresses: [10.0.0.2]\n- { addresses: [10.0.0.8], conditions: { ready: false } }\nports: [{ name: http, port: 8081 }, { name: grpc, port: 9001 }]\n";
    let (plan, problems) = compiled(&(service + listed + slices), Options::default());
    assert_eq!(problems, []);
    let host = "shop.team.svc.cluster.local";
    assert_eq!(
        endpoints(&plan),
        [format!("outbound|80||{host} 10.0.0.1:8080,10.0.0.2:8081"), format!("outbound|81||{host} 10.0.0.2:9001")]
    );
    assert_eq!(hosts(&plan), [host]);
}

#[test]
fn a_service_selects_workloads_by_their_labels() {
    let text = document("v1", "Service", "name: shop", SERVICE)
        + &istio("WorkloadEntry", "name: one", "{ address: 10.0.0.1, labels: { app: shop }, ports: { web: 8080 } }")
        + &istio("WorkloadEntry", "name: two", "{ address: 10.0.0.2, labels: { app: other } }")
        + &istio("WorkloadEntry", "name: far, namespace: far", "{ address: 10.0.0.3, labels: { app: shop } }");
    let (plan, _) = compiled(&text, Options::default());
    let host = "shop.default.svc.cluster.local";
    assert_eq!(
        endpoints(&plan),
        [format!("outbound|80||{host} 10.0.0.1:8080"), format!("outbound|81||{host} 10.0.0.1:9000")]
    );
}

#[test]
fn endpoints_of_no_service_are_reported() {
    let text = "apiVersion: v1\nkind: Endpoints\nmetadata: { name: shop }\nsubsets: []\n---\napiVersion: v1\nkind: Endpoints\nmetadata: { name: lost }\nsubsets: [{ addresses: [{ ip: 10.0.0.1 }] }]\n";
    let (_, problems) = compiled(text, Options::default());
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::UnknownDestination]);
}

#[test]
fn a_second_document_of_a_name_is_ignored_and_read_all_the_same() {
    let one = istio("DestinationRule", "name: r", "{ host: a.test }");
    let bad = istio("DestinationRule", "name: r", "{ host: a_b }");
    let texts = vec![Text { name: "t.yaml".into(), text: (one + &bad).into() }];
    let (_, problems) = compile(&Bundle { texts, options: Options::default() });
    assert!(problems.iter().any(|problem| problem.code == Code::DuplicateResource));
    assert!(problems.iter().any(|problem| problem.code == Code::Value));
}
