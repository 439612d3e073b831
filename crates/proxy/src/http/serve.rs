//! The server side of one client connection: read a head, have it answered, again.
//!
//! ```text
//!   idle ──readable──► busy: borrow a scratch ─► head ─► forward ─► more bytes? ──yes──► head …
//!    ▲                   │                                            │ no
//!    └───────────────────┴──── give the scratch back ◄────────────────┘
//! ```
//! An idle connection holds its socket and little else: what a request needs is boxed only while it runs.
//! A panic in a request ends that connection and no other. Does not: route or answer (`forward` does).

use super::filters::Own;
use super::forward::{self, Next};
use super::reply;
use crate::alarm::Alarm;
use crate::buffer::{Buf, Read, Scratch};
use crate::clock::Clock;
use crate::mesh::Door;
use crate::record::Record;
use crate::worker::{Activity, Place, Worker};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::net::TcpStream;
use weir_policy::time::Time;
use weir_wire::{Limits, Malformed, Parsed};

/// A client connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) door: Door,
    pub(crate) alarm: Alarm,
    pub(crate) clock: Clock,
    /// When it came, until its first head is read: the first head's time counts from there.
    opened: Option<Time>,
    pub(crate) own: Own,
}

/// How a stretch of activity ended.
enum After {
    Idle,
    Close,
    /// A request's code panicked.
    Panicked,
}

/// Serves a client until either side ends the connection.
pub(crate) async fn serve(worker: Rc<Worker>, place: Place, stream: TcpStream, peer: SocketAddr, door: Door) {
    let mut client = Client {
        stream,
        peer,
        door,
        alarm: Alarm::default(),
        clock: worker.mesh.clock,
        opened: Some(worker.now()),
        own: Own::default(),
    };
    loop {
        let since = worker.now();
        let fresh = client.opened.is_some() && head_limits(&worker, &client).1.is_some();
        worker.mark(place.key, if fresh { Activity::Fresh { since } } else { Activity::Idle { since } });
        if poll_fn(|cx| client.stream.poll_read_ready(cx)).await.is_err() {
            return;
        }
        worker.mark(place.key, Activity::Busy);
        let mut scratch = worker.buffers.lend();
        let after = guarded(Box::pin(busy(&worker, &mut client, &mut scratch))).await;
        match after {
            After::Idle => worker.buffers.give_back(scratch),
            After::Close => return worker.buffers.give_back(scratch),
            // What a panic left behind in the scratch is not to be trusted.
            After::Panicked => return worker.mesh.registry.panicked(),
        }
    }
}

/// Runs a request's future so that a panic in it is an answer.
async fn guarded<F: Future<Output = After>>(mut request: Pin<Box<F>>) -> After {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(_) => Poll::Ready(After::Panicked),
    })
    .await
}

async fn busy(worker: &Rc<Worker>, client: &mut Client, scratch: &mut Scratch) -> After {
    loop {
        scratch.head.clear();
        std::mem::swap(&mut scratch.head, &mut scratch.rest);
        match read_head(worker, client, scratch).await {
            Arrived::Head if is_ambiguous_at_the_edge(client, scratch) => {
                worker.mesh.registry.malformed("underscore");
                reply::malformed(worker, client, scratch, 400).await;
                linger(client, &mut scratch.rest).await;
                return After::Close;
            }
            Arrived::Head => {}
            Arrived::Nothing => return After::Idle,
            Arrived::End => return After::Close,
            Arrived::TooSlow => {
                worker.mesh.registry.malformed("head_timeout");
                reply::malformed(worker, client, scratch, 408).await;
                return After::Close;
            }
            Arrived::Malformed(why) => {
                worker.mesh.registry.malformed(why.words());
                reply::malformed(worker, client, scratch, why.status()).await;
                linger(client, &mut scratch.head).await;
                return After::Close;
            }
        }
        match forward::forward(worker, client, scratch).await {
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
fn is_ambiguous_at_the_edge(client: &Client, scratch: &Scratch) -> bool {
    let buf = scratch.head.unread();
    matches!(client.door, Door::Gateway { .. })
        && scratch.request.fields.iter().any(|field| field.name.of(buf).contains(&b'_'))
}

enum Arrived {
    Head,
    /// No byte of a next request is here yet.
    Nothing,
    /// The client has ended the connection.
    End,
    TooSlow,
    Malformed(Malformed),
}

/// Reads until a request head is complete; behind it, what came along is moved to `rest`.
async fn read_head(worker: &Rc<Worker>, client: &mut Client, scratch: &mut Scratch) -> Arrived {
    let (limits, deadline) = head_limits(worker, client);
    let Client { stream, alarm, opened, .. } = client;
    let Scratch { head, rest, request, .. } = scratch;
    request.restart();
    let mut begun: Option<Time> = opened.take().or_else(|| (!head.is_empty()).then(|| worker.now()));
    poll_fn(|cx| {
        loop {
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
                    return match late.map(|late| alarm.poll(&worker.mesh.clock, late, cx)) {
                        Some(Poll::Ready(())) => Poll::Ready(Arrived::TooSlow),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    })
    .await
}

/// The bounds of a request head, and how long it may take: on Gateway listeners only, and not as Istio.
fn head_limits(worker: &Worker, client: &Client) -> (Limits, Option<std::time::Duration>) {
    use weir_policy::plan::Compatibility;
    let live = worker.live();
    let settings = &live.plan.settings;
    let limits = Limits { head: settings.limits.request_head as usize, fields: settings.limits.headers as usize };
    let timed = matches!(client.door, Door::Gateway { .. }) && settings.compatibility == Compatibility::Weir;
    (limits, timed.then_some(settings.limits.head_timeout))
}

/// How much and how long is read from a client that is still sending what nobody wants.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// Ends our half and reads on for a moment, so that the client reads the answer before it sees a reset.
async fn linger(client: &mut Client, waste: &mut Buf) {
    use tokio::io::AsyncWriteExt;
    if client.stream.shutdown().await.is_err() {
        return;
    }
    let mut seen = 0;
    let drained = poll_fn(|cx| {
        loop {
            waste.clear();
            match waste.poll_fill(&mut client.stream, 16 * 1024, cx) {
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

impl Client {
    /// What the record of one of its requests starts with.
    pub(crate) fn record(&self, began: Time) -> Record {
        Record::new(self.peer, began)
    }
}
