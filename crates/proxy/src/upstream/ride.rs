//! One try's stream on a shared HTTP/2 connection.
//!
//! ```text
//!   text of the head ─► HEADERS, pieces ─► DATA, trailers        head: awaited, informational ones first
//!   a piece of the response is given back to the upstream's window when the client took it: at the next read
//! ```
//! Dropping it frees its place; a stream that is not over is reset. Does not: choose the connection (`shared` does).

use super::trunk::Seat;
use crate::buffer::{Buf, Read};
use crate::http::http2::stream::{Last, poll_room};
use crate::http::http2::text::{self, Rest};
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http::response::Parts;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use weir_policy::outcome::{Reached, Result as Ended};

/// See the module.
pub(crate) struct Ride {
    pub(crate) seat: Seat,
    state: State,
    send: Option<SendStream<Bytes>>,
    /// Bytes of the response that were read and not given back to its window.
    owed: usize,
    early: Early,
    trailers: Option<HeaderMap>,
}

/// What was seen of the response's body before it was asked for.
enum Early {
    Nothing,
    Data(Bytes),
    /// Its end; the trailers are kept.
    End,
    Broken,
}

enum State {
    Fresh,
    Asked(ResponseFuture),
    Answering(RecvStream),
    /// It could not be sent.
    Failed(Fault),
}

/// Why a stream ended, and how far the request can have got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) ended: Ended,
    /// `Nothing` where the upstream says that it did not look at it.
    pub(crate) reached: Option<Reached>,
}

/// What came first: an interim response, or the final one's head.
pub(crate) struct Answer {
    pub(crate) head: Parts,
    pub(crate) rest: Rest,
}

impl Fault {
    const UNSENT: Self = Self { ended: Ended::Closed, reached: Some(Reached::Nothing) };

    fn of(why: &h2::Error) -> Self {
        let refused = why.is_remote() && (why.is_go_away() || why.reason() == Some(Reason::REFUSED_STREAM));
        if refused {
            return Self { ended: Ended::RefusedStream, reached: Some(Reached::Nothing) };
        }
        let ended = match why {
            _ if why.is_io() => Ended::Closed,
            _ if why.reason() == Some(Reason::PROTOCOL_ERROR) => Ended::Protocol,
            _ if why.is_remote() => Ended::Reset,
            // We found that what it sends is not HTTP/2.
            _ => Ended::Protocol,
        };
        Self { ended, reached: None }
    }
}

impl Ride {
    pub(crate) const fn new(seat: Seat) -> Self {
        Self { seat, state: State::Fresh, send: None, owed: 0, early: Early::Nothing, trailers: None }
    }

