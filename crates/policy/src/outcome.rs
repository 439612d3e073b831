//! What came of one try: the result, how far the request got, and when it was complete.
//!
//! Does not: decide what follows ([`crate::retry`], [`crate::call`]).

use crate::time::Time;
use crate::tls;
use std::time::Duration;

/// One try's end, or for a response its beginning: the head has arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub result: Result,
    pub reached: Reached,
    /// When the client's request was completely received; `None` while it is still coming.
    pub received: Option<Time>,
    pub body: Body,
    pub interim: Interim,
    pub connected: Connected,
}

/// How a try ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Result {
    /// A response head arrived.
    Response(Response),
    /// No connection.
    ConnectFailed(ConnectFailure),
    /// The upstream ended the connection before a response.
    Closed,
    /// The upstream reset the stream.
    Reset,
    /// The upstream refused the stream without looking at it: REFUSED_STREAM, or a GOAWAY that leaves it out.
    RefusedStream,
    /// What the upstream sent is not HTTP.
    Protocol,
    /// A ceiling of ours refused it: nobody's fault upstream.
    Overflow,
    /// This process has no descriptor left for a connection: nobody's fault upstream either.
    Exhausted,
    PerTryTimeout,
    WholeTimeout,
    /// No byte in either direction for too long.
    Idle,
    /// The client sent its body too slowly.
    SlowBody,
    /// The client's own upload was malformed or broke off.
    Upload,
    /// The client went away.
    Abandoned,
}

/// What of a response head matters to policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response {
    pub status: u16,
    /// It carries `x-envoy-ratelimited`: not retried unless `envoy-ratelimited` is asked for.
    pub ratelimited: bool,
    /// A field of it is one that `retriable-headers` asks for.
    pub marked: bool,
    /// `grpc-status`, when the head carries it (a response of trailers only).
    pub grpc: Option<u16>,
    /// The status that outlier detection counts: of a gRPC request, the one that its `grpc-status` stands for.
    pub counted: u16,
    /// What the server itself says about another try.
    pub again: Again,
}

/// `grpc-retry-pushback-ms` (gRPC's retry design A6) or `Retry-After` (RFC 9110 section 10.2.3); ours, not under
/// compatibility istio.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Again {
    /// Nothing: the back-off is ours.
    #[default]
    Unsaid,
    /// Not before: in place of the back-off, if the deadline allows.
    After(Duration),
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectFailure {
    /// Refused or unreachable.
    Refused,
    TimedOut,
    /// Connected, and the handshake failed.
    Tls(tls::Failure),
}

/// How far a request had got upstream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reached {
    /// No byte was written: it cannot have been processed.
    Nothing,
    /// Some of it was.
    Part,
    /// All of it.
    Whole,
}

/// Whether the client's body can be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// There is none, or all that was sent of it is kept.
    Kept,
    /// It was too large, or memory for replays was used up.
    NotKept,
}

/// Whether an interim response (1xx) went to the client: then it has been promised this upstream's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interim {
    None,
    Passed,
}

/// Whether the try had a connection: only then can a time-out be blamed on the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connected {
    No,
    Yes,
}

impl Response {
    /// One that carries nothing but its status.
    pub const fn plain(status: u16) -> Self {
        Self { status, ratelimited: false, marked: false, grpc: None, counted: status, again: Again::Unsaid }
    }
}

impl Outcome {
    /// A response with this status to a request that was sent completely at `received`.
    pub const fn response(status: u16, received: Time) -> Self {
        Self {
            result: Result::Response(Response::plain(status)),
            reached: Reached::Whole,
            received: Some(received),
            body: Body::Kept,
            interim: Interim::None,
            connected: Connected::Yes,
        }
    }

    /// A failure of which nothing had been sent.
    pub const fn unsent(result: Result, received: Option<Time>) -> Self {
        Self {
            result,
            reached: Reached::Nothing,
            received,
            body: Body::Kept,
            interim: Interim::None,
            connected: Connected::No,
        }
    }
}
