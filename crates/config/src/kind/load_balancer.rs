//! `loadBalancer`: Istio's words, and what its validation asks of them.

use super::locality;
use crate::decode::{At, Object};
use crate::problem::{Code, Problem};
use std::time::Duration;

/// `trafficPolicy.loadBalancer`.
#[derive(Clone, PartialEq, Debug)]
pub enum LoadBalancer {
    Simple(Simple),
    Hash(ConsistentHash),
}

/// `simple`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Simple {
    LeastRequest,
    RoundRobin,
    Random,
    /// Each request goes where its authority says.
    Passthrough,
}

/// `consistentHash`.
#[derive(Clone, PartialEq, Debug)]
pub struct ConsistentHash {
    pub key: Option<HashKey>,
    pub algorithm: Algorithm,
}

#[derive(Clone, PartialEq, Debug)]
pub enum HashKey {
    Header(String),
    Cookie { name: String, path: String, ttl: Option<Duration>, attributes: Vec<String> },
    Source,
    Query(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// Points, at least.
    Ring(Option<u64>),
    /// Slots.
    Maglev(Option<u64>),
}

const LEAST: Duration = Duration::from_millis(1);
/// Envoy takes no larger ring.
const LARGEST_RING: i64 = 8 * 1024 * 1024;
/// Nor a larger table.
const LARGEST_TABLE: u64 = 5_000_011;

/// Reads `loadBalancer`.
pub fn load_balancer(balancer: &Object<'_>) -> LoadBalancer {
    let simple = simple(balancer);
    let hash = balancer.object("consistentHash").map(|hash| consistent_hash(&hash));
    if balancer.has("simple") && hash.is_some() {
        let text = "`simple` and `consistentHash` exclude each other";
        balancer.sink.add(balancer.problem(Code::Conflict, "consistentHash", text));
    }
    if let Some(setting) = balancer.object("localityLbSetting") {
        locality::check(&setting);
    }
    if let Some(setting) = balancer.object("zoneAwareLbSetting") {
        locality::failover(&setting);
    }
    if balancer.has("localityLbSetting") && balancer.has("zoneAwareLbSetting") {
        let text = "`localityLbSetting` and `zoneAwareLbSetting` exclude each other";
        balancer.sink.add(balancer.problem(Code::Conflict, "zoneAwareLbSetting", text));
    }
    balancer.duration("warmupDurationSecs", LEAST);
    if let Some(warmup) = balancer.object("warmup") {
        // The schema has the bounds from 0 on.
        warmup.fraction("aggression", 1.0, f64::MAX);
    }
    balancer.later(&["localityLbSetting", "zoneAwareLbSetting", "warmup", "warmupDurationSecs"]);
    balancer.end();
    hash.map_or(LoadBalancer::Simple(simple), LoadBalancer::Hash)
}

fn simple(balancer: &Object<'_>) -> Simple {
    let words = [
        ("UNSPECIFIED", Simple::LeastRequest),
        ("LEAST_CONN", Simple::LeastRequest),
        ("LEAST_REQUEST", Simple::LeastRequest),
        ("RANDOM", Simple::Random),
        ("ROUND_ROBIN", Simple::RoundRobin),
        ("PASSTHROUGH", Simple::Passthrough),
    ];
    let simple = balancer.word("simple", &words);
    let word = simple.as_ref().and(balancer.text("simple")).map(|word| word.value);
    if word.as_deref() == Some("LEAST_CONN") {
        let text = "`LEAST_CONN` is deprecated: it means LEAST_REQUEST";
        balancer.sink.add(balancer.problem(Code::Deprecated, "simple", text).hint("write LEAST_REQUEST"));
    }
    simple.map_or(Simple::LeastRequest, |word| word.value)
}

fn consistent_hash(hash: &Object<'_>) -> ConsistentHash {
    let key = key(hash);
    let old = hash.number("minimumRingSize", 0, LARGEST_RING).filter(|size| size.value > 0);
    let (ring, maglev) = (hash.object("ringHash"), hash.object("maglev"));
    if old.is_some() {
        let words = "`minimumRingSize` is deprecated";
        let hint = "write it under `ringHash`";
        hash.sink.add(hash.problem(Code::Deprecated, "minimumRingSize", words).hint(hint));
        if ring.is_some() || maglev.is_some() {
            let words = "`minimumRingSize` and `ringHash` or `maglev` exclude each other";
            hash.sink.add(hash.problem(Code::Conflict, "minimumRingSize", words));
        }
    }
    if ring.is_some() && maglev.is_some() {
        let words = "`ringHash` and `maglev` exclude each other";
        hash.sink.add(hash.problem(Code::Conflict, "maglev", words));
    }
    let points = |At { value, .. }: At<i64>| u64::try_from(value).ok().filter(|points| *points > 0);
    let ring = ring.map(|ring| {
        let size = ring.number("minimumRingSize", 0, LARGEST_RING).and_then(points);
        ring.end();
        size
    });
    let algorithm = match maglev {
        Some(maglev) => Algorithm::Maglev(table_size(&maglev)),
        None => Algorithm::Ring(ring.flatten().or_else(|| old.and_then(points))),
    };
    hash.end();
    ConsistentHash { key, algorithm }
}

fn table_size(maglev: &Object<'_>) -> Option<u64> {
    let size = maglev.number("tableSize", 0, i64::MAX);
    maglev.end();
    if size.is_none() && !maglev.has("tableSize") {
        // The API's text has a default; istiod's validation asks for a number all the same.
        let words = "`maglev` has no `tableSize`: 65537 is used, and Istio refuses it";
        let hint = "write `tableSize: 65537`";
        maglev.sink.add(Problem::new(Code::NotInIstio, maglev.place(), words).hint(hint));
    }
    let At { value, place } = size?;
    let size = u64::try_from(value).unwrap_or(0);
    if size < LARGEST_TABLE && is_prime(size) {
        return Some(size);
    }
    let words = format!("`tableSize` is {size}; it must be a prime below {LARGEST_TABLE}");
    maglev.sink.add(Problem::new(Code::Value, place, words).hint("65537 is the default"));
    None
}

const fn is_prime(number: u64) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    number > 1
}

