//! The client's request body on its way to the upstream, with the copy that a retry may need.
//!
//! ```text
//!   client ─► rest ─► decode (strict) ─► encode ─► up ─► upstream
//!                        └─► kept, while a retry after bytes were sent is possible, within the bounds
//! ```
//! Does not: write to the upstream (`exchange` does).

use super::http2::stream::{Piece, Stream};
use super::http2::text;
use super::line::Line;
use crate::buffer::{Buf, Read};
use crate::mesh::Live;
use crate::worker::Worker;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use weir_observe::Limit;
use weir_policy::outcome::Body as Kept;
use weir_policy::time::Time;
use weir_wire::{Body, Framing, Step, write};

/// Encoded bytes that may wait for the upstream before the client is read no further.
const AHEAD: usize = 64 * 1024;
/// What is read from the client at a time.
const PIECE: usize = 32 * 1024;

/// Whether what is sent is also kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keep {
    Yes,
    /// No retry can follow once a byte was sent, or it was too much to keep.
    No,
}

/// How the body goes upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coding {
    Chunked,
    /// As it is: its length was said, or frames say it.
    Plain,
}

/// Whether trailers are passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trailers {
    Pass,
    Drop,
}

/// See the module.
pub(crate) struct Upload {
    body: Body,
    coding: Coding,
    keep: Keep,
    trailers: Trailers,
    /// Allowed trailers, encoded: sent again with a retry.
    pub(crate) tail: Vec<u8>,
    /// When all of it had been received.
    pub(crate) received: Option<Time>,
    /// Body bytes received.
    pub(crate) bytes: u64,
    /// Something was consumed that was not kept.
    lost: bool,
    limit: u64,
    memory: u64,
    held: u64,
    worker: Rc<Worker>,
}

/// Why an upload cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// The client ended the connection.
    Gone,
    /// The framing is not HTTP's.
    Malformed,
}

