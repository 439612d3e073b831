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
pub mod envoy_filter;
pub mod fault;
pub mod fault_scope;
pub mod guard;
pub mod hosts;
pub mod inflight;
pub mod limit;
pub mod memory;
pub mod merge;
pub mod origins;
pub mod outlier;
pub mod quota;
pub mod rate;
pub mod retry;
pub mod route;
pub mod scope;
pub mod services;
pub mod tables;
pub mod tcp;
pub mod timeout;
pub mod tls;
pub mod unknown_hosts;

use crate::bundle::Bundle;
use crate::check::Nodes;
use crate::kind::mesh::Mesh;
use crate::problem::Problem;
use crate::words::{self, Keep, Parts, Words};
use clusters::{Clusters, Finished};
use fault_scope::Scopes;
use memory::Memory;
use scope::Scope;
use std::borrow::Cow;
use std::sync::Arc;
use weir_policy::plan::{Compatibility, Plan, Settings};
use weir_policy::trust::Trust;

/// Compiles a bundle. The plan is to be used only when no problem is an error.
pub fn compile(bundle: &Bundle) -> (Plan, Vec<Problem>) {
    Compiler::default().compile(bundle)
}

/// Compiles bundle after bundle: a document that did not change is neither read nor lowered again.
#[derive(Default)]
pub struct Compiler {
    texts: words::Memory,
    lowered: Memory,
}

impl Compiler {
    /// As [`compile`], and remembers.
    pub fn compile(&mut self, bundle: &Bundle) -> (Plan, Vec<Problem>) {
        self.texts.read(&bundle.texts);
        build(bundle, &self.texts.words, &[], &mut self.lowered, self.texts.problems.clone())
    }
}

/// Compiles a bundle, and looks for what is accepted and surely not meant.
pub fn check(bundle: &Bundle) -> (Plan, Vec<Problem>) {
    let parts: Vec<Parts> =
        bundle.texts.iter().map(|text| words::read(text, Keep::Nodes, |_, _| None).into()).collect();
    let nodes = bundle.texts.iter().zip(&parts).map(|(text, parts)| Nodes { file: &text.name, parts });
    let mut problems = Vec::new();
    let words = words::gather(parts.iter(), &mut problems);
    build(bundle, &words, &nodes.collect::<Vec<_>>(), &mut Memory::default(), problems)
}

fn build(
    bundle: &Bundle,
    words: &Words,
    nodes: &[Nodes<'_>],
    memory: &mut Memory,
    mut problems: Vec<Problem>,
) -> (Plan, Vec<Problem>) {
    let plan = lower(words, bundle, nodes, memory, &mut problems);
    problems.sort_by(|a, b| {
        let key = |of: &Problem| (of.place.line, of.place.column, of.code);
        a.place.file.cmp(&b.place.file).then_with(|| key(a).cmp(&key(b))).then_with(|| a.words.cmp(&b.words))
    });
    // The schema and the reader of a kind can find the same fault.
    problems.dedup_by(|a, b| (a.code, &a.place, &a.words) == (b.code, &b.place, &b.words));
    (plan, problems)
}

fn lower(
    words: &Words,
    bundle: &Bundle,
    nodes: &[Nodes<'_>],
    memory: &mut Memory,
    problems: &mut Vec<Problem>,
) -> Plan {
    // Whatever happens on the way, what is kept is whole.
    let mut now = std::mem::take(memory);
    now.begin(words, bundle);
    let mesh = words.mesh.as_deref();
    let mut settings = settings(mesh, bundle);
    let virtual_services = match words.delegating {
        true => Cow::Owned(delegate::resolve(&words.virtual_services, problems)),
        false => Cow::Borrowed(words.virtual_services.as_slice()),
    };
    let scope = Scope::of(&words.sidecars, &bundle.options, problems);
    let unknown = unknown_hosts::policy(&scope, mesh, &mut settings);
    let ground = now.ground(words, &scope, problems);
    let rules = scope.rules(&words.rules);
    let kept = std::mem::take(&mut now.clusters);
    let mut clusters = Clusters::new(&ground, rules, mesh, &settings, kept, problems);
    clusters.scopes = Scopes::of(&words.policies, &virtual_services, &clusters, problems);
    clusters.every_port();
    let gateways = guard::close(owned(&words.gateways), &words.guards, &bundle.options, problems);
    let kept = &mut now.outbound;
    let outbound = tables::outbound(&mut clusters, &virtual_services, &scope, unknown.as_ref(), bundle, kept, problems);
    let kept = &mut now.doors.ports;
    let gateways = tables::gateways(&mut clusters, &virtual_services, &gateways, bundle, kept, problems);
    let services = tcp::services(&mut clusters, &virtual_services, &scope, &gateways, bundle, problems);
    if !nodes.is_empty() {
        crate::check::lints(nodes, &ground.graph, &settings, problems);
    }
    let Finished { clusters, kept } = clusters.finish();
    now.clusters = kept;
    let graph = Arc::clone(&ground.graph);
    now.keep(ground);
    *memory = now;
    let mut plan = Plan { settings, outbound, gateways, services, clusters, ..Plan::default() };
    envoy_filter::apply(&mut plan, &words.filters, bundle, problems);
    let known = rate::Known { graph: &graph, services: &virtual_services, gateways: &words.gateways };
    let quotas = quota::lower(&words.quotas, &graph, &mut plan, problems);
    rate::apply(&mut plan, &words.rates, &known, quotas, problems);
    plan
}

/// What is changed on the way: few documents beside the VirtualServices.
fn owned<T: Clone>(words: &[Arc<T>]) -> Vec<T> {
    words.iter().map(|word| T::clone(word)).collect()
}

fn settings(mesh: Option<&Mesh>, bundle: &Bundle) -> Settings {
    let mut settings = Settings::default();
    if let Some(mesh) = mesh {
        settings.limits = mesh.limits.clone();
        settings.fronted = mesh.fronted;
        settings.trust = Trust { outbound: mesh.trust.clone(), gateways: mesh.trust.clone() };
        settings.compatibility = mesh.compatibility.unwrap_or(Compatibility::Weir);
        settings.access_log = mesh.access_log.unwrap_or(settings.access_log);
    }
    settings.origins = origins::of_settings(mesh, &bundle.options);
    settings.compatibility = bundle.options.compatibility.unwrap_or(settings.compatibility);
    settings
}
