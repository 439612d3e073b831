//! weir-observe COUNTS: what happened, as Prometheus series and access lines.
//!
//! ```text
//!   worker ─ record ─► Shard (its own; counters that only it adds to) ─┐
//!   worker ─ record ─► Shard                                          ─┼─► render: summed, as text
//!   cluster counts, process counts ───────────────────────────────────┘
//!   one request ─► Line ─► JSON or text
//! ```
//! Does not: read a clock, write to a socket, or know what a proxy is.

pub mod access;
pub mod clusters;
pub mod expose;
pub mod filters;
pub mod histogram;
pub mod registry;
pub mod shard;
pub mod tcp;

pub use access::Line;
pub use clusters::{ClusterNumbers, Distribution, Ejections, EndpointState};
pub use expose::render;
pub use filters::{KeyNumbers, LimitNumbers};
pub use registry::{Limit, Lookups, Registry, ServiceLabels, Source};
pub use shard::{Protocol, Sample, Series, SeriesKey, Shard};
pub use tcp::{TcpKey, TcpNumbers};
