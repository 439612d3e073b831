//! `outboundTrafficPolicy` of a Sidecar and of the `Mesh`: what becomes of hosts that nobody declared.

use super::sidecar::port_number;
use crate::decode::Object;
use crate::names;
use crate::problem::Code;
use weir_policy::place::Place;
use weir_policy::plan::UnknownHosts;

/// `outboundTrafficPolicy`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outbound {
    /// Istio's word for none written is REGISTRY_ONLY.
    pub mode: UnknownHosts,
    /// `egressProxy`: unknown hosts go there.
    pub proxy: Option<EgressProxy>,
    pub place: Place,
}

/// `egressProxy`: a destination by its full name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EgressProxy {
    pub host: String,
    pub subset: Option<String>,
    pub port: u16,
    pub place: Place,
}

const MODES: [(&str, UnknownHosts); 2] = [("REGISTRY_ONLY", UnknownHosts::Refuse), ("ALLOW_ANY", UnknownHosts::Pass)];

/// Reads a Sidecar's `outboundTrafficPolicy`.
pub fn of_sidecar(spec: &Object<'_>) -> Option<Outbound> {
    let policy = spec.object("outboundTrafficPolicy")?;
    let mode = mode(&policy);
    Some(Outbound { mode, proxy: egress_proxy(&policy, mode), place: policy.place() })
}

/// Reads the `Mesh`'s, which knows no egress proxy.
pub fn of_mesh(spec: &Object<'_>) -> Option<Outbound> {
    let policy = spec.object("outboundTrafficPolicy")?;
    let mode = mode(&policy);
    policy.end();
    Some(Outbound { mode, proxy: None, place: policy.place() })
}

fn mode(policy: &Object<'_>) -> UnknownHosts {
    policy.word("mode", &MODES).map_or(UnknownHosts::Refuse, |mode| mode.value)
}

fn egress_proxy(policy: &Object<'_>, mode: UnknownHosts) -> Option<EgressProxy> {
    let proxy = policy.object("egressProxy")?;
    if mode != UnknownHosts::Pass {
        let words = "`egressProxy` needs `mode: ALLOW_ANY`";
        policy.sink.add(policy.problem(Code::Conflict, "egressProxy", words));
        return None;
    }
    let host = proxy.text("host").map(|host| host.value).unwrap_or_default();
    if !names::is_domain(&host) {
        proxy.refuse("host", format!("`{host}` is not a host name"));
    }
    let subset = proxy.text("subset").map(|subset| subset.value).filter(|subset| !subset.is_empty());
    let Some(port) = proxy.object("port") else {
        proxy.missing("port");
        return None;
    };
    let port = u16::try_from(port_number(&port)).unwrap_or_default();
    Some(EgressProxy { host: host.to_ascii_lowercase(), subset, port, place: proxy.place() })
}
