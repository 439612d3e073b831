//! Lints: what is accepted and surely not meant. One small file per family, each over all documents.
//!
//! ```text
//!   nodes of all texts ─► documents ─┐
//!   graph: services and endpoints ───┴─► retries outliers pools edges paths quotas names services conflicts alerts monitors ─► problems
//! ```
//! Lints read the nodes, not the typed words: they point at single fields, at fields that Istio ignores, and at kinds
//! that the data plane has no use for. What a document means (which service a host is, how many endpoints it has)
//! comes from the same graph that the plan is made of.
//!
//! Does not: refuse anything; no lint is an error.

mod look;

mod alerts;
mod conflicts;
mod deprecated;
mod edges;
mod gateways;
mod monitors;
mod names;
mod outliers;
mod paths;
mod policies;
mod pools;
mod promql;
mod quotas;
mod retries;
mod services;

use crate::graph::{Graph, canonical};
use crate::problem::{Code, Problem};
use crate::words::Part;
use look::Look;
use std::collections::HashMap;
use std::sync::Arc;
use weir_policy::place::Place;
use weir_policy::plan::{Compatibility, Settings};

/// The documents of one text, as nodes.
pub struct Nodes<'a> {
    pub file: &'a Arc<str>,
    pub parts: &'a [Arc<Part>],
}

/// A document, as lints see it.
#[derive(Clone, Copy)]
struct Doc<'a> {
    kind: &'a str,
    name: &'a str,
    namespace: &'a str,
    whole: Look<'a>,
    spec: Look<'a>,
}

/// Pairs of texts.
type Labels = Vec<(String, String)>;

/// Everything that lints look at.
struct View<'a> {
    docs: Vec<Doc<'a>>,
    graph: &'a Graph,
    compatibility: Compatibility,
    /// By the one name of the host: the DestinationRules for it, in order.
    rules: HashMap<String, Vec<Doc<'a>>>,
}

/// Adds what the lints find.
pub fn lints(kept: &[Nodes<'_>], graph: &Graph, settings: &Settings, problems: &mut Vec<Problem>) {
    let view = View::of(kept, graph, settings.compatibility);
    let families = [
        retries::lint,
        outliers::lint,
        pools::lint,
        edges::lint,
        paths::lint,
        quotas::lint,
        names::lint,
        gateways::lint,
        services::lint,
        conflicts::lint,
        alerts::lint,
        monitors::lint,
        deprecated::lint,
    ];
    let mut found = Vec::new();
    for family in families {
        family(&view, &mut found);
    }
    add(found, problems);
}

/// What the compiler has found already only gains its edit.
fn add(found: Vec<Problem>, problems: &mut Vec<Problem>) {
    let key = |problem: &Problem| (problem.code, problem.place.clone());
    let known: HashMap<(Code, Place), usize> = problems.iter().map(key).zip(0..).collect();
    for problem in found {
        match known.get(&key(&problem)) {
            None => problems.push(problem),
            Some(first) => problems[*first].fix = problems[*first].fix.take().or(problem.fix),
        }
    }
}

/// Lists in lists: as deep as the reader goes.
const LISTS: u32 = 4;

impl<'a> View<'a> {
    fn of(kept: &[Nodes<'a>], graph: &'a Graph, compatibility: Compatibility) -> Self {
        let mut docs = Vec::new();
        for text in kept {
            for node in text.parts.iter().flat_map(|part| &part.nodes) {
                collect(Look::new(node, text.file), &mut docs, 0);
            }
        }
        let mut rules: HashMap<String, Vec<Doc<'a>>> = HashMap::new();
        for doc in docs.iter().filter(|doc| doc.kind == "DestinationRule") {
            if let Some(host) = doc.spec.text_at("host") {
                rules.entry(name_of(graph, host, doc.namespace)).or_default().push(*doc);
            }
        }
        Self { docs, graph, compatibility, rules }
    }

    /// The documents of a kind.
    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &Doc<'a>> {
        self.docs.iter().filter(move |doc| doc.kind == kind)
    }

    /// The one name of a host as seen from a document.
    fn name(&self, host: &str, doc: &Doc<'_>) -> String {
        name_of(self.graph, host, doc.namespace)
    }

    /// The DestinationRules for a host's one name.
    fn rules_for(&self, name: &str) -> &[Doc<'a>] {
        self.rules.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Hosts with their DestinationRules.
    fn ruled(&self) -> impl Iterator<Item = (&String, &Vec<Doc<'a>>)> {
        self.rules.iter()
    }
}

fn name_of(graph: &Graph, host: &str, namespace: &str) -> String {
    match graph.find(host, namespace) {
        Some(index) => {
            let service = &graph.services[index];
            canonical(&service.host, &service.namespace)
        }
        None => canonical(host, namespace),
    }
}

fn collect<'a>(whole: Look<'a>, docs: &mut Vec<Doc<'a>>, depth: u32) {
    let Some(kind) = whole.text_at("kind") else { return };
    if kind == "List" {
        if depth < LISTS {
            whole.items_at("items").for_each(|item| collect(item, docs, depth + 1));
        }
        return;
    }
    let name = whole.text_at("metadata.name").unwrap_or_default();
    let namespace = whole.text_at("metadata.namespace").unwrap_or("default");
    let spec = whole.get("spec").unwrap_or(whole);
    docs.push(Doc { kind, name, namespace, whole, spec });
}
