//! Scripts of a call's life, in virtual time.

use super::*;
use crate::budget;
use crate::discovery::Discovery;
use crate::inflight;
use crate::origin::Origins;
use crate::outcome::{Body, Interim, Reached};
use crate::place::Place;
use crate::plan::{Endpoint, Service, Upstream};
use crate::retry::{BackOff, Conditions, NonIdempotent, Rules};
use crate::rng::Rng;
use crate::{balance, connection};
use std::time::Duration;

fn upstream(endpoints: u16) -> Upstream {
    let endpoint = |port| Endpoint {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        weight: 1,
        workload: "".into(),
        place: Place::default(),
    };
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
        discovery: Discovery::default(),
        endpoints: (1..=endpoints).map(endpoint).collect(),
        balance: balance::Rules::RoundRobin,
        inflight: inflight::Rules::default(),
        budget: budget::Rules::Off,
        connection: connection::Rules::default(),
        outlier: None,
        origins: Origins::default(),
        place: Place::default(),
    }
}

fn renew(cluster: &mut Cluster, upstream: Upstream) {
    let table = balance::Table::build(&upstream.balance, &upstream.endpoints);
    drop(cluster.renew(Arc::new(upstream), Arc::new(table)));
}

struct Script {
    cluster: Cluster,
    call: Call,
    rng: Rng,
    cursor: u64,
    now: Time,
}

impl Script {
    fn new(upstream: Upstream, retry: Option<Rules>, timeout: timeout::Rules, method: &str) -> Self {
        let idempotency = Idempotency::of_method(method.as_bytes());
        Self {
            cluster: Cluster::new(Arc::new(upstream)),
            call: Call::new(retry.map(Arc::new), timeout, idempotency, Some(Time::ZERO)),
            rng: Rng::new(1),
            cursor: 0,
            now: Time::ZERO,
        }
    }

    fn start(&mut self) -> Step {
        let mut draw = Draw { rng: &mut self.rng, cursor: &mut self.cursor };
        self.call.start(&mut self.cluster, &mut draw, self.now)
    }

    fn after(&mut self, millis: u64, outcome: Outcome) -> Step {
        self.now += Duration::from_millis(millis);
        let mut draw = Draw { rng: &mut self.rng, cursor: &mut self.cursor };
        self.call.answered(&mut self.cluster, &mut draw, &outcome, self.now)
    }

    /// Sleeps through the wait and takes the step after it.
    fn sleep(&mut self, step: &Step) -> Step {
        let Step::Wait(until) = step else { panic!("not a wait: {step:?}") };
        self.now = *until;
        let mut draw = Draw { rng: &mut self.rng, cursor: &mut self.cursor };
        self.call.woke(&mut self.cluster, &mut draw, self.now)
    }

    fn end(&mut self) {
        self.call.ended(&mut self.cluster, self.now);
        assert_eq!(self.cluster.inflight, inflight::Inflight::default(), "everything was given back");
    }
}

fn five_xx(attempts: u32) -> Rules {
    Rules { attempts, on: Conditions::FIVE_XX, non_idempotent: NonIdempotent::Guard, ..Rules::default() }
}

fn response(status: u16) -> Outcome {
    Outcome::response(status, Time::ZERO)
}

fn failure(result: outcome::Result, reached: Reached) -> Outcome {
    Outcome {
        result,
        reached,
        received: Some(Time::ZERO),
        body: Body::Kept,
        interim: Interim::None,
        connected: outcome::Connected::Yes,
    }
}

fn port(step: &Step) -> u16 {
    match step {
        Step::Try(attempt) => attempt.address.port(),
        other => panic!("not a try: {other:?}"),
    }
}

