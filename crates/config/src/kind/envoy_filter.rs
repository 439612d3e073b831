//! `EnvoyFilter`: patches to what istiod would generate, within the subset that weir has.
//!
//! Anything outside of the subset is an error that names its path. Does not: apply patches (`lower::envoy_filter` does).

pub mod cluster;
pub mod fault;
pub mod filter;
pub mod limit;
pub mod message;
pub mod route;

use crate::decode::{At, Object};
use crate::problem::{Code, Problem};
use crate::yaml::Node;
use cluster::{ClusterPatch, ManagerPatch};
use filter::Filter;
use message::{Message, snake};
use route::{HostPatch, RoutePatch};
use weir_policy::place::Place;

/// `EnvoyFilter.spec`.
#[derive(Debug)]
pub struct EnvoyFilter {
    pub namespace: String,
    pub name: String,
    /// Lower ones come first.
    pub priority: i64,
    /// `workloadSelector.labels`.
    pub labels: Vec<(String, String)>,
    /// `targetRefs`: it is for gateways and waypoints of Kubernetes only.
    pub elsewhere: Elsewhere,
    pub patches: Vec<Patch>,
    pub place: Place,
}

/// `configPatches[]`.
#[derive(Debug)]
pub struct Patch {
    /// Its number in the list.
    pub index: usize,
    pub context: Reach,
    pub matches: Matches,
    pub lists: Lists,
    pub value: Value,
    pub place: Place,
}

/// `match.context`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    Any,
    Outbound,
    Inbound,
    Gateway,
}

/// Whether something selects what weir is not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Elsewhere {
    Yes,
    #[default]
    No,
}

/// `routeConfiguration.vhost.route.action`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActionKind {
    Any,
    Route,
    Redirect,
    Direct,
}

/// What of `match` selects.
#[derive(Default, Debug)]
pub struct Matches {
    /// `routeConfiguration.name`: the port, or `http.PORT` of a Gateway.
    pub config: Option<String>,
    /// `routeConfiguration.portNumber`, or `listener.portNumber`.
    pub listener: Option<u16>,
    /// `routeConfiguration.vhost.domainName`.
    pub domain: Option<String>,
    pub action: Option<ActionKind>,
    /// `proxy.metadata` asks for what weir has not.
    pub proxy: Elsewhere,
    /// `routeConfiguration.vhost.name`.
    pub host: Option<String>,
    /// `routeConfiguration.vhost.route.name`.
    pub route: Option<String>,
    /// `cluster`.
    pub service: Option<String>,
    pub subset: Option<String>,
    pub port: Option<u16>,
    pub cluster: Option<String>,
    /// `listener.filterChain.filter.subFilter.name`.
    pub anchor: Option<String>,
}

/// What a merge does to lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lists {
    /// `MERGE`, as protobuf merges.
    Append,
    /// `MERGE_AND_REPLACE_LIST`.
    Replace,
}

#[derive(Debug)]
pub enum Value {
    Route(RoutePatch),
    Host(HostPatch),
    Cluster(ClusterPatch),
    Manager(ManagerPatch),
    Insert(Insert, Filter),
}

/// Where an HTTP filter goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Insert {
    First,
    Before,
    After,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    Route,
    Host,
    Cluster,
    Manager,
    Filter,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Merge(Lists),
    Insert(Insert),
    Other,
}

/// Reads `EnvoyFilter.spec`.
pub fn envoy_filter(spec: &Object<'_>, namespace: &str, name: &str) -> EnvoyFilter {
    let patches = spec.objects("configPatches").enumerate().filter_map(|(index, patch)| read(&patch, index)).collect();
    let priority = spec.number("priority", i64::from(i32::MIN), i64::from(i32::MAX)).map_or(0, |number| number.value);
    let labels = spec.object("workloadSelector").map(|selector| {
        let labels = selector.text_map("labels");
        selector.end();
        labels
    });
    let elsewhere = if spec.list("targetRefs").is_empty() { Elsewhere::No } else { Elsewhere::Yes };
    spec.end();
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    let labels = labels.unwrap_or_default();
    EnvoyFilter { namespace, name, priority, labels, elsewhere, patches, place: spec.place() }
}

fn read(written: &Object<'_>, index: usize) -> Option<Patch> {
    let target = target(written)?;
    let (context, matches) = match written.node("match") {
        Some(node) => matching(&snake(node), written),
        None => (Reach::Any, Matches::default()),
    };
    let patch = written.object("patch")?;
    let operation = operation(&patch)?;
    patch.without_effect(&["filterClass"]);
    let value = patch.node("value").map(snake);
    patch.end();
    written.end();
    let Some(value) = value else {
        patch.missing("value");
        return None;
    };
    let place = written.place();
    let lists = if let Operation::Merge(lists) = operation { lists } else { Lists::Append };
    let value = value_of(target, operation, &value, &patch)?;
    Some(Patch { index, context, matches, lists, value, place })
}

fn target(written: &Object<'_>) -> Option<Target> {
    let Some(At { value, place }) = written.text("applyTo") else {
        written.missing("applyTo");
        return None;
    };
    let found = match value.as_str() {
        "HTTP_ROUTE" => Target::Route,
        "VIRTUAL_HOST" => Target::Host,
        "CLUSTER" => Target::Cluster,
        "NETWORK_FILTER" => Target::Manager,
        "HTTP_FILTER" => Target::Filter,
        _ => Target::Other,
    };
    if found == Target::Other {
        let words = format!("`applyTo: {value}` is not in weir's subset of EnvoyFilter");
        let hint = "weir has HTTP_ROUTE, VIRTUAL_HOST, CLUSTER, NETWORK_FILTER and HTTP_FILTER";
        written.sink.add(Problem::new(Code::OutsideSubset, place, words).hint(hint));
        return None;
    }
    Some(found)
}

