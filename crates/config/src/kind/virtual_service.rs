//! `VirtualService`: which request goes where, and how.

use super::retries::{Retries, retries};
use crate::decode::{At, Object, text};
use crate::problem::{Code, Problem};
use crate::yaml::Node;
use std::time::Duration;
use weir_policy::place::Place;

/// `VirtualService.spec`.
#[derive(Debug)]
pub struct VirtualService {
    pub namespace: String,
    pub name: String,
    pub hosts: Vec<At<String>>,
    /// Empty = `mesh`.
    pub gateways: Vec<At<String>>,
    pub http: Vec<HttpRule>,
    pub place: Place,
}

/// `spec.http[]`.
#[derive(Debug)]
pub struct HttpRule {
    pub name: String,
    /// Empty = every request.
    pub matches: Vec<HttpMatch>,
    pub action: Action,
    pub timeout: Option<At<Duration>>,
    pub retries: Option<Retries>,
    pub headers: Headers,
    pub rewrite: Option<Rewrite>,
    pub place: Place,
}

#[derive(Debug)]
pub enum Action {
    Route(Vec<Weighted>),
    Redirect(Redirect),
    Direct {
        status: u16,
        body: Vec<u8>,
    },
    /// What was written cannot be used; a problem says why.
    Broken,
}

/// `http[].match[]`.
#[derive(Default, Debug)]
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

/// `http[].route[]`.
#[derive(Debug)]
pub struct Weighted {
    pub host: At<String>,
    pub subset: Option<At<String>>,
    pub port: Option<u16>,
    pub weight: u32,
    pub headers: Headers,
}

#[derive(Debug)]
pub struct Redirect {
    pub status: u16,
    pub scheme: Option<String>,
    pub authority: Option<String>,
    pub uri: Option<String>,
    pub port: Option<u16>,
}

#[derive(Debug)]
pub struct Rewrite {
    pub uri: Option<String>,
    pub authority: Option<String>,
    pub regex: Option<(At<String>, String)>,
}

/// `headers`, both sides.
#[derive(Default, Debug)]
pub struct Headers {
    pub request: Operations,
    pub response: Operations,
}

#[derive(Default, Debug)]
pub struct Operations {
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}

const LEAST: Duration = Duration::from_millis(1);

/// Reads `VirtualService.spec`.
pub fn virtual_service(spec: &Object<'_>, namespace: &str, name: &str) -> VirtualService {
    let hosts = spec.texts("hosts");
    if hosts.is_empty() {
        spec.missing("hosts");
    }
    let gateways = spec.texts("gateways");
    let http: Vec<HttpRule> = spec.objects("http").map(|rule| http_rule(&rule)).collect();
    if http.is_empty() && !["http", "tcp", "tls"].iter().any(|name| spec.has(name)) {
        let words = "a VirtualService needs at least one of `http`, `tcp`, `tls`";
        spec.sink.add(Problem::new(Code::Missing, spec.place(), words));
    }
    let wide = gateways.is_empty() || gateways.iter().any(|gateway| gateway.value == "mesh");
    for host in hosts.iter().filter(|host| host.value == "*" && wide) {
        let words = "the host `*` is not allowed for a VirtualService of the mesh";
        let hint = "name the hosts, or bind it to a Gateway by `gateways`";
        spec.sink.add(Problem::new(Code::Value, host.place.clone(), words).hint(hint));
    }
    for name in ["tcp", "tls"] {
        spec.list(name);
    }
    spec.texts("exportTo");
    spec.later(&["tcp", "tls", "exportTo"]);
    spec.end();
    VirtualService {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        hosts,
        gateways,
        http,
        place: spec.place(),
    }
}

