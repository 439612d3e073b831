//! `headers`: what is set, added, removed on the way to and from a destination.

use crate::decode::{Object, text};
use crate::names;
use crate::problem::{Code, Problem};

/// `headers`, both sides.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Headers {
    pub request: Operations,
    pub response: Operations,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Operations {
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}

/// Which way the headers go: a request's authority can be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Request,
    Response,
}

/// Reads `headers`.
pub fn headers(written: &Object<'_>) -> Headers {
    let side = |name, side| {
        written.object(name).map_or_else(Operations::default, |object| {
            let out = Operations {
                set: operations(&object, "set", side),
                add: operations(&object, "add", side),
                remove: removed(&object),
            };
            object.end();
            out
        })
    };
    let out = Headers { request: side("request", Side::Request), response: side("response", Side::Response) };
    written.end();
    out
}

fn removed(object: &Object<'_>) -> Vec<String> {
    let names = object.texts("remove");
    for name in names.iter().filter(|name| name.value.is_empty() || names::is_internal_header(&name.value)) {
        object.sink.refuse(&name.place, format!("`{}` is not a header that can be removed", name.value));
    }
    names.into_iter().map(|name| name.value.to_ascii_lowercase()).collect()
}

fn operations(object: &Object<'_>, verb: &'static str, side: Side) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (key, node) in object.map(verb) {
        let Some(value) = text(node, verb, object.sink) else { continue };
        let name = key.text.to_ascii_lowercase();
        let token =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&b));
        let internal = names::is_internal_header(&name) && !(side == Side::Request && names::is_authority(&name));
        if !token || internal {
            let words = format!("`{}` is not a header that can be written", key.text);
            object.sink.add(Problem::new(Code::Value, object.sink.place(key.line, key.column), words));
            continue;
        }
        if !is_value(&value.value) {
            let words =
                format!("`{}` is not a value that can be written: control characters, or a lone `%`", value.value);
            object.sink.add(Problem::new(Code::Value, value.place, words).hint("write `%%` for one `%`"));
            continue;
        }
        out.push((name, value.value.replace("%%", "%")));
    }
    // As istiod writes them: by name.
    out.sort();
    out
}

/// No control characters but tabs; `%` doubled, or around a variable: `%VAR%`, `%VAR(…)%`, `%VAR(["…", "…"])%`.
fn is_value(text: &str) -> bool {
    let clean = text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        rest = match rest.strip_prefix('%') {
            Some(behind) => behind,
            None => match variable(rest) {
                Some(behind) => behind,
                None => return false,
            },
        };
    }
    clean
}

/// What follows a variable and its closing `%`.
fn variable(text: &str) -> Option<&str> {
    let end = text.find(['%', '('])?;
    if text[end..].starts_with('%') {
        return Some(&text[end + 1..]);
    }
    let inside = text[end + 1..].trim_start_matches(' ');
    let behind = match inside.strip_prefix('[') {
        Some(list) => arguments(list)?,
        // The first character belongs to the argument, whatever it is.
        None => closed(inside.get(inside.chars().next()?.len_utf8()..)?)?,
    };
    behind.trim_start_matches(' ').strip_prefix('%')
}

/// Behind the `)` that ends a plain argument.
fn closed(text: &str) -> Option<&str> {
    let end = text.find([')', '"'])?;
    if text[end..].starts_with('"') { list_end(&text[end + 1..]) } else { Some(&text[end + 1..]) }
}

/// Behind the `)` of a list of strings whose `[` is read.
fn arguments(text: &str) -> Option<&str> {
    let mut rest = text.trim_start_matches(' ').strip_prefix('"')?;
    loop {
        let end = rest.find(['\\', '"', ')'])?;
        let (mark, behind) = rest[end..].split_at(1);
        match mark {
            "\\" => rest = behind.get(behind.chars().next()?.len_utf8()..)?,
            ")" => return Some(behind),
            _ => return list_end(behind),
        }
    }
}

/// Behind a string of a list: another string, or the end.
fn list_end(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(' ');
    match rest.strip_prefix(',') {
        Some(more) => arguments(more),
        None => rest.strip_prefix(']')?.trim_start_matches(' ').strip_prefix(')'),
    }
}

#[cfg(test)]
mod tests {
    use super::is_value;

    #[test]
    fn values() {
        for good in ["", "a", "100%%", "%HOST%", "a %VAR(x)% b", "%VAR([\"a\", \"b\\\"\"])%", "%V( x)%", "tab\t"] {
            assert!(is_value(good), "{good}");
        }
        for bad in ["%", "a%b", "%A%%", "%V(x", "%V([x])%", "%V([\"a\" \"b\"])%", "a\u{1}", "%V(x)y%"] {
            assert!(!is_value(bad), "{bad}");
        }
    }
}
