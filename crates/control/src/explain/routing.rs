//! Which listener, host and rule a request meets, why the earlier rules do not match, and what holds for it then.
//!
//! Does not: hold rules of its own: the plan's table is asked, as the proxy asks it.

use super::ask::Ask;
use super::parts::{self, Way};
use crate::EndpointState;
use serde_json::{Value as Json, json};
use weir_policy::decision::{Listener, Terms};
use weir_policy::effective::{self, Worst, show};
use weir_policy::plan::{Plan, Upstream};
use weir_policy::refusal::Refusal;
use weir_policy::route::{Action, Destination, Facts, Forward, Found, Mirror, Table, Target, VirtualHost};
use weir_policy::wish::Wishes;
use weir_policy::{path, trust};

/// The endpoints of a cluster as they are now, by its id.
pub type Live<'l> = &'l dyn Fn(&str) -> Vec<EndpointState>;

/// Explains a request by a plan; `live` when the plan is of a running weir.
pub fn explained(plan: &Plan, ask: &Ask, live: Option<Live<'_>>) -> Json {
    let (listener, table) = door(plan, ask);
    let request = json!({
        "method": ask.method, "authority": ask.authority, "path": ask.path, "query": ask.query, "headers": ask.headers,
    });
    let mut out = json!({
        "version": &*plan.version,
        "request": request,
        "listener": parts::listener(listener, Some(plan)),
        "host": null, "earlier": [], "route": null, "destinations": [], "refusal": null,
        "settings": parts::values(&effective::of_settings(&plan.settings)),
    });
    let Some(table) = table else {
        out["refusal"] = json!({ "reason": "no_listener", "status": null });
        return out;
    };
    let mut normal = Vec::new();
    let Ok(normal) = path::normalise(ask.path.as_bytes(), &mut normal) else {
        out["refusal"] = json!({ "reason": "bad_path", "status": 400 });
        return out;
    };
    let facts = Facts {
        authority: ask.authority.as_bytes(),
        method: ask.method.as_bytes(),
        scheme: b"http",
        path: normal,
        query: ask.query.as_deref().map(str::as_bytes),
        port: match listener {
            Listener::Port(port) => port,
            Listener::Outbound => ask.port().unwrap_or(80),
        },
        headers: ask,
    };
    match table.find(&facts) {
        Found::UnknownHost => {
            let outbound = listener == Listener::Outbound;
            out["refusal"] = refusal(if outbound { Refusal::UnknownHost } else { Refusal::NoRoute });
        }
        Found::NoRoute(host) => {
            out["host"] = json!(&*host.name);
            out["earlier"] = earlier(host, host.entries.len(), &facts);
            out["refusal"] = refusal(Refusal::NoRoute);
        }
        Found::Entry(host, entry) => {
            let before = host.entries.iter().position(|one| std::ptr::eq(one, entry)).unwrap_or_default();
            out["host"] = json!(&*host.name);
            out["earlier"] = earlier(host, before, &facts);
            out["route"] = parts::route(&entry.then);
            if let Action::Forward(forward) = &entry.then.action {
                out["destinations"] = destinations(forward, plan, ask, listener, live);
                out["mirrors"] = mirrors(forward, plan);
                out["refusal"] = only_refusal(forward);
            }
        }
    }
    out
}

/// The listener that is named, or the outbound one when it knows the host, or the Gateway's of the URL's port.
fn door<'p>(plan: &'p Plan, ask: &Ask) -> (Listener, Option<&'p Table>) {
    let gateway = |port: u16| {
        let found = plan.gateways.iter().find(|gateway| gateway.port == port);
        (Listener::Port(port), found.map(|gateway| &gateway.table))
    };
    if let Some(port) = ask.gateway {
        return gateway(port);
    }
    let outbound = (Listener::Outbound, Some(&plan.outbound));
    if plan.outbound.host(ask.authority.as_bytes()).is_some() {
        return outbound;
    }
    let named = gateway(ask.port().unwrap_or(80));
    match named.1.and_then(|table| table.host(ask.authority.as_bytes())) {
        Some(_) => named,
        None => outbound,
    }
}

