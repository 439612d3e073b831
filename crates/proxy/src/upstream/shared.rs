//! A worker's HTTP/2 connections to one endpoint, and who waits for a place on one.
//!
//! ```text
//!   lend ─► a connection with a free stream? ──────────────────────────────► Ride
//!             │ none
//!             ├─ one is being opened, and has streams left ─► wait for it ──► Ride
//!             ├─ the cluster lets us open another ─► its task opens it ─────► Ride
//!             └─ else in line ─► a stream ends ─────────────────────────────► Ride      first come, first served
//! ```
//! A connection is opened by a task of its own: whoever waits for it may leave. Does not: decide the ceilings.

use super::ride::Ride;
use super::trunk::{self, Seat, Trunk};
use crate::mesh::Cell;
use crate::worker::Worker;
use std::cell::{Cell as StdCell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use tokio::sync::oneshot;
use weir_policy::cluster::EndpointId;
use weir_policy::connection::Rules;
use weir_policy::inflight::{self, Held, Inflight, Wait};
use weir_policy::outcome::Result as Ended;
use weir_policy::time::Time;

type Waiter = oneshot::Sender<Result<Seat, Ended>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Shared {
    trunks: RefCell<Vec<Rc<Trunk>>>,
    waiting: RefCell<VecDeque<Waiter>>,
    /// Connections being opened.
    opening: StdCell<u32>,
    /// Connections of this worker to the endpoint, of either kind.
    pub(crate) open: Rc<StdCell<u32>>,
    /// As of the latest request: what a place that is free is given by.
    rules: RefCell<Rules>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("trunks", &self.trunks.borrow().len()).finish_non_exhaustive()
    }
}

/// A wait under way; gives the place in the queue back however it ends.
struct Waiting<'a>(&'a Arc<Cell>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.cluster.lock().inflight.waited();
    }
}

impl Shared {
    pub(crate) fn new(open: &Rc<StdCell<u32>>) -> Rc<Self> {
        Rc::new(Self { open: Rc::clone(open), ..Self::default() })
    }

    fn take(&self, now: Time) -> Option<Seat> {
        let rules = self.rules.borrow();
        // Dropped after the list is released: the last holder of a trunk ends its connection.
        let mut gone = Vec::new();
        let mut trunks = self.trunks.borrow_mut();
        gone.extend(trunks.extract_if(.., |trunk| !trunk.is_usable(&rules, now)));
        let seat = trunks.iter().find_map(|trunk| trunk.take(&rules));
        drop(trunks);
        seat
    }

    /// Gives places to those who wait.
    pub(crate) fn serve(&self) {
        while !self.waiting.borrow().is_empty() {
            // Age and idleness are judged when a request comes; here only whether it is usable at all.
            let Some(seat) = self.take(Time::ZERO) else { return };
            let Some(next) = self.waiting.borrow_mut().pop_front() else { return };
            // One that has left gives its place on: dropping a seat serves the next.
            drop(next.send(Ok(seat)));
        }
    }

    /// A connection's task has ended: the first in line must open another instead.
    pub(crate) fn ended(&self, trunk: &Weak<Trunk>) {
        let gone: Vec<_> =
            self.trunks.borrow_mut().extract_if(.., |known| trunk.ptr_eq(&Rc::downgrade(known))).collect();
        drop(gone);
        let next = self.waiting.borrow_mut().pop_front();
        drop(next);
    }

    /// How a request without a place goes on. Counts it as waiting, and the connection when one is to be opened.
    fn wait(&self, inflight: &mut Inflight, ceiling: &inflight::Rules) -> Result<Wait, inflight::Full> {
        let streams = u64::from(self.rules.borrow().streams);
        if (self.waiting.borrow().len() as u64) < u64::from(self.opening.get()) * streams {
            return inflight.wait(&inflight::Rules { connections: 0, ..*ceiling }, Held::Some);
        }
        let none = self.open.get() == 0 && self.opening.get() == 0;
        inflight.wait(ceiling, if none { Held::None } else { Held::Some })
    }

    /// Nobody gets the connection that could not be opened.
    fn fail(&self, why: Ended) {
        let streams = self.rules.borrow().streams as usize;
        let failed: Vec<Waiter> = {
            let mut waiting = self.waiting.borrow_mut();
            let count = waiting.len().min(streams);
            waiting.drain(..count).collect()
        };
        for waiter in failed {
            // It may have left.
            drop(waiter.send(Err(why)));
        }
    }

    /// Takes out connections that are too old or over; the caller drops them.
    pub(crate) fn sweep(&self, rules: &Rules, now: Time) -> Vec<Rc<Trunk>> {
        self.trunks.borrow_mut().extract_if(.., |trunk| !trunk.is_usable(rules, now)).collect()
    }
}

/// A stream to `endpoint`.
pub(crate) async fn lend(
    worker: &Rc<Worker>,
    cell: &Arc<Cell>,
    endpoint: EndpointId,
    address: SocketAddr,
    rules: &Rules,
) -> Result<Ride, Ended> {
    let yard = worker.pools.shared(cell, endpoint, address);
    if *yard.rules.borrow() != *rules {
        rules.clone_into(&mut yard.rules.borrow_mut());
    }
    loop {
        if yard.waiting.borrow().is_empty()
            && let Some(seat) = yard.take(worker.now())
        {
            return Ok(Ride::new(seat));
        }
        let wait = {
            let mut cluster = cell.cluster.lock();
            let ceiling = cluster.rules().inflight;
            yard.wait(&mut cluster.inflight, &ceiling)
        };
        let wait = wait.map_err(|_| Ended::Overflow)?;
        let _waiting = Waiting(cell);
        let (sender, receiver) = oneshot::channel();
        yard.waiting.borrow_mut().push_back(sender);
        if wait == Wait::Dial {
            yard.opening.set(yard.opening.get() + 1);
            let (worker, cell, yard, rules) = (Rc::clone(worker), Arc::clone(cell), Rc::clone(&yard), rules.clone());
            tokio::task::spawn_local(async move { open(&worker, &cell, &yard, address, &rules).await });
        }
        match receiver.await {
            Ok(Ok(seat)) => return Ok(Ride::new(seat)),
            Ok(Err(why)) => return Err(why),
            // The connection that it waited for is gone: from the start.
            Err(_) => {}
        }
    }
}

async fn open(worker: &Rc<Worker>, cell: &Arc<Cell>, yard: &Rc<Shared>, address: SocketAddr, rules: &Rules) {
    let opened = trunk::open(worker, cell, yard, address, rules).await;
    yard.opening.set(yard.opening.get().saturating_sub(1));
    match opened {
        Ok(trunk) => {
            yard.trunks.borrow_mut().push(trunk);
            yard.serve();
        }
        Err(why) => yard.fail(why),
    }
}