fn http_rule(rule: &Object<'_>) -> HttpRule {
    let name = rule.text("name").map(|name| name.value).unwrap_or_default();
    let matches: Vec<HttpMatch> = rule.objects("match").map(|block| http_match(&block)).collect();
    let timeout = rule.duration("timeout", Duration::ZERO);
    let retries = rule.object("retries").map(|written| retries(&written));
    let headers = rule.object("headers").map(|written| headers(&written)).unwrap_or_default();
    let rewrite = rule.object("rewrite").map(|written| rewrite(&written));
    let action = action(rule);
    if let Some(fault) = rule.object("fault") {
        read_fault(&fault);
    }
    for name in ["mirror", "corsPolicy", "delegate"] {
        rule.object(name);
    }
    if rule.has("mirror") && rule.has("mirrors") {
        rule.sink.add(rule.problem(Code::Conflict, "mirrors", "`mirror` and `mirrors` exclude each other"));
    }
    rule.list("mirrors");
    rule.fraction("mirrorPercent", 0.0, 100.0);
    rule.fraction("mirror_percent", 0.0, 100.0);
    rule.object("mirrorPercentage");
    rule.later(&[
        "fault",
        "mirror",
        "mirrors",
        "mirrorPercent",
        "mirror_percent",
        "mirrorPercentage",
        "corsPolicy",
        "delegate",
    ]);
    rule.end();
    HttpRule { name, matches, action, timeout, retries, headers, rewrite, place: rule.place() }
}

fn action(rule: &Object<'_>) -> Action {
    let redirect = rule.object("redirect").map(|written| redirect(&written));
    let direct = rule.object("directResponse").map(|written| direct(&written));
    let route: Vec<Weighted> = rule.objects("route").filter_map(|written| weighted(&written)).collect();
    let conflict = |with: &str, name: &str| {
        let words = format!("`{name}` and `{with}` exclude each other");
        rule.sink.add(rule.problem(Code::Conflict, name, words));
    };
    for (present, other) in [(redirect.is_some(), "redirect"), (direct.is_some(), "directResponse")] {
        for name in ["route", "fault", "rewrite"] {
            if present && rule.has(name) && !(other == "directResponse" && name == "fault") {
                conflict(other, name);
            }
        }
    }
    match (redirect, direct) {
        (Some(_), Some(_)) => {
            conflict("redirect", "directResponse");
            Action::Broken
        }
        (Some(redirect), None) => Action::Redirect(redirect),
        (None, Some(action)) => action,
        (None, None) if rule.has("delegate") => Action::Broken,
        (None, None) if rule.list("route").is_empty() => {
            let words = "a rule needs one of `route`, `redirect`, `directResponse`";
            rule.sink.add(Problem::new(Code::Missing, rule.place(), words));
            Action::Broken
        }
        (None, None) => {
            if route.len() > 1 && route.iter().all(|destination| destination.weight == 0) {
                let words = "the weights of the destinations sum up to 0";
                rule.sink.add(rule.problem(Code::Value, "route", words).hint("give each destination a `weight`"));
                return Action::Broken;
            }
            if route.is_empty() { Action::Broken } else { Action::Route(route) }
        }
    }
}

fn weighted(route: &Object<'_>) -> Option<Weighted> {
    let weight = route.number("weight", 0, i64::from(i32::MAX)).map_or(0, |weight| weight.value as u32);
    let headers = route.object("headers").map(|written| headers(&written)).unwrap_or_default();
    let destination = route.object("destination");
    route.end();
    let Some(destination) = destination else {
        route.missing("destination");
        return None;
    };
    let host = destination.text("host");
    let subset = destination.text("subset");
    let port = destination.object("port").and_then(|port| {
        let number = port.number("number", 1, 65_535);
        port.end();
        number
    });
    destination.end();
    let Some(host) = host else {
        destination.missing("host");
        return None;
    };
    Some(Weighted { host, subset, port: port.map(|port| port.value as u16), weight, headers })
}

fn http_match(block: &Object<'_>) -> HttpMatch {
    let one = |name| block.object(name).and_then(|written| string_match(&written));
    let out = HttpMatch {
        uri: one("uri"),
        ignore_case: block.truth("ignoreUriCase").unwrap_or(false),
        scheme: one("scheme"),
        method: one("method"),
        authority: one("authority"),
        headers: string_matches(block, "headers"),
        without_headers: string_matches(block, "withoutHeaders"),
        query: string_matches(block, "queryParams"),
        port: block.number("port", 1, 65_535).map(|port| port.value as u16),
        source_labels: block.text_map("sourceLabels"),
        source_namespace: block.text("sourceNamespace").map(|namespace| namespace.value),
        gateways: block.texts("gateways").into_iter().map(|gateway| gateway.value).collect(),
    };
    block.text("name");
    block.text("statPrefix");
    block.end();
    out
}

