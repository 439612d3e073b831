//! The figures that weir promises, in virtual time: retry storms stay small, sick endpoints are found, incidents end.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failure is a failure")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::plan::Upstream;
use weir_policy::retry::{BackOff, Conditions, Idempotency};
use weir_policy::time::Time;
use weir_policy::{balance, budget, outlier, retry, timeout};
use weir_sim::latency::Latency;
use weir_sim::modelled::Modelled;
use weir_sim::report::Report;
use weir_sim::script::rules::{endpoint, upstream};
use weir_sim::server::{Failure, Fate, Fault, Outage, Rules};
use weir_sim::traffic::{Request, Traffic};
use weir_sim::world::{Planned, World};

fn retries(attempts: u32, base: Duration) -> Option<Arc<retry::Rules>> {
    let back_off = BackOff { base, max: base * 10 };
    Some(Arc::new(retry::Rules { attempts, on: Conditions::FIVE_XX, back_off, ..retry::Rules::default() }))
}

fn request(retry: Option<Arc<retry::Rules>>, timeout: timeout::Rules) -> Request {
    Request {
        service: 0,
        retry,
        timeout,
        idempotency: Idempotency::Safe,
        hash: None,
        patience: None,
        chain: Arc::default(),
        mirrors: Vec::new(),
    }
}

/// Poisson arrivals from the start on.
fn open(request: Request, per_second: u32, seconds: u64) -> Traffic {
    let gap = Latency::Exponential { mean: Duration::from_secs(1) / per_second };
    Traffic::Open { request, gap, from: Time::ZERO, until: Time::from_millis(seconds * 1000) }
}

fn run(upstream: Upstream, servers: Modelled, traffic: Traffic) -> Report {
    let mut world = World::new(vec![Arc::new(upstream)], servers, vec![traffic], 1);
    world.run();
    assert_eq!(world.under_way(), 0);
    world.report
}

fn failing(fate: Fate) -> Rules {
    Rules { failures: vec![Failure { percent: 100.0, fate }], ..Rules::default() }
}

/// RES-03: every upstream answers 503, three retries. With the default budget the outage is not made worse.
#[test]
fn a_full_outage_at_two_thousand_requests_a_second_is_amplified_by_at_most_a_fifth_and_a_bit() {
    let storm = |budget| {
        let traffic = open(request(retries(3, Duration::from_millis(25)), timeout::Rules::default()), 2000, 20);
        run(Upstream { budget, ..upstream(3) }, Modelled::new(failing(Fate::Status(503)), 1), traffic)
    };
    let (with, without) = (storm(budget::Rules::Default), storm(budget::Rules::Off));
    assert!(with.amplification() <= 1.22, "{}", with.amplification());
    assert!(with.amplification() >= 1.15, "the budget is used: {}", with.amplification());
    assert!((without.amplification() - 4.0).abs() < 0.01, "without it every try counts: {}", without.amplification());
}

/// RES-03: requests that are not idempotent are not sent again.
#[test]
fn an_outage_of_posts_is_not_amplified() {
    let post = Request {
        idempotency: Idempotency::Unsafe,
        ..request(retries(3, Duration::from_millis(25)), timeout::Rules::default())
    };
    let report = run(upstream(3), Modelled::new(failing(Fate::Status(503)), 1), open(post, 500, 5));
    assert_eq!(report.tries, report.started);
}

/// RES-01: one of three answers 500, resets or hangs: it is ejected within its threshold, and clients see no more.
#[test]
fn one_sick_endpoint_of_three_costs_no_more_requests_than_its_threshold() {
    let rules = outlier::Rules { max_percent: 34, base: Duration::from_secs(30), ..outlier::Rules::default() };
    for fate in [Fate::Status(500), Fate::Closed, Fate::Refused, Fate::Silence] {
        let address = endpoint(2, 1).address;
        let servers = Modelled::new(Rules::default(), 1).with(address, failing(fate));
        let mesh = Upstream { outlier: Some(rules.clone()), ..upstream(3) };
        let limits = timeout::Rules { whole: Some(Duration::from_millis(100)), per_try: None };
        // Ten seconds: shorter than the ejection. One request at a time, so that none is under way when it is ejected.
        let gap = Latency::Constant(Duration::from_millis(150));
        let until = Time::from_millis(10_000);
        let traffic = Traffic::Open { request: request(None, limits), gap, from: Time::ZERO, until };
        let report = run(mesh, servers, traffic);
        assert_eq!(report.ended - report.latency.count(), 5, "{fate:?}: {:?}", report.refused);
    }
}

