//! A simulated world: feeds the very `Call` and `Cluster` of the data path from the event queue.
//!
//! ```text
//!   traffic ─Arrive─► call.start ─► Step::Try ──► pool ──► servers ─Reply─► call.answered ─► Step …
//!                                   Step::Wait ─────────────────────Woke──► call.woke ─────► Step …
//!                                   Step::Answer ───────────────────End───► call.ended
//!                                   Step::Refuse ──► over
//! ```
//! Whoever runs it takes one event after the other ([`World::upcoming`], [`World::act`]), so that a test can look at
//! everything in between. Its connections are in `link`. Does not: decide anything that a policy decides.

use crate::event::{End, Event, Look, Reply, Ticket};
use crate::gate::{Counts, Gate, Pots};
use crate::queue::{Due, Queue};
use crate::report::{Endpoint, Report};
use crate::service::Service;
use crate::trace::{Line, What, look};
use crate::traffic::{Request, Source, Traffic};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::balance::Table;
use weir_policy::call::{Attempt, Call, Step};
use weir_policy::cluster::{Cluster, Draw};
use weir_policy::outcome::{Connected, Outcome, Reached, Result as Ended};
use weir_policy::plan::Upstream;
use weir_policy::refusal::Refusal;
use weir_policy::rng::Rng;
use weir_policy::time::Time;
use weir_policy::timeout::Which;

mod entry;
mod link;

/// Who answers tries.
pub trait Servers {
    /// A try was sent: plans its [`Event::Reply`], or nothing when nothing ever comes.
    fn send(&mut self, sent: &Sent, queue: &mut Queue<Event>);

    /// A worker of a server is done with a try.
    fn done(&mut self, service: usize, address: SocketAddr, job: Ticket, queue: &mut Queue<Event>);
}

/// A try on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    pub ticket: Ticket,
    /// The call's number, from 1.
    pub call: u64,
    pub service: usize,
    pub attempt: Attempt,
}

/// What happens in a run beside requests.
#[derive(Clone, Debug)]
pub enum Planned {
    /// A service's rules are replaced, endpoints included.
    Renew { service: usize, upstream: Arc<Upstream> },
    /// The client of a call leaves.
    Leave { call: u64 },
    /// A line about the state of a service.
    Look { service: usize },
}

/// See the module.
#[derive(Debug)]
pub struct World<S> {
    queue: Queue<Event>,
    services: Vec<Service>,
    servers: S,
    sources: Vec<Source>,
    planned: Vec<Planned>,
    callers: Vec<Option<Caller>>,
    free: Vec<u32>,
    steps: u64,
    /// For decisions.
    rng: Rng,
    /// For traffic: decisions do not change who comes when.
    dice: Rng,
    /// The tokens of limits.
    pots: Pots,
    /// Lines since the last [`World::lines`]; `None` = not wanted.
    trace: Option<Vec<Line>>,
    pub report: Report,
}

/// The source of copies.
const NOBODY: usize = usize::MAX;

/// A call and where it is.
#[derive(Debug)]
struct Caller {
    call: Call,
    number: u64,
    service: usize,
    source: usize,
    began: Time,
    ticket: Ticket,
    at: At,
    /// When its call began: filters may have held it up.
    admitted: Time,
    gate: Gate,
    /// Until its call begins.
    outside: Option<Box<Request>>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum At {
    /// Before its call begins.
    Outside,
    Waiting,
    Trying(Attempt, Link),
    Answering {
        attempt: Attempt,
        status: u16,
        since: Time,
    },
}

/// How far a try has got towards its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    InLine,
    Dialling,
    Sent,
    /// No connection was to be had.
    None,
}

impl Link {
    /// Had the try a connection?
    const fn connected(self, reply: &Reply) -> Connected {
        match (self, reply.result) {
            (_, Ended::ConnectFailed(_)) => Connected::No,
            (Self::Sent, _) => Connected::Yes,
            (Self::InLine | Self::Dialling | Self::None, _) => Connected::No,
        }
    }

    /// What the server has of the request.
    const fn reached(self) -> Reached {
        match self {
            Self::Sent => Reached::Whole,
            Self::InLine | Self::Dialling | Self::None => Reached::Nothing,
        }
    }
}

