//! Texts to Istio's words, document by document.
//!
//! ```text
//!   text ─► chunks (one a document) ─┬─ as before (`memory`) ─► the part as it was
//!                                    └─ new ─► yaml ─► schema ─► kind ─► part: words and problems
//!   parts of all texts ─► Words, in order; the second of two of one name is left out
//! ```
//! Does not: resolve names.

use crate::bundle::Text;
use crate::decode::{Object, Sink};
use crate::kind::destination_rule::{DestinationRule, destination_rule};
use crate::kind::envoy_filter::{EnvoyFilter, envoy_filter};
use crate::kind::gateway::{Gateway, gateway};
use crate::kind::mesh::{Mesh, mesh};
use crate::kind::policy::{self, Guard};
use crate::kind::quota::{Quota, quota};
use crate::kind::rate_limit_policy::{RateLimitPolicy, rate_limit_policy};
use crate::kind::reliability_policy::{ReliabilityPolicy, reliability_policy};
use crate::kind::service::{Service, Serving, endpoints, service, slice};
use crate::kind::service_entry::{Resolution, ServiceEntry, Workload, service_entry, workload};
use crate::kind::sidecar::{Sidecar, sidecar};
use crate::kind::virtual_service::{VirtualService, virtual_service};
use crate::meta::{self, Body, Document, Use};
use crate::problem::{Code, Few, Problem};
use crate::schema;
use crate::yaml::{self, Chunk, Node, Size, Value};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use weir_policy::place::Place;

mod memory;

pub use memory::Memory;

/// Everything that was read, by kind, in the order of the documents.
#[derive(Default)]
pub struct Words {
    pub virtual_services: Vec<Arc<VirtualService>>,
    /// One of them delegates, or is delegated to.
    pub delegating: bool,
    pub rules: Vec<Arc<DestinationRule>>,
    pub entries: Vec<Arc<ServiceEntry>>,
    pub workloads: Vec<Arc<Workload>>,
    pub gateways: Vec<Arc<Gateway>>,
    pub sidecars: Vec<Arc<Sidecar>>,
    /// Security policies that are not enforced yet.
    pub guards: Vec<Arc<Guard>>,
    pub filters: Vec<Arc<EnvoyFilter>>,
    pub policies: Vec<Arc<ReliabilityPolicy>>,
    pub rates: Vec<Arc<RateLimitPolicy>>,
    pub quotas: Vec<Arc<Quota>>,
    pub services: Vec<Arc<Service>>,
    pub serving: Vec<Arc<Serving>>,
    pub mesh: Option<Arc<Mesh>>,
}

/// A document's words.
#[derive(Clone)]
enum Word {
    VirtualService(Arc<VirtualService>),
    Rule(Arc<DestinationRule>),
    Entry(Arc<ServiceEntry>),
    Workload(Arc<Workload>),
    Gateway(Arc<Gateway>),
    Sidecar(Arc<Sidecar>),
    Guard(Arc<Guard>),
    Filter(Arc<EnvoyFilter>),
    Policy(Arc<ReliabilityPolicy>),
    Rate(Arc<RateLimitPolicy>),
    Quota(Arc<Quota>),
    Service(Arc<Service>),
    Serving(Vec<Arc<Serving>>),
    Mesh(Arc<Mesh>),
}

/// A document that was read.
struct Known {
    kind: &'static str,
    namespace: String,
    name: String,
    place: Place,
    /// `None`: its spec is unusable, or the kind has no words yet.
    word: Option<Word>,
}

/// The parts of a text, in order.
pub type Parts = Arc<[Arc<Part>]>;

/// A chunk of a text, read.
pub struct Part {
    /// Bytes of the chunk.
    length: usize,
    line: u32,
    size: Size,
    known: Vec<Known>,
    problems: Few,
    /// Kept for lints only.
    pub nodes: Vec<Node>,
}

/// What the lints need beside the words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Words,
    Nodes,
}