fn operation(patch: &Object<'_>) -> Option<Operation> {
    let Some(At { value, place }) = patch.text("operation") else {
        patch.missing("operation");
        return None;
    };
    let found = match value.as_str() {
        "MERGE" => Operation::Merge(Lists::Append),
        "MERGE_AND_REPLACE_LIST" => Operation::Merge(Lists::Replace),
        "INSERT_FIRST" => Operation::Insert(Insert::First),
        "INSERT_BEFORE" => Operation::Insert(Insert::Before),
        "INSERT_AFTER" => Operation::Insert(Insert::After),
        _ => Operation::Other,
    };
    if found == Operation::Other {
        let words = format!("`operation: {value}` is not in weir's subset of EnvoyFilter");
        let hint =
            "weir has MERGE, MERGE_AND_REPLACE_LIST and, for HTTP_FILTER, INSERT_FIRST, INSERT_BEFORE, INSERT_AFTER";
        patch.sink.add(Problem::new(Code::OutsideSubset, place, words).hint(hint));
        return None;
    }
    Some(found)
}

fn value_of(target: Target, operation: Operation, value: &Node, patch: &Object<'_>) -> Option<Value> {
    let message = |path: &str| Message::of(value, "value", path.to_owned(), patch.sink);
    match (target, operation) {
        (Target::Route, Operation::Merge(_)) => Some(Value::Route(route::route(&message("HTTP_ROUTE")?))),
        (Target::Host, Operation::Merge(_)) => Some(Value::Host(route::host(&message("VIRTUAL_HOST")?))),
        (Target::Cluster, Operation::Merge(_)) => Some(Value::Cluster(cluster::cluster(&message("CLUSTER")?))),
        (Target::Manager, Operation::Merge(_)) => Some(Value::Manager(cluster::manager(&message("NETWORK_FILTER")?)?)),
        (Target::Filter, Operation::Insert(insert)) => {
            Some(Value::Insert(insert, filter::filter(&message("HTTP_FILTER")?)?))
        }
        _ => {
            let words = "this `operation` on this `applyTo` is not in weir's subset of EnvoyFilter";
            let hint = "HTTP_FILTER is inserted, the others are merged";
            patch.sink.add(patch.problem(Code::OutsideSubset, "operation", words).hint(hint));
            None
        }
    }
}

fn matching(node: &Node, written: &Object<'_>) -> (Reach, Matches) {
    let mut matches = Matches::default();
    let Some(found) = Message::of(node, "match", "match".to_owned(), written.sink) else {
        return (Reach::Any, matches);
    };
    let words = [
        ("ANY", Reach::Any),
        ("SIDECAR_OUTBOUND", Reach::Outbound),
        ("SIDECAR_INBOUND", Reach::Inbound),
        ("GATEWAY", Reach::Gateway),
    ];
    let context = found.object.word("context", &words).map_or(Reach::Any, |word| word.value);
    if let Some(routes) = found.message("route_configuration") {
        if let Some(host) = routes.message("vhost") {
            matches.host = host.text("name");
            matches.domain = host.text("domain_name");
            if let Some(route) = host.message("route") {
                matches.route = route.text("name");
                matches.action = route.object.word("action", &ACTIONS).map(|word| word.value);
                route.end();
            }
            host.end();
        }
        matches.config = routes.text("name");
        matches.listener = routes.object.number("port_number", 1, 65_535).map(|port| port.value as u16);
        routes.end();
    }
    if let Some(cluster) = found.message("cluster") {
        matches.service = cluster.text("service");
        matches.subset = cluster.text("subset");
        matches.cluster = cluster.text("name");
        matches.port = cluster.object.number("port_number", 1, 65_535).map(|port| port.value as u16);
        cluster.end();
    }
    anchor(&found, &mut matches);
    if let Some(proxy) = found.message("proxy") {
        // weir is of no version of Istio: a patch for one is a patch for weir.
        proxy.object.without_effect(&["proxy_version"]);
        if proxy.object.has("metadata") {
            proxy.object.without_effect(&["metadata"]);
            matches.proxy = Elsewhere::Yes;
        }
        proxy.end();
    }
    found.end();
    (context, matches)
}

const ACTIONS: [(&str, ActionKind); 4] = [
    ("ANY", ActionKind::Any),
    ("ROUTE", ActionKind::Route),
    ("REDIRECT", ActionKind::Redirect),
    ("DIRECT_RESPONSE", ActionKind::Direct),
];

/// `listener.portNumber`, and `.filterChain.filter.subFilter.name`; the filter itself is the HTTP connection manager.
fn anchor(found: &Message<'_>, matches: &mut Matches) {
    let Some(listener) = found.message("listener") else { return };
    matches.listener = listener.object.number("port_number", 1, 65_535).map(|port| port.value as u16);
    let chain = listener.message("filter_chain");
    listener.end();
    let Some(chain) = chain else { return };
    let filter = chain.message("filter");
    chain.end();
    let Some(filter) = filter else { return };
    if let Some(At { value, place }) = filter.object.text("name")
        && !matches!(value.as_str(), MANAGER | "envoy.http_connection_manager")
    {
        let words =
            format!("`{value}` is not in weir's subset of EnvoyFilter: weir has only the HTTP connection manager");
        filter.object.sink.add(Problem::new(Code::OutsideSubset, place, words));
    }
    let sub = filter.message("sub_filter");
    filter.end();
    let Some(sub) = sub else { return };
    matches.anchor = sub.text("name");
    sub.end();
}

/// Envoy's name of the HTTP connection manager.
pub const MANAGER: &str = "envoy.filters.network.http_connection_manager";
