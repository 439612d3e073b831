//! Answers of our own to a request that was understood: refusals, redirects, direct responses.
//!
//! Does not: know the words; `reply` has the table.

use super::carrier::Protocol;
use super::filters::{self, Origin};
use super::forward::Next;
use super::headers::{self, Persistence};
use super::inquiry::Inquiry;
use super::reply::{self, Method, Overloaded, Reply};
use super::values::{self, Reply as Answered, Seen, Values};
use crate::buffer::Way;
use crate::http::serve::Client;
use crate::record::{Asked, Record};
use crate::worker::Worker;
use std::rc::Rc;
use weir_observe::Limit;
use weir_policy::fault::Status;
use weir_policy::filter::Answer as Given;
use weir_policy::flag::Flags;
use weir_policy::rate;
use weir_policy::refusal::Refusal;
use weir_policy::route::{self, Edits};
use weir_policy::wish::Late;
use weir_wire::{Framing, write};

static NO_EDITS: Edits = Edits { set: Vec::new(), add: Vec::new(), remove: Vec::new() };

/// A refusal and what the connection's state makes of it.
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    /// How a time-out is answered.
    pub(crate) late: Late,
    /// What a fault of the last try answers.
    pub(crate) abort: Option<Status>,
    pub(crate) persistence: Persistence,
    pub(crate) unread: bool,
}

pub(crate) async fn refuse_now(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    record: &mut Record<'_>,
    asked: &Asked<'_>,
    refused: Refused,
) -> Next {
    let Refused { why, late, abort, mut persistence, unread } = refused;
    let given = match (why, abort) {
        (Refusal::Fault, Some(status)) => status,
        (Refusal::Timeout | Refusal::PerTryTimeout, _) => Status::Http(late.status()),
        _ => Status::Http(why.status()),
    };
    let status = given.http();
    // A drain may have begun since the request came.
    if worker.mesh.is_leaving() {
        persistence = Persistence::Close;
    }
    if let Some(limit) = limit(why) {
        worker.mesh.registry.limited(limit);
    }
    record.reason = Some(why);
    let grpc = (Protocol::of(asked.request, asked.buf) == Protocol::Grpc).then(|| given.grpc());
    // A gRPC client reads its own status; HTTP's is 200 then.
    let status = if grpc.is_some() && why != Refusal::ClientGone { 200 } else { status };
    record.status = status;
    record.grpc = grpc.map(u16::from);
    record.details = reply::details(why);
    record.flags = record.flags.with(why.flags());
    if why == Refusal::ClientGone {
        record.finish(worker, Some(asked), None);
        return Next::Close;
    }
    let mut words = std::mem::take(&mut way.kept);
    words.clear();
    if status != 204 {
        reply::words(why, record.attempts, &mut words);
    }
    let overloaded = (why == Refusal::Overflow).then_some(Overloaded);
    let reply =
        Reply { status, body: &words, reason: why.word(), overloaded, grpc, fields: &way.extra, ..Reply::default() };
    way.down.clear();
    reply::write_reply(worker, &mut way.down, &reply, persistence, method(asked));
    record.sent = if grpc.is_some() { 0 } else { words.len() as u64 };
    way.kept = words;
    let next = match persistence {
        _ if unread => Next::Linger,
        Persistence::Close => Next::Close,
        Persistence::Keep | Persistence::KeepOld => Next::Request,
    };
    let next = reply::send(client, &way.down, next).await;
    record.finish(worker, Some(asked), None);
    next
}

/// The response's edits of the rule and the destination that a request of ours had found.
fn add_edits(inquiry: &Inquiry<'_>, client: &Client, location: Option<&[u8]>, out: &mut Vec<u8>) {
    add_those(
        inquiry,
        client,
        location,
        inquiry.edits.map(|edits| edits.map_or(&NO_EDITS, |edits| &edits.response)),
        out,
    );
}

fn add_those(inquiry: &Inquiry<'_>, client: &Client, location: Option<&[u8]>, edits: [&Edits; 2], out: &mut Vec<u8>) {
    let Inquiry { worker, request, buf, request_id, record, .. } = inquiry;
    let edits = values::of_response(edits, || Values {
        worker,
        record,
        line: &client.line,
        seen: Seen::routed(&inquiry.facts, request, buf, request_id),
        reply: Answered::Own { location },
        speaks: None,
        received: None,
        attempts: record.attempts,
    });
    headers::add_down(out, &[&edits[0], &edits[1]], inquiry.live.plan.settings.compatibility);
}

