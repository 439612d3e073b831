//! Passes an answer on to the client, while the rest of the request may still go up.
//!
//! ```text
//!   upstream ─► answer ─► decode ─┬─ length: written straight from where it was read ─► client
//!                                 └─ chunked: encoded anew into `down` ──────────────► client
//! ```
//! The upstream is read only when the client has taken what came before: back-pressure, not buffers.
//! Does not: decide anything; the call's guard reports the end.

use super::exchange::Exchange;
use super::headers::Delivery;
use super::http2::stream::Last;
use super::http2::text;
use super::upload::Trailers;
use crate::buffer::Read;
use crate::http::serve::Client;
use crate::upstream::lane::Lane;
use http::HeaderMap;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use weir_policy::pace::Pace;
use weir_policy::time::Time;
use weir_wire::{Body, Step, write};

/// Data up to this size is copied behind the head, so that head and body leave in one write.
const TOGETHER: usize = 16 * 1024;

/// How a relay ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relayed {
    /// Everything was passed on.
    Complete,
    /// The upstream broke off, or sent what is not HTTP.
    UpstreamCut,
    ClientGone,
    /// The request's time was up.
    Timeout,
    /// No byte for too long.
    Idle,
    /// The client sent its body too slowly.
    SlowBody,
    /// The client read too slowly.
    SlowReader,
}

/// An answer on its way down.
pub(crate) struct Relay<'x, 'a> {
    exchange: &'x mut Exchange<'a>,
    body: Body,
    delivery: Delivery,
    trailers: Trailers,
    /// How much of `way.down` was sent.
    down_sent: usize,
    /// Bytes at the front of `way.answer` that go to the client as they are.
    straight: usize,
    /// What follows the body, to a client that reads frames.
    tail: Option<HeaderMap>,
    /// `grpc-status`, when the trailers have it.
    pub(crate) grpc: Option<u16>,
    /// Bytes of the body.
    pub(crate) bytes: u64,
    deadline: Option<Time>,
}

impl<'x, 'a> Relay<'x, 'a> {
    /// `way.down` holds the head for the client; `way.answer` what of the body came with the upstream's head.
    pub(crate) const fn new(
        exchange: &'x mut Exchange<'a>,
        body: Body,
        delivery: Delivery,
        trailers: Trailers,
        deadline: Option<Time>,
    ) -> Self {
        Self {
            exchange,
            body,
            delivery,
            trailers,
            down_sent: 0,
            straight: 0,
            tail: None,
            grpc: None,
            bytes: 0,
            deadline,
        }
    }

    pub(crate) async fn run(&mut self, lane: &mut Lane) -> Relayed {
        poll_fn(|cx| self.poll(lane, cx)).await
    }

    fn poll(&mut self, lane: &mut Lane, cx: &mut Context<'_>) -> Poll<Relayed> {
        if !self.exchange.upload.is_complete() {
            // A client that leaves in the middle of its upload is seen here; a broken upload stops, the answer goes on.
            match self.exchange.poll_send(lane, cx) {
                Poll::Ready(Err(super::upload::Broken::Gone)) => return Poll::Ready(Relayed::ClientGone),
                Poll::Ready(Err(super::upload::Broken::Malformed)) => self.exchange.deaf = true,
                _ => {}
            }
        } else if self.exchange.sent < self.exchange.way.up.len() {
            let _ = self.exchange.poll_send(lane, cx);
        }
        if let Poll::Ready(ended) = self.poll_down(lane, cx) {
            return Poll::Ready(ended);
        }
        if self.exchange.upload.is_complete() && self.exchange.poll_client_gone(cx).is_ready() {
            return Poll::Ready(Relayed::ClientGone);
        }
        self.poll_time(cx)
    }