#[test]
fn a_503_is_retried_elsewhere_until_the_attempts_are_used() {
    let mut script = Script::new(upstream(3), Some(five_xx(2)), timeout::Rules::default(), "GET");
    let mut ports = vec![port(&script.start())];
    for _ in 0..2 {
        let wait = script.after(5, response(503));
        ports.push(port(&script.sleep(&wait)));
    }
    assert_eq!(ports, [1, 2, 3]);
    assert_eq!(script.after(5, response(503)), Step::Answer);
    assert_eq!(script.call.flags(), Flags::RETRIES_EXHAUSTED);
    assert_eq!(script.call.attempts(), 3);
    script.end();
    assert_eq!(script.cluster.counts.retries, 2);
}

#[test]
fn a_post_that_may_have_been_processed_is_not_sent_again() {
    for (reached, again) in [(Reached::Nothing, true), (Reached::Part, false), (Reached::Whole, false)] {
        let mut script = Script::new(upstream(2), Some(five_xx(2)), timeout::Rules::default(), "POST");
        script.start();
        let step = script.after(1, failure(outcome::Result::Closed, reached));
        assert_eq!(matches!(step, Step::Wait(_)), again, "{reached:?}: {step:?}");
        script.call.ended(&mut script.cluster, script.now);
    }
    let mut script = Script::new(upstream(2), Some(five_xx(2)), timeout::Rules::default(), "POST");
    script.start();
    assert_eq!(script.after(1, response(503)), Step::Answer, "any response was processed");
    assert_eq!(script.call.refused(), Some(No::Method));
    script.end();
    let rules = Rules { non_idempotent: NonIdempotent::Retry, ..five_xx(2) };
    let mut script = Script::new(upstream(2), Some(rules), timeout::Rules::default(), "POST");
    script.start();
    assert!(matches!(script.after(1, response(503)), Step::Wait(_)), "unless the policy says so");
}

#[test]
fn the_deadline_cuts_the_back_off_short() {
    let rules =
        Rules { back_off: BackOff { base: Duration::from_secs(60), max: Duration::from_secs(600) }, ..five_xx(3) };
    let limits = timeout::Rules { whole: Some(Duration::from_millis(800)), per_try: None };
    let mut script = Script::new(upstream(1), Some(rules), limits, "GET");
    script.start();
    let wait = script.after(300, response(503));
    assert_eq!(wait, Step::Wait(Time::from_millis(800)));
    assert_eq!(script.sleep(&wait), Step::Refuse(Refusal::Timeout));
    assert_eq!(script.cluster.inflight, inflight::Inflight::default());
}

#[test]
fn ceilings_refuse_and_are_never_retried() {
    let mut limited = upstream(1);
    limited.inflight.requests = 0;
    let mut script = Script::new(limited, Some(five_xx(3)), timeout::Rules::default(), "GET");
    assert_eq!(script.start(), Step::Refuse(Refusal::Overflow));
    let mut script = Script::new(upstream(1), Some(five_xx(3)), timeout::Rules::default(), "GET");
    script.start();
    let overflow = failure(outcome::Result::Overflow, Reached::Nothing);
    assert_eq!(script.after(0, overflow), Step::Refuse(Refusal::Overflow));
}

#[test]
fn max_retries_counts_retries_under_way() {
    let mut limited = upstream(1);
    limited.inflight.retries = 1;
    let mut first = Script::new(limited, Some(five_xx(3)), timeout::Rules::default(), "GET");
    first.start();
    assert!(matches!(first.after(1, response(503)), Step::Wait(_)));
    // A second call of the same cluster fails while the first one's retry waits.
    let mut second =
        Call::new(Some(Arc::new(five_xx(3))), timeout::Rules::default(), Idempotency::Safe, Some(Time::ZERO));
    let mut draw = Draw { rng: &mut first.rng, cursor: &mut first.cursor };
    second.start(&mut first.cluster, &mut draw, first.now);
    assert_eq!(second.answered(&mut first.cluster, &mut draw, &response(503), first.now), Step::Answer);
    assert_eq!(second.flags(), Flags::OVERFLOW);
    second.ended(&mut first.cluster, first.now);
    first.end();
}

