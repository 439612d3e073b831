//! weir-ledger TALLIES: a closed-loop client, a backend, and the books that must agree. For tests; not part of weir.
//!
//! ```text
//!   client ── unique id in every request ──► (weir) ──► backend
//!     │ its book                              │ log, metrics │ its book
//!     └──────────── per status class all of them say the same ┘
//! ```
//! A retry by the client would hide a loss, so it never does one. The one thing counted apart is a connection that was
//! kept and is found closed before a byte of the answer (`stale`); the goal for it is 0 too.
//! Does not: know weir; any proxy can stand between.

mod backend;
mod book;
mod client;
mod framed;
mod framed_backend;
mod glance;

pub use backend::{Backend, Faults};
pub use book::{Book, Counts, count_log, count_metrics};
pub use client::{Load, Running, Speaks};
pub use framed::Talk;
