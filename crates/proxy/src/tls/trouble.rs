//! What is wrong with keys, for a person.

use std::fmt;
use weir_policy::place::Place;

/// Keys that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// Of the setting that names them.
    pub place: Place,
    pub words: String,
    pub hint: &'static str,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.place, self.words, self.hint)
    }
}

/// What is wrong, before it is known where it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(super) words: String,
    pub(super) hint: &'static str,
}

impl Fault {
    pub(super) fn new(words: impl Into<String>, hint: &'static str) -> Self {
        Self { words: words.into(), hint }
    }

    pub(super) fn at(self, place: &Place) -> Trouble {
        Trouble { place: place.clone(), words: self.words, hint: self.hint }
    }
}
