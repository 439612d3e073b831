//! weir-policy DECIDES: every reliability policy of weir, without a clock, a socket or a runtime.
//!
//! ```text
//!   facts of a request ──► route ──► Call ──► Step ──► (the wet side acts) ──► Outcome ──► Call ──► …
//!                          Table      │ start / woke / answered / ended
//!                                     ▼
//!                                  Cluster   living state of one upstream: in-flight, budget, counters
//! ```
//!
//! Each policy is one file: its `Rules` (compiled settings), its living state, its tests. `now` is always an
//! argument, randomness comes from a seeded [`rng::Rng`]. Read [`call`] first: it is the life of one request.
//!
//! Does not: read a clock, open a socket, spawn, sleep, allocate on the path of a request that is not retried.

pub mod balance;
pub mod budget;
pub mod call;
pub mod cluster;
pub mod connection;
pub mod cors;
pub mod decision;
pub mod discovery;
pub mod drive;
pub mod effective;
pub mod fault;
pub mod filter;
pub mod flag;
pub mod flood;
pub mod fold;
pub mod format;
pub mod grpc;
pub mod inflight;
pub mod limit;
pub mod origin;
pub mod outcome;
pub mod outlier;
pub mod pace;
pub mod path;
pub mod place;
pub mod plan;
pub mod rate;
pub mod refusal;
pub mod retry;
pub mod rng;
pub mod route;
pub mod share;
pub mod spread;
pub mod tcp;
pub mod time;
pub mod timeout;
pub mod tls;
pub mod trail;
pub mod trust;
pub mod turnout;
pub mod window;
pub mod wish;
