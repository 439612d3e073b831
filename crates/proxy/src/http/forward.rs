//! ONE REQUEST, top to bottom.
//!
//! ```text
//!   head ─► one plan ─► facts ─► route ─┬─ no route, unknown host ─────────► our answer
//!                                       ├─ redirect, directResponse ───────► our answer
//!                                       └─ destination ─► Call ─► drive ─┬─► relay the upstream's answer
//!                                             wait / try / try again ◄───┘─► or our own (refused)
//! ```
//! Does not: hold policies; `weir_policy::call` has the order of their questions.

use super::answer::{
    Refused, answer_direct, answer_filter, answer_redirect, bad_path, no_path, refuse, refuse_now, refuse_old,
};
use super::carrier::{Carrier, Guard, Protocol};
use super::demand::demand;
use super::exchange::Exchange;
use super::filters::{self, Origin, Passed};
use super::hash::Hashed;
use super::headers::{self, Ask, Delivery, HeadOnly, Persistence, Several, Tell};
use super::inquiry::{Fields, Inquiry, door_port, parts, persistence, scheme, skip, table};
use super::mirror::Copies;
use super::relay::{Relay, Relayed};
use super::reply;
use super::shape::Shape;
use super::switch::{self, Switch};
use super::terms::{Terms, idempotency, keep};
use super::tunnel;
use super::upload::{Coding, Keep, Trailers, Upload};
use super::values::{self, Reply as Answered, Seen, Values};
use crate::buffer::{Scratch, Way};
use crate::http::serve::Client;
use crate::mesh::{Door, Live};
use crate::record::{Asked, Record, sent_request_id};
use crate::upstream::lane::Lane;
use crate::worker::Worker;
use std::rc::Rc;
use std::sync::Arc;
use weir_observe::Limit;
use weir_policy::call::Call;
use weir_policy::connection::Speaks;
use weir_policy::drive::{Verdict, drive};
use weir_policy::filter::{Chain, Passage};
use weir_policy::flag::Flags;
use weir_policy::outcome::{Connected, Interim, Reached};
use weir_policy::pace::Pace;
use weir_policy::plan::{ClusterIndex, Compatibility, Upstream};
use weir_policy::refusal::Refusal;
use weir_policy::route::{Action, Destination, Facts, Found, Route, Target};
use weir_policy::time::Time;
use weir_policy::{path, route};
use weir_wire::{Framing, Hops, RequestKind, Target as Form, Version};

/// No limit was exceeded that marks requests.
static NO_EDITS: route::Edits = route::Edits { set: Vec::new(), add: Vec::new(), remove: Vec::new() };

/// What becomes of the client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// It may carry another request.
    Request,
    Close,
    /// Close it, but read for a moment what the client is still sending.
    Linger,
}

