//! The schema's text to shapes. The text is ours and part of the program: `tests` read all of it.

use super::{Field, Fields, Kind, Need, Origin, Shape, Unknown};
use std::collections::HashMap;
use std::sync::Arc;

/// A line and the lines below it.
#[derive(Clone, Default)]
struct Line {
    words: Vec<&'static str>,
    below: Vec<Line>,
    added: bool,
}

/// Shared types by name, as lines and as they are made.
#[derive(Default)]
struct Types {
    lines: HashMap<&'static str, Vec<Line>>,
    made: HashMap<&'static str, Arc<Fields>>,
}

/// All kinds of the texts.
pub(super) fn read(texts: &[&'static str]) -> Vec<Kind> {
    let mut types = Types::default();
    let mut kinds: Vec<Line> = Vec::new();
    for text in texts {
        for line in nest(text) {
            match line.words.as_slice() {
                ["type", name] => {
                    types.lines.insert(name, line.below);
                }
                ["at", kind, path] => extend(&mut kinds, &mut types, kind, path, line.below),
                _ => kinds.push(line),
            }
        }
    }
    kinds.iter().filter_map(|line| kind(line, &mut types)).collect()
}

/// Lines by indentation, two spaces a level; `#` opens a comment.
fn nest(text: &'static str) -> Vec<Line> {
    let mut stack: Vec<Vec<Line>> = vec![Vec::new()];
    let written = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    for line in written {
        let depth = (line.len() - line.trim_start().len()) / 2;
        while stack.len() > depth + 1 {
            close(&mut stack);
        }
        while stack.len() < depth + 1 {
            stack.push(Vec::new());
        }
        let words = line.split_whitespace().collect();
        if let Some(lines) = stack.last_mut() {
            lines.push(Line { words, ..Line::default() });
        }
    }
    while stack.len() > 1 {
        close(&mut stack);
    }
    stack.pop().unwrap_or_default()
}

fn close(stack: &mut Vec<Vec<Line>>) {
    let below = stack.pop().unwrap_or_default();
    if let Some(parent) = stack.last_mut().and_then(|lines| lines.last_mut()) {
        parent.below = below;
    }
}

/// Adds fields of ours at a path of a kind, or writes one of Istio's anew.
fn extend(kinds: &mut [Line], types: &mut Types, kind: &str, path: &str, mut fields: Vec<Line>) {
    let Some(line) = kinds.iter_mut().find(|line| line.words.get(1) == Some(&kind)) else { return };
    let mut lines = &mut line.below;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let Some(next) = lines.iter_mut().find(|line| line.words.first() == Some(&part)) else { return };
        let shared = next.words.get(1).and_then(|word| word.split_once('@')).map(|(_, name)| name);
        lines = match shared {
            None => &mut next.below,
            Some(name) => match types.lines.get_mut(name) {
                Some(lines) => lines,
                None => return,
            },
        };
    }
    for field in &mut fields {
        let before = lines.len();
        lines.retain(|line| line.words.first() != field.words.first());
        field.added = lines.len() == before;
    }
    lines.extend(fields);
}

fn kind(line: &Line, types: &mut Types) -> Option<Kind> {
    let ["kind", name, group, versions @ ..] = line.words.as_slice() else { return None };
    let open = versions.contains(&"open");
    let versions = versions.iter().copied().filter(|word| *word != "open").collect();
    let group = if *group == "core" { "" } else { group };
    let mut made = fields(&line.below, types);
    if open {
        made.unknown = Unknown::Allowed;
    }
    Some(Kind { name, group, versions, fields: Arc::new(made) })
}

fn fields(lines: &[Line], types: &mut Types) -> Fields {
    let mut out = Fields::default();
    for line in lines {
        match line.words.as_slice() {
            ["!one", names @ ..] => out.exclusive.push(names.to_vec()),
            // A type's fields, as if they stood here.
            [name] if name.starts_with('@') => {
                let lines = types.lines.get(&name[1..]).cloned().unwrap_or_default();
                let Fields { fields, exclusive, .. } = fields(&lines, types);
                out.fields.extend(fields);
                out.exclusive.extend(exclusive);
            }
            [name, written, bounds @ ..] => {
                let need = if bounds.contains(&"required") { Need::Required } else { Need::Optional };
                let origin = if line.added { Origin::Added } else { Origin::Own };
                let shape = marked(written, bounds, &line.below, types);
                out.fields.push(Field { name, shape, need, origin });
            }
            _ => {}
        }
    }
    out
}

