//! What a connection to an endpoint may do: how long to dial, to idle, how many requests it carries.
//!
//! Does not: hold connections (`proxy/upstream/pool`) or count them ([`crate::inflight`]).

use crate::tls;
use std::sync::Arc;
use std::time::Duration;

/// `trafficPolicy.connectionPool` as far as it concerns one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// `tcp.connectTimeout`; Istio's default 10 s. Expiry is a connection failure.
    pub connect_timeout: Duration,
    /// `http.idleTimeout`, else `tcp.idleTimeout`; default 1 h. `None` = never.
    pub idle_timeout: Option<Duration>,
    /// `http.maxRequestsPerConnection`; 0 = unlimited, 1 = no keep-alive.
    pub max_requests: u32,
    /// `tcp.maxConnectionDuration`: after it a connection is not used again.
    pub max_duration: Option<Duration>,
    /// `tcp.tcpKeepalive`.
    pub keepalive: Option<Keepalive>,
    /// What is spoken upstream.
    pub speaks: Speaks,
    /// `http.maxConcurrentStreams`: requests at the same time on one HTTP/2 connection; with more, another is opened.
    /// Default 2147483647, as Istio's.
    pub streams: u32,
    /// `http.http2KeepAlive`.
    pub ping: Option<Ping>,
    /// `trafficPolicy.tls`; `None` = in the clear.
    pub tls: Option<Arc<tls::Client>>,
    /// `trafficPolicy.proxyProtocol`: the endpoint is told who the client is, before the first byte. TCP only.
    pub told: Option<Told>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    V1,
    V2,
}

/// Which version of HTTP an endpoint is spoken to in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Speaks {
    #[default]
    Http1,
    /// The port's protocol is HTTP2 or GRPC (or GRPC-WEB), or `h2UpgradePolicy: UPGRADE`.
    Http2,
    /// `useClientProtocol`: as the client speaks.
    AsClient,
}

/// HTTP/2 PINGs on a connection, so that a dead one is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ping {
    /// Between an answer and the next PING.
    pub interval: Duration,
    /// An answer must come within; the connection is dead without.
    pub timeout: Duration,
}

/// Istio's default of `http.maxConcurrentStreams`.
pub const MOST_STREAMS: u32 = i32::MAX as u32;

/// TCP keep-alive probes; a part that is unset is the operating system's.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Keepalive {
    pub time: Option<Duration>,
    pub interval: Option<Duration>,
    pub probes: Option<u32>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(3600)),
            max_requests: 0,
            max_duration: None,
            keepalive: None,
            speaks: Speaks::Http1,
            streams: MOST_STREAMS,
            ping: None,
            tls: None,
            told: None,
        }
    }
}
