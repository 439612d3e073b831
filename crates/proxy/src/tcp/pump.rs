//! Bytes from each side to the other, until both have ended or either breaks.
//!
//! ```text
//!   client ══ up ══► endpoint        each half: read ─► write ─► … ─► end read ─► end written (the other half goes on)
//!   client ◄═ down ═ endpoint
//! ```
//! A half that waits for bytes holds no buffer. Does not: look at the bytes.

use crate::alarm::Alarm;
use crate::buffer::{Buf, Read};
use crate::stream::Stream;
use crate::worker::Worker;
use socket2::SockRef;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use weir_policy::tcp::Span;
use weir_policy::time::Time;

/// Bytes that a half holds at most.
const HELD: usize = 64 * 1024;
/// Buffers that a worker keeps for halves that will have bytes.
const KEPT: usize = 256;
/// How often a long connection says what it moved.
const REPORTS: Duration = Duration::from_secs(5);

/// A worker's free buffers.
#[derive(Default)]
pub(crate) struct Basins(RefCell<Vec<Buf>>);

impl Basins {
    fn lend(&self) -> Buf {
        let mut buf = self.0.borrow_mut().pop().unwrap_or_default();
        buf.enlarge();
        buf
    }

    fn give_back(&self, mut buf: Buf) {
        let mut free = self.0.borrow_mut();
        if free.len() < KEPT {
            buf.clear();
            free.push(buf);
        }
    }

    /// Frees all that is not lent.
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }
}

/// Which side of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Client,
    Endpoint,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// Both sides said all.
    Whole,
    /// This side reset it, or cut its TLS.
    Broken(Side),
    /// No byte for too long.
    Idle,
    /// It lasted as long as it may.
    TooOld,
}

/// Bytes passed on since the last report.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Moved {
    pub(crate) up: u64,
    pub(crate) down: u64,
}

#[derive(Default)]
struct Half {
    buf: Option<Buf>,
    state: State,
    moved: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    /// Its end was read, and is to be written.
    Ending,
    Done,
}

/// Which end of a half failed.
enum Fault {
    Reading,
    Writing,
}

impl Half {
    fn poll(
        &mut self,
        from: &mut Stream,
        to: &mut Stream,
        basins: &Basins,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            if let Some(buf) = self.buf.as_mut().filter(|buf| !buf.is_empty()) {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, buf.unread())).map_err(|_| Fault::Writing)?;
                if count == 0 {
                    return Poll::Ready(Err(Fault::Writing));
                }
                buf.consume(count);
                self.moved += count as u64;
                continue;
            }
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Ending => {
                    match ready!(Pin::new(&mut *to).poll_shutdown(cx)) {
                        Ok(()) => {}
                        // It has ended both ways already.
                        Err(why) if why.kind() == io::ErrorKind::NotConnected => {}
                        Err(_) => return Poll::Ready(Err(Fault::Writing)),
                    }
                    self.state = State::Done;
                }
                State::Open => {
                    let mut buf = self.buf.take().unwrap_or_else(|| basins.lend());
                    match buf.poll_fill(from, HELD, cx) {
                        Poll::Ready(Ok(Read::Some)) => self.buf = Some(buf),
                        Poll::Ready(Ok(Read::End | Read::Full)) => {
                            basins.give_back(buf);
                            self.state = State::Ending;
                        }
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Fault::Reading)),
                        Poll::Pending => {
                            basins.give_back(buf);
                            return Poll::Pending;
                        }
                    }
                }
            }
        }
    }
}

/// See the module.
pub(crate) struct Pump<'p> {
    client: &'p mut Stream,
    endpoint: &'p mut Stream,
    up: Half,
    down: Half,
    span: Span,
    opened: Time,
    latest: Time,
    /// When what was moved is to be told.
    reports: Option<Time>,
    alarm: Alarm,
}

impl<'p> Pump<'p> {
    /// `first`: what is to go to the endpoint, and to the client, before anything that is read.
    pub(crate) fn new(
        client: &'p mut Stream,
        endpoint: &'p mut Stream,
        first: [&[u8]; 2],
        span: Span,
        worker: &Worker,
    ) -> Self {
        let half = |first: &[u8]| {
            let mut buf = (!first.is_empty()).then(Buf::default);
            if let Some(buf) = &mut buf {
                buf.put(first);
            }
            Half { buf, ..Half::default() }
        };
        let (now, [up, down]) = (worker.now(), first.map(half));
        Self { client, endpoint, up, down, span, opened: now, latest: now, reports: None, alarm: Alarm::default() }
    }

    /// Until the end; `report` is told of bytes now and then, and at the end.
    pub(crate) async fn run(&mut self, worker: &Worker, mut report: impl FnMut(Moved)) -> Ended {
        let ended = poll_fn(|cx| self.poll(worker, &mut report, cx)).await;
        report(self.take_moved());
        ended
    }

    fn take_moved(&mut self) -> Moved {
        self.reports = None;
        Moved { up: std::mem::take(&mut self.up.moved), down: std::mem::take(&mut self.down.moved) }
    }

    fn poll(&mut self, worker: &Worker, report: &mut impl FnMut(Moved), cx: &mut Context<'_>) -> Poll<Ended> {
        let before = self.up.moved + self.down.moved;
        let up = self.up.poll(self.client, self.endpoint, &worker.basins, cx);
        let down = self.down.poll(self.endpoint, self.client, &worker.basins, cx);
        let now = worker.now();
        if self.up.moved + self.down.moved > before {
            self.latest = now;
            self.reports.get_or_insert(now + REPORTS);
        }
        let broken = |fault: &Fault, reads: Side, writes: Side| match fault {
            Fault::Reading => Ended::Broken(reads),
            Fault::Writing => Ended::Broken(writes),
        };
        match (up, down) {
            (Poll::Ready(Err(fault)), _) => return Poll::Ready(broken(&fault, Side::Client, Side::Endpoint)),
            (_, Poll::Ready(Err(fault))) => return Poll::Ready(broken(&fault, Side::Endpoint, Side::Client)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ended::Whole),
            _ => {}
        }
        loop {
            let ends = self.span.ends(self.opened, self.latest);
            let Some(next) = ends.into_iter().chain(self.reports).min() else { return Poll::Pending };
            ready!(self.alarm.poll(&worker.clock, next, cx));
            if ends.is_some_and(|ends| ends <= worker.now()) {
                let too_old = self.span.most.is_some_and(|most| self.opened + most <= worker.now());
                return Poll::Ready(if too_old { Ended::TooOld } else { Ended::Idle });
            }
            report(self.take_moved());
        }
    }

    /// Who broke it off has reset it: the other side is to see a reset too, not an end.
    pub(crate) fn break_off(&self) {
        for side in [&*self.client, &*self.endpoint] {
            // A socket that is gone needs none.
            let _ = SockRef::from(side.socket()).set_linger(Some(Duration::ZERO));
        }
    }
}
