//! Bytes read and not yet used, and the scratch that a connection borrows while it is active.
//!
//! Does not: grow beyond what its user allows.

use crate::stream::Stream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{cell::RefCell, io};
use tokio::io::{AsyncRead, ReadBuf};
use weir_wire::{RequestHead, ResponseHead};

/// What a read asks for at first: most heads fit.
const SMALL: usize = 8 * 1024;
/// What a body is read in.
const LARGE: usize = 64 * 1024;
/// A scratch whose buffers grew beyond this is not kept.
const KEPT_CAPACITY: usize = 128 * 1024;
/// Scratches kept for the next active connections of a worker.
const KEPT_SCRATCHES: usize = 512;

/// A buffer with a read end and a write end. Its storage is initialised once and never shrinks while in use.
#[derive(Default, Debug)]
pub(crate) struct Buf {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// What came of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Read {
    Some,
    /// The peer will send no more.
    End,
    /// No room: the caller's bound is reached.
    Full,
}

impl Buf {
    /// What was read and not yet consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `count` unread bytes are used.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        if self.start >= self.end {
            self.clear();
        }
    }

    pub(crate) const fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Moves all but the first `count` unread bytes to `other`, which must be empty.
    pub(crate) fn split_to(&mut self, count: usize, other: &mut Self) {
        debug_assert!(other.is_empty());
        let from = self.start + count;
        if from < self.end {
            other.put(&self.bytes[from..self.end]);
            self.end = from;
        }
    }

    /// Appends what is at hand already.
    pub(crate) fn put(&mut self, more: &[u8]) {
        self.make_room(more.len());
        self.bytes[self.end..self.end + more.len()].copy_from_slice(more);
        self.end += more.len();
    }

    fn make_room(&mut self, room: usize) {
        if self.bytes.len() - self.end >= room {
            return;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < room {
            let wanted = (self.end + room).max(self.bytes.len() * 2).max(SMALL);
            self.bytes.resize(wanted, 0);
        }
    }

    /// Reads once from `stream`, holding at most `limit` unread bytes.
    pub(crate) fn poll_fill(
        &mut self,
        stream: &mut Stream,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Read>> {
        let held = self.end - self.start;
        if held >= limit {
            return Poll::Ready(Ok(Read::Full));
        }
        if self.bytes.len() - self.end < SMALL / 4 {
            self.make_room((limit - held).min(self.bytes.len().max(SMALL)));
        }
        let room = (self.bytes.len() - self.end).min(limit - held);
        let mut window = ReadBuf::new(&mut self.bytes[self.end..self.end + room]);
        ready!(Pin::new(stream).poll_read(cx, &mut window))?;
        let count = window.filled().len();
        self.end += count;
        Poll::Ready(Ok(if count == 0 { Read::End } else { Read::Some }))
    }

    /// Makes it as large as body reads want.
    pub(crate) fn enlarge(&mut self) {
        if self.bytes.len() < LARGE {
            self.make_room(LARGE - (self.end - self.start));
        }
    }

    const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Everything a connection needs while it is active, borrowed from its worker.
#[derive(Default, Debug)]
pub(crate) struct Scratch {
    /// The request head, as read; it stays while the request is under way, so that a retry can write it anew.
    pub(crate) head: Buf,
    /// What the client sent behind the head: body, or the next requests.
    pub(crate) rest: Buf,
    pub(crate) request: RequestHead,
    pub(crate) way: Way,
    /// The normalised path and the rewritten path.
    pub(crate) path: Vec<u8>,
    pub(crate) rewritten: Vec<u8>,
    /// A made request id.
    pub(crate) request_id: Vec<u8>,
}

/// The buffers of the upstream half of a request.
#[derive(Default, Debug)]
pub(crate) struct Way {
    /// To the upstream.
    pub(crate) up: Vec<u8>,
    /// From the upstream.
    pub(crate) answer: Buf,
    pub(crate) response: ResponseHead,
    /// To the client.
    pub(crate) down: Vec<u8>,
    /// Fields that our filters add to the answer, encoded.
    pub(crate) extra: Vec<u8>,
    /// What of the body was sent and is kept for a retry.
    pub(crate) kept: Vec<u8>,
}

/// What a [`Way`]'s buffers keep their bytes in.
#[derive(Default, Debug)]
struct Storage {
    up: Vec<u8>,
    answer: Buf,
    down: Vec<u8>,
}

/// Storage of requests that wait for their answers and hold no byte meanwhile. The next request that has bytes gets
/// the one that was used last: a few of them, warm in the processor's cache, serve all that wait.
#[derive(Default, Debug)]
pub(crate) struct Spares {
    free: RefCell<Vec<Storage>>,
}

impl Spares {
    /// Frees all that is not lent.
    pub(crate) fn clear(&self) {
        drop(self.free.take());
    }
}

impl Way {
    /// There will be bytes: takes storage, when it has given its own away.
    pub(crate) fn warm(&mut self, spares: &Spares) {
        if self.answer.capacity() > 0 || self.up.capacity() > 0 {
            return;
        }
        if let Some(Storage { up, answer, down }) = spares.free.borrow_mut().pop() {
            (self.up, self.answer, self.down) = (up, answer, down);
        }
    }

    /// Nothing is to be held for now: gives its storage away, unless there is enough of it.
    pub(crate) fn cool(&mut self, spares: &Spares) {
        let mut free = spares.free.borrow_mut();
        let largest = self.up.capacity().max(self.down.capacity()).max(self.answer.capacity());
        let empty = self.up.is_empty() && self.down.is_empty() && self.answer.is_empty();
        if empty && largest > 0 && largest <= KEPT_CAPACITY && free.len() < KEPT_SCRATCHES {
            let (up, down) = (std::mem::take(&mut self.up), std::mem::take(&mut self.down));
            free.push(Storage { up, answer: std::mem::take(&mut self.answer), down });
        }
    }
}

/// A worker's free scratches.
#[derive(Default, Debug)]
pub(crate) struct Store {
    #[expect(clippy::vec_box, reason = "boxes are what is lent")]
    free: RefCell<Vec<Box<Scratch>>>,
}

impl Store {
    pub(crate) fn lend(&self) -> Box<Scratch> {
        self.free.borrow_mut().pop().unwrap_or_default()
    }

    /// Frees all that is not lent.
    pub(crate) fn clear(&self) {
        drop(self.free.take());
    }

    pub(crate) fn give_back(&self, mut scratch: Box<Scratch>) {
        let way = &scratch.way;
        let largest = [
            scratch.head.capacity(),
            scratch.rest.capacity(),
            way.answer.capacity(),
            way.up.capacity(),
            way.down.capacity(),
            way.kept.capacity(),
        ];
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT_SCRATCHES && largest.iter().all(|capacity| *capacity <= KEPT_CAPACITY) {
            scratch.head.clear();
            scratch.rest.clear();
            scratch.way.answer.clear();
            free.push(scratch);
        }
    }
}
