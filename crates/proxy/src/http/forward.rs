//! ONE REQUEST, top to bottom.
//!
//! ```text
//!   head ─► one plan ─► facts ─► route ─┬─ no route, unknown host ─────────► our answer
//!                                       ├─ redirect, directResponse ───────► our answer
//!                                       └─ destination ─► Call ─► drive ─┬─► relay the upstream's answer
//!                                             wait / try / try again ◄───┘─► or our own (refused)
//! ```
//! Does not: hold policies; `weir_policy::call` has the order of their questions.

use super::exchange::Exchange;
use super::headers::{self, Ask, Delivery, Persistence, Tell};
use super::relay::{Relay, Relayed};
use super::reply::{self, Method, Overloaded, Reply};
use super::upload::{Keep, Trailers, Upload};
use crate::buffer::{Scratch, Way};
use crate::http::serve::Client;
use crate::mesh::{Cell, Door, Live};
use crate::record::{Asked, Record, sent_request_id};
use crate::upstream::pool::{self, Link};
use crate::worker::Worker;
use std::rc::Rc;
use std::sync::Arc;
use weir_policy::call::{Attempt, Call};
use weir_policy::cluster::{Cluster, Draw};
use weir_policy::drive::{Verdict, World, drive};
use weir_policy::flag::Flags;
use weir_policy::outcome::{self, Interim, Outcome, Reached, Result as Ended};
use weir_policy::plan::{ClusterIndex, Compatibility, Upstream};
use weir_policy::refusal::Refusal;
use weir_policy::retry::{Idempotency, NonIdempotent};
use weir_policy::route::{Action, Destination, Facts, Found, Headers, Rewrite, Route, Table, Target};
use weir_policy::time::Time;
use weir_policy::{path, route};
use weir_wire::{Body, Field, Framing, Hops, Name, RequestHead, RequestKind, Target as Form, Version};

/// What becomes of the client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// It may carry another request.
    Request,
    Close,
    /// Close it, but read for a moment what the client is still sending.
    Linger,
}

/// The header fields of a request, for routes.
struct Fields<'a> {
    fields: &'a [Field],
    buf: &'a [u8],
}

impl Headers for Fields<'_> {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        for field in self.fields {
            if field.name.of(self.buf).eq_ignore_ascii_case(name.as_bytes()) {
                see(field.value.of(self.buf));
            }
        }
    }
}

/// A request with all that was found out about it before it is routed.
struct Inquiry<'a> {
    worker: &'a Rc<Worker>,
    live: &'a Rc<Arc<Live>>,
    request: &'a RequestHead,
    buf: &'a [u8],
    facts: Facts<'a>,
    request_id: &'a [u8],
    record: Record,
    persistence: Persistence,
}

/// Answers the request whose head is in `scratch`.
pub(crate) async fn forward(worker: &Rc<Worker>, client: &mut Client, scratch: &mut Scratch) -> Next {
    let live = worker.live();
    let began = worker.now();
    let Scratch { head, rest, request, way, path: normal, rewritten, request_id } = scratch;
    let buf = head.unread();
    let mut record = client.record(began);
    if request.version == Version::Http10 && live.plan.settings.compatibility == Compatibility::Istio {
        return refuse_old(worker, client, way, record, &Asked { request, buf, request_id: &[] }).await;
    }
    let form = weir_wire::split_target(request.target.of(buf));
    let (raw_path, query, authority) = parts(&form, request, buf);
    let Ok(plain_path) = path::normalise(raw_path, normal) else {
        record.flags = Flags::CLIENT_PROTOCOL;
        return bad_path(worker, client, way, record, &Asked { request, buf, request_id: &[] }).await;
    };
    let id = sent_request_id(request, buf).unwrap_or_else(|| worker.make_request_id(request_id));
    let fields = Fields { fields: &request.fields, buf };
    let facts = Facts {
        authority,
        method: request.method.of(buf),
        scheme: b"http",
        path: plain_path,
        query,
        port: door_port(client.door, authority),
        headers: &fields,
    };
    let persistence = persistence(worker, request);
    let inquiry = Inquiry { worker, live: &live, request, buf, facts, request_id: id, record, persistence };
    let Some(table) = table(&live, client.door) else {
        return refuse(inquiry, client, way, Refusal::NoRoute).await;
    };
    if matches!(form, Form::Authority(_)) {
        return refuse(inquiry, client, way, Refusal::NoRoute).await;
    }
    match table.find(&inquiry.facts) {
        Found::UnknownHost => {
            let why = if client.door == Door::Outbound { Refusal::UnknownHost } else { Refusal::NoRoute };
            refuse(inquiry, client, way, why).await
        }
        Found::NoRoute(_) => refuse(inquiry, client, way, Refusal::NoRoute).await,
        Found::Entry(_, entry) => match &entry.then.action {
            Action::Redirect(redirect) => answer_redirect(inquiry, client, way, &entry.then, redirect).await,
            Action::Direct(direct) => answer_direct(inquiry, client, way, &entry.then, direct).await,
            Action::Forward(forward) => {
                let destination = forward.choose(&mut worker.rng.borrow_mut());
                let refusal = match &destination.target {
                    Target::Cluster(index) => {
                        let shape = Shape::of(forward, destination, entry, &inquiry, rewritten);
                        return send(inquiry, client, way, rest, *index, &entry.then, destination, &shape).await;
                    }
                    Target::Unknown(_) => Refusal::NoCluster,
                    Target::NotEnforced(_) => Refusal::NotEnforced,
                };
                refuse(inquiry, client, way, refusal).await
            }
        },
    }
}

