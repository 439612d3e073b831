//! The record of one real request: what was decided about it, by which rules, and how it ended.
//!
//! ```text
//!   listener ─► host ─► route ─► destination ─► tries (trail) ─► answer
//!                         └────────┴─ shared with the plan: effective values and their places are looked up, not copied
//! ```
//! Made at a request's end and only when somebody will look at it. Its texts are cut off at a bound; what it refers to
//! of a plan is a route and its clusters, never the plan. Does not: keep records, or print them.

use crate::flag::Flags;
use crate::plan::{Compatibility, Upstream};
use crate::rate::Judged;
use crate::refusal::Refusal;
use crate::route::{Action, Destination, Route};
use crate::trail::Trail;
use crate::wish::Wishes;
use crate::{retry, timeout};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a path that are kept.
pub const LONGEST_PATH: usize = 1024;
/// Bytes of a request id, a host or a method that are kept.
pub const LONGEST_NAME: usize = 255;
/// Destinations of a rule that a record refers to.
pub const MOST_DESTINATIONS: usize = 64;

/// See the module.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Of the plan: `NUMBER-HASH8`.
    pub version: Arc<str>,
    /// `x-request-id`, as sent or made.
    pub id: Box<str>,
    pub method: Box<str>,
    pub authority: Box<str>,
    /// As sent, with its query.
    pub path: Box<str>,
    pub listener: Listener,
    /// The virtual host; `None` = no host of the listener has this name.
    pub host: Option<Arc<str>>,
    /// `None` = no rule matched, or it did not come so far.
    pub route: Option<Arc<Route>>,
    /// The clusters of the route's destinations, in their order; `None` = known nowhere.
    pub clusters: Vec<Option<Arc<Upstream>>>,
    /// Which destination the weights chose.
    pub chosen: Option<usize>,
    /// What a trusted client asked for itself.
    pub wished: Wishes,
    pub compatibility: Compatibility,
    pub trail: Trail,
    /// What rate limits said, in their order.
    pub judged: Vec<Judged>,
    /// The delay that the fault of its rule drew.
    pub delayed: Option<Duration>,
    /// The id of the local limit that refused it.
    pub limited: Option<Arc<str>>,
    /// Milliseconds since the epoch.
    pub started: u64,
    pub duration: Duration,
    /// To the head of the answer, in milliseconds.
    pub service_time: Option<u64>,
    /// 0 = none was sent.
    pub status: u16,
    pub flags: Flags,
    /// `response_code_details` of the access log.
    pub details: &'static str,
    pub reason: Option<Refusal>,
    /// Body bytes from the client, and to it.
    pub received: u64,
    pub sent: u64,
    pub kept: Kept,
}

/// Through which listener a request came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Listener {
    Outbound,
    /// Of a Gateway.
    Port(u16),
}

/// The retries and time limits of one call.
#[derive(Clone, PartialEq, Debug)]
pub struct Terms {
    pub retry: Option<Arc<retry::Rules>>,
    pub timeout: timeout::Rules,
}

/// Why there is a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It failed: our answer, a flag, a status of 500 or more, or none.
    Error,
    /// It was tried more than once.
    Retried,
    /// It is of the sample.
    Sample,
    /// Somebody watches.
    Tap,
}

impl Kept {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Retried => "retried",
            Self::Sample => "sample",
            Self::Tap => "tap",
        }
    }
}

impl Decision {
    /// The destination that was chosen, when the route has any.
    pub fn destination(&self) -> Option<&Destination> {
        match &self.route.as_ref()?.action {
            Action::Forward(forward) => forward.destinations.get(self.chosen?),
            Action::Redirect(_) | Action::Direct(_) => None,
        }
    }

    /// The retries and time limits of its calls to a destination.
    pub fn terms(&self, destination: &Destination) -> Terms {
        self.wished.terms(destination, self.compatibility)
    }
}

/// Which records are of interest: all conditions must hold. The default lets every record pass.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter {
    /// The virtual host's name, or the authority as sent.
    host: Option<Box<str>>,
    /// The route's name.
    route: Option<Box<str>>,
    method: Option<Box<str>>,
    status: Option<Status>,
    flag: Option<Flags>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Exact(u16),
    /// `5xx` is 5.
    Class(u16),
}

