//! 10,000 VirtualServices, 1,000 DestinationRules and 1,000 ServiceEntries for benches, and changes of one of them.

#![allow(dead_code, reason = "each bench uses what it needs")]

use std::fmt::Write;
use std::time::{Duration, Instant};
use weir_config::{Bundle, Options, Text};

const SERVICES: usize = 1_000;
const ROUTES: usize = 10_000;
/// Milliseconds that one changed document may cost.
pub(crate) const GOAL: f64 = 20.0;

/// A change each: a document by a text of its own, and where its digit that changes stands.
pub(crate) const CHANGES: [(&str, &str, &str); 4] = [
    ("a VirtualService", "- host-5000.example", "timeout: "),
    ("a DestinationRule", "host: service-500.example\n  trafficPolicy", "interval: "),
    ("a ServiceEntry", "hosts: [service-500.example]", "address: 10.2.0."),
    ("a subset's only use", "- host-5000.example", "subset: v"),
];

/// Another digit behind `value` in the document of `document`.
pub(crate) fn change(bundle: &mut Bundle, document: &str, value: &str, round: usize) {
    let Some(text) = bundle.texts.iter_mut().find(|text| text.text.contains(document)) else { return };
    let Some(start) = text.text.find(document) else { return };
    let at = text.text[start..].find(value).map_or(start, |at| start + at + value.len());
    let mut changed = String::from(&*text.text);
    changed.replace_range(at..=at, ["5", "6"][round % 2]);
    text.text = changed.into();
}

/// The least of the times, in milliseconds.
pub(crate) fn show(what: &str, rounds: impl Iterator<Item = Duration>) -> f64 {
    let mut times: Vec<f64> = rounds.map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    println!("  {what}: {:.1} ms (median {:.1})", times[0], times[times.len() / 2]);
    times[0]
}

/// How long it takes; what it made is dropped outside.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let kept = work();
    let time = start.elapsed();
    drop(kept);
    time
}

pub(crate) fn joined() -> Bundle {
    let text = documents().join("---\n");
    Bundle { texts: vec![Text { name: "all.yaml".into(), text: text.into() }], options: Options::default() }
}

pub(crate) fn single() -> Bundle {
    let texts = documents().into_iter().enumerate();
    let texts = texts.map(|(at, text)| Text { name: format!("mesh/{at:05}.yaml").into(), text: text.into() });
    Bundle { texts: texts.collect(), options: Options::default() }
}

pub(crate) fn documents() -> Vec<String> {
    let mut out: Vec<String> = (0..SERVICES).flat_map(|at| [service(at), rule(at)]).collect();
    out.extend((0..ROUTES).map(route));
    out
}

fn head(kind: &str, name: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n")
}

fn service(at: usize) -> String {
    let mut text = head("ServiceEntry", &format!("service-{at}"));
    let _ = write!(
        text,
        "  hosts: [service-{at}.example]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports:\n  - {{ number: 80, name: http, \
         protocol: HTTP }}\n  endpoints:\n"
    );
    for (last, version) in ["v1", "v1", "v2"].into_iter().enumerate() {
        let _ =
            writeln!(text, "  - {{ address: 10.{}.{}.{last}, labels: {{ version: {version} }} }}", at / 250, at % 250);
    }
    text
}

fn rule(at: usize) -> String {
    let mut text = head("DestinationRule", &format!("service-{at}"));
    let _ = write!(
        text,
        "  host: service-{at}.example\n  trafficPolicy:\n    loadBalancer: {{ simple: LEAST_REQUEST }}\n    connectionPool:\n      tcp:\n        \
         maxConnections: 100\n        connectTimeout: 2s\n      http:\n        http1MaxPendingRequests: 50\n        idleTimeout: 60s\n    \
         outlierDetection:\n      consecutive5xxErrors: 5\n      interval: 10s\n      baseEjectionTime: 30s\n      maxEjectionPercent: 40\n  \
         subsets:\n  - {{ name: v1, labels: {{ version: v1 }} }}\n  - {{ name: v2, labels: {{ version: v2 }} }}\n"
    );
    text
}

fn route(at: usize) -> String {
    let (mut text, service) = (head("VirtualService", &format!("route-{at}")), at % SERVICES);
    let _ = write!(
        text,
        "  hosts:\n  - host-{at}.example\n  http:\n  - name: api\n    match:\n    - uri:\n        prefix: /api/v{}\n      headers:\n        \
         x-tenant:\n          exact: t{}\n    route:\n    - destination:\n        host: service-{service}.example\n        subset: v1\n      \
         weight: 90\n    - destination:\n        host: service-{service}.example\n        subset: v2\n      weight: 10\n    timeout: 9s\n    \
         retries:\n      attempts: 2\n      perTryTimeout: 2s\n      retryOn: connect-failure,reset,503\n  - route:\n    - destination:\n        \
         host: service-{service}.example\n    timeout: 15s\n",
        at % 7,
        at % 50
    );
    text
}
