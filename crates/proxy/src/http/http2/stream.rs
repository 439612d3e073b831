//! One stream of a client: its request's body in, the response out.
//!
//! ```text
//!   head waits until it is known whether anything follows ─► HEADERS (END_STREAM) │ HEADERS, DATA…, trailers
//!   a piece of the request is given back to the client's window only when the upstream took it
//! ```
//! Does not: buffer; what the client's window does not take stays with the upstream.

use super::text;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

/// See the module.
pub(crate) struct Stream {
    body: RecvStream,
    reply: Reply,
    /// Bytes of the request that were taken and not given back to its window.
    owed: usize,
    /// Our end of the connection.
    pub(crate) own: Option<SocketAddr>,
}

enum Reply {
    Waiting(SendResponse<Bytes>),
    /// The head is known, and not sent: perhaps nothing follows it.
    Ready(SendResponse<Bytes>, Box<Response<()>>),
    Sending(SendStream<Bytes>),
    /// Ended in order, or reset.
    Over,
}

/// A piece of a request.
pub(crate) enum Piece {
    Data(Bytes),
    /// The request is complete.
    End(Option<HeaderMap>),
}

/// Whether bytes are the last ones of their message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Last {
    Yes,
    No,
}

impl Stream {
    pub(crate) const fn new(body: RecvStream, reply: SendResponse<Bytes>, own: Option<SocketAddr>) -> Self {
        Self { body, reply: Reply::Waiting(reply), owed: 0, own }
    }

    /// The next piece of the request. `Err`: the client reset it, or it is not as long as it said.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, h2::Error>> {
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => {
                self.owed += data.len();
                Poll::Ready(Ok(Piece::Data(data)))
            }
            Some(Err(why)) => Poll::Ready(Err(why)),
            None => self.body.poll_trailers(cx).map_ok(Piece::End),
        }
    }

    /// Is the request complete, trailers and all?
    pub(crate) fn is_complete(&self) -> bool {
        self.body.is_end_stream()
    }

    /// The upstream has taken all that was read so far.
    pub(crate) fn release(&mut self) {
        if self.owed > 0 {
            // It fails for a stream that is over: then nobody waits for the room.
            let _ = self.body.flow_control().release_capacity(std::mem::take(&mut self.owed));
        }
    }

    /// An interim response.
    pub(crate) fn interim(&mut self, head: &[u8]) {
        if let Reply::Waiting(reply) = &mut self.reply {
            // A stream that is over by now is noticed by its reading half.
            let _ = reply.send_informational(text::to_response(head));
        }
    }

    /// The response begins with this head.
    pub(crate) fn begin(&mut self, head: &[u8]) {
        self.reply = match std::mem::replace(&mut self.reply, Reply::Over) {
            Reply::Waiting(reply) => Reply::Ready(reply, Box::new(text::to_response(head))),
            other => other,
        };
    }

    /// An empty reply needs no `content-length: 0`: its stream ends.
    pub(crate) fn end_says_it(&mut self) {
        if let Reply::Ready(_, head) = &mut self.reply
            && head.headers().get(http::header::CONTENT_LENGTH).is_some_and(|length| length == "0")
        {
            head.headers_mut().remove(http::header::CONTENT_LENGTH);
        }
    }

    /// Sends the head when it was not sent yet.
    pub(crate) fn start(&mut self, last: Last) -> io::Result<()> {
        if !matches!(self.reply, Reply::Ready(..)) {
            return Ok(());
        }
        if let Reply::Ready(mut reply, head) = std::mem::replace(&mut self.reply, Reply::Over) {
            let stream = reply.send_response(*head, last == Last::Yes).map_err(gone)?;
            if last == Last::No {
                self.reply = Reply::Sending(stream);
            }
        }
        Ok(())
    }

    /// Sends as much as the client's window takes.
    pub(crate) fn poll_write(&mut self, bytes: &[u8], last: Last, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.start(Last::No)?;
        let Reply::Sending(stream) = &mut self.reply else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let count = ready!(poll_room(stream, bytes.len(), cx))?;
        let end = last == Last::Yes && count == bytes.len();
        stream.send_data(Bytes::copy_from_slice(&bytes[..count]), end).map_err(gone)?;
        if end {
            self.reply = Reply::Over;
        }
        Poll::Ready(Ok(count))
    }

    /// Nothing follows but perhaps trailers.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        match (&self.reply, trailers) {
            (Reply::Ready(..), None) => self.start(Last::Yes),
            (Reply::Ready(..), Some(trailers)) => {
                self.start(Last::No)?;
                self.end(Some(trailers))
            }
            (_, trailers) => self.end(trailers),
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        let Reply::Sending(mut stream) = std::mem::replace(&mut self.reply, Reply::Over) else { return Ok(()) };
        match trailers {
            Some(trailers) => stream.send_trailers(trailers).map_err(gone),
            None => stream.send_data(Bytes::new(), true).map_err(gone),
        }
    }

    /// Ready when the client has reset the stream, or is gone.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.reply {
            Reply::Waiting(reply) | Reply::Ready(reply, _) => reply.poll_reset(cx).map(drop),
            Reply::Sending(stream) => stream.poll_reset(cx).map(drop),
            Reply::Over => Poll::Pending,
        }
    }

    /// The response cannot be brought to its end.
    pub(crate) fn abort(&mut self, reason: Reason) {
        match std::mem::replace(&mut self.reply, Reply::Over) {
            Reply::Waiting(mut reply) | Reply::Ready(mut reply, _) => reply.send_reset(reason),
            Reply::Sending(mut stream) => stream.send_reset(reason),
            Reply::Over => {}
        }
    }
}

/// Room in the peer's window, and in what may be waiting for the socket: at least one byte.
pub(crate) fn poll_room(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    stream.reserve_capacity(wanted);
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(why)) => return Poll::Ready(Err(gone(why))),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
    Poll::Ready(Ok(stream.capacity().min(wanted)))
}

fn gone(why: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, why)
}
