//! What policies share: the workloads that they are for, by labels or by reference.

use crate::decode::Object;
use crate::meta::Document;
use crate::names;
use crate::problem::{Code, Problem};
use weir_policy::place::Place;

/// Kinds that a policy can refer to, with their groups.
const TARGETS: &[(&str, &str)] = &[
    ("Service", ""),
    ("Service", "core"),
    ("ServiceEntry", "networking.istio.io"),
    ("Gateway", "gateway.networking.k8s.io"),
    ("GatewayClass", "gateway.networking.k8s.io"),
];

/// `selector`, `targetRef` and `targetRefs`: one of them at most.
pub fn attachment(spec: &Object<'_>) {
    let mut given = spec.given(&["selector", "targetRef"]);
    if !spec.list("targetRefs").is_empty() {
        given.push("targetRefs");
    }
    for second in given.iter().skip(1) {
        let words = format!("`{}` and `{second}` exclude each other", given[0]);
        spec.sink.add(spec.problem(Code::Conflict, second, words));
    }
    selector(spec, "selector", "matchLabels");
    if let Some(target) = spec.object("targetRef") {
        target_ref(&target);
    }
    spec.objects("targetRefs").for_each(|target| target_ref(&target));
}

/// A security policy that is not enforced yet: the workloads that it guards.
#[derive(Clone, Debug)]
pub struct Guard {
    pub kind: &'static str,
    pub namespace: String,
    /// Empty = every workload of the namespace.
    pub selector: Vec<(String, String)>,
    pub place: Place,
}

/// Whom a policy guards; `None` when it is attached by reference, which no Gateway of ours can be.
pub fn guard(spec: &Object<'_>, document: &Document<'_>) -> Option<Guard> {
    if spec.has("targetRef") || !spec.list("targetRefs").is_empty() {
        return None;
    }
    let selector = spec.object("selector").map(|selector| selector.text_map("matchLabels")).unwrap_or_default();
    let (kind, namespace) = (document.kind.name, document.namespace.clone());
    Some(Guard { kind, namespace, selector, place: document.place.clone() })
}

/// A kind whose only rule is about its selector.
pub fn selector_only(spec: &Object<'_>, _: &Document<'_>) {
    selector(spec, "selector", "matchLabels");
}

/// Labels that select workloads: no wildcards, no empty keys.
pub fn selector(spec: &Object<'_>, name: &'static str, labels: &'static str) {
    let Some(selector) = spec.object(name) else { return };
    let entries = selector.text_map(labels);
    if entries.is_empty() {
        let words = format!("`{name}` has no labels: it is for every workload");
        spec.sink.add(spec.problem(Code::NoEffect, name, words).hint("name labels, or remove it"));
    }
    for (key, value) in entries {
        if key.is_empty() {
            selector.refuse(labels, format!("`{labels}` has an empty key"));
        }
        if key.contains('*') || value.contains('*') {
            selector.refuse(labels, format!("`{key}: {value}`: selectors have no wildcards"));
        }
    }
}

fn target_ref(target: &Object<'_>) {
    let word = |name| target.text(name).map(|text| text.value).unwrap_or_default();
    let (group, kind) = (word("group"), word("kind"));
    if word("name").is_empty() {
        target.missing("name");
    }
    if !word("namespace").is_empty() {
        target.refuse("namespace", "a policy is for its own namespace: `namespace` cannot be given");
    }
    if !TARGETS.contains(&(kind.as_str(), group.as_str())) {
        let words = format!("a policy cannot be for `{kind}` of the group `{group}`");
        let hint = "it can be for Service, ServiceEntry (networking.istio.io), Gateway or GatewayClass \
                    (gateway.networking.k8s.io)";
        target.sink.add(target.problem(Code::Value, "kind", words).hint(hint));
    }
}

/// A mapping of labels: keys and values as Kubernetes has them.
pub fn labels(object: &Object<'_>, name: &'static str) -> Vec<(String, String)> {
    let entries = object.text_map(name);
    for (key, value) in &entries {
        if !names::is_label_key(key) || !names::is_label_value(value) {
            let words = format!("`{key}: {value}` is not a label: letters, digits, `-`, `_`, `.`, at most 63");
            object.sink.add(Problem::new(Code::Value, object.place_of(name), words));
        }
    }
    entries
}
