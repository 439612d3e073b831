//! The way to an endpoint, for one try: a connection of its own, or a stream of a shared one.
//!
//! Does not: know what passes.

use super::pool::{self, Link};
use super::ride::Ride;
use crate::buffer::{Buf, Read};
use crate::http::http2::stream::Last;
use crate::worker::Worker;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use weir_policy::connection::Rules;
use weir_wire::{Body, Framing};

/// See the module.
pub(crate) enum Lane {
    Own(Box<Link>),
    Shared(Box<Ride>),
}

impl Lane {
    /// Writes what the upstream takes.
    pub(crate) fn poll_write(&mut self, bytes: &[u8], last: Last, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Own(link) => Pin::new(&mut link.stream).poll_write(cx, bytes),
            Self::Shared(ride) => ride.poll_write(bytes, last, cx),
        }
    }

    /// The request is over, but for its trailers (as lines). In HTTP/1.1 its framing has said so already.
    pub(crate) fn finish(&mut self, trailers: &[u8]) {
        if let Self::Shared(ride) = self {
            ride.finish(trailers);
        }
    }

    pub(crate) const fn is_reused(&self) -> bool {
        match self {
            Self::Own(link) => link.is_reused(),
            Self::Shared(ride) => ride.seat.is_reused(),
        }
    }

    /// It must not be used again. A stream that is not over is reset; its connection goes on.
    pub(crate) fn close(self, worker: &Worker) {
        match self {
            Self::Own(link) => pool::close(worker, link),
            Self::Shared(ride) => drop(ride),
        }
    }

    /// Both messages came to a clean end.
    pub(crate) fn give_back(self, worker: &Worker, rules: &Rules) {
        match self {
            Self::Own(link) => pool::give_back(worker, link, rules),
            Self::Shared(ride) => drop(ride),
        }
    }

    /// Reads more of the response's body.
    pub(crate) fn poll_fill(&mut self, into: &mut Buf, limit: usize, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        match self {
            Self::Own(link) => into.poll_fill(&mut link.stream, limit, cx),
            Self::Shared(ride) => ride.poll_fill(into, cx),
        }
    }

    /// Is it known that nothing follows what was read, not even trailers? HTTP/1.1 says so in its framing only.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self, Self::Shared(ride) if ride.is_ended())
    }

    /// How the body of a response with this framing arrives: in HTTP/2 it ends with its stream.
    pub(crate) const fn body(&self, framing: Framing) -> Body {
        match (self, framing) {
            (Self::Own(_), _) | (Self::Shared(_), Framing::None) => Body::new(framing),
            (Self::Shared(_), _) => Body::new(Framing::UntilClose),
        }
    }
}
