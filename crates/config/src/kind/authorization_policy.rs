//! `AuthorizationPolicy`: who may call what.

use super::policy;
use crate::decode::{At, Object};
use crate::meta::Document;
use crate::names;
use crate::problem::{Code, Problem};

/// Lists of a `source`, of which one must have an item.
const SOURCES: [&str; 14] = [
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
    "namespaces",
    "notNamespaces",
    "ipBlocks",
    "notIpBlocks",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
];

/// Those of them that the CUSTOM action cannot use.
const NOT_CUSTOM: [&str; 6] =
    ["namespaces", "notNamespaces", "principals", "notPrincipals", "requestPrincipals", "notRequestPrincipals"];

/// Lists of an `operation`.
const OPERATIONS: [&str; 8] = ["hosts", "notHosts", "ports", "notPorts", "methods", "notMethods", "paths", "notPaths"];

/// Checks `AuthorizationPolicy.spec`.
pub fn check(spec: &Object<'_>, document: &Document<'_>) {
    policy::attachment(spec);
    let action = spec.text("action").map_or_else(|| "ALLOW".to_owned(), |action| action.value);
    dry_run(spec, document, &action);
    let none = spec.list("rules").is_empty();
    if none && matches!(action.as_str(), "DENY" | "CUSTOM") {
        let words = format!("{action} without `rules` is never triggered");
        let hint = "add an empty rule `{}` to trigger it for every request";
        spec.sink.add(Problem::new(Code::Missing, spec.place(), words).hint(hint));
    }
    let provider = spec.object("provider");
    match (action == "CUSTOM", &provider) {
        (false, Some(_)) => {
            let words = format!("`provider` belongs to the action CUSTOM, and this one is {action}");
            spec.sink.add(spec.problem(Code::Conflict, "provider", words));
        }
        (true, provider) if !none => {
            let name = provider.as_ref().and_then(|provider| provider.text("name"));
            if name.is_none_or(|name| name.value.is_empty()) {
                spec.missing("provider.name");
            }
        }
        _ => {}
    }
    spec.objects("rules").for_each(|rule| read_rule(&rule, &action));
}

/// The annotation `istio.io/dry-run` is a truth value, on ALLOW and DENY only.
fn dry_run(spec: &Object<'_>, document: &Document<'_>, action: &str) {
    let Some(value) = document.annotation("istio.io/dry-run") else { return };
    let words = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
    if !["ALLOW", "DENY"].contains(&action) {
        spec.sink.refuse(&document.place, format!("`istio.io/dry-run` works with ALLOW and DENY, not with {action}"));
    } else if !words.contains(&value) {
        spec.sink.refuse(&document.place, format!("`istio.io/dry-run: {value}` is neither true nor false"));
    }
}

fn read_rule(rule: &Object<'_>, action: &str) {
    for name in ["from", "to"] {
        if rule.has(name) && rule.list(name).is_empty() {
            rule.refuse(name, format!("`{name}` is an empty list: it would match nothing"));
        }
    }
    for from in rule.objects("from") {
        match from.object("source") {
            Some(source) => read_source(&source, action),
            None => from.missing("source"),
        }
    }
    for to in rule.objects("to") {
        match to.object("operation") {
            Some(operation) => read_operation(&operation),
            None => to.missing("operation"),
        }
    }
    rule.objects("when").for_each(|condition| read_condition(&condition, action));
}

/// Reads lists: one of them must have items, no item may be empty.
fn filled(object: &Object<'_>, names: &[&'static str], what: &str) {
    let mut any = false;
    for name in names.iter().copied() {
        let items = object.texts(name);
        any |= !object.list(name).is_empty();
        for item in items.iter().filter(|item| item.value.is_empty()) {
            object.sink.refuse(&item.place, format!("`{name}` has an empty item"));
        }
    }
    if !any {
        object.sink.add(Problem::new(Code::Missing, object.place(), format!("`{what}` is empty")));
    }
}

