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
    /// Keys that cannot be used now.
    pub keys: Vec<Problem>,
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

    /// The version in force.
    pub fn version(&self) -> Version {
        self.lock().version.clone()
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

    /// What is wrong with keys now. What is new in it?
    pub fn keys(&self, problems: Vec<Problem>) -> Vec<Problem> {
        let mut status = self.lock();
        let new = problems.iter().filter(|problem| !status.keys.contains(problem)).cloned().collect();
        status.keys = problems;
        new
    }

    /// A bundle was refused: the last good one stays.
    pub fn refuse(&self, problems: Vec<Problem>, why: String) {
        let mut status = self.lock();
        status.rejected += 1;
        status.problems = problems;
        status.refused = Some(why);
    }
}

/// A hash of the texts' names and contents: tells versions apart, proves nothing.
pub fn hash(texts: &[Text]) -> u64 {
    together(texts.iter().map(sum))
}

/// The hash of texts with these sums.
pub fn together(sums: impl Iterator<Item = u64>) -> u64 {
    sums.fold(START, mix)
}

/// Of one text, eight bytes at a time.
pub fn sum(text: &Text) -> u64 {
    [text.name.as_bytes(), text.text.as_bytes()].into_iter().fold(START, |hash, bytes| {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length tells where one ends and the next begins.
        let hash = mix(hash, bytes.len() as u64);
        mix(words.iter().fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word))), u64::from_le_bytes(last))
    })
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

const fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// How many are errors.
pub fn errors(problems: &[Problem]) -> usize {
    problems.iter().filter(|problem| problem.severity == Severity::Error).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_every_border_counts() {
        let of = |parts: &[(&str, &str)]| {
            let texts = parts.iter().map(|(name, text)| Text { name: (*name).into(), text: (*text).into() });
            hash(&texts.collect::<Vec<_>>())
        };
        let long = "a: 1234567890123456789";
        let mut seen =
            vec![of(&[]), of(&[("a", "")]), of(&[("", "a")]), of(&[("a", "\0")]), of(&[("a", ""), ("b", "")])];
        for at in 0..long.len() {
            let mut changed = long.to_owned();
            changed.replace_range(at..=at, "x");
            seen.push(of(&[("f", &changed)]));
            seen.push(of(&[("f", &long[..at])]));
            seen.push(of(&[("f", &long[..at]), ("", &long[at..])]));
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }
}