impl<S: Servers> World<S> {
    /// A world in which nothing has happened yet.
    pub fn new(services: Vec<Arc<Upstream>>, servers: S, traffic: Vec<Traffic>, seed: u64) -> Self {
        let mut queue = Queue::default();
        let sources: Vec<_> = traffic.into_iter().map(Source::new).collect();
        for (source, first) in sources.iter().enumerate() {
            for at in first.first() {
                queue.plan(at, Event::Arrive { source });
            }
        }
        Self {
            queue,
            services: services.into_iter().map(Service::new).collect(),
            servers,
            sources,
            planned: Vec::new(),
            callers: Vec::new(),
            free: Vec::new(),
            steps: 0,
            rng: Rng::new(seed),
            dice: Rng::new(!seed),
            pots: Pots::default(),
            trace: None,
            report: Report::default(),
        }
    }

    /// Something that happens at `at`.
    pub fn plan(&mut self, at: Time, planned: Planned) {
        self.queue.plan(at, Event::Planned(self.planned.len()));
        self.planned.push(planned);
    }

    /// The buckets of the limits that requests meet.
    pub fn lend(&mut self, pots: Pots) {
        self.pots = pots;
    }

    /// What limits counted.
    pub fn limited(&self) -> Counts {
        self.pots.counts()
    }

