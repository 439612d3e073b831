//! What a request passes before it is routed on: faults, CORS, limits, in the order of the documents.
//!
//! ```text
//!   request ─► fault ─► CORS ─► limit … ─► Pass ─► the route's action
//!                │        │        └─► Answer: 429        limits of the destination are last
//!                │        └─► Answer: preflight
//!                ├─► Wait(t) ─► next ─┐
//!                └─► Answer: abort ◄──┘
//! ```
//! As in Envoy: none of it is retried, none of it counts in the timeout. Does not: wait, answer, or hold tokens.

use crate::fault::{self, Status};
use crate::flag::Flags;
use crate::limit::{Limit, Taken, Tell, Verdict, Which};
use crate::rng::Rng;
use crate::route::{Edits, Facts};
use crate::time::Time;
use crate::{cors, limit, rate};
use std::net::IpAddr;

/// Filters in their order. Most routes have none.
#[derive(Clone, Default, Debug)]
pub struct Chain {
    pub filters: Vec<Filter>,
}

#[derive(Clone, Debug)]
pub enum Filter {
    Fault(fault::Rules),
    Cors(cors::Rules),
    Limit(Limit),
    Rate(rate::Limit),
}

/// What is next for a request.
#[derive(Clone, Copy, Debug)]
pub enum Step<'c> {
    /// It has passed them all.
    Pass,
    /// Wait until then, and call [`Passage::next`] again.
    Wait(Time),
    /// Ask the shared store what [`rate::Rules::wish`] says, and tell [`Passage::answered`].
    Ask(&'c rate::Limit),
    Answer(Answer<'c>),
}

/// An answer that a filter gives.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'c> {
    Abort(Status),
    Limited(&'c limit::Rules),
    Exceeded(&'c rate::Rules, Option<rate::Level>),
    /// 200 with [`cors::Rules::preflight_fields`].
    Preflight(&'c cors::Rules, cors::Verdict),
}

/// Where living tokens are.
pub trait Buckets {
    fn admit(&self, limit: &Limit, matched: &[usize], now: Time) -> Taken;

    /// Takes it from the process's cells, and counts it.
    fn take(&self, limit: &rate::Limit, wish: &rate::Wish, now: Time) -> rate::Taken;
}

/// The world as one request's filters see it.
#[derive(Clone, Copy)]
pub struct View<'v> {
    pub facts: &'v Facts<'v>,
    pub peer: IpAddr,
    pub buckets: &'v dyn Buckets,
}

/// One request on its way through a chain. Call [`Passage::next`] until it says anything but [`Step::Wait`].
#[derive(Debug)]
pub struct Passage<'c> {
    chain: &'c Chain,
    /// Behind the chain: those of the destination.
    rates: &'c [rate::Limit],
    at: usize,
    /// To be answered when the wait is over.
    abort: Option<Status>,
    /// DI, FI, RL.
    pub flags: Flags,
    /// Its answer gets these rules' fields.
    pub cors: Option<&'c cors::Rules>,
    /// Its answer gets the numbers of these buckets.
    pub told: Vec<Told<'c>>,
    /// Edits of limits that were exceeded and not enforced.
    pub over: Option<&'c Edits>,
    /// What rate limits said.
    pub marks: Vec<rate::Mark>,
    /// The lowest level that the answer is to tell of.
    pub level: Option<rate::Level>,
}

/// A passage that waits, without its chain: for whoever cannot hold a borrow over the wait.
#[derive(Clone, Copy, Default, Debug)]
pub struct Paused {
    at: usize,
    abort: Option<Status>,
    /// DI, FI, RL.
    pub flags: Flags,
}

/// A bucket that an answer tells of.
#[derive(Clone, Copy, Debug)]
pub struct Told<'c> {
    pub limit: &'c Limit,
    pub which: Which,
}

impl<'c> Passage<'c> {
    pub fn new(chain: &'c Chain) -> Self {
        let (told, marks) = (Vec::new(), Vec::new());
        let flags = Flags::NONE;
        Self { chain, rates: &[], at: 0, abort: None, flags, cors: None, told, over: None, marks, level: None }
    }

    /// Then the limits of its destination.
    pub fn then(self, rates: &'c [rate::Limit]) -> Self {
        Self { rates, ..self }
    }

    /// Where it stands. What its answer is to be told of is not kept.
    pub const fn pause(&self) -> Paused {
        Paused { at: self.at, abort: self.abort, flags: self.flags }
    }

    /// The same chain again, from there on.
    pub fn resume(chain: &'c Chain, paused: Paused) -> Self {
        let Paused { at, abort, flags } = paused;
        Self { at, abort, flags, ..Self::new(chain) }
    }

