//! `connectionPool` → [`weir_policy::connection::Rules`].

use crate::kind::destination_rule::Pool;
use std::time::Duration;
use weir_policy::connection::Rules;

/// `mesh` is `Mesh.spec.connectTimeout`. `http.idleTimeout` wins over `tcp.idleTimeout`.
pub fn lower(pool: Option<&Pool>, mesh: Option<Duration>) -> Rules {
    let default = Rules::default();
    let connect_timeout = mesh.unwrap_or(default.connect_timeout);
    let Some(pool) = pool else { return Rules { connect_timeout, ..default } };
    Rules {
        connect_timeout: pool.connect_timeout.unwrap_or(connect_timeout),
        idle_timeout: pool.http_idle.or(pool.tcp_idle).or(default.idle_timeout),
        max_requests: pool.per_connection.unwrap_or(default.max_requests),
        max_duration: pool.max_duration,
        keepalive: pool.keepalive,
    }
}
