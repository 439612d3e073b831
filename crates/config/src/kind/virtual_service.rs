//! `VirtualService`: which request goes where, and how.

use super::cors::{Cors, cors};
use super::export::{Export, Hidden, export_to};
use super::fault::{Fault, fault};
use super::headers::{Headers, Operations, headers};
use super::http_match::{HttpMatch, http_match};
use super::l4::{self, L4Rule};
use super::mirror::{Mirror, mirrors};
use super::retries::{Retries, route_retries};
use crate::decode::{At, Object};
use crate::fields::Fields;
use crate::names;
use crate::problem::{Code, Problem};
use crate::re2;
use std::time::Duration;
use weir_policy::place::Place;

/// `VirtualService.spec`.
#[derive(Clone, Debug)]
pub struct VirtualService {
    pub namespace: String,
    pub name: String,
    pub hosts: Vec<At<String>>,
    /// Empty = `mesh`.
    pub gateways: Vec<At<String>>,
    pub http: Vec<HttpRule>,
    pub tls: Vec<L4Rule>,
    pub tcp: Vec<L4Rule>,
    pub export: Export,
    pub place: Place,
}

impl VirtualService {
    /// Does it neither delegate nor wait to be delegated to?
    pub fn is_plain(&self) -> bool {
        !self.hosts.is_empty() && self.http.iter().all(|rule| rule.delegate.is_none())
    }
}

/// `spec.http[]`.
#[derive(Clone, Debug)]
pub struct HttpRule {
    pub name: String,
    /// Empty = every request.
    pub matches: Vec<HttpMatch>,
    pub action: Action,
    /// The VirtualService whose rules stand here.
    pub delegate: Option<Reference>,
    pub timeout: Option<At<Duration>>,
    pub retries: Option<Retries>,
    pub headers: Headers,
    pub rewrite: Option<Rewrite>,
    /// Where its fields stand, less `match`.
    pub at: Fields,
    pub fault: Option<Fault>,
    pub cors: Option<Cors>,
    pub mirrors: Vec<Mirror>,
    pub place: Place,
}

/// `delegate`: a VirtualService without hosts.
#[derive(Clone, Debug)]
pub struct Reference {
    pub name: String,
    /// `None` = the root's own.
    pub namespace: Option<String>,
    pub place: Place,
}

impl HttpRule {
    /// Takes from a root what this rule of a delegate does not say.
    pub fn inherit(&mut self, root: &Self) {
        self.at.inherit(&root.at);
        if self.rewrite.is_none() {
            self.rewrite.clone_from(&root.rewrite);
        }
        if self.timeout.is_none() {
            self.timeout.clone_from(&root.timeout);
        }
        if self.retries.is_none() {
            self.retries.clone_from(&root.retries);
        }
        if self.headers == Headers::default() {
            self.headers = root.headers.clone();
        }
        if self.fault.is_none() {
            self.fault.clone_from(&root.fault);
        }
        if self.cors.is_none() {
            self.cors.clone_from(&root.cors);
        }
        if self.mirrors.is_empty() {
            self.mirrors.clone_from(&root.mirrors);
        }
    }
}

#[derive(Clone, Debug)]
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

/// `http[].route[]`.
#[derive(Clone, Debug)]
pub struct Weighted {
    pub host: At<String>,
    pub subset: Option<At<String>>,
    pub port: Option<u16>,
    pub weight: u32,
    pub headers: Headers,
}

#[derive(Clone, Debug)]
pub struct Redirect {
    pub status: u16,
    pub scheme: Option<String>,
    pub authority: Option<String>,
    pub uri: Option<String>,
    pub port: Option<u16>,
}

#[derive(Clone, Debug)]
pub struct Rewrite {
    pub uri: Option<String>,
    pub authority: Option<String>,
    pub regex: Option<(At<String>, String)>,
}

/// Where a VirtualService stands: what it may hold depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// It has hosts.
    Root,
    /// It has none: others delegate to it.
    Delegate,
}

