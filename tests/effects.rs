//! What each kind of document of the mission's source does, with its own numbers: documents are compiled, and requests
//! are routed by the plan and run through the simulator. A day passes in a moment.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failure is a failure")]

#[path = "effects/mesh.rs"]
mod mesh;

use mesh::{Mesh, all_at_once, answers, end, every, failing, sick, waits};
use std::collections::BTreeMap;
use std::time::Duration;
use weir_sim::latency::Latency;
use weir_sim::server::{Fate, Rules};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Is it what so many dice of `share` give? Five standard deviations: once in two million runs it is not.
fn within(count: u64, of: u64, share: f64) {
    let (mean, deviation) = (of as f64 * share, (of as f64 * share * (1.0 - share)).sqrt());
    assert!((count as f64 - mean).abs() <= 5.0 * deviation, "{count} of {of}, {mean} ± {deviation}");
}

#[test]
fn connection_pool_of_1050_at_once_a_thousand_have_a_connection_and_fifty_wait_for_one() {
    let mesh = Mesh::new(1).rule(
        "connectionPool: { tcp: { maxConnections: 1000, connectTimeout: 30ms }, \
         http: { http1MaxPendingRequests: 10000, maxRequestsPerConnection: 100, maxRetries: 3, idleTimeout: 300s } }",
    );
    let slow = Rules { latency: Latency::Constant(Duration::from_millis(10)), ..Rules::default() };
    let run = mesh.run(slow, all_at_once(&mesh.request("/"), 1050));
    assert_eq!(run.most_connections, 1000);
    let mut at: BTreeMap<u64, u32> = BTreeMap::new();
    answers(&run.lines, 200).for_each(|line| *at.entry(line.at.nanos() / 1_000_000).or_default() += 1);
    assert_eq!(at, BTreeMap::from([(10, 1000), (20, 50)]));
}

#[test]
fn max_retries_of_twenty_failures_at_once_three_are_retried() {
    let mesh = Mesh::new(2)
        .rule("connectionPool: { http: { maxRetries: 3 } }")
        .route("retries: { attempts: 1, retryOn: 5xx }");
    let run = mesh.run(failing(Fate::Status(503)), all_at_once(&mesh.request("/"), 20));
    assert_eq!((run.report.tries, run.report.answered[&503]), (23, 20));
}

#[test]
fn pending_requests_beyond_a_hundred_are_refused() {
    let mesh = Mesh::new(1).rule(
        "connectionPool: { tcp: { maxConnections: 1 }, http: { http1MaxPendingRequests: 100, maxRequestsPerConnection: 10 } }",
    );
    let slow = Rules { latency: Latency::Constant(Duration::from_millis(10)), ..Rules::default() };
    let run = mesh.run(slow, all_at_once(&mesh.request("/"), 250));
    assert_eq!((run.report.answered[&200], run.report.refused["overflow"]), (101, 149));
}

#[test]
fn http2_max_requests_refuses_what_is_beyond_ten_thousand_at_once() {
    let mesh = Mesh::new(1).rule(
        "connectionPool: { http: { http2MaxRequests: 10000, maxRequestsPerConnection: 1000, maxConcurrentStreams: 100 } }",
    );
    let slow = Rules { latency: Latency::Constant(Duration::from_millis(10)), ..Rules::default() };
    let run = mesh.run(slow, all_at_once(&mesh.request("/"), 10_050));
    assert_eq!((run.report.answered[&200], run.report.refused["overflow"]), (10_000, 50));
}

#[test]
fn conditional_retry_hides_a_refused_connection_and_leaves_a_503_alone() {
    let mesh = Mesh::new(3).rule("").route(
        "retries: { attempts: 3, perTryTimeout: 2s, \
         retryOn: 'connect-failure,refused-stream,unavailable,cancelled,deadline-exceeded' }",
    );
    let traffic = || every(&mesh.request("/"), seconds(1), 300);
    let run = mesh.run_with(sick(2, Fate::Refused), traffic());
    assert_eq!(
        (run.report.answered[&200], run.report.tries),
        (300, 450),
        "every second one meets it, and is tried again"
    );
    let run = mesh.run_with(sick(2, Fate::Status(503)), traffic());
    assert_eq!((run.report.answered[&503], run.report.tries), (100, 300));
}

/// Each wait lies in `[0, bound)`, and over so many requests comes near it.
fn waits_lie_below(waits: &BTreeMap<u64, Vec<Duration>>, bounds: &[u64]) {
    for (index, bound) in bounds.iter().enumerate() {
        let longest = waits.values().map(|waits| waits[index]).max().expect("waits");
        assert!(longest < seconds(*bound), "wait {index}: {longest:?} of {bound} s");
        assert!(longest > seconds(*bound) * 9 / 10, "wait {index}: {longest:?} of {bound} s");
    }
    assert!(waits.values().all(|waits| waits.len() == bounds.len()));
}

