//! Where each field of a block stands, by its path: what origins are made of.
//!
//! ```text
//!   http[2]:  timeout ─► 14:5   retries.attempts ─► 16:7   route.0.weight ─► 12:7
//! ```
//! A block keeps one of these beside its values; merging treats both alike ([`Fields::fill`], [`Fields::inherit`]). A path
//! is kept as its hash: ten thousand rules have many of them. Does not: keep values.

use crate::decode::Object;
use crate::yaml::{Node, Value};
use weir_policy::origin::{Origins, Source};
use weir_policy::place::Place;

/// Levels below the block.
const DEPTH: usize = 6;
/// Fields of one block; those behind are not found.
const MOST: usize = 512;

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Fields(Vec<Field>);

#[derive(Clone, Debug)]
struct Field {
    path: u64,
    /// The first word of the path.
    block: u64,
    place: Place,
}

/// FNV-1a; nothing depends on it but the place that a person is shown.
fn hash(before: u64, text: &str) -> u64 {
    text.bytes().fold(before, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

fn below(before: u64, word: &str) -> u64 {
    if before == EMPTY { hash(before, word) } else { hash(hash(before, "."), word) }
}

impl Fields {
    /// The fields of a block, less those whose first word is in `skip`.
    pub fn of(block: &Object<'_>, skip: &[&str]) -> Self {
        let mut fields = Self::default();
        if let Value::Map(entries) = &block.whole().value {
            for (key, node) in entries.iter().filter(|(key, _)| !skip.contains(&key.text.as_str())) {
                let path = below(EMPTY, &key.text);
                fields.add(path, path, block.sink.place(key.line, key.column));
                fields.walk(node, path, path, block, DEPTH);
            }
        }
        fields.0.shrink_to_fit();
        fields
    }

    /// `from` is another name for `to`, where that is not written itself.
    #[must_use]
    pub fn alias(mut self, block: &Object<'_>, from: &[&str], to: &str) -> Self {
        let mut node = Some(block.whole());
        for word in from {
            node = node.and_then(|node| match &node.value {
                Value::Map(entries) => entries.iter().find(|(key, _)| key.text == *word).map(|(_, node)| node),
                _ => None,
            });
        }
        let path = below(EMPTY, to);
        if let Some(node) = node.filter(|_| self.find(path).is_none()) {
            self.add(path, path, block.sink.place(node.line, node.column));
            self.walk(node, path, path, block, DEPTH);
        }
        self
    }

    fn walk(&mut self, node: &Node, before: u64, top: u64, block: &Object<'_>, depth: usize) {
        if depth == 0 {
            return;
        }
        match &node.value {
            Value::Scalar(..) => {}
            Value::Map(entries) => {
                for (key, node) in entries {
                    let path = below(before, &key.text);
                    self.add(path, top, block.sink.place(key.line, key.column));
                    self.walk(node, path, top, block, depth - 1);
                }
            }
            Value::List(items) => {
                for (index, node) in items.iter().enumerate().take(MOST) {
                    let path = below(before, &index.to_string());
                    self.walk(node, path, top, block, depth - 1);
                }
            }
        }
    }

    fn add(&mut self, path: u64, block: u64, place: Place) {
        if self.0.len() < MOST {
            self.0.push(Field { path, block, place });
        }
    }

    fn find(&self, path: u64) -> Option<&Place> {
        self.0.iter().find(|field| field.path == path).map(|field| &field.place)
    }

    /// Where the field stands.
    pub fn place(&self, path: &str) -> Option<&Place> {
        self.find(hash(EMPTY, path))
    }

    /// Is the field written? Then it is the origin of that value.
    pub fn tell(&self, path: &str, origins: &mut Origins, name: &'static str, source: Source) {
        if let Some(place) = self.place(path) {
            origins.set(name, source, place.clone());
        }
    }

    /// Field by field: what this block leaves open is the other's; `whole` blocks are taken whole or not at all.
    pub fn fill(&mut self, other: &Self, whole: &[&str]) {
        let whole: Vec<u64> = whole.iter().map(|block| hash(EMPTY, block)).collect();
        let known = self.0.len();
        for field in &other.0 {
            let before = &self.0[..known];
            let taken = match whole.contains(&field.block) {
                true => before.iter().any(|own| own.block == field.block),
                false => before.iter().any(|own| own.path == field.path),
            };
            if !taken {
                self.0.push(field.clone());
            }
        }
    }

    /// Block by block: a block that this one has not at all is the other's.
    pub fn inherit(&mut self, other: &Self) {
        let own: Vec<u64> = self.0.iter().map(|field| field.block).collect();
        self.0.extend(other.0.iter().filter(|field| !own.contains(&field.block)).cloned());
    }

    /// These blocks are the other's, or nobody's.
    pub fn replace(&mut self, other: &Self, blocks: &[&str]) {
        let blocks: Vec<u64> = blocks.iter().map(|block| hash(EMPTY, block)).collect();
        self.0.retain(|field| !blocks.contains(&field.block));
        self.0.extend(other.0.iter().filter(|field| blocks.contains(&field.block)).cloned());
    }
}
