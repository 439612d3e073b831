//! A request on its way through its filters: the waits are awaited here, the tokens are fetched here.
//!
//! ```text
//!   Passage ─ next ─► Wait ─► asleep until then, or the client leaves ─► next …
//!                  └► Pass, Answer
//! ```
//! Does not: decide (`weir_policy::filter` does) or write an answer (`answer` does).

use super::inquiry::Inquiry;
use crate::buffer::Buf;
use crate::http::serve::Client;
use crate::mesh::Live;
use crate::rates::Rates;
use crate::worker::Worker;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::oneshot;
use weir_policy::cors;
use weir_policy::filter::{Answer, Buckets, Passage, Step, Told, View};
use weir_policy::flag::Flags;
use weir_policy::limit::{Limit, Numbers, Scope, Taken, Tokens};
use weir_policy::rate;
use weir_policy::time::Time;
use weir_wire::{RequestHead, write};

/// The tokens of limits that count for one client connection; one for each such limit that it met.
pub(crate) type Own = RefCell<Vec<Tokens>>;

/// Limits that one connection remembers. A plan with more of them forgets the oldest.
const MOST_OWN: usize = 64;

/// How a request came out of its filters.
pub(crate) enum Passed<'c> {
    On,
    Answer(Answer<'c>),
    /// The client went away.
    Gone,
}

struct Reach<'a> {
    live: &'a Live,
    cells: &'a Rates,
    own: &'a Own,
}

impl Buckets for Reach<'_> {
    fn admit(&self, limit: &Limit, matched: &[usize], now: Time) -> Taken {
        // Both kinds count where the metrics look; the connection's own tokens decide for its kind.
        let pot = &self.live.limits[limit.index.0 as usize];
        match limit.rules.scope {
            Scope::Process => pot.lock().admit(matched, now),
            Scope::Connection => {
                let mut own = self.own.borrow_mut();
                let taken = tokens_of(&mut own, limit, now).admit(matched, now);
                count(pot, taken);
                taken
            }
        }
    }

    fn take(&self, limit: &rate::Limit, wish: &rate::Wish, now: Time) -> rate::Taken {
        let taken = self.cells.take(limit, wish, now);
        self.live.rates[limit.index.0 as usize].add(rate::Said::Taken(taken));
        taken
    }
}

fn count(pot: &Mutex<Tokens>, taken: Taken) {
    let mut tokens = pot.lock();
    match taken.verdict {
        weir_policy::limit::Verdict::Allowed => tokens.allowed += 1,
        weir_policy::limit::Verdict::Limited => tokens.limited += 1,
    }
}

fn tokens_of<'t>(own: &'t mut Vec<Tokens>, limit: &Limit, now: Time) -> &'t mut Tokens {
    let place = own.iter().position(|tokens| tokens.rules().id == limit.rules.id);
    let place = place.unwrap_or_else(|| {
        if own.len() >= MOST_OWN {
            own.remove(0);
        }
        own.push(Tokens::new(Arc::clone(&limit.rules), now));
        own.len() - 1
    });
    let tokens = &mut own[place];
    if !Arc::ptr_eq(tokens.rules(), &limit.rules) {
        drop(tokens.renew(Arc::clone(&limit.rules), now));
    }
    tokens
}

/// Takes a request through its filters.
pub(crate) async fn pass<'c>(inquiry: &mut Inquiry<'c>, client: &mut Client, rest: &mut Buf) -> Passed<'c> {
    let worker = inquiry.worker;
    loop {
        let step = {
            let buckets = Reach { live: inquiry.live, cells: &worker.mesh.rates, own: &client.own };
            let view = View { facts: &inquiry.facts, peer: client.peer.ip(), buckets: &buckets };
            inquiry.passage.next(view, &mut worker.rng.borrow_mut(), worker.now())
        };
        let step = match step {
            // Few routes have shared limits: the others do not carry this future.
            Step::Ask(limit) => match Box::pin(ask(inquiry, client, limit)).await {
                Step::Pass => continue,
                step => step,
            },
            step => step,
        };
        inquiry.record.flags = inquiry.passage.flags;
        match step {
            Step::Pass => {
                inquiry.record.marks = std::mem::take(&mut inquiry.passage.marks);
                return Passed::On;
            }
            Step::Answer(answer) => {
                if let Answer::Limited(rules) = answer {
                    inquiry.record.limited = Some(rules);
                }
                note(inquiry, "abort", Flags::FAULT_INJECTED);
                inquiry.record.marks = std::mem::take(&mut inquiry.passage.marks);
                return Passed::Answer(answer);
            }
            // It was asked above.
            Step::Ask(_) => {}
            Step::Wait(until) => {
                inquiry.record.delayed = Some(until.since(worker.now()));
                note(inquiry, "delay", Flags::DELAY_INJECTED);
                if pause(worker, client, rest, until).await == Pause::Gone {
                    return Passed::Gone;
                }
                inquiry.admitted = worker.now();
            }
        }
    }
}