    /// The next step, now.
    pub fn next(&mut self, view: View<'_>, rng: &mut Rng, now: Time) -> Step<'c> {
        if let Some(status) = self.abort.take() {
            return self.abort_with(status);
        }
        while let Some(filter) = self.chain.filters.get(self.at) {
            self.at += 1;
            let step = match filter {
                Filter::Fault(rules) => self.fault(rules.draw(view.facts.headers, rng), now),
                Filter::Cors(rules) => self.cors(rules, view.facts),
                Filter::Limit(limit) => self.limit(limit, view, rng, now),
                Filter::Rate(limit) => self.rate(limit, view, now),
            };
            if !matches!(step, Step::Pass) {
                return step;
            }
        }
        while let Some(limit) = self.rates.get(self.at - self.chain.filters.len()) {
            self.at += 1;
            let step = self.rate(limit, view, now);
            if !matches!(step, Step::Pass) {
                return step;
            }
        }
        Step::Pass
    }

    fn rate(&mut self, limit: &'c rate::Limit, view: View<'_>, now: Time) -> Step<'c> {
        if limit.rules.shared.is_some() {
            return Step::Ask(limit);
        }
        let Some(wish) = limit.rules.wish(view.facts, view.peer) else { return Step::Pass };
        let taken = view.buckets.take(limit, &wish, now);
        self.answered(limit, &wish, rate::Said::Taken(taken))
    }

    /// What the shared store said to [`Step::Ask`]: the next step, unless it is [`Step::Pass`].
    pub fn answered(&mut self, limit: &'c rate::Limit, wish: &rate::Wish, said: rate::Said) -> Step<'c> {
        let rules = &*limit.rules;
        self.marks.push(rate::Mark { index: limit.index, key: wish.key.hash(), cost: wish.cost, said });
        let level = match said {
            rate::Said::Taken(taken) => Some(taken.level),
            rate::Said::Unknown => None,
        };
        if rules.answer.tell == rate::Tell::Numbers {
            let lower = |level: &rate::Level| self.level.is_none_or(|told| level.remaining <= told.remaining);
            self.level = level.filter(lower).or(self.level);
        }
        if !rules.refuses(said) {
            return Step::Pass;
        }
        self.flags = self.flags.with(Flags::RATE_LIMITED);
        Step::Answer(Answer::Exceeded(rules, level))
    }

    fn fault(&mut self, drawn: fault::Drawn, now: Time) -> Step<'c> {
        match drawn {
            fault::Drawn { delay: Some(length), abort } => {
                self.flags = self.flags.with(Flags::DELAY_INJECTED);
                self.abort = abort;
                Step::Wait(now + length)
            }
            fault::Drawn { delay: None, abort: Some(status) } => self.abort_with(status),
            fault::Drawn { delay: None, abort: None } => Step::Pass,
        }
    }

