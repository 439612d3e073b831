//! Where policies of destinations are written: for the host, for a subset, for a port; and what else holds there.

use super::look::Look;
use super::{Doc, View};
use crate::kind::service_entry::Resolution;
use std::time::Duration;
use weir_policy::plan::Compatibility;

/// A block of a `trafficPolicy`, such as `connectionPool`, and where it holds.
pub(super) struct Block<'a, 'v> {
    pub(super) at: Look<'a>,
    pub(super) doc: Doc<'a>,
    /// The one name of the host.
    pub(super) host: String,
    pub(super) level: Level<'a>,
    view: &'v View<'a>,
    block: &'static str,
}

/// What a block holds for.
#[derive(Clone, Copy)]
pub(super) enum Level<'a> {
    Host,
    Subset(Look<'a>),
    Port(u16),
}

/// Every block of this name in every DestinationRule.
pub(super) fn blocks<'a, 'v>(view: &'v View<'a>, block: &'static str) -> Vec<Block<'a, 'v>> {
    let mut out = Vec::new();
    for doc in view.of_kind("DestinationRule") {
        let Some(host) = doc.spec.text_at("host") else { continue };
        let host = view.name(host, doc);
        let mut add = |policy: Look<'a>, level| {
            if let Some(at) = policy.get(block) {
                out.push(Block { at, doc: *doc, host: host.clone(), level, view, block });
            }
        };
        let subsets = doc
            .spec
            .items_at("subsets")
            .filter_map(|subset| Some((subset.get("trafficPolicy")?, Level::Subset(subset))));
        let whole = doc.spec.get("trafficPolicy").map(|policy| (policy, Level::Host));
        for (policy, level) in whole.into_iter().chain(subsets) {
            add(policy, level);
            for port in policy.items_at("portLevelSettings") {
                if let Some(number) = port.number_at("port.number").and_then(|number| u16::try_from(number).ok()) {
                    add(port, Level::Port(number));
                }
            }
        }
    }
    out
}

impl<'a> Block<'a, '_> {
    /// The field's value here, or what another DestinationRule for the host says: fields are merged, the first one wins.
    pub(super) fn field(&self, path: &str) -> Option<Look<'a>> {
        let here = self.at.get(path);
        if here.is_some() || !matches!(self.level, Level::Host) || self.view.compatibility == Compatibility::Istio {
            return here;
        }
        let others = self.view.rules_for(&self.host).iter();
        others.filter_map(|other| other.spec.get("trafficPolicy")?.get(self.block)?.get(path)).next()
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.field(path)?.number()
    }

    pub(super) fn duration(&self, path: &str) -> Option<Duration> {
        crate::duration::parse(self.field(path)?.text()?)
    }

    pub(super) fn is_true(&self, path: &str) -> bool {
        self.field(path).and_then(Look::text).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// How many endpoints it is about; `None`: the host is not known, or its endpoints come and go.
    pub(super) fn endpoints(&self) -> Option<usize> {
        let index = self.view.graph.find(self.doc.spec.text_at("host")?, self.doc.namespace)?;
        let service = &self.view.graph.services[index];
        if service.resolution != Resolution::Static {
            return None;
        }
        let labels = match self.level {
            Level::Subset(subset) => subset.get("labels").map(Look::pairs).unwrap_or_default(),
            Level::Host | Level::Port(_) => Vec::new(),
        };
        Some(service.workloads.iter().filter(|one| labels.iter().all(|label| one.labels.contains(label))).count())
    }

    /// The protocols of the ports it is about, upper case; empty when the host is not known.
    pub(super) fn protocols(&self) -> Vec<String> {
        let host = self.doc.spec.text_at("host").unwrap_or_default();
        let Some(index) = self.view.graph.find(host, self.doc.namespace) else { return Vec::new() };
        let ports = self.view.graph.services[index].ports.iter();
        let ours = ports.filter(|port| !matches!(self.level, Level::Port(number) if number != port.number));
        ours.map(|port| port.protocol.to_uppercase()).collect()
    }

    /// The host as it is written.
    pub(super) fn host_text(&self) -> &'a str {
        self.doc.spec.text_at("host").unwrap_or_default()
    }
}