impl Upload {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        live: &Live,
        framing: Framing,
        coding: Coding,
        keep: Keep,
        trailers: Trailers,
        now: Time,
    ) -> Self {
        let limits = &live.plan.settings.limits;
        let received = matches!(framing, Framing::None | Framing::Length(0)).then_some(now);
        Self {
            body: Body::new(framing),
            coding,
            keep,
            trailers,
            tail: Vec::new(),
            received,
            bytes: 0,
            lost: false,
            limit: limits.replay_request,
            memory: limits.replay_memory,
            held: 0,
            worker: Rc::clone(worker),
        }
    }

    pub(crate) const fn is_complete(&self) -> bool {
        self.received.is_some()
    }

    /// Can it be sent again from the start?
    pub(crate) const fn kept(&self) -> Kept {
        if self.lost { Kept::NotKept } else { Kept::Kept }
    }

    /// What a new try sends behind its head: all that was received so far.
    pub(crate) fn replay(&self, kept: &[u8], up: &mut Vec<u8>) {
        match self.coding {
            Coding::Chunked => {
                if !kept.is_empty() {
                    write::chunk(up, kept);
                }
                if self.is_complete() {
                    write::last_chunk(up, &self.tail);
                }
            }
            Coding::Plain => up.extend_from_slice(kept),
        }
    }

    /// Moves what the client has sent to `up`, as far as `up` may run ahead.
    pub(crate) fn poll_pull(
        &mut self,
        line: &mut Line,
        rest: &mut Buf,
        up: &mut Vec<u8>,
        kept: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let stream = match line {
            Line::Http1(stream) => stream,
            Line::Http2(stream) => return self.poll_pieces(stream, up, kept, cx),
        };
        while !self.is_complete() && up.len() < AHEAD {
            if !rest.is_empty() && self.decode(rest, up, kept)? {
                continue;
            }
            match rest.poll_fill(stream, PIECE, cx) {
                Poll::Ready(Ok(Read::Some)) => {}
                Poll::Ready(Ok(Read::End) | Err(_)) => return Poll::Ready(Err(Broken::Gone)),
                // A piece of framing that does not fit the buffer is not a piece of framing.
                Poll::Ready(Ok(Read::Full)) => return Poll::Ready(Err(Broken::Malformed)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The same of a stream: its frames say where the body ends.
    fn poll_pieces(
        &mut self,
        stream: &mut Stream,
        up: &mut Vec<u8>,
        kept: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        while !self.is_complete() && up.len() < AHEAD {
            let trailers = match ready!(stream.poll_piece(cx)) {
                Ok(Piece::Data(data)) => {
                    self.take(&data, up, kept);
                    if !stream.is_complete() {
                        continue;
                    }
                    None
                }
                Ok(Piece::End(trailers)) => trailers,
                // Not as long as it said, or not HTTP/2: we reset it. Else the client did.
                Err(why) if why.is_library() => return Poll::Ready(Err(Broken::Malformed)),
                Err(_) => return Poll::Ready(Err(Broken::Gone)),
            };
            if let (Trailers::Pass, Some(trailers)) = (self.trailers, trailers) {
                let mut block = Vec::new();
                let written = text::of_trailers(&mut block, &trailers);
                written.and_then(|()| write::trailers(&mut self.tail, &block)).map_err(|_| Broken::Malformed)?;
            }
            self.end(up);
        }
        Poll::Ready(Ok(()))
    }

    /// Upstream has all that was pulled: the client may send more.
    pub(crate) fn release(line: &mut Line) {
        if let Line::Http2(stream) = line {
            stream.release();
        }
    }

    fn take(&mut self, data: &[u8], up: &mut Vec<u8>, kept: &mut Vec<u8>) {
        self.bytes += data.len() as u64;
        match self.coding {
            Coding::Chunked => write::chunk(up, data),
            Coding::Plain => up.extend_from_slice(data),
        }
        self.remember(data, kept);
    }

    fn end(&mut self, up: &mut Vec<u8>) {
        if self.coding == Coding::Chunked {
            write::last_chunk(up, &self.tail);
        }
        self.received = Some(self.worker.now());
    }

    /// Decodes one step; `false` when more bytes are needed.
    fn decode(&mut self, rest: &mut Buf, up: &mut Vec<u8>, kept: &mut Vec<u8>) -> Result<bool, Broken> {
        let unread = rest.unread();
        let used = match self.body.next(unread).map_err(|_| Broken::Malformed)? {
            Step::More => return Ok(false),
            Step::Skip { consumed } => consumed,
            Step::Data { start, end, consumed } => {
                self.take(&unread[start..end], up, kept);
                consumed
            }
            Step::End { consumed, trailers } => {
                if let (Trailers::Pass, Some(block)) = (self.trailers, trailers) {
                    write::trailers(&mut self.tail, block.of(unread)).map_err(|_| Broken::Malformed)?;
                }
                self.end(up);
                consumed
            }
        };
        rest.consume(used);
        if self.body.is_done() && self.received.is_none() {
            self.received = Some(self.worker.now());
        }
        Ok(true)
    }

    fn remember(&mut self, data: &[u8], kept: &mut Vec<u8>) {
        if self.lost {
            return;
        }
        let size = data.len() as u64;
        let wanted = self.keep == Keep::Yes && kept.len() as u64 + size <= self.limit;
        let taken = wanted && self.worker.mesh.take_replay(size, self.memory);
        if wanted && !taken {
            self.worker.mesh.registry.limited(Limit::ReplayMemory);
        }
        if taken {
            self.held += size;
            kept.extend_from_slice(data);
        } else {
            self.lost = true;
            self.forget(kept);
            // As large as it has become, its storage is worth more elsewhere.
            *kept = Vec::new();
        }
    }

    /// No retry will follow: the copy is of no use.
    pub(crate) fn forget(&mut self, kept: &mut Vec<u8>) {
        kept.clear();
        self.keep = Keep::No;
        self.worker.mesh.give_replay(std::mem::take(&mut self.held));
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.worker.mesh.give_replay(self.held);
    }
}
