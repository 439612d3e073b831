//! Which connection that is not HTTP goes where, and one such connection's life.
//!
//! ```text
//!   name (SNI), address ─► the rule that fits best ─► a destination by weight ─► Passage
//!                                                                                  │ admit: an endpoint? room?
//!                                                          refused ◄───────────────┤
//!                                                                                  ▼
//!                                          record(no connection) ◄── dial ──► record(connected) ──► ended
//! ```
//! The rule that fits best, whatever the order: more of the address, then more of the name, then the first written; as
//! Envoy's filter chains are chosen. A connection that could not be made is not tried elsewhere: its client sees it.
//! Does not: read bytes or dial (`proxy/tcp` does).

use crate::cluster::{Cluster, Draw, EndpointId};
use crate::outcome::{ConnectFailure, Outcome, Response, Result as Ended};
use crate::outlier::Seen;
use crate::place::Place;
use crate::plan::ClusterIndex;
use crate::refusal::Refusal;
use crate::rng::Rng;
use crate::time::Time;
use crate::tls::fit;
use crate::trust::Cidr;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Where the connections of a listener go.
#[derive(Clone, Default, Debug)]
pub struct Rules {
    /// For TLS that is not ended here: by the name that its client asks for.
    pub passed: Vec<Rule>,
    /// For bytes in the clear, or after TLS was ended.
    pub plain: Vec<Rule>,
}

/// One rule, made of a `match` block of `tls[]` or `tcp[]`, or of a service.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: Arc<str>,
    /// `sniHosts`, lower case, or the hosts of the server that ended TLS; empty = any name, and none.
    pub names: Vec<Arc<str>>,
    /// `destinationSubnets`: of the address that the client meant; empty = any.
    pub subnets: Vec<Cidr>,
    pub destinations: Vec<Destination>,
    pub place: Place,
}

/// One of a rule's destinations.
#[derive(Clone, Debug)]
pub struct Destination {
    pub target: Target,
    /// Relative share.
    pub weight: u32,
}

/// Where a destination leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Cluster(ClusterIndex),
    /// As it came, whatever the destination's own `tls` says: AUTO_PASSTHROUGH.
    Untouched(ClusterIndex),
    /// To a service or subset that is known nowhere.
    Nowhere,
    /// To one that a security setting guards which is not enforced yet.
    NotEnforced,
}

/// What is known of a connection before its first byte is passed on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The name of the handshake, lower case.
    pub name: Option<&'a str>,
    /// The address that the client meant.
    pub to: IpAddr,
}

/// How well a rule fits: of the address, then of the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fit {
    prefix: u8,
    pub name: usize,
}

/// A rule that fits.
#[derive(Clone, Copy, Debug)]
pub struct Found<'r> {
    pub rule: &'r Rule,
    pub fit: Fit,
}

/// The rule that fits best.
pub fn find<'r>(rules: &'r [Rule], facts: &Facts<'_>) -> Option<Found<'r>> {
    // The first of those that fit equally well.
    let fits = rules.iter().rev().filter_map(|rule| Some(Found { rule, fit: rule.fit(facts)? }));
    fits.max_by_key(|found| found.fit)
}

impl Rule {
    fn fit(&self, facts: &Facts<'_>) -> Option<Fit> {
        let name = match self.names.as_slice() {
            [] => 0,
            names => names.iter().filter_map(|pattern| fit(pattern, facts.name)).max()?.saturating_add(1),
        };
        let prefix = match self.subnets.as_slice() {
            [] => 0,
            ranges => ranges.iter().filter(|range| range.contains(facts.to)).map(Cidr::prefix).max()?.saturating_add(1),
        };
        Some(Fit { prefix, name })
    }

    /// One of its destinations, by weight. `None`: it has none.
    pub fn choose(&self, rng: &mut Rng) -> Option<&Destination> {
        if let [only] = self.destinations.as_slice() {
            return Some(only);
        }
        let total: u64 = self.destinations.iter().map(|one| u64::from(one.weight)).sum();
        let mut drawn = rng.below(total.max(1));
        self.destinations.iter().find(|one| {
            let here = drawn < u64::from(one.weight);
            drawn = drawn.saturating_sub(u64::from(one.weight));
            here
        })
    }
}

/// One connection to an endpoint; [`Passage::ended`] gives everything back.
#[derive(Debug)]
pub struct Passage {
    endpoint: EndpointId,
    pub address: SocketAddr,
}

impl Passage {
    /// May it go, and to which endpoint? By `hash` where the balancer hashes.
    pub fn admit(cluster: &mut Cluster, hash: Option<u64>, draw: &mut Draw<'_>, now: Time) -> Result<Self, Refusal> {
        cluster.tick(now);
        let Some(endpoint) = cluster.pick(&[], 0, hash, draw) else { return Err(Refusal::NoHealthy) };
        Self::take(cluster, endpoint)
    }

    /// To an address that the client named.
    pub fn to(cluster: &mut Cluster, address: SocketAddr, now: Time) -> Result<Self, Refusal> {
        cluster.tick(now);
        let endpoint = cluster.visit(address);
        Self::take(cluster, endpoint)
    }

