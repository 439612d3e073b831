//! Matches and rewrites of VirtualServices.

use super::View;
use super::look::Look;
use crate::problem::{Code, Problem};

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    for doc in view.of_kind("VirtualService") {
        let mut earlier: Vec<Look<'_>> = Vec::new();
        let all: Vec<Look<'_>> = doc.spec.items_at("http").collect();
        for rule in &all {
            rewrites(*rule, &all, out);
            for block in rule.items_at("match") {
                covered(block, &earlier, out);
                earlier.push(block);
            }
        }
    }
}

fn rewrites(rule: Look<'_>, all: &[Look<'_>], out: &mut Vec<Problem>) {
    let Some((to, at)) = rule.text_at("rewrite.uri").zip(rule.get("rewrite.uri")) else { return };
    for prefix in rule.items_at("match").filter_map(|block| block.get("uri.prefix")) {
        let from = prefix.text().unwrap_or_default();
        if from != "/" && from.ends_with('/') != to.ends_with('/') {
            let (path, becomes) = (format!("{}/x", from.trim_end_matches('/')), replaced(from, to));
            let words = format!("`{path}` becomes `{becomes}`: the prefix and its replacement do not end alike");
            let hint =
                if from.ends_with('/') { format!("write `{to}/`") } else { format!("match `{from}/` too, before") };
            out.push(at.problem(Code::RewriteSlash, words).hint(hint));
        }
    }
    for prefix in rule.items_at("match").filter_map(|block| block.get("uri.prefix")) {
        let from = prefix.text().unwrap_or_default();
        let bare = from.trim_end_matches('/');
        let taken = |block: Look<'_>| {
            let exact = block.text_at("uri.exact") == Some(bare);
            let other = block.text_at("uri.prefix").is_some_and(|other| bare.starts_with(other));
            exact || other || !block.has("uri")
        };
        let elsewhere = all.iter().any(|rule| !rule.has("match") || rule.items_at("match").any(taken));
        if !bare.is_empty() && from.ends_with('/') && !elsewhere {
            let words = format!("`{bare}` itself is not matched, and no other rule takes it: it gets 404");
            let hint = format!("add a match `exact: {bare}`, if it is to be answered");
            out.push(prefix.problem(Code::PrefixBoundary, words).hint(hint));
        }
    }
}

/// What `PREFIX/x` (or `PREFIXx`, when the prefix ends with a slash) becomes.
fn replaced(from: &str, to: &str) -> String {
    if from.ends_with('/') { format!("{to}x") } else { format!("{to}/x") }
}

/// Earlier blocks that are compared: a VirtualService with more has other problems.
const COMPARED: usize = 256;

/// IST0131: a match that an earlier one is equal to, or a prefix that an earlier prefix covers.
fn covered(block: Look<'_>, earlier: &[Look<'_>], out: &mut Vec<Problem>) {
    let prefix = block.text_at("uri.prefix");
    let covers = |other: &&Look<'_>| {
        if other.same(block) {
            return true;
        }
        let only_path = other.entries().all(|(name, _)| ["uri", "name", "ignoreUriCase"].contains(&name));
        let shorter = other.text_at("uri.prefix").zip(prefix.or_else(|| block.text_at("uri.exact")));
        only_path && shorter.is_some_and(|(shorter, path)| path.starts_with(shorter))
    };
    if let Some(other) = earlier.iter().take(COMPARED).find(covers) {
        let words = format!("this match never decides: the one at {} comes first and covers it", other.place());
        let hint = "put the narrower one first, or remove it";
        out.push(block.get("uri").unwrap_or(block).problem(Code::CoveredMatch, words).hint(hint));
    }
}
