//! `connectionPool` → [`weir_policy::connection::Rules`].

use crate::kind::destination_rule::Pool;
use std::time::Duration;
use weir_policy::connection::{Rules, Speaks};

/// `mesh` is `Mesh.spec.connectTimeout`, `protocol` the port's, upper case. `http.idleTimeout` wins over
/// `tcp.idleTimeout`.
pub fn lower(pool: Option<&Pool>, protocol: &str, mesh: Option<Duration>) -> Rules {
    let default = Rules::default();
    let connect_timeout = mesh.unwrap_or(default.connect_timeout);
    let speaks = if is_http2(protocol) { Speaks::Http2 } else { Speaks::Http1 };
    let Some(pool) = pool else { return Rules { connect_timeout, speaks, ..default } };
    Rules {
        connect_timeout: pool.connect_timeout.unwrap_or(connect_timeout),
        idle_timeout: pool.http_idle.or(pool.tcp_idle).or(default.idle_timeout),
        max_requests: pool.per_connection.unwrap_or(default.max_requests),
        max_duration: pool.max_duration,
        keepalive: pool.keepalive,
        // `useClientProtocol` wins over the port's protocol, as in istiod.
        speaks: pool.speaks.unwrap_or(speaks),
        streams: pool.streams.unwrap_or(default.streams),
        ping: pool.ping,
        tls: None,
        told: None,
    }
}

fn is_http2(protocol: &str) -> bool {
    matches!(protocol, "HTTP2" | "GRPC" | "GRPC-WEB")
}
