//! `targetRefs` of our own policies: what a policy is for.
//!
//! Does not: resolve names.

use crate::decode::{At, Object};

/// `targetRefs[]`.
#[derive(Clone, Debug)]
pub struct Target {
    /// The policy's own, where none is written.
    pub namespace: String,
    pub name: At<String>,
    pub kind: TargetKind,
}

#[derive(Clone, Debug)]
pub enum TargetKind {
    /// A service, or what of it has this port and subset.
    Service {
        port: Option<u16>,
        subset: Option<String>,
    },
    /// `VIRTUALSERVICE/ROUTE`.
    Route,
    Gateway,
    /// Not enforced by any policy yet.
    Workload,
}

/// Reads one; `None`: a problem says why.
pub fn target(written: &Object<'_>, namespace: &str) -> Option<Target> {
    let port = written.number("port", 1, i64::from(u16::MAX)).map(|port| port.value as u16);
    let subset = written.text("subset").map(|subset| subset.value);
    let own = written.text("namespace").map(|namespace| namespace.value);
    let (name, kind) = (written.text("name"), written.text("kind")?.value);
    let kind = match kind.as_str() {
        "Service" => TargetKind::Service { port, subset },
        "Route" => TargetKind::Route,
        "Gateway" => TargetKind::Gateway,
        "Workload" => TargetKind::Workload,
        // The schema says so.
        _ => return None,
    };
    Some(Target { namespace: own.unwrap_or_else(|| namespace.to_owned()), name: name?, kind })
}
