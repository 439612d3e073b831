//! Heads on their way through: what is passed on, dropped, added.
//!
//! ```text
//!   request   method SP path SP HTTP/1.1 · host · the client's fields less hop-by-hop and ours · edits · ours
//!   response  HTTP/1.1 status · the upstream's fields less hop-by-hop and ours · edits · ours
//! ```
//! One pass over the spans, no map, no allocation per field. Does not: send.

use super::carrier::Protocol;
use super::switch::{self, Switch};
use crate::mesh::Door;
use std::net::SocketAddr;
use weir_policy::cors;
use weir_policy::format::Value;
use weir_policy::grpc;
use weir_policy::plan::Compatibility;
use weir_policy::route::{Action, Edits, HeaderEdits};
use weir_wire::hops::FIXED;
use weir_wire::{Framing, Hops, Name, Names, RequestHead, ResponseHead, Version, write};

/// Everything a request's head upstream is made of.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) request: &'a RequestHead,
    pub(crate) buf: &'a [u8],
    pub(crate) hops: &'a Hops,
    /// As it is sent upstream, without query.
    pub(crate) path: &'a [u8],
    pub(crate) query: Option<&'a [u8]>,
    pub(crate) authority: &'a [u8],
    /// The path as received, with query, when it was rewritten.
    pub(crate) original_path: Option<&'a [u8]>,
    /// The authority as received, when a rule wrote another.
    pub(crate) original_host: Option<&'a [u8]>,
    pub(crate) request_id: &'a [u8],
    pub(crate) protocol: Protocol,
    /// What the upstream is spoken to in.
    pub(crate) speaks: Version,
    pub(crate) door: Door,
    /// By which the client came.
    pub(crate) scheme: &'static str,
    pub(crate) peer: SocketAddr,
    /// What it proved, as `x-forwarded-client-cert` says it.
    pub(crate) proven: Option<&'a str>,
    /// Of the rule, of the destination, and of a limit that was exceeded and not enforced.
    pub(crate) edits: [&'a Edits; 3],
    pub(crate) switch: Switch,
}

/// Writes the request's head for try `number`; `expected` is what is left of its time, in milliseconds.
pub(crate) fn outgoing(up: &mut Vec<u8>, ask: &Ask<'_>, number: u32, expected: Option<u64>) {
    up.extend_from_slice(ask.request.method.of(ask.buf));
    up.push(b' ');
    up.extend_from_slice(ask.path);
    if let Some(query) = ask.query {
        up.push(b'?');
        up.extend_from_slice(query);
    }
    up.extend_from_slice(b" HTTP/1.1\r\n");
    write::field(up, b"host", ask.authority);
    let touch = Touch::of(&ask.edits);
    let gone = request_fields_gone(ask);
    let with_te = ask.request.names.has(Name::Te);
    // Of most requests, that is all there is to know.
    let wishes = ask.request.names.has(Name::XEnvoyOther);
    let simple = ask.hops.are_fixed() && touch.is_nothing() && ask.protocol == Protocol::Plain && !with_te;
    write::fields(up, ask.buf, &ask.request.fields, |field| {
        let wish = wishes && field.id == Name::XEnvoyOther && is_wish(field.name.of(ask.buf));
        !(gone.has(field.id) || wish)
            && (simple
                || !(ask.hops.is_hop(field, ask.buf)
                    || (field.id == Name::GrpcTimeout && ask.protocol == Protocol::Grpc && expected.is_some()))
                    && touch.leaves(field.name.of(ask.buf)))
    });
    if with_te && ask.request.fields.iter().any(|field| Hops::leaves_trailers(field, ask.buf)) {
        up.extend_from_slice(b"te: trailers\r\n");
    }
    match ask.request.framing {
        Framing::Chunked => up.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None if ask.speaks != Version::Http2 && anticipates_content(ask.request.method.of(ask.buf)) => {
            up.extend_from_slice(b"content-length: 0\r\n");
        }
        _ => {}
    }
    let ours = |name: &[u8]| touch.leaves(name);
    forwarded(up, ask, &ours);
    if ours(b"x-request-id") {
        write::field(up, b"x-request-id", ask.request_id);
    }
    if ours(b"x-envoy-attempt-count") {
        write::number_field(up, b"x-envoy-attempt-count", u64::from(number));
    }
    if let Some(millis) = expected {
        if ours(b"x-envoy-expected-rq-timeout-ms") {
            write::number_field(up, b"x-envoy-expected-rq-timeout-ms", millis);
        }
        if ask.protocol == Protocol::Grpc {
            up.extend_from_slice(b"grpc-timeout: ");
            grpc::write_timeout(up, millis);
            up.extend_from_slice(b"\r\n");
        }
    }
    if let Some(path) = ask.original_path {
        write::field(up, b"x-envoy-original-path", path);
    }
    if let Some(host) = ask.original_host {
        write::field(up, b"x-envoy-original-host", host);
    }
    if ask.switch == Switch::WebSocket {
        up.extend_from_slice(switch::FIELDS);
    }
    add(up, &ask.edits);
    up.extend_from_slice(b"\r\n");
}