/// Reads `VirtualService.spec`.
pub fn virtual_service(spec: &Object<'_>, namespace: &str, name: &str) -> VirtualService {
    let hosts = spec.texts("hosts");
    let gateways = gateway_names(spec);
    let role = if hosts.is_empty() { Role::Delegate } else { Role::Root };
    if role == Role::Delegate {
        for name in ["gateways", "tls", "tcp"] {
            if !spec.list(name).is_empty() {
                let words = format!("a VirtualService without `hosts` is a delegate, and has no `{name}`");
                spec.sink.add(spec.problem(Code::Conflict, name, words).hint("name the hosts it is for"));
            }
        }
    }
    let wide = gateways.is_empty() || gateways.iter().any(|gateway| gateway.value == "mesh");
    check_hosts(spec, &hosts, wide);
    if ["http", "tcp", "tls"].iter().all(|name| spec.list(name).is_empty()) {
        let words = "a VirtualService needs at least one of `http`, `tcp`, `tls`";
        spec.sink.add(Problem::new(Code::Missing, spec.place(), words));
    }
    let http: Vec<HttpRule> = exact(spec.objects("http").map(|rule| http_rule(&rule, role)));
    if wide {
        http.iter().for_each(|rule| no_claims(rule, spec));
    }
    let (tls, tcp) = (l4::tls(spec, &hosts, wide), l4::tcp(spec));
    let export = export_to(spec, namespace, Hidden::Refused);
    spec.end();
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    VirtualService { namespace, name, hosts, gateways, http, tls, tcp, export, place: spec.place() }
}

fn check_hosts(spec: &Object<'_>, hosts: &[At<String>], wide: bool) {
    let sni =
        !wide && spec.objects("tls").any(|rule| rule.objects("match").any(|block| !block.list("sniHosts").is_empty()));
    let mut valid = true;
    for host in hosts {
        let good = if sni { names::is_sni_domain(&host.value) } else { names::is_wildcard_domain(&host.value) };
        if !good && !names::is_address(&host.value) {
            spec.sink.refuse(&host.place, format!("`{}` is not a host name", host.value));
            valid = false;
        } else if host.value == "*" && wide {
            let words = "the host `*` is not allowed for a VirtualService of the mesh";
            let hint = "name the hosts, or bind it to a Gateway by `gateways`";
            spec.sink.add(Problem::new(Code::Value, host.place.clone(), words).hint(hint));
            valid = false;
        }
    }
    for (index, host) in hosts.iter().enumerate().filter(|_| valid) {
        if let Some(other) = hosts[..index].iter().find(|other| names::hosts_overlap(&other.value, &host.value)) {
            let words = format!("`{}` and `{}` are for the same hosts", other.value, host.value);
            spec.sink.add(Problem::new(Code::Conflict, host.place.clone(), words).hint("keep one of them"));
        }
    }
}

/// Tokens are read at gateways only.
fn no_claims(rule: &HttpRule, spec: &Object<'_>) {
    for (name, _) in rule.matches.iter().flat_map(|block| block.headers.iter().chain(&block.without_headers)) {
        if names::is_claim(name) {
            let words = format!("`{name}`: claims of tokens are matched at gateways only");
            spec.sink.refuse(&rule.place, words);
        }
    }
}

/// Reads `gateways`: `mesh`, a name, `namespace/name`.
pub fn gateway_names(object: &Object<'_>) -> Vec<At<String>> {
    let gateways = object.texts("gateways");
    for gateway in &gateways {
        let valid = match gateway.value.split_once('/') {
            Some((namespace, name)) => names::is_label(namespace) && names::is_label(name),
            None => names::is_domain(&gateway.value),
        };
        if !valid {
            object.sink.refuse(&gateway.place, format!("`{}` is not `name` or `namespace/name`", gateway.value));
        }
    }
    gateways
}

/// Collected without room to grow: most lists have one entry, and there are thousands of lists.
fn exact<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = items.collect();
    list.shrink_to_fit();
    list
}

