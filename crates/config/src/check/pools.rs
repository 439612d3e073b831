//! Connection pools: limits that limit nothing, and times against each other.

use super::View;
use super::policies::{Block, Level, blocks};
use crate::duration::show;
use crate::problem::{Code, Problem};
use std::time::Duration;

/// The first SYN is sent again after this time (RFC 6298 section 2).
const SYN_AGAIN: Duration = Duration::from_secs(1);
/// Istio's `idleTimeout`.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    for block in blocks(view, "connectionPool") {
        connect_timeout(&block, out);
        keepalive(&block, out);
        retries(view, &block, out);
        pending(&block, out);
        ceilings(&block, out);
        streams(&block, out);
    }
}

fn connect_timeout(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let Some(at) = block.at.get("tcp.connectTimeout") else { return };
    let Some(length) = block.at.duration_at("tcp.connectTimeout").filter(|length| *length < SYN_AGAIN) else { return };
    let words = format!(
        "`connectTimeout: {}` ends before a lost SYN is sent again (1s): one lost packet is a failure",
        show(length)
    );
    let hint = "write more than 1s, or make sure that `connect-failure` is retried";
    out.push(at.problem(Code::ConnectTimeoutShort, words).hint(hint));
}

fn keepalive(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let Some(at) = block.at.get("tcp.tcpKeepalive.time") else { return };
    let idle = block.duration("http.idleTimeout").or_else(|| block.duration("tcp.idleTimeout")).unwrap_or(IDLE);
    let time = block.at.duration_at("tcp.tcpKeepalive.time");
    if let Some(time) = time.filter(|time| *time >= idle && !idle.is_zero()) {
        let words = format!(
            "the first probe is sent after {} without traffic, and `idleTimeout` closes the connection after {}",
            show(time),
            show(idle)
        );
        let hint = format!("write less than {}, so that a dead connection is found before it is used", show(idle));
        out.push(at.problem(Code::KeepaliveNeverFires, words).hint(hint));
    }
}

fn retries(view: &View<'_>, block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let Some(at) = block.at.get("http.maxRetries") else { return };
    let Some(count) = at.number().filter(|count| *count > 0) else { return };
    let rules = view.rules_for(&block.host).iter();
    let budget = rules.filter_map(|rule| rule.spec.get("trafficPolicy.retryBudget")).next();
    if let Some(budget) = budget.filter(|_| matches!(block.level, Level::Host)) {
        let words = format!("the `retryBudget` at {} replaces `maxRetries`", budget.place());
        out.push(at.problem(Code::BudgetReplaces, words).hint("keep one of them"));
        return;
    }
    let words = format!(
        "`maxRetries: {count}` is how many retries may run at once to the whole destination, not how often a request is retried"
    );
    let hint = "retries per request are `retries.attempts` of a VirtualService; a `retryBudget` grows with the traffic";
    out.push(at.problem(Code::RetriesAreConcurrency, words).hint(hint));
}

fn pending(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let Some(at) = block.at.get("http.http1MaxPendingRequests").filter(|at| at.number() > Some(0)) else { return };
    let limited = |path| block.number(path).unwrap_or(0) > 0;
    if !limited("http.http2MaxRequests") && !limited("tcp.maxConnections") {
        let words =
            "`http1MaxPendingRequests` limits a queue that never forms: nothing limits connections or requests at once";
        let hint =
            "limit requests at once by `http2MaxRequests` (HTTP/1.1 too), or connections by `tcp.maxConnections`";
        out.push(at.problem(Code::PendingIsNotConcurrency, words).hint(hint));
    }
}

fn ceilings(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let limit = |path| block.number(path).filter(|number| *number > 0);
    let requests = limit("http.http2MaxRequests");
    if let (Some(at), Some(retries), Some(requests)) =
        (block.at.get("http.maxRetries"), limit("http.maxRetries"), requests)
        && retries > requests
    {
        let words =
            format!("`maxRetries: {retries}` is never reached: `http2MaxRequests` allows {requests} requests at once");
        out.push(at.problem(Code::LimitsAgainst, words).hint("make it a small part of `http2MaxRequests`"));
    }
    let protocols = block.protocols();
    let http1 = !protocols.is_empty() && protocols.iter().all(|protocol| protocol == "HTTP");
    let (connections, pending) = (limit("tcp.maxConnections"), limit("http.http1MaxPendingRequests"));
    if let (Some(at), Some(requests), Some(connections)) =
        (block.at.get("http.http2MaxRequests"), requests, connections)
        && http1
        && block.field("http.h2UpgradePolicy").is_none()
        && pending.is_some_and(|pending| requests > connections.saturating_add(pending))
    {
        let most = connections + pending.unwrap_or(0);
        let words = format!(
            "`http2MaxRequests: {requests}` is never reached: {connections} connections of one HTTP/1.1 request each and {} waiting are {most}",
            pending.unwrap_or(0)
        );
        out.push(at.problem(Code::LimitsAgainst, words).hint(format!("write less than {most}, or remove it")));
    }
}

/// Istio gives these to HTTP/2 clusters only.
fn streams(block: &Block<'_, '_>, out: &mut Vec<Problem>) {
    let upgrade = block.field("http.h2UpgradePolicy").and_then(|at| at.text()) == Some("UPGRADE");
    let http2 = block.protocols().iter().any(|protocol| ["HTTP2", "GRPC", "GRPC-WEB"].contains(&protocol.as_str()));
    if upgrade || http2 || block.is_true("http.useClientProtocol") {
        return;
    }
    for name in ["maxConcurrentStreams", "http2KeepAlive"] {
        if let Some(at) = block.at.get("http").and_then(|http| http.field(name)) {
            let words =
                format!("`{name}` holds for HTTP/2 connections, and nothing here says that this destination speaks it");
            let hint = "name the port's protocol HTTP2 or GRPC, or write `h2UpgradePolicy: UPGRADE`";
            out.push(at.problem(Code::StreamsWithoutHttp2, words).hint(hint));
        }
    }
}
