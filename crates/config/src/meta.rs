//! What every document has: apiVersion, kind, name, namespace, labels. And which kinds there are.

use crate::decode::{At, Object, Sink, similar};
use crate::kind::{
    authorization_policy, network_chaos, peer_authentication, policy, request_authentication, telemetry, wasm_plugin,
    workload_group,
};
use crate::problem::{Code, Problem};
use crate::yaml::Node;
use weir_policy::place::Place;

/// A document whose kind is known.
pub struct Document<'a> {
    pub kind: &'static Kind,
    pub name: String,
    pub namespace: String,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
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
    pub body: Body,
    pub check: Check,
}

/// Where a kind has its fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// Under `spec`.
    Spec,
    /// Beside `metadata`.
    Flat,
}

/// What we do with a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    VirtualService,
    EnvoyFilter,
    DestinationRule,
    ServiceEntry,
    WorkloadEntry,
    Gateway,
    Service,
    Endpoints,
    EndpointSlice,
    Sidecar,
    Mesh,
    ReliabilityPolicy,
    /// A list of other documents.
    List,
    RateLimitPolicy,
    /// QuotaSpec, QuotaSpecBinding, memquota, redisquota, handler, instance, rule.
    Quota,
    /// Validated, and without effect yet.
    Later,
    /// The same, and it guards something.
    LaterSecurity,
}

/// Rules of a kind beyond its schema, over the `spec` (or the body, where there is none), where no reader has them.
pub type Check = fn(&Object<'_>, &Document<'_>);

const fn kind(name: &'static str, group: &'static str, versions: &'static [&'static str], use_: Use) -> Kind {
    Kind { name, group, versions, use_, body: Body::Spec, check: nothing }
}

const fn checked(kind: Kind, check: Check) -> Kind {
    Kind { check, ..kind }
}

const fn flat(kind: Kind) -> Kind {
    Kind { body: Body::Flat, ..kind }
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const EXTENSIONS: &str = "extensions.istio.io";
const MIXER: &str = "config.istio.io";
const PROMETHEUS: &str = "monitoring.coreos.com";
const OURS: &str = "weir.dev";
const ALL: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const V1: &[&str] = &["v1"];
const ALPHA: &[&str] = &["v1alpha1"];
const ALPHA2: &[&str] = &["v1alpha2"];
const BETA: &[&str] = &["v1", "v1beta1"];

/// Every kind that weir knows.
pub static KINDS: &[Kind] = &[
    kind("VirtualService", NETWORKING, ALL, Use::VirtualService),
    kind("DestinationRule", NETWORKING, ALL, Use::DestinationRule),
    kind("ServiceEntry", NETWORKING, ALL, Use::ServiceEntry),
    kind("WorkloadEntry", NETWORKING, ALL, Use::WorkloadEntry),
    kind("Gateway", NETWORKING, ALL, Use::Gateway),
    kind("Mesh", OURS, ALPHA, Use::Mesh),
    kind("List", "", V1, Use::List),
    checked(kind("WorkloadGroup", NETWORKING, ALL, Use::Later), workload_group::check),
    kind("Sidecar", NETWORKING, ALL, Use::Sidecar),
    kind("EnvoyFilter", NETWORKING, &["v1alpha3"], Use::EnvoyFilter),
    checked(kind("ProxyConfig", NETWORKING, &["v1beta1"], Use::Later), policy::selector_only),
    checked(kind("Telemetry", "telemetry.istio.io", &["v1", "v1alpha1"], Use::Later), telemetry::check),
    checked(kind("WasmPlugin", EXTENSIONS, ALPHA, Use::Later), wasm_plugin::check),
    checked(kind("TrafficExtension", EXTENSIONS, ALPHA, Use::Later), wasm_plugin::extension),
    checked(kind("PeerAuthentication", SECURITY, BETA, Use::LaterSecurity), peer_authentication::check),
    checked(kind("AuthorizationPolicy", SECURITY, BETA, Use::LaterSecurity), authorization_policy::check),
    checked(kind("RequestAuthentication", SECURITY, BETA, Use::LaterSecurity), request_authentication::check),
    kind("QuotaSpec", MIXER, ALPHA2, Use::Quota),
    kind("QuotaSpecBinding", MIXER, ALPHA2, Use::Quota),
    kind("rule", MIXER, ALPHA2, Use::Quota),
    kind("instance", MIXER, ALPHA2, Use::Quota),
    kind("handler", MIXER, ALPHA2, Use::Quota),
    kind("memquota", MIXER, ALPHA2, Use::Quota),
    kind("redisquota", MIXER, ALPHA2, Use::Quota),
    kind("ServiceMonitor", PROMETHEUS, V1, Use::Later),
    kind("PrometheusRule", PROMETHEUS, V1, Use::Later),
    checked(kind("NetworkChaos", "chaos-mesh.org", ALPHA, Use::Later), network_chaos::check),
    kind("Schedule", "chaos-mesh.org", ALPHA, Use::Later),
    kind("Service", "", V1, Use::Service),
    flat(kind("Endpoints", "", V1, Use::Endpoints)),
    flat(kind("EndpointSlice", "discovery.k8s.io", V1, Use::EndpointSlice)),
    kind("ReliabilityPolicy", OURS, ALPHA, Use::ReliabilityPolicy),
    kind("RateLimitPolicy", OURS, ALPHA, Use::RateLimitPolicy),
    kind("Scenario", OURS, ALPHA, Use::Later),
];

/// The schema says everything about this kind.
fn nothing(_: &Object<'_>, _: &Document<'_>) {}

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
    let Metadata { name, namespace: own, labels, annotations } = metadata(&body, kind);
    let place = found.place;
    let namespace = own.unwrap_or_else(|| namespace.to_owned());
    Some(Document { kind, name, namespace, labels, annotations, place, body })
}

