//! Mixer's quotas: what counts (QuotaSpec), for which services (QuotaSpecBinding), how much (memquota, redisquota, or a
//! handler with one of them), and by what (instance).
//!
//! Does not: bring them together (`lower::quota` does).

use super::http_match::{Empty, HttpMatch, StringMatch, string_match};
use super::rate_limit_policy::is_redis;
use crate::decode::{At, Object};
use crate::meta::Document;
use crate::problem::{Code, Problem};
use std::sync::Arc;
use std::time::Duration;
use weir_policy::rate::{How, OnError, Part, Shared};

/// One document.
#[derive(Clone, Debug)]
pub enum Quota {
    Spec(Spec),
    Binding(Binding),
    Amounts(Vec<Limit>),
    Instance(Instance),
}

/// `QuotaSpec.spec`.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub namespace: String,
    pub rules: Vec<Rule>,
}

/// `rules[]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Empty = every request.
    pub matches: Vec<HttpMatch>,
    pub quotas: Vec<Charge>,
}

/// `quotas[]`.
#[derive(Clone, Debug)]
pub struct Charge {
    pub quota: At<String>,
    pub charge: u32,
}

/// `QuotaSpecBinding.spec`: each spec is for each service.
#[derive(Clone, Debug)]
pub struct Binding {
    pub specs: Vec<Named>,
    pub services: Vec<Named>,
}

/// A name in a namespace.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: At<String>,
    pub namespace: String,
}

/// `quotas[]` of a memquota or redisquota, with a time.
#[derive(Clone, Debug)]
pub struct Limit {
    pub name: String,
    pub amount: u32,
    pub valid: Duration,
    pub how: How,
    pub overrides: Vec<Override>,
    pub shared: Option<Shared>,
}

/// `overrides[]`.
#[derive(Clone, Debug)]
pub struct Override {
    pub dimensions: Vec<(String, String)>,
    pub amount: u32,
    pub valid: Duration,
}

/// `instance` of the template `quota`.
#[derive(Clone, Debug)]
pub struct Instance {
    pub name: String,
    pub dimensions: Vec<Dimension>,
}

/// One of `params.dimensions`.
#[derive(Clone, Debug)]
pub struct Dimension {
    pub name: String,
    pub is: Is,
    /// The text behind the last `|`.
    pub default: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Is {
    Part(Part),
    /// The service that the request is for.
    Service,
    /// A text, or what weir does not know: the default.
    Text,
}

/// How long a request waits for the store of a redisquota.
const TIMEOUT: Duration = Duration::from_millis(5);
const LEAST: Duration = Duration::from_millis(1);
const MOST: usize = 1_000;

/// Reads a document of one of these kinds; `None`: it says nothing that counts.
pub fn quota(spec: &Object<'_>, document: &Document<'_>) -> Option<Quota> {
    let (name, namespace) = (&document.name, &document.namespace);
    match document.kind.name {
        "QuotaSpec" => {
            let rules = spec.objects("rules").take(MOST).map(|written| rule(&written)).collect();
            Some(Quota::Spec(Spec { name: name.clone(), namespace: namespace.clone(), rules }))
        }
        "QuotaSpecBinding" => Some(Quota::Binding(binding(spec, namespace))),
        "memquota" => Some(Quota::Amounts(memquota(spec))),
        "redisquota" => Some(Quota::Amounts(redisquota(spec))),
        "handler" => handler(spec).map(Quota::Amounts),
        "instance" => instance(spec, name).map(Quota::Instance),
        _ => {
            tie(spec);
            None
        }
    }
}

/// A `rule`: weir brings instances and handlers together by the names of their quotas.
fn tie(spec: &Object<'_>) {
    spec.later(&["match", "requestHeaderOperations", "responseHeaderOperations", "sampling"]);
    spec.objects("actions").for_each(|action| action.without_effect(&["handler", "instances", "name"]));
}

fn rule(written: &Object<'_>) -> Rule {
    let blocks: Vec<Option<HttpMatch>> = written.objects("match").take(MOST).map(|block| clause(&block)).collect();
    let all = blocks.is_empty();
    let charge = |one: Object<'_>| {
        let charge = one.number("charge", 0, i64::from(u32::MAX)).map_or(1, |charge| charge.value as u32);
        Some(Charge { quota: one.text("quota")?, charge })
    };
    let quotas: Vec<Charge> = written.objects("quotas").take(MOST).filter_map(charge).collect();
    let matches: Vec<HttpMatch> = blocks.into_iter().flatten().collect();
    // Blocks that weir cannot judge hold for nothing; if there are no others, neither does the rule.
    let quotas = if !all && matches.is_empty() { Vec::new() } else { quotas };
    Rule { matches, quotas }
}

