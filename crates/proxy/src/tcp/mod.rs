//! Connections that carry no requests: told apart by their first bytes, led to an endpoint, passed on.
//!
//! ```text
//!   meet ─► TLS that is not ended here? ─► opening: the name ─┬─► a server that ends TLS ─► requests: http/serve
//!                                                             │                            └ bytes ─┐
//!                                                             └─► carry: rule ─► endpoint ─► pump ◄──┘
//! ```

pub(crate) mod announced;
pub(crate) mod carry;
pub(crate) mod meet;
pub(crate) mod opening;
pub(crate) mod pump;
pub(crate) mod record;
