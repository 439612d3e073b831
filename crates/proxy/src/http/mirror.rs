//! Copies of requests to mirrors: sent when the request is complete, and forgotten.
//!
//! ```text
//!   routed ─ dice ─► Copies: heads with `-shadow` after the host ─► request complete ─► one task each ─► answer dropped
//!                                                                       └─ body not kept, too many under way: no copy
//! ```
//! A copy is one call of its cluster, without retries: ceilings and outlier detection hold for it. It never delays or
//! fails the request. Does not: log; `weir_mirrored_requests_total` counts.

use super::carrier::Guard;
use super::forward::speaks;
use super::headers::{self, Ask};
use super::http2::stream::Last;
use super::switch::Switch;
use super::upload::Upload;
use crate::buffer::{Read, Scratch, Way};
use crate::mesh::Cell;
use crate::upstream::lane::Lane;
use crate::upstream::pool::{self, Link};
use crate::upstream::ride::Ride;
use crate::upstream::shared;
use crate::worker::{Lease, Worker};
use std::cell::Cell as StdCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use weir_policy::call::{Attempt, Call};
use weir_policy::cluster::{Cluster, Draw};
use weir_policy::drive::{Verdict, World, drive};
use weir_policy::outcome::{self, Connected, Outcome, Reached, Result as Ended};
use weir_policy::plan::{ClusterIndex, Upstream};
use weir_policy::refusal::Refusal;
use weir_policy::retry::Idempotency;
use weir_policy::route::Mirror;
use weir_policy::time::Time;
use weir_policy::timeout;
use weir_wire::{Body, Framing, Parsed, RequestKind, Step, Version, write};

/// Copies under way of one worker; further ones are dropped.
const MOST: u32 = 256;
/// A copy whose route has no timeout ends after this.
const LONGEST: Duration = Duration::from_secs(60);
/// What is read of a mirror's answer, to use its connection again.
const ANSWER: usize = 1 << 20;

/// The copies of one request that are to be made.
pub(crate) struct Copies {
    live: Lease,
    timeout: timeout::Rules,
    kind: RequestKind,
    /// Of the client: some upstreams are spoken to in the same.
    version: Version,
    framing: Framing,
    heads: Vec<Head>,
}

struct Head {
    cluster: ClusterIndex,
    bytes: Vec<u8>,
}

/// A copy that is ready to be sent; what it holds is counted as memory for replays.
struct Message {
    bytes: Vec<u8>,
    /// Trailers, for a stream of HTTP/2; in HTTP/1.1 they are among the bytes.
    tail: Vec<u8>,
    speaks: Version,
    worker: Rc<Worker>,
    under_way: Rc<StdCell<u32>>,
}

impl Drop for Message {
    fn drop(&mut self) {
        self.worker.mesh.give_replay(self.bytes.len() as u64);
        self.under_way.set(self.under_way.get().saturating_sub(1));
    }
}

impl Copies {
    /// Throws the dice of each mirror, and writes the heads of the copies that are due.
    pub(crate) fn of(
        worker: &Worker,
        live: &Lease,
        mirrors: &[Mirror],
        ask: &Ask<'_>,
        timeout: timeout::Rules,
        kind: RequestKind,
    ) -> Option<Box<Self>> {
        if mirrors.is_empty() {
            return None;
        }
        let due = |mirror: &&Mirror| mirror.share.hits(&mut worker.rng.borrow_mut());
        let heads: Vec<Head> = mirrors
            .iter()
            .filter(due)
            .map(|mirror| Head { cluster: mirror.cluster, bytes: head(ask, timeout) })
            .collect();
        let (version, framing) = (ask.request.version, ask.request.framing);
        (!heads.is_empty()).then(|| Box::new(Self { live: Rc::clone(live), timeout, kind, version, framing, heads }))
    }

    /// Sends them: the request is complete.
    pub(crate) fn send(self, worker: &Rc<Worker>, upload: &Upload, kept: &[u8]) {
        let Self { live, timeout, kind, version, framing, heads } = self;
        for Head { cluster, mut bytes } in heads {
            if upload.kept() == outcome::Body::NotKept {
                worker.mesh.registry.mirrored("body_not_kept");
                continue;
            }
            let speaks = speaks(live.plan.upstream(cluster), version);
            append_body(&mut bytes, framing, speaks, kept, &upload.tail);
            let memory = live.plan.settings.limits.replay_memory;
            if worker.mirrors.get() >= MOST || !worker.mesh.take_replay(bytes.len() as u64, memory) {
                worker.mesh.registry.mirrored("dropped");
                continue;
            }
            worker.mirrors.set(worker.mirrors.get() + 1);
            let (tail, under_way) = (upload.tail.clone(), Rc::clone(&worker.mirrors));
            let message = Message { bytes, tail, speaks, worker: Rc::clone(worker), under_way };
            tokio::task::spawn_local(run(Rc::clone(worker), Rc::clone(&live), cluster, message, timeout, kind));
        }
    }
}

