//! The table of coverage against the schema and against the plan: a field that is called enforced changes the plan.

#![allow(clippy::expect_used, reason = "this is a test")]

use regex::Regex;
use weir_config::coverage::{Row, Status, refused, rows, strangers};
use weir_config::schema::{self, Fields, Shape};
use weir_config::{Bundle, Options, Severity, Text, compile};

/// What is around the field that is tried.
const MESH: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec:
  hosts: [a.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }, { number: 81, name: more, protocol: HTTP }]
  endpoints:
  - { address: 10.0.0.1, labels: { version: v1 } }
  - { address: 10.0.0.2, labels: { version: v2 } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: b, namespace: other }
spec: { hosts: [b.test], resolution: STATIC, ports: [{ number: 80, name: http, protocol: HTTP }], endpoints: [{ address: 10.0.0.3 }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: z }
spec: { hosts: [z.test], resolution: STATIC, ports: [{ number: 80, name: http, protocol: HTTP }], workloadSelector: { labels: { app: z } } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: x }
spec: { address: 10.0.0.4, labels: { app: x }, ports: { http: 8085 } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: z }
spec: { address: 10.0.0.5, labels: { app: z }, ports: { http: 8086 } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: part }
spec: { http: [{ directResponse: { status: 204 } }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: gw }
spec: { hosts: [a.test], gateways: [it], http: [{ directResponse: { status: 205 } }] }
";

/// More of it, for kinds that need it.
fn around(kind: &str) -> &'static str {
    match kind {
        "VirtualService" => {
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: l4 }\nspec: { hosts: [l4.test], resolution: STATIC, ports: [{ number: 9001, name: tcp, protocol: TCP }, { number: 9002, name: tls, protocol: TLS }], endpoints: [{ address: 10.0.0.9 }] }\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: a }\nspec: { host: a.test, subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }] }\n"
        }
        "DestinationRule" => {
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: a }\nspec: { hosts: [a.test], http: [{ route: [{ destination: { host: a.test, subset: v1, port: { number: 80 } }, weight: 1 }, { destination: { host: a.test, port: { number: 80 } }, weight: 1 }] }] }\n"
        }
        "Endpoints" | "EndpointSlice" => {
            "---\napiVersion: v1\nkind: Service\nmetadata: { name: it }\nspec: { ports: [{ name: http, port: 80 }] }\n"
        }
        "EnvoyFilter" => {
            "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: { name: other }\nspec: { priority: 3, configPatches: [{ applyTo: HTTP_ROUTE, patch: { operation: MERGE, value: { route: { retry_policy: { num_retries: 7 } } } } }] }\n"
        }
        "ReliabilityPolicy" | "RateLimitPolicy" => {
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: a }\nspec: { host: a.test, subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }] }\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: a }\nspec: { hosts: [a.test], http: [{ name: r, fault: { abort: { httpStatus: 503, percentage: { value: 5 } } }, route: [{ destination: { host: a.test, subset: v1, port: { number: 80 } } }] }] }\n"
        }
        "QuotaSpec" => {
            "---\napiVersion: config.istio.io/v1alpha2\nkind: QuotaSpecBinding\nmetadata: { name: b }\nspec: { quotaSpecs: [{ name: spec }, { name: it }], services: [{ name: a.test }] }\n---\napiVersion: config.istio.io/v1alpha2\nkind: memquota\nmetadata: { name: amounts }\nspec: { quotas: [{ name: q, maxAmount: 5, validDuration: 3s }, { name: it, maxAmount: 5, validDuration: 3s }] }\n"
        }
        "QuotaSpecBinding" => {
            "---\napiVersion: config.istio.io/v1alpha2\nkind: QuotaSpec\nmetadata: { name: spec }\nspec: { rules: [{ quotas: [{ quota: m }, { quota: it }] }] }\n---\napiVersion: config.istio.io/v1alpha2\nkind: memquota\nmetadata: { name: amounts }\nspec: { quotas: [{ name: m, maxAmount: 5, validDuration: 3s }, { name: it, maxAmount: 5, validDuration: 3s }] }\n"
        }
        "memquota" | "redisquota" | "handler" => {
            "---\napiVersion: config.istio.io/v1alpha2\nkind: QuotaSpec\nmetadata: { name: spec }\nspec: { rules: [{ quotas: [{ quota: m }, { quota: it }] }] }\n---\napiVersion: config.istio.io/v1alpha2\nkind: QuotaSpecBinding\nmetadata: { name: b }\nspec: { quotaSpecs: [{ name: spec }, { name: it }], services: [{ name: a.test }] }\n---\napiVersion: config.istio.io/v1alpha2\nkind: instance\nmetadata: { name: m }\nspec: { compiledTemplate: quota, params: { dimensions: { user: 'request.headers[\"u\"]' } } }\n"
        }
        "instance" => {
            "---\napiVersion: config.istio.io/v1alpha2\nkind: QuotaSpec\nmetadata: { name: spec }\nspec: { rules: [{ quotas: [{ quota: m }, { quota: it }] }] }\n---\napiVersion: config.istio.io/v1alpha2\nkind: QuotaSpecBinding\nmetadata: { name: b }\nspec: { quotaSpecs: [{ name: spec }, { name: it }], services: [{ name: a.test }] }\n---\napiVersion: config.istio.io/v1alpha2\nkind: memquota\nmetadata: { name: amounts }\nspec: { quotas: [{ name: q, maxAmount: 5, validDuration: 3s }, { name: it, maxAmount: 5, validDuration: 3s }] }\n"
        }
        "ServiceEntry" => {
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: c }\nspec: { host: c.test, subsets: [{ name: v1, labels: { version: v1 } }] }\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: c }\nspec: { hosts: [c.test], http: [{ route: [{ destination: { host: c.test, subset: v1 } }] }] }\n"
        }
        _ => "",
    }
}