fn http_rule(rule: &Object<'_>, role: Role) -> HttpRule {
    let name = rule.text("name").map(|name| name.value).unwrap_or_default();
    let matches: Vec<HttpMatch> = exact(rule.objects("match").map(|block| http_match(&block)));
    let timeout = rule.duration("timeout", Duration::ZERO);
    let retries = rule.object("retries").map(|written| route_retries(&written));
    let headers = rule.object("headers").map(|written| headers(&written)).unwrap_or_default();
    let rewrite = rule.object("rewrite").map(|written| rewrite(&written));
    one_authority(rule, rewrite.as_ref().and_then(|rewrite| rewrite.authority.as_ref()), &headers);
    let action = action(rule, role);
    let fault = rule.object("fault").map(|written| fault(&written));
    let cors = rule.object("corsPolicy").map(|written| cors(&written));
    let mirrors = mirrors(rule);
    let delegate = rule.object("delegate").map(|written| reference(&written));
    rule.end();
    let (at, place) = (Fields::of(rule, &["match"]), rule.place());
    HttpRule { name, matches, action, delegate, timeout, retries, headers, rewrite, fault, cors, mirrors, at, place }
}

fn reference(written: &Object<'_>) -> Reference {
    let word = |name| written.text(name).map(|text| text.value).filter(|text| !text.is_empty());
    let (name, namespace) = (word("name").unwrap_or_default(), word("namespace"));
    written.end();
    Reference { name, namespace, place: written.place() }
}

