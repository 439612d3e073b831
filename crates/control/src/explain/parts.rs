//! The pieces that every explanation is made of: values with places, routes, destinations, endpoints.
//!
//! Does not: know where they come from.

use serde_json::{Value as Json, json};
use weir_policy::decision::Listener;
use weir_policy::effective::{self, Value, Worst, show};
use weir_policy::origin::Origin;
use weir_policy::place::Place;
use weir_policy::plan::{Plan, Upstream};
use weir_policy::route::{Action, Destination, Route, Target};

/// `file:line:column`; a flag of the command line by its name; `null` for nowhere.
pub(super) fn place(place: &Place) -> Json {
    match (place.line, &*place.file) {
        (0, "") => Json::Null,
        (0, file) => json!(file),
        _ => json!(place.to_string()),
    }
}

pub(super) fn values(values: &[Value<'_>]) -> Json {
    let one = |value: &Value<'_>| {
        let at = match value.origin {
            Origin::Written(_, at) => place(at),
            Origin::BuiltIn | Origin::Request => Json::Null,
        };
        json!({ "name": value.name, "value": value.value, "from": value.origin.word(), "place": at })
    };
    values.iter().map(one).collect()
}

pub(super) fn route(route: &Route) -> Json {
    let action = match route.action {
        Action::Forward(_) => "forward",
        Action::Redirect(_) => "redirect",
        Action::Direct(_) => "directResponse",
    };
    let own = values(&effective::of_route(route));
    json!({ "name": &*route.name, "place": place(&route.place), "action": action, "values": own })
}

/// A listener; of a Gateway with its name and place, when the plan is at hand.
pub(super) fn listener(listener: Listener, plan: Option<&Plan>) -> Json {
    match listener {
        Listener::Outbound => json!({ "name": "outbound" }),
        Listener::Port(port) => {
            let gateway = plan.and_then(|plan| plan.gateways.iter().find(|gateway| gateway.port == port));
            match gateway {
                Some(found) => {
                    json!({ "name": "gateway", "port": port, "gateway": &*found.name, "place": place(&found.place) })
                }
                None => json!({ "name": "gateway", "port": port }),
            }
        }
    }
}

/// One destination of a route, by the terms of the request.
pub(super) struct Way<'a> {
    pub(super) destination: &'a Destination,
    /// Of [`weir_policy::route::Forward::total_weight`].
    pub(super) total: u64,
    pub(super) upstream: Option<&'a Upstream>,
    pub(super) terms: Vec<Value<'a>>,
    pub(super) worst: Worst,
    pub(super) endpoints: Json,
}

pub(super) fn destination(way: &Way<'_>) -> Json {
    let Way { destination, total, upstream, terms, worst, endpoints } = way;
    let share = destination.weight as f64 / (*total).max(1) as f64;
    let (cluster, refusal) = match (&destination.target, upstream) {
        (Target::Cluster(_), Some(upstream)) => (json!(&*upstream.name), Json::Null),
        (Target::NotEnforced(_), _) => (Json::Null, json!("not_enforced")),
        (Target::Unknown(host), _) => (Json::Null, json!(format!("no_cluster: {host}"))),
        (Target::Cluster(_), None) => (Json::Null, Json::Null),
    };
    let cluster_values = upstream.map_or(json!([]), |upstream| values(&effective::of_upstream(upstream)));
    let time = worst.time.map(show);
    json!({
        "cluster": cluster,
        "place": upstream.map_or(Json::Null, |upstream| place(&upstream.place)),
        "refusal": refusal,
        "share": share,
        "worst": { "tries": worst.tries, "time": time },
        "values": values(terms),
        "clusterValues": cluster_values,
        "endpoints": endpoints,
    })
}

/// The endpoints of a cluster as documents have them.
pub(super) fn endpoints(upstream: &Upstream) -> Json {
    let one = |endpoint: &weir_policy::plan::Endpoint| {
        let (address, weight) = (endpoint.address.to_string(), endpoint.weight);
        json!({ "address": address, "weight": weight, "place": place(&endpoint.place) })
    };
    upstream.endpoints.iter().map(one).collect()
}
