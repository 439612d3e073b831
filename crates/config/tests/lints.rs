//! The lints do not know names or numbers by heart: they fire on the same documents with other hosts and scaled times
//! and counts, and not when the cause is removed.

#![allow(clippy::expect_used, reason = "this is a test")]

use proptest::prelude::*;
use weir_config::{Bundle, Code, Options, Problem, Severity, Text, check};

/// What varies: names, and factors on times and counts.
#[derive(Clone, Debug)]
struct Shape {
    host: String,
    name: String,
    /// Endpoints of the service; `None` = it is not known.
    endpoints: Option<u64>,
    /// Milliseconds.
    unit: u64,
    attempts: u64,
    threshold: u64,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let endpoints = proptest::option::of(1u64..6);
    ("[a-z]{3,9}", "[a-z]{3,9}", endpoints, 100u64..5000, 2u64..7, 2u64..50).prop_map(
        |(host, name, endpoints, unit, attempts, threshold)| {
            let host = format!("{host}-svc");
            Shape { host, name, endpoints, unit, attempts, threshold }
        },
    )
}

impl Shape {
    fn problems(&self, document: &str) -> Vec<Problem> {
        let mut text = document.to_owned();
        if let Some(count) = self.endpoints {
            let addresses: String = (1..=count).map(|last| format!("  - {{ address: 10.0.0.{last} }}\n")).collect();
            text += &format!(
                "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: {0} }}\nspec:\n  hosts: [{0}]\n  \
                 resolution: STATIC\n  ports: [{{ number: 8080, name: http, protocol: HTTP }}]\n  endpoints:\n{addresses}",
                self.host
            );
        }
        let texts = vec![Text { name: "it.yaml".into(), text: text.into() }];
        check(&Bundle { texts, options: Options::default() }).1
    }