fn string_matches(block: &Object<'_>, name: &'static str) -> Vec<Named> {
    let read = |(key, node): &(crate::yaml::Key, Node)| {
        if key.text.is_empty() {
            let words = format!("`{name}` has an empty name");
            block.sink.add(Problem::new(Code::Value, block.sink.place(key.line, key.column), words));
        }
        let written = Object::of(node, name, block.sink)?;
        let value = if written.is_empty() { None } else { Some(string_match(&written)?) };
        // As istiod does it: a regex that matches everything asks for presence.
        let value = value.filter(|found| found.value != StringMatch::Regex("*".to_owned()));
        Some((key.text.clone(), value))
    };
    block.map(name).iter().filter_map(read).collect()
}

fn string_match(written: &Object<'_>) -> Option<At<StringMatch>> {
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
    if found.is_none() && written.is_empty() {
        let words = "one of `exact`, `prefix`, `regex` is needed";
        written.sink.add(Problem::new(Code::Missing, written.place(), words));
    }
    if let Some(At { value: StringMatch::Regex(pattern), place }) = &found
        && pattern != "*"
        && let Err(why) = compile_regex(pattern)
    {
        written.sink.add(Problem::new(
            Code::Regex,
            place.clone(),
            format!("`{pattern}` is not a regular expression: {why}"),
        ));
        return None;
    }
    found
}

/// A pattern that must match the whole value, within a bound on its size.
pub fn compile_regex(pattern: &str) -> Result<regex::bytes::Regex, String> {
    let whole = format!("^(?:{pattern})$");
    let built = regex::bytes::RegexBuilder::new(&whole).size_limit(1 << 20).dot_matches_new_line(true).build();
    built.map_err(|why| why.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
}

fn redirect(written: &Object<'_>) -> Redirect {
    let codes = [301, 302, 303, 307, 308];
    let status = written.number("redirectCode", 0, 999).map_or(301, |code| code.value as u16);
    if !codes.contains(&status) {
        let words = format!("`redirectCode` is {status}; it must be one of 301, 302, 303, 307, 308");
        written.sink.add(written.problem(Code::Value, "redirectCode", words));
    }
    let port = written.number("port", 1, 65_535).map(|port| port.value as u16);
    let derived = written.word("derivePort", &[("FROM_PROTOCOL_DEFAULT", false), ("FROM_REQUEST_PORT", true)]);
    if port.is_some() && derived.is_some() {
        written.sink.add(written.problem(Code::Conflict, "derivePort", "`port` and `derivePort` exclude each other"));
    }
    written.later(&["derivePort"]);
    let [scheme, authority, uri] = ["scheme", "authority", "uri"].map(|name| written.text(name).map(|text| text.value));
    written.end();
    let default = matches!((port, scheme.as_deref().unwrap_or("http")), (Some(80), "http") | (Some(443), "https"));
    Redirect { status, scheme, authority, uri, port: port.filter(|_| !default) }
}

fn direct(written: &Object<'_>) -> Action {
    let status = written.number("status", 200, 599);
    if status.is_none() && !written.has("status") {
        written.missing("status");
    }
    let mut bytes = Vec::new();
    if let Some(body) = written.object("body") {
        match (body.text("string"), body.text("bytes")) {
            (Some(text), None) => bytes = text.value.into_bytes(),
            (None, Some(text)) => match base64(&text.value) {
                Some(decoded) => bytes = decoded,
                None => body.sink.add(Problem::new(Code::Value, text.place, "`bytes` is not base64")),
            },
            (Some(_), Some(_)) => {
                body.sink.add(body.problem(Code::Conflict, "bytes", "`string` and `bytes` exclude each other"));
            }
            (None, None) => {}
        }
        body.end();
    }
    written.end();
    if bytes.len() > 1 << 20 {
        let words = "the body of a direct response is larger than 1 MiB";
        written.sink.add(written.problem(Code::Value, "body", words));
    }
    status.map_or(Action::Broken, |status| Action::Direct { status: status.value as u16, body: bytes })
}

/// RFC 4648 section 4, padding required.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let (mut bits, mut held) = (0u32, 0);
    for byte in digits.bytes() {
        let value =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|c| *c == byte)?;
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}

