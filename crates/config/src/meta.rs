//! What every document has: apiVersion, kind, name, namespace, labels. And which kinds there are.

use crate::decode::{At, Object, Sink, similar};
use crate::problem::{Code, Problem};
use crate::yaml::Node;
use weir_policy::place::Place;

/// A document whose kind is known.
pub struct Document<'a> {
    pub kind: &'static Kind,
    pub name: String,
    pub namespace: String,
    pub labels: Vec<(String, String)>,
    pub place: Place,
    pub body: Object<'a>,
}

/// A kind and where it lives.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub group: &'static str,
    pub versions: &'static [&'static str],
    pub use_: Use,
}

/// What we do with a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    VirtualService,
    DestinationRule,
    ServiceEntry,
    WorkloadEntry,
    Gateway,
    Mesh,
    /// A list of other documents.
    List,
    /// Known, and without effect yet.
    Later,
    /// The same, and it guards something.
    LaterSecurity,
}

const fn kind(name: &'static str, group: &'static str, versions: &'static [&'static str], use_: Use) -> Kind {
    Kind { name, group, versions, use_ }
}

const NETWORKING: &str = "networking.istio.io";
const ALL: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const SECURITY: &[&str] = &["v1", "v1beta1"];

/// Every kind that weir knows.
pub static KINDS: &[Kind] = &[
    kind("VirtualService", NETWORKING, ALL, Use::VirtualService),
    kind("DestinationRule", NETWORKING, ALL, Use::DestinationRule),
    kind("ServiceEntry", NETWORKING, ALL, Use::ServiceEntry),
    kind("WorkloadEntry", NETWORKING, ALL, Use::WorkloadEntry),
    kind("Gateway", NETWORKING, ALL, Use::Gateway),
    kind("Mesh", "weir.dev", &["v1alpha1"], Use::Mesh),
    kind("List", "", &["v1"], Use::List),
    kind("WorkloadGroup", NETWORKING, ALL, Use::Later),
    kind("Sidecar", NETWORKING, ALL, Use::Later),
    kind("EnvoyFilter", NETWORKING, &["v1alpha3"], Use::Later),
    kind("ProxyConfig", NETWORKING, &["v1beta1"], Use::Later),
    kind("Telemetry", "telemetry.istio.io", &["v1", "v1alpha1"], Use::Later),
    kind("PeerAuthentication", "security.istio.io", SECURITY, Use::LaterSecurity),
    kind("AuthorizationPolicy", "security.istio.io", SECURITY, Use::LaterSecurity),
    kind("RequestAuthentication", "security.istio.io", SECURITY, Use::LaterSecurity),
    kind("QuotaSpec", "config.istio.io", &["v1alpha2"], Use::Later),
    kind("QuotaSpecBinding", "config.istio.io", &["v1alpha2"], Use::Later),
    kind("rule", "config.istio.io", &["v1alpha2"], Use::Later),
    kind("instance", "config.istio.io", &["v1alpha2"], Use::Later),
    kind("handler", "config.istio.io", &["v1alpha2"], Use::Later),
    kind("memquota", "config.istio.io", &["v1alpha2"], Use::Later),
    kind("redisquota", "config.istio.io", &["v1alpha2"], Use::Later),
    kind("ServiceMonitor", "monitoring.coreos.com", &["v1"], Use::Later),
    kind("PrometheusRule", "monitoring.coreos.com", &["v1"], Use::Later),
    kind("NetworkChaos", "chaos-mesh.org", &["v1alpha1"], Use::Later),
    kind("Schedule", "chaos-mesh.org", &["v1alpha1"], Use::Later),
    kind("Service", "", &["v1"], Use::Later),
    kind("Endpoints", "", &["v1"], Use::Later),
    kind("EndpointSlice", "discovery.k8s.io", &["v1"], Use::Later),
    kind("ReliabilityPolicy", "weir.dev", &["v1alpha1"], Use::Later),
    kind("RateLimitPolicy", "weir.dev", &["v1alpha1"], Use::Later),
    kind("Scenario", "weir.dev", &["v1alpha1"], Use::Later),
];

/// Reads the frame of a document. `None` when it is skipped or unusable; a problem says why.
pub fn document<'a>(node: &'a Node, namespace: &str, sink: &'a Sink) -> Option<Document<'a>> {
    let body = match Object::of(node, "document", sink) {
        Some(body) if !body.is_empty() => body,
        // An empty document between two `---` is nobody's mistake.
        _ => return None,
    };
    let version = body.text("apiVersion");
    let Some(found) = body.text("kind") else {
        let words = "this document has no `kind`: it is skipped";
        sink.add(Problem::new(Code::NoKind, body.place(), words));
        return None;
    };
    let kind = known(&found, version.as_ref(), &body)?;
    let (name, own, labels) = metadata(&body, kind);
    let place = found.place;
    Some(Document { kind, name, namespace: own.unwrap_or_else(|| namespace.to_owned()), labels, place, body })
}

fn known(found: &At<String>, version: Option<&At<String>>, body: &Object<'_>) -> Option<&'static Kind> {
    let length = found.value.len().max(1) as u32;
    let Some(kind) = KINDS.iter().find(|kind| kind.name == found.value) else {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let words = format!("the kind `{}` is not known", found.value);
        let hint = similar(&found.value, &names).unwrap_or_else(|| "`weir` reads Istio's kinds and its own".to_owned());
        body.sink.add(Problem { length, ..Problem::new(Code::UnknownKind, found.place.clone(), words) }.hint(hint));
        return None;
    };
    let versions: Vec<String> = kind
        .versions
        .iter()
        .map(|version| if kind.group.is_empty() { (*version).to_owned() } else { format!("{}/{version}", kind.group) })
        .collect();
    match version {
        Some(version) if versions.contains(&version.value) => Some(kind),
        Some(version) => {
            let words = format!("`{}` has no version `{}`", kind.name, version.value);
            let hint = format!("use `{}`", versions[0]);
            body.sink.add(Problem::new(Code::ApiVersion, version.place.clone(), words).hint(hint));
            None
        }
        None => {
            let words = format!("this {} has no `apiVersion`", kind.name);
            let hint = format!("add `apiVersion: {}`", versions[0]);
            body.sink.add(Problem::new(Code::ApiVersion, body.place(), words).hint(hint));
            None
        }
    }
}

type Metadata = (String, Option<String>, Vec<(String, String)>);

fn metadata(body: &Object<'_>, kind: &Kind) -> Metadata {
    let Some(metadata) = body.object("metadata") else {
        if kind.use_ != Use::List {
            let words = format!("this {} has no `metadata.name`", kind.name);
            body.sink.add(Problem::new(Code::Metadata, body.place(), words).hint("add `metadata: { name: … }`"));
        }
        return Metadata::default();
    };
    let name = metadata.text("name");
    let namespace = metadata.text("namespace");
    for part in [&name, &namespace].into_iter().flatten() {
        if !is_name(&part.value) {
            let words = format!("`{}` is not a name: lower-case letters, digits, `-` and `.`, at most 253", part.value);
            metadata.sink.add(Problem::new(Code::Metadata, part.place.clone(), words));
        }
    }
    if name.is_none() && kind.use_ != Use::List && !metadata.has("generateName") {
        let words = format!("this {} has no `metadata.name`", kind.name);
        metadata.sink.add(Problem::new(Code::Metadata, metadata.place(), words));
    }
    let labels = metadata.text_map("labels");
    let value = |part: Option<At<String>>| part.map(|part| part.value);
    (value(name).unwrap_or_default(), value(namespace), labels)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}