struct Trial {
    word: String,
    kind: String,
    path: String,
    rest: String,
}

fn trials() -> Vec<Trial> {
    let lines = include_str!("coverage.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &str| {
        let (head, rest) = line.split_once('=').expect("WORD KIND PATH = …");
        let mut words = head.split_whitespace().map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        Trial { word: next(), kind: next(), path: next(), rest: rest.trim().to_owned() }
    };
    lines.map(read).collect()
}

/// The longest entry whose path ends the given one.
fn find<'t>(trials: &'t [Trial], word: &str, kind: &str, path: &str) -> Option<&'t Trial> {
    let ends = |trial: &&Trial| {
        let at = path.strip_suffix(trial.path.as_str());
        let whole = trial.path.is_empty() && path.is_empty();
        whole || (!trial.path.is_empty() && at.is_some_and(|front| front.is_empty() || front.ends_with('.')))
    };
    let fits = |trial: &&Trial| trial.word == word && trial.kind == kind;
    trials.iter().filter(fits).filter(ends).max_by_key(|trial| trial.path.len())
}

/// A flow mapping with the value at the path, and the siblings that it needs.
fn build(trials: &[Trial], row: &Row, value: &str) -> String {
    let parts: Vec<&str> = row.path.split('.').collect();
    let without: Vec<&str> = (1..=parts.len())
        .filter_map(|end| find(trials, "without", row.kind, &parts[..end].join(".")))
        .flat_map(|trial| trial.rest.split(", "))
        .collect();
    let mut out = value.to_owned();
    for at in (0..parts.len()).rev() {
        let name = parts[at].trim_end_matches("[]").trim_end_matches("{}");
        let marks = &parts[at][name.len()..];
        out = match marks {
            "[]" => format!("[{out}]"),
            "{}" => format!("{{ a: {out} }}"),
            _ => out,
        };
        let siblings = find(trials, "with", row.kind, &parts[..at].join("."));
        let siblings = siblings.map(|trial| trial.rest.as_str()).unwrap_or_default();
        let mut fields = vec![format!("{name}: {out}")];
        for sibling in siblings.split("; ").filter(|sibling| !sibling.is_empty()) {
            let own = sibling.split(':').next().unwrap_or_default();
            if own != name && !without.contains(&own) {
                fields.push(sibling.to_owned());
            }
        }
        out = format!("{{ {} }}", fields.join(", "));
    }
    out
}

