//! One HTTP/2 connection of a client: streams are taken in, each is a request with a task of its own.
//!
//! ```text
//!   preface ─► handshake ─► accept ─► stream ─► head as text ─► parsed ─► forward
//!                 │            └─ drain, idle: GOAWAY 2³¹−1, a PING, GOAWAY with the last id; streams end in order
//!                 └─ flood: GOAWAY ENHANCE_YOUR_CALM, closed
//! ```
//! What is written is flushed once per turn. Does not: route or answer (`forward` does).

use super::pipe::{End, Pipe, Verdict};
use super::stream::Stream;
use super::text::{self, Rest};
use crate::alarm::Alarm;
use crate::buffer::{Buf, Scratch};
use crate::http::desk::{Desks, Job};
use crate::http::filters::Own;
use crate::http::line::Line;
use crate::http::reply::Voice;
use crate::http::serve::{self, Client, Turn};
use crate::http::{forward, reply};
use crate::mesh::Door;
use crate::parting::Parting;
use crate::stream::Stream as Socket;
use crate::tls::greet::Secured;
use crate::upstream::trunk::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW};
use crate::worker::{Activity, Place, Worker};
use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use weir_wire::frame::Fault;
use weir_wire::{Malformed, Parsed, Version};

/// Streams at once of a client inside the mesh, as Istio's sidecars allow.
const MESH_STREAMS: u32 = 1024;
/// Streams that the peer reset, or made us reset, before it is sent away.
const RESETS: usize = 128;
/// How long a peer may take to read our GOAWAY.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LAST_BYTES: usize = 256 * 1024;

type Connection = server::Connection<End, Bytes>;
type Arrived = (Request<RecvStream>, SendResponse<Bytes>);

/// What a connection's streams share.
struct Session {
    worker: Rc<Worker>,
    key: usize,
    peer: SocketAddr,
    own: Option<SocketAddr>,
    door: Door,
    secured: Option<Arc<Secured>>,
    /// Tokens of limits that count for the connection.
    limits: Rc<Own>,
    /// Streams under way.
    streams: Cell<u32>,
}

/// A stream under way.
struct Under(Rc<Session>);

/// A stream that is to be answered.
pub(crate) struct Begun {
    under: Under,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

/// Serves a client that has sent `first`, which begins as an HTTP/2 connection does.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    place: Place,
    socket: Socket,
    secured: Option<Arc<Secured>>,
    peer: SocketAddr,
    door: Door,
    first: Buf,
) {
    let own = socket.local_addr().ok();
    let pipe = Pipe::from_client(socket, first, worker.mesh.clock);
    let session = Rc::new(Session {
        worker: Rc::clone(&worker),
        key: place.key,
        peer,
        own,
        door,
        secured,
        limits: Rc::default(),
        streams: Cell::new(0),
    });
    let parting = Parting::new();
    worker.may_part(place.key, &parting);
    if let Some(mut connection) = shake_hands(&session, &pipe).await {
        session.rest();
        poll_fn(|cx| session.poll(&mut connection, &pipe, &parting, cx)).await;
    }
    linger(&pipe).await;
}

/// The settings and the preface, within the time of a request head.
async fn shake_hands(session: &Session, pipe: &Rc<Pipe>) -> Option<Connection> {
    let limits = session.worker.live().plan.settings.limits.clone();
    let streams = if matches!(session.door, Door::Gateway { .. }) { limits.streams } else { MESH_STREAMS };
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(streams)
        .max_header_list_size(limits.request_head)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(Some(RESETS));
    let mut handshake = std::pin::pin!(builder.handshake::<_, Bytes>(End(Rc::clone(pipe))));
    let shaken = poll_fn(|cx| {
        let done = handshake.as_mut().poll(cx);
        match pipe.poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Err(())),
            _ => done.map_err(|_| ()),
        }
    });
    match tokio::time::timeout(limits.head_timeout, shaken).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(())) => {
            session.worker.mesh.registry.malformed("h2_preface");
            None
        }
        Err(_) => {
            session.worker.mesh.registry.malformed("head_timeout");
            None
        }
    }
}

impl Session {
    /// No stream is under way.
    fn rest(&self) {
        self.worker.mark(self.key, Activity::Idle { since: self.worker.now() });
    }

