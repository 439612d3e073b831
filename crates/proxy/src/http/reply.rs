//! Our own answers: refusal or malformed request → status, flag, words. One table.
//!
//! Does not: decide that one is due.

use super::exchange::flush;
use super::forward::Next;
use super::headers::{Persistence, persistence};
use crate::buffer::Scratch;
use crate::http::serve::Client;
use crate::worker::Worker;
use std::rc::Rc;
use weir_policy::flag::Flags;
use weir_policy::plan::Compatibility;
use weir_policy::refusal::Refusal;
use weir_wire::write;

/// One answer of ours.
#[derive(Default)]
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// `x-weir-reason`; empty for answers that the configuration asks for.
    pub(crate) reason: &'static str,
    pub(crate) location: Option<&'a [u8]>,
    /// Further fields, encoded.
    pub(crate) fields: &'a [u8],
    pub(crate) overloaded: Option<Overloaded>,
    /// To a gRPC client: the status and no body; `body` is its message.
    pub(crate) grpc: Option<u8>,
}

/// `x-envoy-overloaded: true`.
pub(crate) struct Overloaded;

/// What the client is told of a refusal, in Envoy's words. `tries` says whether there was a retry.
pub(crate) fn words(refusal: Refusal, tries: u32, out: &mut Vec<u8>) {
    let reset = match refusal {
        Refusal::UnknownHost | Refusal::NoRoute | Refusal::NoCluster | Refusal::ClientGone => return,
        Refusal::NoHealthy => return out.extend_from_slice(b"no healthy upstream"),
        Refusal::Timeout | Refusal::PerTryTimeout => return out.extend_from_slice(b"upstream request timeout"),
        Refusal::Idle => return out.extend_from_slice(b"stream timeout"),
        Refusal::SlowBody => return out.extend_from_slice(b"request body too slow"),
        Refusal::Overloaded => return out.extend_from_slice(b"overloaded"),
        Refusal::Descriptors => return out.extend_from_slice(b"out of descriptors"),
        Refusal::Upload => return out.extend_from_slice(b"Bad Request"),
        Refusal::NotEnforced => {
            let words =
                "this destination is guarded by a security setting that is not enforced yet; `weir check` names it";
            return out.extend_from_slice(words.as_bytes());
        }
        Refusal::Misdirected => return out.extend_from_slice(b"this connection is for another host"),
        Refusal::ConnectFailed => "remote connection failure",
        Refusal::TlsFailed => "remote connection failure, transport failure reason: TLS_error",
        Refusal::ConnectTimeout => "connection timeout",
        Refusal::Closed => "connection termination",
        Refusal::Reset => "remote reset",
        Refusal::RefusedStream => "remote refused stream reset",
        Refusal::Protocol => "protocol error",
        Refusal::Overflow => "overflow",
        Refusal::Fault => return out.extend_from_slice(b"fault filter abort"),
        Refusal::RateLimited => return out.extend_from_slice(b"local_rate_limited"),
    };
    let again = if tries > 1 { "retried and the latest " } else { "" };
    for part in ["upstream connect error or disconnect/reset before headers. ", again, "reset reason: ", reset] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Envoy's `response_code_details` of a refusal.
pub(crate) const fn details(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownHost => "direct_response",
        Refusal::NoRoute => "route_not_found",
        Refusal::NoCluster => "cluster_not_found",
        Refusal::NotEnforced => "not_enforced",
        Refusal::NoHealthy => "no_healthy_upstream",
        Refusal::ConnectFailed => "upstream_reset_before_response_started{remote_connection_failure}",
        Refusal::TlsFailed => "upstream_reset_before_response_started{remote_connection_failure,TLS_error}",
        Refusal::ConnectTimeout => "upstream_reset_before_response_started{connection_timeout}",
        Refusal::Closed => "upstream_reset_before_response_started{connection_termination}",
        Refusal::Reset => "upstream_reset_before_response_started{remote_reset}",
        Refusal::RefusedStream => "upstream_reset_before_response_started{remote_refused_stream_reset}",
        Refusal::Protocol => "upstream_reset_before_response_started{protocol_error}",
        Refusal::Overflow => "upstream_reset_before_response_started{overflow}",
        Refusal::Timeout => "response_timeout",
        Refusal::PerTryTimeout => "upstream_per_try_timeout",
        Refusal::Idle => "stream_idle_timeout",
        Refusal::SlowBody => "request_body_too_slow",
        Refusal::Overloaded => "overload",
        Refusal::Descriptors => "out_of_descriptors",
        Refusal::Upload => "http1.codec_error",
        Refusal::ClientGone => "downstream_remote_disconnect",
        Refusal::Fault => "fault_filter_abort",
        Refusal::RateLimited => "local_rate_limited",
        Refusal::Misdirected => "misdirected_request",
    }
}

