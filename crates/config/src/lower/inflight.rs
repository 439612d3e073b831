//! `connectionPool` → [`weir_policy::inflight::Rules`].

use crate::kind::destination_rule::Pool;
use weir_policy::budget;
use weir_policy::inflight::Rules;

/// A written retry budget replaces `maxRetries`.
pub fn lower(pool: Option<&Pool>, budget: &budget::Rules) -> Rules {
    let none = Rules::default();
    let Some(pool) = pool else { return none };
    let retries = match budget {
        budget::Rules::Written(_) => none.retries,
        budget::Rules::Default | budget::Rules::Off => pool.max_retries.unwrap_or(none.retries),
    };
    Rules {
        connections: pool.max_connections.unwrap_or(none.connections),
        pending: pool.max_pending.unwrap_or(none.pending),
        requests: pool.max_requests.unwrap_or(none.requests),
        retries,
    }
}
