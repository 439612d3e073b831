//! What must hold after every event and at the end, said again in plain counts: none of it asks the policies.

use crate::mesh::Mesh;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::budget;
use weir_policy::cluster::Cluster;
use weir_policy::inflight::Inflight;
use weir_policy::outlier;
use weir_policy::plan::Upstream;
use weir_policy::refusal::Refusal;
use weir_policy::time::Time;
use weir_sim::report::Report;
use weir_sim::trace::{Line, What};

/// See the module.
pub(crate) struct Invariants<'a> {
    mesh: &'a Mesh,
    before: Inflight,
    rules: Option<Arc<Upstream>>,
    /// Connections when the present rules came.
    open: u32,
    ejected: u32,
    calls: HashMap<u64, Known>,
    firsts: Recent,
    /// Calls that began: filters had let their requests pass.
    begun: u64,
    /// Of the default budget's time: another budget's says nothing to it.
    by_default: ByDefault,
    tries: u64,
}

#[derive(Default)]
struct ByDefault {
    firsts: Recent,
    retries: Recent,
}

/// What is known of a call.
#[derive(Default)]
struct Known {
    began: Option<Time>,
    tries: u32,
    ends: u32,
    /// It is a copy: of another service, and none of the rules here is about it.
    copy: bool,
}

impl Known {
    /// Is it still before its filters, or at its end by them? A call itself answers nothing without a try.
    const fn outside(&self, what: &What) -> bool {
        match what {
            What::Delay(_) => true,
            What::Answer { .. } | What::Refuse { refusal: Refusal::ClientGone, .. } => self.tries == 0,
            _ => false,
        }
    }

    /// A copy has one try, and one end.
    fn copied(&mut self, what: &What, tries: &mut u64) -> Held {
        match what {
            What::Try { .. } => {
                *tries += 1;
                self.tries += 1;
            }
            What::Answer { .. } | What::Refuse { .. } => self.ends += 1,
            _ => {}
        }
        hold(self.tries <= 1 && self.ends <= 1, || "a copy is sent twice, or ends twice".to_owned())
    }
}

/// Moments of the last ten seconds.
#[derive(Default)]
struct Recent(VecDeque<Time>);

impl Recent {
    fn add(&mut self, now: Time) {
        self.0.push_back(now);
        while self.0.front().is_some_and(|first| now.since(*first) > Duration::from_secs(10)) {
            self.0.pop_front();
        }
    }

    fn within(&self, length: Duration, now: Time) -> u64 {
        self.0.iter().filter(|at| now.since(**at) <= length).count() as u64
    }
}

type Held = Result<(), String>;

fn hold(holds: bool, words: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(words()) }
}

impl<'a> Invariants<'a> {
    pub(crate) fn new(mesh: &'a Mesh) -> Self {
        Self {
            mesh,
            before: Inflight::default(),
            rules: None,
            open: 0,
            ejected: 0,
            calls: HashMap::new(),
            firsts: Recent::default(),
            begun: 0,
            by_default: ByDefault::default(),
            tries: 0,
        }
    }

    pub(crate) fn after_event(&mut self, cluster: &Cluster, lines: &[Line], now: Time) -> Held {
        for line in lines {
            self.step(cluster, line)?;
        }
        self.ceilings(cluster)?;
        self.ejections(cluster)?;
        let active: u32 = cluster.active().map(|(_, active)| active).sum();
        hold(active <= cluster.inflight.requests, || format!("{active} at endpoints, {:?} in all", cluster.inflight))?;
        self.before = cluster.inflight;
        hold(lines.iter().all(|line| line.at == now), || "a step of another time".to_owned())
    }

    fn step(&mut self, cluster: &Cluster, line: &Line) -> Held {
        let known = self.calls.entry(line.call).or_default();
        known.copy |= line.what == What::Copy;
        if known.copy {
            return known.copied(&line.what, &mut self.tries);
        }
        if line.call > 0 && known.began.is_none() && !known.outside(&line.what) {
            known.began = Some(line.at);
            self.begun += 1;
            self.firsts.add(line.at);
            if cluster.rules().budget == budget::Rules::Default {
                self.by_default.firsts.add(line.at);
            }
        }
        let began = known.began.unwrap_or(line.at);
        match &line.what {
            What::Try { address, number } => {
                self.tries += 1;
                known.tries += 1;
                let tries = known.tries;
                hold(*number == tries, || format!("try {number} of call {} is its {tries}.", line.call))?;
                let attempts = self.mesh.request.retry.as_ref().map_or(0, |rules| rules.attempts);
                hold(tries <= 1 + attempts, || format!("try {number} of {attempts} retries"))?;
                let whole = self.mesh.request.timeout.whole;
                let late = whole.is_some_and(|whole| line.at >= began + whole);
                hold(!late, || format!("call {}: a try after its deadline", line.call))?;
                may_be_tried(cluster, *address)
            }
            What::Wait(_) => {
                hold(known.ends == 0, || format!("call {} goes on after its end", line.call))?;
                self.retry(cluster, line.at)
            }
            What::Answer { .. } | What::Refuse { .. } => {
                known.ends += 1;
                hold(known.ends == 1, || format!("call {} ends twice", line.call))
            }
            What::End | What::CutOff | What::Left => {
                hold(known.ends == 1, || format!("call {} ends without an answer", line.call))
            }
            What::Delay(_) => hold(known.tries == 0, || format!("call {} is held up after a try", line.call)),
            What::Note(_) | What::Copy => Ok(()),
        }
    }