/// A type with its marks: `[](1..2)string`.
fn marked(written: &'static str, bounds: &[&'static str], below: &[Line], types: &mut Types) -> Shape {
    let list = written.strip_prefix("[]");
    let Some(rest) = list.or_else(|| written.strip_prefix("{}")) else { return plain(written, bounds, below, types) };
    let (count, rest) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).unwrap_or(("", rest));
    let (least, most) = between(count);
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(usize::MAX));
    let item = Box::new(marked(rest, bounds, below, types));
    if list.is_some() { Shape::List { least, most, item } } else { Shape::Map { least, most, item } }
}

/// `1..2`, `..2`, `1..`
fn between<T: std::str::FromStr>(written: &str) -> (Option<T>, Option<T>) {
    let (low, high) = written.split_once("..").unwrap_or(("", ""));
    (low.parse().ok(), high.parse().ok())
}

fn plain(written: &'static str, bounds: &[&'static str], below: &[Line], types: &mut Types) -> Shape {
    let bound = |name: &str| bounds.iter().find_map(|word| word.strip_prefix(name));
    let range = bound("range=").unwrap_or_default();
    let whole: (Option<i64>, Option<i64>) = between(range);
    let number: (Option<f64>, Option<f64>) = between(range);
    let length: (Option<usize>, Option<usize>) = between(bound("length=").unwrap_or_default());
    if let Some(name) = written.strip_prefix('@') {
        return Shape::Object(shared(name, types));
    }
    if let Some(words) = written.strip_prefix("word(").and_then(|rest| rest.strip_suffix(')')) {
        return Shape::Word(words.split('|').collect());
    }
    match written {
        "string" => Shape::Text {
            least: length.0.unwrap_or(0),
            most: length.1.unwrap_or(usize::MAX),
            pattern: bound("pattern="),
        },
        "bytes" => Shape::Bytes,
        "duration" => Shape::Duration,
        "int" => Shape::Whole {
            low: whole.0.unwrap_or(i64::from(i32::MIN)),
            high: whole.1.unwrap_or(if whole.0.is_some() { i64::MAX } else { i64::from(i32::MAX) }),
        },
        "number" => Shape::Number { low: number.0.unwrap_or(f64::MIN), high: number.1.unwrap_or(f64::MAX) },
        "bool" => Shape::Truth,
        "intOrString" => Shape::WholeOrText,
        "object" => {
            let mut made = fields(below, types);
            if bounds.contains(&"open") {
                made.unknown = Unknown::Allowed;
            }
            Shape::Object(Arc::new(made))
        }
        _ => Shape::Any,
    }
}

fn shared(name: &'static str, types: &mut Types) -> Arc<Fields> {
    if let Some(made) = types.made.get(name) {
        return Arc::clone(made);
    }
    // Known as empty while it is made, so that a type that refers to itself ends.
    types.made.insert(name, Arc::default());
    let lines = types.lines.get(name).cloned().unwrap_or_default();
    let made = Arc::new(fields(&lines, types));
    types.made.insert(name, Arc::clone(&made));
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "type port\n  number int range=1..65535\n\
        kind Thing example.test v1\n  !one a b\n  a string length=1..3 required\n  b [](..2){}int\n  port @port\n\
        at Thing port\n  extra bool\n";

    #[test]
    fn a_text_is_read_with_bounds_marks_and_additions() {
        let kinds = read(&[TEXT]);
        let thing = &kinds[0];
        assert_eq!((thing.name, thing.group), ("Thing", "example.test"));
        assert_eq!(thing.fields.exclusive, [["a", "b"]]);
        let names: Vec<_> = thing.fields.fields.iter().map(|field| field.name).collect();
        assert_eq!(names, ["a", "b", "port"]);
        assert_eq!(thing.fields.fields[0].need, Need::Required);
        assert!(matches!(thing.fields.fields[0].shape, Shape::Text { least: 1, most: 3, .. }));
        let Shape::List { most: 2, item, .. } = &thing.fields.fields[1].shape else { panic!("a list") };
        assert!(matches!(**item, Shape::Map { .. }));
        let Shape::Object(port) = &thing.fields.fields[2].shape else { panic!("an object") };
        assert_eq!(port.fields[1].name, "extra");
        assert_eq!(port.fields[1].origin, Origin::Added);
    }
}