fn refusal(why: Refusal) -> Json {
    json!({ "reason": why.word(), "status": why.status() })
}

/// When every destination is refused alike.
fn only_refusal(forward: &Forward) -> Json {
    let why = |destination: &Destination| match destination.target {
        Target::Cluster(_) => None,
        Target::Unknown(_) => Some(Refusal::NoCluster),
        Target::NotEnforced(_) => Some(Refusal::NotEnforced),
    };
    let first = forward.destinations.first().and_then(why);
    let same = forward.destinations.iter().all(|destination| why(destination) == first);
    first.filter(|_| same).map_or(Json::Null, refusal)
}

/// The rules before the one that matches, each with the first condition that does not hold.
fn earlier(host: &VirtualHost, count: usize, facts: &Facts<'_>) -> Json {
    let one = |entry: &weir_policy::route::Entry| {
        let unmet = entry.when.unmet(facts).map(|unmet| unmet.to_string());
        json!({ "route": &*entry.then.name, "place": parts::place(&entry.then.place), "unmet": unmet })
    };
    host.entries.iter().take(count).map(one).collect()
}

fn destinations(forward: &Forward, plan: &Plan, ask: &Ask, listener: Listener, live: Option<Live<'_>>) -> Json {
    let wishes = wishes(plan, ask, listener);
    let one = |destination: &Destination| {
        let upstream = match destination.target {
            Target::Cluster(index) => Some(plan.upstream(index)),
            Target::Unknown(_) | Target::NotEnforced(_) => None,
        };
        let terms = match &wishes {
            Some(wishes) => wishes.terms(destination, plan.settings.compatibility),
            None => Terms { retry: destination.retry.clone(), timeout: destination.timeout },
        };
        parts::destination(&Way {
            destination,
            total: forward.total_weight,
            upstream: upstream.map(|upstream| &**upstream),
            terms: effective::of_terms(destination, terms.retry.as_deref(), &terms.timeout),
            worst: Worst::of(terms.retry.as_deref(), &terms.timeout),
            endpoints: upstream.map_or(json!([]), |upstream| endpoints(upstream, live)),
        })
    };
    forward.destinations.iter().map(one).collect()
}

/// Where copies go.
fn mirrors(forward: &Forward, plan: &Plan) -> Json {
    let one = |mirror: &Mirror| {
        let upstream = plan.upstream(mirror.cluster);
        json!({ "cluster": &*upstream.name, "share": f64::from(mirror.share.parts()) / 1e6, "place": parts::place(&upstream.place) })
    };
    forward.mirrors.iter().map(one).collect()
}

/// What the client asks for itself, when it is trusted.
fn wishes(plan: &Plan, ask: &Ask, listener: Listener) -> Option<Wishes> {
    let ranges = match listener {
        Listener::Outbound => &plan.settings.trust.outbound,
        Listener::Port(_) => &plan.settings.trust.gateways,
    };
    let passed_on = ask.headers.iter().any(|(name, _)| name == "x-forwarded-for");
    let mut wishes = Wishes::default();
    for (name, value) in &ask.headers {
        wishes.read(name.as_bytes(), value.as_bytes());
    }
    (trust::covers(ranges, ask.from) && !passed_on && wishes != Wishes::default()).then_some(wishes)
}

fn endpoints(upstream: &Upstream, live: Option<Live<'_>>) -> Json {
    let mut out = parts::endpoints(upstream);
    let (Some(live), Some(rows)) = (live, out.as_array_mut()) else { return out };
    for state in live(&upstream.id) {
        let address = json!(state.address.to_string());
        if let Some(row) = rows.iter_mut().find(|row| row["address"] == address) {
            row["health"] = json!(if state.ejected.is_some() { "ejected" } else { "healthy" });
            row["ejectedFor"] = json!(state.ejected.map(show));
            row["active"] = json!(state.active);
        }
    }
    out
}