/// Reads a text; `known` may have the part of a chunk already.
pub fn read(text: &Text, keep: Keep, mut known: impl FnMut(Chunk<'_>, usize) -> Option<Arc<Part>>) -> Vec<Arc<Part>> {
    if let Some(problem) = yaml::too_large(&text.name, &text.text) {
        return vec![Arc::new(Part::refused(problem))];
    }
    let mut size = Size::default();
    let mut parts = Vec::new();
    for (at, chunk) in yaml::split(&text.text).into_iter().enumerate() {
        let part = known(chunk, at).unwrap_or_else(|| Arc::new(Part::read(&text.name, chunk, size, keep)));
        size.nodes += part.size.nodes;
        size.copies += part.size.copies;
        parts.push(part);
    }
    parts
}

impl Part {
    fn refused(problem: Problem) -> Self {
        Self {
            length: 0,
            line: 0,
            size: Size::default(),
            known: Vec::new(),
            problems: Few::of(problem),
            nodes: Vec::new(),
        }
    }

    fn read(name: &Arc<str>, chunk: Chunk<'_>, before: Size, keep: Keep) -> Self {
        let mut problems = Few::default();
        let read = yaml::read_chunk(name, chunk, before, &mut problems);
        let sink = Sink::new(Arc::clone(name));
        let mut known = Vec::new();
        for node in &read.documents {
            document(node, &sink, 0, &mut known);
        }
        problems.add_all(&sink.take());
        let nodes = if keep == Keep::Nodes { read.documents } else { Vec::new() };
        Self { length: chunk.text.len(), line: chunk.line, size: read.size, known, problems, nodes }
    }
}

/// The words of all texts' parts, in order.
pub fn gather<'p>(texts: impl Iterator<Item = &'p Parts> + Clone, problems: &mut Vec<Problem>) -> Words {
    let mut words = Words::default();
    let mut seen = HashMap::with_capacity(texts.clone().map(|parts| parts.len()).sum());
    for parts in texts {
        match &**parts {
            [part] => told(&part.problems, problems),
            parts => {
                let mut few = Few::default();
                parts.iter().for_each(|part| few.add_all(&part.problems));
                told(&few, problems);
            }
        }
        for known in parts.iter().flat_map(|part| &part.known) {
            words.gather(known, &mut seen, problems);
        }
    }
    words
}

fn told(few: &Few, problems: &mut Vec<Problem>) {
    problems.extend(few.rest());
    problems.extend_from_slice(&few.problems);
}

/// Documents by what tells them apart: kind, namespace, name.
type Seen<'p> = HashMap<(&'p str, &'p str, &'p str), &'p Place>;

impl Words {
    fn gather<'p>(&mut self, known: &'p Known, seen: &mut Seen<'p>, problems: &mut Vec<Problem>) {
        let key = (known.kind, known.namespace.as_str(), known.name.as_str());
        match seen.entry(key) {
            Entry::Occupied(first) => {
                let first = first.get();
                let words = format!("{} `{}` stands at {first} already: this one is ignored", known.kind, known.name);
                let problem = Problem::new(Code::DuplicateResource, known.place.clone(), words);
                problems.push(problem.hint("rename or remove one of them"));
            }
            Entry::Vacant(free) => {
                free.insert(&known.place);
                if let Some(word) = &known.word {
                    self.add(word.clone(), &known.place, problems);
                }
            }
        }
    }

    fn add(&mut self, word: Word, place: &Place, problems: &mut Vec<Problem>) {
        match word {
            Word::VirtualService(word) => {
                self.delegating |= !word.is_plain();
                self.virtual_services.push(word);
            }
            Word::Rule(word) => self.rules.push(word),
            Word::Entry(word) => self.entries.push(word),
            Word::Workload(word) => self.workloads.push(word),
            Word::Gateway(word) => self.gateways.push(word),
            Word::Sidecar(word) => self.sidecars.push(word),
            Word::Guard(word) => self.guards.push(word),
            Word::Filter(word) => self.filters.push(word),
            Word::Policy(word) => self.policies.push(word),
            Word::Rate(word) => self.rates.push(word),
            Word::Quota(word) => self.quotas.push(word),
            Word::Service(word) => self.services.push(word),
            Word::Serving(word) => self.serving.extend(word),
            Word::Mesh(word) => match &self.mesh {
                None => self.mesh = Some(word),
                Some(first) => {
                    let words = format!("there is a Mesh at {} already: at most one counts", first.place);
                    problems.push(Problem::new(Code::DuplicateResource, place.clone(), words));
                }
            },
        }
    }
}

/// Lists in lists in lists: nobody writes them.
const LISTS: u32 = 4;

