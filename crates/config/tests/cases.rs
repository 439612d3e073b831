//! Every code has a case: documents that have the problem, and the same without its cause.

#![allow(clippy::expect_used, reason = "this is a test")]

use std::fs;
use std::path::PathBuf;
use weir_config::{Bundle, Code, Options, Problem, Text, check};

/// What cases may refer to: a service with two endpoints.
const SERVICE: &str = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: the-app }
spec:
  hosts: [app.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints:
  - { address: 10.0.0.1, labels: { version: v1 } }
  - { address: 10.0.0.2, labels: { version: v2 } }
";
const CURE: &str = "# without the cause:\n";

/// Not made by documents: tests/check.rs and tests/tls.rs have them.
const ELSEWHERE: [Code; 2] = [Code::Unreadable, Code::Keys];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn problems(text: &str) -> Vec<Problem> {
    let texts = vec![
        Text { name: "case.yaml".into(), text: text.into() },
        Text { name: "service.yaml".into(), text: SERVICE.into() },
    ];
    check(&Bundle { texts, options: Options::default() }).1
}

#[test]
fn every_code_has_a_case_and_none_without_its_cause() {
    let mut wrong = String::new();
    for code in Code::ALL.iter().filter(|code| !ELSEWHERE.contains(code)) {
        let path = folder("testdata/check").join(format!("{}.yaml", code.text()));
        let Ok(text) = fs::read_to_string(&path) else {
            wrong += &format!("{}: write a case for {code:?}\n", path.display());
            continue;
        };
        let Some((sick, cured)) = text.split_once(CURE) else {
            wrong += &format!("{}: needs `{}`\n", path.display(), CURE.trim());
            continue;
        };
        let (found, left) = (problems(sick), problems(cured));
        let shown = |found: &[Problem]| {
            found.iter().map(|one| format!("\n    {:?}: {}", one.code, one.words)).collect::<String>()
        };
        if !found.iter().any(|problem| problem.code == *code) {
            wrong += &format!("{} {code:?} is not found, but{}\n", code.text(), shown(&found));
        }
        let error = |one: &Problem| one.code == *code || one.severity == weir_config::Severity::Error;
        if left.iter().any(error) {
            wrong += &format!("{} {code:?} without its cause:{}\n", code.text(), shown(&left));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_problem_has_a_place_and_a_lint_its_remedy() {
    for case in fs::read_dir(folder("testdata/check")).expect("the cases").flatten() {
        let text = fs::read_to_string(case.path()).expect("readable");
        for problem in problems(text.split_once(CURE).expect("both halves").0) {
            assert!(problem.place.line > 0 && problem.length > 0, "{problem:?}");
            let lint = problem.code.text() >= "WEIR0300";
            assert!(!lint || problem.hint.is_some(), "{problem:?}: what is to be done?");
            assert!(!lint || problem.severity != weir_config::Severity::Error, "{problem:?}: a lint refuses nothing");
        }
    }
}

#[test]
fn every_code_has_its_page() {
    let pages: String = fs::read_dir(folder("../../docs/src/problems"))
        .expect("docs/src/problems")
        .flatten()
        .map(|page| fs::read_to_string(page.path()).expect("readable"))
        .collect();
    for code in Code::ALL {
        assert!(pages.contains(&format!("\n## {}\n", code.text())), "describe {} in docs/src/problems", code.text());
    }
}
