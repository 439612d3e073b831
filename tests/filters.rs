//! Faults, limits and mirrors through the real binary, with numbers.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::{Backend, Client, Weir, eventually, service_entry};

const REQUESTS: usize = 2_000;

fn mesh(backend: &Backend, fault: &str) -> String {
    format!(
        "{}---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{ name: fault }}
spec:
  hosts: [app.test]
  http:
  - fault: {fault}
    route: [{{ destination: {{ host: app.test }} }}]
",
        service_entry("app.test", backend.port)
    )
}

/// The sum of a family's series whose labels have this text.
fn sum(weir: &Weir, family: &str, label: &str) -> u64 {
    let text = weir.admin("GET", "/metrics").text();
    let series = text.lines().filter(|line| line.starts_with(&format!("{family}{{")) && line.contains(label));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Six standard deviations of a binomial count.
fn within(count: u64, share: f64) {
    let (expected, deviation) = (REQUESTS as f64 * share, (REQUESTS as f64 * share * (1.0 - share)).sqrt());
    assert!((count as f64 - expected).abs() <= 6.0 * deviation, "{count} of {REQUESTS}, {expected} expected");
}

#[test]
fn an_abort_of_five_percent_hits_five_percent_and_reaches_no_backend() {
    let backend = Backend::start();
    let weir = Weir::start(&mesh(&backend, "{ abort: { percent: 5, httpStatus: 500 } }"), &[]);
    let mut client = Client::open(weir.outbound);
    let mut aborted = 0;
    for _ in 0..REQUESTS {
        let reply = client.get("app.test", "/").expect("an answer on the same connection");
        match reply.status {
            500 => {
                assert_eq!(reply.text(), "fault filter abort");
                aborted += 1;
            }
            status => assert_eq!(status, 200),
        }
    }
    within(aborted, 0.05);
    assert_eq!(sum(&weir, "istio_fault_injected_total", "type=\"abort\""), aborted);
    assert_eq!(sum(&weir, "istio_requests_total", "response_flags=\"FI\""), aborted);
}

#[test]
fn a_delay_of_ten_percent_hits_ten_percent_and_fails_nobody() {
    let backend = Backend::start();
    let weir = Weir::start(&mesh(&backend, "{ delay: { percent: 10, fixedDelay: 2ms } }"), &[]);
    let mut client = Client::open(weir.outbound);
    for _ in 0..REQUESTS {
        assert_eq!(client.get("app.test", "/").expect("an answer").status, 200);
    }
    let delayed = sum(&weir, "istio_fault_injected_total", "type=\"delay\"");
    within(delayed, 0.10);
    assert_eq!(sum(&weir, "istio_requests_total", "response_flags=\"DI\""), delayed);
}

fn limited(backend: &Backend, burst: u32) -> String {
    format!(
        "{}---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{ name: limit }}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: {{ context: SIDECAR_OUTBOUND }}
    patch:
      operation: INSERT_FIRST
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          token_bucket: {{ max_tokens: {burst}, tokens_per_fill: 1, fill_interval: 3600s }}
          filter_enabled: {{ default_value: {{ numerator: 100 }} }}
          filter_enforced: {{ default_value: {{ numerator: 100 }} }}
",
        service_entry("app.test", backend.port)
    )
}

#[test]
fn a_bucket_counts_over_all_workers_and_a_reload_does_not_fill_it() {
    let backend = Backend::start();
    let weir = Weir::start(&limited(&backend, 20), &["--workers", "2"]);
    let ask = |count: usize| {
        let replies = (0..count).map(|_| Client::open(weir.outbound).get("app.test", "/").expect("an answer").status);
        replies.filter(|status| *status == 200).count()
    };
    assert_eq!(ask(15), 15);
    weir.write(&limited(&backend, 40));
    assert_eq!(weir.admin("POST", "/api/v1/reload").status, 200);
    assert_eq!(ask(20), 5, "five were left, and a larger burst gives none");
    assert_eq!(sum(&weir, "istio_rate_limit_allowed_total", "policy=\"default/limit#0@outbound\""), 20);
    assert_eq!(sum(&weir, "istio_rate_limit_limited_total", "policy=\"default/limit#0@outbound\""), 15);
}

#[test]
fn a_mirror_that_never_answers_delays_nobody() {
    let backend = Backend::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let mirrored = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: mirror }
spec:
  hosts: [app.test]
  http: [{ route: [{ destination: { host: app.test } }], mirror: { host: shadow.test }, timeout: 1s }]
";
    let services =
        format!("{}---\n{}---{mirrored}", service_entry("app.test", backend.port), service_entry("shadow.test", port));
    let weir = Weir::start(&services, &[]);
    let mut client = Client::open(weir.outbound);
    let began = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(client.get("app.test", "/").expect("an answer").status, 200);
    }
    assert!(began.elapsed().as_secs() < 1, "{:?}", began.elapsed());
    eventually("each copy ended with the route's timeout", || {
        sum(&weir, "weir_mirrored_requests_total", "result=\"failed\"") == 50
    });
}