/// What is hashed: at most one of four.
fn key(hash: &Object<'_>) -> Option<HashKey> {
    const NAMES: [&str; 4] = ["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"];
    let given: Vec<&str> = NAMES.into_iter().filter(|name| hash.has(name)).collect();
    if let [first, second, ..] = given[..] {
        let words = format!("`{first}` and `{second}` exclude each other");
        hash.sink.add(hash.problem(Code::Conflict, second, words));
    }
    let header = hash.text("httpHeaderName");
    let cookie = hash.object("httpCookie").map(|cookie| read_cookie(&cookie));
    let source = hash.truth("useSourceIp");
    let query = hash.text("httpQueryParameterName");
    let key = header
        .filter(|name| !name.value.is_empty())
        .map(|name| HashKey::Header(name.value.to_ascii_lowercase()))
        .or(cookie)
        .or_else(|| source.filter(|source| *source).map(|_| HashKey::Source))
        .or_else(|| query.filter(|name| !name.value.is_empty()).map(|name| HashKey::Query(name.value)));
    if key.is_none() {
        let words = "`consistentHash` names nothing to hash by: every request goes to any endpoint";
        let hint = format!("name one of {}", NAMES.join(", "));
        hash.sink.add(Problem::new(Code::NoEffect, hash.place(), words).hint(hint));
    }
    key
}

fn read_cookie(cookie: &Object<'_>) -> HashKey {
    let name = cookie.text("name").map(|name| name.value).unwrap_or_default();
    if name.is_empty() {
        cookie.missing("name");
    }
    let path = cookie.text("path").map(|path| path.value).unwrap_or_default();
    let ttl = cookie.duration("ttl", Duration::ZERO).map(|ttl| ttl.value);
    let attributes = cookie.objects("attributes").filter_map(|attribute| {
        let (name, value) = (attribute.text("name"), attribute.text("value"));
        attribute.end();
        let Some(name) = name else {
            attribute.missing("name");
            return None;
        };
        Some(match value {
            Some(value) if !value.value.is_empty() => format!("{}={}", name.value, value.value),
            _ => name.value,
        })
    });
    let attributes: Vec<String> = attributes.collect();
    cookie.end();
    let parts = [&name, &path].into_iter().chain(&attributes);
    if parts.into_iter().any(|part| part.bytes().any(|byte| byte == b';' || byte.is_ascii_control())) {
        let words = "a cookie's name, path and attributes cannot hold `;` or control characters";
        cookie.sink.add(Problem::new(Code::Value, cookie.place(), words));
    }
    HashKey::Cookie { name, path, ttl, attributes }
}
