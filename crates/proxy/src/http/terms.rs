//! The terms of one call: its route's retries and timeouts, and what a trusted client asks for itself.
//!
//! Does not: read values (`weir_policy::wish` does).

use super::serve::Client;
use crate::mesh::{Door, Live};
use std::sync::Arc;
use weir_policy::decision;
use weir_policy::retry;
use weir_policy::route::Destination;
use weir_policy::wish::{Late, Wishes};
use weir_policy::{timeout, trust};
use weir_wire::{Name, RequestHead};

/// See the module.
pub(crate) struct Terms {
    pub(crate) retry: Option<Arc<retry::Rules>>,
    pub(crate) timeout: timeout::Rules,
    pub(crate) late: Late,
    /// Retries and timeouts again, when they are the client's wish.
    pub(crate) wished: Option<decision::Terms>,
}

impl Terms {
    pub(crate) fn of(
        destination: &Destination,
        request: &RequestHead,
        buf: &[u8],
        live: &Live,
        client: &Client,
    ) -> Self {
        if !asks(request) || !is_trusted(request, live, client) {
            let (retry, timeout) = (destination.retry.clone(), destination.timeout);
            return Self { retry, timeout, late: Late::default(), wished: None };
        }
        let mut wishes = Wishes::default();
        for field in request.fields.iter().filter(|field| field.id == Name::XEnvoyOther) {
            wishes.read(field.name.of(buf), field.value.of(buf));
        }
        let terms = wishes.terms(destination, live.plan.settings.compatibility);
        Self { retry: terms.retry.clone(), timeout: terms.timeout, late: wishes.late(), wished: Some(terms) }
    }
}

fn asks(request: &RequestHead) -> bool {
    request.fields.iter().any(|field| field.id == Name::XEnvoyOther)
}

/// Trusted by its address, and by having come straight from it.
fn is_trusted(request: &RequestHead, live: &Live, client: &Client) -> bool {
    let trust = &live.plan.settings.trust;
    let ranges = match client.door {
        Door::Outbound => &trust.outbound,
        Door::Gateway { .. } => &trust.gateways,
    };
    trust::covers(ranges, client.peer.ip()) && !request.fields.iter().any(|field| field.id == Name::XForwardedFor)
}