    /// A retry was allowed just now.
    fn retry(&mut self, cluster: &Cluster, now: Time) -> Held {
        let after = cluster.inflight;
        match cluster.rules().budget {
            budget::Rules::Off => Ok(()),
            budget::Rules::Default => {
                // The window's oldest tenth of a second leaves as a whole.
                self.by_default.retries.add(now);
                let retries = self.by_default.retries.within(Duration::from_millis(9900), now);
                let firsts = self.by_default.firsts.within(Duration::from_secs(10), now);
                hold(retries * 10 <= firsts * 2 + 300, || format!("{retries} retries of {firsts} firsts in 10 s"))
            }
            budget::Rules::Written(written) => {
                let base = match written.interval {
                    Some(interval) => self.firsts.within(interval, now),
                    // The call itself was still under way when it asked.
                    None => u64::from(after.requests + 1 + self.before.pending.max(after.pending)),
                };
                let earned = (base as f64 * written.percent / 100.0).floor().max(f64::from(written.minimum));
                let others = after.retries - 1;
                hold(f64::from(others) < earned, || format!("a retry beside {others} others, {earned} allowed"))
            }
        }
    }

    /// Never above the ceilings; a ceiling that was lowered lets nobody else in.
    fn ceilings(&mut self, cluster: &Cluster) -> Held {
        if self.rules.as_ref().is_none_or(|rules| !Arc::ptr_eq(rules, cluster.rules())) {
            self.rules = Some(Arc::clone(cluster.rules()));
            self.open = self.before.connections;
        }
        let (now, before, rules) = (cluster.inflight, self.before, cluster.rules().inflight);
        // Each endpoint that there is or was may have one connection beyond the ceiling, and beyond those that were
        // open when the ceiling came.
        let connections = rules.connections.max(self.open).saturating_add(25);
        for (name, now, before, ceiling) in [
            ("requests", now.requests, before.requests, rules.requests),
            ("waiting", now.pending, before.pending, rules.pending),
            ("retries", now.retries, before.retries, rules.retries),
            ("connections", now.connections, before.connections, connections),
        ] {
            hold(now <= ceiling || now <= before, || format!("{now} {name}, at most {ceiling}"))?;
        }
        Ok(())
    }

    /// Envoy's formula, for each that is ejected.
    fn ejections(&mut self, cluster: &Cluster) -> Held {
        let ejected = cluster.healths().filter(|(_, health)| health.is_ejected()).count() as u32;
        let before = std::mem::replace(&mut self.ejected, ejected);
        hold(ejected == cluster.outlier().active(), || format!("{ejected} ejected, counted otherwise"))?;
        if ejected <= before {
            return Ok(());
        }
        let Some(rules) = &cluster.rules().outlier else { return Err("ejected without rules".to_owned()) };
        let hosts = cluster.rules().endpoints.len() as u32;
        hold(ejected * 100 <= rules.max_percent * hosts, || {
            format!("{ejected} of {hosts} ejected, at most {} %", rules.max_percent)
        })
    }

    pub(crate) fn at_the_end(&self, cluster: &Cluster, report: &Report, under_way: usize) -> Held {
        hold(under_way == 0, || format!("{under_way} calls are still under way"))?;
        hold(cluster.inflight == Inflight::default(), || format!("left over: {:?}", cluster.inflight))?;
        let active: u32 = cluster.active().map(|(_, active)| active).sum();
        hold(active == 0, || format!("{active} requests left over at endpoints"))?;
        hold(report.started == report.ended, || format!("{} began, {} ended", report.started, report.ended))?;
        let answered: u64 = report.answered.values().sum();
        let refused: u64 = report.refused.values().sum();
        let filtered: u64 = report.filtered.values().sum();
        let sum = answered + refused + filtered + report.broken_off;
        hold(sum == report.ended, || format!("{sum} ends by kind, {} in all", report.ended))?;
        hold(report.tries == self.tries, || format!("{} tries counted, {} seen", report.tries, self.tries))?;
        let shares: u64 = report.endpoints.values().map(|share| share.tries).sum();
        hold(shares == self.tries, || format!("{shares} tries by endpoint, {} seen", self.tries))?;
        let open = self.calls.iter().find(|(call, known)| **call > 0 && known.ends != 1);
        hold(open.is_none(), || format!("call {:?} has not ended once", open.map(|(call, _)| *call)))?;
        let firsts = cluster.counts.firsts;
        hold(firsts == self.begun, || format!("{firsts} firsts, {} calls", self.begun))?;
        // Who left while a fault held it up never was a call.
        let most = report.started - report.copies - filtered;
        let left = report.refused.get("client_gone").copied().unwrap_or(0);
        hold(firsts <= most && firsts + left >= most, || format!("{firsts} firsts of {most}, {left} left"))
    }
}

/// It is one of the endpoints, and not ejected; unless all are used in panic.
fn may_be_tried(cluster: &Cluster, address: SocketAddr) -> Held {
    let Some((_, health)) = cluster.healths().find(|(known, _)| *known == address) else {
        return Err(format!("{address} is tried, and is no endpoint"));
    };
    let hosts = cluster.rules().endpoints.len() as u32;
    let usable = hosts - cluster.outlier().active();
    let panic = cluster.rules().outlier.as_ref().is_some_and(|rules| outlier::is_panic(rules, usable, hosts));
    hold(!health.is_ejected() || panic, || format!("{address} is tried, and ejected"))
}
