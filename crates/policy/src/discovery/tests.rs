//! What names come to, and clusters whose endpoints come and go.

use super::*;
use crate::balance::{self, Table};
use crate::call::{Call, Step};
use crate::cluster::{Cluster, Draw};
use crate::plan::Service;
use crate::retry::Idempotency;
use crate::rng::Rng;
use crate::{budget, connection, inflight, timeout};
use proptest::prelude::*;

fn ip(last: u32) -> IpAddr {
    IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + last))
}

fn named(name: &str) -> Named {
    Named { name: name.into(), port: 80, weight: 1, workload: "".into(), place: Place::default() }
}

fn endpoint(last: u32) -> Endpoint {
    Endpoint { address: SocketAddr::new(ip(last), 80), weight: 1, workload: "".into(), place: Place::default() }
}

fn upstream(endpoints: Vec<Endpoint>) -> Upstream {
    Upstream {
        id: "default/app|80|".into(),
        name: "outbound|80||app".into(),
        service: Service {
            host: "app".into(),
            name: "app".into(),
            namespace: "default".into(),
            port: 80,
            subset: "".into(),
        },
        endpoints,
        discovery: Discovery::EveryAddress(vec![named("app")]),
        balance: balance::Rules::RoundRobin,
        inflight: inflight::Rules::default(),
        budget: budget::Rules::Off,
        connection: connection::Rules::default(),
        outlier: None,
        origins: crate::origin::Origins::default(),
        place: Place::default(),
    }
}

fn seconds(count: u64) -> Time {
    Time::from_millis(count * 1000)
}

fn asked(names: &mut Names, now: Time) -> Vec<String> {
    let mut due: Vec<String> = names.ask(now).iter().map(ToString::to_string).collect();
    due.sort();
    due
}

#[test]
fn a_name_is_asked_again_when_its_answer_expires() {
    let mut names = Names::default();
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    names.keep([&a, &b].into_iter(), Time::ZERO);
    assert_eq!(asked(&mut names, Time::ZERO), ["a", "b"]);
    assert_eq!(asked(&mut names, seconds(100)), [""; 0], "under way");
    assert!(!names.settled());
    assert_eq!(names.answered("a", vec![ip(1)], Duration::from_secs(30), seconds(1)), News::Changed);
    assert_eq!(names.answered("b", vec![ip(2)], Duration::ZERO, seconds(1)), News::Changed);
    assert!(names.settled());
    assert_eq!(names.due(), Some(seconds(2)), "a TTL of 0 still gives a second's rest");
    assert_eq!(asked(&mut names, seconds(31)), ["a", "b"]);
    assert_eq!(names.answered("a", vec![ip(1)], Duration::from_secs(30), seconds(31)), News::Same);
}

#[test]
fn a_failure_keeps_the_stale_answer_and_backs_off() {
    let mut names = Names::default();
    let a: Arc<str> = "a".into();
    names.keep(std::iter::once(&a), Time::ZERO);
    names.ask(Time::ZERO);
    names.answered("a", vec![ip(1)], Duration::from_secs(5), Time::ZERO);
    let mut now = seconds(5);
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(asked(&mut names, now), ["a"]);
        // An empty answer is a failure too.
        assert_eq!(names.answered("a", vec![], Duration::from_secs(5), now), News::Same);
        assert_eq!(names.addresses("a"), [ip(1)]);
        assert_eq!(names.due(), Some(now + Duration::from_secs(wait)));
        now += Duration::from_secs(wait);
    }
    assert_eq!(names.stale(), 1);
    names.answered("a", vec![ip(2)], Duration::from_secs(5), now);
    assert_eq!((names.addresses("a"), names.stale()), (&[ip(2)][..], 0));
}

#[test]
fn every_address_or_the_first_one() {
    let mut names = Names::default();
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    names.keep([&a, &b].into_iter(), Time::ZERO);
    names.answered("a", vec![ip(3), ip(1)], Duration::from_secs(5), Time::ZERO);
    names.answered("b", vec![ip(1), ip(2)], Duration::from_secs(5), Time::ZERO);
    let of = |discovery: &Discovery, fixed: &[Endpoint]| {
        names.endpoints(discovery, fixed).iter().map(|endpoint| endpoint.address.ip()).collect::<Vec<_>>()
    };
    let both = vec![named("a"), named("b")];
    assert_eq!(of(&Discovery::EveryAddress(both.clone()), &[endpoint(9), endpoint(9)]), [ip(9), ip(3), ip(1), ip(2)]);
    assert_eq!(of(&Discovery::FirstAddress(both), &[]), [ip(3), ip(1)]);
    names.keep(std::iter::once(&a), Time::ZERO);
    assert!(names.addresses("b").is_empty(), "forgotten with its last user");
}

