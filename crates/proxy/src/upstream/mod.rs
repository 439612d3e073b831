//! Connections to endpoints: lent, returned, dialled.

pub(crate) mod connect;
pub(crate) mod health;
pub(crate) mod lane;
pub(crate) mod pool;
pub(crate) mod resolve;
pub(crate) mod ride;
pub(crate) mod shared;
pub(crate) mod trunk;
