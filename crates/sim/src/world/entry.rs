//! A request before its call: its filters, and the copies that are sent beside it.
//!
//! Does not: decide (`weir_policy::filter` does).

use super::{At, Caller, NOBODY, Servers, World};
use crate::event::Event;
use crate::gate::Passed;
use crate::trace::What;
use crate::traffic::Request;
use weir_policy::time::Time;

impl<S: Servers> World<S> {
    /// Goes through its filters, as far as they let it.
    pub(super) fn enter(&mut self, mut caller: Caller, now: Time) {
        match caller.gate.next(&self.pots, &mut self.rng, now) {
            Passed::Wait(until) => {
                self.line(caller.number, What::Delay(until.since(now)), now);
                let ticket = self.keep(caller);
                self.queue.plan(until, Event::Woke(ticket));
            }
            Passed::Answer(status) => {
                self.line(caller.number, What::Answer { status, flags: caller.gate.flags() }, now);
                self.report.filter(status, now);
                self.over(&caller, now);
            }
            Passed::On => {
                caller.at = At::Waiting;
                caller.admitted = now;
                let request = caller.outside.take();
                // It is complete only now: its time begins.
                if let Some(request) = &request {
                    caller.call = request.call(now);
                }
                let mirrors = request.map(|request| self.copies(&request)).unwrap_or_default();
                let step = self.decide(&mut caller, |call, cluster, draw| call.start(cluster, draw, now));
                self.follow(caller, step, now);
                for mirror in mirrors {
                    self.report.copies += 1;
                    self.line(self.report.started + 1, What::Copy, now);
                    self.start(&mirror, NOBODY, now);
                }
            }
        }
    }

    /// The copies that the dice want of a request.
    pub(super) fn copies(&mut self, request: &Request) -> Vec<Request> {
        let hit = request.mirrors.iter().filter(|mirror| mirror.share.hits(&mut self.rng));
        hit.map(|mirror| request.copy(*mirror)).collect()
    }
}
