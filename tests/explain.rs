//! What `weir explain` says of a request by documents is what a real one meets: random meshes, random requests, the real
//! binary; host, route, destinations, every effective value and the place that it comes from.

#![allow(clippy::expect_used, reason = "this is a test")]

mod common;

use common::{Backend, Client, Weir, eventually, free_port, service_entry};
use serde_json::Value as Json;
use std::net::SocketAddr;
use weir_config::{Bundle, Options, Severity, Text, compile};
use weir_control::explain::{Ask, explained};
use weir_policy::plan::Plan;
use weir_policy::rng::Rng;

const MESHES: u64 = 10;
const REQUESTS: usize = 50;

struct Dice(Rng);

impl Dice {
    fn of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.0.below(choices.len() as u64) as usize]
    }

    /// Each of them, or not.
    fn some(&mut self, choices: &[&str]) -> Vec<String> {
        choices.iter().filter(|_| self.0.below(2) == 0).map(|choice| (*choice).to_owned()).collect()
    }

    fn fields(&mut self, choices: &[&str]) -> String {
        self.some(choices).join(", ")
    }

    fn hit(&mut self) -> bool {
        self.0.below(2) == 0
    }
}

const HOSTS: [&str; 3] = ["a.test", "b.test", "dead.test"];
const PATHS: [&str; 6] = ["/", "/a", "/a/b", "/b?x=1", "/b?x=2", "/c"];

fn mesh_document(dice: &mut Dice) -> String {
    let retries = dice.fields(&["attempts: 1", "retryOn: 'reset,connect-failure'", "backoff: 1ms"]);
    let fields = dice.fields(&[
        "trustRequestOverrides: [127.0.0.1]",
        "connectTimeout: 3s",
        "retryBudget: { percent: 40 }",
        "compatibility: istio",
        "requestBufferLimit: 128Ki",
        "limits: { headers: 90, streamIdle: 9s }",
    ]);
    let retries = if retries.is_empty() { String::new() } else { format!(", defaultHttpRetryPolicy: {{ {retries} }}") };
    format!(
        "---\napiVersion: weir.dev/v1alpha1\nkind: Mesh\nmetadata: {{ name: m }}\nspec: {{ accessLog: {{ format: 'off' }}{retries}{} }}\n",
        if fields.is_empty() { fields } else { format!(", {fields}") }
    )
}

fn pool(dice: &mut Dice) -> String {
    let tcp = dice.fields(&["maxConnections: 50", "connectTimeout: 1s", "idleTimeout: 20s"]);
    let http =
        dice.fields(&["http1MaxPendingRequests: 40", "http2MaxRequests: 60", "maxRetries: 7", "idleTimeout: 30s"]);
    format!("connectionPool: {{ tcp: {{ {tcp} }}, http: {{ {http} }} }}")
}

fn rule(dice: &mut Dice, host: &str, name: &str) -> String {
    let mut blocks = vec![pool(dice)];
    if dice.hit() {
        let fields = dice.fields(&[
            "consecutive5xxErrors: 90",
            "interval: 3s",
            "baseEjectionTime: 9s",
            "maxEjectionPercent: 40",
        ]);
        blocks.push(format!("outlierDetection: {{ {fields} }}"));
    }
    if dice.hit() {
        blocks.push(format!(
            "loadBalancer: {{ {} }}",
            dice.of(&["simple: RANDOM", "simple: ROUND_ROBIN", "consistentHash: { httpHeaderName: x-k }"])
        ));
    }
    if dice.hit() {
        let fields = dice.fields(&[
            "retryOn: connect-failure",
            "numRetries: 2",
            "perTryTimeout: 4s",
            "retriableStatusCodes: [503]",
        ]);
        blocks.push(format!("retryPolicy: {{ {fields} }}"));
    }
    let subset = if dice.hit() { format!(", trafficPolicy: {{ {} }}", pool(dice)) } else { String::new() };
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: {name} }}\nspec:\n  host: {host}\n  trafficPolicy:\n    {}\n  subsets: [{{ name: all, labels: {{}}{subset} }}]\n",
        blocks.join("\n    ")
    )
}