    fn take(cluster: &mut Cluster, endpoint: EndpointId) -> Result<Self, Refusal> {
        let ceiling = cluster.rules().inflight;
        if cluster.inflight.connect(&ceiling).is_err() {
            cluster.counts.overflow_connections += 1;
            return Err(Refusal::Overflow);
        }
        // Counts among what is under way to the endpoint, for balancers; the ceiling on requests is for requests.
        cluster.inflight.requests += 1;
        cluster.begin(endpoint);
        Ok(Self { endpoint, address: cluster.address(endpoint) })
    }

    /// What came of dialling: for the detector, as if it were a request.
    pub fn record(&self, cluster: &mut Cluster, dialled: Result<(), ConnectFailure>, draw: &mut Draw<'_>, now: Time) {
        let outcome = match dialled {
            Ok(()) => Outcome { result: Ended::Response(Response::plain(200)), ..Outcome::response(200, now) },
            Err(why) => Outcome::unsent(Ended::ConnectFailed(why), Some(now)),
        };
        cluster.record(self.endpoint, |rules| Seen::of(rules, &outcome, 504), draw.rng, now);
    }

    /// The connection is gone, or was never made.
    pub fn ended(self, cluster: &mut Cluster) {
        cluster.inflight.disconnected();
        cluster.end(self.endpoint);
    }
}

/// How long a connection may last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Without a byte in either direction: `tcp.idleTimeout`, default 1 h. `None` = for ever.
    pub idle: Option<Duration>,
    /// In all: `tcp.maxConnectionDuration`.
    pub most: Option<Duration>,
}

impl Span {
    /// When it is to be ended, if no byte moves before.
    pub fn ends(&self, opened: Time, moved: Time) -> Option<Time> {
        let idle = self.idle.map(|length| moved + length);
        let most = self.most.map(|length| opened + length);
        idle.into_iter().chain(most).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    fn rule(name: &str, names: &[&str], subnets: &[&str]) -> Rule {
        Rule {
            name: name.into(),
            names: names.iter().map(|name| Arc::from(*name)).collect(),
            subnets: subnets.iter().map(|range| Cidr::parse(range).expect("a range")).collect(),
            destinations: Vec::new(),
            place: Place::default(),
        }
    }

    fn found<'r>(rules: &'r [Rule], name: Option<&str>, to: &str) -> Option<&'r str> {
        let facts = Facts { name, to: to.parse().expect("an address") };
        find(rules, &facts).map(|found| &*found.rule.name)
    }

    #[test]
    fn the_address_counts_before_the_name_and_the_longer_name_before_the_shorter() {
        let rules = [
            rule("any", &[], &[]),
            rule("wide", &["*.test"], &[]),
            rule("exact", &["a.test"], &[]),
            rule("net", &[], &["10.0.0.0/8"]),
            rule("near", &["*"], &["10.1.0.0/16", "192.0.2.1"]),
            rule("again", &["a.test"], &[]),
        ];
        assert_eq!(found(&rules, None, "127.0.0.1"), Some("any"));
        assert_eq!(found(&rules, Some("b.test"), "127.0.0.1"), Some("wide"));
        assert_eq!(found(&rules, Some("a.test"), "127.0.0.1"), Some("exact"), "the first of two that are equal");
        assert_eq!(found(&rules, Some("a.test"), "10.2.0.1"), Some("net"));
        assert_eq!(found(&rules, Some("a.test"), "10.1.0.1"), Some("near"));
        assert_eq!(found(&rules, None, "192.0.2.1"), Some("near"), "`*` is also no name");
        assert_eq!(found(&rules[2..3], Some("b.test"), "127.0.0.1"), None);
    }

    #[test]
    fn weights_are_shares() {
        let share = |weight| Destination { target: Target::Nowhere, weight };
        let rule = Rule { destinations: vec![share(1), share(0), share(3)], ..rule("r", &[], &[]) };
        let mut rng = Rng::new(7);
        let mut seen = [0u32; 4];
        for _ in 0..4000 {
            seen[rule.choose(&mut rng).expect("one").weight as usize] += 1;
        }
        assert_eq!(seen[0], 0);
        assert!((900..1100).contains(&seen[1]), "{seen:?}");
    }

    #[test]
    fn a_connection_ends_at_the_first_of_its_two_times() {
        let second = Duration::from_secs;
        let span = Span { idle: Some(second(5)), most: Some(second(8)) };
        let opened = Time::ZERO;
        assert_eq!(span.ends(opened, opened), Some(opened + second(5)));
        assert_eq!(span.ends(opened, opened + second(4)), Some(opened + second(8)));
        assert_eq!(Span { idle: None, most: None }.ends(opened, opened), None);
    }

    proptest! {
        #[test]
        fn a_rule_is_found_whenever_one_fits(names in proptest::collection::vec("[a-c*]{1,2}", 0..5), name in "[a-c]{1,2}") {
            let rules: Vec<Rule> = names.iter().map(|pattern| rule(pattern, &[pattern], &[])).collect();
            let any = names.iter().any(|pattern| fit(pattern, Some(&name)).is_some());
            prop_assert_eq!(found(&rules, Some(&name), "::1").is_some(), any);
        }
    }
}
