//! SARIF 2.1.0: what code scanning reads.

use super::pages;
use serde_json::{Value, json};
use weir_config::{Code, Problem, Severity, Text, fix};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// One run with all problems; its rules are the codes that occur.
pub(crate) fn log(problems: &[Problem], texts: &[Text]) -> Value {
    let mut codes: Vec<Code> = problems.iter().map(|problem| problem.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let results: Vec<Value> = problems.iter().map(|problem| result(problem, &codes, texts)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "weir",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": codes.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: Code) -> Value {
    let section = pages::section(code);
    json!({
        "id": code.text(),
        "name": format!("{code:?}"),
        "shortDescription": { "text": pages::headline(code) },
        "fullDescription": { "text": section.trim() },
        "help": { "text": section.trim(), "markdown": section.trim() },
        "defaultConfiguration": { "level": level(code.severity()) },
    })
}

fn result(problem: &Problem, codes: &[Code], texts: &[Text]) -> Value {
    let hint = problem.hint.as_ref().map(|hint| format!(" Remedy: {hint}.")).unwrap_or_default();
    let place = &problem.place;
    let mut physical = json!({ "artifactLocation": { "uri": uri(&place.file) } });
    if place.line > 0 {
        physical["region"] = json!({
            "startLine": place.line,
            "startColumn": place.column.max(1),
            "endColumn": place.column.max(1) + problem.length,
        });
    }
    let mut out = json!({
        "ruleId": problem.code.text(),
        "ruleIndex": codes.binary_search(&problem.code).unwrap_or_default(),
        "level": level(problem.severity),
        "message": { "text": format!("{}.{hint}", problem.words) },
        "locations": [{ "physicalLocation": physical }],
    });
    let text = texts.iter().find(|text| text.name == place.file);
    if let Some(mend) = text.and_then(|text| fix::replacement(text, problem)) {
        out["fixes"] = json!([mended(&place.file, &mend)]);
    }
    out
}

/// What `weir check --fix` would write.
fn mended(file: &str, mend: &fix::Replacement) -> Value {
    let region = json!({ "startLine": mend.line, "startColumn": mend.column, "endColumn": mend.end });
    json!({
        "description": { "text": format!("write `{}`", mend.new) },
        "artifactChanges": [{
            "artifactLocation": { "uri": uri(file) },
            "replacements": [{ "deletedRegion": region, "insertedContent": { "text": mend.new } }],
        }],
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// A file's name as a URI reference (RFC 3986): relative ones stay relative.
fn uri(name: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let path = name.bytes().map(|byte| if kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    let path: String = path.collect();
    if path.starts_with('/') { format!("file://{path}") } else { path }
}