fn action(rule: &Object<'_>, role: Role) -> Action {
    let redirect = rule.object("redirect").map(|written| redirect(&written));
    let direct = rule.object("directResponse").map(|written| direct(&written));
    let route: Vec<Weighted> = exact(rule.objects("route").filter_map(|written| weighted(&written)));
    let conflict = |with: &str, name: &str| {
        let words = format!("`{name}` and `{with}` exclude each other");
        rule.sink.add(rule.problem(Code::Conflict, name, words));
    };
    if rule.has("delegate") {
        if role == Role::Delegate {
            rule.sink.add(rule.problem(Code::Conflict, "delegate", "a delegate cannot delegate again"));
        }
        for name in rule.given(&["route", "redirect"]) {
            conflict("delegate", name);
        }
        return Action::Broken;
    }
    let given = rule.given(&["redirect", "directResponse", "route", "fault", "rewrite"]);
    let given: Vec<&str> = given.into_iter().filter(|name| *name != "route" || !route.is_empty()).collect();
    let first = ["redirect", "directResponse"].into_iter().find(|name| given.contains(name));
    if let Some(first) = first {
        given.iter().filter(|name| **name != first).for_each(|name| conflict(first, name));
    }
    match (redirect, direct) {
        (Some(_), Some(_)) => Action::Broken,
        (Some(redirect), None) => Action::Redirect(redirect),
        (None, Some(action)) => action,
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

/// The authority is set in one place only.
fn one_authority(rule: &Object<'_>, rewritten: Option<&String>, headers: &Headers) {
    let Operations { set, add, .. } = &headers.request;
    let set = set.iter().chain(add).filter(|(name, value)| names::is_authority(name) && !value.is_empty()).count();
    if set + usize::from(rewritten.is_some_and(|authority| !authority.is_empty())) > 1 {
        let words = "the authority is set more than once, by `headers` and `rewrite.authority`";
        rule.sink.add(rule.problem(Code::Conflict, "headers", words));
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
    let Destination { host, subset, port } = read_destination(&destination)?;
    Some(Weighted { host, subset, port, weight, headers })
}

/// `destination`: a host, a port, a subset.
#[derive(Clone, Debug)]
pub struct Destination {
    pub host: At<String>,
    pub subset: Option<At<String>>,
    pub port: Option<u16>,
}

/// Reads a destination: of a route, of a mirror.
pub fn read_destination(destination: &Object<'_>) -> Option<Destination> {
    let host = destination.text("host");
    let subset = destination.text("subset").filter(|subset| !subset.value.is_empty());
    let port = destination.object("port").and_then(|port| {
        let number = port.number("number", 1, 65_535);
        if number.is_none() && !port.has("number") {
            port.missing("number");
        }
        port.end();
        number
    });
    destination.end();
    if let Some(subset) = subset.as_ref().filter(|subset| !names::is_label(&subset.value)) {
        destination.sink.refuse(&subset.place, format!("`{}` is not the name of a subset", subset.value));
    }
    let Some(host) = host else {
        destination.missing("host");
        return None;
    };
    if host.value == "*" || !names::is_wildcard_domain(&host.value) {
        destination.sink.refuse(&host.place, format!("`{}` is not a host that can be called", host.value));
    }
    Some(Destination { host, subset, port: port.map(|port| port.value as u16) })
}

fn redirect(written: &Object<'_>) -> Redirect {
    let code = written.number("redirectCode", 0, i64::from(u32::MAX)).map_or(0, |code| code.value);
    if code != 0 && !(300..=399).contains(&code) {
        written.refuse("redirectCode", format!("`redirectCode` is {code}; it must be 300 to 399"));
    }
    let known = [301, 302, 303, 307, 308].contains(&code);
    if !known && (300..=399).contains(&code) {
        let words = format!("`redirectCode: {code}` is none of 301, 302, 303, 307, 308: 301 is used");
        written.sink.add(written.problem(Code::NoEffect, "redirectCode", words));
    }
    let status = if known { code as u16 } else { 301 };
    let port = written.number("port", 0, 65_535).map(|port| port.value as u16);
    let derived = written.word("derivePort", &[("FROM_PROTOCOL_DEFAULT", false), ("FROM_REQUEST_PORT", true)]);
    if port.is_some() && derived.is_some() {
        written.sink.add(written.problem(Code::Conflict, "derivePort", "`port` and `derivePort` exclude each other"));
    }
    let [scheme, authority, uri, prefix] =
        ["scheme", "authority", "uri", "prefixRewrite"].map(|name| written.text(name).map(|text| text.value));
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if !filled(&scheme)
        && !filled(&authority)
        && !filled(&uri)
        && !filled(&prefix)
        && port.is_none()
        && derived.is_none()
    {
        let words = "`redirect` needs one of `uri`, `authority`, `scheme`, `port`, `derivePort`";
        written.sink.add(Problem::new(Code::Missing, written.place(), words));
    }
    if let Some(scheme) = scheme.as_ref().filter(|scheme| !["", "http", "https"].contains(&scheme.as_str())) {
        written.refuse("scheme", format!("`scheme: {scheme}` is neither http nor https"));
    }
    written.later(&["derivePort", "prefixRewrite"]);
    written.end();
    let default = matches!((port, scheme.as_deref().unwrap_or("http")), (Some(80), "http") | (Some(443), "https"));
    let [scheme, authority, uri] = [scheme, authority, uri].map(|text| text.filter(|text| !text.is_empty()));
    Redirect { status, scheme, authority, uri, port: port.filter(|port| !default && *port > 0) }
}

fn direct(written: &Object<'_>) -> Action {
    let status = written.number("status", 200, 600);
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
    let [uri, authority] =
        ["uri", "authority"].map(|name| written.text(name).map(|text| text.value).filter(|text| !text.is_empty()));
    let regex = written.object("uriRegexRewrite").and_then(|regex| {
        let filled = |name| regex.text(name).filter(|text| !text.value.is_empty());
        let (pattern, substitution) = (filled("match"), filled("rewrite"));
        regex.end();
        let (Some(pattern), Some(substitution)) = (pattern, substitution) else {
            regex.missing("match");
            return None;
        };
        if let Err(why) = re2::check(&pattern.value) {
            let words = format!("`{}` is not a regular expression: {why}", pattern.value);
            regex.sink.add(Problem::new(Code::Regex, pattern.place, words));
            return None;
        }
        Some((pattern, substitution.value))
    });
    if uri.is_some() && written.has("uriRegexRewrite") {
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