impl Filter {
    /// What a filter can name, for help texts.
    pub const WORDS: &'static str = "host=NAME route=NAME method=NAME status=503|5xx flag=UO";

    /// Adds the condition `name=value`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn with(mut self, condition: &str) -> Result<Self, String> {
        let (name, value) = condition.split_once('=').ok_or_else(|| format!("`{condition}`: write {}", Self::WORDS))?;
        match name {
            "host" => self.host = Some(value.into()),
            "route" => self.route = Some(value.into()),
            "method" => self.method = Some(value.into()),
            "status" => self.status = Some(status(value)?),
            "flag" => {
                let unknown = || format!("`{value}` is no response flag; they look like UF, URX or UO");
                self.flag = Some(Flags::of_letters(value).ok_or_else(unknown)?);
            }
            _ => return Err(format!("a filter has no `{name}`: write {}", Self::WORDS)),
        }
        Ok(self)
    }

    /// Is this record of interest?
    pub fn holds(&self, decision: &Decision) -> bool {
        let is = |wanted: &Option<Box<str>>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        let host = decision.host.as_deref().unwrap_or_default();
        (is(&self.host, host) || is(&self.host, &decision.authority))
            && is(&self.route, decision.route.as_ref().map_or("", |route| &route.name))
            && is(&self.method, &decision.method)
            && self.flag.is_none_or(|flag| decision.flags.has(flag))
            && self.status.is_none_or(|wanted| match wanted {
                Status::Exact(status) => decision.status == status,
                Status::Class(class) => decision.status / 100 == class,
            })
    }
}

fn status(text: &str) -> Result<Status, String> {
    let wrong = || format!("`{text}` is no status: write one like 503, or a class like 5xx");
    match text.strip_suffix("xx") {
        Some(class) => class.parse().map(Status::Class).map_err(|_| wrong()),
        None => text.parse().map(Status::Exact).map_err(|_| wrong()),
    }
}

/// Text of a request as a record keeps it: at most so many bytes, and what is not UTF-8 shown as such.
pub fn text(bytes: &[u8], most: usize) -> Box<str> {
    String::from_utf8_lossy(bytes.get(..most).unwrap_or(bytes)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(host: &str, status: u16, flags: Flags) -> Decision {
        Decision {
            version: "1-00000000".into(),
            id: "id".into(),
            method: "GET".into(),
            authority: format!("{host}:80").into(),
            path: "/".into(),
            listener: Listener::Outbound,
            host: Some(host.into()),
            route: None,
            clusters: Vec::new(),
            chosen: None,
            wished: Wishes::default(),
            compatibility: Compatibility::Weir,
            trail: Trail::default(),
            judged: Vec::new(),
            delayed: None,
            limited: None,
            started: 0,
            duration: Duration::ZERO,
            service_time: None,
            status,
            flags,
            details: "",
            reason: None,
            received: 0,
            sent: 0,
            kept: Kept::Sample,
        }
    }

    #[test]
    fn all_conditions_of_a_filter_must_hold() {
        let filter = |words: &str| words.split(' ').try_fold(Filter::default(), Filter::with).expect("a filter");
        let failed = decision("app.test", 503, Flags::OVERFLOW);
        for words in ["host=app.test", "host=app.test:80", "status=5xx flag=UO", "status=503 method=GET"] {
            assert!(filter(words).holds(&failed), "{words}");
        }
        for words in ["host=other", "status=5xx flag=UF", "status=502", "status=4xx", "method=POST", "route=r"] {
            assert!(!filter(words).holds(&failed), "{words}");
        }
        for wrong in ["host", "hots=x", "status=5x", "status=", "flag=XX"] {
            assert!(Filter::default().with(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn long_texts_are_cut_off() {
        assert_eq!(&*text(b"abc", 2), "ab");
        assert_eq!(&*text("aé".as_bytes(), 2), "a\u{fffd}");
        assert_eq!(&*text(b"", 2), "");
    }
}
