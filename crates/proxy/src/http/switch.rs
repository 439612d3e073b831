//! A connection that becomes a WebSocket (RFC 6455): asked for, agreed to, and then bytes both ways.
//!
//! ```text
//!   GET, Upgrade: websocket ─► endpoint ─► 101 with the same word ─► pump, until both sides have ended
//!                                           any other answer: as if nothing had been asked
//! ```
//! Nothing that the client sends ahead goes up before the 101. Other protocols (`h2c`) are never switched to.
//! Does not: look at frames.

use super::exchange::Exchange;
use super::line::Line;
use crate::record::Record;
use crate::tcp::pump::{Ended, Pump, Side};
use crate::upstream::lane::Lane;
use weir_policy::flag::Flags;
use weir_policy::tcp::Span;
use weir_wire::{Field, Framing, Name, RequestHead, ResponseHead, Version};

/// What a request wants its connection to become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Switch {
    None,
    WebSocket,
}

impl Switch {
    /// Of most requests, nothing: they have no such field.
    pub(crate) fn of(request: &RequestHead, buf: &[u8], line: &Line, speaks: Version) -> Self {
        if !request.names.has(Name::Upgrade) {
            return Self::None;
        }
        let plain = request.version == Version::Http11 && speaks == Version::Http11 && matches!(line, Line::Http1(_));
        let asks = plain && request.framing == Framing::None && request.method.of(buf) == b"GET";
        if asks && wants(&request.fields, buf) { Self::WebSocket } else { Self::None }
    }

    /// Does this 101 agree to it?
    pub(crate) fn agreed(self, response: &ResponseHead, buf: &[u8]) -> bool {
        self == Self::WebSocket && wants(&response.fields, buf)
    }
}

/// `Connection` names it, and it is the one protocol.
fn wants(fields: &[Field], buf: &[u8]) -> bool {
    let of = |id: Name| fields.iter().filter(move |field| field.id == id).map(|field| field.value.of(buf));
    let named = of(Name::Connection)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    let mut protocols = of(Name::Upgrade);
    named && protocols.next().is_some_and(|word| word.eq_ignore_ascii_case(b"websocket")) && protocols.next().is_none()
}

/// What both heads say of it; everything else of the kind was taken out.
pub(crate) const FIELDS: &[u8] = b"connection: Upgrade\r\nupgrade: websocket\r\n";

/// Passes bytes both ways after the 101, whose head is in `way.down`. Neither connection is used again.
pub(crate) async fn pass(exchange: &mut Exchange<'_>, mut lane: Lane, record: &mut Record<'_>) {
    let (worker, idle) = (exchange.worker, exchange.idle);
    let (Lane::Own(link), Line::Http1(client)) = (&mut lane, &mut exchange.client.line) else {
        return lane.close(worker);
    };
    let head = exchange.way.down.len() as u64;
    exchange.way.down.extend_from_slice(exchange.way.answer.unread());
    exchange.way.answer.clear();
    // As for any request, no byte for so long is too long; the time for an answer has been kept.
    let span = Span { idle, most: None };
    let first = [exchange.rest.unread(), exchange.way.down.as_slice()];
    let mut pump = Pump::new(client, &mut link.stream, first, span, worker);
    exchange.rest.clear();
    exchange.way.down.clear();
    let (mut up, mut down) = (0, 0);
    let ended = pump
        .run(worker, |moved| {
            up += moved.up;
            down += moved.down;
        })
        .await;
    let (flags, details) = match ended {
        Ended::Whole => (Flags::NONE, record.details),
        Ended::Broken(Side::Client) => (Flags::CLIENT_GONE, "downstream_remote_disconnect"),
        Ended::Broken(Side::Endpoint) => (Flags::CONNECTION_TERMINATED, "upstream_reset_after_response_started"),
        Ended::Idle | Ended::TooOld => (Flags::STREAM_IDLE, "stream_idle_timeout"),
    };
    if matches!(ended, Ended::Broken(_)) {
        pump.break_off();
    }
    drop(pump);
    record.flags = record.flags.with(flags);
    record.details = details;
    record.sent = down.saturating_sub(head);
    record.switched = up;
    lane.close(worker);
}
