//! Mixer's quotas → [`weir_policy::rate::Rules`], for the services that they are bound to.
//!
//! ```text
//!   binding ─► spec ─► rule ─► quota ─┬─► amount of that name (memquota, redisquota)      none: nothing is limited
//!             └─► services            └─► instance of that name: dimensions = key
//! ```
//! A quota has one set of cells for all services, unless a dimension is the service. Does not: make up amounts.

use super::rate::{Attached, Attachment, Rank, add, service};
use super::route::conditions;
use crate::graph::Graph;
use crate::kind::quota::{Charge, Dimension, Instance, Is, Limit, Quota, Rule, Spec};
use crate::problem::Problem;
use std::sync::Arc;
use weir_policy::plan::Plan;
use weir_policy::rate::{Amount, Cost, Key, MOST_PARTS, Override, Part, Rules};

/// All documents about quotas.
struct Quotas<'q> {
    specs: Vec<&'q Spec>,
    amounts: Vec<&'q Limit>,
    instances: Vec<&'q Instance>,
}

/// The limits of every bound service.
pub fn lower(quotas: &[Arc<Quota>], graph: &Graph, plan: &mut Plan, problems: &mut Vec<Problem>) -> Vec<Attached> {
    let mut all = Quotas { specs: Vec::new(), amounts: Vec::new(), instances: Vec::new() };
    let mut bindings = Vec::new();
    for quota in quotas {
        match &**quota {
            Quota::Spec(spec) => all.specs.push(spec),
            Quota::Binding(binding) => bindings.push(binding),
            Quota::Amounts(amounts) => all.amounts.extend(amounts),
            Quota::Instance(instance) => all.instances.push(instance),
        }
    }
    let mut out = Vec::new();
    for binding in bindings {
        for to in &binding.services {
            let Some(host) = service(&to.name, &to.namespace, graph, problems) else { continue };
            for wanted in &binding.specs {
                let named = |spec: &&&Spec| spec.name == wanted.name.value && spec.namespace == wanted.namespace;
                // A binding of a spec that is not there: `check` says so.
                let Some(spec) = all.specs.iter().find(named) else { continue };
                let limits = all.limits(spec, &host).into_iter().map(|rules| add(plan, rules)).collect();
                let at = Attachment::Service { host: host.clone(), port: None, subset: None };
                out.push(Attached { at, rank: Rank::Always, limits, place: wanted.name.place.clone() });
            }
        }
    }
    out.retain(|attached| !attached.limits.is_empty());
    out
}

impl Quotas<'_> {
    fn limits(&self, spec: &Spec, host: &str) -> Vec<Rules> {
        let charges = spec.rules.iter().flat_map(|rule| rule.quotas.iter().map(move |charge| (rule, charge)));
        charges
            .filter(|(_, charge)| charge.charge > 0)
            .filter_map(|(rule, charge)| self.limit(spec, rule, charge, host))
            .collect()
    }

    fn limit(&self, spec: &Spec, rule: &Rule, charge: &Charge, host: &str) -> Option<Rules> {
        let name = first(&charge.quota.value);
        let limit = self.amounts.iter().find(|limit| first(&limit.name) == name)?;
        let instance = self.instances.iter().find(|instance| instance.name == name);
        let dimensions = instance.map(|instance| instance.dimensions.as_slice()).unwrap_or_default();
        let own = if dimensions.iter().any(|dimension| dimension.is == Is::Service) {
            format!("@{host}")
        } else {
            String::new()
        };
        let amount = |requests, per| Amount { requests, per, burst: requests, how: limit.how };
        let id = format!("{}/{}#{name}{own}", spec.namespace, spec.name);
        let overrides = limit.overrides.iter().filter_map(|over| {
            let values = values(&over.dimensions, dimensions, host)?;
            Some(Override { values, amount: amount(over.amount, over.valid) })
        });
        Some(Rules {
            when: rule.matches.iter().map(conditions).collect(),
            key: parts(dimensions).map(|found| found.part.clone()).collect(),
            overrides: overrides.collect(),
            cost: Cost { header: None, default: charge.charge },
            shared: limit.shared.clone(),
            ..Rules::new(id.into(), amount(limit.amount, limit.valid))
        })
    }
}

/// A dimension that requests differ in.
struct Found<'d> {
    of: &'d Dimension,
    part: &'d Part,
}

fn parts(dimensions: &[Dimension]) -> impl Iterator<Item = Found<'_>> {
    dimensions.iter().filter_map(found).take(MOST_PARTS)
}

const fn found(of: &Dimension) -> Option<Found<'_>> {
    match &of.is {
        Is::Part(part) => Some(Found { of, part }),
        Is::Service | Is::Text => None,
    }
}

/// What a key must be for an override; `None`: it is for no request of this service.
fn values(wanted: &[(String, String)], dimensions: &[Dimension], host: &str) -> Option<Vec<Option<Box<[u8]>>>> {
    let fixed = |name: &str, value: &str| {
        let dimension = dimensions.iter().find(|dimension| dimension.name == name)?;
        match dimension.is {
            Is::Part(_) => Some(()),
            Is::Service => (value == host || Some(value) == host.split('.').next()).then_some(()),
            Is::Text => (value == dimension.default).then_some(()),
        }
    };
    wanted.iter().try_for_each(|(name, value)| fixed(name, value))?;
    let value = |found: Found<'_>| {
        let (_, value) = wanted.iter().find(|(name, _)| *name == found.of.name)?;
        // The default stands for what is not there.
        let key = if *value == found.of.default { Key::missing() } else { Key::written([value.as_str()]) };
        Some(key.bytes().into())
    };
    Some(parts(dimensions).map(value).collect())
}

/// `requestcount.instance.istio-system` and `requestcount` are one quota.
fn first(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}
