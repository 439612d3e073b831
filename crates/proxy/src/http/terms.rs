//! The terms of one call: its route's retries and timeouts, and what a trusted client asks for itself.
//!
//! Does not: read values (`weir_policy::wish` does).

use super::carrier::Protocol;
use super::inquiry::Fields;
use super::serve::Client;
use super::upload::Keep;
use crate::mesh::{Door, Live};
use std::net::IpAddr;
use std::sync::Arc;
use weir_policy::retry::{self, Idempotency, NonIdempotent};
use weir_policy::route::Destination;
use weir_policy::wish::{Late, Wishes};
use weir_policy::{grpc, timeout, trust};
use weir_wire::{Name, RequestHead};

/// See the module.
pub(crate) struct Terms {
    pub(crate) retry: Option<Arc<retry::Rules>>,
    pub(crate) timeout: timeout::Rules,
    pub(crate) late: Late,
}

impl Terms {
    pub(crate) fn of(
        destination: &Destination,
        request: &RequestHead,
        buf: &[u8],
        live: &Live,
        client: &Client,
    ) -> Self {
        let timeout = as_grpc_asks(destination.timeout, request, buf);
        let mut terms = match wishes(request, buf, live, client.door, client.peer.ip()) {
            None => Self { retry: destination.retry.clone(), timeout, late: Late::default() },
            Some(wishes) => {
                let terms = wishes.terms(destination, live.plan.settings.compatibility);
                Self { retry: terms.retry, timeout: wishes.timeout(timeout), late: wishes.late() }
            }
        };
        terms.retry = terms.retry.filter(|rules| rules.allows(&Fields { fields: &request.fields, buf }));
        terms
    }
}

/// What a request asks for itself, when it asks and its client is trusted.
pub(crate) fn wishes(request: &RequestHead, buf: &[u8], live: &Live, door: Door, peer: IpAddr) -> Option<Wishes> {
    if !request.names.has(Name::XEnvoyOther) || !is_trusted(request, live, door, peer) {
        return None;
    }
    let mut wishes = Wishes::default();
    for field in request.fields.iter().filter(|field| field.id == Name::XEnvoyOther) {
        wishes.read(field.name.of(buf), field.value.of(buf));
    }
    Some(wishes)
}

/// May the request be sent twice? By its method, or by its `Idempotency-Key`.
pub(crate) fn idempotency(request: &RequestHead, buf: &[u8]) -> Idempotency {
    let keyed = || request.field(Name::IdempotencyKey).is_some_and(|field| !field.value.is_empty());
    match Idempotency::of_method(request.method.of(buf)) {
        Idempotency::Unsafe if keyed() => Idempotency::Safe,
        idempotency => idempotency,
    }
}

/// Is a copy of the body of any use? Only if a retry can follow after some of it was sent.
pub(crate) fn keep(retry: Option<&retry::Rules>, idempotency: Idempotency, protocol: Protocol) -> Keep {
    match retry {
        Some(rules) if protocol == Protocol::Grpc && rules.after_grpc() => Keep::Yes,
        Some(rules)
            if rules.after_send()
                && (idempotency == Idempotency::Safe || rules.non_idempotent == NonIdempotent::Retry) =>
        {
            Keep::Yes
        }
        _ => Keep::No,
    }
}

/// A gRPC client's own deadline (`grpc-timeout`) holds, capped by the route's timeout; as Envoy with Istio's
/// `max_grpc_timeout`.
fn as_grpc_asks(timeout: timeout::Rules, request: &RequestHead, buf: &[u8]) -> timeout::Rules {
    let asked = request.field(Name::GrpcTimeout);
    let asked = asked.and_then(|field| grpc::timeout(field.value.of(buf))).filter(|asked| !asked.is_zero());
    let Some(asked) = asked.filter(|_| Protocol::of(request, buf) == Protocol::Grpc) else { return timeout };
    let whole = timeout.whole.map_or(asked, |cap| cap.min(asked));
    timeout::Rules { whole: Some(whole), per_try: timeout.per_try.filter(|per_try| *per_try < whole) }
}

/// Trusted by its address, and by having come straight from it.
fn is_trusted(request: &RequestHead, live: &Live, door: Door, peer: IpAddr) -> bool {
    let trust = &live.plan.settings.trust;
    let ranges = match door {
        Door::Outbound | Door::Service { .. } => &trust.outbound,
        Door::Gateway { .. } => &trust.gateways,
    };
    !request.names.has(Name::XForwardedFor) && trust::covers(ranges, peer)
}
