//! The shape of every kind: names, types, bounds. The API server's part of validation; `kind` has istiod's.
//!
//! ```text
//!   istio.txt (made by scripts/schema.py)  others.txt  ours.txt ─► read ─► Shape ─► check(node) ─► problems
//! ```
//! One line a field: `name TYPE bounds`, nested by indentation. `[](1..16)` and `{}` in front of a type make a list
//! and a map of it; `@name` is a shared `type`; `!one a b` says that at most one of the fields can be given; `open`
//! objects may have fields that we do not know. `at KIND path` adds fields of ours to a kind of Istio's.
//!
//! Does not: know what a field means, nor rules over several fields.

mod check;
mod read;

pub use check::check;

use std::sync::{Arc, LazyLock};

/// A kind and the shape of its `spec` (or of its body, where it has none).
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub group: &'static str,
    pub versions: Vec<&'static str>,
    pub fields: Arc<Fields>,
}

/// The fields of a mapping.
#[derive(Default, Debug)]
pub struct Fields {
    /// By name.
    pub fields: Vec<Field>,
    /// Sets of fields of which at most one can be given.
    pub exclusive: Vec<Vec<&'static str>>,
    pub unknown: Unknown,
}

/// What becomes of fields that the schema has not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Unknown {
    #[default]
    Refused,
    Allowed,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub need: Need,
    pub origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    Required,
    Optional,
}

/// Whose field it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The kind's own.
    Own,
    /// Added to a kind of Istio's by us.
    Added,
}

/// What a value can be.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Length in characters, and a pattern that the whole text matches.
    Text {
        least: usize,
        most: usize,
        pattern: Option<&'static str>,
    },
    /// Base64.
    Bytes,
    /// Go's durations, ≥ 1 ms.
    Duration,
    Whole {
        low: i64,
        high: i64,
    },
    Number {
        low: f64,
        high: f64,
    },
    Truth,
    WholeOrText,
    Word(Vec<&'static str>),
    Any,
    Object(Arc<Fields>),
    List {
        least: usize,
        most: usize,
        item: Box<Shape>,
    },
    Map {
        least: usize,
        most: usize,
        item: Box<Shape>,
    },
}

const ISTIO: &str = include_str!("istio.txt");
const OTHERS: &str = include_str!("others.txt");
const OURS: &str = include_str!("ours.txt");

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| read::read(&[ISTIO, OTHERS, OURS]));

/// Every kind that has a schema.
pub fn kinds() -> &'static [Kind] {
    &KINDS
}

/// The schema of a kind.
pub fn find(group: &str, name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name && kind.group == group)
}
