//! Which fields of which kinds do something today: what the readers ask for, not what somebody wrote in a table.
//!
//! ```text
//!   schema ─► a document with every field ─► the reader, noting what it asks for and what it gives up ─► rows
//! ```
//! A field is enforced when its reader asks for it and for everything around it, and says neither "later" nor "without
//! effect" of it. `tests/coverage.rs` changes every enforced field and looks for a change of the plan.

use crate::decode::{Object, Sink};
use crate::meta::{Document, KINDS, Use};
use crate::problem::Code;
use crate::schema::{self, Fields, Shape};
use crate::words::read_spec;
use crate::yaml::{Key, Node, Style, Value};
use std::collections::HashMap;

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Status {
    /// It changes what happens to traffic.
    Enforced,
    /// It is checked, and nothing depends on it here.
    Checked,
    /// It is checked, a warning is given, and nothing happens yet.
    Later,
}

impl Status {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Checked => "checked",
            Self::Later => "not yet",
        }
    }
}

/// A field with a value of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub kind: &'static str,
    pub group: &'static str,
    /// Under `spec`: `http[].retries.attempts`.
    pub path: String,
    pub status: Status,
}

/// What a reader did with the fields of the objects at each line.
pub type Asked = HashMap<(u32, &'static str), Status>;

/// Every field of every kind.
pub fn rows() -> Vec<Row> {
    schema::kinds().iter().flat_map(of_kind).collect()
}

/// What a reader asked for that the schema does not have: `path.name`.
pub fn strangers() -> Vec<String> {
    let known = |kind: &'static schema::Kind| {
        let sample = Sample::of(kind);
        let asked = asked(kind, &sample);
        let unknown = asked.keys().filter(|(line, name)| {
            let fields = sample.fields.get(line);
            fields.is_some_and(|fields| !fields.fields.iter().any(|field| field.name == *name))
        });
        unknown.map(|(line, name)| format!("{} {}.{name}", kind.name, sample.paths[line])).collect::<Vec<_>>()
    };
    let mut found: Vec<String> = schema::kinds().iter().flat_map(known).collect();
    found.sort();
    found
}

/// Fields of the schema that a reader refuses as unknown.
pub fn refused() -> Vec<String> {
    let unknown = |kind: &'static schema::Kind| {
        let sample = Sample::of(kind);
        let problems = run(kind, &sample, Sink::new("sample".into())).take().problems;
        let unknown = problems.into_iter().filter(|problem| problem.code == Code::UnknownField);
        unknown.map(|problem| format!("{}: {}", kind.name, problem.words)).collect::<Vec<_>>()
    };
    schema::kinds().iter().flat_map(unknown).collect()
}

fn of_kind(kind: &'static schema::Kind) -> Vec<Row> {
    let sample = Sample::of(kind);
    let asked = asked(kind, &sample);
    let mut out = Vec::new();
    leaves(&kind.fields, &sample.node, Status::Enforced, &asked, &mut |line, name, status| {
        let parent = &sample.paths[&line];
        let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        out.push(Row { kind: kind.name, group: kind.group, path, status });
    });
    out
}

