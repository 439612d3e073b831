//! Versions: a number and a content hash each. A bundle with errors never becomes a number.

use std::sync::{Mutex, MutexGuard, PoisonError};
use weir_config::{Problem, Severity, Text};

/// `NUMBER-HASH8`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Version {
    pub number: u64,
    pub hash: u64,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:08x}", self.number, self.hash >> 32)
    }
}

/// What is in force, and what the last attempt to change it found.
#[derive(Clone, Default, Debug)]
pub struct Status {
    pub version: Version,
    /// Attempts that were refused since the start.
    pub rejected: u64,
    /// Of the latest attempt, refused or not.
    pub problems: Vec<Problem>,
    /// Why the latest attempt was refused; `None` when it was not.
    pub refused: Option<String>,
    /// Why the version in force is not in `--state`; `None` when it is, or none is wanted.
    pub not_kept: Option<String>,
}

/// The status, shared between who changes it and who shows it.
#[derive(Default, Debug)]
pub struct Store(Mutex<Status>);

impl Store {
    fn lock(&self) -> MutexGuard<'_, Status> {
        // Whatever panicked while holding it, a status is whole at any moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn status(&self) -> Status {
        self.lock().clone()
    }

    /// A bundle is in force: it gets the next number.
    pub fn accept(&self, hash: u64, problems: Vec<Problem>) -> Version {
        let mut status = self.lock();
        status.version = Version { number: status.version.number + 1, hash };
        status.problems = problems;
        status.refused = None;
        status.version.clone()
    }

    /// The same content again: nothing changes but the problems.
    pub fn same(&self, problems: Vec<Problem>) -> Version {
        let mut status = self.lock();
        status.problems = problems;
        status.refused = None;
        status.version.clone()
    }

    /// The version in force was kept on disk, or why it was not.
    pub fn kept(&self, outcome: Result<(), String>) {
        self.lock().not_kept = outcome.err();
    }

    /// A bundle was refused: the last good one stays.
    pub fn refuse(&self, problems: Vec<Problem>, why: String) {
        let mut status = self.lock();
        status.rejected += 1;
        status.problems = problems;
        status.refused = Some(why);
    }
}

/// A hash of the texts' names and contents (FNV-1a, 64 bits): tells versions apart, proves nothing.
pub fn hash(texts: &[Text]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for text in texts {
        for byte in text.name.bytes().chain([0]).chain(text.text.bytes()).chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

/// How many are errors.
pub fn errors(problems: &[Problem]) -> usize {
    problems.iter().filter(|problem| problem.severity == Severity::Error).count()
}
