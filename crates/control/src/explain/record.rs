//! The recorded life of a real request, in the form of an explanation.
//!
//! Does not: find records.

use super::parts::{self, Way};
use serde_json::{Value as Json, json};
use std::time::Duration;
use weir_policy::decision::Decision;
use weir_policy::effective::{self, Worst};
use weir_policy::outcome::{ConnectFailure, Connected, Reached, Result};
use weir_policy::rate::{Judged, Mode, Said, Verdict};
use weir_policy::retry::No;
use weir_policy::route::Action;
use weir_policy::time::Time;
use weir_policy::trail::{Then, Try};

/// A record with everything in it.
pub fn recorded(decision: &Decision) -> Json {
    let mut out = head(decision);
    out["route"] = decision.route.as_ref().map_or(Json::Null, |route| parts::route(route));
    out["destinations"] = destinations(decision);
    out["chosen"] = json!(decision.chosen);
    out["tries"] = tries(decision);
    out["delayed"] = json!(decision.delayed.map(millis));
    out["limited"] = json!(decision.limited.as_deref());
    out["limits"] = decision.judged.iter().map(limit).collect();
    out["leftOut"] = json!(decision.trail.left_out());
    out
}

/// A record in few words, for lists and live views.
pub fn summary(decision: &Decision) -> Json {
    let mut out = head(decision);
    out["route"] = json!(decision.route.as_ref().map(|route| &*route.name));
    let chosen = decision.chosen.and_then(|index| decision.clusters.get(index)).and_then(Option::as_ref);
    out["cluster"] = json!(chosen.map(|upstream| &*upstream.name));
    out["tries"] = tries(decision);
    out
}

fn head(decision: &Decision) -> Json {
    json!({
        "id": &*decision.id,
        "version": &*decision.version,
        "request": { "method": &*decision.method, "authority": &*decision.authority, "path": &*decision.path },
        "listener": parts::listener(decision.listener, None),
        "host": decision.host.as_deref(),
        "outcome": {
            "status": decision.status,
            "flags": decision.flags.to_string(),
            "reason": decision.reason.map(|reason| reason.word()),
            "details": decision.details,
            "duration": millis(decision.duration),
            "upstreamTime": decision.service_time,
            "received": decision.received,
            "sent": decision.sent,
            "started": decision.started,
            "kept": decision.kept.word(),
        },
    })
}

/// Milliseconds, to the microsecond.
fn millis(length: Duration) -> f64 {
    (length.as_secs_f64() * 1e6).round() / 1e3
}

fn destinations(decision: &Decision) -> Json {
    let Some(Action::Forward(forward)) = decision.route.as_ref().map(|route| &route.action) else { return json!([]) };
    let one = |(index, destination)| {
        let upstream = decision.clusters.get(index).and_then(Option::as_deref);
        let rules = decision.terms(destination);
        let terms = effective::of_terms(destination, rules.retry.as_deref(), &rules.timeout);
        let worst = Worst::of(rules.retry.as_deref(), &rules.timeout);
        let endpoints = upstream.map_or(json!([]), parts::endpoints);
        parts::destination(&Way { destination, total: forward.total_weight, upstream, terms, worst, endpoints })
    };
    forward.destinations.iter().enumerate().map(one).collect()
}

fn tries(decision: &Decision) -> Json {
    let first = decision.trail.tries().next().map(|one| one.began).unwrap_or_default();
    decision.trail.tries().map(|one| try_(one, first)).collect()
}

/// What a rate limit said.
fn limit(judged: &Judged) -> Json {
    let Judged { rules, mark } = judged;
    let mut out = json!({
        "limit": &*rules.id, "key": format!("{:016x}", mark.key), "cost": mark.cost,
        "mode": if rules.mode == Mode::Shadow { "shadow" } else { "enforce" },
        "said": match mark.said {
            Said::Taken(taken) if taken.verdict == Verdict::Allowed => "allowed",
            Said::Taken(_) => "limited",
            Said::Unknown => "unknown",
        },
    });
    if let Said::Taken(taken) = mark.said {
        out["most"] = json!(taken.level.limit);
        out["remaining"] = json!(taken.level.remaining);
        out["reset"] = json!(millis(taken.level.reset));
    }
    out
}

fn try_(one: &Try, first: Time) -> Json {
    let mut out = json!({
        "number": one.number, "address": one.address.to_string(), "at": millis(one.began.since(first)),
    });
    let Some(end) = &one.end else { return out };
    out["took"] = json!(millis(end.moment.at.since(one.began)));
    out["result"] = json!(result(&end.result));
    out["sent"] = json!(match end.reached {
        Reached::Nothing => "nothing",
        Reached::Part => "part",
        Reached::Whole => "all",
    });
    out["connected"] = json!(end.connected == Connected::Yes);
    let no = |no: Option<No>| no.map(No::word);
    out["then"] = match end.then {
        Then::Again(until) => json!({ "word": "again", "wait": millis(until.since(end.moment.at)) }),
        Then::Answer(why) => json!({ "word": "answer", "no": no(why) }),
        Then::Refused(reason, why) => json!({ "word": "refused", "reason": reason.word(), "no": no(why) }),
    };
    let now = &end.moment.inflight;
    out["inflight"] = json!({
        "connections": now.connections, "pending": now.pending, "requests": now.requests, "retries": now.retries,
    });
    out["budget"] = json!({ "firsts": end.moment.spent.firsts, "retries": end.moment.spent.retries });
    out
}

fn result(result: &Result) -> String {
    let words = match result {
        Result::Response(response) => match response.grpc {
            Some(code) => return format!("response {}, grpc-status {code}", response.status),
            None => return format!("response {}", response.status),
        },
        Result::ConnectFailed(ConnectFailure::Refused) => "connection refused",
        Result::ConnectFailed(ConnectFailure::Tls(why)) => why.words(),
        Result::ConnectFailed(ConnectFailure::TimedOut) => "connection timed out",
        Result::Closed => "closed before a response",
        Result::Reset => "reset",
        Result::RefusedStream => "the stream was refused",
        Result::Protocol => "not HTTP",
        Result::Overflow => "overflow",
        Result::Exhausted => "no descriptor left",
        Result::PerTryTimeout => "perTryTimeout",
        Result::WholeTimeout => "timeout",
        Result::Idle => "idle for too long",
        Result::SlowBody => "the client sent too slowly",
        Result::Upload => "the client's upload broke off",
        Result::Abandoned => "the client went away",
    };
    words.to_owned()
}
