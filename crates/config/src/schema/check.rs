//! A node against its shape: types, words, ranges, lengths, what is required, what excludes what, unknown fields.

use super::{Fields, Kind, Need, Shape, Unknown};
use crate::decode::{Object, Sink, number, similar, text, wrong_type};
use crate::duration;
use crate::problem::{Code, Problem};
use crate::yaml::{Node, Style, Value};
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// Reports everything in a spec that its schema does not allow.
pub fn check(kind: &'static Kind, spec: &Node, sink: &Sink) {
    object(&kind.fields, spec, kind.name, sink);
}

fn object(fields: &'static Fields, node: &Node, what: &'static str, sink: &Sink) {
    let Some(written) = Object::of(node, what, sink) else { return };
    for field in &fields.fields {
        match written.node(field.name) {
            Some(node) => value(&field.shape, node, field.name, sink),
            None if field.need == Need::Required => written.missing(field.name),
            None => {}
        }
    }
    for names in &fields.exclusive {
        let given: Vec<&str> = names.iter().copied().filter(|name| written.has(name)).collect();
        for second in given.iter().skip(1) {
            let words = format!("`{}` and `{second}` exclude each other", given[0]);
            sink.add(written.problem(Code::Conflict, second, words));
        }
    }
    if fields.unknown == Unknown::Refused {
        written.end();
    }
}

fn value(shape: &'static Shape, node: &Node, name: &'static str, sink: &Sink) {
    match shape {
        Shape::Any => {}
        Shape::Object(fields) => object(fields, node, name, sink),
        Shape::Text { least, most, pattern } => {
            if let Some(found) = text(node, name, sink) {
                let length = found.value.chars().count();
                bounded(length, *least, *most, "characters", node, name, sink);
                if let Some(pattern) = pattern
                    && !matches(pattern, &found.value)
                {
                    refuse(format!("`{name}: {}` is not allowed", found.value), node, sink);
                }
            }
        }
        Shape::Bytes => {
            text(node, name, sink);
        }
        Shape::Duration => duration(node, name, sink),
        Shape::Whole { low, high } => {
            number(node, name, *low, *high, sink);
        }
        Shape::Number { low, high } => fraction(node, name, *low, *high, sink),
        Shape::Truth => {
            let words = ["true", "True", "TRUE", "false", "False", "FALSE"];
            if !matches!(&node.value, Value::Scalar(text, Style::Plain) if words.contains(&text.as_str())) {
                wrong_type(node, name, "true or false", sink);
            }
        }
        Shape::WholeOrText => {
            if !matches!(node.value, Value::Scalar(..)) {
                wrong_type(node, name, "a number or a string", sink);
            }
        }
        Shape::Word(words) => word(words, node, name, sink),
        Shape::List { least, most, item } => {
            let Value::List(items) = &node.value else { return wrong_type(node, name, "a list", sink) };
            bounded(items.len(), *least, *most, "items", node, name, sink);
            items.iter().for_each(|node| inner(item, node, name, sink));
        }
        Shape::Map { least, most, item } => {
            let Value::Map(entries) = &node.value else { return wrong_type(node, name, "a mapping", sink) };
            bounded(entries.len(), *least, *most, "entries", node, name, sink);
            entries.iter().for_each(|(_, node)| inner(item, node, name, sink));
        }
    }
}

/// An item of a list or a map: unlike a field, it cannot be left empty.
fn inner(shape: &'static Shape, node: &Node, name: &'static str, sink: &Sink) {
    if node.is_null() && is_all(shape) {
        // Istio takes it for a block without conditions.
    } else if node.is_null() && !matches!(shape, Shape::Any) {
        refuse(format!("an item of `{name}` is empty"), node, sink);
    } else {
        value(shape, node, name, sink);
    }
}

/// Is it a block of `http[].match`?
fn is_all(shape: &Shape) -> bool {
    matches!(shape, Shape::Object(fields) if fields.fields.iter().any(|field| field.name == "withoutHeaders"))
}

fn refuse(words: String, node: &Node, sink: &Sink) {
    sink.add(Problem::new(Code::Value, sink.at_node(node), words));
}

fn bounded(count: usize, least: usize, most: usize, of: &str, node: &Node, name: &str, sink: &Sink) {
    if count < least || count > most {
        let most = if most == usize::MAX { "no limit".to_owned() } else { most.to_string() };
        refuse(format!("`{name}` has {count} {of}; it can have {least} to {most}"), node, sink);
    }
}

fn duration(node: &Node, name: &str, sink: &Sink) {
    let Some(found) = text(node, name, sink) else { return };
    if duration::parse(&found.value).is_none_or(|length| length < Duration::from_millis(1)) {
        let words = match duration::parse(&found.value) {
            Some(_) => format!("`{name}` is {}; it must be at least 1ms", found.value),
            None => format!("`{name}: {}` is not a duration", found.value),
        };
        let problem = Problem::new(Code::Duration, found.place, words);
        sink.add(problem.hint("write it like `250ms`, `2s` or `1m30s`"));
    }
}

fn fraction(node: &Node, name: &str, low: f64, high: f64, sink: &Sink) {
    let found = match &node.value {
        Value::Scalar(text, Style::Plain) => text.parse::<f64>().ok().filter(|value| value.is_finite()),
        _ => None,
    };
    match found {
        None => wrong_type(node, name, "a number", sink),
        Some(value) if !(low..=high).contains(&value) => {
            refuse(format!("`{name}` is {value}; it must be {low} to {high}"), node, sink);
        }
        Some(_) => {}
    }
}

fn word(words: &[&str], node: &Node, name: &str, sink: &Sink) {
    let Some(found) = text(node, name, sink) else { return };
    if !words.contains(&found.value.as_str()) {
        let hint = similar(&found.value, words).unwrap_or_else(|| format!("it is one of {}", words.join(", ")));
        let length = found.value.len().max(1) as u32;
        let words = format!("`{name}: {}` is not known", found.value);
        sink.add(Problem { length, ..Problem::new(Code::Value, found.place, words) }.hint(hint));
    }
}

thread_local! {
    /// The schema has few patterns; each is compiled once a thread.
    static PATTERNS: RefCell<HashMap<&'static str, Option<Regex>>> = RefCell::default();
}

fn matches(pattern: &'static str, text: &str) -> bool {
    PATTERNS.with_borrow_mut(|known| {
        let compiled = known.entry(pattern).or_insert_with(|| Regex::new(pattern).ok());
        compiled.as_ref().is_none_or(|regex| regex.is_match(text))
    })
}