/// May servers wait for a body of such a request (RFC 9110 section 8.6)? HTTP/2 says that none comes by END_STREAM.
fn anticipates_content(method: &[u8]) -> bool {
    !matches!(method, b"GET" | b"HEAD" | b"DELETE" | b"TRACE" | b"CONNECT")
}

/// Fields of a request that never go upstream as the client sent them.
fn request_fields_gone(ask: &Ask<'_>) -> Names {
    /// Written by us; and who a client is by its certificate, which only a proxy says that saw it.
    const OURS: Names = FIXED.with(Names::of(&[
        Name::Host,
        Name::XRequestId,
        Name::XEnvoyAttemptCount,
        Name::XEnvoyExpectedRqTimeoutMs,
        Name::XEnvoyInternal,
        Name::XForwardedClientCert,
        Name::XWeir,
        // Who a client is says its handshake, not the client.
        Name::XForwardedClientCert,
    ]));
    /// Edge: we own them. Inside the mesh they pass.
    const EDGE: Names = OURS.with(Names::of(&[
        Name::XForwardedFor,
        Name::XForwardedProto,
        Name::XEnvoyOther,
        Name::XEnvoyOriginalHost,
    ]));
    let gone = if matches!(ask.door, Door::Outbound) { OURS } else { EDGE };
    let gone = if ask.original_host.is_some() { gone.with(Names::of(&[Name::XEnvoyOriginalHost])) } else { gone };
    if ask.original_path.is_some() { gone.with(Names::of(&[Name::XEnvoyOriginalPath])) } else { gone }
}

/// A client's words to the proxy itself: not passed on, obeyed or not. The other `x-envoy-*` are for who comes next.
fn is_wish(name: &[u8]) -> bool {
    const WISHES: [&str; 14] = [
        "retry-on",
        "retry-grpc-on",
        "max-retries",
        "retriable-status-codes",
        "retriable-header-names",
        "upstream-alt-stat-name",
        "upstream-rq-timeout-ms",
        "upstream-rq-per-try-timeout-ms",
        "upstream-rq-timeout-alt-response",
        "upstream-stream-duration-ms",
        "hedge-on-per-try-timeout",
        "force-trace",
        "ip-tags",
        "original-url",
    ];
    name.get("x-envoy-".len()..)
        .is_some_and(|rest| WISHES.iter().any(|wish| rest.eq_ignore_ascii_case(wish.as_bytes())))
}

/// `x-forwarded-*`: passed through inside the mesh, owned at the edge.
fn forwarded(up: &mut Vec<u8>, ask: &Ask<'_>, ours: &impl Fn(&[u8]) -> bool) {
    match ask.door {
        Door::Outbound | Door::Service { .. } => {
            if !ask.request.names.has(Name::XForwardedProto) && ours(b"x-forwarded-proto") {
                write::field(up, b"x-forwarded-proto", ask.scheme.as_bytes());
            }
        }
        Door::Gateway { .. } => {
            if ours(b"x-forwarded-for") {
                up.extend_from_slice(b"x-forwarded-for: ");
                if ask.request.names.has(Name::XForwardedFor) {
                    for field in ask.request.fields.iter().filter(|field| field.id == Name::XForwardedFor) {
                        up.extend_from_slice(field.value.of(ask.buf));
                        up.push(b',');
                    }
                }
                write_ip(up, ask.peer);
                up.extend_from_slice(b"\r\n");
            }
            if let Some(proven) = ask.proven.filter(|_| ours(b"x-forwarded-client-cert")) {
                write::field(up, b"x-forwarded-client-cert", proven.as_bytes());
            }
            if ours(b"x-forwarded-proto") {
                write::field(up, b"x-forwarded-proto", ask.scheme.as_bytes());
            }
        }
    }
}

