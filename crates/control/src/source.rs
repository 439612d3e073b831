//! Files and folders to texts, and word when they change.
//!
//! ```text
//!   paths ─► files, with size, times and inode ─┬─ as before, and not written a moment ago ─► the text as it was
//!                                               └─ else ────────────────────────────────────► read
//! ```
//! Does not: parse.

use notify::{RecursiveMode, Watcher};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weir_config::{Code, Problem, Text};
use weir_policy::place::Place;

/// Bytes of all texts together.
const LARGEST: u64 = 256 << 20;
/// A file that was written so shortly before it was read may have been written again within the same tick of the file
/// system's clock: it is read again.
const TICK: Duration = Duration::from_secs(2);

/// Reads every document file under the paths, in path order; `-` is stdin. What cannot be read is a problem.
pub fn read(paths: &[PathBuf]) -> (Vec<Text>, Vec<Problem>) {
    Reader::default().read(paths)
}

/// Reads, and remembers: a file that did not change is not read again.
#[derive(Default)]
pub struct Reader {
    /// By path.
    known: HashMap<OsString, Known>,
}

/// A file that was read.
struct Known {
    facts: Facts,
    /// It was written long enough before it was read.
    settled: bool,
    /// `None` while the reader's user has it.
    text: Option<Text>,
}

struct Found {
    path: PathBuf,
    facts: Facts,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Facts {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds of the last change of content, and of anything (which nobody can set back).
    times: [i64; 4],
}

impl Facts {
    fn of(found: &std::fs::Metadata) -> Self {
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Self { device: found.dev(), inode: found.ino(), length: found.len(), times }
    }

    /// Was it last written well before `now`?
    fn settled(&self, now: SystemTime) -> bool {
        let now = now.checked_sub(TICK).and_then(|then| then.duration_since(UNIX_EPOCH).ok());
        let [written, _, changed, _] = self.times;
        now.and_then(|now| i64::try_from(now.as_secs()).ok()).is_some_and(|now| written.max(changed) < now)
    }
}

impl Reader {
    /// As [`read`]; what was read is the caller's until it is given back ([`Reader::keep`]).
    pub fn read(&mut self, paths: &[PathBuf]) -> (Vec<Text>, Vec<Problem>) {
        let (mut files, mut problems, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            if path.as_os_str() == "-" {
                match stdin() {
                    Ok(text) => texts.push(text),
                    Err(problem) => problems.push(*problem),
                }
            } else {
                find(path, &mut files, &mut problems, Depth::Named);
            }
        }
        if paths.len() > 1 {
            files.sort_by(|one, other| one.path.cmp(&other.path));
            files.dedup_by(|one, other| one.path == other.path);
        }
        let (mut total, mut before) = (0, std::mem::take(&mut self.known));
        for Found { path, facts } in files {
            total += facts.length;
            let known = before.remove(path.as_os_str()).filter(|known| known.settled && known.facts == facts);
            let text = match known.and_then(|known| known.text) {
                Some(text) => Ok(text),
                None => open(&path, facts.length, total),
            };
            match text {
                Ok(text) => {
                    let known = Known { settled: facts.settled(now()), facts, text: None };
                    self.known.insert(path.into_os_string(), known);
                    texts.push(text);
                }
                Err(problem) => problems.push(*problem),
            }
        }
        (texts, problems)
    }

