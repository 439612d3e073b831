//! Scripts: a few rules, the outcomes of some calls, and every step that follows, as text (`testdata/script`).
//!
//! ```text
//!   # A 503 is tried again elsewhere.
//!   endpoints: 2
//!   retry: on 5xx, attempts 1
//!
//!   0ms GET 503@5ms 200@5ms        at 0 ms a call, whose tries end so: 503 after 5 ms, then 200 after 5 ms
//!         0ms -> try 10.0.0.1 #1   (written by the reader)
//!   20ms x3 every 1ms POST closed  three calls a millisecond apart; the last outcome is that of all further tries
//!   30ms leave 2                   the client of the second call leaves
//!   40ms inflight: requests 1      the cluster's rules change
//!   50ms look                      a line about the cluster's state
//! ```
//! An outcome is a status or a word of [`outcome`], then `/nothing` `/part` (how far the request got), `/body-not-kept`,
//! `/interim`, `/ratelimited`, `/grpc-14`, then `@` how long it took, then `~` how long the response's body took. Each call and each
//! change happens a microsecond after the one before it on the same millisecond: nothing is a tie.
//! `fault: delay 50ms of 10, abort 503 of 5`, `limit: tokens 3, per_fill 1, interval 1s` (`local_ratelimit`) and
//! `rate: requests 5, per 1s, burst 2` (a RateLimitPolicy; `fixed` = windows) are what every request passes first.
//! `key=alice` before the outcomes is what a balancer hashes. `show: looks` leaves out the steps of calls.
//!
//! Does not: know how steps come about; [`crate::world`] carries the calls out.

pub mod outcome;
pub mod rules;

use crate::event::{Event, Reply, Ticket};
use crate::gate::Pots;
use crate::queue::Queue;
use crate::trace::{Line, Naming};
use crate::traffic::{Request, Sending, Traffic};
use crate::world::{Planned, Sent, Servers, World};
use outcome::Try;
use rules::Rules;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::balance::key::of_text;
use weir_policy::filter::Chain;
use weir_policy::plan::Upstream;
use weir_policy::retry::Idempotency;
use weir_policy::time::Time;

/// More than this many calls and changes would run into the next millisecond.
const ITEMS: usize = 1000;

/// A script that was read.
#[derive(Clone, Debug)]
pub struct Script {
    /// In force when it begins.
    pub rules: Rules,
    /// In order of time.
    pub items: Vec<Item>,
    /// Everything but the steps, as written.
    lines: Vec<Written>,
    /// What the rules' requests pass first.
    chain: Arc<Chain>,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Item {
    pub at: Time,
    pub act: Act,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Asked {
    pub idempotency: Idempotency,
    /// Of `key=TEXT`, for balancers that hash.
    pub hash: Option<u64>,
    /// What comes of its tries, in order; the last also of all further ones.
    pub tries: Vec<Try>,
}

/// See [`Item`].
#[derive(Clone, Debug)]
pub enum Act {
    Call(Asked),
    /// The client of a call leaves; calls are numbered from 1 in order of time.
    Leave(u64),
    Renew(Arc<Upstream>),
    Look,
}

/// A reply that is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coming {
    pub at: Time,
    pub reply: Reply,
}

struct Called<'a> {
    at: Time,
    tries: &'a [Try],
}

/// Nanoseconds of a millisecond.
const MILLI: u64 = 1_000_000;

#[derive(Clone, Debug)]
struct Written {
    text: String,
    /// When it begins to happen; `None` for rules, remarks, empty lines.
    at: Option<Time>,
}

/// What is wrong with a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    pub words: String,
}

