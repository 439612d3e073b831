//! Strict reading of nodes: every field is asked for by name; what nobody asked for is a problem.
//!
//! ```text
//!   Object ─ text / number / duration / list / object … ─► values with places
//!          └ end ─► unknown fields, each with "did you mean"
//! ```
//! Does not: stop at the first problem.

use crate::coverage::{Asked, Status};
use crate::duration;
use crate::problem::{Code, Few, Problem};
use crate::yaml::{Key, Node, Style, Value};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::place::Place;

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Where problems of one text go.
pub struct Sink {
    file: Arc<str>,
    problems: RefCell<Few>,
    /// What readers did with which fields; only for [`crate::coverage`].
    asked: Option<RefCell<Asked>>,
}

impl Sink {
    pub fn new(file: Arc<str>) -> Self {
        Self { file, problems: RefCell::default(), asked: None }
    }

    /// A sink that notes what is asked for.
    pub fn recording() -> Self {
        Self { asked: Some(RefCell::default()), ..Self::new("sample".into()) }
    }

    /// What was asked for.
    pub fn asked(self) -> Asked {
        self.asked.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Notes it; the worst that is said of a field counts.
    fn note(&self, node: &Node, name: &'static str, status: Status) {
        if let Some(asked) = &self.asked {
            let mut asked = asked.borrow_mut();
            let known = asked.entry((node.line, name)).or_insert(status);
            *known = status.max(*known);
        }
    }

    pub fn place(&self, line: u32, column: u32) -> Place {
        Place { file: Arc::clone(&self.file), line, column }
    }

    pub fn add(&self, problem: Problem) {
        self.problems.borrow_mut().add(problem);
    }

    /// A sink for another look at the same text.
    pub fn beside(&self) -> Self {
        Self::new(Arc::clone(&self.file))
    }

    /// Adds what another look found, less what is said here of the same place already. Several fields may be missing
    /// at one place.
    pub fn add_new(&self, other: Few) {
        let said = |problem: &Problem| {
            let same = |known: &Problem| known.code == problem.code && known.place == problem.place;
            problem.code != Code::Missing && self.problems.borrow().problems.iter().any(same)
        };
        let mut new = other;
        new.problems.retain(|problem| !said(problem));
        self.problems.borrow_mut().add_all(&new);
    }

    /// Refuses the value at a place.
    pub fn refuse(&self, place: &Place, words: impl Into<String>) {
        self.add(Problem::new(Code::Value, place.clone(), words));
    }

    pub fn take(self) -> Few {
        self.problems.into_inner()
    }

    pub(crate) fn at_node(&self, node: &Node) -> Place {
        self.place(node.line, node.column)
    }
}

/// A mapping under strict reading.
pub struct Object<'a> {
    pub sink: &'a Sink,
    node: &'a Node,
    entries: &'a [(Key, Node)],
    /// What it is, for the words of problems.
    what: &'static str,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Object<'a> {
    /// The node as a mapping; a null is an empty one. `None` (and a problem) when it is something else.
    pub fn of(node: &'a Node, what: &'static str, sink: &'a Sink) -> Option<Self> {
        let entries: &[_] = match &node.value {
            Value::Map(entries) => entries,
            _ if node.is_null() => &[],
            _ => {
                wrong_type(node, what, "a mapping", sink);
                return None;
            }
        };
        Some(Self { sink, node, entries, what, asked: RefCell::default() })
    }

    pub fn place(&self) -> Place {
        self.sink.at_node(self.node)
    }

    /// The mapping itself.
    pub const fn whole(&self) -> &'a Node {
        self.node
    }

    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The field's value, unless it is absent or null.
    pub fn node(&self, name: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().push(name);
        self.sink.note(self.node, name, Status::Enforced);
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// Where the field's name stands.
    pub fn place_of(&self, name: &str) -> Place {
        let key = self.entries.iter().find(|(key, _)| key.text == name).map(|(key, _)| key);
        key.map_or_else(|| self.place(), |key| self.sink.place(key.line, key.column))
    }

    pub fn problem(&self, code: Code, name: &str, words: impl Into<String>) -> Problem {
        Problem { length: name.len().max(1) as u32, ..Problem::new(code, self.place_of(name), words) }
    }

    /// Refuses the value of a field.
    pub fn refuse(&self, name: &str, words: impl Into<String>) {
        self.sink.add(self.problem(Code::Value, name, words));
    }

    pub fn has(&self, name: &'static str) -> bool {
        self.node(name).is_some()
    }

    pub fn text(&self, name: &'static str) -> Option<At<String>> {
        text(self.node(name)?, name, self.sink)
    }

    pub fn truth(&self, name: &'static str) -> Option<bool> {
        let node = self.node(name)?;
        match &node.value {
            Value::Scalar(text, Style::Plain) if matches!(text.as_str(), "true" | "True" | "TRUE") => Some(true),
            Value::Scalar(text, Style::Plain) if matches!(text.as_str(), "false" | "False" | "FALSE") => Some(false),
            _ => {
                wrong_type(node, name, "true or false", self.sink);
                None
            }
        }
    }

    /// A whole number within `low..=high`.
    pub fn number(&self, name: &'static str, low: i64, high: i64) -> Option<At<i64>> {
        number(self.node(name)?, name, low, high, self.sink)
    }

    /// A number that may have a fraction.
    pub fn fraction(&self, name: &'static str, low: f64, high: f64) -> Option<f64> {
        let node = self.node(name)?;
        let value = match &node.value {
            Value::Scalar(text, Style::Plain) => text.parse::<f64>().ok().filter(|value| value.is_finite()),
            _ => None,
        };
        let Some(value) = value else {
            wrong_type(node, name, "a number", self.sink);
            return None;
        };
        if !(low..=high).contains(&value) {
            let words = format!("`{name}` is {value}; it must be {low} to {high}");
            self.sink.add(Problem::new(Code::Value, self.sink.at_node(node), words));
            return None;
        }
        Some(value)
    }

    /// A duration of at least `least`, in whole milliseconds as Istio wants them, or zero where `least` is zero.
    pub fn duration(&self, name: &'static str, least: Duration) -> Option<At<Duration>> {
        let At { value, place } = self.text(name)?;
        let problem = match duration::parse(&value) {
            Some(length) if length < least => {
                format!("`{name}` is {value}; it must be at least {}", duration::show(least))
            }
            Some(length) if !length.subsec_nanos().is_multiple_of(1_000_000) => {
                format!("`{name}` is {value}; only whole milliseconds are supported")
            }
            Some(length) => return Some(At { value: length, place }),
            None => format!("`{name}: {value}` is not a duration"),
        };
        self.sink.add(Problem::new(Code::Duration, place, problem).hint("write it like `250ms`, `2s` or `1m30s`"));
        None
    }

    /// One of `words`.
    pub fn word<T: Copy>(&self, name: &'static str, words: &[(&str, T)]) -> Option<At<T>> {
        let At { value, place } = self.text(name)?;
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Some(At { value: *meaning, place }),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let hint = similar(&value, &known).unwrap_or_else(|| format!("it is one of {}", known.join(", ")));
                let words = format!("`{name}: {value}` is not known");
                let length = value.len().max(1) as u32;
                self.sink.add(Problem { length, ..Problem::new(Code::Value, place, words) }.hint(hint));
                None
            }
        }
    }

    pub fn object(&self, name: &'static str) -> Option<Object<'a>> {
        Object::of(self.node(name)?, name, self.sink)
    }

    /// The items of a list; empty when absent.
    pub fn list(&self, name: &'static str) -> &'a [Node] {
        match self.node(name) {
            None => &[],
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => {
                wrong_type(node, name, "a list", self.sink);
                &[]
            }
        }
    }

    pub fn objects(&self, name: &'static str) -> impl Iterator<Item = Object<'a>> {
        let sink = self.sink;
        self.list(name).iter().filter_map(move |node| Object::of(node, name, sink))
    }

    pub fn texts(&self, name: &'static str) -> Vec<At<String>> {
        self.list(name).iter().filter_map(|node| text(node, name, self.sink)).collect()
    }

    /// The entries of a mapping whose keys are the user's.
    pub fn map(&self, name: &'static str) -> &'a [(Key, Node)] {
        match self.node(name) {
            None => &[],
            Some(Node { value: Value::Map(entries), .. }) => entries,
            Some(node) => {
                wrong_type(node, name, "a mapping", self.sink);
                &[]
            }
        }
    }

    /// The fields that are given, of those named.
    pub fn given(&self, names: &[&'static str]) -> Vec<&'static str> {
        names.iter().copied().filter(|name| self.has(name)).collect()
    }

    /// A mapping of texts, such as labels.
    pub fn text_map(&self, name: &'static str) -> Vec<(String, String)> {
        let pair = |(key, node): &(Key, Node)| Some((key.text.clone(), text(node, name, self.sink)?.value));
        self.map(name).iter().filter_map(pair).collect()
    }

    /// A field that is understood and does nothing yet.
    pub fn later(&self, names: &[&'static str]) {
        self.unenforced(names);
        for name in names.iter().copied() {
            if self.has(name) {
                let words = format!("`{name}` is accepted and not enforced yet");
                self.sink.add(
                    self.problem(Code::NotEnforced, name, words)
                        .hint("remove it, or wait for a version that enforces it"),
                );
            }
        }
    }

    /// Fields that are understood and do nothing yet; another warning says so.
    pub fn unenforced(&self, names: &[&'static str]) {
        for name in names.iter().copied() {
            self.node(name);
            self.sink.note(self.node, name, Status::Later);
        }
    }

    /// Fields that are read for their correctness only; nothing is lost by it.
    pub fn without_effect(&self, names: &[&'static str]) {
        for name in names.iter().copied() {
            self.node(name);
            self.sink.note(self.node, name, Status::Checked);
        }
    }

    /// A field of ours that Istio has not.
    pub fn ours(&self, name: &'static str, istio: &str) {
        if self.has(name) {
            let words = format!("Istio has no `{name}` here: {istio}");
            self.sink.add(self.problem(Code::NotInIstio, name, words).hint("it works in weir"));
        }
    }

    /// A field that must be there.
    pub fn missing(&self, name: &str) {
        let words = format!("`{}` needs `{name}`", self.what);
        self.sink.add(Problem::new(Code::Missing, self.place(), words));
    }

    /// The fields that nobody asked for.
    pub fn left(&self) -> Vec<&'a Key> {
        let asked = self.asked.borrow();
        self.entries.iter().map(|(key, _)| key).filter(|key| !asked.contains(&key.text.as_str())).collect()
    }

    /// The fields that were asked for, each once.
    pub fn known(&self) -> Vec<&'static str> {
        let mut known = self.asked.borrow().clone();
        known.sort_unstable();
        known.dedup();
        known
    }

    /// All fields were asked for: whatever is left is unknown.
    pub fn end(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.entries {
            if asked.contains(&key.text.as_str()) {
                continue;
            }
            let words = format!("`{}` has no field `{}`", self.what, key.text);
            let place = self.sink.place(key.line, key.column);
            let length = key.text.chars().count().max(1) as u32;
            let problem = Problem { length, ..Problem::new(Code::UnknownField, place, words) };
            let hint = similar(&key.text, &asked).unwrap_or_else(|| {
                let mut known = asked.clone();
                known.sort_unstable();
                known.dedup();
                format!("it has {}", known.join(", "))
            });
            self.sink.add(problem.hint(hint));
        }
    }
}

/// A string: a plain scalar that YAML reads as something else is refused, as the Kubernetes API would refuse it.
pub fn text(node: &Node, name: &str, sink: &Sink) -> Option<At<String>> {
    match &node.value {
        Value::Scalar(text, style) if *style == Style::Quoted || !is_typed(text) => {
            Some(At { value: text.clone(), place: sink.at_node(node) })
        }
        Value::Scalar(text, _) => {
            let words = format!("`{name}` must be a string, and YAML reads `{text}` as something else");
            let length = text.len().max(1) as u32;
            let problem = Problem { length, ..Problem::new(Code::WrongType, sink.at_node(node), words) };
            sink.add(problem.hint(format!("quote it: \"{text}\"")));
            None
        }
        _ => {
            wrong_type(node, name, "a string", sink);
            None
        }
    }
}

/// A whole number within bounds.
pub fn number(node: &Node, name: &str, low: i64, high: i64, sink: &Sink) -> Option<At<i64>> {
    let value = match &node.value {
        Value::Scalar(text, Style::Plain) => text.parse::<i64>().ok().or_else(|| whole(text)),
        _ => None,
    };
    let Some(value) = value else {
        wrong_type(node, name, "a whole number", sink);
        return None;
    };
    if !(low..=high).contains(&value) {
        let words = format!("`{name}` is {value}; it must be {low} to {high}");
        sink.add(Problem::new(Code::Value, sink.at_node(node), words));
        return None;
    }
    Some(At { value, place: sink.at_node(node) })
}

/// `80.0` and `8e1` are whole numbers too, as in JSON.
fn whole(text: &str) -> Option<i64> {
    let exact = 9e15;
    let value = text.parse::<f64>().ok().filter(|value| value.fract() == 0.0 && (-exact..=exact).contains(value))?;
    Some(value as i64)
}

/// Would YAML 1.1 (as Kubernetes reads it) take this plain scalar for a number, a truth value or null?
fn is_typed(text: &str) -> bool {
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && (text.parse::<f64>().is_ok()
            || text.strip_prefix("0x").is_some_and(|hex| i64::from_str_radix(hex, 16).is_ok()));
    number
        || matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE" | "null" | "Null" | "NULL" | "~" | "")
}

/// "must be …; this is …"
pub(crate) fn wrong_type(node: &Node, name: &str, wanted: &str, sink: &Sink) {
    let is = match &node.value {
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
        Value::Scalar(text, _) => format!("`{text}`"),
    };
    sink.add(Problem::new(Code::WrongType, sink.at_node(node), format!("`{name}` must be {wanted}; this is {is}")));
}

/// "did you mean `x`?", when some known word is close.
pub fn similar(word: &str, known: &[&str]) -> Option<String> {
    let word_lower = word.to_lowercase();
    let scored =
        known.iter().map(|candidate| (strsim::damerau_levenshtein(&word_lower, &candidate.to_lowercase()), *candidate));
    let (distance, best) = scored.min()?;
    (distance <= 1 + word.len() / 4).then(|| format!("did you mean `{best}`?"))
}

/// Would [`similar`] take `known` for what `word` means?
pub fn similarity(word: &str, known: &str) -> bool {
    similar(word, &[known]).is_some()
}
