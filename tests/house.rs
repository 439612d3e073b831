//! The rules of the house that can be checked, checked. Each failure says the rule, the place and the remedy.

#![allow(clippy::expect_used, reason = "this is a test: a failure to read is a failure")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

/// The code of a file, without its tests.
fn production(path: &Path) -> String {
    let text = read(path);
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].to_owned()
}

const DRY: [&str; 5] = ["policy", "wire", "config", "observe", "sim"];

#[test]
fn dry_crates_name_no_runtime_and_read_no_clock() {
    for name in DRY {
        let folder = root().join("crates").join(name);
        let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else { continue };
        for runtime in ["tokio", "async-std", "smol", "rustls", "socket2", "hyper", "axum", "rand"] {
            let named = manifest
                .lines()
                .any(|line| line.starts_with(&format!("{runtime}.")) || line.starts_with(&format!("{runtime} ")));
            assert!(
                !named,
                "crates/{name} is dry and names {runtime}: do the IO in proxy or control and pass the result in"
            );
        }
        for path in files(&format!("crates/{name}/src"), ".rs") {
            let code = production(&path);
            for word in ["Instant::now", "SystemTime::now", "net::Tcp", "thread::sleep", "rand::rng(", "tokio::"] {
                assert!(!code.contains(word), "{}: `{word}` in a dry crate: take it as an argument", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_its_job_first_and_is_short() {
    for path in files("src", ".rs").into_iter().chain(files("crates", ".rs")) {
        let code = production(&path);
        assert!(code.starts_with("//! "), "{}: open with `//!`, its job in one sentence", path.display());
        let lines = code.lines().count();
        assert!(
            lines <= 500,
            "{}: {lines} lines: what is its second job? move it to a file of its own",
            path.display()
        );
    }
}

#[test]
fn names_say_what_a_thing_is() {
    let banned = ["Manager", "Handler", "Helper", "Util", "Utils", "Context", "Inner", "Impl", "Info", "Wrapper"];
    for path in files("src", ".rs").into_iter().chain(files("crates", ".rs")) {
        for line in read(&path).lines() {
            let words: Vec<&str> =
                line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
            for pair in words.windows(2).filter(|pair| ["struct", "enum", "trait"].contains(&pair[0])) {
                let ends = banned.iter().find(|end| pair[1].ends_with(**end) && !line.trim_start().starts_with("//"));
                assert!(ends.is_none(), "{}: `{}`: name it by what it is", path.display(), pair[1]);
            }
        }
    }
}

#[test]
fn no_test_is_ignored() {
    let mark = ["#[", "ignore"].concat();
    for path in files("crates", ".rs").into_iter().chain(files("tests", ".rs")) {
        assert!(
            !read(&path).contains(&mark),
            "{}: a test that does not run is none: mend or remove it",
            path.display()
        );
    }
}

#[test]
fn documents_point_at_no_lines_and_at_files_that_exist() {
    for path in files(".", ".md") {
        let text = read(&path);
        let numbered =
            text.match_indices(".rs:").any(|(at, _)| text[at + 4..].starts_with(|c: char| c.is_ascii_digit()));
        assert!(!numbered, "{}: line numbers of code go stale: name the item", path.display());
        let is_torn = text.lines().any(|line| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> "));
        assert!(!is_torn, "{}: a conflict was left in it: choose", path.display());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let local = !target.is_empty() && !target.contains("://");
            let folder = path.parent().expect("a folder");
            assert!(!local || folder.join(target).exists(), "{}: the link {link} leads nowhere", path.display());
        }
    }
}

#[test]
fn every_policy_with_rules_is_lowered_by_a_file_of_its_name() {
    for path in files("crates/policy/src", ".rs") {
        if production(&path).contains("pub struct Rules") || production(&path).contains("pub enum Rules") {
            let name = path.file_name().expect("a file");
            let lowered = root().join("crates/config/src/lower").join(name);
            assert!(lowered.exists(), "{} has Rules: lower them in {}", path.display(), lowered.display());
        }
    }
}

/// Policies without a script, and why.
const WITHOUT_SCRIPT: [(&str, &str); 3] = [
    ("connection", "says nothing about a call: the pool carries it out"),
    ("cors", "is about header fields: a script has none"),
    ("tcp", "is about connections: a script is of requests"),
];

#[test]
fn every_policy_with_rules_has_scripts_that_show_its_steps() {
    for path in files("crates/policy/src", ".rs") {
        if production(&path).contains("pub struct Rules") || production(&path).contains("pub enum Rules") {
            let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
            let scripts = root().join("testdata/script").join(&name);
            let has = fs::read_dir(&scripts).is_ok_and(|mut files| files.next().is_some());
            let is_excused = WITHOUT_SCRIPT.iter().any(|(excused, _)| *excused == name);
            assert!(has || is_excused, "{} has Rules: show its steps in {}", path.display(), scripts.display());
        }
    }
}
