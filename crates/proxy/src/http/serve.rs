//! The server side of one client connection: read a head, have it answered, again.
//!
//! ```text
//!   idle ──readable──► a desk ─► borrow a scratch ─► head ─► forward ─► more bytes? ──yes──► head …
//!    ▲                   │                                               │ no
//!    └───────────────────┴──── give scratch and desk back ◄──────────────┘
//! ```
//! An idle connection holds its socket and little else: what a request needs lies on a `desk` that is lent while it runs.
//! A connection that begins with the preface of HTTP/2 is given to `http2::serve`.
//! A panic in a request ends that connection and no other. Does not: route or answer (`forward` does).

use super::desk::{Desks, Done, Job};
use super::filters::Own;
use super::forward::{self, Next};
use super::line::Line;
use super::reply::Voice;
use super::{http2, reply};
use crate::alarm::Alarm;
use crate::buffer::{Buf, Read, Scratch};
use crate::clock::Watch;
use crate::mesh::Door;
use crate::record::Record;
use crate::stream::Stream;
use crate::tls::greet::Secured;
use crate::worker::{Activity, Place, Worker};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use weir_policy::time::Time;
use weir_wire::{Limits, Malformed, Parsed};

/// A client: its connection, or one stream of it.
pub(crate) struct Client {
    pub(crate) line: Line,
    pub(crate) peer: SocketAddr,
    pub(crate) door: Door,
    /// By its TLS handshake; `None` = in the clear.
    pub(crate) secured: Option<Arc<Secured>>,
    pub(crate) alarm: Alarm,
    pub(crate) clock: Rc<Watch>,
    /// When it came, until its first head is read: the first head's time counts from there.
    pub(crate) opened: Option<Time>,
    pub(crate) turn: Turn,
    pub(crate) own: Rc<Own>,
}

/// How a stretch of activity ended.
pub(crate) enum After {
    Idle,
    Close,
    /// It speaks HTTP/2, and this is how it began.
    Http2(Buf),
}

/// Serves a client until either side ends the connection.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    place: Place,
    stream: Stream,
    secured: Option<Arc<Secured>>,
    peer: SocketAddr,
    door: Door,
) {
    let mut client = Box::new(Client {
        line: Line::Http1(stream),
        peer,
        door,
        secured,
        alarm: Alarm::default(),
        clock: Rc::clone(&worker.clock),
        opened: Some(worker.now()),
        turn: Turn::First,
        own: Rc::default(),
    });
    loop {
        let since = worker.now();
        let fresh = client.opened.is_some() && head_deadline(&worker, &client).is_some();
        worker.mark(place.key, if fresh { Activity::Fresh { since } } else { Activity::Idle { since } });
        if poll_fn(|cx| client.poll_readable(cx)).await.is_err() {
            return;
        }
        worker.mark(place.key, Activity::Busy);
        match Desks::work(&worker, Job::Connection(client)).await {
            Some(Done::Connection(back, After::Idle)) => client = back,
            Some(Done::Connection(back, After::Http2(first))) => {
                let Line::Http1(stream) = back.line else { return };
                // Boxed: inlined, every idle HTTP/1.1 connection would hold the room for it.
                return Box::pin(http2::serve::serve(worker, place, stream, back.secured, peer, door, first)).await;
            }
            Some(_) => return,
            None => return worker.mesh.registry.panicked(),
        }
    }
}

/// Only the first bytes of a connection can say that it speaks HTTP/2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    First,
    Later,
}

/// Answers what a connection that has become readable sends, until no more is here.
pub(crate) async fn busy(worker: &Rc<Worker>, client: &mut Client) -> After {
    let mut scratch = worker.buffers.lend();
    let after = answer_all(worker, client, &mut scratch).await;
    worker.buffers.give_back(scratch);
    after
}

async fn answer_all(worker: &Rc<Worker>, client: &mut Client, scratch: &mut Scratch) -> After {
    loop {
        scratch.head.clear();
        std::mem::swap(&mut scratch.head, &mut scratch.rest);
        match read_head(worker, client, scratch).await {
            Arrived::Http2 => return After::Http2(std::mem::take(&mut scratch.head)),
            Arrived::Head if is_ambiguous_at_the_edge(client, scratch) => {
                worker.mesh.registry.malformed("underscore");
                reply::malformed(worker, client, scratch, 400, Voice::Codec).await;
                linger(client, &mut scratch.rest).await;
                return After::Close;
            }
            Arrived::Head => client.turn = Turn::Later,
            Arrived::Nothing => return After::Idle,
            Arrived::End => return After::Close,
            Arrived::TooSlow => {
                worker.mesh.registry.malformed("head_timeout");
                reply::malformed(worker, client, scratch, 408, Voice::Codec).await;
                return After::Close;
            }
            Arrived::Malformed(why) => {
                worker.mesh.registry.malformed(why.words());
                let voice = if why == Malformed::NoHost { Voice::Proxy } else { Voice::Codec };
                reply::malformed(worker, client, scratch, why.status(), voice).await;
                linger(client, &mut scratch.head).await;
                return After::Close;
            }
        }
        match forward::forward(worker, client, scratch).await {
            // What is still in the socket says so itself.
            Next::Request if scratch.rest.is_empty() => return After::Idle,
            Next::Request => {}
            // What is unread would make the kernel reset the connection, and the client lose the answer.
            Next::Close if !scratch.rest.is_empty() => {
                linger(client, &mut scratch.rest).await;
                return After::Close;
            }
            Next::Close => return After::Close,
            Next::Linger => {
                linger(client, &mut scratch.rest).await;
                return After::Close;
            }
        }
    }
}

