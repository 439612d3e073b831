//! One try on one connection: the request goes up while we wait for the head of the answer.
//!
//! ```text
//!   ┌─► send what is encoded ─► pull more from the client ─► read the upstream ─► head? ──► it
//!   │        │ interim 1xx: passed to the client                │
//!   └────────┴── asleep until: either socket, or the deadline ◄─┘       client gone, deadline, broken: so it ended
//! ```
//! Does not: choose the endpoint or decide about another try.

use super::headers::Ask;
use super::http2::stream::Last;
use super::http2::text::{self, Rest};
use super::line::Line;
use super::mirror::Copies;
use super::switch::Switch;
use super::upload::{Broken, Upload};
use crate::buffer::{Buf, Read, Way};
use crate::http::serve::Client;
use crate::upstream::lane::Lane;
use crate::upstream::pool::Link;
use crate::upstream::ride::{Answer, Ride};
use crate::worker::Worker;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use weir_policy::outcome::{Interim, Reached, Result as Ended};
use weir_policy::pace::Pace;
use weir_policy::plan::Compatibility;
use weir_policy::time::Time;
use weir_policy::timeout::{Limits, Which};
use weir_wire::{Parsed, RequestKind};

/// How long the head of an answer waits for what follows it.
const PEEK: std::time::Duration = std::time::Duration::from_millis(50);

/// How long a client may leave an answer of our own unread.
const UNREAD: std::time::Duration = std::time::Duration::from_secs(60);

/// A request under way, over all its tries and the relay of its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) client: &'a mut Client,
    pub(crate) rest: &'a mut Buf,
    pub(crate) way: &'a mut Way,
    pub(crate) upload: Upload,
    pub(crate) switch: Switch,
    pub(crate) kind: RequestKind,
    pub(crate) response_limits: weir_wire::Limits,
    /// How much of `way.up` was written.
    pub(crate) sent: usize,
    /// Some byte was written in this try.
    pub(crate) wrote: Reached,
    /// The upstream takes no more of the request.
    pub(crate) deaf: bool,
    pub(crate) interim: Interim,
    /// No byte for so long ends the request (Gateway listeners).
    pub(crate) idle: Option<std::time::Duration>,
    pub(crate) stirred: Time,
    /// To be sent when the request is complete.
    pub(crate) copies: Option<Box<Copies>>,
    /// How slowly the client may send and read (Gateway listeners).
    pub(crate) sending: Option<Pace>,
    pub(crate) reading: Option<Pace>,
}

