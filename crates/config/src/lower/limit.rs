//! LocalRateLimit → [`weir_policy::limit::Rules`].

use crate::kind::envoy_filter::limit::LocalRateLimit;
use std::sync::Arc;
use weir_policy::grpc;
use weir_policy::limit::Rules;
use weir_policy::share::Share;

/// The rules of one bucket (and those of its descriptors), under their id.
pub fn lower(written: &LocalRateLimit, id: Arc<str>) -> Rules {
    Rules {
        descriptors: written.descriptors.clone(),
        default_use: written.default_use,
        enabled: written.enabled.unwrap_or(Share::NONE),
        enforced: written.enforced.unwrap_or(Share::NONE),
        // A success would not tell the client that it was refused.
        status: written.status.filter(|status| *status >= 400).unwrap_or(429),
        grpc_status: if written.exhausted { grpc::RESOURCE_EXHAUSTED } else { grpc::UNAVAILABLE },
        scope: written.scope,
        tell: written.tell,
        response: written.response.clone(),
        over: written.over.clone(),
        ..Rules::new(id, written.fill)
    }
}