/// A call under way to whatever is picked.
fn begin(cluster: &mut Cluster, rng: &mut Rng, cursor: &mut u64) -> Option<(Call, SocketAddr)> {
    let mut call = Call::new(None, timeout::Rules::default(), Idempotency::Safe, Some(Time::ZERO));
    match call.start(cluster, &mut Draw { rng, cursor }, Time::ZERO) {
        Step::Try(attempt) => Some((call, attempt.address)),
        _ => None,
    }
}

fn shift(cluster: &mut Cluster, wanted: Vec<Endpoint>) {
    if let Some(shift) = Shift::between(cluster.rules(), wanted) {
        let table = Table::build(&shift.rules.balance, &shift.rules.endpoints);
        drop(cluster.shift(&shift, Arc::new(table)));
    }
}

proptest! {
    /// Whatever comes and goes, picks go to exactly those that are there, and calls under way end in order.
    #[test]
    fn endpoints_come_and_go_under_calls(sets in proptest::collection::vec(proptest::collection::btree_set(0u32..12, 0..8), 1..12), renewed: u16, reloaded: u16, seed: u64) {
        let (mut rng, mut cursor) = (Rng::new(seed), 0);
        let mut cluster = Cluster::new(Arc::new(upstream(vec![])));
        let mut under_way: Vec<Call> = Vec::new();
        for (step, set) in sets.iter().enumerate() {
            let wanted: Vec<Endpoint> = set.iter().map(|last| endpoint(*last)).collect();
            if renewed >> step & 1 == 1 {
                let rules = upstream(wanted);
                let table = Table::build(&rules.balance, &rules.endpoints);
                drop(cluster.renew(Arc::new(rules), Arc::new(table)));
            } else if reloaded >> step & 1 == 1 {
                let rules = Arc::new(upstream(wanted));
                let shift = Shift::onto(cluster.rules(), &rules).expect("no address is given twice");
                let table = Table::build(&shift.rules.balance, &shift.rules.endpoints);
                drop(cluster.shift(&shift, Arc::new(table)));
            } else {
                shift(&mut cluster, wanted);
            }
            let here: std::collections::BTreeSet<SocketAddr> = set.iter().map(|last| endpoint(*last).address).collect();
            prop_assert_eq!(cluster.active().map(|(address, _)| address).collect::<std::collections::BTreeSet<_>>(), here.clone());
            prop_assert_eq!(cluster.rules().endpoints.len(), here.len());
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..here.len() {
                let (call, address) = begin(&mut cluster, &mut rng, &mut cursor).expect("there is one");
                seen.insert(address);
                under_way.push(call);
            }
            prop_assert_eq!(seen, here, "round robin meets each once");
            if rng.below(2) == 0 {
                for mut call in under_way.drain(..) {
                    call.ended(&mut cluster, Time::ZERO);
                }
            }
        }
        for mut call in under_way {
            call.ended(&mut cluster, Time::ZERO);
        }
        prop_assert_eq!(cluster.inflight.requests, 0);
        prop_assert!(cluster.active().all(|(_, active)| active == 0));
    }
}

#[test]
fn other_rules_are_taken_in_steps_unless_an_address_is_given_twice() {
    let old = upstream(vec![endpoint(1), endpoint(2)]);
    let new = Arc::new(upstream(vec![endpoint(1), endpoint(2)]));
    assert!(Shift::onto(&old, &new).is_some_and(|shift| Arc::ptr_eq(&shift.rules, &new)), "the very rules");
    assert_eq!(Shift::onto(&old, &Arc::new(upstream(vec![endpoint(3), endpoint(3)]))), None);
    let mut named = upstream(vec![]);
    named.discovery = Discovery::OnDemand;
    assert_eq!(Shift::onto(&old, &Arc::new(named)), None);
}

#[test]
fn nothing_to_shift_is_nothing() {
    let rules = upstream(vec![endpoint(1), endpoint(2)]);
    assert_eq!(Shift::between(&rules, vec![endpoint(2), endpoint(1)]), None);
    let heavier = vec![endpoint(2), Endpoint { weight: 3, ..endpoint(1) }];
    assert!(Shift::between(&rules, heavier).is_some_and(|shift| shift.removed.is_empty() && shift.added.is_empty()));
}
