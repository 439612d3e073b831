//! Word when files change, and which.
//!
//! ```text
//!   event ─► opened or read only ─► nothing │ names files ─► those files │ lost, failed, nameless ─► anything
//! ```
//! Does not: read files.

use notify::{RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

/// More files than this in one burst are not told apart: everything is looked at.
const FEW: usize = 256;

/// What is to be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Anything,
    /// Only these paths, absolute as the system tells them.
    Files(BTreeSet<PathBuf>),
}

impl Change {
    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Files(mut files), Self::Files(more)) => {
                files.extend(more);
                if files.len() > FEW { Self::Anything } else { Self::Files(files) }
            }
            _ => Self::Anything,
        }
    }

    /// `None`: nothing was changed.
    fn of(event: notify::Result<notify::Event>) -> Option<Self> {
        let Ok(event) = event else { return Some(Self::Anything) };
        if event.need_rescan() || event.paths.is_empty() {
            return Some(Self::Anything);
        }
        (!event.kind.is_access()).then(|| Self::Files(event.paths.into_iter().collect()))
    }
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
    pub fn start(paths: &[PathBuf], changed: Sender<Change>) -> Option<Self> {
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

fn watch(paths: &[PathBuf], changed: Sender<Change>) -> Option<notify::RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        if let Some(change) = Change::of(event) {
            // The follower has ended: nobody is left to tell.
            let _ = changed.send(change);
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
