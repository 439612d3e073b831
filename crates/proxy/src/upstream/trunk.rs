//! One HTTP/2 connection to an endpoint, shared by the tries that ride on it.
//!
//! ```text
//!   Trunk ── seats (one per stream) ──► SendRequest ─┐
//!   its task: reads, writes, PINGs ◄─────────────────┴─► socket      ends: broken, GOAWAY and idle, no PING answered,
//!                                                                    or nobody holds the trunk any more
//! ```
//! A trunk that has done enough is taken off its yard's list: who rides on it rides to the end. Does not: choose.

use super::connect;
use super::pool::Open;
use super::shared::Shared;
use crate::alarm::Alarm;
use crate::clock::Watch;
use crate::http::http2::pipe::{End, Pipe};
use crate::mesh::Cell;
use crate::tls::reach::Inside;
use crate::worker::Worker;
use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use std::cell::Cell as StdCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use weir_policy::connection::{self, Rules};
use weir_policy::outcome::{ConnectFailure, Result as Ended};
use weir_policy::time::Time;
use weir_policy::tls;

/// Windows: of a stream, and of a connection; and what may wait for the socket.
pub(crate) const STREAM_WINDOW: u32 = 64 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
pub(crate) const SEND_BUFFER: usize = 64 * 1024;

/// See the module.
pub(crate) struct Trunk {
    send: SendRequest<Bytes>,
    riding: StdCell<u32>,
    served: StdCell<u32>,
    opened: Time,
    idle_since: StdCell<Time>,
    /// What it was opened by: with other rules it is not used again.
    tls: Option<Arc<tls::Client>>,
    clock: Rc<Watch>,
    yard: Weak<Shared>,
}

/// A place on a trunk; given back when dropped.
pub(crate) struct Seat {
    trunk: Rc<Trunk>,
    send: SendRequest<Bytes>,
    /// Which request of the connection this is, from 1.
    number: u32,
}

impl Trunk {
    /// A place, when there is one.
    pub(crate) fn take(self: &Rc<Self>, rules: &Rules) -> Option<Seat> {
        let most = self.send.current_max_send_streams().min(rules.streams as usize);
        if self.riding.get() as usize >= most {
            return None;
        }
        self.riding.set(self.riding.get() + 1);
        self.served.set(self.served.get().saturating_add(1));
        Some(Seat { trunk: Rc::clone(self), send: self.send.clone(), number: self.served.get() })
    }

    /// May it carry another request? Not one that the peer has ended, or is about to.
    pub(crate) fn is_usable(&self, rules: &Rules, now: Time) -> bool {
        let done = rules.max_requests != 0 && self.served.get() >= rules.max_requests;
        let old = rules.max_duration.is_some_and(|limit| now.since(self.opened) >= limit);
        let idle = rules.idle_timeout.filter(|_| self.riding.get() == 0);
        let idle = idle.is_some_and(|limit| now.since(self.idle_since.get()) >= limit);
        let mut nobody = Context::from_waker(Waker::noop());
        let mut broken = || matches!(self.send.clone().poll_ready(&mut nobody), Poll::Ready(Err(_)));
        self.tls == rules.tls && !done && !old && !idle && !broken()
    }
}

impl Seat {
    pub(crate) const fn is_reused(&self) -> bool {
        self.number > 1
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.send.poll_ready(cx)
    }

    pub(crate) fn send(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.send.send_request(request, end)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let trunk = &self.trunk;
        trunk.riding.set(trunk.riding.get().saturating_sub(1));
        if trunk.riding.get() == 0 {
            trunk.idle_since.set(trunk.clock.now());
        }
        if let Some(yard) = trunk.yard.upgrade() {
            yard.serve();
        }
    }
}

/// A connection counts in its cluster until its task ends.
struct Counted {
    cell: Arc<Cell>,
    _open: Open,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.cell.cluster.lock().inflight.disconnected();
    }
}

/// Opens a connection, and starts its task. The connection is counted already.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    cell: &Arc<Cell>,
    yard: &Rc<Shared>,
    address: SocketAddr,
    rules: &Rules,
) -> Result<Rc<Trunk>, Ended> {
    let counted = Counted { cell: Arc::clone(cell), _open: Open::one_more(&yard.open) };
    let pipe = Pipe::to_server(connect::dial(address, rules, Inside::Http2, &worker.mesh).await?);
    let head = worker.live().plan.settings.limits.response_head;
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(head)
        .enable_push(false);
    let shaken = builder.handshake::<_, Bytes>(End(Rc::clone(&pipe))).await;
    let (send, mut connection) = shaken.map_err(|_| Ended::ConnectFailed(ConnectFailure::Refused))?;
    let pulse = rules.ping.and_then(|ping| Pulse::new(ping, connection.ping_pong()?, Rc::clone(&worker.clock)));
    let now = worker.now();
    let trunk = Rc::new(Trunk {
        send,
        riding: StdCell::new(0),
        served: StdCell::new(0),
        opened: now,
        idle_since: StdCell::new(now),
        tls: rules.tls.clone(),
        clock: Rc::clone(&worker.clock),
        yard: Rc::downgrade(yard),
    });
    let (yard, known) = (Rc::downgrade(yard), Rc::downgrade(&trunk));
    tokio::task::spawn_local(async move {
        carry(connection, pipe, pulse).await;
        drop(counted);
        if let Some(yard) = yard.upgrade() {
            yard.ended(&known);
        }
    });
    Ok(trunk)
}

/// Runs a connection to its end.
async fn carry(mut connection: client::Connection<End, Bytes>, pipe: Rc<Pipe>, mut pulse: Option<Pulse>) {
    poll_fn(|cx| {
        if pulse.as_mut().is_some_and(|pulse| pulse.poll_dead(cx).is_ready()) {
            return Poll::Ready(());
        }
        let over = Pin::new(&mut connection).poll(cx).is_ready();
        match pipe.poll_flush(cx) {
            Poll::Ready(Ok(())) if !over => Poll::Pending,
            Poll::Pending => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

/// PINGs at an interval; a connection on which one is not answered in time is dead.
struct Pulse {
    rules: connection::Ping,
    pings: PingPong,
    clock: Rc<Watch>,
    alarm: Alarm,
    next: Next,
}

#[derive(Clone, Copy)]
enum Next {
    Ping(Time),
    Pong(Time),
}

impl Pulse {
    fn new(rules: connection::Ping, pings: PingPong, clock: Rc<Watch>) -> Option<Self> {
        let next = Next::Ping(clock.now() + rules.interval);
        Some(Self { rules, pings, clock, alarm: Alarm::default(), next })
    }

    fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.next = match self.next {
                Next::Ping(at) => {
                    if self.alarm.poll(&self.clock, at, cx).is_pending() {
                        return Poll::Pending;
                    }
                    if self.pings.send_ping(Ping::opaque()).is_err() {
                        return Poll::Ready(());
                    }
                    Next::Pong(self.clock.now() + self.rules.timeout)
                }
                Next::Pong(until) => match self.pings.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => Next::Ping(self.clock.now() + self.rules.interval),
                    // The connection's own end says more.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => return self.alarm.poll(&self.clock, until, cx),
                },
            };
        }
    }
}