#[test]
fn exponential_back_off_waits_up_to_one_two_and_four_seconds_of_a_destinations_retry_policy() {
    let mesh = Mesh::new(3)
        .rule("retryPolicy: { retryOn: 5xx, numRetries: 3, retryBackOff: { baseInterval: 1s, maxInterval: 10s } }");
    let run = mesh.run(failing(Fate::Status(500)), every(&mesh.request("/"), seconds(20), 200));
    assert_eq!((run.report.tries, run.report.answered[&500]), (800, 200));
    waits_lie_below(&waits(&run.lines), &[1, 2, 4]);
}

#[test]
fn jitter_of_an_envoy_filter_spreads_the_waits_over_their_whole_interval() {
    let mesh = Mesh::new(3).document(
        "EnvoyFilter",
        "{ configPatches: [{ applyTo: HTTP_ROUTE, match: { context: SIDECAR_OUTBOUND }, patch: { operation: MERGE, value: \
         { route: { retry_policy: { retry_back_off: { base_interval: 1s, max_interval: 10s }, \
         host_selection_retry_max_attempts: 5, retriable_status_codes: [503, 504] } } } } }] }",
    );
    let run = mesh.run(failing(Fate::Refused), every(&mesh.request("/"), seconds(20), 400));
    let waits = waits(&run.lines);
    waits_lie_below(&waits, &[1, 2]);
    // Evenly: each quarter of the first second has its quarter of the waits.
    let mut quarters = [0; 4];
    waits.values().for_each(|waits| quarters[(waits[0].as_millis() / 250) as usize] += 1);
    quarters.iter().for_each(|count| within(*count, 400, 0.25));
}

#[test]
fn request_timeout_ends_a_request_after_thirty_seconds() {
    let mesh = Mesh::new(3).route("timeout: 30s");
    let run = mesh.run(failing(Fate::Silence), every(&mesh.request("/"), seconds(60), 3));
    assert_eq!(run.report.refused["timeout"], 3);
    assert_eq!(end(&run.lines, 1), Some(seconds(30)));
}

#[test]
fn per_try_timeout_ends_each_try_after_ten_seconds_and_is_tried_again_where_the_condition_says_so() {
    // Istio's default condition does not name time-outs: as written, the first is the last.
    let mesh = Mesh::new(3).route("retries: { attempts: 3, perTryTimeout: 10s }");
    let run = mesh.run(failing(Fate::Silence), every(&mesh.request("/"), seconds(60), 3));
    assert_eq!((run.report.tries, end(&run.lines, 1)), (3, Some(seconds(10))));
    let mesh = Mesh::new(3).rule("").route("retries: { attempts: 3, perTryTimeout: 10s, retryOn: gateway-error }");
    let run = mesh.run_with(sick(1, Fate::Silence), every(&mesh.request("/"), seconds(60), 1));
    assert_eq!((run.report.tries, run.report.answered[&200]), (2, 1));
    let took = end(&run.lines, 1).expect("an end");
    assert!(took >= seconds(10) && took < seconds(10) + Duration::from_millis(25), "{took:?}");
}

#[test]
fn consecutive_errors_eject_one_of_ten_after_five_and_none_of_nine() {
    let document = "outlierDetection: { consecutive5xxErrors: 5, consecutiveGatewayErrors: 5, interval: 10s, \
                    baseEjectionTime: 30s, maxEjectionPercent: 10 }";
    for (endpoints, failed) in [(10, 5), (9, 20)] {
        let mesh = Mesh::new(endpoints).rule(document);
        let calls = u64::from(endpoints) * 20;
        let run =
            mesh.run_with(sick(4, Fate::Status(500)), every(&mesh.request("/"), Duration::from_millis(10), calls));
        assert_eq!(run.report.answered[&500], failed, "{endpoints} endpoints");
    }
}

#[test]
fn error_rate_counts_errors_and_broken_connections_apart() {
    let mesh = Mesh::new(10).rule(
        "outlierDetection: { consecutive5xxErrors: 3, interval: 10s, baseEjectionTime: 60s, \
         splitExternalLocalOriginErrors: true }",
    );
    // A hundred a second: in 50 s nobody is back yet. Broken connections have Istio's default of five.
    for (fate, failed) in [(Fate::Status(503), 3), (Fate::Refused, 5)] {
        let run = mesh.run_with(sick(1, fate), every(&mesh.request("/"), Duration::from_millis(10), 5000));
        assert_eq!(mesh::failures(&run, 1), failed, "{fate:?}");
    }
}