#[test]
fn without_endpoints_there_is_no_healthy_upstream() {
    let mut script = Script::new(upstream(0), None, timeout::Rules::default(), "GET");
    assert_eq!(script.start(), Step::Refuse(Refusal::NoHealthy));
}

#[test]
fn a_body_that_was_not_kept_or_an_interim_response_forbids_a_retry() {
    for (body, interim, no) in
        [(Body::NotKept, Interim::None, No::BodyNotKept), (Body::Kept, Interim::Passed, No::Started)]
    {
        let mut script = Script::new(upstream(1), Some(five_xx(1)), timeout::Rules::default(), "PUT");
        script.start();
        assert_eq!(script.after(1, Outcome { body, interim, ..response(500) }), Step::Answer);
        assert_eq!(script.call.refused(), Some(no));
        script.end();
    }
}

#[test]
fn a_reload_keeps_what_is_under_way_to_an_endpoint_that_left() {
    let mut script = Script::new(upstream(2), None, timeout::Rules::default(), "GET");
    let first = script.start();
    let mut smaller = upstream(2);
    smaller.endpoints.remove(0);
    renew(&mut script.cluster, smaller);
    assert_eq!(port(&first), 1);
    assert_eq!(script.cluster.address(script.call.endpoint().expect("trying")).port(), 1, "still known");
    assert_eq!(script.after(1, response(200)), Step::Answer);
    script.end();
    renew(&mut script.cluster, upstream(2));
    assert_eq!(script.cluster.active().count(), 2);
}

#[test]
fn back_off_bounds_are_envoys() {
    let bounds: Vec<u128> = (1..=6).map(|n| BackOff::default().bound(n).as_millis()).collect();
    assert_eq!(bounds, [25, 50, 100, 200, 250, 250]);
    let seed = BackOff { base: Duration::from_secs(1), max: Duration::from_secs(10) };
    let bounds: Vec<u64> = (1..=6).map(|n| seed.bound(n).as_secs()).collect();
    assert_eq!(bounds, [1, 2, 4, 8, 10, 10]);
    let mut rng = Rng::new(5);
    assert!((0..1000).all(|_| BackOff::default().draw(1, &mut rng) < Duration::from_millis(25)));
}

/// Runs a request to its end with these outcomes, one after the other; where each try went.
fn ask(cluster: &mut Cluster, rng: &mut Rng, cursor: &mut u64, outcomes: &[u16], now: Time) -> Vec<u16> {
    let mut call = Call::new(None, timeout::Rules::default(), Idempotency::Safe, Some(now));
    let mut ports = Vec::new();
    let step = call.start(cluster, &mut Draw { rng, cursor }, now);
    if let Step::Try(attempt) = step {
        ports.push(attempt.address.port());
        let outcome = Outcome::response(outcomes[usize::from(attempt.address.port()) - 1], now);
        assert_eq!(call.answered(cluster, &mut Draw { rng, cursor }, &outcome, now), Step::Answer);
        call.ended(cluster, now);
    }
    ports
}

#[test]
fn calls_leave_an_ejected_endpoint_alone_until_it_returns() {
    let rules = outlier::Rules { max_percent: 10, ..outlier::Rules::default() };
    for (hosts, tries_of_the_bad_one) in [(10u16, 5), (9, 11)] {
        let mut cluster = Cluster::new(Arc::new(Upstream { outlier: Some(rules.clone()), ..upstream(hosts) }));
        let (mut rng, mut cursor, mut counts) = (Rng::new(1), 0, vec![0; 10]);
        let statuses: Vec<u16> = (0..hosts).map(|index| if index == 3 { 500 } else { 200 }).collect();
        for _ in 0..11 * hosts {
            for port in ask(&mut cluster, &mut rng, &mut cursor, &statuses, Time::from_millis(1)) {
                counts[usize::from(port) - 1] += 1;
            }
        }
        assert_eq!(counts[3], tries_of_the_bad_one, "{hosts} endpoints");
        // A reload with the same endpoints keeps it out; a day later it is back.
        renew(&mut cluster, Upstream { outlier: Some(rules.clone()), ..upstream(hosts) });
        assert_eq!(cluster.outlier().active(), u32::from(hosts == 10));
        cluster.tick(Time::from_millis(86_400_000));
        assert_eq!(cluster.outlier().active(), 0);
    }
}