    /// Sends the head, which must be whole in the first bytes, or as much data as the window takes.
    pub(crate) fn poll_write(&mut self, bytes: &[u8], last: Last, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match (&self.state, &mut self.send) {
            (State::Fresh, _) => {
                if ready!(self.seat.poll_ready(cx)).is_err() {
                    return self.fail(Fault::UNSENT);
                }
                self.send_head(bytes, last)
            }
            (_, Some(send)) => {
                let count = ready!(poll_room(send, bytes.len(), cx))?;
                let end = last == Last::Yes && count == bytes.len();
                let sent = send.send_data(Bytes::copy_from_slice(&bytes[..count]), end);
                if end {
                    self.send = None;
                }
                Poll::Ready(sent.map(|()| count).map_err(|_| io::ErrorKind::BrokenPipe.into()))
            }
            (_, None) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn send_head(&mut self, bytes: &[u8], last: Last) -> Poll<io::Result<usize>> {
        let length = text::head_length(bytes);
        let Some(request) = text::to_request(&bytes[..length]) else {
            return self.fail(Fault { ended: Ended::Protocol, reached: Some(Reached::Nothing) });
        };
        let end = last == Last::Yes && length == bytes.len();
        match self.seat.send(request, end) {
            Ok((response, send)) => {
                self.state = State::Asked(response);
                self.send = (!end).then_some(send);
                Poll::Ready(Ok(length))
            }
            // The connection is over, and nothing was put into a frame: another may carry it.
            Err(why) if why.is_io() || why.is_go_away() || why.is_reset() => self.fail(Fault::UNSENT),
            // Of no form that HTTP/2 has, on any connection.
            Err(_) => self.fail(Fault { ended: Ended::Protocol, reached: Some(Reached::Nothing) }),
        }
    }

    fn fail(&mut self, fault: Fault) -> Poll<io::Result<usize>> {
        self.state = State::Failed(fault);
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Nothing of the request follows but perhaps trailers.
    pub(crate) fn finish(&mut self, trailers: &[u8]) {
        if let Some(mut send) = self.send.take() {
            // A stream that is over is noticed by its reading half.
            let _ = match trailers {
                [] => send.send_data(Bytes::new(), true),
                lines => send.send_trailers(text::to_fields(lines)),
            };
        }
    }

    /// The next head: interim ones come before the final one.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Fault>> {
        let response = match &mut self.state {
            State::Fresh => return Poll::Pending,
            State::Failed(fault) => return Poll::Ready(Err(*fault)),
            State::Answering(_) => return Poll::Ready(Err(Fault { ended: Ended::Protocol, reached: None })),
            State::Asked(response) => response,
        };
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            return Poll::Ready(match interim {
                Ok(head) => Ok(Answer { head: head.into_parts().0, rest: Rest::Something }),
                Err(why) => Err(Fault::of(&why)),
            });
        }
        match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let rest = if body.is_end_stream() { Rest::Nothing } else { Rest::Something };
                self.state = State::Answering(body);
                Poll::Ready(Ok(Answer { head, rest }))
            }
            Err(why) => Poll::Ready(Err(Fault::of(&why))),
        }
    }

    /// Looks at what follows the head: ready when something has come.
    pub(crate) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (State::Answering(body), Early::Nothing) = (&mut self.state, &self.early) else { return Poll::Ready(()) };
        self.early = match ready!(body.poll_data(cx)) {
            Some(Ok(data)) => Early::Data(data),
            Some(Err(_)) => Early::Broken,
            None => match ready!(body.poll_trailers(cx)) {
                Ok(trailers) => {
                    self.trailers = trailers;
                    Early::End
                }
                Err(_) => Early::Broken,
            },
        };
        Poll::Ready(())
    }

    /// What follows the body, when it is here already.
    pub(crate) const fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Reads a piece of the response's body. What was read before has been taken by the client.
    pub(crate) fn poll_fill(&mut self, into: &mut Buf, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        let State::Answering(body) = &mut self.state else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if self.owed > 0 {
            // It fails for a stream that is over: then nobody waits for the room.
            let _ = body.flow_control().release_capacity(std::mem::take(&mut self.owed));
        }
        let broken = |why: h2::Error| io::Error::other(why);
        match std::mem::replace(&mut self.early, Early::Nothing) {
            Early::Nothing => {}
            Early::Data(data) => {
                self.owed += data.len();
                into.put(&data);
                return Poll::Ready(Ok(Read::Some));
            }
            Early::End => return Poll::Ready(Ok(Read::End)),
            Early::Broken => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
        match ready!(body.poll_data(cx)) {
            Some(Ok(data)) => {
                self.owed += data.len();
                into.put(&data);
                Poll::Ready(Ok(Read::Some))
            }
            // The answer is complete, and the upstream does not want the rest of the request (section 8.1).
            Some(Err(why)) if why.reason() == Some(Reason::NO_ERROR) && why.is_reset() => Poll::Ready(Ok(Read::End)),
            Some(Err(why)) => Poll::Ready(Err(broken(why))),
            None => {
                self.trailers = ready!(body.poll_trailers(cx)).map_err(broken)?;
                Poll::Ready(Ok(Read::End))
            }
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(&self.early, Early::Nothing) && matches!(&self.state, State::Answering(body) if body.is_end_stream())
    }

    /// What came behind the body.
    pub(crate) const fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }
}