fn read_source(source: &Object<'_>, action: &str) {
    filled(source, &SOURCES, "source");
    for name in ["ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"] {
        addresses(source, &source.texts(name));
    }
    let accounts = source.given(&["serviceAccounts", "notServiceAccounts"]);
    let others = source.given(&["principals", "notPrincipals", "namespaces", "notNamespaces"]);
    if let (Some(account), Some(other)) = (accounts.first(), others.first()) {
        let words = format!("`{account}` and `{other}` exclude each other");
        source.sink.add(source.problem(Code::Conflict, other, words));
    }
    for account in ["serviceAccounts", "notServiceAccounts"].iter().flat_map(|name| source.texts(name)) {
        let parts: Vec<&str> = account.value.split('/').collect();
        let whole = account.value.is_empty() || parts.iter().all(|part| !part.is_empty());
        if parts.len() > 2 || !whole || account.value.contains('*') || account.value.len() > 320 {
            source.sink.refuse(&account.place, format!("`{}` is not `name` or `namespace/name`", account.value));
        }
    }
    for name in ["serviceAccounts", "notServiceAccounts"].into_iter().filter(|name| source.list(name).len() > 16) {
        source.refuse(name, format!("`{name}` has more than 16 items"));
    }
    if action == "CUSTOM" {
        for name in source.given(&NOT_CUSTOM) {
            if !source.list(name).is_empty() {
                source.sink.add(source.problem(Code::Conflict, name, format!("CUSTOM cannot use `{name}`")));
            }
        }
    }
}

fn addresses(object: &Object<'_>, items: &[At<String>]) {
    for item in items.iter().filter(|item| !item.value.is_empty() && !names::is_subnet(&item.value)) {
        object.sink.refuse(&item.place, format!("`{}` is neither an address nor a range of them", item.value));
    }
}

fn ports(object: &Object<'_>, items: &[At<String>]) {
    let is_port = |text: &str| text.parse::<u32>().is_ok_and(|port| port <= 65_535) && !text.starts_with('+');
    for item in items.iter().filter(|item| !item.value.is_empty() && !is_port(&item.value)) {
        object.sink.refuse(&item.place, format!("`{}` is not a port", item.value));
    }
}

fn read_operation(operation: &Object<'_>) {
    filled(operation, &OPERATIONS, "operation");
    for name in ["ports", "notPorts"] {
        ports(operation, &operation.texts(name));
    }
    for path in ["paths", "notPaths"].iter().flat_map(|name| operation.texts(name)) {
        if let Some(why) = no_template(&path.value) {
            operation.sink.refuse(&path.place, format!("`{}`: {why}", path.value));
        }
    }
}

/// Why a path is no template: `{*}` stands for one segment, `{**}` for all that follow, and nothing else for any.
fn no_template(path: &str) -> Option<&'static str> {
    let template = path.contains("{*}") || path.contains("{**}");
    let literal = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte))
    };
    let mut rest = false;
    for segment in path.trim_matches('/').split('/') {
        match segment {
            "{*}" | "{**}" if rest => return Some("`{**}` is not its last wildcard"),
            "{*}" => {}
            "{**}" => rest = true,
            _ if segment.contains(['{', '}']) => return Some("braces stand in `{*}` and `{**}` only"),
            _ if template && !literal(segment) => {
                return Some("with `{*}` or `{**}` the other segments are plain text");
            }
            _ => {}
        }
    }
    None
}

/// What a condition's key stands for.
enum Key {
    Plain,
    /// `name[part]`
    Named,
    Address,
    Port,
}

fn key(name: &str) -> Option<Key> {
    match name {
        "source.ip" | "remote.ip" | "destination.ip" => Some(Key::Address),
        "destination.port" => Some(Key::Port),
        "source.namespace"
        | "source.principal"
        | "source.serviceAccount"
        | "source.trustDomain"
        | "request.auth.principal"
        | "request.auth.audiences"
        | "request.auth.presenter"
        | "connection.sni" => Some(Key::Plain),
        _ => {
            let prefixes = ["request.headers", "request.auth.claims", "experimental.envoy.filters."];
            prefixes.iter().any(|prefix| name.starts_with(prefix)).then_some(Key::Named)
        }
    }
}

fn read_condition(condition: &Object<'_>, action: &str) {
    let Some(name) = condition.text("key").filter(|key| !key.value.is_empty()) else {
        condition.missing("key");
        return;
    };
    filled(condition, &["values", "notValues"], "when");
    let custom = ["source.namespace", "source.principal", "source.serviceAccount"].contains(&name.value.as_str())
        || name.value.starts_with("request.auth.");
    if action == "CUSTOM" && custom {
        condition.sink.add(condition.problem(Code::Conflict, "key", format!("CUSTOM cannot use `{}`", name.value)));
    }
    let items = ["values", "notValues"].map(|name| condition.texts(name)).concat();
    match key(&name.value) {
        None => condition.sink.refuse(&name.place, format!("`{}` is not something that can be asked for", name.value)),
        Some(Key::Plain) => {}
        Some(Key::Address) => addresses(condition, &items),
        Some(Key::Port) => ports(condition, &items),
        Some(Key::Named) => {
            let open = name.value.find('[').unwrap_or(0);
            if open == 0 || !name.value.ends_with(']') || open + 2 >= name.value.len() {
                condition.sink.refuse(&name.place, format!("`{}` must be `name[part]`", name.value));
            }
        }
    }
}
