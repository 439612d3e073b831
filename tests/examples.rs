//! Every folder in examples/ checks clean.

#![allow(clippy::expect_used, reason = "this is a test")]

use std::process::Command;

#[test]
fn every_example_checks_without_errors_or_warnings() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut seen = 0;
    for example in std::fs::read_dir(folder).expect("examples").flatten().map(|entry| entry.path()) {
        seen += 1;
        let check = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["check", "--deny", "warnings"])
            .arg(&example)
            .output()
            .expect("weir runs");
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{}: {said}", example.display());
    }
    assert!(seen >= 2, "there are examples");
}