    fn abort_with(&mut self, status: Status) -> Step<'c> {
        self.flags = self.flags.with(Flags::FAULT_INJECTED);
        Step::Answer(Answer::Abort(status))
    }

    fn cors(&mut self, rules: &'c cors::Rules, facts: &Facts<'_>) -> Step<'c> {
        match rules.judge(facts) {
            cors::Verdict::Plain => Step::Pass,
            cors::Verdict::Allowed => {
                self.cors = Some(rules);
                Step::Pass
            }
            verdict => Step::Answer(Answer::Preflight(rules, verdict)),
        }
    }

    fn limit(&mut self, limit: &'c Limit, view: View<'_>, rng: &mut Rng, now: Time) -> Step<'c> {
        let rules = &*limit.rules;
        if !rules.enabled.hits(rng) {
            return Step::Pass;
        }
        let taken = view.buckets.admit(limit, &limit.matched(view.facts, view.peer), now);
        if let (Tell::Numbers, Some(which)) = (rules.tell, taken.which) {
            self.told.push(Told { limit, which });
        }
        match taken.verdict {
            Verdict::Allowed => Step::Pass,
            Verdict::Limited if !rules.enforced.hits(rng) => {
                self.over = Some(&rules.over).filter(|edits| !edits.is_empty());
                Step::Pass
            }
            Verdict::Limited => {
                self.flags = self.flags.with(Flags::RATE_LIMITED);
                Step::Answer(Answer::Limited(rules))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Abort, AbortStatus, Delay, Length};
    use crate::limit::{Fill, LimitIndex, Rules, Tokens};
    use crate::route::Headers;
    use crate::share::Share;
    use std::cell::RefCell;
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::time::Duration;

    struct None_;

    impl Headers for None_ {
        fn each(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
    }

    struct One(RefCell<Tokens>);

    impl Buckets for One {
        fn admit(&self, _: &Limit, matched: &[usize], now: Time) -> Taken {
            self.0.borrow_mut().admit(matched, now)
        }

        fn take(&self, limit: &rate::Limit, wish: &rate::Wish, now: Time) -> rate::Taken {
            let mut cell = rate::Cell::default();
            if limit.index.0 == 1 {
                wish.take(&mut cell, now);
            }
            wish.take(&mut cell, now)
        }
    }

    const FACTS: Facts<'static> = Facts {
        authority: b"app",
        method: b"GET",
        scheme: b"http",
        path: b"/",
        query: None,
        port: 80,
        headers: &None_,
    };

    fn limit() -> Limit {
        let fill = Fill { max: 1, per_fill: 1, interval: Duration::from_secs(60) };
        let rules = Rules { enabled: Share::ALL, enforced: Share::ALL, ..Rules::new("n/p#0".into(), Some(fill)) };
        Limit { rules: Arc::new(rules), index: LimitIndex(0), actions: Vec::new() }
    }

    fn fault() -> Filter {
        let share = Share::ALL;
        Filter::Fault(fault::Rules {
            delay: Some(Delay { length: Length::Fixed(Duration::from_secs(2)), share }),
            abort: Some(Abort { status: AbortStatus::Fixed(Status::Http(418)), share }),
            headers: Vec::new(),
        })
    }

    fn run(chain: &Chain, buckets: &One, now: Time) -> (Vec<String>, Flags) {
        let (mut passage, mut rng) = (Passage::new(chain), Rng::new(1));
        let view = View { facts: &FACTS, peer: Ipv4Addr::LOCALHOST.into(), buckets };
        let (mut steps, mut now) = (Vec::new(), now);
        loop {
            match passage.next(view, &mut rng, now) {
                Step::Wait(until) => {
                    steps.push(format!("wait {:?}", until.since(now)));
                    now = until;
                }
                Step::Pass => steps.push("pass".to_owned()),
                Step::Answer(Answer::Abort(status)) => steps.push(format!("{status:?}")),
                Step::Answer(Answer::Limited(rules)) => steps.push(format!("{}", rules.status)),
                Step::Answer(Answer::Preflight(..)) => steps.push("preflight".to_owned()),
                Step::Answer(Answer::Exceeded(rules, _)) => steps.push(rules.id.to_string()),
                Step::Ask(limit) => steps.push(format!("ask {}", limit.rules.id)),
            }
            if !steps.last().is_some_and(|step| step.starts_with("wait")) {
                return (steps, passage.flags);
            }
        }
    }

    #[test]
    fn the_delay_comes_before_the_abort_and_the_order_is_the_chain() {
        let limit = limit();
        let buckets = One(RefCell::new(Tokens::new(Arc::clone(&limit.rules), Time::ZERO)));
        let fault_first = Chain { filters: vec![fault(), Filter::Limit(limit.clone())] };
        let (steps, flags) = run(&fault_first, &buckets, Time::ZERO);
        assert_eq!(steps, ["wait 2s", "Http(418)"]);
        assert_eq!(flags, Flags::DELAY_INJECTED.with(Flags::FAULT_INJECTED));
        assert_eq!(buckets.0.borrow().allowed, 0, "an aborted request takes no token behind the fault");
        let limit_first = Chain { filters: vec![Filter::Limit(limit), fault()] };
        assert_eq!(run(&limit_first, &buckets, Time::ZERO).0, ["wait 2s", "Http(418)"]);
        assert_eq!(run(&limit_first, &buckets, Time::ZERO), (vec!["429".to_owned()], Flags::RATE_LIMITED));
        assert_eq!(run(&Chain::default(), &buckets, Time::ZERO), (vec!["pass".to_owned()], Flags::NONE));
    }

    #[test]
    fn a_limit_that_is_not_enforced_marks_and_lets_pass() {
        let limit = limit();
        let over = Edits { add: vec![("x-over".into(), crate::format::Value::literal("1"))], ..Edits::default() };
        let rules = Arc::new(Rules { enforced: Share::NONE, over, ..(*limit.rules).clone() });
        let buckets = One(RefCell::new(Tokens::new(Arc::clone(&rules), Time::ZERO)));
        let chain = Chain { filters: vec![Filter::Limit(Limit { rules, ..limit })] };
        let view = View { facts: &FACTS, peer: Ipv4Addr::LOCALHOST.into(), buckets: &buckets };
        let mut marked = Vec::new();
        for _ in 0..3 {
            let mut passage = Passage::new(&chain);
            assert!(matches!(passage.next(view, &mut Rng::new(1), Time::ZERO), Step::Pass));
            marked.push(passage.over.is_some());
        }
        assert_eq!(marked, [false, true, true]);
    }

    fn rated(id: &str, index: u32) -> rate::Limit {
        let mut rules = rate::Rules::new(id.into(), rate::Amount::bucket(1, Duration::from_secs(1), 1));
        rules.answer.tell = rate::Tell::Numbers;
        rate::Limit { rules: Arc::new(rules), index: rate::RateIndex(index) }
    }

    #[test]
    fn limits_of_the_destination_come_last_and_leave_their_marks() {
        let (empty, used) = (rated("route", 0), [rated("first", 0), rated("used", 1), rated("behind", 0)]);
        let limit = limit();
        let buckets = One(RefCell::new(Tokens::new(Arc::clone(&limit.rules), Time::ZERO)));
        let chain = Chain { filters: vec![Filter::Rate(empty)] };
        let view = View { facts: &FACTS, peer: Ipv4Addr::LOCALHOST.into(), buckets: &buckets };
        let mut passage = Passage::new(&chain).then(&used);
        let step = passage.next(view, &mut Rng::new(1), Time::ZERO);
        assert!(matches!(step, Step::Answer(Answer::Exceeded(rules, Some(_))) if &*rules.id == "used"), "{step:?}");
        assert_eq!((passage.marks.len(), passage.flags), (3, Flags::RATE_LIMITED));
        assert_eq!(passage.level.map(|level| level.remaining), Some(0));
    }
}