    fn poll_down(&mut self, lane: &mut Lane, cx: &mut Context<'_>) -> Poll<Relayed> {
        loop {
            self.decode_what_fits();
            if lane.is_ended() && self.straight == self.exchange.way.answer.unread().len() {
                // It cannot be cut short: the stream's end is the body's.
                let _ = self.body.at_eof();
                self.end_chunks(&[]);
            }
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(())) => return Poll::Ready(Relayed::ClientGone),
                Poll::Pending => return Poll::Pending,
            }
            if self.body.is_done() {
                let finished = self.exchange.client.line.finish(self.tail.take());
                return Poll::Ready(if finished.is_ok() { Relayed::Complete } else { Relayed::ClientGone });
            }
            if self.straight > 0 || self.down_sent < self.exchange.way.down.len() {
                continue;
            }
            self.exchange.way.down.clear();
            self.down_sent = 0;
            match self.decode_more() {
                Decoded::Something => continue,
                Decoded::Nothing => {}
                Decoded::Bad => return Poll::Ready(Relayed::UpstreamCut),
            }
            self.exchange.way.answer.enlarge();
            match lane.poll_fill(&mut self.exchange.way.answer, 64 * 1024, cx) {
                Poll::Ready(Ok(Read::Some)) => self.exchange.stir(),
                Poll::Ready(Ok(Read::End)) if self.body.at_eof().is_ok() => self.end(lane),
                Poll::Ready(_) => return Poll::Ready(Relayed::UpstreamCut),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes steps as long as they fit behind what is to be written already.
    fn decode_what_fits(&mut self) {
        while self.straight == 0 && self.exchange.way.down.len() < TOGETHER {
            // A violation stays where it is and is found again when everything before it has been written.
            if self.decode_more() != Decoded::Something {
                return;
            }
        }
    }

    fn decode_more(&mut self) -> Decoded {
        if self.body.is_done() {
            return Decoded::Nothing;
        }
        let way = &mut *self.exchange.way;
        let unread = way.answer.unread();
        match self.body.next(unread) {
            Err(_) => Decoded::Bad,
            Ok(Step::More) => Decoded::Nothing,
            Ok(Step::Skip { consumed }) => {
                way.answer.consume(consumed);
                Decoded::Something
            }
            Ok(Step::Data { start, end, consumed }) => {
                self.bytes += (end - start) as u64;
                let fits = way.down.is_empty() || way.down.len() + (end - start) > TOGETHER;
                if self.delivery == Delivery::Chunked {
                    write::chunk(&mut way.down, &unread[start..end]);
                } else if fits && start == 0 && consumed == end {
                    self.straight = end;
                    return Decoded::Something;
                } else {
                    way.down.extend_from_slice(&unread[start..end]);
                }
                way.answer.consume(consumed);
                Decoded::Something
            }
            Ok(Step::End { consumed, trailers }) => {
                let block = trailers.map(|span| span.of(unread).to_vec()).unwrap_or_default();
                way.answer.consume(consumed);
                if !block.is_empty() {
                    self.note_status(&text::to_fields(&block));
                }
                self.end_chunks(&block);
                Decoded::Something
            }
        }
    }

    /// The upstream's stream, or connection, is over.
    fn end(&mut self, lane: &mut Lane) {
        let trailers = match lane {
            Lane::Own(_) => None,
            Lane::Shared(ride) => ride.take_trailers(),
        };
        if let Some(trailers) = &trailers {
            self.note_status(trailers);
        }
        let Some(trailers) = trailers.filter(|_| self.trailers == Trailers::Pass) else { return self.end_chunks(&[]) };
        if self.delivery == Delivery::Frames {
            self.tail = Some(trailers);
            return;
        }
        let mut block = Vec::new();
        if text::of_trailers(&mut block, &trailers).is_err() {
            block.clear();
        }
        self.end_chunks(&block);
    }

    fn note_status(&mut self, trailers: &HeaderMap) {
        if let Some(status) = trailers.get("grpc-status").and_then(|status| status.to_str().ok()) {
            self.grpc = status.parse().ok();
        }
    }

    /// The body is over: says so to a client that reads chunks.
    fn end_chunks(&mut self, trailers: &[u8]) {
        if self.delivery == Delivery::Frames && self.trailers == Trailers::Pass && !trailers.is_empty() {
            let mut allowed = Vec::new();
            if write::trailers(&mut allowed, trailers).is_ok() {
                self.tail = Some(text::to_fields(&allowed)).filter(|tail| !tail.is_empty());
            }
        }
        if self.delivery != Delivery::Chunked {
            return;
        }
        let mut tail = Vec::new();
        if self.trailers == Trailers::Pass && write::trailers(&mut tail, trailers).is_err() {
            tail.clear();
        }
        write::last_chunk(&mut self.exchange.way.down, &tail);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let Exchange { way, client, reading, .. } = &mut *self.exchange;
        let ends = self.body.is_done() && self.tail.is_none();
        if !self.body.is_done() {
            client.line.start().map_err(drop)?;
        }
        while self.down_sent < way.down.len() {
            let last = if ends && self.straight == 0 { Last::Yes } else { Last::No };
            self.down_sent += ready!(poll_give(client, reading, &way.down[self.down_sent..], last, cx))?;
        }
        while self.straight > 0 {
            let last = if ends { Last::Yes } else { Last::No };
            let count = ready!(poll_give(client, reading, &way.answer.unread()[..self.straight], last, cx))?;
            way.answer.consume(count);
            self.straight -= count;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Relayed> {
        let exchange = &mut *self.exchange;
        let deadline = self.deadline.map(|until| (until, Relayed::Timeout));
        let idle = exchange.idle.map(|length| (exchange.stirred + length, Relayed::Idle));
        let due = |pace: &Option<Pace>| pace.as_ref().and_then(Pace::due);
        let body = due(&exchange.sending).map(|until| (until, Relayed::SlowBody));
        let reader = due(&exchange.reading).map(|until| (until, Relayed::SlowReader));
        let first = [deadline, idle, body, reader].into_iter().flatten().min_by_key(|(until, _)| *until);
        let Some((until, ended)) = first else { return Poll::Pending };
        exchange.client.alarm.poll(&exchange.worker.clock, until, cx).map(|()| ended)
    }
}

/// Writes to the client what it takes, and keeps account of its pace. `Err`: it is gone.
fn poll_give(
    client: &mut Client,
    reading: &mut Option<Pace>,
    bytes: &[u8],
    last: Last,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, ()>> {
    let Client { line, clock, .. } = client;
    match (line.poll_write(bytes, last, cx), reading) {
        (Poll::Ready(Ok(count)), reading) if count > 0 => {
            if let Some(pace) = reading {
                pace.moved(count as u64, || clock.now());
            }
            Poll::Ready(Ok(count))
        }
        (Poll::Ready(_), _) => Poll::Ready(Err(())),
        (Poll::Pending, reading) => {
            if let Some(pace) = reading {
                pace.wait(|| clock.now());
            }
            Poll::Pending
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Decoded {
    Something,
    Nothing,
    Bad,
}