#[test]
fn with_every_endpoint_ejected_there_is_none_unless_panic_allows_all() {
    for (min_health_percent, refused) in [(0, true), (1, false)] {
        let rules =
            outlier::Rules { errors: Some(1), max_percent: 100, min_health_percent, ..outlier::Rules::default() };
        let mut script =
            Script::new(Upstream { outlier: Some(rules), ..upstream(1) }, None, timeout::Rules::default(), "GET");
        script.start();
        script.after(1, response(500));
        script.end();
        script.call = Call::new(None, timeout::Rules::default(), Idempotency::Safe, Some(Time::ZERO));
        assert_eq!(script.start() == Step::Refuse(Refusal::NoHealthy), refused);
        script.end();
    }
}

#[test]
fn of_1050_requests_at_once_1000_get_a_connection_and_the_others_wait() {
    let rules = inflight::Rules { connections: 1000, pending: 10_000, ..inflight::Rules::default() };
    let mut now = inflight::Inflight::default();
    let held = |index| if index == 0 { inflight::Held::None } else { inflight::Held::Some };
    let ways: Vec<_> = (0..1050).map(|index| now.wait(&rules, held(index))).collect();
    assert_eq!(ways.iter().filter(|way| **way == Ok(inflight::Wait::Dial)).count(), 1000);
    assert_eq!(ways.iter().filter(|way| **way == Ok(inflight::Wait::Queue)).count(), 50);
}

#[test]
fn of_1050_requests_at_once_http2_max_requests_refuses_50() {
    let inflight = inflight::Rules { requests: 1000, ..inflight::Rules::default() };
    let mut cluster = Cluster::new(Arc::new(Upstream { inflight, ..upstream(3) }));
    let (mut rng, mut cursor) = (Rng::new(1), 0);
    let new = || Call::new(None, timeout::Rules::default(), Idempotency::Safe, Some(Time::ZERO));
    let mut calls: Vec<Call> = (0..1050).map(|_| new()).collect();
    let mut draw = Draw { rng: &mut rng, cursor: &mut cursor };
    let steps: Vec<Step> = calls.iter_mut().map(|call| call.start(&mut cluster, &mut draw, Time::ZERO)).collect();
    assert_eq!(steps.iter().filter(|step| **step == Step::Refuse(Refusal::Overflow)).count(), 50);
    calls.iter_mut().for_each(|call| call.ended(&mut cluster, Time::ZERO));
    assert_eq!((cluster.inflight.requests, cluster.counts.overflow_requests), (0, 50));
}

#[test]
fn waits_before_retries_lie_in_their_intervals_and_are_counted() {
    let seed = BackOff { base: Duration::from_secs(1), max: Duration::from_secs(10) };
    let mut longest = [Duration::ZERO; 5];
    for run in 0..200 {
        let rules = Rules { back_off: seed, ..five_xx(5) };
        let mut script = Script::new(upstream(2), Some(rules), timeout::Rules::default(), "GET");
        script.rng = Rng::new(run);
        let mut step = script.start();
        for longest in &mut longest {
            step = script.after(1, response(503));
            let Step::Wait(until) = step else { panic!("not a wait: {step:?}") };
            *longest = (*longest).max(until.since(script.now));
            step = script.sleep(&step);
        }
        assert!(matches!(step, Step::Try(_)));
        assert_eq!(script.after(1, response(503)), Step::Answer);
        script.end();
        assert_eq!(script.cluster.counts.back_off.buckets.iter().sum::<u64>(), 5);
        assert_eq!(script.cluster.counts.retried.buckets.iter().sum::<u64>(), 1);
    }
    for (longest, bound) in longest.iter().zip([1, 2, 4, 8, 10]) {
        let bound = Duration::from_secs(bound);
        assert!(*longest < bound && *longest > bound * 9 / 10, "{longest:?} of {bound:?}");
    }
}