/// Writes the reply into `down`. A `HEAD` gets its head only.
pub(crate) fn write_reply(
    worker: &Worker,
    down: &mut Vec<u8>,
    reply: &Reply<'_>,
    next: Persistence,
    head_only: Method,
) {
    let compatibility = worker.live().plan.settings.compatibility;
    write::status_line(down, reply.status);
    if let Some(location) = reply.location {
        write::field(down, b"location", location);
    }
    let body = if reply.grpc.is_some() { &[][..] } else { reply.body };
    if !matches!(reply.status, 204 | 304) {
        write::number_field(down, b"content-length", body.len() as u64);
    }
    let typed = names(reply.fields, b"content-type");
    match reply.grpc {
        Some(status) => {
            down.extend_from_slice(b"content-type: application/grpc\r\n");
            write::number_field(down, b"grpc-status", u64::from(status));
            grpc_message(down, reply.body);
        }
        None if !body.is_empty() && !typed => down.extend_from_slice(b"content-type: text/plain\r\n"),
        None => {}
    }
    if reply.overloaded.is_some() {
        down.extend_from_slice(b"x-envoy-overloaded: true\r\n");
    }
    write::field(down, b"date", worker.date().as_bytes());
    match compatibility {
        Compatibility::Istio => down.extend_from_slice(b"server: envoy\r\n"),
        Compatibility::Weir => {
            if !names(reply.fields, b"server") {
                down.extend_from_slice(b"server: weir\r\n");
            }
            if !reply.reason.is_empty() {
                write::field(down, b"x-weir-reason", reply.reason.as_bytes());
            }
        }
    }
    down.extend_from_slice(reply.fields);
    persistence(down, next);
    down.extend_from_slice(b"\r\n");
    if head_only == Method::Other && !matches!(reply.status, 204 | 304) {
        down.extend_from_slice(body);
    }
}

/// `grpc-message`, percent-encoded as the gRPC protocol wants it; none when there is nothing to say.
fn grpc_message(down: &mut Vec<u8>, message: &[u8]) {
    if message.is_empty() {
        return;
    }
    down.extend_from_slice(b"grpc-message: ");
    for byte in message {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => {
                let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
                down.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
            _ => down.push(*byte),
        }
    }
    down.extend_from_slice(b"\r\n");
}

/// Is there a field of this name among the encoded ones? Then it is set by the rule, and ours is not written.
fn names(fields: &[u8], name: &[u8]) -> bool {
    fields.split(|byte| *byte == b'\n').any(|line| {
        line.get(..name.len()).is_some_and(|front| front.eq_ignore_ascii_case(name))
            && line.get(name.len()) == Some(&b':')
    })
}

/// Whether the request was a `HEAD`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Head,
    Other,
}

/// In whose voice a request is refused that cannot be understood: only the codec has a flag and words, as in Envoy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Voice {
    Codec,
    Proxy,
}

/// Answers what is not HTTP, or came too slowly; the connection is closed after it.
pub(crate) async fn malformed(
    worker: &Rc<Worker>,
    client: &mut Client,
    scratch: &mut Scratch,
    status: u16,
    voice: Voice,
) {
    let compatibility = worker.live().plan.settings.compatibility;
    let mut record = client.record(worker.now());
    record.status = status;
    if voice == Voice::Codec {
        record.flags = Flags::CLIENT_PROTOCOL;
    }
    record.details = if voice == Voice::Codec { "http1.codec_error" } else { "missing_host_header" };
    let down = &mut scratch.way.down;
    down.clear();
    // As Envoy answers: the standard reason is the body.
    let body = if voice == Voice::Codec { write::reason(status).as_bytes() } else { b"" };
    let reason = if status == 408 { "head_timeout" } else { "bad_request" };
    let reply = Reply { status, body, reason, ..Reply::default() };
    debug_assert!(matches!(compatibility, Compatibility::Istio | Compatibility::Weir));
    write_reply(worker, down, &reply, Persistence::Close, Method::Other);
    record.sent = body.len() as u64;
    // The client may be gone; there is nobody else to tell.
    let _ = flush(client, down).await;
    record.finish(worker, None, None);
}

/// Sends a reply to a request whose body may not have been read; says what follows on the connection.
pub(crate) async fn send(client: &mut Client, down: &[u8], next: Next) -> Next {
    match flush(client, down).await {
        Ok(()) => next,
        Err(_) => Next::Close,
    }
}
