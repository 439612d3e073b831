//! Every folder in examples/ checks without errors, and warns of nothing that its README.md does not name.

#![allow(clippy::expect_used, reason = "this is a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each folder is checked as: itself, or each stage of it.
fn meshes(example: &Path) -> Vec<Vec<PathBuf>> {
    let base = example.join("base.yaml");
    if base.exists() {
        return ["test", "prod"].map(|stage| vec![base.clone(), example.join(stage)]).to_vec();
    }
    vec![vec![example.to_owned()]]
}

/// The codes that a README announces.
fn announced(example: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(example.join("README.md")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("`weir check` says: ")).unwrap_or_default();
    line.trim_end_matches('.').split(", ").filter(|code| !code.is_empty()).map(str::to_owned).collect()
}

/// Of fields that a later version enforces: announced, and gone one day.
const UNTIL_ENFORCED: [&str; 3] = ["WEIR0201", "WEIR0209", "WEIR0214"];

#[test]
fn every_example_checks_as_it_says() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut seen = 0;
    for example in
        std::fs::read_dir(folder).expect("examples").flatten().map(|entry| entry.path()).filter(|path| path.is_dir())
    {
        let announced = announced(&example);
        for mesh in meshes(&example) {
            seen += 1;
            let check = Command::new(env!("CARGO_BIN_EXE_weir"))
                .args(["check", "--format", "json"])
                .args(&mesh)
                .output()
                .expect("weir runs");
            let report: serde_json::Value = serde_json::from_slice(&check.stdout).expect("JSON");
            let problems = report["problems"].as_array().expect("problems");
            let codes: BTreeSet<String> =
                problems.iter().map(|one| one["code"].as_str().unwrap_or_default().to_owned()).collect();
            assert!(check.status.success(), "{}: {report:#}", example.display());
            assert!(codes.is_subset(&announced), "{}: not announced in README.md: {report:#}", example.display());
            let stale = announced.difference(&codes).find(|code| !UNTIL_ENFORCED.contains(&code.as_str()));
            assert!(stale.is_none(), "{}: README.md announces {stale:?}", example.display());
        }
    }
    assert!(seen >= 30, "an example for each subject");
}