/// Path, query and authority by the form of the target (RFC 9112 section 3.2).
fn parts<'a>(form: &Form<'a>, request: &RequestHead, buf: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>, &'a [u8]) {
    let host: &[u8] = request.host.map_or(b"", |host| host.of(buf));
    match *form {
        Form::Origin { path, query } => (path, query, host),
        Form::Absolute { authority, path, query, .. } => (if path.is_empty() { b"/" } else { path }, query, authority),
        Form::Authority(authority) => (b"/", None, authority),
        Form::Asterisk => (b"*", None, host),
    }
}

fn table(live: &Live, door: Door) -> Option<&Table> {
    match door {
        Door::Outbound => Some(&live.plan.outbound),
        Door::Gateway { port } => {
            live.plan.gateways.iter().find(|gateway| gateway.port == port).map(|found| &found.table)
        }
    }
}

fn door_port(door: Door, authority: &[u8]) -> u16 {
    match door {
        Door::Gateway { port } => port,
        Door::Outbound => {
            let digits = authority.rsplit(|byte| *byte == b':').next().filter(|digits| digits.len() < authority.len());
            digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(80)
        }
    }
}

fn persistence(worker: &Worker, request: &RequestHead) -> Persistence {
    match request.version {
        _ if worker.is_draining() || request.connection.close => Persistence::Close,
        Version::Http11 => Persistence::Keep,
        Version::Http10 if request.connection.keep_alive => Persistence::KeepOld,
        Version::Http10 => Persistence::Close,
    }
}

/// How the request looks upstream.
struct Shape<'a> {
    path: &'a [u8],
    original_path: Option<&'a [u8]>,
    authority: &'a [u8],
}

impl<'a> Shape<'a> {
    fn of(
        forward: &'a route::Forward,
        destination: &'a Destination,
        entry: &'a route::Entry,
        inquiry: &Inquiry<'a>,
        rewritten: &'a mut Vec<u8>,
    ) -> Self {
        let authority = forward.authority.as_deref().or(destination.authority.as_deref());
        let authority = authority.map_or(inquiry.facts.authority, str::as_bytes);
        let Some(rewrite) = &forward.rewrite else {
            return Shape { path: inquiry.facts.path, original_path: None, authority };
        };
        rewritten.clear();
        rewrite_path(rewrite, &entry.when, inquiry.facts.path, rewritten);
        Shape { path: rewritten, original_path: Some(inquiry.request.target.of(inquiry.buf)), authority }
    }
}

fn rewrite_path(rewrite: &Rewrite, when: &route::Match, path: &[u8], out: &mut Vec<u8>) {
    route::rewritten(rewrite, when, path, out);
}

/// The wet side of one call.
struct Carrier<'a> {
    exchange: Exchange<'a>,
    cell: &'a Arc<Cell>,
    upstream: &'a Upstream,
    ask: Ask<'a>,
    /// Where the latest try went.
    last: Option<std::net::SocketAddr>,
}

impl World for Carrier<'_> {
    type Reply = Link;

    fn now(&self) -> Time {
        self.exchange.worker.now()
    }

    fn with<R>(&mut self, decide: impl FnOnce(&mut Cluster, &mut Draw<'_>) -> R) -> R {
        self.exchange.worker.with(self.cell, decide)
    }

    async fn wait(&mut self, until: Time) -> Result<(), Refusal> {
        self.exchange.pause(until).await.map_err(|()| Refusal::ClientGone)
    }

    async fn attempt(&mut self, attempt: &Attempt) -> (Outcome, Option<Link>) {
        let (result, link) = self.try_once(attempt).await;
        let exchange = &self.exchange;
        let outcome = Outcome {
            result,
            reached: exchange.wrote,
            received: exchange.upload.received,
            body: exchange.upload.kept(),
            interim: exchange.interim,
        };
        (outcome, link)
    }
}