fn write_ip(out: &mut Vec<u8>, peer: SocketAddr) {
    use std::io::Write;
    match peer {
        SocketAddr::V4(address) => {
            for (index, part) in address.ip().octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                write::decimal(out, u64::from(part));
            }
        }
        // Writing to a vector cannot fail.
        SocketAddr::V6(address) => drop(write!(out, "{}", address.ip())),
    }
}

/// The edits of a head, and how long the names are that they set or remove: nearly all fields are told apart by that.
struct Touch<'e> {
    edits: &'e [&'e Edits],
    /// A bit for each length; names of 63 bytes and more share the last.
    lengths: u64,
}

impl<'e> Touch<'e> {
    fn of(edits: &'e [&'e Edits]) -> Self {
        let mut lengths = 0;
        for one in edits {
            one.remove.iter().for_each(|name| lengths |= Self::bit(name.len()));
            one.set.iter().for_each(|(name, _)| lengths |= Self::bit(name.len()));
        }
        Self { edits, lengths }
    }

    fn bit(length: usize) -> u64 {
        1 << length.min(63)
    }

    const fn is_nothing(&self) -> bool {
        self.lengths == 0
    }

    fn leaves(&self, name: &[u8]) -> bool {
        self.lengths & Self::bit(name.len()) == 0 || edits_leave(self.edits, name)
    }
}

/// Does a field of this name stay, the peer's or one that we write? What is set or removed does not.
fn edits_leave(edits: &[&Edits], name: &[u8]) -> bool {
    let named = |known: &str| known.as_bytes().eq_ignore_ascii_case(name) && !frames(known);
    !edits.iter().any(|edits| {
        edits.remove.iter().any(|known| named(known))
            || edits.set.iter().any(|(known, value)| named(known) && !value.text().is_empty())
    })
}

/// Is it set? Then ours is not written even where removing it would bring ours back.
fn is_set(edits: &[&Edits], name: &str) -> bool {
    let set = |(known, value): &(Box<str>, Value)| known.eq_ignore_ascii_case(name) && !value.text().is_empty();
    edits.iter().any(|edits| edits.set.iter().any(set))
}

/// Names that say where a message ends or a connection goes on: no edit may touch them.
fn frames(name: &str) -> bool {
    ["content-length", "transfer-encoding", "connection", "keep-alive", "upgrade"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Writes what the edits add, one after the other: each removes and sets over what those before it added.
pub(crate) fn add(out: &mut Vec<u8>, edits: &[&Edits]) {
    add_those(out, edits, |_| true);
}

/// The same for an answer to a client.
pub(crate) fn add_down(out: &mut Vec<u8>, edits: &[&Edits], compatibility: Compatibility) {
    add_those(out, edits, |name| may_write(compatibility, name));
}

/// Envoy writes its own name last, whatever a rule says.
fn may_write(compatibility: Compatibility, name: &str) -> bool {
    compatibility == Compatibility::Weir || !name.eq_ignore_ascii_case("server")
}

fn add_those(out: &mut Vec<u8>, edits: &[&Edits], may: impl Fn(&str) -> bool) {
    for (nth, one) in edits.iter().enumerate().filter(|(_, one)| !one.is_empty()) {
        let later = &edits[nth + 1..];
        for (name, value) in one.set.iter().chain(&one.add) {
            let stays = later.is_empty() || edits_leave(later, name.as_bytes());
            // An operation whose value is empty does nothing, as in Envoy.
            if stays && !value.text().is_empty() && !frames(name) && may(name) {
                write::field(out, name.as_bytes(), value.text().as_bytes());
            }
        }
    }
}

/// The edits of a rule and of its destination in Envoy's order: a destination among several comes before its rule.
pub(crate) fn in_order<'e>(
    route: &'e HeaderEdits,
    destination: &'e HeaderEdits,
    several: Several,
) -> [&'e HeaderEdits; 2] {
    match several {
        Several::Yes => [destination, route],
        Several::No => [route, destination],
    }
}

/// Has the rule more than one destination?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Several {
    Yes,
    No,
}

impl Several {
    pub(crate) const fn of(action: &Action) -> Self {
        match action {
            Action::Forward(forward) if forward.destinations.len() > 1 => Self::Yes,
            _ => Self::No,
        }
    }
}

/// How the body of a response goes to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// None.
    Empty,
    /// As long as its `content-length` says.
    Length,
    Chunked,
    /// As DATA of HTTP/2, until the stream's end.
    Frames,
    /// To an HTTP/1.0 client: until the end of the connection.
    UntilClose,
}

/// What follows this response on the client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Persistence {
    /// HTTP/1.1's default: nothing is said.
    Keep,
    /// HTTP/1.0's `connection: keep-alive`.
    KeepOld,
    Close,
}

