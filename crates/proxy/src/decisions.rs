//! Decision records on their way out: a bounded ring per worker, and the taps that watch live.
//!
//! ```text
//!   request ends ─► of interest? ──no──► nothing is made
//!                      │ failed, retried, of the sample, or somebody watches
//!                      └─► Decision ─┬─► the worker's ring; when it is full the oldest goes
//!                                    └─► each tap whose filter it passes; a tap that is behind loses it, counted
//! ```
//! Does not: format (`weir_control` does), or hold a plan: a record refers to its route and clusters only.

use crate::http::inquiry::{parts, table};
use crate::http::terms::wishes;
use crate::mesh::{Door, Live};
use crate::record::{Asked, Record};
use crate::worker::Worker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use weir_policy::decision::{Decision, Filter, Kept, LONGEST_NAME, LONGEST_PATH, Listener, MOST_DESTINATIONS, text};
use weir_policy::flag::Flags;
use weir_policy::plan::{Compatibility, Upstream};
use weir_policy::rate::{Judged, Mark};
use weir_policy::route::{Action, Route, Target};

/// Records that one worker keeps.
const MOST: usize = 1024;
/// Records that may wait for a tap.
const WAITING: usize = 1024;
/// Rate limits that a record has.
const MOST_JUDGED: usize = 16;
/// Taps at the same time.
const MOST_TAPS: usize = 16;
/// Of [`crate::Options::sample`].
const MILLION: u64 = 1_000_000;

/// What one worker kept, oldest first.
#[derive(Default)]
pub(crate) struct Ring(Mutex<VecDeque<Arc<Decision>>>);

