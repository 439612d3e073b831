//! weir-sim IMAGINES: the very policies of the data path, in virtual time.
//!
//! ```text
//!   traffic ──► world ──start / woke / answered / ended──► weir_policy::call ──► Step ──► world
//!                │  ▲                                                                      │
//!                ▼  └──────────────── queue: events by time, then by plan ◄────────────────┘
//!             pool ──► servers: modelled (latency, workers, failures, outages) or scripted
//! ```
//! There is no second copy of a policy here: the world only carries steps out. Same seed, same bytes. Read [`world`]
//! first; [`script`] is the form of `testdata/script`.
//!
//! Does not: read a clock, open a socket, or know YAML.

pub mod event;
pub mod gate;
pub mod histogram;
pub mod latency;
pub mod modelled;
pub mod pool;
pub mod queue;
pub mod report;
pub mod script;
pub mod server;
mod service;
pub mod trace;
pub mod traffic;
pub mod world;
