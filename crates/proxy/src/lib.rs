//! weir-proxy CARRIES: sockets in, sockets out, and the policies of `weir-policy` in between.
//!
//! ```text
//!   Handle ── start / commit / drain ──► worker threads, one event loop each
//!                                          │  listen ► http/serve ► http/forward ► upstream/pool
//!                                          │              one client     ONE REQUEST     connections
//!                                          └─ its own listeners, pools, generator, counters; a plan shared by all
//!   Mesh ── cells: one Mutex<Cluster> per cluster id, shared by the workers
//! ```
//! Read `http/forward` first: one request, top to bottom.
//!
//! Does not: read configuration (`weir-config` does) or decide (`weir-policy` does).

mod accept;
mod alarm;
mod buffer;
mod clock;
mod decisions;
mod doors;
mod error;
mod handle;
mod http;
mod limits;
mod listen;
mod log;
mod mesh;
mod numbers;
mod own;
mod parting;
mod pressure;
mod rates;
mod record;
mod shared;
mod stream;
mod tcp;
mod tls;
mod upstream;
mod worker;

pub use decisions::Tap;
pub use error::StartError;
pub use handle::{EndpointState, Handle, Options, start};
pub use listen::Handed;
pub use pressure::Ceilings;
pub use tls::Trouble;
pub use upstream::health::{Silent, ask_health};
