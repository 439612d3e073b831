//! The socket of an HTTP/2 connection, as the h2 crate sees it: what it writes is gathered until the turn is over, and
//! the frames that pass are counted.
//!
//! ```text
//!   h2 ─► End ─► out ── flush, once per poll of the connection, or at 64 KiB ─► socket
//!   h2 ◄─ End ◄─ frames counted: a flood? then nothing more is read ◄─────────── socket
//! ```
//! Does not: know streams.

use crate::buffer::Buf;
use crate::clock::Clock;
use crate::stream::Stream;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_policy::flood::{Flood, Frame, Watch};
use weir_wire::frame::{Fault, Frames, Head, Kind};

/// Gathered at most; more has to wait for the socket.
const GATHER: usize = 64 * 1024;
/// Room that an idle connection keeps.
const KEPT: usize = 4 * 1024;

/// See the module.
pub(crate) struct Pipe {
    socket: RefCell<Stream>,
    /// Bytes that were read before this was an HTTP/2 connection.
    first: RefCell<Buf>,
    out: RefCell<Out>,
    /// Of a client's connection; an upstream is not watched.
    guard: Option<RefCell<Guard>>,
    verdict: Cell<Option<Verdict>>,
}

/// Why a client is sent away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Flood(Flood),
    Fault(Fault),
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    sent: usize,
}

struct Guard {
    clock: Clock,
    watch: Watch,
    inbound: Frames,
    outbound: Frames,
}

/// What the h2 crate holds.
pub(crate) struct End(pub(crate) Rc<Pipe>);

impl Pipe {
    /// To an upstream.
    pub(crate) fn to_server(socket: Stream) -> Rc<Self> {
        Rc::new(Self::new(socket, Buf::default(), None))
    }

    /// From a client that has sent `first` already.
    pub(crate) fn from_client(socket: Stream, first: Buf, clock: Clock) -> Rc<Self> {
        let (inbound, outbound) = (Frames::of_client(), Frames::of_server());
        let guard = Guard { clock, watch: Watch::default(), inbound, outbound };
        Rc::new(Self::new(socket, first, Some(RefCell::new(guard))))
    }

    fn new(socket: Stream, first: Buf, guard: Option<RefCell<Guard>>) -> Self {
        Self {
            socket: RefCell::new(socket),
            first: RefCell::new(first),
            out: RefCell::default(),
            guard,
            verdict: Cell::new(None),
        }
    }

    /// Why the peer is to be sent away, once.
    pub(crate) fn take_verdict(&self) -> Option<Verdict> {
        self.verdict.take()
    }

    /// Sends what was gathered.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        let Out { bytes, sent } = &mut *out;
        while *sent < bytes.len() {
            match ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_write(cx, &bytes[*sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *sent += count,
            }
        }
        bytes.clear();
        *sent = 0;
        if bytes.capacity() > GATHER {
            bytes.shrink_to(KEPT);
        }
        Poll::Ready(Ok(()))
    }

    /// Our half is over: reads on for a moment what the peer still sends, so that it reads our last words.
    pub(crate) fn poll_drained(&self, waste: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut window = ReadBuf::new(waste);
        ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, &mut window))?;
        Poll::Ready(Ok(window.filled().len()))
    }

    fn came_in(&self, bytes: &[u8]) {
        let Some(guard) = &self.guard else { return };
        let Guard { clock, watch, inbound, .. } = &mut *guard.borrow_mut();
        let now = clock.now();
        let mut found = None;
        inbound.pass(bytes, |head, fault| {
            let flood = watch.seen(meaning(head), now).map(Verdict::Flood);
            found = found.or(fault.map(Verdict::Fault)).or(flood);
        });
        self.verdict.set(found);
    }

    fn went_out(&self, bytes: &[u8]) {
        let Some(guard) = &self.guard else { return };
        let Guard { watch, outbound, .. } = &mut *guard.borrow_mut();
        outbound.pass(bytes, |head, _| {
            if head.kind == Kind::Data {
                watch.answered();
            }
        });
    }
}

const fn meaning(head: Head) -> Frame {
    match head.kind {
        Kind::Data if head.length == 0 && !head.ends => Frame::EmptyData,
        Kind::Data | Kind::GoAway | Kind::PushPromise => Frame::Other,
        Kind::Headers => Frame::Headers,
        Kind::Priority => Frame::Priority,
        Kind::Reset => Frame::Reset,
        Kind::Settings => Frame::Settings,
        Kind::Ping => Frame::Ping,
        Kind::WindowUpdate => Frame::WindowUpdate,
        Kind::Continuation => Frame::Continuation,
        Kind::Unknown => Frame::Unknown,
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pipe = &self.0;
        let before = buf.filled().len();
        let mut first = pipe.first.borrow_mut();
        if first.is_empty() {
            ready!(Pin::new(&mut *pipe.socket.borrow_mut()).poll_read(cx, buf))?;
        } else {
            let count = first.unread().len().min(buf.remaining());
            buf.put_slice(&first.unread()[..count]);
            first.consume(count);
        }
        pipe.came_in(&buf.filled()[before..]);
        if pipe.verdict.get().is_some() {
            // Not even read: the connection is polled again once its end was said.
            buf.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let pipe = &self.0;
        if pipe.out.borrow().bytes.len() >= GATHER {
            ready!(pipe.poll_flush(cx))?;
        }
        pipe.went_out(bytes);
        pipe.out.borrow_mut().bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Nothing yet: the connection's task flushes when it has done all that it can do now.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_flush(cx))?;
        Pin::new(&mut *self.0.socket.borrow_mut()).poll_shutdown(cx)
    }
}
