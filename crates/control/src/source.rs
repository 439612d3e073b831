//! Files and folders to texts, and word when they change.
//!
//! Does not: parse.

use notify::{RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use weir_config::{Code, Problem, Text};
use weir_policy::place::Place;

/// Bytes of all texts together.
const LARGEST: u64 = 256 << 20;

/// Reads every document file under the paths, in path order; `-` is stdin. What cannot be read is a problem.
pub fn read(paths: &[PathBuf]) -> (Vec<Text>, Vec<Problem>) {
    let mut files = BTreeSet::new();
    let mut problems = Vec::new();
    let mut texts = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            match std::io::stdin().take(LARGEST).read_to_string(&mut text) {
                Ok(_) => texts.push(Text { name: "<stdin>".into(), text }),
                Err(why) => problems.push(unreadable(Path::new("<stdin>"), &why)),
            }
        } else {
            find(path, &mut files, &mut problems, Depth::Named);
        }
    }
    let mut total = 0;
    for file in files {
        match std::fs::metadata(&file).and_then(|facts| {
            total += facts.len();
            if total > LARGEST {
                return Err(std::io::Error::other("the files are larger than 256 MiB together"));
            }
            std::fs::read(&file)
        }) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => texts.push(Text { name: file.to_string_lossy().into(), text }),
                Err(_) => problems.push(unreadable(&file, &std::io::Error::other("it is not UTF-8"))),
            },
            Err(why) => problems.push(unreadable(&file, &why)),
        }
    }
    (texts, problems)
}

/// A path that the user named is read whatever it is called; what is found in folders must look like a document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Named,
    Found(u32),
}

fn find(path: &Path, files: &mut BTreeSet<PathBuf>, problems: &mut Vec<Problem>, depth: Depth) {
    let level = match depth {
        Depth::Named => 0,
        Depth::Found(level) => level,
    };
    let facts = match std::fs::metadata(path) {
        Ok(facts) => facts,
        // A link that points nowhere while a folder is being swapped.
        Err(_) if depth != Depth::Named => return,
        Err(why) => return problems.push(unreadable(path, &why)),
    };
    if !facts.is_dir() {
        let named = path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known));
        if depth == Depth::Named || named {
            files.insert(path.to_owned());
        }
        return;
    }
    if level > 16 {
        return;
    }
    match std::fs::read_dir(path) {
        Err(why) => problems.push(unreadable(path, &why)),
        Ok(entries) => {
            for entry in entries.flatten() {
                // Hidden names are editors' and Kubernetes' own (`..data`).
                if !entry.file_name().to_string_lossy().starts_with('.') {
                    find(&entry.path(), files, problems, Depth::Found(level + 1));
                }
            }
        }
    }
}

fn unreadable(path: &Path, why: &std::io::Error) -> Problem {
    let place = Place { file: path.to_string_lossy().into(), line: 0, column: 0 };
    Problem::new(Code::Unreadable, place, format!("cannot read {}: {why}", path.display()))
}

/// Says on `changed` when something under the paths changes, as long as the watcher lives. `None`: it cannot be
/// watched (too many watches, say); SIGHUP and the admin API still reload.
pub fn watch(paths: &[PathBuf], changed: Sender<()>) -> Option<notify::RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        let read_only = event.as_ref().is_ok_and(|event| event.kind.is_access());
        if !read_only {
            // The follower has ended: nobody is left to tell.
            let _ = changed.send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell).ok()?;
    for path in paths.iter().filter(|path| path.as_os_str() != "-") {
        // A file is watched by its folder: editors and ConfigMaps replace files instead of writing them.
        let folder = if path.is_dir() {
            path.as_path()
        } else {
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
        };
        watcher.watch(folder, RecursiveMode::Recursive).ok()?;
    }
    Some(watcher)
}