/// Everything a response's head to the client is made of, beside the upstream's.
pub(crate) struct Tell<'a> {
    pub(crate) delivery: Delivery,
    pub(crate) persistence: Persistence,
    pub(crate) compatibility: Compatibility,
    /// Milliseconds from the last byte of the request to the head of the answer.
    pub(crate) service_time: u64,
    pub(crate) date: &'a [u8],
    pub(crate) cookie: Option<&'a str>,
    pub(crate) edits: [&'a Edits; 2],
    /// Fields of our filters, encoded.
    pub(crate) extra: &'a [u8],
    /// Whose fields replace the upstream's.
    pub(crate) cors: Option<&'a cors::Rules>,
    /// It answers a `HEAD` of HTTP/1.1.
    pub(crate) head_only: HeadOnly,
}

/// Whether a response answers a `HEAD` that came in HTTP/1.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeadOnly {
    Yes,
    No,
}

impl Tell<'_> {
    /// A `HEAD` is told how the answer to its `GET` would come.
    fn is_head_of_chunks(&self, response: &ResponseHead) -> bool {
        self.head_only == HeadOnly::Yes
            && !matches!(response.status, 204 | 304)
            && !response.fields.iter().any(|field| field.id == Name::ContentLength)
    }
}

/// Writes the head of the upstream's response for the client.
pub(crate) fn incoming(down: &mut Vec<u8>, response: &ResponseHead, buf: &[u8], hops: &Hops, tell: &Tell<'_>) {
    write::status_line(down, response.status);
    let touch = Touch::of(&tell.edits);
    let mut dated = false;
    write::fields(down, buf, &response.fields, |field| {
        let stays = match field.id {
            Name::Server => tell.compatibility == Compatibility::Weir,
            Name::XEnvoyUpstreamServiceTime | Name::XWeir => false,
            // A 204 has no length (RFC 9110 section 8.6); a HEAD's and a 304's tell of a body that is not sent.
            Name::ContentLength => {
                response.status != 204 && matches!(tell.delivery, Delivery::Length | Delivery::Empty | Delivery::Frames)
            }
            Name::Date => {
                dated = touch.leaves(b"date");
                true
            }
            _ => !hops.is_hop(field, buf),
        };
        stays && touch.leaves(field.name.of(buf)) && tell.cors.is_none_or(|rules| !replaces(rules, field.name.of(buf)))
    });
    if !dated && !is_set(&tell.edits, "date") {
        write::field(down, b"date", tell.date);
    }
    if tell.compatibility == Compatibility::Istio {
        down.extend_from_slice(b"server: envoy\r\n");
    }
    if touch.leaves(b"x-envoy-upstream-service-time") {
        write::number_field(down, b"x-envoy-upstream-service-time", tell.service_time);
    }
    if tell.delivery == Delivery::Chunked || tell.is_head_of_chunks(response) {
        down.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if let Some(cookie) = tell.cookie {
        write::field(down, b"set-cookie", cookie.as_bytes());
    }
    if response.status == 101 {
        down.extend_from_slice(switch::FIELDS);
    } else {
        persistence(down, tell.persistence);
    }
    let cors = |name: &str| tell.cors.is_none_or(|rules| !replaces(rules, name.as_bytes()));
    add_those(down, &tell.edits, |name| cors(name) && may_write(tell.compatibility, name));
    down.extend_from_slice(tell.extra);
    down.extend_from_slice(b"\r\n");
}

/// Does one of the CORS fields that an answer gets stand in for this one?
fn replaces(rules: &cors::Rules, name: &[u8]) -> bool {
    rules.answer_fields(b"").any(|field| field.name.as_bytes().eq_ignore_ascii_case(name))
}

/// The `connection` field, where one is needed.
pub(crate) fn persistence(down: &mut Vec<u8>, persistence: Persistence) {
    match persistence {
        Persistence::Keep => {}
        Persistence::KeepOld => down.extend_from_slice(b"connection: keep-alive\r\n"),
        Persistence::Close => down.extend_from_slice(b"connection: close\r\n"),
    }
}

/// Writes an interim response (1xx) for the client.
pub(crate) fn interim(down: &mut Vec<u8>, response: &ResponseHead, buf: &[u8]) {
    write::status_line(down, response.status);
    let hops = Hops::none();
    write::fields(down, buf, &response.fields, |field| !hops.is_hop(field, buf));
    down.extend_from_slice(b"\r\n");
}
