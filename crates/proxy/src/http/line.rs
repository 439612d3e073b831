//! The way to a client, for one request: its connection, or a stream of it.
//!
//! Does not: know what passes.

use super::http2::stream::{Last, Stream};
use super::relay::Relayed;
use crate::stream::Stream as Connection;
use h2::Reason;
use http::HeaderMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// See the module.
pub(crate) enum Line {
    Http1(Connection),
    Http2(Box<Stream>),
}

impl Line {
    /// Our end of the connection.
    pub(crate) fn own_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(stream) => stream.local_addr().ok(),
            Self::Http2(stream) => stream.own,
        }
    }

    /// A response's head stands alone in `down`: HTTP/2 takes it from there, HTTP/1.1 sends it with what follows.
    pub(crate) fn begin(&mut self, down: &mut Vec<u8>) {
        if let Self::Http2(stream) = self {
            stream.begin(down);
            down.clear();
        }
    }

    /// More will follow, later: the head need not wait for it.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        match self {
            Self::Http1(_) => Ok(()),
            Self::Http2(stream) => stream.start(Last::No),
        }
    }

    /// Writes what the client takes.
    pub(crate) fn poll_write(&mut self, bytes: &[u8], last: Last, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::Http1(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Http2(stream) => stream.poll_write(bytes, last, cx),
        }
    }

    /// A response that did not come to its end.
    pub(crate) fn after(&mut self, relayed: Relayed) {
        match (self, relayed) {
            (_, Relayed::Complete) => {}
            // A reset: what it has not read must not stay in the kernel's buffers for minutes.
            (Self::Http1(stream), Relayed::SlowReader) => {
                let _ = socket2::SockRef::from(stream.socket()).set_linger(Some(std::time::Duration::ZERO));
            }
            (Self::Http1(_), _) => {}
            (Self::Http2(stream), Relayed::UpstreamCut) => stream.abort(Reason::INTERNAL_ERROR),
            (Self::Http2(stream), _) => stream.abort(Reason::CANCEL),
        }
    }

    /// The response is over. In HTTP/1.1 its framing has said so already.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        match self {
            Self::Http1(_) => Ok(()),
            Self::Http2(stream) => stream.finish(trailers),
        }
    }
}