/// Asks the store that processes share, as long as the rule has patience.
async fn ask<'c>(inquiry: &mut Inquiry<'c>, client: &mut Client, limit: &'c rate::Limit) -> Step<'c> {
    let (worker, rates) = (inquiry.worker, &inquiry.worker.mesh.rates);
    let Some(wish) = limit.rules.wish(&inquiry.facts, client.peer.ip()) else { return Step::Pass };
    let meter = &inquiry.live.rates[limit.index.0 as usize];
    let began = worker.now();
    let said = match rates.remembered(limit, &wish, began) {
        Some(taken) => rate::Said::Taken(taken),
        None => {
            let patience = limit.rules.shared.as_ref().map(|shared| shared.timeout).unwrap_or_default();
            let answer = meter.store.as_ref().map(|store| store.ask(&limit.rules, &wish));
            let taken = match answer {
                Some(answer) => wait(answer, worker, client, began + patience).await,
                None => None,
            };
            // From before it was asked: the store's answer is not older than that.
            taken.iter().for_each(|taken| rates.remember(limit, &wish, *taken, began));
            inquiry.admitted = worker.now();
            taken.map_or(rate::Said::Unknown, rate::Said::Taken)
        }
    };
    meter.add(said);
    inquiry.passage.answered(limit, &wish, said)
}

/// `None`: the store could not be asked, or was too slow.
async fn wait(
    mut answer: oneshot::Receiver<rate::Taken>,
    worker: &Worker,
    client: &mut Client,
    until: Time,
) -> Option<rate::Taken> {
    poll_fn(|cx| match Pin::new(&mut answer).poll(cx) {
        Poll::Ready(taken) => Poll::Ready(taken.ok()),
        Poll::Pending => client.alarm.poll(&worker.clock, until, cx).map(|()| None),
    })
    .await
}

fn note(inquiry: &Inquiry<'_>, kind: &'static str, flag: Flags) {
    if inquiry.passage.flags.has(flag) {
        let labels = inquiry.record.cell.map(|cell| cell.labels);
        inquiry.worker.mesh.registry.fault(labels, kind);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    Over,
    /// The client went away first.
    Gone,
}

/// Waits for `until`. What the client sends meanwhile is kept within a bound.
async fn pause(worker: &Worker, client: &mut Client, rest: &mut Buf, until: Time) -> Pause {
    poll_fn(|cx| {
        if client.poll_gone(rest, cx).is_ready() {
            return Poll::Ready(Pause::Gone);
        }
        client.alarm.poll(&worker.clock, until, cx).map(|()| Pause::Over)
    })
    .await
}

/// Appends the fields that filters add to an answer: CORS and `x-ratelimit-*`.
pub(crate) fn tell(passage: &Passage<'_>, live: &Live, own: &Own, asked: Origin<'_>, now: Time, out: &mut Vec<u8>) {
    if let Some(rules) = passage.cors
        && let Some(origin) = asked.value()
    {
        rules.answer_fields(origin).for_each(|field| write::field(out, field.name.as_bytes(), field.value));
    }
    if let Some(level) = passage.level {
        tell_level(level, out);
    }
    for told in &passage.told {
        let Some(Numbers { limit, remaining, reset }) = numbers(told, live, own, now) else { continue };
        write::number_field(out, b"x-ratelimit-limit", u64::from(limit));
        write::number_field(out, b"x-ratelimit-remaining", u64::from(remaining));
        write::number_field(out, b"x-ratelimit-reset", reset);
    }
}

/// `x-ratelimit-*` of the lowest level of a request's rate limits.
fn tell_level(level: rate::Level, out: &mut Vec<u8>) {
    write::number_field(out, b"x-ratelimit-limit", u64::from(level.limit));
    write::number_field(out, b"x-ratelimit-remaining", u64::from(level.remaining));
    write::number_field(out, b"x-ratelimit-reset", level.reset_seconds());
}

fn numbers(told: &Told<'_>, live: &Live, own: &Own, now: Time) -> Option<Numbers> {
    match told.limit.rules.scope {
        Scope::Process => live.limits[told.limit.index.0 as usize].lock().numbers(told.which, now),
        Scope::Connection => tokens_of(&mut own.borrow_mut(), told.limit, now).numbers(told.which, now),
    }
}

/// Appends the fields of the answer to a preflight.
pub(crate) fn preflight(rules: &cors::Rules, verdict: cors::Verdict, asked: Origin<'_>, out: &mut Vec<u8>) {
    let origin = asked.value().filter(|_| verdict == cors::Verdict::Preflight);
    rules.preflight_fields(origin).for_each(|field| write::field(out, field.name.as_bytes(), field.value));
}

/// Where a request's `origin` stands.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) request: &'a RequestHead,
    pub(crate) buf: &'a [u8],
}

impl<'a> Origin<'a> {
    fn value(self) -> Option<&'a [u8]> {
        let named = |field: &&weir_wire::Field| field.name.of(self.buf).eq_ignore_ascii_case(b"origin");
        self.request.fields.iter().find(named).map(|field| field.value.of(self.buf))
    }
}