fn http_rule(dice: &mut Dice, index: usize) -> String {
    let mut parts = vec![format!("name: r{index}")];
    if dice.hit() || index < 2 {
        let conditions = [
            "uri: { prefix: /a }",
            "uri: { exact: /b }",
            "uri: { regex: '/.*b' }",
            "method: { exact: POST }",
            "headers: { x-k: { exact: one } }",
            "headers: { x-k: {} }",
            "withoutHeaders: { x-k: {} }",
            "queryParams: { x: { exact: '1' } }",
        ];
        let (one, other) = (dice.of(&conditions), dice.of(&conditions));
        let both = one.split(':').next() != other.split(':').next() && dice.hit();
        parts.push(format!("match: [{{ {one}{} }}]", if both { format!(", {other}") } else { String::new() }));
    }
    match dice.0.below(8) {
        0 => parts.push("redirect: { uri: /new }".to_owned()),
        1 => parts.push("directResponse: { status: 418 }".to_owned()),
        _ => {
            if dice.hit() {
                parts.push(format!("timeout: {}", dice.of(&["3s", "5s", "0s"])));
            }
            if dice.hit() {
                let fields = dice.fields(&[
                    "perTryTimeout: 2s",
                    "retryOn: 'connect-failure,5xx,404'",
                    "backoff: 2ms",
                    "retryIgnorePreviousHosts: false",
                ]);
                let attempts = dice.of(&["attempts: 1", "attempts: 2"]);
                parts.push(format!(
                    "retries: {{ {attempts}{} }}",
                    if fields.is_empty() { fields } else { format!(", {fields}") }
                ));
            }
            if dice.hit() {
                parts.push("rewrite: { uri: /z }".to_owned());
            }
            if dice.hit() {
                parts.push("headers: { request: { set: { x-s: '1' } }, response: { remove: [x-r] } }".to_owned());
            }
            let mut target = |subset: &str| {
                let host = dice.of(&["a.test", "b.test", "dead.test", "nowhere.test"]);
                format!("destination: {{ host: {host}, port: {{ number: 80 }}{subset} }}")
            };
            let (one, other) = (target(", subset: all"), target(""));
            parts.push(if dice.hit() {
                format!("route: [{{ {one} }}]")
            } else {
                format!("route: [{{ {one}, weight: 30 }}, {{ {other}, weight: 70 }}]")
            });
        }
    }
    format!("  - {}\n", parts.join("\n    "))
}

fn virtual_service(dice: &mut Dice, host: &str, gateways: &str) -> String {
    let count = 1 + dice.0.below(4) as usize;
    let rules: String = (0..count).map(|index| http_rule(dice, index)).collect();
    let name = host.replace('.', "-");
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: {name} }}\nspec:\n  hosts: [{host}]\n  gateways: [{gateways}]\n  http:\n{rules}"
    )
}

fn documents(dice: &mut Dice, backend: u16, dead: u16, gateway: u16) -> String {
    let mut text = mesh_document(dice);
    for host in HOSTS {
        text += &format!("---\n{}", service_entry(host, if host == "dead.test" { dead } else { backend }));
        if dice.hit() {
            text += &rule(dice, host, &host.replace('.', "-"));
        }
    }
    if dice.hit() {
        text += &rule(dice, "a.test", "a-more");
    }
    text += &virtual_service(dice, "a.test", "mesh, gw");
    text += &virtual_service(dice, "b.test", "mesh");
    text += &format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: gw }}\nspec:\n  servers: [{{ port: {{ number: {gateway}, name: http, protocol: HTTP }}, bind: 127.0.0.1, hosts: ['*.test'] }}]\n"
    );
    text
}

fn plan(file: &str, text: &str) -> Plan {
    let texts = vec![Text { name: file.into(), text: text.into() }];
    let (plan, problems) = compile(&Bundle { texts, options: Options::default() });
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}\n{text}");
    plan
}

/// The record of the request with this id; it is made a moment after the answer.
fn record(weir: &Weir, id: &str) -> Json {
    let mut found = Json::Null;
    eventually("the request has a record", || {
        let reply = weir.admin("GET", &format!("/api/v1/requests/{id}"));
        found = serde_json::from_slice(&reply.body).unwrap_or_default();
        reply.status == 200
    });
    found
}

#[test]
fn explain_by_documents_is_what_a_real_request_meets() {
    let backend = Backend::start();
    let (mut forwarded, mut refused, mut several) = (0, 0, 0);
    for seed in 0..MESHES {
        let mut dice = Dice(Rng::new(seed));
        let gateway = free_port();
        let text = documents(&mut dice, backend.port, free_port(), gateway);
        let weir = Weir::start(&text, &["--record-sample", "100%"]);
        let plan = plan(&weir.folder.join("mesh.yaml").to_string_lossy(), &text);
        for number in 0..REQUESTS {
            let id = format!("r{seed}-{number}");
            let host = dice.of(&["a.test", "a.test", "b.test", "dead.test", "unknown.test", "A.test:80"]);
            let (method, path) = (dice.of(&["GET", "GET", "POST"]), dice.of(&PATHS));
            let headers = dice.some(&["x-k: one", "x-envoy-max-retries: 1", "x-envoy-upstream-rq-timeout-ms: 2500"]);
            let through = (dice.0.below(4) == 0).then_some(gateway);
            let address = through.map_or(weir.outbound, |port| SocketAddr::from(([127, 0, 0, 1], port)));
            let mut fields = format!("x-request-id: {id}\r\ncontent-length: 0\r\n");
            headers.iter().for_each(|header| fields += &format!("{header}\r\n"));
            Client::open(address).send(method, host, path, &fields).expect("an answer");
            let mut ask = Ask::new(&format!("http://{host}{path}"), method, &headers).expect("a request");
            ask.gateway = through;
            let (said, met) = (explained(&plan, &ask, None), record(&weir, &id));
            for part in ["host", "route", "destinations"] {
                assert_eq!(said[part], met[part], "{part} of {method} {host}{path} {headers:?}, mesh {seed}:\n{text}");
            }
            assert_eq!(said["listener"]["name"], met["listener"]["name"]);
            if said["refusal"].is_object() {
                assert_eq!(said["refusal"]["reason"], met["outcome"]["reason"], "{said:#}\n{met:#}");
                refused += 1;
            }
            let destinations = met["destinations"].as_array().map_or(0, Vec::len);
            forwarded += usize::from(destinations > 0);
            several += usize::from(destinations > 1);
        }
    }
    assert!(forwarded > 150 && refused > 50 && several > 50, "{forwarded} forwarded, {refused} refused, {several}");
}