impl Script {
    /// Reads a script; steps in it are left out.
    pub fn read(text: &str) -> Result<Self, Problem> {
        let mut script = Self { rules: Rules::default(), items: Vec::new(), lines: Vec::new(), chain: Arc::default() };
        let mut changing = None;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().split_once(" -> ").is_some_and(|(at, _)| !at.starts_with('#')) {
                continue;
            }
            let at = script.line(line, &mut changing).map_err(|words| Problem { line: index + 1, words })?;
            script.lines.push(Written { text: line.trim_end().to_owned(), at });
        }
        if script.items.len() > ITEMS {
            return Err(Problem { line: 0, words: format!("more than {ITEMS} calls and changes") });
        }
        script.chain = Arc::new(script.rules.chain());
        script.items.sort_by_key(|item| item.at);
        for (index, item) in script.items.iter_mut().enumerate() {
            item.at += Duration::from_micros(index as u64);
        }
        Ok(script)
    }

    /// One line; when it happens, if it is something that happens.
    fn line(&mut self, line: &str, changing: &mut Option<Rules>) -> Result<Option<Time>, String> {
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (first, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        if first.ends_with(':') {
            self.rules.set(line.trim())?;
            return Ok(None);
        }
        let at = Time::ZERO + outcome::length(first)?;
        match rest.trim() {
            "look" => self.push(at, Act::Look),
            rest if rest.split(' ').next().is_some_and(|word| word.ends_with(':')) => {
                let rules = changing.get_or_insert_with(|| self.rules.clone());
                rules.set(rest)?;
                let upstream = Arc::new(rules.upstream.clone());
                self.push(at, Act::Renew(upstream));
            }
            rest => match rest.strip_prefix("leave ") {
                Some(call) => self.push(at, Act::Leave(call.parse().map_err(|_| "leave NUMBER")?)),
                None => self.calls(at, rest)?,
            },
        }
        Ok(Some(at))
    }

    /// `[xN [every LENGTH]] [METHOD] [key=TEXT] OUTCOME…`
    fn calls(&mut self, at: Time, text: &str) -> Result<(), String> {
        let mut words = text.split_whitespace().peekable();
        let (mut times, mut every) = (1u32, Duration::ZERO);
        if let Some(count) = words.peek().and_then(|word| word.strip_prefix('x')) {
            times = count.parse().map_err(|_| "xN: how often")?;
            words.next();
            if words.next_if_eq(&"every").is_some() {
                every = outcome::length(words.next().ok_or("every LENGTH")?)?;
            }
        }
        let is_method = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase());
        let idempotency = Idempotency::of_method(words.next_if(is_method).unwrap_or("GET").as_bytes());
        let hash = words.next_if(|word| word.starts_with("key=")).map(|word| of_text(&word.as_bytes()["key=".len()..]));
        let tries = words.map(Try::read).collect::<Result<Vec<_>, _>>()?;
        if tries.is_empty() {
            return Err("a call needs an outcome".to_owned());
        }
        for index in 0..times.min(ITEMS as u32) {
            self.push(at + every * index, Act::Call(Asked { idempotency, hash, tries: tries.clone() }));
        }
        Ok(())
    }

    fn push(&mut self, at: Time, act: Act) {
        self.items.push(Item { at, act });
    }

    /// What comes of try `number` (from 1) of call `call` (from 1) that was sent at `sent`; `None`: nothing ever.
    pub fn outcome(&self, call: u64, number: u32, sent: Time) -> Option<Coming> {
        let calls = self.items.iter().filter_map(|item| match &item.act {
            Act::Call(asked) => Some(Called { at: item.at, tries: &asked.tries }),
            _ => None,
        });
        let called = calls.into_iter().nth(usize::try_from(call).ok()?.checked_sub(1)?)?;
        let planned = called.tries.get(number.saturating_sub(1) as usize).or(called.tries.last())?;
        // On its call's own microsecond, also when it was sent on that of a call whose connection it got.
        let own = Duration::from_nanos(called.at.nanos() % MILLI);
        let earliest = sent + planned.after;
        let early = Time::from_nanos(earliest.nanos() / MILLI * MILLI) + own;
        let at = if early < earliest { early + Duration::from_nanos(MILLI) } else { early };
        planned.reply.map(|reply| Coming { at, reply })
    }

    /// Full buckets for the script's limit.
    pub fn pots(&self) -> Pots {
        Pots::of(&self.chain)
    }

    /// A request by the rules of this script.
    pub fn request(&self, asked: &Asked) -> Request {
        Request {
            service: 0,
            retry: self.rules.retry.clone().map(Arc::new),
            timeout: self.rules.timeout,
            idempotency: asked.idempotency,
            hash: asked.hash,
            patience: None,
            chain: Arc::clone(&self.chain),
            mirrors: Vec::new(),
        }
    }

    /// The world of this script, with all that is to happen in it.
    pub fn world(&self) -> World<Scripted> {
        let calls = self.items.iter().filter_map(|item| match &item.act {
            Act::Call(asked) => Some(Sending { at: item.at, request: self.request(asked) }),
            _ => None,
        });
        let upstream = Arc::new(self.rules.upstream.clone());
        let servers = Scripted { script: self.clone() };
        let mut world = World::new(vec![upstream], servers, vec![Traffic::List(calls.collect())], self.rules.seed);
        world.keep_lines();
        world.lend(Pots::of(&self.chain));
        for item in &self.items {
            let planned = match &item.act {
                Act::Call(_) => continue,
                Act::Leave(call) => Planned::Leave { call: *call },
                Act::Renew(upstream) => Planned::Renew { service: 0, upstream: Arc::clone(upstream) },
                Act::Look => Planned::Look { service: 0 },
            };
            world.plan(item.at, planned);
        }
        world
    }

    /// Every step, from a world of its own.
    pub fn run(&self) -> Vec<Line> {
        let mut world = self.world();
        world.run();
        world.lines()
    }

    /// The script with these steps in their places: what its file should hold.
    pub fn with_steps(&self, steps: &[Line]) -> String {
        let calls = self.items.iter().filter(|item| matches!(item.act, Act::Call(_))).count();
        let naming = if calls > 1 { Naming::Number } else { Naming::Silent };
        let mut steps = steps.iter().filter(|step| step.call == 0 || !self.rules.only_looks).peekable();
        let mut text = String::new();
        for (index, line) in self.lines.iter().enumerate() {
            text.push_str(&line.text);
            text.push('\n');
            let Some(at) = line.at else { continue };
            let next = self.lines[index + 1..].iter().find_map(|line| line.at);
            // Steps of a later line of the same millisecond come after that one.
            let is_here = |step: &&Line| match next {
                Some(next) if next > at => step.at < next,
                Some(_) => false,
                None => true,
            };
            while let Some(step) = steps.next_if(|step| is_here(step)) {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{}", step.text(naming));
            }
        }
        text
    }
}

/// Servers that answer as the script says.
#[derive(Debug)]
pub struct Scripted {
    script: Script,
}

impl Servers for Scripted {
    fn send(&mut self, sent: &Sent, queue: &mut Queue<Event>) {
        if let Some(coming) = self.script.outcome(sent.call, sent.attempt.number, queue.now()) {
            queue.plan(coming.at, Event::Reply(sent.ticket, coming.reply));
        }
    }

    fn done(&mut self, _: usize, _: SocketAddr, _: Ticket, _: &mut Queue<Event>) {}
}