/// Answers the request whose head is in `scratch`.
pub(crate) async fn forward(worker: &Rc<Worker>, client: &mut Client, scratch: &mut Scratch) -> Next {
    let live = worker.live();
    let began = worker.now();
    let Scratch { head, rest, request, way, path: normal, rewritten, request_id } = scratch;
    let buf = head.unread();
    let mut record = client.record(began);
    record.live = Some(&live);
    if request.version == Version::Http10 && live.plan.settings.compatibility == Compatibility::Istio {
        return refuse_old(worker, client, way, record, &Asked { request, buf, request_id: &[] }).await;
    }
    let form = weir_wire::split_target(request.target.of(buf));
    let (raw_path, query, authority) = parts(&form, request, buf);
    // Routes are for paths only; `*` is for the server that it reaches.
    if form == Form::Asterisk {
        return no_path(worker, client, way, record, &Asked { request, buf, request_id: &[] }).await;
    }
    let Ok(plain_path) = path::normalise(raw_path, normal) else {
        record.flags = Flags::CLIENT_PROTOCOL;
        return bad_path(worker, client, way, record, &Asked { request, buf, request_id: &[] }).await;
    };
    let id = sent_request_id(request, buf).unwrap_or_else(|| worker.make_request_id(request_id));
    let fields = Fields { fields: &request.fields, buf };
    let facts = Facts {
        authority,
        method: request.method.of(buf),
        scheme: scheme(&form, client, &fields),
        path: plain_path,
        query,
        port: door_port(client.door, authority),
        headers: &fields,
    };
    let persistence = persistence(worker, request);
    let mut inquiry = Inquiry {
        worker,
        live: &live,
        request,
        buf,
        facts,
        request_id: id,
        record,
        persistence,
        passage: Passage::new(&NOTHING),
        edits: [None, None],
        to_come: request.framing,
        admitted: began,
    };
    if worker.mesh.pressure.sheds() {
        inquiry.persistence = Persistence::Close;
        return refuse(inquiry, client, way, Refusal::Overloaded).await;
    }
    if !live.admits(client.door, client.secured.as_deref(), authority) {
        let istio = live.plan.settings.compatibility == Compatibility::Istio;
        return refuse(inquiry, client, way, if istio { Refusal::NoRoute } else { Refusal::Misdirected }).await;
    }
    let Some(table) = table(&live, client.door) else {
        return refuse(inquiry, client, way, Refusal::NoRoute).await;
    };
    let tunnel = matches!(form, Form::Authority(_));
    if tunnel && !tunnel::may(client, request, live.plan.settings.compatibility) {
        return refuse(inquiry, client, way, Refusal::NoRoute).await;
    }
    let found = table.find(&inquiry.facts);
    let entry = match found {
        Found::Entry(_, entry) => Some(entry),
        Found::NoRoute(_) | Found::UnknownHost => None,
    };
    let destination = entry.and_then(|entry| choose(&mut inquiry, entry));
    inquiry.edits = match (entry, destination) {
        (Some(entry), Some(destination)) => {
            headers::in_order(&entry.then.headers, &destination.headers, Several::of(&entry.then.action)).map(Some)
        }
        _ => [entry.map(|entry| &entry.then.headers), None],
    };
    let rates = destination.map(|destination| destination.rates.as_slice()).unwrap_or_default();
    inquiry.passage = Passage::new(entry.map_or(&table.chain, |entry| &entry.then.chain)).then(rates);
    match filters::pass(&mut inquiry, client, rest).await {
        Passed::On => {}
        Passed::Answer(given) => {
            inquiry.to_come = skip(request.framing, rest);
            return answer_filter(inquiry, client, way, given).await;
        }
        Passed::Gone => return refuse(inquiry, client, way, Refusal::ClientGone).await,
    }
    let Some(entry) = entry else {
        let unknown = matches!(found, Found::UnknownHost) && client.door == Door::Outbound;
        return refuse(inquiry, client, way, if unknown { Refusal::UnknownHost } else { Refusal::NoRoute }).await;
    };
    match (&entry.then.action, destination) {
        (Action::Redirect(redirect), _) => answer_redirect(inquiry, client, way, redirect).await,
        (Action::Direct(direct), _) => answer_direct(inquiry, client, way, direct).await,
        (Action::Forward(forward), Some(destination)) => {
            let refusal = match &destination.target {
                Target::Cluster(index) if tunnel => {
                    // Boxed: requests have no room for it.
                    return Box::pin(tunnel::carry(inquiry, client, way, rest, *index)).await;
                }
                Target::Cluster(index) => {
                    let shape = Shape::of(forward, destination, entry, &inquiry, rewritten);
                    return send(&mut inquiry, client, way, rest, *index, &entry.then, destination, &shape).await;
                }
                Target::Unknown(_) => Refusal::NoCluster,
                Target::NotEnforced(_) => Refusal::NotEnforced,
            };
            refuse(inquiry, client, way, refusal).await
        }
        // `choose` finds a destination for every route that forwards.
        (Action::Forward(_), None) => refuse(inquiry, client, way, Refusal::NoCluster).await,
    }
}

/// Passes everything.
static NOTHING: Chain = Chain { filters: Vec::new() };

/// The destination of a route that forwards; what filters answer counts for it too.
fn choose<'e>(inquiry: &mut Inquiry<'e>, entry: &'e route::Entry) -> Option<&'e Destination> {
    inquiry.record.route = Some(&entry.then);
    let Action::Forward(forward) = &entry.then.action else { return None };
    let destination = forward.choose(&mut inquiry.worker.rng.borrow_mut());
    inquiry.record.chosen = forward.destinations.iter().position(|one| std::ptr::eq(one, destination));
    if let Target::Cluster(index) = &destination.target {
        inquiry.record.cell = Some(&inquiry.live.cells[index.0 as usize]);
    }
    Some(destination)
}

