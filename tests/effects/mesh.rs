//! A service with a rule and routes, compiled; its requests, run in virtual time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_config::{Bundle, Options, Severity, Text, compile};
use weir_policy::plan::Plan;
use weir_policy::retry::Idempotency;
use weir_policy::route::{Action, Facts, Found, Headers, Target};
use weir_policy::time::Time;
use weir_sim::gate::Pots;
use weir_sim::latency::Latency;
use weir_sim::modelled::Modelled;
use weir_sim::report::Report;
use weir_sim::server::{Failure, Fate, Rules};
use weir_sim::trace::{Line, What};
use weir_sim::traffic::{Request, Sending, Traffic};
use weir_sim::world::World;

/// Documents about `users.test`.
pub(crate) struct Mesh {
    documents: String,
}

/// What came of a run.
pub(crate) struct Run {
    pub(crate) report: Report,
    pub(crate) lines: Vec<Line>,
    /// At any time.
    pub(crate) most_connections: u32,
    /// Endpoints out at any time.
    pub(crate) most_ejected: u32,
}

/// No fields.
struct Bare;

impl Headers for Bare {
    fn each(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
}

/// The nth endpoint.
pub(crate) fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 8080))
}

impl Mesh {
    /// `users.test` with so many endpoints.
    pub(crate) fn new(endpoints: u8) -> Self {
        let endpoints: Vec<String> = (1..=endpoints).map(|n| format!("{{ address: {} }}", address(n).ip())).collect();
        let service = format!(
            "{{ hosts: [users.test], resolution: STATIC, ports: [{{ number: 8080, name: http, protocol: HTTP }}], \
             endpoints: [{}] }}",
            endpoints.join(", ")
        );
        Self { documents: String::new() }.document("ServiceEntry", &service)
    }

    pub(crate) fn document(self, kind: &str, spec: &str) -> Self {
        let group = "apiVersion: networking.istio.io/v1alpha3";
        let document = format!("---\n{group}\nkind: {kind}\nmetadata: {{ name: users }}\nspec: {spec}\n");
        Self { documents: self.documents + &document }
    }

    /// A DestinationRule; endpoints are asked in turn, so that counts are exact.
    pub(crate) fn rule(self, policy: &str) -> Self {
        let policy = format!("loadBalancer: {{ simple: ROUND_ROBIN }}, {policy}");
        self.document("DestinationRule", &format!("{{ host: users.test, trafficPolicy: {{ {policy} }} }}"))
    }

    /// A VirtualService with one rule.
    pub(crate) fn route(self, rule: &str) -> Self {
        self.routes(&[rule])
    }

    /// A VirtualService.
    pub(crate) fn routes(self, rules: &[&str]) -> Self {
        let to = "route: [{ destination: { host: users.test } }]";
        let rules: Vec<String> = rules.iter().map(|rule| format!("{{ {rule}, {to} }}")).collect();
        self.document("VirtualService", &format!("{{ hosts: [users.test], http: [{}] }}", rules.join(", ")))
    }

    fn plan(&self) -> Plan {
        let texts = vec![Text { name: "mesh.yaml".into(), text: self.documents.clone().into() }];
        let (plan, problems) = compile(&Bundle { texts, options: Options::default() });
        let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:?}\n{}", self.documents);
        plan
    }

    /// What the plan makes of a `GET` of this path.
    pub(crate) fn request(&self, path: &str) -> Request {
        let facts = Facts {
            authority: b"users.test",
            method: b"GET",
            scheme: b"http",
            path: path.as_bytes(),
            query: None,
            port: 8080,
            headers: &Bare,
        };
        let plan = self.plan();
        let Found::Entry(_, entry) = plan.outbound.find(&facts) else { panic!("no route: {}", self.documents) };
        let Action::Forward(forward) = &entry.then.action else { panic!("not forwarded: {}", self.documents) };
        let destination = &forward.destinations[0];
        let Target::Cluster(cluster) = &destination.target else { panic!("no cluster: {}", self.documents) };
        Request {
            service: cluster.0 as usize,
            retry: destination.retry.clone(),
            timeout: destination.timeout,
            idempotency: Idempotency::Safe,
            hash: None,
            patience: None,
            chain: Arc::new(entry.then.chain.clone()),
            mirrors: Vec::new(),
        }
    }

    /// Every endpoint behaves so.
    pub(crate) fn run(&self, servers: Rules, traffic: Traffic) -> Run {
        self.run_with(Modelled::new(servers, 1), traffic)
    }

    pub(crate) fn run_with(&self, servers: Modelled, traffic: Traffic) -> Run {
        let services = self.plan().clusters;
        assert_eq!(services.len(), 1, "one service: {}", self.documents);
        let mut world = World::new(services, servers, vec![traffic], 1);
        world.keep_lines();
        world.lend(Pots::default());
        let (mut lines, mut most_connections, mut most_ejected) = (Vec::new(), 0, 0);
        while let Some(due) = world.upcoming() {
            world.act(due);
            lines.extend(world.lines());
            let cluster = world.cluster(0);
            most_connections = most_connections.max(cluster.inflight.connections);
            most_ejected = most_ejected.max(cluster.outlier().active());
        }
        assert_eq!(world.report.started, world.report.ended);
        Run { report: world.report, lines, most_connections, most_ejected }
    }
}

pub(crate) fn failing(fate: Fate) -> Rules {
    Rules { failures: vec![Failure { percent: 100.0, fate }], ..Rules::default() }
}

/// The nth endpoint always fails so; the others are well.
pub(crate) fn sick(n: u8, fate: Fate) -> Modelled {
    Modelled::new(Rules::default(), 1).with(address(n), failing(fate))
}

pub(crate) fn all_at_once(request: &Request, count: usize) -> Traffic {
    Traffic::List(vec![Sending { at: Time::ZERO, request: request.clone() }; count])
}

/// So many, one each `gap`.
pub(crate) fn every(request: &Request, gap: Duration, count: u64) -> Traffic {
    let until = Time::from_nanos(gap.as_nanos() as u64 * count);
    Traffic::Open { request: request.clone(), gap: Latency::Constant(gap), from: Time::ZERO, until }
}

/// Answers of upstreams with this status.
pub(crate) fn answers(lines: &[Line], status: u16) -> impl Iterator<Item = &Line> {
    lines.iter().filter(move |line| matches!(line.what, What::Answer { status: is, .. } if is == status))
}

/// Tries of the nth endpoint that failed.
pub(crate) fn failures(run: &Run, n: u8) -> u64 {
    run.report
        .endpoints
        .iter()
        .filter(|(endpoint, _)| endpoint.address == address(n))
        .map(|(_, share)| share.failures)
        .sum()
}

/// How long a call's client waited for its answer.
pub(crate) fn end(lines: &[Line], call: u64) -> Option<Duration> {
    let mut of = lines.iter().filter(|line| line.call == call);
    let began = of.next()?.at;
    let end = of.find(|line| matches!(line.what, What::Answer { .. } | What::Refuse { .. }))?;
    Some(end.at.since(began))
}

/// How long each call waited before its retries.
pub(crate) fn waits(lines: &[Line]) -> BTreeMap<u64, Vec<Duration>> {
    let mut waits: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
    for line in lines {
        if let What::Wait(length) = line.what {
            waits.entry(line.call).or_default().push(length);
        }
    }
    waits
}

/// How long faults held requests up.
pub(crate) fn delays(lines: &[Line]) -> Vec<Duration> {
    lines.iter().filter_map(|line| if let What::Delay(length) = line.what { Some(length) } else { None }).collect()
}
