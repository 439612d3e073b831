//! Files and folders to texts.
//!
//! ```text
//!   what changed is known (`watch`) ─► only those files │ else: all paths
//!   files, with size, times and inode ─┬─ as before, and not written a moment ago ─► the text as it was
//!                                      └─ else ────────────────────────────────────► read
//! ```
//! Does not: parse.

#[cfg(test)]
mod tests;
mod watch;

use crate::store;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weir_config::{Code, Problem, Text};
use weir_policy::place::Place;

pub use watch::{Change, Watch};

/// Bytes of all texts together.
const LARGEST: u64 = 256 << 20;
/// A file that was written so shortly before it was read may have been written again within the same tick of the file
/// system's clock: it is read again.
const TICK: Duration = Duration::from_secs(2);

/// Reads every document file under the paths, in path order; `-` is stdin. What cannot be read is a problem.
pub fn read(paths: &[PathBuf]) -> (Vec<Text>, Vec<Problem>) {
    let Sources { texts, problems, .. } = Reader::default().read(paths, &Change::Anything);
    (texts, problems)
}

/// What was read.
#[derive(Debug)]
pub struct Sources {
    /// In path order. The caller's until they are given back ([`Reader::keep`]).
    pub texts: Vec<Text>,
    pub problems: Vec<Problem>,
    /// As [`store::hash`] of the texts.
    pub hash: u64,
}

/// Reads, and remembers: a file that did not change is not read again.
#[derive(Default, Debug)]
pub struct Reader {
    /// In the order of the texts.
    files: Vec<Known>,
    /// Of the files; none while the reader's user has them.
    texts: Vec<Text>,
    /// Every change of a text is a change of its file's path: no links, nothing from stdin, nothing unreadable.
    traceable: bool,
}

/// A file that was read.
#[derive(Debug)]
struct Known {
    path: PathBuf,
    facts: Facts,
    /// It was written long enough before it was read.
    settled: bool,
    /// Of its text ([`store::sum`]).
    sum: u64,
}

struct Found {
    path: PathBuf,
    facts: Facts,
}

/// Everything under the paths.
#[derive(Default)]
struct Walk {
    files: Vec<Found>,
    problems: Vec<Problem>,
    /// There is a link among them.
    linked: bool,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
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
    /// As [`read`]; of the files only those are looked at that `change` names, where that is enough.
    pub fn read(&mut self, paths: &[PathBuf], change: &Change) -> Sources {
        let whole = self.traceable && self.files.len() == self.texts.len();
        let again = match change {
            Change::Files(changed) if whole => self.again(changed),
            _ => None,
        };
        let problems = again.map_or_else(|| self.anew(paths), |()| Vec::new());
        let hash = store::together(self.files.iter().map(|known| known.sum));
        Sources { texts: std::mem::take(&mut self.texts), problems, hash }
    }

    /// Gives the texts back, so that they need not be read again as long as their files do not change.
    pub fn keep(&mut self, texts: Vec<Text>) {
        self.texts = texts;
    }

    /// Looks at these files. `None`: that may not be all that changed.
    fn again(&mut self, changed: &BTreeSet<PathBuf>) -> Option<()> {
        let here = std::env::current_dir().ok();
        for path in changed {
            let short = here.as_ref().and_then(|here| path.strip_prefix(here).ok());
            let at = self.place(path).or_else(|_| short.map_or(Err(0), |short| self.place(short)));
            match at {
                Ok(at) => self.look(at)?,
                Err(_) if self.is_nothing(path) && short.is_none_or(|short| self.is_nothing(short)) => {}
                Err(_) => return None,
            }
        }
        Some(())
    }

    fn place(&self, path: &Path) -> Result<usize, usize> {
        self.files.binary_search_by(|known| known.path.as_path().cmp(path))
    }

    /// Is it no document, and no folder of documents, and was none? An editor's temporary file, say.
    fn is_nothing(&self, path: &Path) -> bool {
        let behind = self.place(path).unwrap_or_else(|at| at);
        let was = self.files.get(behind).is_some_and(|known| known.path.starts_with(path));
        !was && match std::fs::symlink_metadata(path) {
            Ok(facts) => facts.is_file() && !is_named(path),
            Err(why) => why.kind() == io::ErrorKind::NotFound,
        }
    }

