//! What a request's destination hashes it by; and a cookie for a client that comes without.
//!
//! Does not: know how (`weir_policy::balance::key` does).

use super::serve::Client;
use weir_policy::balance::key::{self, Key};
use weir_policy::plan::Upstream;
use weir_policy::route::Facts;

/// See the module. Of most requests, nothing.
#[derive(Default)]
pub(crate) struct Hashed {
    pub(crate) hash: Option<u64>,
    /// The value of `set-cookie`.
    pub(crate) cookie: Option<String>,
}

impl Hashed {
    pub(crate) fn of(upstream: &Upstream, facts: &Facts<'_>, client: &Client) -> Self {
        let Some(key) = upstream.balance.key() else { return Self::default() };
        let hash = key::of_request(key, facts, client.peer.ip());
        match (hash, key) {
            (None, Key::Cookie(cookie)) if let Some(ttl) = cookie.ttl => {
                let value = value(client);
                Self { hash: Some(key::of_text(value.as_bytes())), cookie: Some(cookie.set(&value, ttl)) }
            }
            _ => Self { hash, cookie: None },
        }
    }
}

/// The same for all requests of one connection, as Envoy makes it: pipelined ones get the same cookie.
fn value(client: &Client) -> String {
    let own = client.line.own_address().map(|own| own.to_string()).unwrap_or_default();
    let both = format!("{}{own}", client.peer);
    format!("{:016x}", key::of_text(both.as_bytes()))
}