    fn document(&self, kind: &str, spec: &str) -> String {
        format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{ name: {} }}\nspec:\n{spec}", self.name)
    }

    fn route(&self, rest: &str) -> String {
        let host = &self.host;
        self.document(
            "VirtualService",
            &format!("  hosts: [{host}]\n  http:\n  - route: [{{ destination: {{ host: {host} }} }}]\n{rest}"),
        )
    }

    fn policy(&self, policy: &str) -> String {
        self.document("DestinationRule", &format!("  host: {}\n  trafficPolicy: {policy}\n", self.host))
    }

    /// The codes that must be found in the first document and not in the second.
    fn expect(&self, codes: &[Code], sick: &str, cured: &str) -> Result<(), TestCaseError> {
        let (found, left) = (self.problems(sick), self.problems(cured));
        for code in codes {
            prop_assert!(found.iter().any(|one| one.code == *code), "{code:?} not in {found:#?}\n{sick}");
            prop_assert!(!left.iter().any(|one| one.code == *code), "{code:?} in {left:#?}\n{cured}");
        }
        let errors = |found: &[Problem]| found.iter().any(|one| one.severity == Severity::Error);
        prop_assert!(!errors(&found) && !errors(&left), "{found:#?} {left:#?}");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn slow_tries_that_are_not_retried(shape in shapes()) {
        let Shape { unit, attempts, .. } = shape;
        let rest = |on: &str| format!("    timeout: {}ms\n    retries: {{ attempts: {attempts}, perTryTimeout: {unit}ms{on} }}\n", unit * 100);
        for on in ["", ", retryOn: \"connect-failure,refused-stream,unavailable,cancelled,deadline-exceeded\""] {
            shape.expect(&[Code::PerTryNotRetried], &shape.route(&rest(on)), &shape.route(&rest(", retryOn: gateway-error")))?;
        }
    }

    #[test]
    fn tries_that_do_not_fit(shape in shapes()) {
        let Shape { unit, attempts, .. } = shape;
        let rest = |timeout: u64| format!("    timeout: {timeout}ms\n    retries: {{ attempts: {attempts}, perTryTimeout: {unit}ms, retryOn: 5xx }}\n");
        // Exactly the tries, nothing for the waits; and enough for both.
        let waits: u64 = [25, 50, 100, 200, 250, 250, 250].iter().take(attempts as usize).sum();
        let tries = unit * (attempts + 1);
        shape.expect(&[Code::TriesExceedTimeout], &shape.route(&rest(tries)), &shape.route(&rest(tries + waits)))?;
        let words = shape.problems(&shape.route(&rest(unit * attempts)));
        let found = words.iter().find(|one| one.code == Code::TriesExceedTimeout).expect("found");
        prop_assert!(found.words.contains(&format!("try {} can never start", attempts + 1)), "{found:?}");
    }

    #[test]
    fn faults_before_retries(shape in shapes()) {
        let rest = "    name: main\n    timeout: 1s\n    fault: { abort: { percentage: { value: 1 }, httpStatus: 503 } }\n";
        let sick = shape.route(rest);
        let policy = |kind: &str, name: &str, scope: &str| format!(
            "---\napiVersion: weir.dev/v1alpha1\nkind: ReliabilityPolicy\nmetadata: {{ name: p }}\n\
             spec: {{ targetRefs: [{{ kind: {kind}, name: {name} }}], faultScope: {scope} }}\n"
        );
        let route = format!("{}/main", shape.name);
        let istio = sick.clone() + &policy("Service", &shape.host, "istio");
        for (kind, name) in [("Service", &shape.host), ("Route", &route)] {
            shape.expect(&[Code::FaultBeforePolicies], &istio, &(sick.clone() + &policy(kind, name, "upstream")))?;
        }
    }

    #[test]
    fn retries_without_an_end(shape in shapes()) {
        let Shape { unit, attempts, .. } = shape;
        let retries = format!("    retries: {{ attempts: {attempts}, perTryTimeout: {unit}ms, retryOn: reset }}\n");
        let cured = format!("{retries}    timeout: {}ms\n", unit * 100);
        shape.expect(&[Code::NoTimeout], &shape.route(&retries), &shape.route(&cured))?;
    }

    #[test]
    fn ejections_of_nobody(shape in shapes(), percent in 1u64..15) {
        let policy = |percent: u64| shape.policy(&format!("{{ outlierDetection: {{ maxEjectionPercent: {percent} }} }}"));
        shape.expect(&[Code::EjectsNothing], &policy(percent), &policy(100))?;
        shape.expect(&[Code::EjectsNothing], &shape.policy("{ outlierDetection: { interval: 5s } }"), &policy(100))?;
    }

    #[test]
    fn thresholds_that_are_never_first(shape in shapes(), more in 0u64..9) {
        let Shape { threshold, .. } = shape;
        let policy = |gateway: u64| shape.policy(&format!(
            "{{ outlierDetection: {{ consecutive5xxErrors: {threshold}, consecutiveGatewayErrors: {gateway}, maxEjectionPercent: 100 }} }}"
        ));
        shape.expect(&[Code::GatewayThreshold], &policy(threshold + more), &policy(threshold - 1))?;
    }

    #[test]
    fn ejections_that_do_not_grow(shape in shapes(), more in 0u64..1000) {
        let policy = |seconds: u64| shape.policy(&format!("{{ outlierDetection: {{ baseEjectionTime: {seconds}s, maxEjectionPercent: 100 }} }}"));
        shape.expect(&[Code::EjectionNeverGrows], &policy(300 + more), &policy(299 - more.min(280)))?;
    }

    #[test]
    fn hidden_thresholds_and_panic(shape in shapes(), max in 10u64..90) {
        let policy = |rest: &str| shape.policy(&format!("{{ outlierDetection: {{ maxEjectionPercent: {max}{rest} }} }}"));
        shape.expect(
            &[Code::LocalOriginDefault],
            &policy(", splitExternalLocalOriginErrors: true"),
            &policy(", splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 4"),
        )?;
        shape.expect(&[Code::PanicThreshold], &policy(&format!(", minHealthPercent: {}", 100 - max)), &policy(""))?;
    }

    #[test]
    fn pools_against_themselves(shape in shapes()) {
        let Shape { unit, threshold, .. } = shape;
        let pool = |pool: &str| shape.policy(&format!("{{ connectionPool: {{ {pool} }} }}"));
        let short = unit.min(999);
        shape.expect(&[Code::ConnectTimeoutShort], &pool(&format!("tcp: {{ connectTimeout: {short}ms }}")), &pool("tcp: { connectTimeout: 1500ms }"))?;
        let keepalive = |time: u64| pool(&format!("tcp: {{ tcpKeepalive: {{ time: {time}s }} }}, http: {{ idleTimeout: {unit}s }}"));
        shape.expect(&[Code::KeepaliveNeverFires], &keepalive(unit + threshold), &keepalive(unit - 1))?;
        shape.expect(&[Code::RetriesAreConcurrency], &pool(&format!("http: {{ maxRetries: {threshold} }}")), &pool("http: { idleTimeout: 5s }"))?;
        let pending = |rest: &str| pool(&format!("http: {{ http1MaxPendingRequests: {threshold}{rest} }}"));
        shape.expect(&[Code::PendingIsNotConcurrency], &pending(", maxRequestsPerConnection: 10"), &pending(", http2MaxRequests: 10"))?;
    }

    #[test]
    fn ports_and_tls(shape in shapes(), port in 1u64..65_535) {
        let settings = |tls: &str| shape.policy(&format!(
            "{{ portLevelSettings: [{{ port: {{ number: {port} }}, tls: {{ mode: SIMPLE, sni: {}.example{tls} }} }}] }}", shape.host
        ));
        let sick = settings("");
        shape.expect(&[Code::PortResets, Code::ServerNotVerified], &sick, &shape.policy("{ retryBudget: {} }"))?;
        shape.expect(&[Code::ServerNotVerified], &sick, &settings(", caCertificates: /ca.pem, subjectAltNames: [a.example]"))?;
    }

    #[test]
    fn several_documents_for_one_host(shape in shapes(), threshold in 1u64..9) {
        let one = shape.policy(&format!("{{ outlierDetection: {{ consecutive5xxErrors: {threshold}, maxEjectionPercent: 100 }} }}"));
        let other = Shape { name: format!("{}-two", shape.name), ..shape.clone() };
        let sick = format!("{one}---\n{}", other.policy("{ connectionPool: { tcp: { maxConnections: 5 } } }"));
        shape.expect(&[Code::SeveralRules], &sick, &one)?;
        let route = shape.route("    timeout: 5s\n");
        shape.expect(&[Code::SeveralServices], &format!("{route}---\n{}", other.route("    timeout: 6s\n")), &route)?;
    }

    #[test]
    fn paths_and_faults(shape in shapes(), percent in 1u64..100) {
        let route = |head: &str| shape.route(&format!("    {head}\n"));
        let rewrite = |from: &str, to: &str| route(&format!("match: [{{ uri: {{ prefix: {from} }} }}]\n    rewrite: {{ uri: {to} }}"));
        let path = &shape.name;
        shape.expect(&[Code::PrefixBoundary], &rewrite(&format!("/{path}/"), "/v2/"), &rewrite(&format!("/{path}"), "/v2"))?;
        shape.expect(&[Code::RewriteSlash], &rewrite(&format!("/{path}/"), "/v2"), &rewrite(&format!("/{path}/"), "/v2/"))?;
        shape.expect(
            &[Code::NotInIstio],
            &route(&format!("fault: {{ abort: {{ percent: {percent}, httpStatus: 500 }} }}")),
            &route(&format!("fault: {{ abort: {{ percentage: {{ value: {percent} }}, httpStatus: 500 }} }}")),
        )?;
        shape.expect(
            &[Code::Deprecated],
            &route(&format!("fault: {{ delay: {{ percent: {percent}, fixedDelay: 1s }} }}")),
            &route(&format!("fault: {{ delay: {{ percentage: {{ value: {percent} }}, fixedDelay: 1s }} }}")),
        )?;
    }

    #[test]
    fn retries_of_destinations(shape in shapes()) {
        let Shape { attempts, .. } = shape;
        let sick = shape.policy(&format!("{{ retryPolicy: {{ retryOn: 5xx, numRetries: {attempts} }} }}"));
        let cured = shape.route(&format!("    timeout: 9s\n    retries: {{ retryOn: 5xx, attempts: {attempts} }}\n"));
        shape.expect(&[Code::NotInIstio], &sick, &cured)?;
    }

    #[test]
    fn alerts(shape in shapes(), class in 1u64..6, threshold in 1u64..2000) {
        let rule = |expr: &str| format!(
            "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {{ name: {} }}\nspec:\n  groups:\n  - name: g\n    \
             rules:\n    - alert: A\n      expr: {expr} > {threshold}\n      for: 10m\n", shape.name
        );
        let rate = |matcher: &str| rule(&format!("rate(istio_requests_total{{{matcher}}}[5m])"));
        shape.expect(&[Code::SelectorNeverMatches], &rate(&format!("response_code=\"{class}xx\"")), &rate(&format!("response_code=~\"{class}..\"")))?;
        let quantile = |over: &str| rule(&format!("histogram_quantile(0.99, {over})"));
        let inside = "rate(istio_request_duration_milliseconds_bucket[5m])";
        shape.expect(&[Code::QuantileWithoutLe], &quantile(inside), &quantile(&format!("sum by (le) ({inside})")))?;
        shape.expect(&[Code::MetricNotInIstio], &rule("rate(istio_outlier_detection_ejections_total[5m])"), &rate("reporter=\"source\""))?;
    }

    #[test]
    fn errors_in_a_row_are_no_rate(shape in shapes(), percent in 1u64..100) {
        let sick = shape.policy(&format!(
            "{{ outlierDetection: {{ consecutive5xxErrors: {}, maxEjectionPercent: 100 }} }}", shape.threshold
        ));
        let rate = format!(
            "---\napiVersion: weir.dev/v1alpha1\nkind: ReliabilityPolicy\nmetadata: {{ name: p }}\nspec:\n  targetRefs: \
             [{{ kind: Service, name: {} }}]\n  outlier: {{ failurePercentage: {{ threshold: {percent} }} }}\n", shape.host
        );
        shape.expect(&[Code::ConsecutiveOnly], &sick, &(sick.clone() + &rate))?;
    }

    #[test]
    fn a_filter_for_every_route(shape in shapes(), statuses in proptest::collection::vec(500u64..600, 1..4)) {
        let Shape { host, unit, attempts, .. } = &shape;
        let filter = |on: &str, which: &str| format!(
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{ name: {} }}\nspec:\n  configPatches:\n  - \
             applyTo: HTTP_ROUTE\n    match: {{ context: SIDECAR_OUTBOUND{which} }}\n    patch:\n      operation: MERGE\n      value:\n        \
             route:\n          retry_policy: {{ {on}retry_back_off: {{ base_interval: {unit}ms, max_interval: {}ms }}, \
             host_selection_retry_max_attempts: {attempts}, retriable_status_codes: {statuses:?} }}\n",
            shape.name, unit * 10
        );
        let one = format!(", routeConfiguration: {{ vhost: {{ name: \"{host}.default.svc.cluster.local:8080\" }} }}");
        shape.expect(&[Code::RetriesEverywhere], &filter("", ""), &filter("", &one))?;
        shape.expect(&[Code::RetryNeverFires], &filter("", ""), &filter("retry_on: 5xx, ", ""))?;
    }

    #[test]
    fn quotas_without_an_amount(shape in shapes(), charge in 1u64..9) {
        let Shape { host, name, threshold, unit, .. } = &shape;
        let mixer = |kind: &str, spec: &str| format!(
            "apiVersion: config.istio.io/v1alpha2\nkind: {kind}\nmetadata: {{ name: {name} }}\nspec: {spec}\n---\n"
        );
        let spec = mixer("QuotaSpec", &format!("{{ rules: [{{ quotas: [{{ charge: {charge}, quota: {name} }}] }}] }}"))
            + &mixer("QuotaSpecBinding", &format!("{{ quotaSpecs: [{{ name: {name} }}], services: [{{ name: {host} }}] }}"));
        let amount = format!("{{ quotas: [{{ name: {name}, maxAmount: {threshold}, validDuration: {unit}s }}] }}");
        shape.expect(&[Code::QuotaWithoutAmount], &spec, &(spec.clone() + &mixer("memquota", &amount)))?;
        shape.expect(&[Code::RemovedApi], &spec, &shape.route("    timeout: 1s\n"))?;
    }

    #[test]
    fn monitors_that_keep_nothing(shape in shapes(), family in "[a-z]{3,9}") {
        let monitor = |regex: &str| format!(
            "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {{ name: {} }}\nspec:\n  selector: {{ matchLabels: \
             {{ app: {} }} }}\n  endpoints:\n  - port: http\n    interval: {}s\n    metricRelabelings: [{{ sourceLabels: [__name__], regex: \
             '{regex}', action: keep }}]\n", shape.name, shape.host, shape.threshold
        );
        let kept = monitor("istio_request.*");
        shape.expect(&[Code::MetricNotInIstio], &monitor("istio_retry_.*"), &kept)?;
        shape.expect(&[Code::KeepsNothing], &monitor(&format!("istio_x{family}_.*")), &kept)?;
    }

    #[test]
    fn no_valid_or_broken_document_makes_a_lint_panic(shape in shapes(), cut in 0usize..600, junk in "[a-z:{}\\[\\] \"'\n-]{0,12}") {
        let mut text = shape.route("    timeout: 5s\n    retries: { attempts: 5, perTryTimeout: 1s }\n")
            + "---\n" + &shape.policy("{ outlierDetection: {}, connectionPool: { http: { maxRetries: 1 } } }");
        text.insert_str(cut.min(text.len()), &junk);
        shape.problems(&text);
    }
}
