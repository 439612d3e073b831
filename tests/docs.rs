//! The documentation is true: its YAML checks as it says, its tables are what weir says, every page is in the summary.

#![allow(clippy::expect_used, reason = "this is a test: a failure to read is a failure")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Of fields that a later version enforces: announced, and gone one day.
const UNTIL_ENFORCED: [&str; 3] = ["WEIR0201", "WEIR0209", "WEIR0214"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let (mut found, mut folders) = (vec![root().join("README.md")], vec![root().join("docs/src")]);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("docs").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}

/// The fenced blocks whose fence says so.
fn blocks<'a>(text: &'a str, fence: &str) -> Vec<&'a str> {
    let open = format!("```{fence}\n");
    text.split(open.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn check(documents: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["check", "--format", "json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("weir runs");
    child.stdin.take().expect("piped").write_all(documents.as_bytes()).expect("written");
    let out = child.wait_with_output().expect("weir ends");
    serde_json::from_slice(&out.stdout).expect("JSON")
}

fn codes(report: &Value) -> BTreeSet<String> {
    let problems = report["problems"].as_array().expect("problems");
    problems.iter().map(|one| one["code"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_example_in_the_docs_checks_as_its_page_says() {
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for mistake in blocks(&text, "yaml,mistake") {
            assert!(!codes(&check(mistake)).is_empty(), "{}: no mistake is found in\n{mistake}", page.display());
        }
        // The blocks of a page are one mesh.
        let examples = blocks(&text, "yaml");
        if examples.is_empty() {
            continue;
        }
        seen += 1;
        let report = check(&examples.join("---\n"));
        let says = text.lines().find_map(|line| line.strip_prefix("`weir check` says: ")).unwrap_or_default();
        let says = says.split('.').next().unwrap_or_default();
        let announced: BTreeSet<String> = says.split(", ").filter(|code| !code.is_empty()).map(str::to_owned).collect();
        let found = codes(&report);
        assert_eq!(report["summary"]["errors"], 0, "{}: {report:#}", page.display());
        assert!(found.is_subset(&announced), "{}: not announced: {report:#}", page.display());
        let stale = announced.difference(&found).find(|code| !UNTIL_ENFORCED.contains(&code.as_str()));
        assert!(stale.is_none(), "{} announces {stale:?}", page.display());
    }
    assert!(seen >= 20, "examples in {seen} pages only");
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = read(&root().join("docs/src/SUMMARY.md"));
    for page in pages() {
        let Ok(name) = page.strip_prefix(root().join("docs/src")) else { continue };
        let name = name.to_string_lossy();
        assert!(name == "SUMMARY.md" || summary.contains(&format!("({name})")), "{name}: add it to SUMMARY.md");
    }
}

#[test]
fn every_reason_has_a_row() {
    let answers = read(&root().join("docs/src/answers.md"));
    // Nobody is left to read that one.
    let shown = weir_policy::refusal::Refusal::ALL.iter().filter(|reason| reason.status() != 0);
    for reason in shown {
        let word = reason.word();
        assert!(answers.contains(&format!("| `{word}` |")), "docs/src/answers.md has no row for `{word}`");
    }
}

/// Fields of one parent, by status.
type Fields = [Vec<String>; 3];

/// What the table of a kind says: parent → fields.
fn coverage() -> BTreeMap<String, BTreeMap<String, Fields>> {
    let out = Command::new(env!("CARGO_BIN_EXE_weir")).args(["check", "--coverage", "--format", "json"]).output();
    let report: Value = serde_json::from_slice(&out.expect("weir runs").stdout).expect("JSON");
    let mut kinds: BTreeMap<String, BTreeMap<String, Fields>> = BTreeMap::new();
    for row in report["fields"].as_array().expect("fields") {
        let text = |name: &str| row[name].as_str().expect("text");
        let (parent, field) = text("field").rsplit_once('.').unwrap_or(("", text("field")));
        let column = ["enforced", "checked", "not yet"].iter().position(|word| *word == text("status"));
        let parents = kinds.entry(text("kind").to_owned()).or_default();
        parents.entry(parent.to_owned()).or_default()[column.expect("a status")].push(field.to_owned());
    }
    kinds
}

/// Where the same settings may be written once more; a place that has the same states is not listed again.
const PLACES: [&str; 3] =
    ["subsets[].trafficPolicy.portLevelSettings[]", "subsets[].trafficPolicy", "trafficPolicy.portLevelSettings[]"];

fn table(parents: &BTreeMap<String, Fields>) -> String {
    let mut table = "| in | enforced | checked only | not yet |\n| --- | --- | --- | --- |\n".to_owned();
    let mut is_shorter = false;
    for (parent, fields) in parents {
        let again = PLACES
            .iter()
            .find_map(|place| parent.strip_prefix(place))
            .is_some_and(|rest| parents.get(&format!("trafficPolicy{rest}")) == Some(fields));
        is_shorter |= again;
        if !again {
            let cells = fields.each_ref().map(|names| names.join(", "));
            let parent = if parent.is_empty() { "spec" } else { parent };
            table += &format!("| `{parent}` | {} |\n", cells.join(" | ").replace("  ", " "));
        }
    }
    if is_shorter {
        table +=
            "\nThe same holds for `portLevelSettings[]` and `subsets[].trafficPolicy` where they are not listed.\n";
    }
    table
}

/// `WEIR_GOLDEN=renew` (`make golden`) writes the tables.
#[test]
fn the_tables_of_fields_are_what_coverage_says() {
    let kinds = coverage();
    let mut missing: BTreeSet<&String> = kinds.keys().collect();
    for page in pages() {
        let text = read(&page);
        let mut renewed = text.clone();
        for (kind, parents) in &kinds {
            let open = format!("<!-- coverage {kind} -->\n");
            let Some(start) = renewed.find(&open).map(|at| at + open.len()) else { continue };
            missing.remove(kind);
            let end = start + renewed[start..].find("<!-- /coverage -->").expect("the marker of the end");
            renewed.replace_range(start..end, &format!("\n**{kind}**\n\n{}\n", table(parents)));
        }
        if std::env::var_os("WEIR_GOLDEN").is_some_and(|it| it == "renew") && renewed != text {
            std::fs::write(&page, &renewed).expect("written");
        } else {
            assert!(renewed == text, "{}: fields have another state now: `make golden`", page.display());
        }
    }
    assert!(missing.is_empty(), "no page has a table of {missing:?}");
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_newest_bench() {
    let table = Command::new("python3").arg(root().join("scripts/bench_table.py")).arg("--check").output();
    let table = table.expect("python3 runs");
    assert!(table.status.success(), "{}", String::from_utf8_lossy(&table.stderr));
}