#[test]
fn a_tap_shows_what_passes_its_filter_and_ends_after_so_many() {
    let backend = Backend::start();
    let weir = Weir::start(&service_entry("app.test", backend.port), &[]);
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args([
            "tap",
            "status=502",
            "method=POST",
            "--max",
            "2",
            "--format",
            "json",
            "--admin",
            &weir.admin.to_string(),
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("weir tap starts");
    let output = std::thread::spawn(move || child.wait_with_output().expect("it ends"));
    let mut client = Client::open(weir.outbound);
    eventually("the tap ends", || {
        client.send("GET", "unknown.test", "/", "").expect("an answer");
        client.send("POST", "app.test", "/", "content-length: 0\r\n").expect("an answer");
        client.send("POST", "unknown.test", "/it", "content-length: 0\r\n").expect("an answer");
        output.is_finished()
    });
    let output = output.join().expect("it ended");
    let lines: Vec<Json> =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!((&line["request"]["path"], &line["outcome"]["reason"]), (&"/it".into(), &"unknown_host".into()));
    }
}

const FELT: &str = r#"---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: felt }
spec:
  hosts: [app.test]
  http:
  - name: slow
    match: [{ uri: { prefix: /slow } }]
    fault: { delay: { percentage: { value: 100 }, fixedDelay: 7ms } }
    route: [{ destination: { host: app.test } }]
    mirrors: [{ destination: { host: other.test }, percentage: { value: 25 } }]
  - name: plain
    route: [{ destination: { host: app.test } }]
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: limit }
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: { context: SIDECAR_OUTBOUND }
    patch:
      operation: INSERT_FIRST
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          token_bucket: { max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s }
          filter_enabled: { default_value: { numerator: 100 } }
          filter_enforced: { default_value: { numerator: 100 } }
"#;

/// What `weir explain` prints of this.
fn printed(arguments: &[&str]) -> String {
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_weir")).arg("explain").args(arguments).output();
    String::from_utf8(run.expect("weir explain runs").stdout).expect("text")
}

#[test]
fn a_record_has_the_drawn_delay_and_the_limit_that_refused_and_an_explanation_the_mirrors() {
    let backend = Backend::start();
    let services =
        format!("{}---\n{}", service_entry("app.test", backend.port), service_entry("other.test", backend.port));
    let weir = Weir::start(&format!("{services}{FELT}"), &["--record-sample", "100%"]);
    let mut client = Client::open(weir.outbound);
    assert_eq!(client.send("GET", "app.test", "/slow", "x-request-id: one\r\n").expect("an answer").status, 200);
    assert_eq!(client.send("GET", "app.test", "/", "x-request-id: two\r\n").expect("an answer").status, 429);
    let (delayed, limited) = (record(&weir, "one"), record(&weir, "two"));
    let drawn = delayed["delayed"].as_f64().expect("a delay");
    assert!((6.9..=7.1).contains(&drawn), "{drawn}");
    assert_eq!((&delayed["limited"], &limited["delayed"]), (&Json::Null, &Json::Null));
    assert_eq!(limited["limited"], "default/limit#0@outbound");
    let admin = weir.admin.to_string();
    let shown = |id: &str| printed(&["--request", id, "--admin", &admin]);
    assert!(shown("one").contains("drew a delay of 7 ms"), "{}", shown("one"));
    assert!(shown("two").contains("default/limit#0@outbound refused"), "{}", shown("two"));
    let file = weir.folder.join("mesh.yaml");
    let words = printed(&["http://app.test/slow", "-f", &file.to_string_lossy()]);
    assert!(words.contains("outbound|80||other.test  gets copies of 25 % of requests"), "{words}");
}