impl Ring {
    fn push(&self, decision: Arc<Decision>) {
        let mut kept = self.0.lock();
        let oldest = if kept.len() == MOST { kept.pop_front() } else { None };
        kept.push_back(decision);
        drop(kept);
        drop(oldest);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Decision>> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Everybody who watches.
#[derive(Default, Debug)]
pub(crate) struct Taps {
    /// Is anybody? Read once per request.
    on: AtomicBool,
    ends: Mutex<Vec<End>>,
}

#[derive(Debug)]
struct End {
    filter: Filter,
    sender: mpsc::Sender<Arc<Decision>>,
    dropped: Arc<AtomicU64>,
}

/// Live records that pass a filter. Dropping it ends the watching.
#[derive(Debug)]
pub struct Tap {
    pub records: mpsc::Receiver<Arc<Decision>>,
    /// Records that were lost because nobody took those before them.
    pub dropped: Arc<AtomicU64>,
}

impl Taps {
    /// `None` = there are too many already.
    pub(crate) fn open(&self, filter: Filter) -> Option<Tap> {
        let mut ends = self.ends.lock();
        ends.retain(|end| !end.sender.is_closed());
        if ends.len() >= MOST_TAPS {
            return None;
        }
        let (sender, records) = mpsc::channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        ends.push(End { filter, sender, dropped: Arc::clone(&dropped) });
        self.on.store(true, Ordering::Relaxed);
        Some(Tap { records, dropped })
    }

    fn tell(&self, decision: &Arc<Decision>) {
        let mut ends = self.ends.lock();
        ends.retain(|end| {
            if !end.filter.holds(decision) {
                return !end.sender.is_closed();
            }
            match end.sender.try_send(Arc::clone(decision)) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    end.dropped.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(TrySendError::Closed(_)) => false,
            }
        });
        self.on.store(!ends.is_empty(), Ordering::Relaxed);
    }
}

/// A worker's end of it.
pub(crate) struct Decisions {
    pub(crate) ring: Arc<Ring>,
    /// Of a million requests that nothing happened to.
    pub(crate) sample: u32,
}

impl Decisions {
    /// Why there is to be a record of this request; `None` = there is to be none.
    pub(crate) fn wants(&self, worker: &Worker, record: &Record<'_>) -> Option<Kept> {
        let failed = record.flags != Flags::NONE || record.reason.is_some() || !(1..500).contains(&record.status);
        if failed {
            Some(Kept::Error)
        } else if record.attempts > 1 {
            Some(Kept::Retried)
        } else if self.sample > 0 && worker.rng.borrow_mut().below(MILLION) < u64::from(self.sample) {
            Some(Kept::Sample)
        } else {
            worker.mesh.taps.on.load(Ordering::Relaxed).then_some(Kept::Tap)
        }
    }
}

/// Makes the record, and gives it to whoever is to have it.
pub(crate) fn keep(record: &mut Record<'_>, worker: &Rc<Worker>, asked: Option<&Asked<'_>>, took: Duration, why: Kept) {
    let decision = Arc::new(decision(record, worker, asked, took, why));
    if worker.mesh.taps.on.load(Ordering::Relaxed) {
        worker.mesh.taps.tell(&decision);
    }
    if why != Kept::Tap {
        worker.decisions.ring.push(decision);
    }
}

fn decision(
    record: &mut Record<'_>,
    worker: &Worker,
    asked: Option<&Asked<'_>>,
    took: Duration,
    kept: Kept,
) -> Decision {
    let live = record.live;
    let method = asked.map(|asked| asked.request.method.of(asked.buf)).unwrap_or_default();
    let path = asked.map(|asked| asked.request.target.of(asked.buf)).unwrap_or_default();
    let authority = asked.map(|asked| {
        let form = weir_wire::split_target(asked.request.target.of(asked.buf));
        parts(&form, asked.request, asked.buf).2
    });
    let authority = authority.unwrap_or_default();
    let wished = live.zip(asked);
    let wished = wished.and_then(|(live, asked)| wishes(asked.request, asked.buf, live, record.door, record.peer.ip()));
    let compatibility = live.map(|live| live.plan.settings.compatibility);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let host = live.and_then(|live| table(live, record.door)?.host(authority));
    let clusters = live.zip(record.route);
    let clusters = clusters.map(|(live, route)| clusters_of(route, |index| live.plan.upstream(index)));
    Decision {
        version: live.map(|live| Arc::clone(&live.plan.version)).unwrap_or_default(),
        id: text(asked.map(|asked| asked.request_id).unwrap_or_default(), LONGEST_NAME),
        method: text(method, LONGEST_NAME),
        authority: text(authority, LONGEST_NAME),
        path: text(path, LONGEST_PATH),
        listener: match record.door {
            Door::Outbound | Door::Service { .. } => Listener::Outbound,
            Door::Gateway { port } => Listener::Port(port),
        },
        host: host.map(|host| Arc::clone(&host.name)),
        route: record.route.cloned(),
        clusters: clusters.unwrap_or_default(),
        chosen: record.chosen,
        wished: wished.unwrap_or_default(),
        compatibility: compatibility.unwrap_or(Compatibility::Weir),
        trail: std::mem::take(&mut record.trail),
        judged: judged(record, live.map(|live| &**live)),
        delayed: record.delayed,
        limited: record.limited.map(|rules| Arc::clone(&rules.id)),
        started: worker.clock.unix_millis().saturating_sub(millis),
        duration: took,
        service_time: record.service_time,
        status: record.status,
        flags: record.flags,
        details: record.details,
        reason: record.reason,
        received: record.received,
        sent: record.sent,
        kept,
    }
}

/// The marks of its limits, each with its rules: a request has the limits of one route and one destination.
fn judged(record: &mut Record<'_>, live: Option<&Arc<Live>>) -> Vec<Judged> {
    let marks = std::mem::take(&mut record.marks);
    let of = |mark: Mark| Some(Judged { rules: Arc::clone(live?.plan.rates.get(mark.index.0 as usize)?), mark });
    marks.into_iter().take(MOST_JUDGED).filter_map(of).collect()
}

fn clusters_of<'p>(
    route: &Route,
    upstream: impl Fn(weir_policy::plan::ClusterIndex) -> &'p Arc<Upstream>,
) -> Vec<Option<Arc<Upstream>>> {
    let Action::Forward(forward) = &route.action else { return Vec::new() };
    let targets = forward.destinations.iter().take(MOST_DESTINATIONS).map(|destination| &destination.target);
    targets
        .map(|target| match target {
            Target::Cluster(index) => Some(Arc::clone(upstream(*index))),
            Target::Unknown(_) | Target::NotEnforced(_) => None,
        })
        .collect()
}