fn rewrite(written: &Object<'_>) -> Rewrite {
    let uri = written.text("uri").map(|uri| uri.value);
    let authority = written.text("authority").map(|authority| authority.value);
    let regex = written.object("uriRegexRewrite").and_then(|regex| {
        let (pattern, substitution) = (regex.text("match"), regex.text("rewrite"));
        regex.end();
        let pattern = pattern?;
        if let Err(why) = regex::bytes::RegexBuilder::new(&pattern.value).size_limit(1 << 20).build() {
            let words = format!("`{}` is not a regular expression: {why}", pattern.value);
            regex.sink.add(Problem::new(Code::Regex, pattern.place, words));
            return None;
        }
        Some((pattern, substitution.map(|text| text.value).unwrap_or_default()))
    });
    if uri.is_some() && regex.is_some() {
        let words = "`uri` and `uriRegexRewrite` exclude each other";
        written.sink.add(written.problem(Code::Conflict, "uriRegexRewrite", words));
    }
    if uri.is_none() && authority.is_none() && !written.has("uriRegexRewrite") {
        let words = "`rewrite` needs one of `uri`, `authority`, `uriRegexRewrite`";
        written.sink.add(Problem::new(Code::Missing, written.place(), words));
    }
    written.end();
    Rewrite { uri, authority, regex }
}

fn headers(written: &Object<'_>) -> Headers {
    let side = |name| {
        written.object(name).map_or_else(Operations::default, |side| {
            let out = Operations {
                set: operations(&side, "set"),
                add: operations(&side, "add"),
                remove: side.texts("remove").into_iter().map(|name| name.value.to_ascii_lowercase()).collect(),
            };
            side.end();
            out
        })
    };
    let out = Headers { request: side("request"), response: side("response") };
    written.end();
    out
}

fn operations(side: &Object<'_>, verb: &'static str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (key, node) in side.map(verb) {
        let Some(value) = text(node, verb, side.sink) else { continue };
        let name = key.text.to_ascii_lowercase();
        let token =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&b));
        let clean = !value.value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let pseudo = name.starts_with(':') && name != ":authority";
        if !token || !clean || pseudo {
            let words = format!("`{}` is not a header that can be written", key.text);
            side.sink.add(Problem::new(Code::Value, side.sink.place(key.line, key.column), words));
            continue;
        }
        out.push((name, value.value.replace("%%", "%")));
    }
    // As istiod writes them: by name.
    out.sort();
    out
}

fn read_fault(fault: &Object<'_>) {
    if !fault.has("delay") && !fault.has("abort") {
        let words = "`fault` needs `delay` or `abort`";
        fault.sink.add(Problem::new(Code::Missing, fault.place(), words));
    }
    if let Some(delay) = fault.object("delay") {
        delay.duration("fixedDelay", LEAST);
        read_percentage(&delay);
        if delay.has("exponentialDelay") {
            delay.sink.add(delay.problem(Code::Value, "exponentialDelay", "`exponentialDelay` is not supported"));
        }
        delay.end();
    }
    if let Some(abort) = fault.object("abort") {
        abort.number("httpStatus", 200, 599);
        abort.text("grpcStatus");
        if abort.has("http2Error") {
            abort.sink.add(abort.problem(Code::Value, "http2Error", "`http2Error` is not supported"));
        }
        abort.ours("percent", "it would inject nothing");
        read_percentage(&abort);
        abort.end();
    }
    fault.end();
}

fn read_percentage(part: &Object<'_>) {
    part.number("percent", 0, 100);
    if let Some(percentage) = part.object("percentage") {
        percentage.fraction("value", 0.0, 100.0);
        percentage.end();
    }
}
