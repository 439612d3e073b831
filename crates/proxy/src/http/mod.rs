//! One client connection, one request, its two halves; HTTP/1.1, and in `http2` where frames become the same.

pub(crate) mod answer;
pub(crate) mod carrier;
pub(crate) mod demand;
pub(crate) mod desk;
pub(crate) mod exchange;
pub(crate) mod filters;
pub(crate) mod forward;
mod hash;
pub(crate) mod headers;
pub(crate) mod http2;
pub(crate) mod inquiry;
pub(crate) mod line;
pub(crate) mod mirror;
pub(crate) mod relay;
pub(crate) mod reply;
pub(crate) mod serve;
mod shape;
mod switch;
pub(crate) mod terms;
mod tunnel;
pub(crate) mod upload;
mod values;
