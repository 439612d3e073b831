//! `weir check` as a person and as a script sees it.

#![allow(clippy::expect_used, reason = "this is a test")]

mod common;

use std::io::Write;
use std::process::{Command, Output, Stdio};

const GOOD: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec:
  hosts: [a.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1 }]
";

fn check(text: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["check", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weir starts");
    // A weir that refuses its arguments does not read.
    let written = child.stdin.take().expect("a pipe").write_all(text.as_bytes());
    assert!(written.is_ok() || written.is_err_and(|why| why.kind() == std::io::ErrorKind::BrokenPipe));
    child.wait_with_output().expect("weir ends")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn good_documents_exit_0() {
    let output = check(GOOD, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("1 file: 0 errors, 0 warnings"));
}

#[test]
fn an_unknown_field_is_shown_where_it_stands_with_a_remedy() {
    let output = check(&GOOD.replace("resolution:", "resolutoin:"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("error[WEIR0101]: `ServiceEntry` has no field `resolutoin`"), "{said}");
    assert!(said.contains("<stdin>:6:3") && said.contains("^^^^^^^^^^"), "{said}");
    assert!(said.contains("did you mean `resolution`?"), "{said}");
    assert!(!said.contains('\u{1b}'), "no colours outside a terminal");
}

#[test]
fn warnings_pass_unless_denied() {
    let text = GOOD.to_owned()
        + "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: a }\nspec: { host: b.test }\n";
    assert_eq!(check(&text, &[]).status.code(), Some(0));
    assert_eq!(check(&text, &["--deny", "warnings"]).status.code(), Some(1));
}

#[test]
fn json_is_for_programs() {
    let output = check("kind: Gatewy\napiVersion: networking.istio.io/v1\n", &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problem = &report["problems"][0];
    assert_eq!((&problem["code"], &problem["line"], &problem["column"]), (&"WEIR0006".into(), &1.into(), &7.into()));
    assert_eq!(problem["hint"], "did you mean `Gateway`?");
    assert_eq!(report["summary"]["errors"], 1);
}

#[test]
fn what_cannot_be_read_is_2() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_weir")).args(["check", "/nowhere/at/all"]).output().expect("weir runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_text_that_is_not_utf8_is_a_finding() {
    let file = std::env::temp_dir().join(format!("weir-check-bytes-{}.yaml", std::process::id()));
    std::fs::write(&file, b"a: 1\nb: \xff").expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).arg("check").arg(&file).output().expect("weir runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("error[WEIR0001]: this is not UTF-8"), "{}", said(&output));
    let _ = std::fs::remove_file(file);
}

/// The schema and the reader of a kind both look at these.
#[test]
fn a_fault_is_told_once() {
    let route = "route: [{ destination: { host: a.test } }]";
    let rows = [
        ("match: [{ uri: { prefix: /, exact: /a } }]", 1),
        ("retries: { attempts: 99999999999 }", 1),
        ("retries: { attempts: -1, retryOn: 'a,b' }", 3),
        ("timeout: 0.1us", 1),
        ("corsPolicy: { maxAge: soon }", 1),
        ("timeuot: 1s", 1),
        ("mirrorPercent: 1000", 1),
    ];
    for (field, count) in rows {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: a }}\nspec:\n  hosts: [a.test]\n  http:\n  - {route}\n    {field}\n"
        );
        let said = said(&check(&text, &[]));
        assert_eq!(said.matches("error[").count(), count, "{said}");
    }
}

#[test]
fn a_long_value_is_quoted_in_part() {
    let long = "x".repeat(1500);
    let said = said(&check(&GOOD.replace("a.test", &format!("'{long}!'")), &[]));
    let first = said.lines().next().unwrap_or_default();
    assert!(first.starts_with("error[WEIR0103]: `xxx") && first.len() < 200, "{said}");
    assert!(said.len() < 1500, "{}: {said}", said.len());
}

#[test]
fn hostile_texts_are_refused_quickly() {
    let bomb = (1..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
        let alias = vec![format!("*a{}", level - 1); 10].join(",");
        text + &format!("a{level}: &a{level} [{alias}]\n")
    });
    for text in [bomb, "[".repeat(10_000), "a: &x [*x]\n".to_owned(), "a: [1, 2".to_owned(), "{".repeat(100_000)] {
        assert_eq!(check(&text, &[]).status.code(), Some(1), "{}", &text[..text.len().min(40)]);
    }
}