/// Carries the request out by the policies of its destination, and passes the answer on.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a different part of one request; a struct would only rename them"
)]
async fn send(
    inquiry: &mut Inquiry<'_>,
    client: &mut Client,
    way: &mut Way,
    rest: &mut crate::buffer::Buf,
    index: ClusterIndex,
    route: &Arc<Route>,
    destination: &Destination,
    shape: &Shape<'_>,
) -> Next {
    let Inquiry { worker, live, request, buf, request_id, persistence, admitted, .. } = *inquiry;
    let Inquiry { facts, record, passage, .. } = inquiry;
    let (cell, upstream) = (&live.cells[index.0 as usize], live.plan.upstream(index));
    let settings = &live.plan.settings;
    let secured = client.secured.clone();
    let hops = Hops::of(request, buf);
    let speaks = speaks(upstream, request.version);
    let framed = speaks == Version::Http2 && request.version == Version::Http2;
    let dropped = settings.compatibility == Compatibility::Istio && !framed;
    let trailers = if dropped { Trailers::Drop } else { Trailers::Pass };
    let idempotency = idempotency(request, buf);
    let protocol = Protocol::of(request, buf);
    let terms = Terms::of(destination, request, buf, live, client);
    let keep = if shape.mirrors.is_empty() { keep(terms.retry.as_deref(), idempotency, protocol) } else { Keep::Yes };
    let chunked = request.framing == Framing::Chunked && speaks != Version::Http2;
    let coding = if chunked { Coding::Chunked } else { Coding::Plain };
    let upload = Upload::new(worker, live, request.framing, coding, keep, trailers, admitted);
    way.kept.clear();
    way.down.clear();
    let kind = if facts.method == b"HEAD" { RequestKind::Head } else { RequestKind::Other };
    let edge = matches!(client.door, Door::Gateway { .. });
    let idle = edge.then_some(settings.limits.stream_idle);
    let paced = edge && settings.compatibility == Compatibility::Weir;
    let pace = paced.then(|| Pace::new(settings.limits.body_timeout, settings.limits.body_rate));
    let several = Several::of(&route.action);
    let [first, second] = headers::in_order(&route.headers, &destination.headers, several);
    let edits = values::of_request([&first.request, &second.request], several, || Values {
        worker,
        record,
        line: &client.line,
        seen: Seen::routed(facts, request, buf, request_id),
        reply: Answered::None,
        speaks: None,
        received: (request.framing == Framing::None).then_some(admitted),
        attempts: 1,
    });
    let switch = Switch::of(request, buf, &client.line, speaks);
    let ask = Ask {
        request,
        buf,
        hops: &hops,
        path: shape.path,
        query: facts.query,
        authority: shape.authority,
        original_path: shape.original_path,
        original_host: shape.original_host,
        request_id,
        protocol,
        speaks,
        door: client.door,
        scheme: client.scheme(),
        peer: client.peer,
        proven: secured.as_ref().and_then(|secured| secured.proven.as_deref()),
        edits: [&edits[0], &edits[1], passage.over.unwrap_or(&NO_EDITS)],
        switch,
    };
    let response_limits =
        weir_wire::Limits { head: settings.limits.response_head as usize, fields: settings.limits.headers as usize };
    let copies = Copies::of(worker, live, shape.mirrors, &ask, terms.timeout, kind);
    let hashed = Hashed::of(upstream, facts, client);
    let way_to = demand(worker, upstream, shape.authority).await;
    let call = Call::new(terms.retry.clone(), terms.timeout, idempotency, upload.received)
        .hashed(hashed.hash)
        .to(way_to)
        .faulted(route.fault().cloned())
        .late(terms.late);
    let exchange = Exchange {
        worker,
        client,
        rest,
        way,
        upload,
        kind,
        switch,
        response_limits,
        sent: 0,
        wrote: Reached::Nothing,
        deaf: false,
        interim: Interim::None,
        idle,
        stirred: admitted,
        copies,
        sending: pace,
        reading: pace,
    };
    let mut guard = Guard { call: Some(call), worker, cell };
    let mut carrier = Carrier {
        exchange,
        cell,
        upstream,
        ask,
        connected: Connected::No,
        protocol,
        compatibility: settings.compatibility,
        grpc: None,
        speaks,
        retry: terms.retry.as_deref(),
        last: None,
        failure: None,
    };
    // Without a body there is nothing to wait for.
    carrier.exchange.mirror();
    let verdict = match guard.call.as_mut() {
        Some(call) => drive(call, &mut carrier).await,
        None => Verdict::Refused(Refusal::Closed),
    };
    if let Some(call) = &guard.call {
        record.attempts = call.attempts();
        record.flags = record.flags.with(call.flags());
    }
    record.upstream = carrier.last;
    record.failure = carrier.failure;
    record.grpc = carrier.grpc;
    // The largest part of a request stays where it is from here to its end.
    let exchange = &mut carrier.exchange;
    exchange.mirror();
    let asked = Asked { request, buf, request_id };
    match verdict {
        Verdict::Answer(lane) => {
            record.details = "via_upstream";
            record.received = exchange.upload.bytes;
            let edits = values::of_response([&first.response, &second.response], || Values {
                worker,
                record,
                line: &exchange.client.line,
                seen: Seen::sent(&ask),
                reply: Answered::Upstream { head: &exchange.way.response, buf: exchange.way.answer.unread() },
                speaks: Some(speaks),
                received: exchange.upload.received,
                attempts: record.attempts,
            });
            let edits = [&*edits[0], &*edits[1]];
            let deadline = guard.call.as_ref().and_then(Call::deadline);
            let (cookie, origin) = (hashed.cookie.as_deref(), Origin { request, buf });
            let version = request.version;
            let way = Down { persistence, trailers, edits, cookie, deadline, version, passage, origin };
            let next = relay(exchange, lane, record, upstream, &way, live).await;
            if record.details == UPSTREAM_CUT {
                guard.cut();
            }
            guard.end();
            record.received = exchange.upload.bytes + record.switched;
            record.finish(worker, Some(&asked), guard.call.as_mut());
            next
        }
        Verdict::Refused(why) => {
            let abort = guard.call.as_ref().and_then(Call::abort);
            guard.end();
            record.trail = guard.call.as_mut().map(Call::take_trail).unwrap_or_default();
            let Exchange { client, way, upload, .. } = exchange;
            record.flags = record.flags.with(why.flags());
            record.details = reply::details(why);
            let edits = values::of_response([&first.response, &second.response], || Values {
                worker,
                record,
                line: &client.line,
                seen: Seen::sent(&ask),
                reply: Answered::Own { location: None },
                speaks: None,
                received: upload.received,
                attempts: record.attempts,
            });
            way.extra.clear();
            headers::add_down(&mut way.extra, &[&edits[0], &edits[1]], settings.compatibility);
            filters::tell(passage, live, &client.own, Origin { request, buf }, worker.now(), &mut way.extra);
            record.received = upload.bytes;
            let persistence = if upload.is_complete() { persistence } else { Persistence::Close };
            let refused = Refused { why, late: terms.late, abort, persistence, unread: !upload.is_complete() };
            refuse_now(worker, client, way, record, &asked, refused).await
        }
    }
}