/// RES-01: it is back after its ejection, when it is well.
#[test]
fn an_endpoint_that_is_well_again_gets_its_share_again() {
    let rules = outlier::Rules {
        max_percent: 34,
        interval: Duration::from_secs(1),
        base: Duration::from_secs(5),
        ..outlier::Rules::default()
    };
    let address: SocketAddr = endpoint(2, 1).address;
    let outage = Outage { from: Time::ZERO, until: Time::from_millis(3000), fault: Fault::Every(Fate::Status(500)) };
    let sick = Rules { outages: vec![outage], ..Rules::default() };
    let mesh = Upstream { outlier: Some(rules), ..upstream(3) };
    let report = run(
        mesh,
        Modelled::new(Rules::default(), 1).with(address, sick),
        open(request(None, timeout::Rules::default()), 300, 60),
    );
    let shares: Vec<u64> = report.endpoints.values().map(|share| share.tries).collect();
    assert_eq!(report.ended - report.latency.count(), 5);
    // 5 of 60 seconds without a third of the traffic.
    let expected = report.started as f64 / 3.0 * (55.0 / 60.0);
    assert!((shares[1] as f64 - expected).abs() < expected * 0.05, "{shares:?}, expected {expected}");
}

/// The seed's retry storm: an upgrade makes the service slow for a while; requests time out; retries keep it down after
/// the cause is gone. Before: five retries at once, no budget. After: back-off, the default budget, a timeout in layers.
fn incident(mesh: Upstream, route: Request) -> Report {
    let server = Rules {
        workers: 8,
        queue: 400,
        latency: Latency::Lognormal { p50: Duration::from_millis(20), p99: Duration::from_millis(60) },
        outages: vec![Outage {
            from: Time::from_millis(30_000),
            until: Time::from_millis(50_000),
            fault: Fault::Slow(6.0),
        }],
        ..Rules::default()
    };
    // Three servers of eight workers carry about 1,000 a second; 600 come.
    run(mesh, Modelled::new(server, 1), open(route, 600, 120))
}

fn success(report: &Report, from: usize, until: usize) -> f64 {
    let sum = report.between(from, until);
    100.0 * sum.succeeded as f64 / sum.started.max(1) as f64
}

#[test]
fn the_retry_storm_outlives_its_cause_before_and_ends_with_it_after() {
    let limits = timeout::Rules { whole: Some(Duration::from_secs(2)), per_try: Some(Duration::from_millis(250)) };
    let before = incident(
        Upstream { budget: budget::Rules::Off, balance: balance::Rules::RoundRobin, ..upstream(3) },
        request(retries(5, Duration::from_millis(1)), limits),
    );
    let after = incident(
        Upstream { budget: budget::Rules::Default, balance: balance::Rules::LeastRequest, ..upstream(3) },
        request(retries(2, Duration::from_millis(25)), limits),
    );
    for (name, report) in [("before", &before), ("after", &after)] {
        println!(
            "{name}: amplification {:.2}; success {:.1} % before the fault, {:.1} % in it, {:.1} % 20 s after it and later",
            report.amplification(),
            success(report, 0, 30),
            success(report, 30, 50),
            success(report, 70, 118)
        );
        assert!(success(report, 0, 30) > 99.0, "{name}: all was well");
    }
    assert!(success(&before, 70, 118) < 50.0, "the storm feeds itself long after its cause is gone");
    assert!(success(&after, 70, 118) > 99.0, "the service is back by itself");
    assert!(after.amplification() < 1.22 && before.amplification() > 2.0);
}

/// A change of the rules in the middle of the storm ends it: what an operator would do.
#[test]
fn a_written_budget_applied_in_the_storm_ends_it() {
    let limits = timeout::Rules { whole: Some(Duration::from_secs(2)), per_try: Some(Duration::from_millis(250)) };
    let mesh = Upstream { budget: budget::Rules::Off, ..upstream(3) };
    let server = Rules {
        workers: 8,
        queue: 400,
        latency: Latency::Lognormal { p50: Duration::from_millis(20), p99: Duration::from_millis(60) },
        outages: vec![Outage {
            from: Time::from_millis(10_000),
            until: Time::from_millis(20_000),
            fault: Fault::Slow(6.0),
        }],
        ..Rules::default()
    };
    let traffic = open(request(retries(5, Duration::from_millis(1)), limits), 600, 90);
    let mut world = World::new(vec![Arc::new(mesh.clone())], Modelled::new(server, 1), vec![traffic], 1);
    let safe = Upstream { budget: budget::Rules::Written(budget::Written::default()), ..mesh };
    world.plan(Time::from_millis(50_000), Planned::Renew { service: 0, upstream: Arc::new(safe) });
    world.run();
    let (storm, calm) = (success(&world.report, 30, 50), success(&world.report, 70, 88));
    assert!(storm < 50.0 && calm > 99.0, "{storm:.1} % in the storm, {calm:.1} % after the change");
}