const fn limit(why: Refusal) -> Option<Limit> {
    match why {
        Refusal::Idle => Some(Limit::StreamIdle),
        Refusal::SlowBody => Some(Limit::SlowBody),
        Refusal::Overloaded => Some(Limit::Overloaded),
        Refusal::Descriptors => Some(Limit::Descriptors),
        _ => None,
    }
}

fn method(asked: &Asked<'_>) -> Method {
    if asked.request.method.of(asked.buf) == b"HEAD" { Method::Head } else { Method::Other }
}

/// Refuses before any upstream was asked. A body that may follow is not read: the connection is closed.
pub(crate) async fn refuse(inquiry: Inquiry<'_>, client: &mut Client, way: &mut Way, why: Refusal) -> Next {
    let mut inquiry = inquiry;
    inquiry.record.flags = inquiry.record.flags.with(why.flags());
    inquiry.record.details = reply::details(why);
    way.extra.clear();
    add_edits(&inquiry, client, None, &mut way.extra);
    let Inquiry { worker, live, request, buf, request_id, mut record, persistence, passage, to_come, .. } = inquiry;
    let asked = Asked { request, buf, request_id };
    let (persistence, unread) = after_local(to_come, persistence);
    filters::tell(&passage, live, &client.own, Origin { request, buf }, worker.now(), &mut way.extra);
    let refused = Refused { why, late: Late::default(), abort: None, persistence, unread };
    refuse_now(worker, client, way, &mut record, &asked, refused).await
}

/// A local answer does not read the request's body, so the connection cannot go on behind one.
const fn after_local(to_come: Framing, persistence: Persistence) -> (Persistence, bool) {
    match to_come {
        Framing::None | Framing::Length(0) => (persistence, false),
        _ => (Persistence::Close, true),
    }
}

pub(crate) async fn answer_redirect(
    inquiry: Inquiry<'_>,
    client: &mut Client,
    way: &mut Way,
    redirect: &route::Redirect,
) -> Next {
    let mut location = std::mem::take(&mut way.kept);
    location.clear();
    route::location(redirect, &inquiry.facts, &mut location);
    let is_grpc = Protocol::of(inquiry.request, inquiry.buf) == Protocol::Grpc;
    let grpc = is_grpc.then(|| weir_policy::grpc::of_http(redirect.status));
    let status = if is_grpc { 200 } else { redirect.status };
    let reply = Reply { status, grpc, location: Some(&location), ..Reply::default() };
    way.extra.clear();
    let next = answer(inquiry, client, way, reply, Edited::Yes).await;
    way.kept = location;
    next
}

pub(crate) async fn answer_direct(
    inquiry: Inquiry<'_>,
    client: &mut Client,
    way: &mut Way,
    direct: &route::Direct,
) -> Next {
    // A gRPC client reads its own status; HTTP's is 200 then.
    let is_grpc = Protocol::of(inquiry.request, inquiry.buf) == Protocol::Grpc;
    let grpc = is_grpc.then(|| weir_policy::grpc::of_http(direct.status));
    let status = if is_grpc { 200 } else { direct.status };
    let reply = Reply { status, grpc, body: &direct.body, ..Reply::default() };
    way.extra.clear();
    answer(inquiry, client, way, reply, Edited::Yes).await
}

/// The answer that a filter gave.
pub(crate) async fn answer_filter(
    mut inquiry: Inquiry<'_>,
    client: &mut Client,
    way: &mut Way,
    given: Given<'_>,
) -> Next {
    let asked = Origin { request: inquiry.request, buf: inquiry.buf };
    let is_grpc = Protocol::of(inquiry.request, inquiry.buf) == Protocol::Grpc;
    way.extra.clear();
    let (why, status, code) = match given {
        Given::Preflight(rules, verdict) => {
            filters::preflight(rules, verdict, asked, &mut way.extra);
            inquiry.record.details = "cors_response";
            return answer(inquiry, client, way, Reply { status: 200, ..Reply::default() }, Edited::No).await;
        }
        Given::Abort(given) => (Refusal::Fault, given.http(), given.grpc()),
        Given::Limited(rules) => {
            add_those(&inquiry, client, None, [&rules.response, &NO_EDITS], &mut way.extra);
            (Refusal::RateLimited, rules.status, rules.grpc_status)
        }
        Given::Exceeded(rules, level) => {
            exceeded(rules, level, &mut way.extra);
            (Refusal::RateLimited, rules.answer.status, rules.answer.grpc_status)
        }
    };
    let mut words = Vec::with_capacity(24);
    match given {
        Given::Exceeded(rules, _) if !rules.answer.body.is_empty() => {
            words.extend_from_slice(rules.answer.body.as_bytes());
        }
        _ => reply::words(why, 0, &mut words),
    }
    inquiry.record.reason = Some(why);
    inquiry.record.details = reply::details(why);
    let reply = Reply {
        status: if is_grpc { 200 } else { status },
        body: &words,
        reason: why.word(),
        grpc: is_grpc.then_some(code),
        ..Reply::default()
    };
    answer(inquiry, client, way, reply, Edited::Yes).await
}

