//! A worker's connections to endpoints: lend, return, close.
//!
//! ```text
//!   lend ─► idle and quiet? ─────────────────────────────────► Link (reused)
//!             │ none
//!             ├─ the cluster lets us dial ─► connect ────────► Link (fresh)
//!             └─ else in line ─► one of ours is given back ──► Link (reused)      first come, first served
//!   give_back ─► in line? hand it over │ else idle, until idleTimeout, maxRequests, or the peer ends it
//! ```
//! Sockets never move between workers. Does not: decide the ceilings (`weir_policy::inflight`).

use super::connect;
use super::shared::Shared;
use super::trunk::Trunk;
use crate::mesh::Cell;
use crate::stream::Stream;
use crate::tls::reach::Inside;
use crate::worker::Worker;
use std::cell::{Cell as StdCell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot;
use weir_policy::cluster::EndpointId;
use weir_policy::connection::Rules;
use weir_policy::inflight::{Held, Wait};
use weir_policy::outcome::Result as Ended;
use weir_policy::time::Time;
use weir_policy::tls::Client;

/// A connection to an endpoint. Dropping it closes it and gives its place back.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: Stream,
    /// What it was opened by: with other rules it is not used again.
    tls: Option<Arc<Client>>,
    pub(crate) address: SocketAddr,
    endpoint: EndpointId,
    cell: Arc<Cell>,
    /// This worker's connections to the endpoint.
    _open: Open,
    /// Requests it has carried, the present one included.
    served: u32,
    opened: Time,
    idle_since: Time,
}

impl Link {
    /// Has it carried a request before the present one?
    pub(crate) const fn is_reused(&self) -> bool {
        self.served > 1
    }

    /// Nothing has arrived that nobody asked for: no byte, no end. Costs no system call.
    fn is_quiet(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        matches!(self.stream.poll_readable(&mut nobody), Poll::Pending)
    }

    fn is_fresh_enough(&self, rules: &Rules, now: Time) -> bool {
        rules.idle_timeout.is_none_or(|limit| now.since(self.idle_since) < limit) && self.is_young(rules, now)
    }

    fn is_young(&self, rules: &Rules, now: Time) -> bool {
        self.tls == rules.tls && rules.max_duration.is_none_or(|limit| now.since(self.opened) < limit)
    }
}

impl Drop for Link {
    /// Links are never dropped inside the cluster's lock: deciding code does not see them.
    fn drop(&mut self) {
        self.cell.cluster.lock().inflight.disconnected();
    }
}

/// One of a worker's connections to an endpoint, open or being dialled; counted as long as this lives.
#[derive(Debug)]
pub(super) struct Open(Rc<StdCell<u32>>);

impl Open {
    pub(super) fn one_more(count: &Rc<StdCell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A dial or a wait under way; gives the place in the queue back however it ends.
struct Waiting<'a>(&'a Arc<Cell>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.cluster.lock().inflight.waited();
    }
}

/// The place of a connection that is being dialled.
struct Dialling<'a>(Option<&'a Arc<Cell>>);

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        if let Some(cell) = self.0 {
            cell.cluster.lock().inflight.disconnected();
        }
    }
}

/// A worker's connections to one endpoint.
#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    #[expect(clippy::vec_box, reason = "a link is moved from hand to hand many times")]
    idle: Vec<Box<Link>>,
    /// Connections of this worker, idle or not.
    open: Rc<StdCell<u32>>,
    /// Those of them that speak HTTP/2.
    shared: Rc<Shared>,
    in_line: VecDeque<oneshot::Sender<Box<Link>>>,
}

/// A worker's part of one cluster.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) cell: Arc<Cell>,
    /// Where round robin stands.
    pub(crate) cursor: u64,
    /// By endpoint number.
    endpoints: Vec<Option<Endpoint>>,
}

/// Connections that are to be dropped where no lock is held.
#[derive(Default)]
pub(crate) struct Swept {
    #[expect(clippy::vec_box, reason = "as they are kept")]
    links: Vec<Box<Link>>,
    trunks: Vec<Rc<Trunk>>,
}

/// All pools of a worker, by cell number.
#[derive(Default, Debug)]
pub(crate) struct Pools {
    locals: RefCell<Vec<Option<Local>>>,
}

