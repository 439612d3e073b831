//! What a plan holds, as lists: listeners, routes, clusters, endpoints.
//!
//! Does not: show living state but that of endpoints.

use super::parts;
use super::routing::Live;
use serde_json::{Value as Json, json};
use weir_policy::decision::Listener;
use weir_policy::effective::{self, show};
use weir_policy::plan::Plan;
use weir_policy::route::{Action, Entry, Forward, Table, Target};

/// Every listener with the hosts that it knows.
pub fn listeners(plan: &Plan) -> Json {
    each_table(plan)
        .map(|(listener, table)| {
            let mut out = parts::listener(listener, Some(plan));
            out["hosts"] = json!(table.hosts().len());
            out
        })
        .collect()
}

/// Every rule, in the order of asking.
pub fn routes(plan: &Plan) -> Json {
    let rows = each_table(plan).flat_map(|(listener, table)| {
        table
            .hosts()
            .iter()
            .flat_map(move |host| host.entries.iter().map(move |entry| row(plan, listener, &host.name, entry)))
    });
    rows.collect()
}

fn row(plan: &Plan, listener: Listener, host: &str, entry: &Entry) -> Json {
    let to = match &entry.then.action {
        Action::Forward(forward) => targets(plan, forward),
        Action::Redirect(redirect) => json!([format!("redirect {}", redirect.status)]),
        Action::Direct(direct) => json!([format!("directResponse {}", direct.status)]),
    };
    let name = match listener {
        Listener::Outbound => "outbound".to_owned(),
        Listener::Port(port) => format!("gateway {port}"),
    };
    json!({
        "listener": name, "host": host, "route": &*entry.then.name, "match": entry.when.to_string(), "to": to,
        "place": parts::place(&entry.then.place),
    })
}

fn targets(plan: &Plan, forward: &Forward) -> Json {
    let one = |destination: &weir_policy::route::Destination| match &destination.target {
        Target::Cluster(index) => plan.upstream(*index).name.to_string(),
        Target::Unknown(host) => format!("unknown {host}"),
        Target::NotEnforced(host) => format!("not enforced {host}"),
    };
    forward.destinations.iter().map(one).collect()
}

/// Every cluster with its effective values.
pub fn clusters(plan: &Plan) -> Json {
    let one = |upstream: &std::sync::Arc<weir_policy::plan::Upstream>| {
        json!({
            "name": &*upstream.name, "id": &*upstream.id, "endpoints": upstream.endpoints.len(),
            "place": parts::place(&upstream.place), "values": parts::values(&effective::of_upstream(upstream)),
        })
    };
    plan.clusters.iter().map(one).collect()
}

/// Every endpoint of every cluster, as it is now.
pub fn endpoints(plan: &Plan, live: Live<'_>) -> Json {
    let rows = plan.clusters.iter().flat_map(|upstream| {
        live(&upstream.id).into_iter().map(|state| {
            json!({
                "cluster": &*upstream.name, "address": state.address.to_string(), "active": state.active,
                "health": if state.ejected.is_some() { "ejected" } else { "healthy" },
                "ejectedFor": state.ejected.map(show),
            })
        })
    });
    rows.collect()
}

fn each_table(plan: &Plan) -> impl Iterator<Item = (Listener, &Table)> {
    let gateways = plan.gateways.iter().map(|gateway| (Listener::Port(gateway.port), &gateway.table));
    std::iter::once((Listener::Outbound, &plan.outbound)).chain(gateways)
}
