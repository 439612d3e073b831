//! HTTP/1.1: one client connection, one request, its two halves.

pub(crate) mod answer;
pub(crate) mod carrier;
pub(crate) mod exchange;
pub(crate) mod filters;
pub(crate) mod forward;
mod hash;
pub(crate) mod headers;
pub(crate) mod inquiry;
pub(crate) mod relay;
pub(crate) mod reply;
pub(crate) mod serve;
pub(crate) mod terms;
pub(crate) mod upload;