impl Pools {
    /// Runs `act` on the worker's part of a cluster.
    pub(crate) fn with<R>(&self, cell: &Arc<Cell>, act: impl FnOnce(&mut Local) -> R) -> R {
        let mut locals = self.locals.borrow_mut();
        let number = cell.number as usize;
        if locals.len() <= number {
            locals.resize_with(number + 1, || None);
        }
        let local =
            locals[number].get_or_insert_with(|| Local { cell: Arc::clone(cell), cursor: 0, endpoints: Vec::new() });
        act(local)
    }

    /// Hands a connection to whoever is first in line, or keeps it. Returns what the caller is to drop: a connection of
    /// a cluster that is gone meanwhile, and what stood in its place.
    fn take_back(&self, mut link: Box<Link>) -> (Option<Box<Link>>, Option<Endpoint>) {
        let mut locals = self.locals.borrow_mut();
        let Some(Some(local)) = locals.get_mut(link.cell.number as usize) else { return (Some(link), None) };
        let (place, stale) = local.endpoint(link.endpoint, link.address);
        while let Some(next) = place.in_line.pop_front() {
            link.served = link.served.saturating_add(1);
            match next.send(link) {
                Ok(()) => return (None, stale),
                Err(back) => link = back,
            }
            link.served -= 1;
        }
        place.idle.push(link);
        (None, stale)
    }

    /// Closes connections of clusters that are not among `cells`, and returns them to be dropped.
    pub(crate) fn retain(&self, cells: &[Arc<Cell>]) -> Vec<Local> {
        let kept: std::collections::HashSet<u32> = cells.iter().map(|cell| cell.number).collect();
        let mut locals = self.locals.borrow_mut();
        locals.iter_mut().filter_map(|local| local.take_if(|local| !kept.contains(&local.cell.number))).collect()
    }

    /// Takes out idle connections that are too old or that the peer has ended; the caller drops them.
    pub(crate) fn sweep(&self, now: Time) -> Swept {
        let mut swept = Swept::default();
        for local in self.locals.borrow_mut().iter_mut().flatten() {
            let rules = Arc::clone(local.cell.cluster.lock().rules());
            for endpoint in local.endpoints.iter_mut().flatten() {
                let old = endpoint
                    .idle
                    .extract_if(.., |link| !link.is_fresh_enough(&rules.connection, now) || !link.is_quiet());
                swept.links.extend(old);
                swept.trunks.extend(endpoint.shared.sweep(&rules.connection, now));
                if endpoint.open.get() == 0 {
                    // Nothing is left to wait for; a dropped sender makes its receiver dial.
                    endpoint.in_line.clear();
                }
            }
        }
        swept
    }

    /// The HTTP/2 connections to an endpoint.
    pub(super) fn shared(&self, cell: &Arc<Cell>, endpoint: EndpointId, address: SocketAddr) -> Rc<Shared> {
        let (shared, stale) = self.with(cell, |local| {
            let (place, stale) = local.endpoint(endpoint, address);
            (Rc::clone(&place.shared), stale)
        });
        drop(stale);
        shared
    }

    /// Takes every idle connection out.
    pub(crate) fn clear(&self) -> Vec<Option<Local>> {
        std::mem::take(&mut *self.locals.borrow_mut())
    }
}

impl Local {
    fn endpoint(&mut self, id: EndpointId, address: SocketAddr) -> (&mut Endpoint, Option<Endpoint>) {
        let index = id.0 as usize;
        if self.endpoints.len() <= index {
            self.endpoints.resize_with(index + 1, || None);
        }
        let slot = &mut self.endpoints[index];
        // The number may have been given to another address by a reload.
        let stale = slot.take_if(|endpoint| endpoint.address != address);
        let fresh = || {
            let open = Rc::default();
            let shared = Shared::new(&open);
            Endpoint { address, idle: Vec::new(), open, shared, in_line: VecDeque::new() }
        };
        (slot.get_or_insert_with(fresh), stale)
    }
}

/// A connection to `endpoint` when none is idle: dialled, or waited for.
pub(crate) async fn lend(
    worker: &Rc<Worker>,
    cell: &Arc<Cell>,
    endpoint: EndpointId,
    address: SocketAddr,
    rules: &Rules,
) -> Result<Box<Link>, Ended> {
    let held = worker.pools.with(cell, |local| match local.endpoint(endpoint, address).0.open.get() {
        0 => Held::None,
        _ => Held::Some,
    });
    let wait = {
        let mut cluster = cell.cluster.lock();
        let ceiling = cluster.rules().inflight;
        cluster.inflight.wait(&ceiling, held)
    };
    match wait {
        Err(_) => Err(Ended::Overflow),
        Ok(Wait::Queue) => queue(worker, cell, endpoint, address, rules).await,
        Ok(Wait::Dial) => dial(worker, cell, endpoint, address, rules).await,
    }
}

