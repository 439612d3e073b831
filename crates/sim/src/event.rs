//! What the queue of a simulated world holds.
//!
//! Does not: act; [`crate::world`] does.

use std::net::SocketAddr;
use std::time::Duration;
use weir_policy::outcome::{Body, ConnectFailure, Interim, Reached, Response, Result};

/// One moment of one call: out of date as soon as the call takes its next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// Where the call is kept.
    pub slot: u32,
    /// Its step; no other step of any call has this number.
    pub step: u64,
}

/// What comes back of a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    pub result: Result,
    pub reached: Reached,
    pub body: Body,
    pub interim: Interim,
    /// From the head of a response to its end.
    pub tail: Duration,
}

impl Reply {
    /// A response with this status; its end comes with its head.
    pub const fn status(status: u16) -> Self {
        Self::of(Result::Response(Response::plain(status)), Reached::Whole)
    }

    /// Any result.
    pub const fn of(result: Result, reached: Reached) -> Self {
        Self { result, reached, body: Body::Kept, interim: Interim::None, tail: Duration::ZERO }
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A source of traffic sends a request.
    Arrive { source: usize },
    /// A wait is over.
    Woke(Ticket),
    /// A connection was opened, or was not.
    Dialled(Ticket, Option<ConnectFailure>),
    /// A try has an outcome.
    Reply(Ticket, Reply),
    /// A try has taken too long.
    Deadline(Ticket, Look),
    /// A response was passed on to its end, or is cut off.
    End(Ticket, End),
    /// The client has waited long enough. `call` is its number.
    Leave { slot: u32, call: u64 },
    /// A worker of a modelled server is done with a try.
    Done { service: usize, address: SocketAddr, job: Ticket },
    /// The next of what was planned for the run.
    Planned(usize),
}

/// A response that comes at the very moment of the deadline is in time: the deadline looks twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    First,
    Second,
}

/// How passing a response on ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Whole,
    CutOff,
    /// The client left.
    Left,
}
