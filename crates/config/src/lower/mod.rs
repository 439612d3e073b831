//! Istio's words to policy's rules: one small file per policy, one walk over all documents.
//!
//! ```text
//!   texts ─► documents by kind ─► graph ─► clusters (one per host, port, subset) ─► tables ─► Plan
//! ```

pub mod balance;
pub mod budget;
pub mod clusters;
pub mod connection;
pub mod cors;
pub mod delegate;
pub mod fault;
pub mod inflight;
pub mod limit;
pub mod merge;
pub mod origins;
pub mod outlier;
pub mod retry;
pub mod route;
pub mod scope;
pub mod services;
pub mod tables;
pub mod timeout;

use crate::bundle::Bundle;
use crate::check::Nodes;
use crate::decode::{Object, Sink};
use crate::graph::Graph;
use crate::kind::destination_rule::{DestinationRule, destination_rule};
use crate::kind::gateway::{Gateway, gateway};
use crate::kind::mesh::{Mesh, mesh};
use crate::kind::service::{Service, Serving, endpoints, service, slice};
use crate::kind::service_entry::{Resolution, ServiceEntry, Workload, service_entry, workload};
use crate::kind::sidecar::{Sidecar, sidecar};
use crate::kind::virtual_service::{VirtualService, virtual_service};
use crate::meta::{self, Body, Document, Use};
use crate::problem::{Code, Problem};
use crate::schema;
use crate::yaml::{self, Node, Value};
use clusters::Clusters;
use scope::Scope;
use std::collections::HashMap;
use weir_policy::place::Place;
use weir_policy::plan::{Compatibility, Plan, Settings};
use weir_policy::trust::Trust;

