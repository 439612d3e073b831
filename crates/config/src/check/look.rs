//! A lenient look at nodes: what is missing or of another shape is `None`; the reader has reported it already.

use crate::duration;
use crate::problem::{Code, Problem};
use crate::yaml::{Key, Node, Value};
use std::sync::Arc;
use std::time::Duration;
use weir_policy::place::Place;

/// A value, the name of the field that holds it, and its file.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    node: &'a Node,
    key: Option<&'a Key>,
    file: &'a Arc<str>,
}

impl<'a> Look<'a> {
    pub(super) const fn new(node: &'a Node, file: &'a Arc<str>) -> Self {
        Self { node, key: None, file }
    }

    /// The value at a path of field names, such as `tcp.tcpKeepalive.time`; a null is none.
    pub(super) fn get(self, path: &str) -> Option<Self> {
        path.split('.').try_fold(self, Self::field)
    }

    /// The value of one field, whose name may hold dots.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        let Value::Map(entries) = &self.node.value else { return None };
        let (key, node) = entries.iter().find(|(key, _)| key.text == name)?;
        (!node.is_null()).then_some(Self { node, key: Some(key), file: self.file })
    }

    pub(super) fn has(self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// The items of a list; none when it is something else.
    pub(super) fn items(self) -> impl Iterator<Item = Self> {
        let items: &[Node] = if let Value::List(items) = &self.node.value { items } else { &[] };
        items.iter().map(move |node| Self { node, key: None, file: self.file })
    }

    pub(super) fn items_at(self, path: &str) -> impl Iterator<Item = Self> {
        self.get(path).into_iter().flat_map(Self::items)
    }

    /// The entries of a mapping; none when it is something else.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a str, Self)> {
        let entries: &[(Key, Node)] = if let Value::Map(entries) = &self.node.value { entries } else { &[] };
        entries.iter().map(move |(key, node)| (key.text.as_str(), Self { node, key: Some(key), file: self.file }))
    }

    /// Labels and the like: pairs of texts.
    pub(super) fn pairs(self) -> Vec<(String, String)> {
        let pairs = self.entries().filter_map(|(key, value)| Some((key.to_owned(), value.text()?.to_owned())));
        pairs.collect()
    }

    pub(super) fn text(self) -> Option<&'a str> {
        if let Value::Scalar(text, _) = &self.node.value { Some(text) } else { None }
    }

    pub(super) fn text_at(self, path: &str) -> Option<&'a str> {
        self.get(path)?.text()
    }

    pub(super) fn number(self) -> Option<u64> {
        self.text()?.parse().ok()
    }

    pub(super) fn number_at(self, path: &str) -> Option<u64> {
        self.get(path)?.number()
    }

    pub(super) fn duration_at(self, path: &str) -> Option<Duration> {
        duration::parse(self.text_at(path)?)
    }

    pub(super) fn is_true_at(self, path: &str) -> bool {
        self.text_at(path).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// Equal values, wherever they stand.
    pub(super) fn same(self, other: Self) -> bool {
        same(self.node, other.node)
    }

    /// Where the field's name stands, else the value.
    pub(super) fn place(self) -> Place {
        let (line, column) = self.key.map_or((self.node.line, self.node.column), |key| (key.line, key.column));
        Place { file: Arc::clone(self.file), line, column }
    }

    /// Where the value stands.
    pub(super) fn value_place(self) -> Place {
        Place { file: Arc::clone(self.file), line: self.node.line, column: self.node.column }
    }

    /// A problem here.
    pub(super) fn problem(self, code: Code, words: impl Into<String>) -> Problem {
        let text = self.key.map(|key| key.text.as_str()).or_else(|| self.text());
        let length = text.map_or(1, |text| text.chars().count().clamp(1, 200) as u32);
        Problem { length, ..Problem::new(code, self.place(), words) }
    }
}

fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar(a, _), Value::Scalar(b, _)) => a == b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            let in_b = |key: &Key| b.iter().find(|(other, _)| other.text == key.text).map(|(_, node)| node);
            a.len() == b.len() && a.iter().all(|(key, node)| in_b(key).is_some_and(|other| same(node, other)))
        }
        _ => false,
    }
}
