//! `corsPolicy` of a VirtualService's rule.

use super::http_match::{Empty, StringMatch, string_match};
use crate::decode::{At, Object};
use crate::problem::{Code, Problem};
use std::time::Duration;

/// `http[].corsPolicy`.
#[derive(Clone, Debug)]
pub struct Cors {
    pub origins: Vec<StringMatch>,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub max_age: Option<Duration>,
    pub credentials: bool,
    /// `unmatchedPreflights: IGNORE`.
    pub ignores_unmatched: bool,
}

/// The methods that Istio lets a policy name.
const METHODS: [&str; 10] = ["*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

/// Reads `corsPolicy`.
pub fn cors(written: &Object<'_>) -> Cors {
    let old: Vec<StringMatch> =
        written.texts("allowOrigin").into_iter().map(|origin| StringMatch::Exact(origin.value)).collect();
    if written.has("allowOrigin") {
        let words = "`allowOrigin` is deprecated";
        written.sink.add(written.problem(Code::Deprecated, "allowOrigin", words).hint("use `allowOrigins`"));
    }
    let new: Vec<StringMatch> = written.objects("allowOrigins").filter_map(|origin| read_origin(&origin)).collect();
    let origins = if written.has("allowOrigins") { new } else { old };
    if origins.is_empty() && !written.has("allowOrigins") {
        let words = "a `corsPolicy` without `allowOrigins` allows no origin";
        written.sink.add(Problem::new(Code::NoEffect, written.place(), words));
    }
    let methods = written.texts("allowMethods");
    for method in methods.iter().filter(|method| !METHODS.contains(&method.value.as_str())) {
        let words = format!("`{}` is not a method that `allowMethods` can name", method.value);
        let hint = crate::decode::similar(&method.value, &METHODS)
            .unwrap_or_else(|| format!("methods are {}", METHODS.join(", ")));
        written.sink.add(Problem::new(Code::Value, method.place.clone(), words).hint(hint));
    }
    let max_age = written.duration("maxAge", Duration::ZERO);
    if let Some(age) = max_age.as_ref().filter(|age| age.value.subsec_nanos() != 0) {
        let words = "`maxAge` counts in whole seconds";
        written.sink.add(Problem::new(Code::Duration, age.place.clone(), words).hint("write it like `90s` or `24h`"));
    }
    let unmatched = [("UNSPECIFIED", false), ("FORWARD", false), ("IGNORE", true)];
    let cors = Cors {
        origins,
        methods: methods.into_iter().map(|method| method.value).collect(),
        headers: names(written, "allowHeaders"),
        expose: names(written, "exposeHeaders"),
        max_age: max_age.map(|age| age.value),
        credentials: written.truth("allowCredentials").unwrap_or(false),
        ignores_unmatched: written.word("unmatchedPreflights", &unmatched).is_some_and(|word| word.value),
    };
    written.end();
    cors
}

/// One of `allowOrigins`: it must say something.
fn read_origin(origin: &Object<'_>) -> Option<StringMatch> {
    let found = string_match(origin, Empty::Refused).map(|At { value, .. }| value);
    let silent = match &found {
        Some(StringMatch::Exact(text)) => text.is_empty(),
        Some(_) => false,
        None => origin.is_empty(),
    };
    if silent {
        let words = "an origin needs one of `exact`, `prefix`, `regex`, and it cannot be empty";
        origin.sink.add(Problem::new(Code::Value, origin.place(), words));
    }
    found.filter(|_| !silent)
}

/// Header names, or `*`.
fn names(written: &Object<'_>, name: &'static str) -> Vec<String> {
    let fits = |text: &str| text == "*" || crate::names::is_token(text);
    let (good, bad): (Vec<_>, Vec<_>) = written.texts(name).into_iter().partition(|header| fits(&header.value));
    for header in bad {
        let words = format!("`{}` is not the name of a header", header.value);
        written.sink.add(Problem::new(Code::Value, header.place, words));
    }
    good.into_iter().map(|header| header.value).collect()
}
