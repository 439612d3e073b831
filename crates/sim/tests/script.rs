//! Every script of `testdata/script` runs and shows the steps that its file holds. `WEIR_GOLDEN=renew` writes them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failure to read is a failure")]

use std::fs;
use std::path::{Path, PathBuf};
use weir_sim::script::Script;

fn scripts() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/script");
    let folders = fs::read_dir(root).expect("testdata/script");
    let mut all: Vec<PathBuf> = folders
        .flatten()
        .filter(|folder| folder.path().is_dir())
        .flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten())
        .map(|file| file.path())
        .collect();
    all.sort();
    all
}

#[test]
fn scripts_show_the_steps_of_their_files() {
    let renew = std::env::var_os("WEIR_GOLDEN").is_some_and(|value| value == "renew");
    let all = scripts();
    assert!(all.len() > 20, "scripts are missing: {}", all.len());
    let mut different = Vec::new();
    for path in all {
        let text = fs::read_to_string(&path).expect("readable");
        let script = Script::read(&text).unwrap_or_else(|problem| {
            panic!("{}, line {}: {}", path.display(), problem.line, problem.words);
        });
        let shown = script.with_steps(&script.run());
        if renew {
            fs::write(&path, &shown).expect("writable");
        } else if shown != text {
            let line = shown.lines().zip(text.lines()).position(|(new, old)| new != old);
            let at = line.unwrap_or(shown.lines().count().min(text.lines().count()));
            let show = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
            different.push(format!(
                "{}, line {}:\n  file  {}\n  now   {}",
                path.display(),
                at + 1,
                show(&text),
                show(&shown)
            ));
        }
    }
    assert!(different.is_empty(), "{}\nRead the change; `make golden` writes it.", different.join("\n"));
}

#[test]
fn a_script_says_what_is_wrong_with_it_and_where() {
    for (text, line) in [
        ("retry: on fivexx\n", 1),
        ("endpoints: 2\n0ms\n", 2),
        ("0ms GET\n", 1),
        ("\n\n5 200\n", 3),
        ("breaker: open\n", 1),
        ("0ms xx 200\n", 1),
        ("0ms leave me\n", 1),
    ] {
        assert_eq!(Script::read(text).map(|_| ()).map_err(|problem| problem.line), Err(line), "{text:?}");
    }
}
