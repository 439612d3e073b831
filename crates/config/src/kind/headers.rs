//! `headers`: what is set, added, removed on the way to and from a destination.

use crate::decode::{At, Object, text};
use crate::names;
use crate::problem::{Code, Problem};
use weir_policy::format::{Value, Wrong};

/// `headers`, both sides.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Headers {
    pub request: Operations,
    pub response: Operations,
}

/// Values in Envoy's format, as written.
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
        if let Some(problem) = mistake(&value) {
            object.sink.add(problem);
            continue;
        }
        if let Some(idle) = Value::parse(&value.value, "").ok().as_ref().and_then(Value::idle) {
            let words = format!("`%{idle}%` never has a value in weir");
            object.sink.add(Problem::new(Code::NoEffect, value.place.clone(), words));
        }
        out.push((name, value.value));
    }
    // As istiod writes them: by name.
    out.sort();
    out
}

/// Why it is no value: control characters but tabs, or a variable that weir has not.
fn mistake(value: &At<String>) -> Option<Problem> {
    let text = &value.value;
    if text.bytes().any(|byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
        let words =
            format!("`{}` is not a value that can be written: it has control characters", text.escape_default());
        return Some(Problem::new(Code::Value, value.place.clone(), words));
    }
    let wrong = Value::parse(text, "").err()?;
    let words = format!("`{text}` is not a value that can be written: {wrong}");
    let hint = match wrong {
        Wrong::Percent => "write `%%` for one `%`",
        Wrong::Unknown(_) | Wrong::Argument(_) => "docs/src/headers.md has the list",
    };
    Some(Problem::new(Code::Value, value.place.clone(), words).hint(hint))
}