    /// From now on steps are kept, for [`World::lines`].
    pub fn keep_lines(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The lines since the last time.
    pub fn lines(&mut self) -> Vec<Line> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A service's living state.
    pub fn cluster(&self, service: usize) -> &Cluster {
        &self.services[service].cluster
    }

    /// Calls that are under way.
    pub fn under_way(&self) -> usize {
        self.callers.len() - self.free.len()
    }

    /// Runs until nothing is left to come.
    pub fn run(&mut self) {
        while let Some(due) = self.upcoming() {
            self.act(due);
        }
    }

    /// The next event.
    pub fn upcoming(&mut self) -> Option<Due<Event>> {
        self.queue.take()
    }

    /// Idle connections are closed: what is under way then is under way in truth.
    pub fn drain(&mut self) {
        for service in &mut self.services {
            service.drain();
        }
    }

    /// Does what an event says.
    pub fn act(&mut self, due: Due<Event>) {
        let now = due.at;
        match due.event {
            Event::Arrive { source } => self.arrive(source, now),
            Event::Done { service, address, job } => self.servers.done(service, address, job, &mut self.queue),
            Event::Planned(index) => self.carry_out(index, now),
            Event::Leave { slot, call } => self.leave(slot, call, now),
            Event::Woke(ticket) => self.woke(ticket, now),
            Event::Dialled(ticket, failure) => self.dialled(ticket, failure, now),
            Event::Reply(ticket, reply) => self.replied(ticket, &reply, now),
            Event::Deadline(ticket, look) => self.deadline(ticket, look, now),
            Event::End(ticket, end) => self.ended(ticket, end, now),
        }
    }

    fn arrive(&mut self, source: usize, now: Time) {
        let Some(request) = self.sources[source].take() else { return };
        if let Some(next) = self.sources[source].after_sent(&mut self.dice, now) {
            self.queue.plan(next, Event::Arrive { source });
        }
        self.start(&request, source, now);
    }

    fn start(&mut self, request: &Request, source: usize, now: Time) {
        self.report.start(now);
        let number = self.report.started;
        let call = request.call(now);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.callers.push(None);
            self.callers.len() as u32 - 1
        });
        let caller = Caller {
            call,
            number,
            service: request.service,
            source,
            began: now,
            ticket: Ticket { slot, step: 0 },
            at: At::Outside,
            gate: Gate::new(Arc::clone(&request.chain)),
            admitted: now,
            outside: Some(Box::new(request.clone())),
        };
        if let Some(patience) = request.patience {
            self.queue.plan(now + patience.draw(&mut self.dice), Event::Leave { slot, call: number });
        }
        self.enter(caller, now);
    }

    fn woke(&mut self, ticket: Ticket, now: Time) {
        let Some(mut caller) = self.take(ticket) else { return };
        if caller.at == At::Outside {
            return self.enter(caller, now);
        }
        let step = self.decide(&mut caller, |call, cluster, draw| call.woke(cluster, draw, now));
        self.follow(caller, step, now);
    }

    /// A try of the caller is over.
    fn answered(&mut self, mut caller: Caller, attempt: Attempt, link: Link, reply: &Reply, now: Time) {
        let outcome = Outcome {
            result: reply.result,
            reached: reply.reached,
            received: Some(caller.admitted),
            body: reply.body,
            interim: reply.interim,
            connected: link.connected(reply),
        };
        let status = match reply.result {
            Ended::Response(response) => response.status,
            _ => 0,
        };
        if status == 0 || status >= 500 {
            self.report.failure(Endpoint { service: caller.service, address: attempt.address });
        }
        if status == 0 {
            self.let_go(&caller, attempt.address, link, now);
        }
        let step = self.decide(&mut caller, |call, cluster, draw| call.answered(cluster, draw, &outcome, now));
        if step == Step::Answer {
            return self.pass_on(caller, attempt, status, reply.tail, now);
        }
        if status != 0 {
            self.let_go(&caller, attempt.address, link, now);
        }
        self.follow(caller, step, now);
    }

    /// Asks the call, with what a worker of the data path would lend it.
    fn decide<R>(&mut self, caller: &mut Caller, ask: impl FnOnce(&mut Call, &mut Cluster, &mut Draw<'_>) -> R) -> R {
        let service = &mut self.services[caller.service];
        let mut draw = Draw { rng: &mut self.rng, cursor: &mut service.cursor };
        let answer = ask(&mut caller.call, &mut service.cluster, &mut draw);
        if let Some(trace) = &mut self.trace {
            let changes = service.watch.changes(&service.cluster, self.queue.now());
            trace.extend(changes.into_iter().map(|what| Line { at: self.queue.now(), call: 0, what }));
        }
        answer
    }

    /// Does what the step says.
    fn follow(&mut self, mut caller: Caller, step: Step, now: Time) {
        match step {
            Step::Wait(until) => {
                self.line(caller.number, What::Wait(until.since(now)), now);
                caller.at = At::Waiting;
                let ticket = self.keep(caller);
                self.queue.plan(until, Event::Woke(ticket));
            }
            Step::Try(attempt) => self.attempt(caller, attempt, now),
            Step::Refuse(refusal) => self.refuse(caller, refusal, now),
            // Only `answered` leads here, and it has dealt with it.
            Step::Answer => self.refuse(caller, Refusal::Closed, now),
        }
    }

    fn replied(&mut self, ticket: Ticket, reply: &Reply, now: Time) {
        let Some(caller) = self.take(ticket) else { return };
        let At::Trying(attempt, link) = caller.at else { return self.put_back(caller) };
        self.answered(caller, attempt, link, reply, now);
    }

    fn deadline(&mut self, ticket: Ticket, look: Look, now: Time) {
        let Some(caller) = self.take(ticket) else { return };
        let At::Trying(attempt, link) = caller.at else { return self.put_back(caller) };
        if look == Look::First {
            self.put_back(caller);
            return self.queue.plan(now, Event::Deadline(ticket, Look::Second));
        }
        let result = match attempt.limits.deadline(caller.admitted) {
            Some((_, Which::PerTry)) => Ended::PerTryTimeout,
            _ => Ended::WholeTimeout,
        };
        self.answered(caller, attempt, link, &Reply::of(result, link.reached()), now);
    }

    /// The response goes to the client.
    fn pass_on(&mut self, mut caller: Caller, attempt: Attempt, status: u16, tail: Duration, now: Time) {
        let flags = caller.call.flags().with(caller.gate.flags());
        self.line(caller.number, What::Answer { status, flags }, now);
        caller.at = At::Answering { attempt, status, since: now };
        let (whole, done) = (caller.call.deadline(), now + tail);
        let ticket = self.keep(caller);
        match whole {
            _ if tail.is_zero() => self.ended(ticket, End::Whole, now),
            Some(whole) if whole < done => self.queue.plan(whole, Event::End(ticket, End::CutOff)),
            _ => self.queue.plan(done, Event::End(ticket, End::Whole)),
        }
    }

    fn ended(&mut self, ticket: Ticket, end: End, now: Time) {
        let Some(mut caller) = self.take(ticket) else { return };
        let At::Answering { attempt, status, since } = caller.at else { return self.put_back(caller) };
        self.decide(&mut caller, |call, cluster, _| call.ended(cluster, now));
        match end {
            End::Whole => self.report.answer(status, now.since(caller.began), now),
            End::CutOff | End::Left => self.report.break_off(now),
        }
        match end {
            End::Whole if now == since => {}
            End::Whole => self.line(caller.number, What::End, now),
            End::CutOff => self.line(caller.number, What::CutOff, now),
            End::Left => self.line(caller.number, What::Left, now),
        }
        let service = &mut self.services[caller.service];
        let next = match end {
            End::Whole => service.give_back(attempt.address),
            End::CutOff | End::Left => service.close(attempt.address),
        };
        self.serve(next, now);
        self.over(&caller, now);
    }

    /// The client goes, wherever its call is.
    fn leave(&mut self, slot: u32, call: u64, now: Time) {
        let Some(Some(found)) = self.callers.get(slot as usize) else { return };
        if found.number != call {
            return;
        }
        let ticket = found.ticket;
        if let At::Answering { .. } = found.at {
            return self.ended(ticket, End::Left, now);
        }
        let Some(mut caller) = self.take(ticket) else { return };
        match caller.at {
            At::Trying(attempt, link) => {
                let reply = Reply::of(Ended::Abandoned, link.reached());
                self.answered(caller, attempt, link, &reply, now);
            }
            At::Outside => self.refuse(caller, Refusal::ClientGone, now),
            _ => {
                self.decide(&mut caller, |call, cluster, _| call.ended(cluster, now));
                self.refuse(caller, Refusal::ClientGone, now);
            }
        }
    }

    fn refuse(&mut self, caller: Caller, refusal: Refusal, now: Time) {
        let flags = caller.call.flags().with(caller.gate.flags()).with(refusal.flags());
        self.line(caller.number, What::Refuse { refusal, flags }, now);
        self.report.refuse(refusal, now);
        self.over(&caller, now);
    }

    /// Nothing more will come of it.
    fn over(&mut self, caller: &Caller, now: Time) {
        debug_assert!(caller.call.over(), "a call is over that still holds something");
        self.free.push(caller.ticket.slot);
        if caller.source == NOBODY {
            return;
        }
        if let Some(next) = self.sources[caller.source].after_end(&mut self.dice, now) {
            self.queue.plan(next, Event::Arrive { source: caller.source });
        }
    }

    fn carry_out(&mut self, index: usize, now: Time) {
        match self.planned[index].clone() {
            Planned::Renew { service, upstream } => {
                let table = Arc::new(Table::build(&upstream.balance, &upstream.endpoints));
                drop(self.services[service].cluster.renew(upstream, table));
            }
            Planned::Leave { call } => {
                let found = self.callers.iter().flatten().find(|caller| caller.number == call);
                if let Some(slot) = found.map(|caller| caller.ticket.slot) {
                    self.leave(slot, call, now);
                }
            }
            Planned::Look { service } => {
                let note = look(&self.services[service].cluster);
                self.line(0, What::Note(note), now);
            }
        }
    }

    /// The caller whose present step this is; it must be put back, kept, or over.
    fn take(&mut self, ticket: Ticket) -> Option<Caller> {
        self.callers.get_mut(ticket.slot as usize)?.take_if(|caller| caller.ticket == ticket)
    }

    fn put_back(&mut self, caller: Caller) {
        let slot = caller.ticket.slot as usize;
        self.callers[slot] = Some(caller);
    }

    /// The caller goes on to its next step: what was planned for the last one is out of date.
    fn keep(&mut self, mut caller: Caller) -> Ticket {
        caller.ticket = self.next_step(caller.ticket.slot);
        let ticket = caller.ticket;
        self.put_back(caller);
        ticket
    }

    const fn next_step(&mut self, slot: u32) -> Ticket {
        self.steps += 1;
        Ticket { slot, step: self.steps }
    }

    fn line(&mut self, call: u64, what: What, at: Time) {
        if let Some(trace) = &mut self.trace {
            trace.push(Line { at, call, what });
        }
    }
}