fn shape(fields: &'static Fields, path: &str) -> &'static Shape {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let name = first.trim_end_matches("[]").trim_end_matches("{}");
    let field = fields.fields.iter().find(|field| field.name == name).expect("a field of the schema");
    let mut shape = &field.shape;
    while let (Shape::List { item, .. } | Shape::Map { item, .. }, true) = (shape, rest.is_some()) {
        shape = item;
    }
    match (shape, rest) {
        (Shape::Object(fields), Some(rest)) => self::shape(fields, rest),
        _ => shape,
    }
}

/// Two values that a type allows.
fn values(shape: &Shape) -> Option<[String; 2]> {
    let two = |one: &str, other: &str| Some([one.to_owned(), other.to_owned()]);
    match shape {
        Shape::Text { .. } => two("x", "y"),
        Shape::Duration => two("3s", "4s"),
        Shape::Whole { low, .. } => Some([(low.max(&2) + 1).to_string(), (low.max(&2) + 2).to_string()]),
        Shape::Number { .. } => two("3", "4"),
        Shape::Truth => two("true", "false"),
        Shape::WholeOrText => two("81", "82"),
        Shape::Word(words) => Some([words.first()?.to_string(), words.last()?.to_string()]),
        _ => None,
    }
}

/// The plan without places, as lines in an order of their own; and what is wrong.
fn plan(row: &Row, version: &str, spec: &str) -> Result<Vec<String>, String> {
    let body = match row.kind {
        "Endpoints" | "EndpointSlice" => spec.trim_start_matches('{').trim_end_matches('}').trim().to_owned(),
        _ => format!("spec: {spec}"),
    };
    let meta = "metadata: { name: it, labels: { kubernetes.io/service-name: it } }";
    let text =
        format!("{MESH}{}---\n{{ apiVersion: {version}, kind: {}, {meta}, {body} }}\n", around(row.kind), row.kind);
    let labels = vec![("app".to_owned(), "x".to_owned())];
    let texts = vec![Text { name: "t".into(), text: text.into() }];
    let (plan, problems) = compile(&Bundle { texts, options: Options { labels, ..Options::default() } });
    if let Some(problem) = problems.iter().find(|problem| problem.severity == Severity::Error) {
        return Err(format!("{spec}: {}", problem.words));
    }
    let places = Regex::new(r"(?s)Place \{.*?\}").expect("a pattern");
    let shown = format!("{plan:#?}");
    let mut lines: Vec<String> = places.replace_all(&shown, "").lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

fn version(row: &Row) -> String {
    let kind = schema::find(row.group, row.kind).expect("a kind");
    if kind.group.is_empty() { kind.versions[0].to_owned() } else { format!("{}/{}", kind.group, kind.versions[0]) }
}

/// Why the plan does not follow the field.
fn tried(trials: &[Trial], row: &Row) -> Option<String> {
    let raw = trials.iter().find(|trial| trial.word == "raw" && trial.kind == row.kind && trial.path == row.path);
    if let Some((one, other)) = raw.and_then(|trial| trial.rest.split_once(" | ")) {
        return told(plan(row, &version(row), one), plan(row, &version(row), other), other);
    }
    let fields = &schema::find(row.group, row.kind).expect("a kind").fields;
    let own = find(trials, "value", row.kind, &row.path).and_then(|trial| trial.rest.split_once(" | "));
    let [one, other] = match own {
        Some((one, other)) => [one.to_owned(), other.to_owned()],
        None => match values(shape(fields, &row.path)) {
            Some(values) => values,
            None => return Some("name two values in tests/coverage.txt".to_owned()),
        },
    };
    let [one, other] = [one, other].map(|value| plan(row, &version(row), &build(trials, row, &value)));
    told(one, other, &build(trials, row, "…"))
}

fn told(one: Result<Vec<String>, String>, other: Result<Vec<String>, String>, spec: &str) -> Option<String> {
    match (one, other) {
        (Ok(one), Ok(other)) if one == other => Some(format!("the plan stays the same: {spec}")),
        (Ok(_), Ok(_)) => None,
        (Err(why), _) | (_, Err(why)) => Some(why),
    }
}

#[test]
fn an_enforced_field_changes_the_plan() {
    let trials = trials();
    let enforced: Vec<Row> = rows().into_iter().filter(|row| row.status == Status::Enforced).collect();
    assert!(enforced.len() > 100, "{}", enforced.len());
    let failures: Vec<String> = enforced
        .iter()
        .filter_map(|row| Some(format!("{} {}: {}", row.kind, row.path, tried(&trials, row)?)))
        .collect();
    assert!(failures.is_empty(), "{} fields:\n  {}", failures.len(), failures.join("\n  "));
}

#[test]
fn readers_ask_only_for_what_the_schema_has() {
    assert_eq!(strangers(), [] as [String; 0], "add them to schema/ours.txt");
}

#[test]
fn readers_know_every_field_of_the_schema() {
    assert_eq!(refused(), [] as [String; 0], "ask for them in the reader, and say `later` of them");
}

#[test]
fn a_field_that_is_only_checked_changes_nothing() {
    let trials = trials();
    let checked: Vec<Row> = rows().into_iter().filter(|row| row.status == Status::Checked).collect();
    let changed: Vec<String> = checked
        .iter()
        .filter(|row| tried(&trials, row).is_none())
        .map(|row| format!("{} {}", row.kind, row.path))
        .collect();
    assert!(checked.len() > 5 && changed.is_empty(), "enforced, and called checked: {changed:#?}");
}
