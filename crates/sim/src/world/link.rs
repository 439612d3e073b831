//! A try's way to its server: a connection from the pool, dialled or waited for, and back again.
//!
//! Does not: know the ceilings (`weir_policy::inflight`) or keep the connections ([`crate::pool`]).

use super::{At, Caller, Link, Sent, Servers, World};
use crate::event::{Event, Look, Reply, Ticket};
use crate::pool::{Lent, Next};
use crate::report::Endpoint;
use crate::trace::What;
use std::net::SocketAddr;
use weir_policy::call::Attempt;
use weir_policy::outcome::{ConnectFailure, Reached, Result as Ended};
use weir_policy::time::Time;

impl<S: Servers> World<S> {
    pub(super) fn attempt(&mut self, mut caller: Caller, attempt: Attempt, now: Time) {
        self.line(caller.number, What::Try { address: attempt.address, number: attempt.number }, now);
        self.report.attempt(Endpoint { service: caller.service, address: attempt.address }, now);
        let ticket = self.next_step(caller.ticket.slot);
        caller.ticket = ticket;
        let deadline = attempt.limits.deadline(caller.admitted);
        let link = match self.services[caller.service].lend(attempt.address, ticket) {
            Lent::Ready => Link::Sent,
            Lent::Dial => Link::Dialling,
            Lent::InLine => Link::InLine,
            Lent::Full => {
                let reply = Reply::of(Ended::Overflow, Reached::Nothing);
                return self.answered(caller, attempt, Link::None, &reply, now);
            }
        };
        caller.at = At::Trying(attempt, link);
        self.put_back(caller);
        match link {
            Link::Dialling => self.dial(ticket, now),
            Link::Sent => self.send(ticket),
            Link::InLine | Link::None => {}
        }
        if let Some(deadline) = deadline {
            self.queue.plan(deadline.0, Event::Deadline(ticket, Look::First));
        }
    }

    fn dial(&mut self, ticket: Ticket, now: Time) {
        let Some(Some(caller)) = self.callers.get(ticket.slot as usize) else { return };
        let service = &self.services[caller.service];
        let limit = service.cluster.rules().connection.connect_timeout;
        let takes = service.connect.draw(&mut self.dice);
        if takes.is_zero() {
            return self.dialled(ticket, None, now);
        }
        let failure = (takes > limit).then_some(ConnectFailure::TimedOut);
        self.queue.plan(now + takes.min(limit), Event::Dialled(ticket, failure));
    }

    pub(super) fn dialled(&mut self, ticket: Ticket, failure: Option<ConnectFailure>, now: Time) {
        let Some(caller) = self.take(ticket) else { return };
        let At::Trying(attempt, link @ (Link::Dialling | Link::InLine)) = caller.at else {
            return self.put_back(caller);
        };
        if let Some(failure) = failure {
            let reply = Reply::of(Ended::ConnectFailed(failure), Reached::Nothing);
            return self.answered(caller, attempt, link, &reply, now);
        }
        self.services[caller.service].dialled(attempt.address);
        self.put_back(caller);
        self.send(ticket);
    }

    /// The call has its connection.
    fn send(&mut self, ticket: Ticket) {
        let Some(Some(caller)) = self.callers.get_mut(ticket.slot as usize) else { return };
        let At::Trying(attempt, link) = &mut caller.at else { return };
        *link = Link::Sent;
        let sent = Sent { ticket, call: caller.number, service: caller.service, attempt: *attempt };
        self.servers.send(&sent, &mut self.queue);
    }

    /// The try is over, and so is its connection, or its place in line.
    pub(super) fn let_go(&mut self, caller: &Caller, address: SocketAddr, link: Link, now: Time) {
        let service = &mut self.services[caller.service];
        let next = match link {
            Link::InLine => service.leave_line(address, caller.ticket),
            Link::Dialling => service.failed(address),
            Link::Sent => service.close(address),
            Link::None => Next::Nobody,
        };
        self.serve(next, now);
    }

    /// Whoever was next in line goes on.
    pub(super) fn serve(&mut self, next: Next<Ticket>, now: Time) {
        match next {
            Next::Nobody => {}
            Next::Connection(ticket) => self.send(ticket),
            Next::Dial(ticket) => {
                if let Some(Some(Caller { at: At::Trying(_, link), .. })) = self.callers.get_mut(ticket.slot as usize) {
                    *link = Link::Dialling;
                }
                self.dial(ticket, now);
            }
        }
    }
}
