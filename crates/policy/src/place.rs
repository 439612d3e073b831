//! Where in the user's documents something stands.
//!
//! Does not: read files.

use std::fmt;
use std::sync::Arc;

/// A place in a document: file (or `<stdin>`), line and column, both from 1. Line 0 means "nowhere": a default.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

impl Place {
    /// The place of what no document says: a built-in default.
    pub fn nowhere() -> Self {
        Self { file: Arc::from(""), line: 0, column: 0 }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::nowhere()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str("(default)") } else { write!(f, "{}:{}:{}", self.file, self.line, self.column) }
    }
}