impl Carrier<'_> {
    async fn try_once(&mut self, attempt: &Attempt) -> (Ended, Option<Link>) {
        self.last = Some(attempt.address);
        self.exchange.wrote = Reached::Nothing;
        loop {
            let mut link = match self.lend(attempt).await {
                Ok(link) => link,
                Err(ended) => return (ended, None),
            };
            let expected = self.expected(attempt);
            self.exchange.write_request(&self.ask, attempt.number, expected);
            match self.exchange.head(&mut link, &attempt.limits).await {
                Ok(()) => {
                    let response = &self.exchange.way.response;
                    let ratelimited = response.fields.iter().any(|field| field.id == Name::XEnvoyRatelimited);
                    let seen = outcome::Response { status: response.status, ratelimited };
                    return (Ended::Response(seen), Some(link));
                }
                Err(ended) => {
                    // A pooled connection that was over before our request came: take another, nothing was lost.
                    let raced = ended == Ended::Closed && link.is_reused() && self.exchange.wrote == Reached::Nothing;
                    pool::close(self.exchange.worker, link);
                    if !raced || self.exchange.upload.kept() == outcome::Body::NotKept {
                        return (ended, None);
                    }
                }
            }
        }
    }

    /// A connection, unless the client leaves or the time is up first.
    async fn lend(&mut self, attempt: &Attempt) -> Result<Link, Ended> {
        let worker = self.exchange.worker;
        if let Some(link) =
            pool::take_idle(worker, self.cell, attempt.endpoint, attempt.address, &self.upstream.connection)
        {
            return Ok(link);
        }
        let lending = pool::lend(worker, self.cell, attempt.endpoint, attempt.address, &self.upstream.connection);
        self.exchange.unless_over(lending, &attempt.limits).await
    }

    /// `x-envoy-expected-rq-timeout-ms`: what is left for this try.
    fn expected(&self, attempt: &Attempt) -> Option<u64> {
        let rules = attempt.limits.rules;
        let left = rules.whole.map(|whole| match self.exchange.upload.received {
            Some(received) => whole.saturating_sub(attempt.limits.began.since(received)),
            None => whole,
        });
        let shorter = match (left, rules.per_try) {
            (Some(left), Some(per_try)) => Some(left.min(per_try)),
            (left, per_try) => left.or(per_try),
        };
        shorter.map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A call that is under way; however it is dropped, it is ended.
struct Guard<'a> {
    call: Option<Call>,
    worker: &'a Rc<Worker>,
    cell: &'a Arc<Cell>,
}

impl Guard<'_> {
    /// The call ended in order.
    fn end(&mut self) {
        if let Some(mut call) = self.call.take()
            && !call.over()
        {
            let now = self.worker.now();
            self.worker.with(self.cell, |cluster, _| call.ended(cluster, now));
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take()
            && !call.over()
        {
            self.worker.orphan(call, Arc::clone(self.cell));
        }
    }
}