/// What the upstream is spoken to in.
pub(crate) const fn speaks(upstream: &Upstream, client: Version) -> Version {
    match (upstream.connection.speaks, client) {
        (Speaks::Http2, _) | (Speaks::AsClient, Version::Http2) => Version::Http2,
        _ => Version::Http11,
    }
}

/// What the way down needs to know of the request.
struct Down<'a> {
    persistence: Persistence,
    trailers: Trailers,
    edits: [&'a route::Edits; 2],
    /// `set-cookie` for a client that is to come back to the same endpoint.
    cookie: Option<&'a str>,
    deadline: Option<Time>,
    version: Version,
    passage: &'a Passage<'a>,
    origin: Origin<'a>,
}

/// Passes the answer on; the connection goes back to its pool when both messages were clean.
async fn relay(
    exchange: &mut Exchange<'_>,
    mut lane: Lane,
    record: &mut Record<'_>,
    upstream: &Upstream,
    way: &Down<'_>,
    live: &Live,
) -> Next {
    let worker = exchange.worker;
    let now = worker.now();
    let framing = exchange.way.response.framing;
    let delivery = match (framing, way.version) {
        (Framing::None, _) => Delivery::Empty,
        (_, Version::Http2) => Delivery::Frames,
        (Framing::Length(_), _) => Delivery::Length,
        (_, Version::Http11) => Delivery::Chunked,
        (_, Version::Http10) => Delivery::UntilClose,
    };
    // A drain may have begun since the request came.
    let close = delivery == Delivery::UntilClose || worker.mesh.is_leaving();
    let persistence = if close { Persistence::Close } else { way.persistence };
    let service_time = now.since(exchange.upload.received.unwrap_or(now)).as_millis();
    let service_time = u64::try_from(service_time).unwrap_or(u64::MAX);
    record.status = exchange.way.response.status;
    record.service_time = Some(service_time);
    {
        let Way { answer, response, down, extra, .. } = &mut *exchange.way;
        extra.clear();
        filters::tell(way.passage, live, &exchange.client.own, way.origin, now, extra);
        let hops = Hops::of_response(response, answer.unread());
        let date = worker.date();
        let (date, edits, cookie) = (date.as_bytes(), way.edits, way.cookie);
        let (extra, cors) = (extra.as_slice(), way.passage.cors);
        let compatibility = live.plan.settings.compatibility;
        let head_only = if exchange.kind == RequestKind::Head && way.version == Version::Http11 {
            HeadOnly::Yes
        } else {
            HeadOnly::No
        };
        let tell =
            Tell { delivery, persistence, compatibility, service_time, date, edits, cookie, extra, cors, head_only };
        headers::incoming(down, response, answer.unread(), &hops, &tell);
        answer.consume(response.len);
    }
    if record.status == 101 {
        // Boxed: a request that stays one has no room for it.
        Box::pin(switch::pass(exchange, lane, record)).await;
        return Next::Close;
    }
    exchange.client.line.begin(&mut exchange.way.down);
    exchange.upload.forget(&mut exchange.way.kept);
    let mut relay = Relay::new(exchange, lane.body(framing), delivery, way.trailers, way.deadline);
    let relayed = relay.run(&mut lane).await;
    record.sent = relay.bytes;
    record.grpc = relay.grpc.or(record.grpc);
    let uploaded = exchange.upload.is_complete() && exchange.sent == exchange.way.up.len() && !exchange.deaf;
    let clean = relayed == Relayed::Complete && uploaded;
    if clean && framing != Framing::UntilClose && exchange.way.response.keeps_alive() && exchange.way.answer.is_empty()
    {
        lane.give_back(worker, &upstream.connection);
    } else {
        lane.close(worker);
    }
    note_end(worker, record, relayed);
    exchange.client.line.after(relayed);
    match (relayed, persistence) {
        (Relayed::Complete, _) if !exchange.upload.is_complete() => Next::Linger,
        (Relayed::Complete, Persistence::Keep | Persistence::KeepOld) => Next::Request,
        _ => Next::Close,
    }
}

