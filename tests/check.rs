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
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
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
fn hostile_texts_are_refused_quickly() {
    let bomb = (1..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
        let alias = vec![format!("*a{}", level - 1); 10].join(",");
        text + &format!("a{level}: &a{level} [{alias}]\n")
    });
    for text in [bomb, "[".repeat(10_000), "a: &x [*x]\n".to_owned(), "a: [1, 2".to_owned(), "{".repeat(100_000)] {
        assert_eq!(check(&text, &[]).status.code(), Some(1), "{}", &text[..text.len().min(40)]);
    }
}
