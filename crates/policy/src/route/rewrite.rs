//! Paths rewritten, and the `location` of redirects.

use super::{Facts, Match, Pattern, Redirect, Rewrite};

/// Appends the rewritten path: the matched prefix is replaced, or the whole path when the match was exact or a regex.
/// A rule without a path match matches the prefix `/`.
pub fn rewritten(rewrite: &Rewrite, when: &Match, path: &[u8], out: &mut Vec<u8>) {
    match rewrite {
        Rewrite::Prefix(replacement) => {
            let matched = match &when.path {
                None => 1,
                Some(Pattern::Prefix(prefix)) => prefix.len(),
                Some(Pattern::Exact(_) | Pattern::Regex(_)) => path.len(),
            };
            out.extend_from_slice(replacement.as_bytes());
            out.extend_from_slice(path.get(matched..).unwrap_or_default());
            if out.first() != Some(&b'/') {
                out.insert(0, b'/');
            }
        }
        Rewrite::Regex { pattern, substitution } => {
            out.extend_from_slice(&pattern.replace_all(path, substitution.as_bytes()));
        }
    }
}

/// Appends the `location` of a redirect: what it does not set stays as in the request.
pub fn location(redirect: &Redirect, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let scheme = redirect.scheme.as_deref().map_or(facts.scheme, str::as_bytes);
    out.extend_from_slice(scheme);
    out.extend_from_slice(b"://");
    match (&redirect.authority, redirect.port) {
        (Some(authority), port) => {
            out.extend_from_slice(authority.as_bytes());
            push_port(port, out);
        }
        (None, Some(port)) => {
            out.extend_from_slice(without_port(facts.authority));
            push_port(Some(port), out);
        }
        (None, None) => out.extend_from_slice(kept_authority(redirect, facts)),
    }
    match &redirect.path {
        None => out.extend_from_slice(facts.path),
        Some(path) => out.extend_from_slice(path.as_bytes()),
    }
    if let Some(query) = facts.query
        && !redirect.path.as_deref().is_some_and(|path| path.contains('?'))
    {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

/// A scheme that changes takes the old one's default port with it.
fn kept_authority<'a>(redirect: &Redirect, facts: &Facts<'a>) -> &'a [u8] {
    let default = match facts.scheme {
        b"https" => &b":443"[..],
        _ => &b":80"[..],
    };
    match redirect.scheme {
        Some(_) => facts.authority.strip_suffix(default).unwrap_or(facts.authority),
        None => facts.authority,
    }
}

fn without_port(authority: &[u8]) -> &[u8] {
    let from = authority.iter().rposition(|byte| *byte == b']').unwrap_or(0);
    let colon = authority[from..].iter().position(|byte| *byte == b':');
    colon.map_or(authority, |at| &authority[..from + at])
}

fn push_port(port: Option<u16>, out: &mut Vec<u8>) {
    if let Some(port) = port {
        out.push(b':');
        out.extend_from_slice(port.to_string().as_bytes());
    }
}
