//! Protobuf messages as YAML: both spellings of names, and a path for every word of refusal.
//!
//! ```text
//!   value ─ snake ─► the same tree with `fillInterval` written `fill_interval` ─► Message ─ end ─► what is left is refused
//! ```
//! Does not: know Envoy's messages; its siblings do.

use crate::decode::{At, Object, Sink, similar};
use crate::problem::{Code, Problem};
use crate::yaml::{Node, Value};
use std::time::Duration;
use weir_policy::share::Share;

/// The tree with every name of a field in `snake_case`. Keys that are no such names (`@type`, names of filters) stay.
pub fn snake(node: &Node) -> Node {
    let value = match &node.value {
        Value::Scalar(..) => node.value.clone(),
        Value::List(items) => Value::List(items.iter().map(snake).collect()),
        Value::Map(entries) => Value::Map(
            entries
                .iter()
                .map(|(key, node)| (crate::yaml::Key { text: snake_name(&key.text), ..key.clone() }, snake(node)))
                .collect(),
        ),
    };
    Node { value, ..*node }
}

fn snake_name(name: &str) -> String {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(character.to_ascii_lowercase());
    }
    out
}

/// One message under strict reading.
pub struct Message<'a> {
    pub object: Object<'a>,
    /// Where it stands, for people: `HTTP_ROUTE.route.retry_policy`.
    pub path: String,
}

impl<'a> Message<'a> {
    pub fn of(node: &'a Node, name: &'static str, path: String, sink: &'a Sink) -> Option<Self> {
        Some(Self { object: Object::of(node, name, sink)?, path })
    }

    pub fn message(&self, name: &'static str) -> Option<Self> {
        Some(Self { object: self.object.object(name)?, path: self.path_of(name) })
    }

    pub fn messages(&self, name: &'static str) -> Vec<Self> {
        let item = |(at, object)| Self { object, path: format!("{}.{name}[{at}]", self.path) };
        self.object.objects(name).enumerate().map(item).collect()
    }

    pub fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// A UInt32Value or uint32; protobuf's JSON lets it be a string too, Envoy's users do not write it so.
    pub fn count(&self, name: &'static str) -> Option<u32> {
        self.object.number(name, 0, i64::from(u32::MAX)).map(|number| number.value as u32)
    }

    pub fn length(&self, name: &'static str, least: Duration) -> Option<Duration> {
        self.object.duration(name, least).map(|length| length.value)
    }

    pub fn text(&self, name: &'static str) -> Option<String> {
        self.object.text(name).map(|text| text.value)
    }

    /// A FractionalPercent: `{ numerator, denominator }`.
    pub fn fraction(&self, name: &'static str) -> Option<Share> {
        let fraction = self.message(name)?;
        let numerator = fraction.count("numerator").unwrap_or(0);
        let words = [("HUNDRED", 100), ("TEN_THOUSAND", 10_000), ("MILLION", 1_000_000)];
        let denominator = fraction.object.word("denominator", &words).map_or(100, |word| word.value);
        fraction.end();
        Some(Share::of_fraction(numerator, denominator))
    }

    /// A RuntimeFractionalPercent; its `runtime_key` names nothing here.
    pub fn runtime_fraction(&self, name: &'static str) -> Option<Share> {
        let fraction = self.message(name)?;
        let share = fraction.fraction("default_value");
        fraction.object.text("runtime_key");
        fraction.end();
        Some(share.unwrap_or(Share::NONE))
    }

    /// A problem with a field of it.
    pub fn refuse(&self, name: &str, words: impl Into<String>) -> Problem {
        self.object.problem(Code::Value, name, words)
    }

    /// All that weir knows was asked for: whatever is left is refused, with its path.
    pub fn end(&self) {
        for key in self.object.left() {
            let words = format!("`{}.{}` is not in weir's subset of EnvoyFilter", self.path, key.text);
            let place = self.object.sink.place(key.line, key.column);
            let length = key.text.chars().count().max(1) as u32;
            let known = self.object.known();
            let hint = similar(&key.text, &known)
                .unwrap_or_else(|| format!("here it has {}; see the page on EnvoyFilter", known.join(", ")));
            self.object.sink.add(Problem { length, ..Problem::new(Code::OutsideSubset, place, words) }.hint(hint));
        }
    }

    /// A field that must be one of a filter's names or types; `true` when it is.
    pub fn is_type(&self, wanted: &[&str]) -> bool {
        let Some(At { value, place }) = self.object.text("@type") else {
            let words = format!("`{}` needs `@type`", self.path);
            self.object.sink.add(Problem::new(Code::Missing, self.object.place(), words));
            return false;
        };
        let name = value.rsplit('/').next().unwrap_or_default();
        let known = wanted.contains(&name);
        if !known {
            let words = format!("`{}` of the type `{name}` is not in weir's subset of EnvoyFilter", self.path);
            let hint = format!("here it can be {}", wanted.join(" or "));
            self.object.sink.add(Problem::new(Code::OutsideSubset, place, words).hint(hint));
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_snake_case_and_others_stay() {
        assert_eq!(snake_name("fillInterval"), "fill_interval");
        assert_eq!(snake_name("consecutive5xx"), "consecutive5xx");
        for name in ["@type", "envoy.filters.http.fault", "fill_interval", "max_tokens"] {
            assert_eq!(snake_name(name), name);
        }
    }
}