/// The whole body, for an upstream that may be spoken to in another version than the request's own.
fn append_body(bytes: &mut Vec<u8>, framing: Framing, speaks: Version, kept: &[u8], tail: &[u8]) {
    if framing != Framing::Chunked || speaks == Version::Http2 {
        return bytes.extend_from_slice(kept);
    }
    if !kept.is_empty() {
        write::chunk(bytes, kept);
    }
    write::last_chunk(bytes, tail);
}

/// The head of a copy: the request's own, to `HOST-shadow`, marked as Envoy marks it.
fn head(ask: &Ask<'_>, timeout: timeout::Rules) -> Vec<u8> {
    let mut authority = ask.authority.to_vec();
    let end = match authority.iter().filter(|byte| **byte == b':').count() {
        1 => authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len()),
        _ => authority.len(),
    };
    authority.splice(end..end, *b"-shadow");
    let expected = match (timeout.whole, timeout.per_try) {
        (Some(whole), Some(per_try)) => Some(whole.min(per_try)),
        (whole, per_try) => whole.or(per_try),
    };
    let expected = expected.map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
    let mut bytes = Vec::with_capacity(512);
    headers::outgoing(&mut bytes, &Ask { authority: &authority, switch: Switch::None, ..*ask }, 1, expected);
    // Before the empty line.
    bytes.truncate(bytes.len() - 2);
    write::field(&mut bytes, b"x-envoy-internal", b"true");
    write::field(&mut bytes, b"x-forwarded-for", b"127.0.0.1");
    bytes.extend_from_slice(b"\r\n");
    bytes
}

async fn run(
    worker: Rc<Worker>,
    live: Lease,
    cluster: ClusterIndex,
    message: Message,
    timeout: timeout::Rules,
    kind: RequestKind,
) {
    let (cell, upstream) = (&live.cells[cluster.0 as usize], live.plan.upstream(cluster));
    let call = Call::new(None, timeout, Idempotency::Safe, Some(worker.now()));
    let mut guard = Guard { call: Some(call), worker: &worker, cell };
    let settings = &live.plan.settings.limits;
    let limits = weir_wire::Limits { head: settings.response_head as usize, fields: settings.headers as usize };
    let scratch = worker.buffers.lend();
    let mut sender = Sender { worker: &worker, cell, upstream, message: &message, kind, limits, scratch };
    let verdict = match guard.call.as_mut() {
        Some(call) => drive(call, &mut sender).await,
        None => Verdict::Refused(Refusal::Closed),
    };
    let result = match verdict {
        Verdict::Answer(lane) => {
            sender.finish(lane).await;
            "sent"
        }
        Verdict::Refused(_) => "failed",
    };
    guard.end();
    let Sender { scratch, .. } = sender;
    worker.buffers.give_back(scratch);
    worker.mesh.registry.mirrored(result);
}

/// The wet side of a copy.
struct Sender<'a> {
    worker: &'a Rc<Worker>,
    cell: &'a Arc<Cell>,
    upstream: &'a Upstream,
    message: &'a Message,
    kind: RequestKind,
    limits: weir_wire::Limits,
    scratch: Box<Scratch>,
}

impl World for Sender<'_> {
    type Reply = Lane;

    fn now(&self) -> Time {
        self.worker.now()
    }

    fn with<R>(&mut self, decide: impl FnOnce(&mut Cluster, &mut Draw<'_>) -> R) -> R {
        self.worker.with(self.cell, decide)
    }

    async fn wait(&mut self, until: Time) -> Result<(), Refusal> {
        tokio::time::sleep_until(self.worker.clock.instant(until)).await;
        Ok(())
    }

    async fn attempt(&mut self, attempt: &Attempt) -> (Outcome, Option<Lane>) {
        let now = self.worker.now();
        let until = attempt.limits.deadline(now).map_or(now + LONGEST, |(until, _)| until.min(now + LONGEST));
        let until = self.worker.clock.instant(until);
        let (result, link) = match tokio::time::timeout_at(until, self.exchange(attempt)).await {
            Ok(Ok((response, lane))) => (Ended::Response(response), Some(lane)),
            Ok(Err(ended)) => (ended, None),
            Err(_) => (Ended::WholeTimeout, None),
        };
        let connected = if matches!(result, Ended::ConnectFailed(_)) { Connected::No } else { Connected::Yes };
        let outcome = Outcome { reached: Reached::Whole, connected, ..Outcome::unsent(result, Some(now)) };
        (outcome, link)
    }
}