#[test]
fn what_a_server_says_about_another_try_is_heeded() {
    let said = |again| {
        let head = outcome::Response { again, ..outcome::Response::plain(503) };
        Outcome { result: outcome::Result::Response(head), ..response(503) }
    };
    let limits = timeout::Rules { whole: Some(Duration::from_millis(800)), per_try: None };
    let started = || {
        let mut script = Script::new(upstream(1), Some(five_xx(2)), limits, "GET");
        script.start();
        script
    };
    let mut script = started();
    assert_eq!(script.after(1, said(Again::After(Duration::from_millis(300)))), Step::Wait(Time::from_millis(301)));
    script.call.ended(&mut script.cluster, script.now);
    for (again, no) in [
        (Again::After(Duration::from_millis(900)), No::Time),
        (Again::After(Duration::from_secs(3600)), No::Time),
        (Again::Never, No::PushBack),
    ] {
        let mut script = started();
        assert_eq!(script.after(1, said(again)), Step::Answer, "{again:?}");
        assert_eq!(script.call.refused(), Some(no));
        script.end();
    }
}

#[test]
fn a_refused_stream_is_retried_whatever_its_method() {
    let mut script = Script::new(upstream(2), Some(Rules::default()), timeout::Rules::default(), "POST");
    script.start();
    let refused = failure(outcome::Result::RefusedStream, Reached::Nothing);
    assert!(matches!(script.after(1, refused), Step::Wait(_)), "by the default policy");
    script.call.ended(&mut script.cluster, script.now);
}

/// A call whose every try feels the same fault.
fn faulty(delay: Option<u64>, abort: Option<fault::Status>, retry: Option<Rules>, time: timeout::Rules) -> Script {
    let mut script = Script::new(upstream(3), retry, time, "GET");
    let share = crate::share::Share::ALL;
    let length = |millis| fault::Length::Fixed(Duration::from_millis(millis));
    let rules = fault::Rules {
        delay: delay.map(|millis| fault::Delay { length: length(millis), share }),
        abort: abort.map(|status| fault::Abort { status: fault::AbortStatus::Fixed(status), share }),
        headers: Vec::new(),
    };
    script.call = script.call.faulted(Some(Arc::new(rules)));
    script
}

/// What a world does that obeys the attempt and knows gRPC from the rest.
fn felt(script: &mut Script, step: &Step, respond: fn(fault::Status) -> outcome::Response) -> Step {
    let Step::Try(attempt) = step else { panic!("not a try: {step:?}") };
    let until = attempt.fault.delay.map_or(script.now, |length| script.now + length);
    let (result, end) = match attempt.limits.deadline(Time::ZERO) {
        Some((due, timeout::Which::Whole)) if due <= until => (outcome::Result::WholeTimeout, due),
        Some((due, timeout::Which::PerTry)) if due <= until => (outcome::Result::PerTryTimeout, due),
        _ => {
            let own = outcome::Response::plain(200);
            (outcome::Result::Response(attempt.fault.abort.map_or(own, respond)), until)
        }
    };
    let length = end.since(script.now).as_millis() as u64;
    script.after(length, failure(result, Reached::Whole))
}

/// Goes on to the end: the tries and the last step.
fn rehearse(script: &mut Script, respond: fn(fault::Status) -> outcome::Response) -> (u32, Step) {
    let mut step = script.start();
    loop {
        step = match step {
            Step::Try(_) => felt(script, &step, respond),
            Step::Wait(_) => script.sleep(&step),
            Step::Answer | Step::Refuse(_) => {
                let tries = script.call.attempts();
                script.end();
                return (tries, step);
            }
        };
    }
}

