//! Which condition of a match does not hold: what routing asks, and what an explanation shows.
//!
//! Does not: go on behind the first one.

use super::{Case, Facts, HeaderMatch, Match, Pattern, QueryMatch, Want};
use std::fmt;

/// The first condition that does not hold.
#[derive(Clone, Copy, Debug)]
pub enum Unmet<'m> {
    Path(&'m Pattern, Case),
    Method(&'m Pattern),
    Port(u16),
    Header(&'m HeaderMatch),
    Query(&'m QueryMatch),
    Authority(&'m Pattern),
    Scheme(&'m Pattern),
}

impl Match {
    /// The first condition that does not hold; `None` when all do.
    pub fn unmet(&self, facts: &Facts<'_>) -> Option<Unmet<'_>> {
        let fails = |pattern: &&Pattern, value: &[u8]| !pattern.matches(value);
        if let Some(pattern) = self.path.as_ref().filter(|path| !path.matches_in(facts.path, self.path_case)) {
            return Some(Unmet::Path(pattern, self.path_case));
        }
        if let Some(pattern) = self.method.as_ref().filter(|pattern| fails(pattern, facts.method)) {
            return Some(Unmet::Method(pattern));
        }
        if let Some(port) = self.port.filter(|port| *port != facts.port) {
            return Some(Unmet::Port(port));
        }
        if let Some(header) = self.headers.iter().find(|header| !header.holds_of(facts)) {
            return Some(Unmet::Header(header));
        }
        if let Some(parameter) = self.query.iter().find(|parameter| !parameter.holds(facts.query)) {
            return Some(Unmet::Query(parameter));
        }
        if let Some(pattern) = self.authority.as_ref().filter(|pattern| fails(pattern, facts.authority)) {
            return Some(Unmet::Authority(pattern));
        }
        let scheme = self.scheme.as_ref().filter(|pattern| fails(pattern, facts.scheme));
        scheme.map(Unmet::Scheme)
    }
}

impl fmt::Display for Unmet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(pattern, Case::Matters) => write!(f, "the path {pattern}"),
            Self::Path(pattern, Case::Ignored) => write!(f, "the path {pattern}, in either case"),
            Self::Method(pattern) => write!(f, "the method {pattern}"),
            Self::Port(port) => write!(f, "the port is {port}"),
            Self::Authority(pattern) => write!(f, "the host {pattern}"),
            Self::Scheme(pattern) => write!(f, "the scheme {pattern}"),
            Self::Header(HeaderMatch { name, want }) => match want {
                Want::Present => write!(f, "the header {name} is there"),
                Want::Absent => write!(f, "the header {name} is not there"),
                Want::Value(pattern) => write!(f, "the header {name} {pattern}"),
                Want::Every(pattern) => write!(f, "every header {name} {pattern}"),
                Want::Not(pattern) => write!(f, "the header {name} is not one that {pattern}"),
            },
            Self::Query(QueryMatch { name, value }) => match value {
                None => write!(f, "the query parameter {name} is there"),
                Some(pattern) => write!(f, "the query parameter {name} {pattern}"),
            },
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, path_case, method, scheme, authority, headers, query, port } = self;
        let path = path.iter().map(|path| Unmet::Path(path, *path_case)).chain(method.iter().map(Unmet::Method));
        let listed = headers.iter().map(Unmet::Header).chain(query.iter().map(Unmet::Query));
        let rest = authority.iter().map(Unmet::Authority).chain(scheme.iter().map(Unmet::Scheme));
        let all: Vec<String> =
            path.chain(port.map(Unmet::Port)).chain(listed).chain(rest).map(|unmet| unmet.to_string()).collect();
        f.write_str(if all.is_empty() { "every request" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Exact(exact) => write!(f, "is {}", text(exact)),
            Self::Prefix(prefix) => write!(f, "begins with {}", text(prefix)),
            Self::Regex(regex) => {
                // Lowering wraps what was written, so that it matches the whole value.
                let all = regex.as_str();
                let written = all.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(all);
                write!(f, "matches {written}")
            }
        }
    }
}