#[test]
fn breaker_states_two_of_ten_are_out_for_thirty_seconds_and_come_back() {
    let mesh = Mesh::new(10).rule(
        "outlierDetection: { consecutive5xxErrors: 3, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 20, \
         minHealthPercent: 20 }",
    );
    let request = mesh.request("/");
    let three = sick(1, Fate::Status(500)).with(mesh::address(2), failing(Fate::Status(500)));
    let three = three.with(mesh::address(3), failing(Fate::Status(500)));
    let run = mesh.run_with(three, every(&request, Duration::from_millis(10), 2500));
    assert_eq!(run.most_ejected, 2, "closed, open");
    // The two cost three each; the third, with an eighth of what is left, stays.
    let failed = run.report.answered[&500];
    assert!((300..330).contains(&failed), "{failed}");
    // Half-open: at the first sweep after its 30 s it gets requests again, and three errors later it is out for 60 s.
    let run = mesh.run_with(sick(1, Fate::Status(500)), every(&request, Duration::from_millis(10), 9000));
    assert_eq!(run.report.answered[&500], 6);
}

#[test]
fn delay_injection_holds_up_a_tenth_for_five_seconds_and_fails_nobody() {
    let mesh = Mesh::new(3).route("fault: { delay: { percent: 10, fixedDelay: 5s } }");
    let run = mesh.run(Rules::default(), every(&mesh.request("/"), Duration::from_millis(1), 60_000));
    assert_eq!(run.report.answered, BTreeMap::from([(200, 60_000)]));
    let held_up = mesh::delays(&run.lines);
    within(held_up.len() as u64, 60_000, 0.1);
    assert!(held_up.iter().all(|delay| *delay == seconds(5)));
}

#[test]
fn error_injection_answers_a_twentieth_with_500_and_does_not_ask_the_service() {
    let mesh = Mesh::new(3).route("fault: { abort: { percent: 5, httpStatus: 500 } }");
    let run = mesh.run(Rules::default(), every(&mesh.request("/"), Duration::from_millis(1), 60_000));
    let aborted = run.report.filtered[&500];
    within(aborted, 60_000, 0.05);
    assert_eq!(run.report.tries, 60_000 - aborted);
}

#[test]
fn service_level_rules_give_a_critical_service_more_patience_than_another() {
    let critical = "connectionPool: { tcp: { maxConnections: 10000 }, http: { http1MaxPendingRequests: 100000 } }, \
                    outlierDetection: { consecutive5xxErrors: 10, interval: 5s, baseEjectionTime: 60s }";
    let other = "connectionPool: { tcp: { maxConnections: 100 }, http: { http1MaxPendingRequests: 1000 } }, \
                 outlierDetection: { consecutive5xxErrors: 3, interval: 30s, baseEjectionTime: 300s }";
    // In 180 s the critical one's endpoint is back once; the other's is not.
    for (rule, failed, connections) in [(critical, 20, 1000), (other, 3, 100)] {
        let mesh = Mesh::new(10).rule(rule);
        let traffic = every(&mesh.request("/"), Duration::from_millis(20), 9000);
        assert_eq!(mesh.run_with(sick(1, Fate::Status(500)), traffic).report.answered[&500], failed, "{rule}");
        let mesh = Mesh::new(1).rule(rule);
        let slow = Rules { latency: Latency::Constant(Duration::from_millis(10)), ..Rules::default() };
        assert_eq!(mesh.run(slow, all_at_once(&mesh.request("/"), 1000)).most_connections, connections, "{rule}");
    }
}

#[test]
fn api_level_rules_give_each_path_its_own_time_and_tries() {
    let mesh = Mesh::new(6).routes(&[
        "match: [{ uri: { prefix: /api/users/critical } }], timeout: 5s, retries: { attempts: 5, perTryTimeout: 1s }",
        "match: [{ uri: { prefix: /api/users/normal } }], timeout: 30s, retries: { attempts: 2, perTryTimeout: 10s }",
    ]);
    for (path, tries, limit) in [("/api/users/critical", 6, 1), ("/api/users/normal", 3, 10)] {
        let traffic = || every(&mesh.request(path), seconds(60), 10);
        assert_eq!(mesh.run(failing(Fate::Refused), traffic()).report.tries, 10 * tries, "{path}");
        let run = mesh.run(failing(Fate::Silence), traffic());
        assert_eq!((run.report.tries, end(&run.lines, 1)), (10, Some(seconds(limit))), "{path}");
    }
}
