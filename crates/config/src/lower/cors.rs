//! `corsPolicy` → [`weir_policy::cors::Rules`].

use super::route::pattern;
use crate::kind::cors::Cors;
use weir_policy::cors::{Credentials, Rules, Unmatched};

/// The rules of a `corsPolicy`, with istiod's joining.
pub fn lower(written: &Cors) -> Rules {
    Rules {
        origins: written.origins.iter().filter_map(pattern).collect(),
        methods: written.methods.join(",").into(),
        headers: written.headers.join(",").into(),
        expose: written.expose.join(",").into(),
        max_age: written.max_age.map(|age| age.as_secs().to_string().into()),
        credentials: if written.credentials { Credentials::Yes } else { Credentials::No },
        unmatched: if written.ignores_unmatched { Unmatched::Ignore } else { Unmatched::Forward },
    }
}
