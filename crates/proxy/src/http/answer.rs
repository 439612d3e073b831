//! Answers of our own to a request that was understood: refusals, redirects, direct responses.
//!
//! Does not: know the words; `reply` has the table.

use super::forward::{Inquiry, Next};
use super::headers::{self, Persistence};
use super::reply::{self, Method, Overloaded, Reply};
use crate::buffer::Way;
use crate::http::serve::Client;
use crate::record::{Asked, Record};
use crate::worker::Worker;
use std::rc::Rc;
use std::sync::Arc;
use weir_observe::Limit;
use weir_policy::flag::Flags;
use weir_policy::refusal::Refusal;
use weir_policy::route::{self, Route};
use weir_policy::wish::Late;
use weir_wire::{Framing, RequestHead};

/// A refusal and what the connection's state makes of it.
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    /// How a time-out is answered.
    pub(crate) late: Late,
    pub(crate) persistence: Persistence,
    pub(crate) unread: bool,
}

pub(crate) async fn refuse_now(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    mut record: Record,
    asked: &Asked<'_>,
    refused: Refused,
) -> Next {
    let Refused { why, late, mut persistence, unread } = refused;
    let status = match why {
        Refusal::Timeout | Refusal::PerTryTimeout => late.status(),
        _ => why.status(),
    };
    // A drain may have begun since the request came.
    if worker.mesh.is_leaving() {
        persistence = Persistence::Close;
    }
    if let Some(limit) = limit(why) {
        worker.mesh.registry.limited(limit);
    }
    record.reason = Some(why);
    record.status = status;
    record.details = reply::details(why);
    record.flags = record.flags.with(why.flags());
    if why == Refusal::ClientGone {
        record.finish(worker, Some(asked));
        return Next::Close;
    }
    let mut words = std::mem::take(&mut way.kept);
    words.clear();
    if status != 204 {
        reply::words(why, record.attempts, &mut words);
    }
    let overloaded = (why == Refusal::Overflow).then_some(Overloaded);
    let reply = Reply { status, body: &words, reason: why.word(), overloaded, ..Reply::default() };
    way.down.clear();
    reply::write_reply(worker, &mut way.down, &reply, persistence, method(asked));
    record.sent = words.len() as u64;
    way.kept = words;
    let next = match persistence {
        _ if unread => Next::Linger,
        Persistence::Close => Next::Close,
        Persistence::Keep | Persistence::KeepOld => Next::Request,
    };
    let next = reply::send(client, &way.down, next).await;
    record.finish(worker, Some(asked));
    next
}

const fn limit(why: Refusal) -> Option<Limit> {
    match why {
        Refusal::Idle => Some(Limit::StreamIdle),
        Refusal::SlowBody => Some(Limit::SlowBody),
        Refusal::Overloaded => Some(Limit::Overloaded),
        _ => None,
    }
}

fn method(asked: &Asked<'_>) -> Method {
    if asked.request.method.of(asked.buf) == b"HEAD" { Method::Head } else { Method::Other }
}

/// Refuses before any upstream was asked. A body that may follow is not read: the connection is closed.
pub(crate) async fn refuse(inquiry: Inquiry<'_>, client: &mut Client, way: &mut Way, why: Refusal) -> Next {
    let Inquiry { worker, request, buf, request_id, record, persistence, .. } = inquiry;
    let asked = Asked { request, buf, request_id };
    let (persistence, unread) = after_local(request, persistence);
    refuse_now(worker, client, way, record, &asked, Refused { why, late: Late::default(), persistence, unread }).await
}

/// A local answer does not read the request's body, so the connection cannot go on behind one.
const fn after_local(request: &RequestHead, persistence: Persistence) -> (Persistence, bool) {
    match request.framing {
        Framing::None | Framing::Length(0) => (persistence, false),
        _ => (Persistence::Close, true),
    }
}

pub(crate) async fn answer_redirect(
    inquiry: Inquiry<'_>,
    client: &mut Client,
    way: &mut Way,
    route: &Arc<Route>,
    redirect: &route::Redirect,
) -> Next {
    let mut location = std::mem::take(&mut way.kept);
    location.clear();
    route::location(redirect, &inquiry.facts, &mut location);
    let reply = Reply { status: redirect.status, location: Some(&location), ..Reply::default() };
    let next = answer(inquiry, client, way, route, reply).await;
    way.kept = location;
    next
}

pub(crate) async fn answer_direct(
    inquiry: Inquiry<'_>,
    client: &mut Client,
    way: &mut Way,
    route: &Arc<Route>,
    direct: &route::Direct,
) -> Next {
    let reply = Reply { status: direct.status, body: &direct.body, ..Reply::default() };
    answer(inquiry, client, way, route, reply).await
}

/// Sends an answer that the configuration asks for.
async fn answer(
    inquiry: Inquiry<'_>,
    client: &mut Client,
    way: &mut Way,
    route: &Arc<Route>,
    reply: Reply<'_>,
) -> Next {
    let Inquiry { worker, request, buf, request_id, mut record, persistence, .. } = inquiry;
    let asked = Asked { request, buf, request_id };
    let (persistence, unread) = after_local(request, persistence);
    record.route = Some(Arc::clone(&route.name));
    record.status = reply.status;
    record.details = "direct_response";
    record.sent = reply.body.len() as u64;
    let mut fields = Vec::new();
    headers::add(&mut fields, &[&route.headers.response]);
    way.down.clear();
    let reply = Reply { fields: &fields, ..reply };
    reply::write_reply(worker, &mut way.down, &reply, persistence, method(&asked));
    let next = match persistence {
        _ if unread => Next::Linger,
        Persistence::Close => Next::Close,
        Persistence::Keep | Persistence::KeepOld => Next::Request,
    };
    let next = reply::send(client, &way.down, next).await;
    record.finish(worker, Some(&asked));
    next
}

/// HTTP/1.0 under compatibility istio.
pub(crate) async fn refuse_old(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    record: Record,
    asked: &Asked<'_>,
) -> Next {
    refuse_protocol(worker, client, way, record, asked, 426).await
}

/// A path that has no one meaning.
pub(crate) async fn bad_path(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    record: Record,
    asked: &Asked<'_>,
) -> Next {
    worker.mesh.registry.malformed("path");
    refuse_protocol(worker, client, way, record, asked, 400).await
}

async fn refuse_protocol(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    mut record: Record,
    asked: &Asked<'_>,
    status: u16,
) -> Next {
    record.status = status;
    record.flags = Flags::CLIENT_PROTOCOL;
    record.details = "low_version";
    let body = weir_wire::write::reason(status).as_bytes();
    record.sent = body.len() as u64;
    way.down.clear();
    let reply = Reply { status, body, reason: "bad_request", ..Reply::default() };
    reply::write_reply(worker, &mut way.down, &reply, Persistence::Close, method(asked));
    let next = reply::send(client, &way.down, Next::Linger).await;
    record.finish(worker, Some(asked));
    next
}