/// Walks to the fields that hold values; `above` is the worst of what surrounds them.
fn leaves(
    fields: &'static Fields,
    node: &Node,
    above: Status,
    asked: &Asked,
    row: &mut dyn FnMut(u32, &'static str, Status),
) {
    let Value::Map(entries) = &node.value else { return };
    for field in &fields.fields {
        let status = asked.get(&(node.line, field.name)).copied().unwrap_or(Status::Later).max(above);
        let below = entries.iter().find(|(key, _)| key.text == field.name).map(|(_, node)| node);
        match (inner(&field.shape), below.map(innermost)) {
            (Shape::Object(fields), Some(node)) => leaves(fields, node, status, asked, row),
            _ => row(node.line, field.name, status),
        }
    }
}

/// The shape inside of lists and maps.
fn inner(shape: &'static Shape) -> &'static Shape {
    match shape {
        Shape::List { item, .. } | Shape::Map { item, .. } => inner(item),
        other => other,
    }
}

/// The sample's node inside of lists and maps: objects are known by their line, which is not 0.
fn innermost(node: &Node) -> &Node {
    match &node.value {
        Value::List(items) if node.line == 0 => items.first().map_or(node, innermost),
        Value::Map(entries) if node.line == 0 => entries.first().map_or(node, |(_, node)| innermost(node)),
        _ => node,
    }
}

/// Runs the kind's reader over the sample.
fn asked(kind: &'static schema::Kind, sample: &Sample) -> Asked {
    let Some(known) = KINDS.iter().find(|known| known.name == kind.name && known.group == kind.group) else {
        return Asked::new();
    };
    if matches!(known.use_, Use::Later | Use::LaterSecurity | Use::List) {
        return Asked::new();
    }
    run(kind, sample, Sink::recording()).asked()
}

fn run(kind: &'static schema::Kind, sample: &Sample, sink: Sink) -> Sink {
    let Some(known) = KINDS.iter().find(|known| known.name == kind.name && known.group == kind.group) else {
        return sink;
    };
    let frame = Sink::new("sample".into());
    let Some(body) = Object::of(&sample.node, "document", &frame) else { return sink };
    let labels = vec![("kubernetes.io/service-name".to_owned(), "it".to_owned())];
    let (name, namespace) = ("it".to_owned(), "default".to_owned());
    let place = frame.place(0, 0);
    let document = Document { kind: known, name, namespace, labels, annotations: Vec::new(), place, body };
    if let Some(spec) = Object::of(&sample.node, kind.name, &sink) {
        read_spec(&document, &spec);
    }
    sink
}

/// A document with every field; each object stands on a line of its own, everything else on line 0.
struct Sample {
    node: Node,
    paths: HashMap<u32, String>,
    fields: HashMap<u32, &'static Fields>,
}

impl Sample {
    fn of(kind: &'static schema::Kind) -> Self {
        let empty = Node { line: 0, column: 0, value: Value::Map(Vec::new()) };
        let mut out = Self { node: empty, paths: HashMap::new(), fields: HashMap::new() };
        out.node = out.object(&kind.fields, String::new());
        out
    }

    fn object(&mut self, fields: &'static Fields, path: String) -> Node {
        let line = self.paths.len() as u32 + 1;
        self.paths.insert(line, path.clone());
        self.fields.insert(line, fields);
        let entry = |field: &'static schema::Field| {
            let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
            (key(field.name), self.value(&field.shape, path))
        };
        let entries = fields.fields.iter().map(entry).collect();
        Node { line, column: 1, value: Value::Map(entries) }
    }

    fn value(&mut self, shape: &'static Shape, path: String) -> Node {
        let scalar = |text: &str, style| Value::Scalar(text.to_owned(), style);
        let value = match shape {
            Shape::Object(fields) => return self.object(fields, path),
            Shape::List { item, .. } => Value::List(vec![self.value(item, format!("{path}[]"))]),
            Shape::Map { item, .. } => Value::Map(vec![(key("a"), self.value(item, format!("{path}{{}}")))]),
            Shape::Text { .. } | Shape::WholeOrText | Shape::Any => scalar("a", Style::Quoted),
            Shape::Bytes => scalar("YQ==", Style::Quoted),
            Shape::Duration => scalar("1s", Style::Quoted),
            Shape::Whole { low, high } => scalar(&7.clamp(*low, *high).to_string(), Style::Plain),
            Shape::Number { low, high } => scalar(&7f64.clamp(*low, *high).to_string(), Style::Plain),
            Shape::Truth => scalar("true", Style::Plain),
            Shape::Word(words) => scalar(words.last().copied().unwrap_or_default(), Style::Quoted),
        };
        Node { line: 0, column: 0, value }
    }
}

fn key(name: &str) -> Key {
    Key { line: 0, column: 0, text: name.to_owned() }
}
