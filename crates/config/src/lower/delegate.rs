//! `http[].delegate`: the rules of another VirtualService stand in the place of one.
//!
//! ```text
//!   root:     /shop/*  ─► delegate ns/cart          delegate ns/cart:  /shop/cart ─► cart,  /x ─► x
//!   becomes:  /shop/cart ─► cart                    what cannot match both is left out, as in Istio
//! ```
//! What the delegate does not say (timeout, retries, …) is the root's. Does not: delegate twice; Istio does not either.

use crate::decode::At;
use crate::kind::http_match::{HttpMatch, Named, StringMatch};
use crate::kind::virtual_service::{HttpRule, VirtualService};
use crate::problem::{Code, Problem};
use std::sync::Arc;

/// The VirtualServices that have hosts, with the rules of their delegates.
pub fn resolve(services: &[Arc<VirtualService>], problems: &mut Vec<Problem>) -> Vec<Arc<VirtualService>> {
    let (roots, delegates): (Vec<_>, Vec<_>) = services.iter().cloned().partition(|service| !service.hosts.is_empty());
    let mut used = vec![false; delegates.len()];
    let roots = roots.into_iter().map(|root| with_delegates(root, &delegates, &mut used, problems)).collect();
    for (delegate, _) in delegates.iter().zip(&used).filter(|(_, used)| !**used) {
        let words = format!("`{}` has no `hosts`, and no VirtualService delegates to it", delegate.name);
        let hint = "name it in a rule's `delegate`, or give it hosts";
        problems.push(Problem::new(Code::NoEffect, delegate.place.clone(), words).hint(hint));
    }
    roots
}

fn with_delegates(
    root: Arc<VirtualService>,
    delegates: &[Arc<VirtualService>],
    used: &mut [bool],
    problems: &mut Vec<Problem>,
) -> Arc<VirtualService> {
    if root.http.iter().all(|rule| rule.delegate.is_none()) {
        return root;
    }
    let mut rules = Vec::with_capacity(root.http.len());
    for rule in &root.http {
        let Some(reference) = &rule.delegate else {
            rules.push(rule.clone());
            continue;
        };
        let namespace = reference.namespace.as_deref().unwrap_or(&root.namespace);
        let found = delegates.iter().position(|delegate| {
            delegate.name == reference.name
                && delegate.namespace == namespace
                && delegate.export.reaches(&root.namespace)
        });
        let Some(found) = found else {
            let words = format!("no VirtualService without hosts is `{namespace}/{}`", reference.name);
            let hint = "mend the name, or export it to this namespace; until then these requests have no rule";
            problems.push(Problem::new(Code::UnknownDestination, reference.place.clone(), words).hint(hint));
            continue;
        };
        used[found] = true;
        rules.extend(delegates[found].http.iter().filter_map(|own| merge(rule, own, problems)));
    }
    Arc::new(VirtualService { http: rules, ..VirtualService::clone(&root) })
}

/// A delegate's rule under a root's; `None` when no request can match both.
fn merge(root: &HttpRule, own: &HttpRule, problems: &mut Vec<Problem>) -> Option<HttpRule> {
    let Some(matches) = matches(&root.matches, &own.matches) else {
        let words = format!("no request matches this rule and the one at {} that delegates to it", root.place);
        let hint = "under a prefix of the root, a delegate's paths begin with it";
        problems.push(Problem::new(Code::Unreachable, own.place.clone(), words).hint(hint));
        return None;
    };
    let name = match (root.name.as_str(), own.name.as_str()) {
        (name, "") | ("", name) => name.to_owned(),
        (root, own) => format!("{root}-{own}"),
    };
    let mut out = own.clone();
    out.inherit(root);
    Some(HttpRule { name, matches, ..out })
}

/// Every pair of blocks that can hold together; `None` when there is none.
fn matches(root: &[HttpMatch], own: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() || own.is_empty() {
        return Some([root, own].concat());
    }
    let pairs = root.iter().flat_map(|one| own.iter().map(move |other| (one, other)));
    let merged: Vec<HttpMatch> =
        pairs.filter(|(one, other)| agree(one, other)).map(|(one, other)| both(one, other)).collect();
    (!merged.is_empty()).then_some(merged)
}

fn agree(root: &HttpMatch, own: &HttpMatch) -> bool {
    let singles = [(&root.uri, &own.uri), (&root.scheme, &own.scheme), (&root.method, &own.method)];
    let singles = singles.into_iter().chain([(&root.authority, &own.authority)]);
    let lists =
        [(&root.headers, &own.headers), (&root.without_headers, &own.without_headers), (&root.query, &own.query)];
    singles.into_iter().all(|(root, own)| narrower(root.as_ref(), own.as_ref()))
        && lists.into_iter().all(|(root, own)| all_narrower(root, own))
        && root.ignore_case == own.ignore_case
        && (root.port.is_none() || own.port.is_none() || root.port == own.port)
        && (root.source_namespace.is_none()
            || own.source_namespace.is_none()
            || root.source_namespace == own.source_namespace)
        && root
            .source_labels
            .iter()
            .all(|(key, value)| own.source_labels.iter().all(|(other, found)| other != key || found == value))
        && (root.gateways.is_empty() || own.gateways.iter().all(|gateway| root.gateways.contains(gateway)))
}

/// Is the delegate's condition within the root's? Regular expressions are not compared: they conflict.
fn narrower(root: Option<&At<StringMatch>>, own: Option<&At<StringMatch>>) -> bool {
    let (Some(root), Some(own)) = (root, own) else { return true };
    match (&root.value, &own.value) {
        (StringMatch::Exact(root), StringMatch::Exact(own)) => root == own,
        (StringMatch::Prefix(root), StringMatch::Exact(own) | StringMatch::Prefix(own)) => {
            own.starts_with(root.as_str())
        }
        (StringMatch::Exact(_) | StringMatch::Regex(_), _) | (_, StringMatch::Regex(_)) => false,
    }
}

fn all_narrower(root: &[Named], own: &[Named]) -> bool {
    own.iter().all(|(name, own)| {
        let root = root.iter().find(|(other, _)| other == name).and_then(|(_, root)| root.as_ref());
        narrower(root, own.as_ref())
    })
}

/// Both blocks as one: the delegate's conditions, and those that only the root has.
fn both(root: &HttpMatch, own: &HttpMatch) -> HttpMatch {
    let mut out = own.clone();
    for (into, from) in [
        (&mut out.uri, &root.uri),
        (&mut out.scheme, &root.scheme),
        (&mut out.method, &root.method),
        (&mut out.authority, &root.authority),
    ] {
        *into = into.take().or_else(|| from.clone());
    }
    for (into, from) in [
        (&mut out.headers, &root.headers),
        (&mut out.without_headers, &root.without_headers),
        (&mut out.query, &root.query),
    ] {
        let more: Vec<Named> =
            from.iter().filter(|(name, _)| !into.iter().any(|(known, _)| known == name)).cloned().collect();
        into.extend(more);
    }
    out.port = out.port.or(root.port);
    out.source_namespace = out.source_namespace.or_else(|| root.source_namespace.clone());
    for label in &root.source_labels {
        if !out.source_labels.contains(label) {
            out.source_labels.push(label.clone());
        }
    }
    if out.gateways.is_empty() {
        out.gateways.clone_from(&root.gateways);
    }
    out
}