/// Carries the request out by the policies of its destination, and passes the answer on.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a different part of one request; a struct would only rename them"
)]
async fn send(
    inquiry: Inquiry<'_>,
    client: &mut Client,
    way: &mut Way,
    rest: &mut crate::buffer::Buf,
    index: ClusterIndex,
    route: &Arc<Route>,
    destination: &Destination,
    shape: &Shape<'_>,
) -> Next {
    let Inquiry { worker, live, request, buf, facts, request_id, mut record, persistence } = inquiry;
    let (cell, upstream) = (&live.cells[index.0 as usize], live.plan.upstream(index));
    let settings = &live.plan.settings;
    let hops = Hops::of(request, buf);
    record.cell = Some(Arc::clone(cell));
    record.route = Some(Arc::clone(&route.name));
    let trailers = if settings.compatibility == Compatibility::Istio { Trailers::Drop } else { Trailers::Pass };
    let idempotency = idempotency(request, buf);
    let keep = keep(destination, idempotency);
    let upload = Upload::new(worker, request.framing, keep, trailers, record.began);
    way.kept.clear();
    way.down.clear();
    let kind = if facts.method == b"HEAD" { RequestKind::Head } else { RequestKind::Other };
    let idle = matches!(client.door, Door::Gateway { .. }).then_some(settings.limits.stream_idle);
    let ask = Ask {
        request,
        buf,
        hops: &hops,
        path: shape.path,
        query: facts.query,
        authority: shape.authority,
        original_path: shape.original_path,
        request_id,
        door: client.door,
        peer: client.peer,
        edits: [&route.headers.request, &destination.headers.request],
    };
    let response_limits =
        weir_wire::Limits { head: settings.limits.response_head as usize, fields: settings.limits.headers as usize };
    let call = Call::new(destination.retry.clone(), destination.timeout, idempotency, upload.received);
    let stirred = record.began;
    let exchange = Exchange {
        worker,
        client,
        rest,
        way,
        upload,
        kind,
        response_limits,
        sent: 0,
        wrote: Reached::Nothing,
        deaf: false,
        interim: Interim::None,
        idle,
        stirred,
    };
    let mut guard = Guard { call: Some(call), worker, cell };
    let mut carrier = Carrier { exchange, cell, upstream, ask, last: None };
    let verdict = match guard.call.as_mut() {
        Some(call) => drive(call, &mut carrier).await,
        None => Verdict::Refused(Refusal::Closed),
    };
    if let Some(call) = &guard.call {
        record.attempts = call.attempts();
        record.flags = call.flags();
    }
    record.upstream = carrier.last;
    let Carrier { mut exchange, .. } = carrier;
    let asked = Asked { request, buf, request_id };
    match verdict {
        Verdict::Answer(link) => {
            let edits = [&route.headers.response, &destination.headers.response];
            let deadline = guard.call.as_ref().and_then(Call::deadline);
            let way = Down { persistence, trailers, edits, deadline, version: request.version };
            let next = relay(&mut exchange, link, &mut record, upstream, &way, settings.compatibility).await;
            guard.end();
            record.received = exchange.upload.bytes;
            record.finish(worker, Some(&asked), &[]);
            next
        }
        Verdict::Refused(why) => {
            guard.end();
            let Exchange { client, way, upload, .. } = exchange;
            record.received = upload.bytes;
            record.flags = record.flags.with(why.flags());
            let persistence = if upload.is_complete() { persistence } else { Persistence::Close };
            let unread = !upload.is_complete();
            refuse_now(worker, client, way, record, &asked, Refused { why, persistence, unread }).await
        }
    }
}

fn idempotency(request: &RequestHead, buf: &[u8]) -> Idempotency {
    let keyed = || {
        let key = request.fields.iter().find(|field| field.id == Name::IdempotencyKey);
        key.is_some_and(|field| !field.value.is_empty())
    };
    match Idempotency::of_method(request.method.of(buf)) {
        Idempotency::Unsafe if keyed() => Idempotency::Safe,
        idempotency => idempotency,
    }
}

/// Is a copy of the body of any use? Only if a retry can follow after some of it was sent.
fn keep(destination: &Destination, idempotency: Idempotency) -> Keep {
    match &destination.retry {
        Some(rules)
            if rules.after_send()
                && (idempotency == Idempotency::Safe || rules.non_idempotent == NonIdempotent::Retry) =>
        {
            Keep::Yes
        }
        _ => Keep::No,
    }
}

/// What the way down needs to know of the request.
struct Down<'a> {
    persistence: Persistence,
    trailers: Trailers,
    edits: [&'a route::Edits; 2],
    deadline: Option<Time>,
    version: Version,
}

