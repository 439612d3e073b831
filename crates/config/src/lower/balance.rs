//! `loadBalancer` → [`weir_policy::balance::Rules`].

use crate::kind::load_balancer::{Algorithm, ConsistentHash, HashKey, LoadBalancer, Simple};
use weir_policy::balance::key::{Cookie, Key};
use weir_policy::balance::{Hash, Rules, Shape, maglev, ring};
use weir_policy::retry::Previous;

pub fn lower(written: Option<&LoadBalancer>) -> Rules {
    match written {
        // With `PASSTHROUGH` nothing is picked.
        None | Some(LoadBalancer::Simple(Simple::LeastRequest | Simple::Passthrough)) => Rules::LeastRequest,
        Some(LoadBalancer::Simple(Simple::RoundRobin)) => Rules::RoundRobin,
        Some(LoadBalancer::Simple(Simple::Random)) => Rules::Random,
        Some(LoadBalancer::Hash(hash)) => Rules::Hash(lower_hash(hash)),
    }
}

fn lower_hash(written: &ConsistentHash) -> Hash {
    let key = match &written.key {
        None => Key::Nothing,
        Some(HashKey::Source) => Key::Source,
        Some(HashKey::Header(name)) => Key::Header(name.as_str().into()),
        Some(HashKey::Query(name)) => Key::Query(name.as_str().into()),
        Some(HashKey::Cookie { name, path, ttl, attributes }) => Key::Cookie(Cookie {
            name: name.as_str().into(),
            ttl: *ttl,
            path: path.as_str().into(),
            attributes: attributes.iter().map(|attribute| attribute.as_str().into()).collect(),
        }),
    };
    let shape = match written.algorithm {
        Algorithm::Ring(points) => Shape::Ring(points.unwrap_or(ring::MINIMUM)),
        Algorithm::Maglev(slots) => Shape::Maglev(slots.unwrap_or(maglev::SIZE)),
    };
    Hash { key, shape }
}

/// Whether retries avoid hosts tried before when their rules do not say: not where a hash binds a request to a host.
pub const fn previous(rules: &Rules) -> Previous {
    match rules {
        Rules::Hash(_) => Previous::Allow,
        Rules::LeastRequest | Rules::RoundRobin | Rules::Random => Previous::Avoid,
    }
}