impl Sender<'_> {
    async fn exchange(&mut self, attempt: &Attempt) -> Result<(outcome::Response, Lane), Ended> {
        let mut lane = self.lend(attempt).await?;
        let mut sent = 0;
        let bytes = &self.message.bytes;
        let last = if self.message.tail.is_empty() { Last::Yes } else { Last::No };
        let written = poll_fn(|cx| {
            while sent < bytes.len() {
                match lane.poll_write(&bytes[sent..], last, cx) {
                    Poll::Ready(Ok(count)) if count > 0 => sent += count,
                    Poll::Ready(_) => return Poll::Ready(Err(Ended::Closed)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await;
        lane.finish(&self.message.tail);
        let head = match (written, &mut lane) {
            (Ok(()), Lane::Own(link)) => self.head(link).await,
            (Ok(()), Lane::Shared(ride)) => poll_fn(|cx| poll_ride(ride, cx)).await,
            (Err(ended), _) => Err(ended),
        };
        match head {
            Ok(response) => Ok((response, lane)),
            Err(ended) => {
                lane.close(self.worker);
                Err(ended)
            }
        }
    }

    async fn lend(&self, attempt: &Attempt) -> Result<Lane, Ended> {
        let (rules, endpoint, address) = (&self.upstream.connection, attempt.endpoint, attempt.address);
        if self.message.speaks == Version::Http2 {
            let ride = shared::lend(self.worker, self.cell, endpoint, address, rules).await?;
            return Ok(Lane::Shared(Box::new(ride)));
        }
        match pool::take_idle(self.worker, self.cell, endpoint, address, rules) {
            Some(link) => Ok(Lane::Own(link)),
            None => pool::lend(self.worker, self.cell, endpoint, address, rules).await.map(Lane::Own),
        }
    }

    async fn head(&mut self, link: &mut Link) -> Result<outcome::Response, Ended> {
        let way = &mut self.scratch.way;
        way.answer.clear();
        way.response.restart();
        let (limits, kind) = (self.limits, self.kind);
        poll_fn(|cx| {
            loop {
                if !way.answer.is_empty() {
                    match weir_wire::parse_response(way.answer.unread(), &limits, kind, &mut way.response) {
                        Ok(Parsed::Complete) if way.response.status < 200 => {
                            way.answer.consume(way.response.len);
                            way.response.restart();
                            continue;
                        }
                        Ok(Parsed::Complete) => {
                            return Poll::Ready(Ok(outcome::Response::plain(way.response.status)));
                        }
                        Ok(Parsed::Partial) => {}
                        Err(_) => return Poll::Ready(Err(Ended::Protocol)),
                    }
                }
                match way.answer.poll_fill(&mut link.stream, limits.head + 1, cx) {
                    Poll::Ready(Ok(Read::Some)) => {}
                    Poll::Ready(Ok(Read::Full)) => return Poll::Ready(Err(Ended::Protocol)),
                    Poll::Ready(Ok(Read::End) | Err(_)) => return Poll::Ready(Err(Ended::Closed)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Reads the answer to its end, so that the connection can be used again; a long one is cut off.
    async fn finish(&mut self, mut lane: Lane) {
        let way = &mut self.scratch.way;
        let framing = match &lane {
            Lane::Own(_) => {
                way.answer.consume(way.response.len);
                way.response.framing
            }
            Lane::Shared(_) => Framing::UntilClose,
        };
        let mut body = lane.body(framing);
        let drained = tokio::time::timeout(LONGEST, drain(&mut body, way, &mut lane)).await;
        let own = matches!(lane, Lane::Own(_));
        let reusable = framing != Framing::UntilClose && way.answer.is_empty() && way.response.keeps_alive();
        if drained == Ok(Drained::Whole) && (reusable || !own) {
            lane.give_back(self.worker, &self.upstream.connection);
        } else {
            lane.close(self.worker);
        }
    }
}

/// The head of the final answer on a stream.
fn poll_ride(ride: &mut Ride, cx: &mut Context<'_>) -> Poll<Result<outcome::Response, Ended>> {
    loop {
        match std::task::ready!(ride.poll_head(cx)) {
            Ok(answer) if answer.head.status.is_informational() => {}
            Ok(answer) => return Poll::Ready(Ok(outcome::Response::plain(answer.head.status.as_u16()))),
            Err(fault) => return Poll::Ready(Err(fault.ended)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Drained {
    Whole,
    Broken,
}

async fn drain(body: &mut Body, way: &mut Way, lane: &mut Lane) -> Drained {
    let mut seen = 0;
    if matches!(lane, Lane::Shared(_)) {
        way.answer.clear();
    }
    poll_fn(|cx| {
        while !body.is_done() {
            let used = match body.next(way.answer.unread()) {
                Err(_) => return Poll::Ready(Drained::Broken),
                Ok(Step::Skip { consumed } | Step::Data { consumed, .. } | Step::End { consumed, .. }) => consumed,
                Ok(Step::More) => match lane.poll_fill(&mut way.answer, 64 * 1024, cx) {
                    Poll::Ready(Ok(Read::Some)) => 0,
                    Poll::Ready(Ok(Read::End)) if body.at_eof().is_ok() => return Poll::Ready(Drained::Whole),
                    Poll::Ready(_) => return Poll::Ready(Drained::Broken),
                    Poll::Pending => return Poll::Pending,
                },
            };
            way.answer.consume(used);
            seen += used;
            if seen > ANSWER {
                return Poll::Ready(Drained::Broken);
            }
        }
        Poll::Ready(Drained::Whole)
    })
    .await
}