/// The upstream's connection broke off in the middle of its answer.
const UPSTREAM_CUT: &str = "upstream_reset_after_response_started{protocol_error}";

fn note_end(worker: &Worker, record: &mut Record<'_>, relayed: Relayed) {
    let limit = match relayed {
        Relayed::Idle => Some(Limit::StreamIdle),
        Relayed::SlowBody => Some(Limit::SlowBody),
        Relayed::SlowReader => Some(Limit::SlowReader),
        _ => None,
    };
    if let Some(limit) = limit {
        worker.mesh.registry.limited(limit);
    }
    let (flags, details) = match relayed {
        Relayed::Complete => return,
        Relayed::UpstreamCut => (Flags::UPSTREAM_PROTOCOL, UPSTREAM_CUT),
        Relayed::ClientGone => (Flags::CLIENT_GONE, "downstream_remote_disconnect"),
        Relayed::Timeout => (Flags::TIMEOUT, "response_timeout"),
        Relayed::Idle => (Flags::STREAM_IDLE, "stream_idle_timeout"),
        Relayed::SlowBody => (Flags::STREAM_IDLE, "request_body_too_slow"),
        Relayed::SlowReader => (Flags::STREAM_IDLE, "response_read_too_slowly"),
    };
    record.flags = record.flags.with(flags);
    record.details = details;
}
