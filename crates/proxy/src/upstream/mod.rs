//! Connections to endpoints: lent, returned, dialled.

pub(crate) mod connect;
pub(crate) mod pool;
pub(crate) mod resolve;