/// All of its attributes must be as they are written.
fn clause(block: &Object<'_>) -> Option<HttpMatch> {
    let (mut out, mut known) = (HttpMatch::default(), true);
    for (key, node) in block.map("clause") {
        let Some(written) = Object::of(node, "clause", block.sink) else { continue };
        let Some(found) = string_match(&written, Empty::Allowed) else { continue };
        let slot = match key.text.as_str() {
            "request.path" | "request.url_path" => &mut out.uri,
            "request.method" => &mut out.method,
            "request.host" => &mut out.authority,
            "request.scheme" => &mut out.scheme,
            other => {
                let words = format!("weir does not know the attribute `{other}`: this block holds for no request");
                let problem = Problem::new(Code::NotEnforced, block.sink.place(key.line, key.column), words);
                let hint = "it knows request.path, request.method, request.host and request.scheme";
                block.sink.add(problem.hint(hint));
                known = false;
                continue;
            }
        };
        *slot = Some::<At<StringMatch>>(found);
    }
    known.then_some(out)
}

fn binding(spec: &Object<'_>, namespace: &str) -> Binding {
    let own = |of: &Object<'_>| of.text("namespace").map_or_else(|| namespace.to_owned(), |own| own.value);
    let specs = spec.objects("quotaSpecs").take(MOST);
    let specs = specs.filter_map(|one| Some(Named { namespace: own(&one), name: one.text("name")? })).collect();
    let services = spec.objects("services").take(MOST).filter_map(|one| {
        one.later(&["labels"]);
        let (namespace, domain) = (own(&one), one.text("domain").map(|domain| domain.value));
        let (full, short) = (one.text("service"), one.text("name"));
        let joined = short.map(|name| match domain {
            // Istio joins name, namespace and domain.
            Some(domain) => At { value: format!("{}.{namespace}.{domain}", name.value), place: name.place },
            None => name,
        });
        Some(Named { name: full.or(joined)?, namespace })
    });
    Binding { specs, services: services.collect() }
}

fn memquota(spec: &Object<'_>) -> Vec<Limit> {
    spec.without_effect(&["minDeduplicationDuration"]);
    let read = |written: Object<'_>| {
        written.without_effect(&["bucketDuration", "rateLimitAlgorithm"]);
        limit(&written, How::Rolling, None)
    };
    spec.objects("quotas").take(MOST).filter_map(read).collect()
}

fn redisquota(spec: &Object<'_>) -> Vec<Limit> {
    spec.without_effect(&["connectionPoolSize"]);
    let url = spec.text("redisServerUrl").filter(|url| is_redis(url, spec)).map(|url| Arc::from(url.value));
    let read = |written: Object<'_>| {
        let words = [("FIXED_WINDOW", How::Fixed), ("ROLLING_WINDOW", How::Rolling)];
        let how = written.word("rateLimitAlgorithm", &words).map_or(How::Fixed, |word| word.value);
        let slice = written.duration("bucketDuration", LEAST).map(|slice| slice.value);
        let shared = |url| Shared { url, timeout: TIMEOUT, on_error: OnError::Allow, slice };
        limit(&written, how, url.clone().map(shared))
    };
    spec.objects("quotas").take(MOST).filter_map(read).collect()
}

