//! A mesh from a seed: rules of every policy, tiny ceilings among them; servers that fail; traffic; reloads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::balance::key::Key;
use weir_policy::balance::{Hash, Shape};
use weir_policy::budget::Written;
use weir_policy::fault::{Abort, AbortStatus, Delay, Length, Status};
use weir_policy::filter::{Chain, Filter};
use weir_policy::limit::{Fill, Limit, LimitIndex};
use weir_policy::outlier::Origin;
use weir_policy::plan::Upstream;
use weir_policy::retry::{BackOff, Conditions, Idempotency, NonIdempotent, Previous};
use weir_policy::rng::Rng;
use weir_policy::share::Share;
use weir_policy::time::Time;
use weir_policy::{balance, budget, fault, inflight, limit, outlier, rate, retry, timeout};
use weir_sim::gate::Pots;
use weir_sim::latency::Latency;
use weir_sim::modelled::Modelled;
use weir_sim::script::rules::{endpoint, upstream};
use weir_sim::server::{Failure, Fate, Fault, Outage, Rules};
use weir_sim::traffic::{Mirror, Request, Traffic};
use weir_sim::world::{Planned, World};

/// How long traffic comes.
const LENGTH: u64 = 15_000;

/// See the module.
pub(crate) struct Mesh {
    pub(crate) seed: u64,
    pub(crate) upstream: Upstream,
    /// The rules of the one route.
    pub(crate) request: Request,
    traffic: Vec<Traffic>,
    servers: Vec<(SocketAddr, Rules)>,
    reloads: Vec<(Time, Upstream)>,
}

impl Mesh {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice(Rng::new(seed.wrapping_mul(0x9E37_79B9)));
        let upstream = dice.upstream();
        let request = dice.request();
        let traffic = (0..dice.between(1, 3)).map(|_| dice.traffic(&request)).collect();
        let servers = (1..=25).map(|last| (endpoint(last, 1).address, dice.server())).collect();
        let mut reloads = Vec::new();
        for _ in 0..dice.below(5) {
            let at = Time::from_millis(dice.below(LENGTH));
            let mut changed = if dice.chance(50) { dice.upstream() } else { upstream.clone() };
            changed.endpoints = dice.endpoints();
            reloads.push((at, changed));
        }
        Self { seed, upstream, request, traffic, servers, reloads }
    }

    pub(crate) fn world(&self) -> World<Modelled> {
        let mut servers = Modelled::new(Rules::default(), self.seed);
        for (address, rules) in &self.servers {
            servers = servers.with(*address, rules.clone());
        }
        // The second serves copies only.
        let services = vec![Arc::new(self.upstream.clone()), Arc::new(upstream(3))];
        let mut world = World::new(services, servers, self.traffic.clone(), self.seed);
        world.keep_lines();
        world.lend(Pots::of(&self.request.chain));
        for (at, upstream) in &self.reloads {
            world.plan(*at, Planned::Renew { service: 0, upstream: Arc::new(upstream.clone()) });
        }
        world
    }
}

