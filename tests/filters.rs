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

fn policy(spec: &str) -> String {
    format!("---\napiVersion: weir.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{ name: it }}\nspec: {spec}\n")
}

const TENANTS: &str = "
  targetRefs: [{ kind: Service, name: app.test }]
  rules:
  - name: tenant
    match: [{ path: { prefix: /api/ }, methods: [GET, POST] }]
    key: [{ header: x-tenant }]
    limit: { requests: 5, per: 1h }
    cost: { header: x-cost, default: 1 }
    overrides: [{ key: [gold], limit: { requests: 20, per: 1h } }]
    respond: { status: 420, body: slow down, headers: { x-ratelimit: true, x-plan: basic } }
";

#[test]
fn a_rate_limit_counts_by_key_and_says_what_is_left() {
    let backend = Backend::start();
    let weir = Weir::start(&(service_entry("app.test", backend.port) + &policy(TENANTS)), &["--workers", "2"]);
    let ask = |method: &str, path: &str, headers: &str| {
        Client::open(weir.outbound).send(method, "app.test", path, headers).expect("an answer")
    };
    let admitted = |headers: &str| (0..25).filter(|_| ask("GET", "/api/x", headers).status == 200).count();
    assert_eq!(admitted("x-tenant: acme\r\n"), 5);
    assert_eq!(admitted("x-tenant: gold\r\n"), 20);
    assert_eq!(admitted(""), 5, "without the header there is one bucket for all");
    assert_eq!(admitted("x-tenant: dear\r\nx-cost: 3\r\n"), 1);
    let refused = ask("GET", "/api/x", "x-tenant: acme\r\n");
    assert_eq!((refused.status, refused.text().as_str()), (420, "slow down"));
    assert_eq!(refused.header("retry-after"), Some("720"), "one in twelve minutes");
    assert_eq!(refused.header("x-ratelimit-limit"), Some("5"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(refused.header("x-plan"), Some("basic"));
    let allowed = ask("POST", "/api/x", "x-tenant: new\r\n");
    assert_eq!(allowed.header("x-ratelimit-remaining"), Some("4"));
    for (method, path) in [("GET", "/"), ("PUT", "/api/x")] {
        let other = ask(method, path, "x-tenant: acme\r\n");
        assert_eq!((other.status, other.header("x-ratelimit-limit")), (200, None), "{method} {path} is not counted");
    }
    assert_eq!(sum(&weir, "istio_rate_limit_allowed_total", "policy=\"default/it#tenant\""), 32);
    assert_eq!(sum(&weir, "istio_rate_limit_limited_total", "policy=\"default/it#tenant\""), 70);
    let records = weir.admin("GET", "/api/v1/requests?filter=status=420&limit=1").text();
    let id = records.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
    let record = weir.admin("GET", &format!("/api/v1/requests/{id}")).text();
    assert!(record.contains("\"limit\":\"default/it#tenant\"") && record.contains("\"said\":\"limited\""), "{record}");
    let grpc = ask("POST", "/api/x", "x-tenant: acme\r\ncontent-type: application/grpc\r\n");
    assert_eq!((grpc.status, grpc.header("grpc-status")), (200, Some("14")));
    // A larger amount has room for what was used already; the keys stay.
    weir.write(&(service_entry("app.test", backend.port) + &policy(&TENANTS.replace("requests: 5", "requests: 8"))));
    assert_eq!(weir.admin("POST", "/api/v1/reload").status, 200);
    assert_eq!(admitted("x-tenant: acme\r\n"), 3);
}

#[test]
fn the_most_specific_policy_holds_and_shadow_refuses_nobody() {
    let backend = Backend::start();
    let limit = |name: &str, target: &str, amount: u32, more: &str| {
        policy(&format!("{{ targetRefs: [{target}], rules: [{{ limit: {{ requests: {amount}, per: 1h }}{more} }}] }}"))
            .replace("name: it", &format!("name: {name}"))
    };
    let rules = "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: app }
spec:
  hosts: [app.test]
  http:
  - { name: own, match: [{ uri: { prefix: /own } }], route: [{ destination: { host: app.test } }] }
  - { name: gone, match: [{ uri: { prefix: /gone } }], directResponse: { status: 410 } }
  - { name: rest, route: [{ destination: { host: app.test } }] }
";
    let more = rules.to_owned()
        + &limit("service", "{ kind: Service, name: app.test, port: 80 }", 4, "")
        + &limit("route", "{ kind: Route, name: app/own }", 2, "")
        + &limit("gone", "{ kind: Route, name: app/gone }", 1, ", mode: shadow")
        + &limit("edge", "{ kind: Gateway, name: edge }", 1, "");
    let doors = common::Doors::open(backend.port, &more);
    let counts = |address, path: &str| {
        let mut client = Client::open(address);
        let statuses = (0..9).map(|_| client.get("app.test", path).expect("an answer").status);
        statuses.filter(|status| *status != 429).count()
    };
    assert_eq!(counts(doors.weir.outbound, "/own"), 2);
    assert_eq!(counts(doors.weir.outbound, "/"), 4);
    assert_eq!(counts(doors.weir.outbound, "/gone"), 9);
    assert_eq!(sum(&doors.weir, "istio_rate_limit_limited_total", "policy=\"default/gone#0\""), 8);
    assert_eq!(counts(doors.edge, "/"), 0, "the service's policy is used up, and more specific than the Gateway's");
    assert_eq!(sum(&doors.weir, "istio_rate_limit_allowed_total", "policy=\"default/edge#0\""), 0);
}

#[test]
fn a_memquota_counts_by_its_dimensions_and_one_without_amount_limits_nothing() {
    let backend = Backend::start();
    let document = |kind: &str, name: &str, spec: &str| {
        format!("---\napiVersion: config.istio.io/v1alpha2\nkind: {kind}\nmetadata: {{ name: {name} }}\nspec: {spec}\n")
    };
    let spec = document("QuotaSpec", "count", "{ rules: [{ quotas: [{ charge: 2, quota: requestcount }] }] }");
    let binding =
        document("QuotaSpecBinding", "count", "{ quotaSpecs: [{ name: count }], services: [{ service: app.test }] }");
    let without = service_entry("app.test", backend.port) + &spec + &binding;
    let amounts = document(
        "handler",
        "amounts",
        "{ compiledAdapter: memquota, params: { quotas: [{ name: requestcount.instance.istio-system, maxAmount: 10, \
         validDuration: 3600s, overrides: [{ dimensions: { user: gold, destination: app }, maxAmount: 20 }] }] } }",
    );
    let dimensions = document(
        "instance",
        "requestcount",
        "{ compiledTemplate: quota, params: { dimensions: { user: 'request.headers[\"x-user\"] | \"nobody\"', \
         destination: 'destination.service.name' } } }",
    );
    let tie = document("rule", "tie", "{ actions: [{ handler: amounts, instances: [requestcount] }] }");
    let weir = Weir::start(&without, &["--workers", "2"]);
    let admitted = |user: &str| {
        let mut client = Client::open(weir.outbound);
        let ask = |_| client.send("GET", "app.test", "/", &format!("x-user: {user}\r\n")).expect("an answer").status;
        (0..15).map(ask).filter(|status| *status == 200).count()
    };
    assert_eq!(admitted("a"), 15);
    weir.write(&(without + &amounts + &dimensions + &tie));
    assert_eq!(weir.admin("POST", "/api/v1/reload").status, 200);
    assert_eq!((admitted("a"), admitted("b"), admitted("gold")), (5, 5, 10));
    assert_eq!(sum(&weir, "istio_rate_limit_allowed_total", "policy=\"default/count#requestcount@app.test\""), 20);
}