/// Whether the rule's operations hold for an answer: not for one to a preflight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edited {
    Yes,
    No,
}

/// The fields of an answer to a request beyond a limit.
fn exceeded(rules: &rate::Rules, level: Option<rate::Level>, out: &mut Vec<u8>) {
    // What could not be counted may be asked again in a moment.
    let seconds = level.map_or(1, |level| level.retry_after());
    if rules.answer.retry_after == rate::RetryAfter::Auto {
        write::number_field(out, b"retry-after", seconds);
    }
    for (name, value) in &rules.answer.fields {
        write::field(out, name.as_bytes(), value.as_bytes());
    }
}

/// Sends an answer that the configuration asks for, with the fields in `way.extra`.
async fn answer(inquiry: Inquiry<'_>, client: &mut Client, way: &mut Way, reply: Reply<'_>, edited: Edited) -> Next {
    let mut inquiry = inquiry;
    if inquiry.record.details.is_empty() {
        inquiry.record.details = "direct_response";
    }
    if edited == Edited::Yes {
        add_edits(&inquiry, client, reply.location, &mut way.extra);
    }
    let Inquiry { worker, live, request, buf, request_id, mut record, persistence, passage, to_come, .. } = inquiry;
    let asked = Asked { request, buf, request_id };
    let (persistence, unread) = after_local(to_come, persistence);
    record.status = reply.status;
    record.sent = if reply.grpc.is_some() { 0 } else { reply.body.len() as u64 };
    filters::tell(&passage, live, &client.own, Origin { request, buf }, worker.now(), &mut way.extra);
    way.down.clear();
    let reply = Reply { fields: &way.extra, ..reply };
    reply::write_reply(worker, &mut way.down, &reply, persistence, method(&asked));
    let next = match persistence {
        _ if unread => Next::Linger,
        Persistence::Close => Next::Close,
        Persistence::Keep | Persistence::KeepOld => Next::Request,
    };
    let next = reply::send(client, &way.down, next).await;
    record.finish(worker, Some(&asked), None);
    next
}

/// HTTP/1.0 under compatibility istio.
pub(crate) async fn refuse_old(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    record: Record<'_>,
    asked: &Asked<'_>,
) -> Next {
    refuse_protocol(worker, client, way, record, asked, Broken::Old).await
}

/// A path that has no one meaning.
pub(crate) async fn bad_path(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    record: Record<'_>,
    asked: &Asked<'_>,
) -> Next {
    worker.mesh.registry.malformed("path");
    refuse_protocol(worker, client, way, record, asked, Broken::Path).await
}

/// `OPTIONS *`.
pub(crate) async fn no_path(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    record: Record<'_>,
    asked: &Asked<'_>,
) -> Next {
    refuse_protocol(worker, client, way, record, asked, Broken::Asterisk).await
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Broken {
    Old,
    Path,
    Asterisk,
}

async fn refuse_protocol(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    mut record: Record<'_>,
    asked: &Asked<'_>,
    broken: Broken,
) -> Next {
    // Status and details of Envoy, which has a flag and words for the first only.
    let (status, details) = match broken {
        Broken::Old => (426, "low_version"),
        Broken::Path => (400, "path_normalization_failed"),
        Broken::Asterisk => (404, "absolute_path_rejected"),
    };
    record.status = status;
    record.flags = if broken == Broken::Old { Flags::CLIENT_PROTOCOL } else { Flags::NONE };
    record.details = details;
    let body = if broken == Broken::Old { write::reason(status).as_bytes() } else { b"" };
    record.sent = body.len() as u64;
    way.down.clear();
    let reply = Reply { status, body, reason: "bad_request", ..Reply::default() };
    reply::write_reply(worker, &mut way.down, &reply, Persistence::Close, method(asked));
    let next = reply::send(client, &way.down, Next::Linger).await;
    record.finish(worker, Some(asked), None);
    next
}