struct Dice(Rng);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    fn one<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.0.below(all.len() as u64) as usize].clone()
    }

    fn endpoints(&mut self) -> Vec<weir_policy::plan::Endpoint> {
        let (count, first) = (self.between(1, 20), self.between(1, 5));
        let even = self.chance(70);
        (0..count)
            .map(|index| endpoint((first + index) as u8, if even { 1 } else { self.between(1, 5) as u32 }))
            .collect()
    }

    fn upstream(&mut self) -> Upstream {
        let hash = |shape| balance::Rules::Hash(Hash { key: Key::Source, shape });
        let balance = [
            balance::Rules::RoundRobin,
            balance::Rules::LeastRequest,
            balance::Rules::Random,
            hash(Shape::Ring(64)),
            hash(Shape::Maglev(101)),
        ];
        let percent = [5.0, 20.0, 50.0];
        let written = Written {
            percent: self.one(&percent),
            minimum: self.between(0, 4) as u32,
            interval: if self.chance(30) { Some(self.millis(100, 10_000)) } else { None },
        };
        let budget = [budget::Rules::Default, budget::Rules::Off, budget::Rules::Written(written)];
        Upstream {
            endpoints: self.endpoints(),
            balance: self.one(&balance),
            budget: self.one(&budget),
            inflight: self.ceilings(),
            outlier: if self.chance(70) { Some(self.outlier()) } else { None },
            ..upstream(1)
        }
    }

    fn ceilings(&mut self) -> inflight::Rules {
        let mut one = |high| if self.chance(40) { self.between(1, high) as u32 } else { u32::MAX };
        inflight::Rules { connections: one(6), pending: one(6), requests: one(20), retries: one(4) }
    }

    fn outlier(&mut self) -> outlier::Rules {
        let local = self.between(1, 4) as u32;
        outlier::Rules {
            errors: self.one(&[None, Some(1), Some(2), Some(5)]),
            gateway: self.one(&[None, Some(1), Some(3)]),
            origin: self.one(&[Origin::Shared, Origin::Shared, Origin::Split(Some(local))]),
            interval: self.millis(50, 3000),
            base: self.millis(50, 3000),
            jitter: self.millis(0, 20),
            max_percent: self.one(&[0, 10, 34, 50, 100]),
            min_health_percent: self.one(&[0, 0, 30, 80]),
            ..outlier::Rules::default()
        }
    }

    fn request(&mut self) -> Request {
        let on = [
            Conditions::FIVE_XX,
            Conditions::GATEWAY_ERROR,
            Conditions::CONNECT_FAILURE.with(Conditions::RESET_BEFORE_REQUEST),
            Conditions::RESET,
        ];
        let base = self.millis(1, 300);
        let rules = retry::Rules {
            attempts: self.between(1, 6) as u32,
            on: self.one(&on),
            back_off: BackOff { base, max: base * 10 },
            previous: self.one(&[Previous::Avoid, Previous::Allow]),
            non_idempotent: self.one(&[NonIdempotent::Guard, NonIdempotent::Retry]),
            ..retry::Rules::default()
        };
        let whole = if self.chance(70) { Some(self.millis(20, 3000)) } else { None };
        let per_try = if self.chance(50) { Some(self.millis(5, 500)) } else { None };
        // Somebody must end a request that is never answered.
        let high = self.millis(100, 4000);
        let patience = Latency::Uniform { low: Duration::ZERO, high };
        Request {
            service: 0,
            retry: if self.chance(90) { Some(Arc::new(rules)) } else { None },
            timeout: timeout::Rules { whole, per_try },
            idempotency: self.one(&[Idempotency::Safe, Idempotency::Safe, Idempotency::Unsafe]),
            hash: None,
            chain: Arc::new(self.chain()),
            mirrors: self.mirrors(),
            patience: if whole.is_none() || self.chance(30) { Some(patience) } else { None },
        }
    }

    fn chain(&mut self) -> Chain {
        let mut filters = Vec::new();
        if self.chance(40) {
            let shares = [0.0, 1.0, 10.0, 50.0];
            let delay =
                Delay { length: Length::Fixed(self.millis(1, 300)), share: Share::of_percent(self.one(&shares)) };
            let status = AbortStatus::Fixed(Status::Http(self.one(&[418, 503])));
            let abort = Abort { status, share: Share::of_percent(self.one(&shares)) };
            filters.push(Filter::Fault(fault::Rules { delay: Some(delay), abort: Some(abort), ..Default::default() }));
        }
        if self.chance(40) {
            let fill = Fill {
                max: self.between(1, 40) as u32,
                per_fill: self.between(1, 10) as u32,
                interval: self.millis(50, 2000),
            };
            let rules = limit::Rules::new("default/limit#0".into(), Some(fill));
            let rules = limit::Rules { enabled: Share::ALL, enforced: Share::ALL, ..rules };
            filters.push(Filter::Limit(Limit { rules: Arc::new(rules), index: LimitIndex(0), actions: Vec::new() }));
        }
        if self.chance(20) {
            let how = self.one(&[rate::How::Bucket, rate::How::Fixed]);
            let (requests, burst) = (self.between(1, 40) as u32, self.between(1, 20) as u32);
            let amount = rate::Amount { requests, per: self.millis(50, 2000), burst, how };
            let rules = Arc::new(rate::Rules::new("default/rate#0".into(), amount));
            filters.push(Filter::Rate(rate::Limit { rules, index: rate::RateIndex(0) }));
        }
        Chain { filters }
    }

    fn mirrors(&mut self) -> Vec<Mirror> {
        let share = Share::of_percent(self.one(&[10.0, 100.0]));
        if self.chance(30) { vec![Mirror { service: 1, share }] } else { Vec::new() }
    }

    fn traffic(&mut self, request: &Request) -> Traffic {
        let from = Time::from_millis(self.below(1000));
        let until = Time::from_millis(self.between(5000, LENGTH));
        let hash = if self.chance(50) { Some(self.0.next()) } else { None };
        let request = Request { hash, ..request.clone() };
        if self.chance(50) {
            let mean = self.millis(10, 150);
            Traffic::Open { request, gap: Latency::Exponential { mean }, from, until }
        } else {
            let high = self.millis(20, 800);
            let think = Latency::Uniform { low: Duration::from_millis(10), high };
            Traffic::Closed { request, clients: self.between(1, 8) as u32, think, from, until }
        }
    }

    fn server(&mut self) -> Rules {
        let (p50, times) = (self.millis(1, 60), self.between(2, 8) as u32);
        let latency = [
            Latency::Constant(p50),
            Latency::Uniform { low: Duration::ZERO, high: p50 * times },
            Latency::Lognormal { p50, p99: p50 * times },
        ];
        let fates = [Fate::Status(500), Fate::Status(503), Fate::Refused, Fate::Closed, Fate::Silence];
        let mut failures = Vec::new();
        for _ in 0..self.below(3) {
            failures.push(Failure { percent: self.between(1, 40) as f64, fate: self.one(&fates) });
        }
        let mut outages = Vec::new();
        for _ in 0..self.below(3) {
            let from = Time::from_millis(self.below(LENGTH));
            let fault = [Fault::Every(self.one(&fates)), Fault::Slow(self.between(2, 20) as f64)];
            outages.push(Outage { from, until: from + self.millis(100, 6000), fault: self.one(&fault) });
        }
        let workers = self.one(&[1, 2, 8, u32::MAX]);
        Rules { workers, queue: self.one(&[0, 4, 100]), latency: self.one(&latency), failures, outages }
    }
}