const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: a }
spec:
  hosts: [a.test]
  http:
  - route: [{ destination: { host: a.test } }]   # the only one
    timout: 5s
    retries: { attempts: 2, perTryTimeout: 1s, retryOn: connect-failure }
";

fn both() -> String {
    format!("{GOOD}---\n{ROUTE}")
}

#[test]
fn a_code_can_be_denied() {
    let text = both().replace("timout", "timeout");
    assert_eq!(check(&text, &[]).status.code(), Some(0));
    assert_eq!(check(&text, &["--deny", "WEIR0341"]).status.code(), Some(0));
    assert_eq!(check(&text, &["--deny", "WEIR0341,weir0301"]).status.code(), Some(1));
    assert_eq!(check(&text, &["--deny", "WEIR9999"]).status.code(), Some(2));
}

#[test]
fn every_problem_can_be_explained() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_weir")).args(["check", "--explain", "WEIR0301"]).output().expect("weir runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("retryOn"));
    let said = said(&check(&both(), &[]));
    assert!(
        said.contains("weir check --explain WEIR") && said.contains("1 may be mended by `weir check --fix`"),
        "{said}"
    );
}

#[test]
fn github_gets_annotations() {
    let output = check(&both(), &["--format", "github"]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = "::error file=<stdin>,line=17,col=5,endColumn=11,title=WEIR0101::`http` has no field `timout`%0Adid you mean `timeout`?";
    assert!(shown.lines().any(|one| one == line), "{shown}");
    assert!(shown.lines().all(|line| line.starts_with("::")), "{shown}");
}

/// The required parts of SARIF 2.1.0 (sections 3.13 to 3.49 of the standard).
#[test]
fn sarif_has_what_the_standard_asks_for() {
    let output = check(&both(), &["--format", "sarif"]);
    let log: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "weir");
    let rules = driver["rules"].as_array().expect("rules");
    let results = run["results"].as_array().expect("results");
    assert!(results.len() >= 2 && !rules.is_empty());
    for rule in rules {
        assert!(rule["id"].as_str().is_some_and(|id| id.starts_with("WEIR")));
        assert!(rule["shortDescription"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
        assert!(rule["help"]["text"].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
    }
    for result in results {
        let index = result["ruleIndex"].as_u64().expect("an index") as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note", "none"].contains(&result["level"].as_str().expect("a level")));
        assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "%3Cstdin%3E");
        assert!(place["region"]["startLine"].as_u64() >= Some(1) && place["region"]["startColumn"].as_u64() >= Some(1));
        assert!(place["region"]["endColumn"].as_u64() > place["region"]["startColumn"].as_u64());
    }
    let field = results.iter().find(|result| result["ruleId"] == "WEIR0101").expect("the misspelt field");
    let change = &field["fixes"][0]["artifactChanges"][0];
    assert_eq!(change["artifactLocation"]["uri"], "%3Cstdin%3E");
    let wanted = serde_json::json!({
        "deletedRegion": { "startLine": 17, "startColumn": 5, "endColumn": 11 }, "insertedContent": { "text": "timeout" },
    });
    assert_eq!(change["replacements"][0], wanted);
}

#[test]
fn fix_shows_a_diff_and_writes_the_file() {
    let folder = common::folder();
    let file = folder.join("a.yaml");
    std::fs::write(&file, both()).expect("written");
    let run =
        || Command::new(env!("CARGO_BIN_EXE_weir")).args(["check", "--fix"]).arg(&file).output().expect("weir runs");
    let output = run();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(shown.contains("-    timout: 5s\n+    timeout: 5s\n"), "{shown}");
    let written = std::fs::read_to_string(&file).expect("readable");
    assert_eq!(written, both().replace("timout", "timeout"));
    let again = run();
    assert!(again.stdout.is_empty() && said(&again).contains("0 mended in 0 files"));
    std::fs::remove_dir_all(folder).expect("removed");
}
