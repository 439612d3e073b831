//! Who sends requests, and when: open loop, closed loop, or a given list.
//!
//! ```text
//!   open    the next request comes whatever became of the last ones
//!   closed  each client sends its next request a while after its last one ended
//!   list    as written
//! ```
//! Does not: decide about a request.

use crate::latency::Latency;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::call::Call;
use weir_policy::filter::Chain;
use weir_policy::retry::{self, Idempotency};
use weir_policy::rng::Rng;
use weir_policy::share::Share;
use weir_policy::time::Time;
use weir_policy::timeout;

/// A request as its route sends it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which of the scenario's services.
    pub service: usize,
    pub retry: Option<Arc<retry::Rules>>,
    pub timeout: timeout::Rules,
    pub idempotency: Idempotency,
    /// Of its key, for balancers that hash.
    pub hash: Option<u64>,
    /// How long its client waits before it leaves; `None` = for ever.
    pub patience: Option<Latency>,
    /// What it passes before its call begins.
    pub chain: Arc<Chain>,
    /// Copies of it, sent as it begins.
    pub mirrors: Vec<Mirror>,
}

/// A copy without a timeout ends after this, as in the data path.
const LONGEST: Duration = Duration::from_secs(60);

/// `mirrors[]` of a request's rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mirror {
    /// Which of the scenario's services.
    pub service: usize,
    pub share: Share,
}

impl Request {
    /// A copy for another service: without retries, filters or copies of its own, and with nobody who would leave.
    pub fn copy(&self, mirror: Mirror) -> Self {
        Self {
            service: mirror.service,
            retry: None,
            timeout: timeout::Rules { whole: self.timeout.whole.or(Some(LONGEST)), ..self.timeout },
            idempotency: self.idempotency,
            hash: self.hash,
            patience: None,
            chain: Arc::default(),
            mirrors: Vec::new(),
        }
    }

    /// Its call, when it was received completely at `now`.
    pub fn call(&self, now: Time) -> Call {
        Call::new(self.retry.clone(), self.timeout, self.idempotency, Some(now)).hashed(self.hash)
    }
}

/// A source of requests.
#[derive(Clone, Debug)]
pub enum Traffic {
    Open {
        request: Request,
        /// Between two requests: [`Latency::Exponential`] for a Poisson stream.
        gap: Latency,
        from: Time,
        until: Time,
    },
    Closed {
        request: Request,
        clients: u32,
        /// From the end of a client's request to its next one.
        think: Latency,
        from: Time,
        until: Time,
    },
    /// In order of time.
    List(Vec<Sending>),
}

/// One request of a list.
#[derive(Clone, Debug)]
pub struct Sending {
    pub at: Time,
    pub request: Request,
}

/// A source under way.
#[derive(Debug)]
pub(crate) struct Source {
    traffic: Traffic,
    sent: usize,
}

impl Source {
    pub(crate) const fn new(traffic: Traffic) -> Self {
        Self { traffic, sent: 0 }
    }

    /// The times of its first requests.
    pub(crate) fn first(&self) -> Vec<Time> {
        match &self.traffic {
            Traffic::Open { from, .. } => vec![*from],
            Traffic::Closed { from, clients, .. } => vec![*from; *clients as usize],
            Traffic::List(all) => all.iter().map(|sending| sending.at).collect(),
        }
    }

    /// A request is due.
    pub(crate) fn take(&mut self) -> Option<Request> {
        self.sent += 1;
        match &self.traffic {
            Traffic::Open { request, .. } | Traffic::Closed { request, .. } => Some(request.clone()),
            Traffic::List(all) => all.get(self.sent - 1).map(|sending| sending.request.clone()),
        }
    }

    /// A request was sent: when is the next?
    pub(crate) fn after_sent(&self, rng: &mut Rng, now: Time) -> Option<Time> {
        match &self.traffic {
            Traffic::Open { gap, until, .. } => Some(now + gap.draw(rng)).filter(|next| next < until),
            Traffic::Closed { .. } | Traffic::List(_) => None,
        }
    }

    /// A request of it ended: when is the next?
    pub(crate) fn after_end(&self, rng: &mut Rng, now: Time) -> Option<Time> {
        match &self.traffic {
            Traffic::Closed { think, until, .. } => Some(now + think.draw(rng)).filter(|next| next < until),
            Traffic::Open { .. } | Traffic::List(_) => None,
        }
    }
}
