//! Modelled servers behind a world: a try's fate, or its place at a worker.
//!
//! Does not: know rules of policies.

use crate::event::{Event, Reply, Ticket};
use crate::queue::Queue;
use crate::server::{Arrival, Fate, Rules, Server};
use crate::world::{Sent, Servers};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use weir_policy::outcome::{ConnectFailure, Reached, Result as Ended};
use weir_policy::rng::Rng;

/// Every endpoint's server; those without rules of their own behave as `usual`.
#[derive(Debug)]
pub struct Modelled {
    usual: Rules,
    servers: BTreeMap<SocketAddr, Server<Ticket>>,
    rng: Rng,
}

/// Until a refusal or a reset is back at the caller.
const TURN: Duration = Duration::from_micros(200);

impl Modelled {
    /// Servers that all behave as `usual`.
    pub const fn new(usual: Rules, seed: u64) -> Self {
        Self { usual, servers: BTreeMap::new(), rng: Rng::new(seed ^ 0x5EED_5EED) }
    }

    /// One server behaves in its own way.
    #[must_use]
    pub fn with(mut self, address: SocketAddr, rules: Rules) -> Self {
        self.servers.insert(address, Server::new(rules));
        self
    }
}

impl Servers for Modelled {
    fn send(&mut self, sent: &Sent, queue: &mut Queue<Event>) {
        let now = queue.now();
        let address = sent.attempt.address;
        let server = self.servers.entry(address).or_insert_with(|| Server::new(self.usual.clone()));
        match server.arrive(sent.ticket, &mut self.rng, now) {
            Arrival::Queued => {}
            Arrival::Busy(until) => {
                queue.plan(until, Event::Done { service: sent.service, address, job: sent.ticket });
            }
            Arrival::Ended(fate) => {
                if let Some(reply) = reply(fate) {
                    queue.plan(now + TURN, Event::Reply(sent.ticket, reply));
                }
            }
        }
    }

    fn done(&mut self, service: usize, address: SocketAddr, job: Ticket, queue: &mut Queue<Event>) {
        let now = queue.now();
        let Some(server) = self.servers.get_mut(&address) else { return };
        let result = match server.down(now) {
            None => Some(Reply::status(200)),
            // Its connection is there already: it can only be closed.
            Some(Fate::Refused) => reply(Fate::Closed),
            Some(fate) => reply(fate),
        };
        if let Some(result) = result {
            queue.plan(now, Event::Reply(job, result));
        }
        if let Some(begun) = server.done(&mut self.rng, now) {
            queue.plan(begun.until, Event::Done { service, address, job: begun.job });
        }
    }
}

fn reply(fate: Fate) -> Option<Reply> {
    match fate {
        Fate::Status(status) => Some(Reply::status(status)),
        Fate::Refused => Some(Reply::of(Ended::ConnectFailed(ConnectFailure::Refused), Reached::Nothing)),
        Fate::Closed => Some(Reply::of(Ended::Closed, Reached::Whole)),
        Fate::Silence => None,
    }
}