/// Everything that was read, by kind, in the order of the documents.
#[derive(Default)]
pub struct Words {
    pub virtual_services: Vec<VirtualService>,
    pub rules: Vec<DestinationRule>,
    pub entries: Vec<ServiceEntry>,
    pub workloads: Vec<Workload>,
    pub gateways: Vec<Gateway>,
    pub sidecars: Vec<Sidecar>,
    pub services: Vec<Service>,
    pub serving: Vec<Serving>,
    pub mesh: Option<Mesh>,
    seen: HashMap<(&'static str, String, String), Place>,
}

/// Compiles a bundle. The plan is to be used only when no problem is an error.
pub fn compile(bundle: &Bundle) -> (Plan, Vec<Problem>) {
    build(bundle, Lints::Off)
}

/// Compiles a bundle, and looks for what is accepted and surely not meant.
pub fn check(bundle: &Bundle) -> (Plan, Vec<Problem>) {
    build(bundle, Lints::On)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lints {
    Off,
    On,
}

fn build(bundle: &Bundle, lints: Lints) -> (Plan, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut words = Words::default();
    let mut kept = Vec::new();
    for text in &bundle.texts {
        let nodes = yaml::read(&text.name, &text.text, &mut problems);
        let sink = Sink::new(text.name.clone());
        for node in &nodes {
            words.read(node, &sink, 0);
        }
        problems.extend(sink.take());
        if lints == Lints::On {
            kept.push(Nodes { file: text.name.clone(), nodes });
        }
    }
    let plan = lower(words, bundle, &kept, &mut problems);
    problems.sort_by(|a, b| {
        let key = |of: &Problem| (of.place.line, of.place.column, of.code);
        a.place.file.cmp(&b.place.file).then_with(|| key(a).cmp(&key(b))).then_with(|| a.words.cmp(&b.words))
    });
    // The schema and the reader of a kind can find the same fault.
    problems.dedup_by(|a, b| (a.code, &a.place, &a.words) == (b.code, &b.place, &b.words));
    (plan, problems)
}

fn lower(words: Words, bundle: &Bundle, kept: &[Nodes], problems: &mut Vec<Problem>) -> Plan {
    let Words { virtual_services, rules, entries, workloads, gateways, sidecars, services, serving, mesh, .. } = words;
    let settings = settings(mesh.as_ref(), bundle);
    let services = services::entries(services, &serving, &workloads, problems);
    let virtual_services = delegate::resolve(virtual_services, problems);
    let scope = Scope::of(&sidecars, &bundle.options, problems);
    let graph = Graph::build(scope.services([entries, services].concat()), &workloads, problems);
    let rules = scope.rules(rules);
    let mut clusters = Clusters::new(&graph, rules, mesh.as_ref(), &settings, problems);
    clusters.every_port();
    let outbound = tables::outbound(&mut clusters, &virtual_services, &scope, bundle, problems);
    let gateways = tables::gateways(&mut clusters, &virtual_services, &gateways, bundle, problems);
    if !kept.is_empty() {
        crate::check::lints(kept, &graph, &settings, problems);
    }
    let clusters = clusters.finish();
    Plan { settings, outbound, gateways, clusters, ..Plan::default() }
}

fn settings(mesh: Option<&Mesh>, bundle: &Bundle) -> Settings {
    let mut settings = Settings::default();
    if let Some(mesh) = mesh {
        settings.limits = mesh.limits.clone();
        settings.trust = Trust { outbound: mesh.trust.clone(), gateways: mesh.trust.clone() };
        settings.compatibility = mesh.compatibility.unwrap_or(Compatibility::Weir);
        settings.access_log = mesh.access_log.unwrap_or(settings.access_log);
    }
    settings.origins = origins::of_settings(mesh, &bundle.options);
    settings.compatibility = bundle.options.compatibility.unwrap_or(settings.compatibility);
    settings
}

/// Lists in lists in lists: nobody writes them.
const LISTS: u32 = 4;

impl Words {
    fn read(&mut self, node: &Node, sink: &Sink, depth: u32) {
        if let Some(document) = meta::document(node, "default", sink) {
            self.take(&document, sink, depth);
        }
    }

    fn take(&mut self, document: &Document<'_>, sink: &Sink, depth: u32) {
        let body = &document.body;
        match document.kind.use_ {
            Use::List if depth < LISTS => {
                body.list("items").iter().for_each(|item| self.read(item, sink, depth + 1));
                return;
            }
            Use::List => {
                sink.add(Problem::new(Code::Bounds, document.place.clone(), "lists are nested too deeply"));
                return;
            }
            _ => {}
        }
        let empty = Node { line: document.place.line, column: document.place.column, value: Value::Map(Vec::new()) };
        let spec = match document.kind.body {
            Body::Spec => {
                body.without_effect(&["spec", "status"]);
                body.end();
                body.node("spec").unwrap_or(&empty)
            }
            Body::Flat => body.whole(),
        };
        if let Some(schema) = schema::find(document.kind.group, document.kind.name) {
            schema::check(schema, spec, sink);
        }
        let Some(spec) = Object::of(spec, document.kind.name, sink) else { return };
        if self.is_duplicate(document, sink) {
            // Read for its problems only.
            Self::default().take_spec(document, &spec);
        } else {
            self.take_spec(document, &spec);
        }
    }

    /// Reads a document's `spec` (or its body, where it has none).
    pub fn take_spec(&mut self, document: &Document<'_>, spec: &Object<'_>) {
        let (name, namespace) = (&document.name, &document.namespace);
        match document.kind.use_ {
            Use::VirtualService => self.virtual_services.push(virtual_service(spec, namespace, name)),
            Use::DestinationRule => self.rules.extend(destination_rule(spec, namespace, name)),
            Use::ServiceEntry => self.entries.push(service_entry(spec, namespace)),
            Use::WorkloadEntry => {
                let read = workload(spec, namespace, Resolution::None);
                let labels = |own: Workload| Workload { labels: [own.labels, document.labels.clone()].concat(), ..own };
                self.workloads.extend(read.map(|own| Workload { name: name.clone(), ..labels(own) }));
            }
            Use::Gateway => self.gateways.push(gateway(spec, document)),
            Use::Service => self.services.push(service(spec, document)),
            Use::Endpoints => self.serving.extend(endpoints(spec, document)),
            Use::EndpointSlice => self.serving.extend(slice(spec, document)),
            Use::Sidecar => self.sidecars.push(sidecar(spec, namespace)),
            Use::Mesh => match &self.mesh {
                None => self.mesh = Some(mesh(spec)),
                Some(first) => {
                    let words = format!("there is a Mesh at {} already: at most one counts", first.place);
                    spec.sink.add(Problem::new(Code::DuplicateResource, document.place.clone(), words));
                }
            },
            Use::Later | Use::LaterSecurity => {
                (document.kind.check)(spec, document);
                later(document, spec.sink);
            }
            Use::List => {}
        }
    }

    fn is_duplicate(&mut self, document: &Document<'_>, sink: &Sink) -> bool {
        let key = (document.kind.name, document.namespace.clone(), document.name.clone());
        if let Some(first) = self.seen.get(&key) {
            let words =
                format!("{} `{}` stands at {first} already: this one is ignored", document.kind.name, document.name);
            sink.add(
                Problem::new(Code::DuplicateResource, document.place.clone(), words)
                    .hint("rename or remove one of them"),
            );
            return true;
        }
        self.seen.insert(key, document.place.clone());
        false
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