fn limit(written: &Object<'_>, how: How, shared: Option<Shared>) -> Option<Limit> {
    let amount = |of: &Object<'_>| of.number("maxAmount", 0, i64::from(u32::MAX)).map(|amount| amount.value as u32);
    let (name, most) = (written.text("name"), amount(written));
    let valid = written.duration("validDuration", Duration::ZERO).map(|valid| valid.value);
    let overrides: Vec<Option<Override>> = written
        .objects("overrides")
        .take(MOST)
        .map(|one| {
            let valid = one.duration("validDuration", Duration::ZERO).map(|valid| valid.value).or(valid);
            let amount = amount(&one);
            Some(Override { dimensions: one.text_map("dimensions"), amount: amount?, valid: valid? })
        })
        .collect();
    let Some(valid) = valid.filter(|valid| *valid >= LEAST) else {
        let words =
            "a quota without `validDuration` counts what is given back, which requests do not: it limits nothing";
        written.sink.add(Problem::new(Code::NoEffect, written.place(), words).hint("add `validDuration: 1s`"));
        return None;
    };
    let overrides = overrides.into_iter().flatten().filter(|over| over.valid >= LEAST).collect();
    Some(Limit { name: name?.value, amount: most?, valid, how, overrides, shared })
}

/// A handler: its adapter says what its `params` are.
fn handler(spec: &Object<'_>) -> Option<Vec<Limit>> {
    spec.later(&["connection"]);
    let adapters = [spec.text("compiledAdapter"), spec.text("adapter")];
    let adapter = adapters.into_iter().flatten().next()?;
    let params = spec.node("params");
    match adapter.value.as_str() {
        "memquota" => Some(memquota(&Object::of(params?, "params", spec.sink)?)),
        "redisquota" => Some(redisquota(&Object::of(params?, "params", spec.sink)?)),
        other => {
            let words = format!("weir has no adapter `{other}`: this handler does nothing");
            let problem = Problem::new(Code::NotEnforced, adapter.place.clone(), words);
            spec.sink.add(problem.hint("it has memquota and redisquota"));
            None
        }
    }
}

fn instance(spec: &Object<'_>, name: &str) -> Option<Instance> {
    spec.later(&["attributeBindings"]);
    let templates = [spec.text("compiledTemplate"), spec.text("template")];
    let template = templates.into_iter().flatten().next()?;
    let params = spec.node("params");
    if template.value != "quota" {
        let words = format!("weir has no template `{}`: this instance does nothing", template.value);
        spec.sink.add(Problem::new(Code::NotEnforced, template.place, words).hint("it has `quota`"));
        return None;
    }
    let params = Object::of(params?, "params", spec.sink)?;
    let dimensions = params.map("dimensions").iter().take(MOST).filter_map(|(key, node)| {
        let written = crate::decode::text(node, "dimensions", spec.sink)?;
        let (is, default) = expression(&written.value);
        if is == Is::Text && !written.value.trim().starts_with('"') {
            let words = format!("weir does not know `{}`: it stands for the text `{default}`", written.value);
            let hint =
                "it knows request.headers[\"…\"], request.path, request.method, source.ip and destination.service";
            spec.sink.add(Problem::new(Code::NotEnforced, written.place, words).hint(hint));
        }
        Some(Dimension { name: key.text.clone(), is, default })
    });
    Some(Instance { name: name.to_owned(), dimensions: dimensions.collect() })
}

/// `request.headers["user"] | "unknown"`: the first attribute that weir knows, and the text at the end.
fn expression(written: &str) -> (Is, String) {
    let parts: Vec<&str> = written.split('|').map(str::trim).collect();
    let text = |part: &str| part.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    let default = parts.iter().rev().find_map(|part| text(part)).unwrap_or_else(|| "unknown".to_owned());
    let is = parts.iter().map(|part| attribute(part)).find(|is| *is != Is::Text).unwrap_or(Is::Text);
    (is, default)
}

fn attribute(part: &str) -> Is {
    let header = part.strip_prefix("request.headers[\"").and_then(|rest| rest.strip_suffix("\"]"));
    match (header, part) {
        (Some(name), _) => Is::Part(Part::Header(name.to_ascii_lowercase().into())),
        (None, "request.path" | "request.url_path") => Is::Part(Part::Path),
        (None, "request.method") => Is::Part(Part::Method),
        (None, "source.ip" | "origin.ip") => Is::Part(Part::ClientAddress),
        (None, destination) if destination.starts_with("destination.") => Is::Service,
        _ => Is::Text,
    }
}