/// Passes the answer on; the connection goes back to its pool when both messages were clean.
async fn relay(
    exchange: &mut Exchange<'_>,
    mut link: Link,
    record: &mut Record,
    upstream: &Upstream,
    way: &Down<'_>,
    compatibility: Compatibility,
) -> Next {
    let worker = exchange.worker;
    let now = worker.now();
    let framing = exchange.way.response.framing;
    let delivery = match (framing, way.version) {
        (Framing::None, _) => Delivery::Empty,
        (Framing::Length(_), _) => Delivery::Length,
        (_, Version::Http11) => Delivery::Chunked,
        (_, Version::Http10) => Delivery::UntilClose,
    };
    let persistence = if delivery == Delivery::UntilClose { Persistence::Close } else { way.persistence };
    let service_time = now.since(exchange.upload.received.unwrap_or(now)).as_millis();
    let service_time = u64::try_from(service_time).unwrap_or(u64::MAX);
    record.status = exchange.way.response.status;
    record.service_time = Some(service_time);
    record.details = "via_upstream";
    {
        let Way { answer, response, down, .. } = &mut *exchange.way;
        let hops = Hops::of_response(response, answer.unread());
        let date = worker.date();
        let tell = Tell { delivery, persistence, compatibility, service_time, date: date.as_bytes(), edits: way.edits };
        headers::incoming(down, response, answer.unread(), &hops, &tell);
        answer.consume(response.len);
    }
    exchange.upload.forget(&mut exchange.way.kept);
    let mut relay = Relay::new(exchange, Body::new(framing), delivery, way.trailers, way.deadline);
    let relayed = relay.run(&mut link).await;
    record.sent = relay.bytes;
    let uploaded = exchange.upload.is_complete() && exchange.sent == exchange.way.up.len() && !exchange.deaf;
    let clean = relayed == Relayed::Complete && uploaded;
    if clean && framing != Framing::UntilClose && exchange.way.response.keeps_alive() && exchange.way.answer.is_empty()
    {
        pool::give_back(worker, link, &upstream.connection);
    } else {
        pool::close(worker, link);
    }
    note_end(record, relayed);
    match (relayed, persistence) {
        (Relayed::Complete, _) if !exchange.upload.is_complete() => Next::Linger,
        (Relayed::Complete, Persistence::Keep | Persistence::KeepOld) => Next::Request,
        _ => Next::Close,
    }
}

fn note_end(record: &mut Record, relayed: Relayed) {
    let (flags, details) = match relayed {
        Relayed::Complete => return,
        Relayed::UpstreamCut => (Flags::UPSTREAM_PROTOCOL, "upstream_reset_after_response_started{protocol_error}"),
        Relayed::ClientGone => (Flags::CLIENT_GONE, "downstream_remote_disconnect"),
        Relayed::Timeout => (Flags::TIMEOUT, "response_timeout"),
        Relayed::Idle => (Flags::STREAM_IDLE, "stream_idle_timeout"),
    };
    record.flags = record.flags.with(flags);
    record.details = details;
}

/// A refusal and what the connection's state makes of it.
struct Refused {
    why: Refusal,
    persistence: Persistence,
    unread: bool,
}

async fn refuse_now(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    mut record: Record,
    asked: &Asked<'_>,
    refused: Refused,
) -> Next {
    let Refused { why, persistence, unread } = refused;
    record.reason = Some(why);
    record.status = why.status();
    record.details = reply::details(why);
    record.flags = record.flags.with(why.flags());
    if why == Refusal::ClientGone {
        record.finish(worker, Some(asked), &[]);
        return Next::Close;
    }
    let mut words = std::mem::take(&mut way.kept);
    words.clear();
    reply::words(why, record.attempts, &mut words);
    let overloaded = (why == Refusal::Overflow).then_some(Overloaded);
    let reply = Reply { status: why.status(), body: &words, reason: why.word(), overloaded, ..Reply::default() };
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
    record.finish(worker, Some(asked), &[]);
    next
}

fn method(asked: &Asked<'_>) -> Method {
    if asked.request.method.of(asked.buf) == b"HEAD" { Method::Head } else { Method::Other }
}

/// Refuses before any upstream was asked. A body that may follow is not read: the connection is closed.
async fn refuse(inquiry: Inquiry<'_>, client: &mut Client, way: &mut Way, why: Refusal) -> Next {
    let Inquiry { worker, request, buf, request_id, record, persistence, .. } = inquiry;
    let asked = Asked { request, buf, request_id };
    let (persistence, unread) = after_local(request, persistence);
    refuse_now(worker, client, way, record, &asked, Refused { why, persistence, unread }).await
}

/// A local answer does not read the request's body, so the connection cannot go on behind one.
const fn after_local(request: &RequestHead, persistence: Persistence) -> (Persistence, bool) {
    match request.framing {
        Framing::None | Framing::Length(0) => (persistence, false),
        _ => (Persistence::Close, true),
    }
}

async fn answer_redirect(
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

async fn answer_direct(
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
    record.finish(worker, Some(&asked), &[]);
    next
}

/// HTTP/1.0 under compatibility istio.
async fn refuse_old(
    worker: &Rc<Worker>,
    client: &mut Client,
    way: &mut Way,
    record: Record,
    asked: &Asked<'_>,
) -> Next {
    refuse_protocol(worker, client, way, record, asked, 426).await
}

/// A path that has no one meaning.
async fn bad_path(worker: &Rc<Worker>, client: &mut Client, way: &mut Way, record: Record, asked: &Asked<'_>) -> Next {
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
    record.finish(worker, Some(asked), &[]);
    next
}
