//! CONNECT on the outbound listener (RFC 9110 section 9.3.6): a connection to a known host, and then bytes both ways.
//!
//! ```text
//!   CONNECT host:port ─► routed as a request ─► Passage ─► dial ──► 200 ─► pump
//!                            └─ our answer          └─ 503 ◄─┘ failed
//! ```
//! Does not: exist at Gateways; who is in front of a mesh must not choose addresses behind it.

use super::answer::refuse;
use super::demand::demand;
use super::forward::Next;
use super::inquiry::Inquiry;
use super::line::Line;
use crate::buffer::{Buf, Way};
use crate::http::serve::Client;
use crate::mesh::Door;
use crate::record::Asked;
use crate::tcp::carry::{Reached, connect, word};
use crate::tcp::pump::{Ended, Pump, Side};
use weir_policy::call::Way as To;
use weir_policy::discovery::Discovery;
use weir_policy::flag::Flags;
use weir_policy::outcome::{ConnectFailure, Result as Tried};
use weir_policy::plan::{ClusterIndex, Compatibility};
use weir_policy::refusal::Refusal;
use weir_policy::tcp::{Passage, Span};
use weir_wire::{Ends, Framing, RequestHead};

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// Is it served here?
pub(crate) fn may(client: &Client, request: &RequestHead, compatibility: Compatibility) -> bool {
    // istiod sets no listener up for it.
    let served = compatibility == Compatibility::Weir && client.door == Door::Outbound;
    served && request.framing == Framing::None && matches!(client.line, Line::Http1(_))
}

/// Carries a CONNECT out, by the connection rules of its cluster.
pub(crate) async fn carry(
    mut inquiry: Inquiry<'_>,
    client: &mut Client,
    way: &mut Way,
    rest: &mut Buf,
    index: ClusterIndex,
) -> Next {
    let (worker, live) = (inquiry.worker, inquiry.live);
    let (cell, upstream) = (&live.cells[index.0 as usize], live.plan.upstream(index));
    // Without a rule of its own a service is reached at its ports, and at no others.
    let own = inquiry.record.route.is_some_and(|route| &*route.name == "default");
    if own && upstream.discovery != Discovery::OnDemand && inquiry.facts.port != upstream.service.port {
        return refuse(inquiry, client, way, Refusal::NoRoute).await;
    }
    let rules = &upstream.connection;
    let to = demand(worker, upstream, inquiry.facts.authority).await;
    let now = worker.now();
    let passage = worker.with(cell, |cluster, draw| match to {
        To::Balanced => Passage::admit(cluster, None, draw, now),
        To::To(address) => Passage::to(cluster, address, now),
        To::Nowhere => Err(Refusal::NoHealthy),
    });
    let passage = match passage {
        Ok(passage) => passage,
        Err(why) => return refuse(inquiry, client, way, why).await,
    };
    inquiry.record.upstream = Some(passage.address);
    inquiry.record.attempts = 1;
    let server = client.line.own_address().unwrap_or(passage.address);
    let ends = Ends { client: client.peer, server };
    match connect(worker, cell, rules, passage, &ends).await {
        Ok(reached) => {
            let span = Span { idle: rules.idle_timeout, most: rules.max_duration };
            pass(inquiry, client, rest, reached, span).await
        }
        Err(why) => {
            if let Tried::ConnectFailed(ConnectFailure::Tls(failure)) = why {
                inquiry.record.failure = Some(failure);
            }
            refuse(inquiry, client, way, word(why)).await
        }
    }
}

async fn pass(inquiry: Inquiry<'_>, client: &mut Client, rest: &mut Buf, reached: Reached<'_>, span: Span) -> Next {
    let Reached { mut stream, taken: _taken } = reached;
    let Inquiry { worker, request, buf, request_id, mut record, .. } = inquiry;
    record.status = 200;
    record.details = "via_upstream";
    let Line::Http1(own) = &mut client.line else { return Next::Close };
    let mut pump = Pump::new(own, &mut stream, [rest.unread(), ESTABLISHED], span, worker);
    rest.clear();
    let (mut up, mut down) = (0, 0);
    let ended = pump
        .run(worker, |moved| {
            up += moved.up;
            down += moved.down;
        })
        .await;
    if matches!(ended, Ended::Broken(_)) {
        pump.break_off();
    }
    let flags = match ended {
        Ended::Whole => Flags::NONE,
        Ended::Broken(Side::Client) => Flags::CLIENT_GONE,
        Ended::Broken(Side::Endpoint) => Flags::CONNECTION_TERMINATED,
        Ended::Idle => Flags::STREAM_IDLE,
        Ended::TooOld => Flags::MAX_DURATION,
    };
    record.flags = record.flags.with(flags);
    record.received = up;
    record.sent = down.saturating_sub(ESTABLISHED.len() as u64);
    record.finish(worker, Some(&Asked { request, buf, request_id }), None);
    Next::Close
}