/// The most recently used idle connection that is still quiet and young.
pub(crate) fn take_idle(
    worker: &Worker,
    cell: &Arc<Cell>,
    endpoint: EndpointId,
    address: SocketAddr,
    rules: &Rules,
) -> Option<Box<Link>> {
    let mut dead = Vec::new();
    let (found, stale) = worker.pools.with(cell, |local| {
        let (place, stale) = local.endpoint(endpoint, address);
        let mut found = None;
        while let Some(mut link) = place.idle.pop() {
            if link.is_quiet() && link.is_fresh_enough(rules, worker.now()) {
                link.served = link.served.saturating_add(1);
                found = Some(link);
                break;
            }
            dead.push(link);
        }
        (found, stale)
    });
    drop(stale);
    drop(dead);
    found
}

async fn dial(
    worker: &Rc<Worker>,
    cell: &Arc<Cell>,
    endpoint: EndpointId,
    address: SocketAddr,
    rules: &Rules,
) -> Result<Box<Link>, Ended> {
    let _waiting = Waiting(cell);
    let mut dialling = Dialling(Some(cell));
    let open = worker.pools.with(cell, |local| Open::one_more(&local.endpoint(endpoint, address).0.open));
    match connect::dial(address, rules, Inside::Http1, &worker.mesh).await {
        Ok(stream) => {
            dialling.0 = None;
            let now = worker.now();
            Ok(Box::new(Link {
                stream,
                tls: rules.tls.clone(),
                address,
                endpoint,
                cell: Arc::clone(cell),
                _open: open,
                served: 1,
                opened: now,
                idle_since: now,
            }))
        }
        Err(why) => {
            drop(open);
            call_next(worker, cell, endpoint, address);
            Err(why)
        }
    }
}

/// One connection fewer of this worker to that endpoint: whoever is first in line for it must dial instead.
fn call_next(worker: &Worker, cell: &Arc<Cell>, endpoint: EndpointId, address: SocketAddr) {
    let (next, stale) = worker.pools.with(cell, |local| {
        let (place, stale) = local.endpoint(endpoint, address);
        (place.in_line.pop_front(), stale)
    });
    drop(stale);
    // A dropped sender tells the first in line that there is a place to dial.
    drop(next);
}

async fn queue(
    worker: &Rc<Worker>,
    cell: &Arc<Cell>,
    endpoint: EndpointId,
    address: SocketAddr,
    rules: &Rules,
) -> Result<Box<Link>, Ended> {
    let waiting = Waiting(cell);
    let (sender, receiver) = oneshot::channel();
    worker.pools.with(cell, |local| local.endpoint(endpoint, address).0.in_line.push_back(sender));
    match receiver.await {
        Ok(link) if link.tls == rules.tls => Ok(link),
        // One of a plan with other rules is closed, and its place is taken.
        one => {
            drop(one);
            // The connection we waited for is gone, and its place is free: take it.
            let rules = {
                let mut cluster = cell.cluster.lock();
                cluster.inflight.connections += 1;
                cluster.inflight.pending += 1;
                Arc::clone(cluster.rules())
            };
            drop(waiting);
            dial(worker, cell, endpoint, address, &rules.connection).await
        }
    }
}

/// Puts a connection back that carried its exchange to a clean end; or closes it, when it has done enough.
pub(crate) fn give_back(worker: &Worker, mut link: Box<Link>, rules: &Rules) {
    let now = worker.now();
    let used_up = rules.max_requests != 0 && link.served >= rules.max_requests;
    if used_up || !link.is_young(rules, now) || worker.is_draining() {
        return close(worker, link);
    }
    link.idle_since = now;
    let (left, stale) = worker.pools.take_back(link);
    drop(stale);
    drop(left);
}

/// Closes a connection that must not be used again.
pub(crate) fn close(worker: &Worker, link: Box<Link>) {
    let (cell, endpoint, address) = (Arc::clone(&link.cell), link.endpoint, link.address);
    drop(link);
    call_next(worker, &cell, endpoint, address);
}
