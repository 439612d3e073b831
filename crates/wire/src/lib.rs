//! weir-wire SPEAKS: HTTP/1.1 heads and bodies, bytes in, events out; and reads what stands in front of them: a TLS
//! client's name, the PROXY protocol.
//!
//! ```text
//!   bytes ─► head: one pass, spans over the buffer it came in ─► the proxy's edits ─► write: one pass out
//!         ─► body: length │ chunked │ until close ─► pieces of the same buffer
//! ```
//! Strict RFC 9112: what is not the grammar is refused, never repaired, so no two readers can understand it
//! differently. httparse serves as the second opinion in the tests.
//!
//! Does not: read, allocate per field, or decide.

pub mod body;
mod facts;
pub mod field;
pub mod frame;
pub mod grpc_health;
pub mod head;
pub mod hello;
pub mod hops;
pub mod malformed;
pub mod proxy_protocol;
mod scan;
pub mod span;
pub mod target;
pub mod write;

pub use body::{Body, Step};
pub use field::{Field, Name, Names};
pub use head::{
    Connection, Framing, Limits, Parsed, RequestHead, RequestKind, ResponseHead, Version, parse_request, parse_response,
};
pub use hello::{Hello, LARGEST_HELLO, read_hello};
pub use hops::Hops;
pub use malformed::Malformed;
pub use proxy_protocol::{Ends, LARGEST_PROXY, Proxied, ProxyVersion, read_proxy, write_proxy};
pub use span::Span;
pub use target::{Target, split_target, valid_host};