/// The kind that a document names; a kind of somebody else is skipped, a slip in one of ours is an error.
fn known(found: &At<String>, version: Option<&At<String>>, body: &Object<'_>) -> Option<&'static Kind> {
    let Some(version) = version else {
        let words = format!("this {} has no `apiVersion`", found.value);
        let kind = KINDS.iter().find(|kind| kind.name == found.value);
        let hint = kind.map_or_else(
            || "every resource names its `apiVersion`".to_owned(),
            |kind| format!("add `apiVersion: {}`", kind.versioned(kind.versions[0])),
        );
        body.sink.add(Problem::new(Code::ApiVersion, body.place(), words).hint(hint));
        return None;
    };
    let (group, number) = version.value.rsplit_once('/').unwrap_or(("", &version.value));
    let Some(kind) = KINDS.iter().find(|kind| kind.name == found.value && kind.group == group) else {
        body.sink.add(stranger(found, version, group));
        return None;
    };
    if !kind.versions.contains(&number) {
        let words = format!("`{}` has no version `{}`", kind.name, version.value);
        let hint = format!("use `{}`", kind.versioned(kind.versions[0]));
        body.sink.add(Problem::new(Code::ApiVersion, version.place.clone(), words).hint(hint));
        return None;
    }
    Some(kind)
}

impl Kind {
    /// `group/version`, as a document writes it.
    fn versioned(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }
}

/// A kind and group that are not in the table: a slip, or somebody else's.
fn stranger(found: &At<String>, version: &At<String>, group: &str) -> Problem {
    let length = found.value.len().max(1) as u32;
    let ours = |kind: &&Kind| kind.group.contains("istio.io") || kind.group == OURS;
    if KINDS.iter().filter(ours).any(|kind| kind.group == group) {
        let names: Vec<&str> = KINDS.iter().filter(|kind| kind.group == group).map(|kind| kind.name).collect();
        let hint = similar(&found.value, &names);
        // The adapters of old were a kind each: dozens, and Istio knows none of them any more.
        if group == MIXER && hint.is_none() {
            return foreign(found, version);
        }
        let hint = hint.unwrap_or_else(|| format!("it has {}", names.join(", ")));
        let words = format!("the kind `{}` is not known in `{group}`", found.value);
        return Problem { length, ..Problem::new(Code::UnknownKind, found.place.clone(), words) }.hint(hint);
    }
    let near = |kind: &&Kind| strsim::damerau_levenshtein(group, kind.group) <= 2;
    let namesake = KINDS.iter().filter(ours).find(|kind| kind.name == found.value);
    if let Some(kind) = namesake.filter(|kind| !SHARED.contains(&kind.name) || near(kind)) {
        let words = format!("`{}` has no version `{}`", kind.name, version.value);
        let hint = format!("use `{}`", kind.versioned(kind.versions[0]));
        return Problem::new(Code::ApiVersion, version.place.clone(), words).hint(hint);
    }
    if let Some(kind) = KINDS.iter().filter(ours).find(near) {
        let words = format!("the group `{group}` is not known");
        let hint = format!("did you mean `{}`?", kind.group);
        return Problem::new(Code::ApiVersion, version.place.clone(), words).hint(hint);
    }
    foreign(found, version)
}

fn foreign(found: &At<String>, version: &At<String>) -> Problem {
    let words = format!("`{}` of `{}` is not used by weir: it is skipped", found.value, version.value);
    let length = found.value.len().max(1) as u32;
    Problem { length, ..Problem::new(Code::ForeignKind, found.place.clone(), words) }
}

/// Names of ours that others have too: `Gateway` is one of the Gateway API as well.
const SHARED: &[&str] = &["Gateway", "Sidecar", "rule", "instance", "handler", "Scenario", "Mesh", "RateLimitPolicy"];

impl Document<'_> {
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
}

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
    let annotations = metadata.text_map("annotations");
    if kind.group.ends_with("istio.io") && kind.group != MIXER {
        refused(&metadata, kind, &annotations);
    }
    let value = |part: Option<At<String>>| part.map(|part| part.value);
    Metadata { name: value(name).unwrap_or_default(), namespace: value(namespace), labels, annotations }
}

/// Annotations that Istio lets nobody set, or not on this kind.
fn refused(metadata: &Object<'_>, kind: &Kind, annotations: &[(String, String)]) {
    let internal = ["always-reject", "parent-namespace", "parents"].map(|name| format!("internal.istio.io/{name}"));
    for (name, _) in annotations {
        let dry = name == "istio.io/dry-run" && kind.name != "AuthorizationPolicy";
        if dry || internal.contains(name) {
            let words = format!("a {} cannot have the annotation `{name}`", kind.name);
            metadata.sink.add(metadata.problem(Code::Metadata, "annotations", words).hint("remove it"));
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}