    /// Gives the texts back, so that they need not be read again as long as their files do not change.
    pub fn keep(&mut self, texts: Vec<Text>) {
        for text in texts {
            if let Some(known) = self.known.get_mut(OsStr::new(&*text.name)) {
                known.text = Some(text);
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "how old a file is only the system's clock tells")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// A text that is too large is refused by its length.
fn open(path: &Path, length: u64, total: u64) -> Result<Text, Box<Problem>> {
    if length > Text::LARGEST as u64 {
        return Err(too_large(path, &format!("{length} bytes")).into());
    }
    if total > LARGEST {
        return Err(unreadable(path, &io::Error::other("the files are larger than 256 MiB together")).into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    // It may have grown since.
    let file = File::open(path).and_then(|file| file.take(Text::LARGEST as u64 + 1).read_to_end(&mut bytes));
    file.map_err(|why| unreadable(path, &why))?;
    if bytes.len() > Text::LARGEST {
        return Err(too_large(path, &format!("more than {} bytes", Text::LARGEST)).into());
    }
    let text = String::from_utf8(bytes).map_err(|why| no_text(path, &why))?;
    Ok(Text { name: path.to_string_lossy().into(), text: text.into() })
}

fn no_text(path: &Path, why: &FromUtf8Error) -> Problem {
    let good = &why.as_bytes()[..why.utf8_error().valid_up_to()];
    let line = good.iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
    let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&good[start..]).chars().count() as u32 + 1;
    let place = Place { file: path.to_string_lossy().into(), line, column };
    Problem::new(Code::Syntax, place, "this is not UTF-8: the file is not read").hint("save it as UTF-8")
}

fn too_large(path: &Path, length: &str) -> Problem {
    let place = Place { file: path.to_string_lossy().into(), line: 1, column: 1 };
    let words = format!("the text has {length}; at most {} are read", Text::LARGEST);
    Problem::new(Code::Bounds, place, words).hint("split it into several files")
}

fn stdin() -> Result<Text, Box<Problem>> {
    let (mut bytes, path) = (Vec::new(), Path::new("<stdin>"));
    // One more byte than is accepted: the compiler says that it is too large.
    io::stdin().take(Text::LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(|why| unreadable(path, &why))?;
    let text = String::from_utf8(bytes).map_err(|why| no_text(path, &why))?;
    Ok(Text { name: "<stdin>".into(), text: text.into() })
}

/// A path that the user named is read whatever it is called; what is found in folders must look like a document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Named,
    Found(u32),
}

fn find(path: &Path, files: &mut Vec<Found>, problems: &mut Vec<Problem>, depth: Depth) {
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
            files.push(Found { path: path.to_owned(), facts: Facts::of(&facts) });
        }
        return;
    }
    if level > 16 {
        return;
    }
    match std::fs::read_dir(path) {
        Err(why) => problems.push(unreadable(path, &why)),
        Ok(entries) => {
            let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
            // Hidden names are editors' and Kubernetes' own (`..data`).
            names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
            // By names, folder by folder: that is path order.
            names.sort_unstable();
            for name in names {
                find(&path.join(name), files, problems, Depth::Found(level + 1));
            }
        }
    }
}

fn unreadable(path: &Path, why: &io::Error) -> Problem {
    let place = Place { file: path.to_string_lossy().into(), line: 0, column: 0 };
    Problem::new(Code::Unreadable, place, format!("cannot read {}: {why}", path.display()))
}

/// Says when something changes, as long as it lives.
pub struct Watch {
    watcher: notify::RecommendedWatcher,
    /// Folders of keys that are watched too.
    also: BTreeSet<PathBuf>,
}

impl Watch {
    /// Says on `changed` when something under the paths changes. `None`: it cannot be watched (too many watches, say);
    /// SIGHUP and the admin API still reload.
    pub fn start(paths: &[PathBuf], changed: Sender<()>) -> Option<Self> {
        watch(paths, changed).map(|watcher| Self { watcher, also: BTreeSet::new() })
    }

    /// These folders, too; says how many are new. One that cannot be watched is tried again the next time.
    pub fn also(&mut self, folders: &BTreeSet<PathBuf>) -> usize {
        self.also.retain(|folder| folder.exists());
        let before = self.also.len();
        for folder in folders {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder.as_path() };
            if !self.also.contains(folder) && self.watcher.watch(folder, RecursiveMode::NonRecursive).is_ok() {
                self.also.insert(folder.to_owned());
            }
        }
        self.also.len() - before
    }
}

fn watch(paths: &[PathBuf], changed: Sender<()>) -> Option<notify::RecommendedWatcher> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("weir-source-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn write(path: &Path, text: &str, age: u64) {
        std::fs::write(path, text).expect("written");
        let then = now() - Duration::from_secs(age);
        File::options().write(true).open(path).and_then(|file| file.set_modified(then)).expect("a time");
    }

    fn shown(read: &(Vec<Text>, Vec<Problem>)) -> Vec<&str> {
        read.0.iter().map(|text| &*text.text).collect()
    }

    /// Same length, same time of modification: a file written a moment ago is read again.
    #[test]
    fn a_change_within_the_same_tick_is_seen() {
        let folder = folder("tick");
        let (file, paths) = (folder.join("a.yaml"), [folder.clone()]);
        let mut reader = Reader::default();
        for text in ["one", "two", "one", "six"] {
            write(&file, text, 3600);
            let read = reader.read(&paths);
            assert_eq!(shown(&read), [text]);
            reader.keep(read.0);
        }
    }

    #[test]
    fn a_settled_file_is_as_it_was_until_its_facts_change() {
        let folder = folder("settled");
        let (file, paths) = (folder.join("a.yaml"), [folder.clone()]);
        write(&file, "one", 3600);
        let mut reader = Reader::default();
        let mut texts = reader.read(&paths).0;
        // It was written just now: as if the clock had gone on, and with other words than the file has.
        reader.known.values_mut().for_each(|known| known.settled = true);
        texts[0].text = "marked".into();
        reader.keep(texts);
        let text = reader.read(&paths).0.remove(0);
        assert_eq!(&*text.text, "marked", "it was not read again");
        reader.keep(vec![text]);
        write(&file, "four", 3600);
        assert_eq!(shown(&reader.read(&paths)), ["four"]);
    }

    #[test]
    fn files_stand_in_path_order_and_only_once() {
        let folder = folder("order");
        std::fs::create_dir(folder.join("b")).expect("a folder");
        for (name, text) in [
            ("b/z.yaml", "3"),
            ("a.yaml", "1"),
            ("b-a.yaml", "4"),
            ("a.yml", "2"),
            (".hidden.yaml", "0"),
            ("x.txt", "0"),
        ] {
            write(&folder.join(name), text, 0);
        }
        let alone = read(std::slice::from_ref(&folder));
        assert_eq!(shown(&alone), ["1", "2", "3", "4"]);
        let twice = read(&[folder.join("b-a.yaml"), folder.clone(), folder.join("b")]);
        assert_eq!(shown(&twice), shown(&alone));
    }

    #[test]
    fn a_text_that_is_too_large_is_refused_by_its_length() {
        let folder = folder("large");
        let file = folder.join("a.yaml");
        File::create(&file).and_then(|file| file.set_len(99 << 20)).expect("a sparse file");
        let (texts, problems) = read(&[file]);
        assert!(texts.is_empty());
        assert_eq!(problems[0].code, Code::Bounds);
        assert!(problems[0].words.contains("103809024 bytes"), "{}", problems[0].words);
    }

    #[test]
    fn what_is_not_utf8_is_a_finding_with_a_place() {
        let folder = folder("bytes");
        let file = folder.join("a.yaml");
        std::fs::write(&file, b"a: 1\nb: \xc3\xa4\xff").expect("written");
        let (texts, problems) = read(&[file]);
        assert!(texts.is_empty());
        assert_eq!((problems[0].code, problems[0].place.line, problems[0].place.column), (Code::Syntax, 2, 5));
    }
}
