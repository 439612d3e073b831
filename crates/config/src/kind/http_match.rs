//! `http[].match[]`: conditions on a request.

use super::policy;
use super::virtual_service::gateway_names;
use crate::decode::{At, Object};
use crate::names;
use crate::problem::{Code, Problem};
use crate::re2;

/// `http[].match[]`.
#[derive(Clone, Default, Debug)]
pub struct HttpMatch {
    pub uri: Option<At<StringMatch>>,
    pub ignore_case: bool,
    pub scheme: Option<At<StringMatch>>,
    pub method: Option<At<StringMatch>>,
    pub authority: Option<At<StringMatch>>,
    /// `None` = presence.
    pub headers: Vec<Named>,
    pub without_headers: Vec<Named>,
    pub query: Vec<Named>,
    pub port: Option<u16>,
    pub source_labels: Vec<(String, String)>,
    pub source_namespace: Option<String>,
    pub gateways: Vec<String>,
}

/// A condition on a named header or parameter; `None` = presence.
pub type Named = (String, Option<At<StringMatch>>);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StringMatch {
    Exact(String),
    Prefix(String),
    Regex(String),
}

/// Reads a block of conditions.
pub fn http_match(block: &Object<'_>) -> HttpMatch {
    let one = |name, empty| block.object(name).and_then(|written| string_match(&written, empty));
    let out = HttpMatch {
        uri: one("uri", Empty::Allowed),
        ignore_case: block.truth("ignoreUriCase").unwrap_or(false),
        scheme: one("scheme", Empty::Refused),
        method: one("method", Empty::Refused),
        authority: one("authority", Empty::Refused),
        headers: string_matches(block, "headers"),
        without_headers: string_matches(block, "withoutHeaders"),
        query: string_matches(block, "queryParams"),
        port: block.number("port", 0, 65_535).map(|port| port.value as u16).filter(|port| *port > 0),
        source_labels: policy::labels(block, "sourceLabels"),
        source_namespace: source_namespace(block),
        gateways: gateway_names(block).into_iter().map(|gateway| gateway.value).collect(),
    };
    block.text("name");
    block.text("statPrefix");
    block.without_effect(&["name", "statPrefix"]);
    block.end();
    out
}

fn source_namespace(block: &Object<'_>) -> Option<String> {
    let found = block.text("sourceNamespace").filter(|found| !found.value.is_empty())?;
    if !names::is_label(&found.value) {
        block.sink.refuse(&found.place, format!("`{}` is not a namespace", found.value));
    }
    Some(found.value)
}

fn string_matches(block: &Object<'_>, name: &'static str) -> Vec<Named> {
    let read = |(key, node): &(crate::yaml::Key, crate::yaml::Node)| {
        let fits = name == "queryParams"
            || names::is_token(&key.text)
            || names::is_claim(&key.text)
            || names::is_pseudo_header(&key.text);
        if !fits {
            let words = format!("`{}` is not a header's name", key.text);
            block.sink.refuse(&block.sink.place(key.line, key.column), words);
        }
        let written = Object::of(node, name, block.sink)?;
        // As istiod does it: this regex, which is none, asks for presence.
        let star = name == "withoutHeaders" && written.text("regex").is_some_and(|regex| regex.value == "*");
        let value = if written.is_empty() || star { None } else { Some(string_match(&written, Empty::Refused)?) };
        Some((key.text.clone(), value))
    };
    block.map(name).iter().filter_map(read).collect()
}

/// Whether an empty prefix can be written: only Envoy's path matcher takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Empty {
    Allowed,
    Refused,
}

/// Reads a StringMatch.
pub fn string_match(written: &Object<'_>, empty: Empty) -> Option<At<StringMatch>> {
    type Make = fn(String) -> StringMatch;
    let kinds: [(&'static str, Make); 3] =
        [("exact", StringMatch::Exact), ("prefix", StringMatch::Prefix), ("regex", StringMatch::Regex)];
    let mut found = None;
    for (name, make) in kinds {
        if let Some(At { value, place }) = written.text(name) {
            if found.is_some() {
                let words = "only one of `exact`, `prefix`, `regex` can be given";
                written.sink.add(written.problem(Code::Conflict, name, words));
            }
            found = Some(At { value: make(value), place });
        }
    }
    written.end();
    let found = found?;
    match &found.value {
        StringMatch::Prefix(text) if text.is_empty() && empty == Empty::Refused => {
            written.sink.refuse(&found.place, "an empty prefix matches everything");
            None
        }
        StringMatch::Regex(pattern) => {
            let why = re2::check(pattern).err();
            if let Some(why) = &why {
                let words = format!("`{pattern}` is not a regular expression: {why}");
                written.sink.add(Problem::new(Code::Regex, found.place.clone(), words));
            }
            why.is_none().then_some(found)
        }
        _ => Some(found),
    }
}