impl Exchange<'_> {
    /// Waits for the head of the answer on `link`. `way.up` holds the head of the request and what is kept of its body.
    pub(crate) async fn head(&mut self, lane: &mut Lane, limits: &Limits) -> Result<(), Ended> {
        self.sent = 0;
        self.wrote = Reached::Nothing;
        self.deaf = false;
        self.way.answer.clear();
        self.way.down.clear();
        self.way.response.restart();
        poll_fn(|cx| {
            self.way.warm(&self.worker.spares);
            let head = self.poll_head(lane, limits, cx);
            if head.is_pending() && self.is_sent() {
                self.way.up.clear();
                self.sent = 0;
                self.way.cool(&self.worker.spares);
            }
            head
        })
        .await
    }

    fn poll_head(&mut self, lane: &mut Lane, limits: &Limits, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if let Poll::Ready(Err(broken)) = self.poll_send(lane, cx) {
            return Poll::Ready(Err(match broken {
                Broken::Gone => Ended::Abandoned,
                Broken::Malformed => Ended::Upload,
            }));
        }
        self.poll_interim(cx);
        let answer = match lane {
            Lane::Own(link) => self.poll_answer(link, cx),
            Lane::Shared(ride) => self.poll_frames(ride, cx),
        };
        if let Poll::Ready(ended) = answer {
            return Poll::Ready(ended);
        }
        if self.upload.is_complete() && self.poll_client_gone(cx).is_ready() {
            return Poll::Ready(Err(Ended::Abandoned));
        }
        self.poll_deadline(limits, cx).map(Err)
    }

    /// Sends what is there and pulls more, until one side is not ready.
    pub(crate) fn poll_send(&mut self, lane: &mut Lane, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            while self.sent < self.way.up.len() {
                if self.deaf {
                    return Poll::Pending;
                }
                let ends = self.upload.is_complete() && self.upload.tail.is_empty();
                let last = if ends { Last::Yes } else { Last::No };
                match lane.poll_write(&self.way.up[self.sent..], last, cx) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        self.sent += count;
                        self.wrote = Reached::Part;
                        self.stir();
                    }
                    // It may have answered already: the reading half decides.
                    Poll::Ready(_) => self.deaf = true,
                    Poll::Pending => {
                        self.paced(0);
                        return Poll::Pending;
                    }
                }
            }
            Upload::release(&mut self.client.line);
            if self.upload.is_complete() {
                lane.finish(&self.upload.tail);
                self.mirror();
                self.paced(0);
                self.wrote = Reached::Whole;
                return Poll::Ready(Ok(()));
            }
            self.way.up.clear();
            self.sent = 0;
            let before = self.upload.bytes;
            let pulled =
                self.upload.poll_pull(&mut self.client.line, self.rest, &mut self.way.up, &mut self.way.kept, cx);
            if self.upload.bytes > before {
                self.paced(self.upload.bytes - before);
            }
            if let (Poll::Pending, Some(pace)) = (&pulled, &mut self.sending) {
                pace.wait(|| self.worker.now());
            }
            match pulled {
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Pending if self.way.up.is_empty() => return Poll::Pending,
                _ => {}
            }
        }
    }

    /// Sends the copies of a request that is complete.
    pub(crate) fn mirror(&mut self) {
        if let Some(copies) = self.copies.take_if(|_| self.upload.is_complete()) {
            copies.send(self.worker, &self.upload, &self.way.kept);
        }
    }

    /// Reads until the head of a final answer is there.
    fn poll_answer(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let limit = self.response_limits.head + 1;
        loop {
            if !self.way.answer.is_empty() {
                let parsed = weir_wire::parse_response(
                    self.way.answer.unread(),
                    &self.response_limits,
                    self.kind,
                    &mut self.way.response,
                );
                match parsed {
                    Ok(Parsed::Complete) if self.way.response.status == 101 => {
                        let agreed = self.switch.agreed(&self.way.response, self.way.answer.unread());
                        // One that comes before the request is out answers nothing.
                        return Poll::Ready(if agreed && self.is_sent() { Ok(()) } else { Err(Ended::Protocol) });
                    }
                    Ok(Parsed::Complete) if self.way.response.status < 200 => {
                        self.pass_interim(cx);
                        continue;
                    }
                    Ok(Parsed::Complete) => return Poll::Ready(Ok(())),
                    Ok(Parsed::Partial) => {}
                    Err(_) => return Poll::Ready(Err(Ended::Protocol)),
                }
            }
            match self.way.answer.poll_fill(&mut link.stream, limit, cx) {
                Poll::Ready(Ok(Read::Some)) => self.stir(),
                Poll::Ready(Ok(Read::Full)) => return Poll::Ready(Err(Ended::Protocol)),
                Poll::Ready(Ok(Read::End)) => return Poll::Ready(Err(self.closed(link, None))),
                Poll::Ready(Err(why)) => return Poll::Ready(Err(self.closed(link, Some(&why)))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The same of a stream.
    fn poll_frames(&mut self, ride: &mut Ride, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            let answer = match ready!(ride.poll_head(cx)) {
                Ok(answer) => answer,
                Err(fault) => {
                    self.wrote = fault.reached.unwrap_or(self.wrote);
                    return Poll::Ready(Err(fault.ended));
                }
            };
            self.stir();
            if self.read_answer(&answer).is_err() || self.way.response.status == 101 {
                return Poll::Ready(Err(Ended::Protocol));
            }
            if self.way.response.status >= 200 {
                return Poll::Ready(Ok(()));
            }
            self.pass_interim(cx);
        }
    }

    /// The head as if it had come in HTTP/1.1, and judged as strictly.
    fn read_answer(&mut self, answer: &Answer) -> Result<(), weir_wire::Malformed> {
        // What is to be sent upstream may still wait in `up`; `kept` may be needed again: a text of its own.
        let mut text = Vec::with_capacity(512);
        text::of_response(&mut text, &answer.head)?;
        let lengthless = !answer.head.headers.contains_key(http::header::CONTENT_LENGTH);
        let bodiless = self.kind == RequestKind::Head || matches!(answer.head.status.as_u16(), ..200 | 204 | 304);
        if answer.rest == Rest::Nothing && lengthless && !bodiless && matches!(self.client.line, Line::Http1(_)) {
            text.extend_from_slice(b"content-length: 0\r\n");
        }
        text.extend_from_slice(b"\r\n");
        self.way.answer.clear();
        self.way.answer.put(&text);
        self.way.response.restart();
        match weir_wire::parse_response(&text, &self.response_limits, self.kind, &mut self.way.response)? {
            Parsed::Complete => Ok(()),
            Parsed::Partial => Err(weir_wire::Malformed::StatusLine),
        }
    }

    /// Has the upstream all of the request?
    pub(crate) const fn is_sent(&self) -> bool {
        self.upload.is_complete() && self.sent == self.way.up.len()
    }

    /// Waits for what follows the head of an answer, but not long: it may be a stream whose first message is due
    /// tomorrow.
    pub(crate) async fn peek(&mut self, ride: &mut Ride) {
        let until = self.worker.now() + PEEK;
        poll_fn(|cx| match ride.poll_peek(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.client.alarm.poll(&self.worker.clock, until, cx),
        })
        .await;
    }

    /// The upstream ended the connection. On a reused one that had ended before our first bytes came, they cannot
    /// have been read: the kernel says so with EPIPE (a FIN before the RST that answered us).
    fn closed(&mut self, link: &Link, why: Option<&io::Error>) -> Ended {
        let late = link.stream.socket().take_error().ok().flatten();
        let pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        let raced = link.is_reused() && self.way.answer.is_empty();
        if !self.way.answer.is_empty() {
            // A head that breaks off is no head.
            return Ended::Protocol;
        }
        if raced && (why.is_some_and(pipe) || late.as_ref().is_some_and(pipe)) {
            self.wrote = Reached::Nothing;
        }
        Ended::Closed
    }

    /// Passes a 1xx on; as Istio, the first one only.
    fn pass_interim(&mut self, cx: &mut Context<'_>) {
        let response = &self.way.response;
        let first = self.interim == Interim::None;
        if first || self.worker.live().plan.settings.compatibility == Compatibility::Weir {
            super::headers::interim(&mut self.way.down, response, self.way.answer.unread());
        }
        self.interim = Interim::Passed;
        let consumed = response.len;
        self.way.answer.consume(consumed);
        self.way.response.restart();
        if self.way.down.is_empty() {
            return;
        }
        if let Line::Http2(stream) = &mut self.client.line {
            stream.interim(&self.way.down);
            return self.way.down.clear();
        }
        self.poll_interim(cx);
    }

    /// Sends what is left of interim responses; what the client does not take now goes before the final one.
    fn poll_interim(&mut self, cx: &mut Context<'_>) {
        while !self.way.down.is_empty() {
            match self.client.line.poll_write(&self.way.down, Last::No, cx) {
                Poll::Ready(Ok(count)) if count > 0 => drop(self.way.down.drain(..count)),
                // A client that is gone is noticed by the reading half.
                _ => return,
            }
        }
    }

    /// Ready when the client is gone.
    pub(crate) fn poll_client_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.poll_gone(self.rest, cx)
    }

    fn poll_deadline(&mut self, limits: &Limits, cx: &mut Context<'_>) -> Poll<Ended> {
        let deadline = self.upload.received.and_then(|received| limits.deadline(received));
        let deadline = deadline.map(|(until, which)| {
            (until, if which == Which::Whole { Ended::WholeTimeout } else { Ended::PerTryTimeout })
        });
        let idle = self.idle.map(|length| (self.stirred + length, Ended::Idle));
        let slow = self.sending.as_ref().and_then(Pace::due).map(|until| (until, Ended::SlowBody));
        let first = [deadline, idle, slow].into_iter().flatten().min_by_key(|(until, _)| *until);
        let Some((until, ended)) = first else { return Poll::Pending };
        self.client.alarm.poll(&self.worker.clock, until, cx).map(|()| ended)
    }

    /// The client sent `bytes` of its body; 0: it is not waited for.
    fn paced(&mut self, bytes: u64) {
        if let Some(pace) = &mut self.sending {
            pace.moved(bytes, || self.worker.now());
        }
    }

    /// Something moved: the idle clock starts anew.
    pub(crate) fn stir(&mut self) {
        if self.idle.is_some() {
            self.stirred = self.worker.now();
        }
    }

    /// Waits for `until`; `Err` when the client left first.
    pub(crate) async fn pause(&mut self, until: Time) -> Result<(), ()> {
        poll_fn(|cx| {
            if self.upload.is_complete() && self.poll_client_gone(cx).is_ready() {
                return Poll::Ready(Err(()));
            }
            self.client.alarm.poll(&self.worker.clock, until, cx).map(Ok)
        })
        .await
    }

    /// Waits for `until` within a try, in the place of an upstream that takes so long. A request that is still coming
    /// counts as received: nobody reads it meanwhile.
    pub(crate) async fn hold(&mut self, until: Time, limits: &Limits) -> Result<(), Ended> {
        let due = limits.deadline(self.upload.received.unwrap_or(limits.began));
        let (until, held) = match due {
            Some((due, Which::Whole)) if due <= until => (due, Err(Ended::WholeTimeout)),
            Some((due, Which::PerTry)) if due <= until => (due, Err(Ended::PerTryTimeout)),
            _ => (until, Ok(())),
        };
        self.pause(until).await.map_err(|()| Ended::Abandoned)?;
        self.stir();
        held
    }

    /// Runs `work` (getting a connection) unless the client leaves or the time is up first.
    pub(crate) async fn unless_over<T>(
        &mut self,
        work: impl Future<Output = Result<T, Ended>>,
        limits: &Limits,
    ) -> Result<T, Ended> {
        let mut work = std::pin::pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if self.upload.is_complete() && self.poll_client_gone(cx).is_ready() {
                return Poll::Ready(Err(Ended::Abandoned));
            }
            self.poll_deadline(limits, cx).map(Err)
        })
        .await
    }

    /// Writes the request anew into `way.up`, for a try.
    pub(crate) fn write_request(&mut self, ask: &Ask<'_>, number: u32, expected: Option<u64>) {
        self.way.warm(&self.worker.spares);
        let up = &mut self.way.up;
        up.clear();
        super::headers::outgoing(up, ask, number, expected);
        self.upload.replay(&self.way.kept, up);
    }
}

/// Sends a reply of our own: all of `down`, head and body.
pub(crate) async fn flush(client: &mut Client, down: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    if let Line::Http2(stream) = &mut client.line {
        sent = text::head_length(down);
        stream.begin(&down[..sent]);
        if sent == down.len() {
            stream.end_says_it();
            return stream.finish(None);
        }
    }
    let mut until = None;
    poll_fn(|cx| {
        while sent < down.len() {
            match client.line.poll_write(&down[sent..], Last::Yes, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(why)) => return Poll::Ready(Err(why)),
                Poll::Pending => {
                    let clock = &client.clock;
                    let until = *until.get_or_insert_with(|| clock.now() + UNREAD);
                    let over = client.alarm.poll(clock, until, cx);
                    return over.map(|()| Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}