#[test]
fn an_abort_of_every_try_is_retried_until_the_attempts_are_used() {
    let mut script = faulty(None, Some(fault::Status::Http(503)), Some(five_xx(2)), timeout::Rules::default());
    let came = rehearse(&mut script, fault::Status::plain_response);
    assert_eq!(came, (3, Step::Refuse(Refusal::Fault)));
    assert_eq!(script.call.abort(), Some(fault::Status::Http(503)));
    assert_eq!(script.call.flags(), Flags::RETRIES_EXHAUSTED.with(Flags::FAULT_INJECTED));
    assert_eq!(script.cluster.counts.retries, 2);
    for (status, retry) in [(418, Some(five_xx(2))), (503, None)] {
        let mut script = faulty(None, Some(fault::Status::Http(status)), retry, timeout::Rules::default());
        assert_eq!(rehearse(&mut script, fault::Status::plain_response), (1, Step::Refuse(Refusal::Fault)));
        assert_eq!(script.call.flags(), Flags::FAULT_INJECTED);
    }
}

#[test]
fn a_delay_of_every_try_counts_against_its_timeouts() {
    let limits = |whole: Option<u64>, per_try| timeout::Rules {
        whole: whole.map(Duration::from_millis),
        per_try: Some(Duration::from_millis(per_try)),
    };
    for on in [Conditions::FIVE_XX, Conditions::RESET] {
        let mut script = faulty(Some(2000), None, Some(Rules { on, ..five_xx(2) }), limits(None, 300));
        assert_eq!(rehearse(&mut script, fault::Status::plain_response), (3, Step::Refuse(Refusal::PerTryTimeout)));
        let flags = Flags::RETRIES_EXHAUSTED.with(Flags::DELAY_INJECTED).with(Refusal::PerTryTimeout.flags());
        assert_eq!(script.call.flags(), flags, "the abort behind the delay was not reached");
    }
    let mut script = faulty(Some(2000), Some(fault::Status::Http(503)), Some(five_xx(2)), limits(Some(500), 300));
    assert_eq!(rehearse(&mut script, fault::Status::plain_response), (2, Step::Refuse(Refusal::Timeout)));
    assert_eq!(script.now, Time::from_millis(500));
    let mut script = faulty(Some(200), None, Some(five_xx(2)), limits(None, 300));
    assert_eq!(rehearse(&mut script, fault::Status::plain_response), (1, Step::Answer));
    assert_eq!((script.now, script.call.flags()), (Time::from_millis(200), Flags::DELAY_INJECTED));
}

#[test]
fn an_abort_of_a_grpc_request_is_judged_by_its_grpc_status() {
    let on = Conditions::GRPC_UNAVAILABLE;
    for (status, tries) in [(fault::Status::Http(503), 3), (fault::Status::Grpc(14), 3), (fault::Status::Grpc(13), 1)] {
        let retry = Rules { on, ..five_xx(2) };
        let mut script = faulty(None, Some(status), Some(retry), timeout::Rules::default());
        let came = rehearse(&mut script, fault::Status::grpc_response);
        assert_eq!(came, (tries, Step::Refuse(Refusal::Fault)), "{status:?}");
    }
}

#[test]
fn an_abort_of_every_try_ejects_as_an_answer_would() {
    let rules = outlier::Rules { errors: Some(1), max_percent: 100, ..outlier::Rules::default() };
    let mut script = faulty(None, Some(fault::Status::Http(503)), None, timeout::Rules::default());
    script.cluster = Cluster::new(Arc::new(Upstream { outlier: Some(rules), ..upstream(3) }));
    let step = script.start();
    let Step::Try(attempt) = step.clone() else { panic!("{step:?}") };
    assert_eq!(felt(&mut script, &step, fault::Status::plain_response), Step::Refuse(Refusal::Fault));
    let health = script.cluster.healths().find(|(address, _)| *address == attempt.address).expect("it").1;
    assert_eq!(health.ejections.iter().sum::<u64>(), 1);
    script.end();
}
