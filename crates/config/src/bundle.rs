//! What is compiled: texts with their names, and what the command line says.

use std::sync::Arc;
use weir_policy::plan::Compatibility;

/// One file (or stdin).
#[derive(Clone, Debug)]
pub struct Text {
    /// As shown in problems.
    pub name: Arc<str>,
    /// Shared: a file that did not change is the very same text.
    pub text: Arc<str>,
}

impl Text {
    /// Bytes; a larger one is refused unread.
    pub const LARGEST: usize = 64 << 20;
}

/// Everything a plan is compiled from, in path order.
#[derive(Clone, Default, Debug)]
pub struct Bundle {
    pub texts: Vec<Text>,
    pub options: Options,
}

/// What is not in the documents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Overrides `Mesh.spec.compatibility`.
    pub compatibility: Option<Compatibility>,
    /// The namespace of this workload: its short names are reachable by themselves.
    pub namespace: String,
    /// The labels of this workload, for `sourceLabels` and selectors.
    pub labels: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { compatibility: None, namespace: "default".to_owned(), labels: Vec::new() }
    }
}