fn document(node: &Node, sink: &Sink, depth: u32, known: &mut Vec<Known>) {
    let Some(document_) = meta::document(node, "default", sink) else { return };
    let body = &document_.body;
    match document_.kind.use_ {
        Use::List if depth < LISTS => {
            body.list("items").iter().for_each(|item| document(item, sink, depth + 1, known));
            return;
        }
        Use::List => {
            sink.add(Problem::new(Code::Bounds, document_.place.clone(), "lists are nested too deeply"));
            return;
        }
        _ => {}
    }
    let word = words_of(&document_, sink);
    let Document { kind, name, namespace, place, .. } = document_;
    known.push(Known { kind: kind.name, namespace, name, place, word });
}

fn words_of(document: &Document<'_>, sink: &Sink) -> Option<Word> {
    let body = &document.body;
    let empty = Node { line: document.place.line, column: document.place.column, value: Value::Map(Vec::new()) };
    let spec = match document.kind.body {
        Body::Spec => {
            body.without_effect(&["spec", "status"]);
            body.end();
            body.node("spec").unwrap_or(&empty)
        }
        Body::Flat => body.whole(),
    };
    let shape = sink.beside();
    if let Some(schema) = schema::find(document.kind.group, document.kind.name) {
        schema::check(schema, spec, &shape);
    }
    let word = Object::of(spec, document.kind.name, sink).and_then(|spec| word(document, &spec));
    sink.add_new(shape.take());
    word
}

/// Reads a `spec` (or a body, of kinds that have none) for its problems and for what is asked of it.
pub fn read_spec(document: &Document<'_>, spec: &Object<'_>) {
    word(document, spec);
}

fn word(document: &Document<'_>, spec: &Object<'_>) -> Option<Word> {
    let (name, namespace) = (&document.name, &document.namespace);
    match document.kind.use_ {
        Use::VirtualService => Some(Word::VirtualService(Arc::new(virtual_service(spec, namespace, name)))),
        Use::DestinationRule => destination_rule(spec, namespace, name).map(|rule| Word::Rule(Arc::new(rule))),
        Use::ServiceEntry => Some(Word::Entry(Arc::new(service_entry(spec, namespace)))),
        Use::WorkloadEntry => {
            let own = workload(spec, namespace, Resolution::None)?;
            let labels = [own.labels.as_slice(), &document.labels].concat();
            Some(Word::Workload(Arc::new(Workload { name: name.clone(), labels, ..own })))
        }
        Use::Gateway => Some(Word::Gateway(Arc::new(gateway(spec, document)))),
        Use::Service => Some(Word::Service(Arc::new(service(spec, document)))),
        Use::Endpoints => Some(Word::Serving(endpoints(spec, document).into_iter().map(Arc::new).collect())),
        Use::EndpointSlice => slice(spec, document).map(|serving| Word::Serving(vec![Arc::new(serving)])),
        Use::EnvoyFilter => Some(Word::Filter(Arc::new(envoy_filter(spec, namespace, &document.name)))),
        Use::Sidecar => Some(Word::Sidecar(Arc::new(sidecar(spec, namespace)))),
        Use::ReliabilityPolicy => Some(Word::Policy(Arc::new(reliability_policy(spec, namespace)))),
        Use::RateLimitPolicy => Some(Word::Rate(Arc::new(rate_limit_policy(spec, namespace, name)))),
        Use::Quota => quota(spec, document).map(|quota| Word::Quota(Arc::new(quota))),
        Use::Mesh => Some(Word::Mesh(Arc::new(mesh(spec)))),
        Use::Later | Use::LaterSecurity => {
            (document.kind.check)(spec, document);
            later(document, spec.sink);
            // mTLS is between sidecars: the clients of a Gateway are none.
            let guards = document.kind.use_ == Use::LaterSecurity && document.kind.name != "PeerAuthentication";
            let guard = if guards { policy::guard(spec, document) } else { None };
            guard.map(|guard| Word::Guard(Arc::new(guard)))
        }
        Use::List => None,
    }
}

fn later(document: &Document<'_>, sink: &Sink) {
    let kind = document.kind.name;
    let problem = if document.kind.use_ == Use::LaterSecurity {
        let words = format!("{kind} is accepted and not enforced yet: do not rely on it");
        Problem::new(Code::SecurityNotEnforced, document.place.clone(), words)
    } else {
        Problem::new(Code::NotEnforced, document.place.clone(), format!("{kind} is accepted and not enforced yet"))
    };
    sink.add(problem);
}
