//! Texts apart into documents, documents into nodes: each node knows its line and column.
//!
//! ```text
//!   events of saphyr-parser ─► nodes, within bounds on depth, count and alias copies
//! ```
//! Does not: know kinds or types; a scalar keeps its text and whether it was quoted.

use crate::bundle::Text;
use crate::problem::{Code, Few, Problem};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use weir_policy::place::Place;

mod split;

pub use split::{Chunk, split};

/// Levels of nesting.
const DEPTH: usize = 64;
/// Nodes of one text, copies by aliases included.
const NODES: usize = 4_000_000;
/// Nodes that aliases may add to one text.
const COPIES: usize = 100_000;
/// Values of one document: the nodes of more would take too much memory.
const DOCUMENT: usize = 500_000;

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// From 1.
    pub line: u32,
    pub column: u32,
    pub value: Value,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Scalar(String, Style),
    List(Vec<Node>),
    /// In order; keys are scalars.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    pub line: u32,
    pub column: u32,
    pub text: String,
}

/// Whether a scalar was quoted: `"1"` is a string, `1` a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Plain,
    Quoted,
}

impl Node {
    /// Is it YAML's null: nothing, `~` or `null`?
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, Style::Plain) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Nodes in it, itself included.
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(..) => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| 1 + node.size()).sum(),
        }
    }
}

/// The documents of a text. What follows a syntax error in a document is lost, and the problem says so.
pub fn read(name: &Arc<str>, text: &str, problems: &mut Vec<Problem>) -> Vec<Node> {
    if let Some(problem) = too_large(name, text) {
        problems.push(problem);
        return Vec::new();
    }
    let (mut size, mut few) = (Size::default(), Few::default());
    let mut out = Vec::new();
    for chunk in split(text) {
        let read = read_chunk(name, chunk, size, &mut few);
        size.nodes += read.size.nodes;
        size.copies += read.size.copies;
        out.extend(read.documents);
    }
    problems.extend(few.rest());
    problems.extend(few.problems);
    out
}

/// A text that is not read at all.
pub fn too_large(name: &Arc<str>, text: &str) -> Option<Problem> {
    let place = Place { file: Arc::clone(name), line: 1, column: 1 };
    let words = format!("the text has {} bytes; at most {} are read", text.len(), Text::LARGEST);
    (text.len() > Text::LARGEST).then(|| Problem::new(Code::Bounds, place, words).hint("split it into several files"))
}

/// How much was read.
#[derive(Clone, Copy, Default, Debug)]
pub struct Size {
    pub nodes: usize,
    /// Nodes that aliases added.
    pub copies: usize,
}

/// What was read of a [`Chunk`].
pub struct Read {
    pub documents: Vec<Node>,
    pub size: Size,
}

/// The documents of a part of a text, of which so much was read `before`.
pub fn read_chunk(name: &Arc<str>, chunk: Chunk<'_>, before: Size, problems: &mut Few) -> Read {
    let place = |line: u32, column| Place { file: Arc::clone(name), line: line.max(1) + chunk.line - 1, column };
    let text = chunk.text.strip_prefix('\u{feff}').unwrap_or(chunk.text);
    let most = (before.nodes + DOCUMENT).min(NODES);
    let mut builder = Builder { size: before, most, first: chunk.line - 1, ..Builder::default() };
    for event in Parser::new_from_str(text) {
        let stop = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(why) => {
                let mark = why.marker();
                let words = format!("this is not YAML: {}; the rest of the document is not read", why.info());
                Err(Stop { code: Code::Syntax, line: mark.line() as u32, column: mark.col() as u32 + 1, words })
            }
        };
        if let Err(stop) = stop {
            problems.add(Problem::new(stop.code, place(stop.line, stop.column), stop.words));
            break;
        }
    }
    for (line, column, key) in builder.duplicates {
        let words = format!("the key `{key}` stands twice in one mapping");
        let at = Place { file: Arc::clone(name), line, column };
        problems.add(Problem::new(Code::DuplicateKey, at, words).hint("keep one of them"));
    }
    let Size { nodes, copies } = builder.size;
    Read { documents: builder.documents, size: Size { nodes: nodes - before.nodes, copies: copies - before.copies } }
}

/// Why reading ends; the line counts from the start of the chunk.
struct Stop {
    code: Code,
    line: u32,
    column: u32,
    words: String,
}

/// A collection that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<Key>,
    /// The keys of a mapping that has many.
    keys: HashSet<String>,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    size: Size,
    /// More nodes than this are refused.
    most: usize,
    /// Lines before this part of the text.
    first: u32,
    duplicates: Vec<(u32, u32, String)>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let (own, column) = (span.start.line() as u32, span.start.col() as u32 + 1);
        let line = self.first + own;
        let stop = |code, words: &str| Err(Stop { code, line: own, column, words: words.to_owned() });
        self.size.nodes += 1;
        if self.size.nodes > self.most {
            return stop(Code::Bounds, "too many values: at most 500,000 in a document, 4,000,000 in a text");
        }
        let open = |value, anchor| Open { node: Node { line, column, value }, anchor, key: None, keys: HashSet::new() };
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, _) => {
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
                let node = Node { line, column, value: Value::Scalar(text.into_owned(), style) };
                return self.close(node, anchor);
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if self.stack.len() >= DEPTH => {
                return stop(Code::Bounds, "the text is nested too deeply (64 levels)");
            }
            Event::SequenceStart(anchor, _) => self.stack.push(open(Value::List(Vec::new()), anchor)),
            Event::MappingStart(anchor, _) => self.stack.push(open(Value::Map(Vec::new()), anchor)),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.stack.pop() {
                    return self.close(open.node, open.anchor);
                }
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return stop(Code::Bounds, "this alias refers to itself or to nothing");
                };
                let size = node.size();
                self.size.copies += size;
                self.size.nodes += size;
                if self.size.copies > COPIES || self.size.nodes > self.most {
                    return stop(Code::Bounds, "aliases make this text too large");
                }
                return self.close(Node { line, column, ..node }, 0);
            }
        }
        Ok(())
    }

    /// A value is complete: puts it where it belongs.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.stack.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut parent.node.value {
            Value::List(items) => items.push(node),
            Value::Scalar(..) => {}
            Value::Map(entries) => match parent.key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Value::Scalar(text, _) = node.value else {
                        let words = "a key must be a single value".to_owned();
                        let line = node.line - self.first;
                        return Err(Stop { code: Code::Syntax, line, column: node.column, words });
                    };
                    if is_known(entries, &mut parent.keys, &text) {
                        self.duplicates.push((node.line, node.column, text.clone()));
                    }
                    parent.key = Some(Key { line: node.line, column: node.column, text });
                }
            },
        }
        Ok(())
    }
}

/// Mappings with more keys than this get a set of them, so that a huge one stays cheap.
const FEW: usize = 32;

fn is_known(entries: &[(Key, Node)], keys: &mut HashSet<String>, text: &str) -> bool {
    if entries.len() < FEW {
        return entries.iter().any(|(known, _)| known.text == text);
    }
    if keys.is_empty() {
        keys.extend(entries.iter().map(|(known, _)| known.text.clone()));
    }
    !keys.insert(text.to_owned())
}

#[cfg(test)]
mod tests;