/// The same rule with retries, and its fault felt by every try.
fn rehearsed(backend: &Backend, fault: &str, rest: &str) -> String {
    let rule = mesh(backend, fault).replace("    route:", &format!("    {rest}\n    route:"));
    format!(
        "{rule}---
apiVersion: weir.dev/v1alpha1
kind: ReliabilityPolicy
metadata: {{ name: rehearsal }}
spec:
  targetRefs: [{{ kind: Service, name: app.test }}]
  faultScope: upstream
"
    )
}

#[test]
fn an_abort_of_every_try_is_retried_and_then_answers_as_an_abort_does() {
    let backend = Backend::start();
    let retries = "retries: { attempts: 2, retryOn: 5xx, backoff: 1ms }";
    let mesh = rehearsed(&backend, "{ abort: { percentage: { value: 100 }, httpStatus: 503 } }", retries);
    let weir = Weir::start(&mesh, &[]);
    let mut client = Client::open(weir.outbound);
    let reply = client.get("app.test", "/").expect("an answer");
    assert_eq!((reply.status, reply.text().as_str()), (503, "fault filter abort"));
    assert_eq!(sum(&weir, "istio_fault_injected_total", "type=\"abort\""), 3, "one for each try");
    assert_eq!(sum(&weir, "istio_requests_total", "response_flags=\"URX,FI\""), 1);
    let grpc = "content-type: application/grpc\r\n";
    let reply = client.send("GET", "app.test", "/", grpc).expect("an answer");
    assert_eq!((reply.status, reply.header("grpc-status"), reply.text().as_str()), (200, Some("14"), ""));
    assert_eq!(reply.header("grpc-message"), Some("fault filter abort"));
}

#[test]
fn an_abort_of_half_of_the_tries_is_hidden_by_retries() {
    let backend = Backend::start();
    let retries = "retries: { attempts: 20, retryOn: 5xx, backoff: 1ms }";
    let mesh = rehearsed(&backend, "{ abort: { percentage: { value: 50 }, httpStatus: 503 } }", retries)
        + "---\napiVersion: weir.dev/v1alpha1\nkind: Mesh\nmetadata: { name: mesh }\nspec: { retryBudget: { percent: 100, minRetryConcurrency: 100 } }\n";
    let weir = Weir::start(&mesh, &[]);
    let mut client = Client::open(weir.outbound);
    for _ in 0..100 {
        assert_eq!(client.get("app.test", "/").expect("an answer").status, 200);
    }
    let aborted = sum(&weir, "istio_fault_injected_total", "type=\"abort\"");
    assert!((40..=200).contains(&aborted), "{aborted} for 100 expected");
    assert_eq!(sum(&weir, "istio_requests_total", "response_code=\"200\""), 100);
}

#[test]
fn a_delay_of_every_try_ends_it_at_its_timeout() {
    let backend = Backend::start();
    let retries = "retries: { attempts: 2, retryOn: 5xx, perTryTimeout: 20ms, backoff: 1ms }";
    let mesh = rehearsed(&backend, "{ delay: { percentage: { value: 100 }, fixedDelay: 3600s } }", retries);
    let weir = Weir::start(&mesh, &[]);
    for (method, headers) in [("GET", ""), ("PUT", "content-length: 2\r\n")] {
        let mut client = Client::open(weir.outbound);
        let reply = client.send(method, "app.test", "/", headers).expect("an answer");
        assert_eq!(reply.status, 504, "{method}");
        assert_eq!(reply.header("x-weir-reason"), Some("per_try_timeout"), "{method}");
    }
    assert_eq!(sum(&weir, "istio_fault_injected_total", "type=\"delay\""), 6, "one for each try");
}