    /// Ready when the connection is over.
    fn poll(
        self: &Rc<Self>,
        connection: &mut Connection,
        pipe: &Pipe,
        parting: &Parting,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            if parting.poll_told(cx).is_ready() {
                connection.graceful_shutdown();
            }
            let accepted = connection.poll_accept(cx);
            if let Some(verdict) = pipe.take_verdict() {
                self.send_away(connection, verdict);
                continue;
            }
            match accepted {
                Poll::Ready(Some(Ok(arrived))) => self.begin(arrived),
                Poll::Ready(Some(Err(why))) => {
                    self.note(&why);
                    // What it said last may still be on its way out.
                    return pipe.poll_flush(cx).map(drop);
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {
                    return match pipe.poll_flush(cx) {
                        Poll::Ready(Err(_)) => Poll::Ready(()),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }

    fn send_away(&self, connection: &mut Connection, verdict: Verdict) {
        let (word, reason) = match verdict {
            Verdict::Flood(flood) => (flood.word(), Reason::ENHANCE_YOUR_CALM),
            Verdict::Fault(Fault::Size) => ("h2_frame_size", Reason::FRAME_SIZE_ERROR),
            Verdict::Fault(Fault::Window) => ("h2_flow_control", Reason::FLOW_CONTROL_ERROR),
            Verdict::Fault(Fault::Protocol) => ("h2_protocol", Reason::PROTOCOL_ERROR),
        };
        self.worker.mesh.registry.malformed(word);
        connection.abrupt_shutdown(reason);
    }

    /// The client broke the protocol, or is gone.
    fn note(&self, why: &h2::Error) {
        if why.is_library() && why.is_go_away() {
            let word = match why.reason() {
                Some(Reason::ENHANCE_YOUR_CALM) => "h2_calm",
                Some(Reason::FLOW_CONTROL_ERROR) => "h2_flow_control",
                Some(Reason::FRAME_SIZE_ERROR) => "h2_frame_size",
                Some(Reason::COMPRESSION_ERROR) => "h2_compression",
                _ => "h2_protocol",
            };
            self.worker.mesh.registry.malformed(word);
        }
    }

    fn begin(self: &Rc<Self>, (request, respond): Arrived) {
        if self.streams.get() == 0 {
            self.worker.mark(self.key, Activity::Busy);
        }
        self.streams.set(self.streams.get() + 1);
        let worker = Rc::clone(&self.worker);
        let job = Job::Stream(Box::new(Begun { under: Under(Rc::clone(self)), request, respond }));
        tokio::task::spawn_local(async move {
            if Desks::work(&worker, job).await.is_none() {
                worker.mesh.registry.panicked();
            }
        });
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        let session = &self.0;
        session.streams.set(session.streams.get() - 1);
        if session.streams.get() == 0 {
            session.rest();
        }
    }
}

/// One request.
pub(crate) async fn run(begun: Begun) {
    let Begun { under, request, respond } = begun;
    let (session, worker) = (&under.0, &under.0.worker);
    let (head, body) = request.into_parts();
    let rest = if body.is_end_stream() { Rest::Nothing } else { Rest::Something };
    let mut client = Client {
        line: Line::Http2(Box::new(Stream::new(body, respond, session.own))),
        peer: session.peer,
        door: session.door,
        secured: session.secured.clone(),
        alarm: Alarm::default(),
        clock: Rc::clone(&worker.clock),
        opened: None,
        turn: Turn::Later,
        own: Rc::clone(&session.limits),
    };
    let mut scratch = worker.buffers.lend();
    match read(worker, &head, rest, &mut scratch) {
        Ok(()) if serve::is_ambiguous_at_the_edge(&client, &scratch) => {
            worker.mesh.registry.malformed("underscore");
            reply::malformed(worker, &mut client, &mut scratch, 400, Voice::Codec).await;
        }
        Ok(()) => {
            forward::forward(worker, &mut client, &mut scratch).await;
        }
        Err(why) => {
            worker.mesh.registry.malformed(why.words());
            reply::malformed(worker, &mut client, &mut scratch, why.status(), Voice::Codec).await;
        }
    }
    worker.buffers.give_back(scratch);
}

/// The head as if it had come in HTTP/1.1, and judged as strictly.
fn read(worker: &Worker, head: &http::request::Parts, rest: Rest, scratch: &mut Scratch) -> Result<(), Malformed> {
    let limits = serve::head_limits(worker);
    if head.headers.len() > limits.fields {
        return Err(Malformed::TooManyFields);
    }
    let written = &mut scratch.way.down;
    text::of_request(written, head, rest)?;
    scratch.head.clear();
    scratch.rest.clear();
    scratch.head.put(written);
    scratch.request.restart();
    match weir_wire::parse_request(scratch.head.unread(), &limits, &mut scratch.request)? {
        Parsed::Complete => {
            scratch.request.version = Version::Http2;
            Ok(())
        }
        Parsed::Partial => Err(Malformed::Target),
    }
}

/// Reads on for a moment, so that the peer reads our GOAWAY before it sees a reset.
async fn linger(pipe: &Pipe) {
    let mut waste = vec![0; 16 * 1024];
    let mut seen = 0;
    let drained = poll_fn(|cx| {
        loop {
            match pipe.poll_drained(&mut waste, cx) {
                Poll::Ready(Ok(count)) if count > 0 && seen < LAST_BYTES => seen += count,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    // Out of time or done: either way the connection is closed now.
    let _ = tokio::time::timeout(LAST_WORDS, drained).await;
}
