//! HTTP/2 on the client's side: one connection, its streams, and the edge where frames become a head.
//!
//! ```text
//!   serve ── connection ──► stream ── request: written as an HTTP/1.1 head, parsed, forwarded like any other
//!     │                        └───── response: the head's text becomes fields again, the body DATA
//!     └─ pipe: gathers what is written per turn, counts the frames that come in
//! ```
//! Does not: read or write frames (the h2 crate does).

pub(crate) mod pipe;
pub(crate) mod serve;
pub(crate) mod stream;
pub(crate) mod text;