/// `a_b` and `a-b` are one name to many servers behind us: who names one must not be able to mean the other.
pub(crate) fn is_ambiguous_at_the_edge(client: &Client, scratch: &Scratch) -> bool {
    matches!(client.door, Door::Gateway { .. }) && scratch.request.underscored
}

enum Arrived {
    Head,
    /// The beginning of an HTTP/2 preface.
    Http2,
    /// No byte of a next request is here yet.
    Nothing,
    /// The client has ended the connection.
    End,
    TooSlow,
    Malformed(Malformed),
}

/// Reads until a request head is complete; behind it, what came along is moved to `rest`.
async fn read_head(worker: &Rc<Worker>, client: &mut Client, scratch: &mut Scratch) -> Arrived {
    let (limits, deadline, turn) = (head_limits(worker), head_deadline(worker, client), client.turn);
    let Client { line: Line::Http1(stream), alarm, opened, .. } = client else { return Arrived::End };
    let Scratch { head, rest, request, .. } = scratch;
    request.restart();
    let mut begun: Option<Time> = opened.take().or_else(|| (!head.is_empty()).then(|| worker.now()));
    poll_fn(|cx| {
        loop {
            // `PRI ` is no method of HTTP/1.1, and nothing shorter of it is a whole request line.
            if turn == Turn::First && head.unread().starts_with(PREFACE_BEGINS) {
                return Poll::Ready(Arrived::Http2);
            }
            if !head.is_empty() {
                match weir_wire::parse_request(head.unread(), &limits, request) {
                    Ok(Parsed::Complete) => {
                        head.split_to(request.len, rest);
                        return Poll::Ready(Arrived::Head);
                    }
                    Ok(Parsed::Partial) => {}
                    Err(why) => return Poll::Ready(Arrived::Malformed(why)),
                }
            }
            match head.poll_fill(stream, limits.head + 1, cx) {
                Poll::Ready(Ok(Read::Some)) => begun = begun.or_else(|| deadline.map(|_| worker.now())),
                Poll::Ready(Ok(Read::End) | Err(_)) => return Poll::Ready(Arrived::End),
                Poll::Ready(Ok(Read::Full)) => return Poll::Ready(Arrived::Malformed(Malformed::TooLarge)),
                Poll::Pending if head.is_empty() => return Poll::Ready(Arrived::Nothing),
                Poll::Pending => {
                    let late = deadline.zip(begun).map(|(length, since)| since + length);
                    return match late.map(|late| alarm.poll(&worker.clock, late, cx)) {
                        Some(Poll::Ready(())) => Poll::Ready(Arrived::TooSlow),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    })
    .await
}

/// What an HTTP/2 connection begins with, as far as it takes to tell.
const PREFACE_BEGINS: &[u8] = b"PRI ";

/// The bounds of a request head.
pub(crate) fn head_limits(worker: &Worker) -> Limits {
    let limits = &worker.live().plan.settings.limits;
    Limits { head: limits.request_head as usize, fields: limits.headers as usize }
}

/// How long a request head may take: on Gateway listeners only, and not as Istio.
fn head_deadline(worker: &Worker, client: &Client) -> Option<std::time::Duration> {
    use weir_policy::plan::Compatibility;
    let live = worker.live();
    let settings = &live.plan.settings;
    let timed = matches!(client.door, Door::Gateway { .. }) && settings.compatibility == Compatibility::Weir;
    timed.then_some(settings.limits.head_timeout)
}

/// How much and how long is read from a client that is still sending what nobody wants.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// Ends our half and reads on for a moment, so that the client reads the answer before it sees a reset.
async fn linger(client: &mut Client, waste: &mut Buf) {
    use tokio::io::AsyncWriteExt;
    let Line::Http1(stream) = &mut client.line else { return };
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut seen = 0;
    let drained = poll_fn(|cx| {
        loop {
            waste.clear();
            match waste.poll_fill(stream, 16 * 1024, cx) {
                Poll::Ready(Ok(Read::Some)) if seen < LINGER_BYTES => seen += waste.unread().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    // Out of time or done: either way the connection is closed now.
    let _ = tokio::time::timeout(LINGER_TIME, drained).await;
    waste.clear();
}

/// What a client may send ahead (the next requests) while it waits for an answer.
const PIPELINED: usize = 16 * 1024;

impl Client {
    /// Ready when the client ended the connection, or its stream. What it sends ahead is kept within a bound.
    pub(crate) fn poll_gone(&mut self, rest: &mut Buf, cx: &mut Context<'_>) -> Poll<()> {
        let stream = match &mut self.line {
            Line::Http1(stream) => stream,
            Line::Http2(stream) => return stream.poll_gone(cx),
        };
        loop {
            if stream.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            match rest.poll_fill(stream, PIPELINED, cx) {
                Poll::Ready(Ok(Read::Some)) => {}
                Poll::Ready(Ok(Read::Full)) | Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Read::End) | Err(_)) => return Poll::Ready(()),
            }
        }
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.line {
            Line::Http1(stream) => stream.poll_readable(cx),
            Line::Http2(_) => Poll::Ready(Ok(())),
        }
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        if self.secured.is_some() { "https" } else { "http" }
    }

    /// What the record of one of its requests starts with.
    pub(crate) fn record<'r>(&self, began: Time) -> Record<'r> {
        Record { secured: self.secured.clone(), ..Record::new(self.peer, self.door, began) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;

    fn size<A, B, C, D, E, F, R: Future>(_: impl Fn(A, B, C, D, E, F) -> R) -> usize {
        size_of::<R>()
    }

    /// What an idle connection holds beside its socket in the runtime.
    #[test]
    fn an_idle_connection_is_small() {
        let bytes = size(serve);
        assert!(bytes <= 640, "{bytes} bytes: box what only an active connection needs");
    }
}