    fn look(&mut self, at: usize) -> Option<()> {
        let known = &self.files[at];
        let facts = std::fs::symlink_metadata(&known.path).ok().filter(std::fs::Metadata::is_file)?;
        let facts = Facts::of(&facts);
        if known.settled && known.facts == facts {
            return Some(());
        }
        let total: u64 = self.files.iter().map(|known| known.facts.length).sum();
        let text = open(&known.path, facts.length, total - known.facts.length + facts.length).ok()?;
        self.files[at] =
            Known { settled: facts.settled(now()), facts, sum: store::sum(&text), path: known.path.clone() };
        if self.texts[at].text != text.text {
            self.texts[at] = text;
        }
        Some(())
    }

    /// Looks at everything.
    fn anew(&mut self, paths: &[PathBuf]) -> Vec<Problem> {
        let mut walk = Walk::default();
        paths.iter().filter(|path| !is_input(path)).for_each(|path| walk.find(path, Depth::Named));
        let input = paths.iter().find(|path| is_input(path));
        let Walk { mut files, mut problems, linked } = walk;
        if paths.len() > 1 {
            files.sort_by(|one, other| one.path.cmp(&other.path));
            files.dedup_by(|one, other| one.path == other.path);
        }
        let mut kept = Kept::new(std::mem::take(&mut self.files), std::mem::take(&mut self.texts));
        if let Some(path) = input {
            // It can be read only once.
            let known = kept.take(path, &Facts::default()).map(|same| same.text);
            match known.map_or_else(stdin, Ok) {
                Ok(text) => self.add(path.clone(), Facts::default(), text, store::sum),
                Err(problem) => problems.push(*problem),
            }
        }
        let mut total = 0;
        for Found { path, facts } in files {
            total += facts.length;
            match kept.take(&path, &facts) {
                Some(Same { text, sum }) => self.add(path, facts, text, |_| sum),
                None => match open(&path, facts.length, total) {
                    Ok(text) => self.add(path, facts, text, store::sum),
                    Err(problem) => problems.push(*problem),
                },
            }
        }
        self.traceable = !linked && input.is_none() && problems.is_empty();
        problems
    }

    fn add(&mut self, path: PathBuf, facts: Facts, text: Text, sum: impl FnOnce(&Text) -> u64) {
        self.files.push(Known { path, settled: facts.settled(now()), facts, sum: sum(&text) });
        self.texts.push(text);
    }
}

/// What is known from before, by path.
struct Kept(HashMap<PathBuf, (Known, Text)>);

/// A text that did not change.
struct Same {
    text: Text,
    sum: u64,
}

impl Kept {
    fn new(files: Vec<Known>, texts: Vec<Text>) -> Self {
        let known = if files.len() == texts.len() { files } else { Vec::new() };
        Self(known.into_iter().zip(texts).map(|(known, text)| (known.path.clone(), (known, text))).collect())
    }

    fn take(&mut self, path: &Path, facts: &Facts) -> Option<Same> {
        let (known, text) = self.0.remove(path).filter(|(known, _)| known.settled && known.facts == *facts)?;
        Some(Same { text, sum: known.sum })
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

impl Walk {
    fn find(&mut self, path: &Path, depth: Depth) {
        let level = match depth {
            Depth::Named => 0,
            Depth::Found(level) => level,
        };
        let facts = match std::fs::metadata(path) {
            Ok(facts) => facts,
            // A link that points nowhere while a folder is being swapped.
            Err(_) if depth != Depth::Named => return,
            Err(why) => return self.problems.push(unreadable(path, &why)),
        };
        self.linked |= depth == Depth::Named && path.is_symlink();
        if !facts.is_dir() {
            if depth == Depth::Named || is_named(path) {
                self.files.push(Found { path: path.to_owned(), facts: Facts::of(&facts) });
            }
            return;
        }
        if level <= 16 {
            self.folder(path, level);
        }
    }

    fn folder(&mut self, path: &Path, level: u32) {
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(why) => return self.problems.push(unreadable(path, &why)),
        };
        let mut names: Vec<OsString> = Vec::new();
        for entry in entries.flatten() {
            // Hidden names are editors' and Kubernetes' own (`..data`).
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                self.linked |= entry.file_type().is_ok_and(|kind| kind.is_symlink());
                names.push(entry.file_name());
            }
        }
        // By names, folder by folder: that is path order.
        names.sort_unstable();
        for name in names {
            self.find(&path.join(name), Depth::Found(level + 1));
        }
    }
}

fn is_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Is it named as documents are?
fn is_named(path: &Path) -> bool {
    path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known))
}

fn unreadable(path: &Path, why: &io::Error) -> Problem {
    let place = Place { file: path.to_string_lossy().into(), line: 0, column: 0 };
    Problem::new(Code::Unreadable, place, format!("cannot read {}: {why}", path.display()))
}
