//! What is accepted and what is refused, kind by kind: the tables of `tests/kinds/`.
//!
//! `kind NAME VERSION` opens a kind; `in TEMPLATE` says where the lines below stand (`$` is replaced); `ok …` must be
//! accepted, `no CODE …` must be refused with that code; `meta …` adds to the metadata of the lines below.

#![allow(clippy::expect_used, reason = "this is a test")]

use std::fs;
use std::path::Path;
use weir_config::{Bundle, Code, Options, Problem, Severity, Text, compile};

fn errors(text: &str) -> Vec<Problem> {
    let texts = vec![Text { name: "t.yaml".into(), text: text.into() }];
    let (_, problems) = compile(&Bundle { texts, options: Options::default() });
    problems.into_iter().filter(|problem| problem.severity == Severity::Error).collect()
}

/// Runs a table and returns what does not hold.
fn run(table: &str) -> Vec<String> {
    let (mut kind, mut version, mut template, mut meta) = ("", "", "$", "");
    let mut failures = Vec::new();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "kind" => {
                (kind, version) = rest.split_once(' ').expect("kind NAME VERSION");
                (template, meta) = ("$", "");
            }
            "in" => template = rest,
            "meta" => meta = rest,
            "ok" | "no" => {
                let (code, written) = match word {
                    "ok" => (None, rest),
                    _ => rest.split_once(" ").map_or((Some(rest), ""), |(code, rest)| (Some(code), rest.trim())),
                };
                let spec = template.replace('$', written);
                let text =
                    format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: it{meta} }}\nspec: {spec}\n");
                failures.extend(judge(&text, code).map(|why| format!("{kind}: {line}\n      {why}")));
            }
            _ => failures.push(format!("not a line of a table: {line}")),
        }
    }
    failures
}

fn judge(text: &str, code: Option<&str>) -> Option<String> {
    let errors = errors(text);
    let show = |errors: &[Problem]| {
        let shown =
            errors.iter().map(|of| format!("{:?} at {}:{}: {}", of.code, of.place.line, of.place.column, of.words));
        shown.collect::<Vec<_>>().join("; ")
    };
    match code {
        None if errors.is_empty() => None,
        None => Some(format!("refused: {}", show(&errors))),
        Some(_) if errors.is_empty() => Some("accepted".to_owned()),
        Some(code) if errors.iter().any(|of| format!("{:?}", of.code) == code) => None,
        Some(_) => Some(format!("refused otherwise: {}", show(&errors))),
    }
}

#[test]
fn the_tables_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kinds");
    let mut failures = Vec::new();
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the folder").flatten() {
        let table = fs::read_to_string(entry.path()).expect("readable");
        failures.extend(run(&table));
        files += 1;
    }
    assert!(files >= 8, "{files} tables");
    assert!(failures.is_empty(), "{} lines do not hold:\n  {}", failures.len(), failures.join("\n  "));
}

#[test]
fn a_table_can_fail() {
    let table = "kind Gateway networking.istio.io/v1\nok { servers: [] }\nno Value { servers: [] }\n";
    assert_eq!(run(table).len(), 2);
}

fn codes(text: &str) -> Vec<Code> {
    let texts = vec![Text { name: "t.yaml".into(), text: text.into() }];
    compile(&Bundle { texts, options: Options::default() }).1.into_iter().map(|problem| problem.code).collect()
}

#[test]
fn kinds_of_others_are_skipped_and_slips_are_not() {
    let of = |version: &str, kind: &str| {
        codes(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: it }}\nspec: {{ a: 1 }}\n"))
    };
    let others = [
        ("v1", "Namespace"),
        ("v1", "ConfigMap"),
        ("apps/v1", "Deployment"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("gateway.networking.k8s.io/v1beta1", "HTTPRoute"),
        ("networking.k8s.io/v1", "Ingress"),
        ("install.istio.io/v1alpha1", "IstioOperator"),
        ("serving.knative.dev/v1", "Service"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ];
    for (version, kind) in others {
        assert_eq!(of(version, kind), [Code::ForeignKind], "{version} {kind}");
    }
    let slips = [
        ("networking.istio.io/v1", "VirtualServce", Code::UnknownKind),
        ("networking.istio.io/v2", "VirtualService", Code::ApiVersion),
        ("networking.isto.io/v1", "VirtualService", Code::ApiVersion),
        ("v1", "DestinationRule", Code::ApiVersion),
        ("networking.isto.io/v1", "Gateway", Code::ApiVersion),
        ("security.istio.io/v1", "VirtualService", Code::UnknownKind),
        ("weir.dev/v1alpha1", "RateLimit", Code::UnknownKind),
    ];
    for (version, kind, code) in slips {
        assert_eq!(of(version, kind), [code], "{version} {kind}");
    }
}

#[test]
fn the_schema_has_every_kind_in_every_version() {
    for kind in weir_config::meta::KINDS.iter().filter(|kind| kind.name != "List") {
        let schema = weir_config::schema::find(kind.group, kind.name);
        let schema = schema.unwrap_or_else(|| panic!("{} has no schema", kind.name));
        let (mut one, mut other) = (kind.versions.to_vec(), schema.versions.clone());
        one.sort_unstable();
        other.sort_unstable();
        assert_eq!(one, other, "{}", kind.name);
        assert!(!schema.fields.fields.is_empty(), "{}", kind.name);
    }
}
