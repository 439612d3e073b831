//! Which route a request takes: host, then the first rule whose conditions all hold.
//!
//! ```text
//!   host ─► exact name │ longest *.suffix │ * ─► VirtualHost ─► first Entry whose Match holds ─► Route
//! ```
//! As in istiod's output, a rule with several `match` blocks is several entries with one shared [`Route`].
//! Does not: change the request (the wet side applies [`Forward::rewrite`] and the header edits).

use crate::filter::Chain;
use crate::fold::Folding;
use crate::format::Value;
use crate::origin::Origins;
use crate::place::Place;
use crate::plan::ClusterIndex;
use crate::rng::Rng;
use crate::share::Share;
use crate::{fault, rate, retry, timeout};
use regex::bytes::Regex;
use std::collections::HashMap;
use std::sync::Arc;

mod rewrite;
#[cfg(test)]
mod tests;
mod unmet;

pub use rewrite::{location, rewritten};
pub use unmet::Unmet;

/// Routes by host.
#[derive(Default, Debug)]
pub struct Table {
    hosts: Vec<Arc<VirtualHost>>,
    /// Lower-case host without port or final dot.
    exact: HashMap<Arc<str>, usize, Folding>,
    /// `.example.com` of `*.example.com`.
    suffix: HashMap<Arc<str>, usize, Folding>,
    /// `*`.
    any: Option<usize>,
    /// What requests pass first that no rule matches.
    pub chain: Chain,
}

/// The rules of one host (or of hosts that share them).
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// As in metrics and logs; the first of its hosts.
    pub name: Arc<str>,
    pub entries: Vec<Entry>,
}

/// A virtual host and what requests address it by. Both are shared by the plans that have them alike.
#[derive(Clone, Debug)]
pub struct Named {
    /// Exact and lower-case, `*.suffix`, or `*`.
    pub patterns: Arc<[Arc<str>]>,
    pub host: Arc<VirtualHost>,
}

/// One match block and where it leads.
#[derive(Clone, Debug)]
pub struct Entry {
    pub when: Match,
    pub then: Arc<Route>,
}

/// Conditions of one `match` block: all must hold. The default holds always.
#[derive(Clone, Default, Debug)]
pub struct Match {
    /// `uri`; on the normalised path without query.
    pub path: Option<Pattern>,
    /// `ignoreUriCase`.
    pub path_case: Case,
    pub method: Option<Pattern>,
    pub scheme: Option<Pattern>,
    /// On the `Host` / `:authority` value as sent.
    pub authority: Option<Pattern>,
    /// `headers` and `withoutHeaders`.
    pub headers: Vec<HeaderMatch>,
    /// `queryParams`.
    pub query: Vec<QueryMatch>,
    /// `port` of the listener or of the service addressed.
    pub port: Option<u16>,
}

/// `ignoreUriCase`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Case {
    #[default]
    Matters,
    Ignored,
}

/// Istio's StringMatch. A regex must match the whole value (lowering anchors it), in linear time.
#[derive(Clone, Debug)]
pub enum Pattern {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Regex(Regex),
}

/// A condition on one header. Each of several fields of that name counts for itself, as in Envoy.
#[derive(Clone, PartialEq, Debug)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: Box<str>,
    pub want: Want,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Want {
    Present,
    Absent,
    /// One field that has the value is enough: no second one hides it from a rule that answers.
    Value(Pattern),
    /// Every field has the value: no second one is carried past a rule that lets through.
    Every(Pattern),
    /// `withoutHeaders` with a value: no field has it; a missing header counts as an empty one.
    Not(Pattern),
}

/// A condition on a query parameter; the first of several values counts. Names are case-sensitive.
#[derive(Clone, Debug)]
pub struct QueryMatch {
    pub name: Box<str>,
    /// `None`: presence is enough.
    pub value: Option<Pattern>,
}

/// What a rule does.
#[derive(Clone, Debug)]
pub struct Route {
    /// The user's `http[].name`, or `NAMESPACE/VIRTUALSERVICE/INDEX`.
    pub name: Arc<str>,
    pub action: Action,
    /// `headers` of the rule; a destination's own are in [`Destination::headers`].
    pub headers: HeaderEdits,
    /// Where the rule's values come from; those of its destinations are in [`Destination::origins`].
    pub origins: Origins,
    /// What its requests pass first.
    pub chain: Chain,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Direct(Direct),
}

/// `route`, with what applies to it.
#[derive(Clone, Debug)]
pub struct Forward {
    /// At least one. With several, those of weight 0 are left out.
    pub destinations: Vec<Destination>,
    /// Sum of the weights, ≥ 1.
    pub total_weight: u64,
    pub rewrite: Option<Rewrite>,
    /// `rewrite.authority`, or a `Host` that header operations set.
    pub authority: Option<Box<str>>,
    /// `mirror`, `mirrors`: copies of a request, sent and forgotten.
    pub mirrors: Vec<Mirror>,
    /// `fault` of the rule, felt by every try: `faultScope: upstream`. Else it is in [`Route::chain`].
    pub fault: Option<Arc<fault::Rules>>,
}

/// `mirrors[]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mirror {
    pub cluster: ClusterIndex,
    pub share: Share,
}

#[derive(Clone, Debug)]
pub struct Destination {
    pub target: Target,
    pub weight: u64,
    pub headers: HeaderEdits,
    pub authority: Option<Box<str>>,
    pub timeout: timeout::Rules,
    /// `None`: retries are switched off (`attempts: 0`).
    pub retry: Option<Arc<retry::Rules>>,
    /// Behind the route's chain: limits of requests to this destination.
    pub rates: Vec<rate::Limit>,
    pub origins: Origins,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    Cluster(ClusterIndex),
    /// Named, but known nowhere: 503 NC. Holds the name as written.
    Unknown(Box<str>),
    /// Known, but guarded by a security setting that is not enforced yet: 503 `not_enforced`.
    NotEnforced(Box<str>),
}

/// `rewrite.uri` / `rewrite.uriRegexRewrite`.
#[derive(Clone, Debug)]
pub enum Rewrite {
    /// Replaces the matched prefix, or the whole path when the match was exact, regex or none.
    Prefix(Box<str>),
    /// Replaces every match in the path; `\1` refers to a group.
    Regex { pattern: Regex, substitution: Box<str> },
}

/// `headers.request` / `headers.response`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HeaderEdits {
    pub request: Edits,
    pub response: Edits,
}

/// Applied in the order remove, set, add... lowering keeps Istio's order; names are lower case.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Edits {
    pub set: Vec<(Box<str>, Value)>,
    pub add: Vec<(Box<str>, Value)>,
    pub remove: Vec<Box<str>>,
}

impl Edits {
    /// Has no value variables?
    pub fn is_literal(&self) -> bool {
        self.set.iter().chain(&self.add).all(|(_, value)| value.is_literal())
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// `redirect`: parts that are `None` stay as in the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    pub scheme: Option<Box<str>>,
    pub authority: Option<Box<str>>,
    pub path: Option<Box<str>>,
    pub port: Option<u16>,
}

/// `directResponse`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Direct {
    pub status: u16,
    pub body: Box<[u8]>,
}

/// What routes look at. The path is normalised ([`crate::path::normalise`]) and has no query.
pub struct Facts<'a> {
    /// Host header as sent.
    pub authority: &'a [u8],
    pub method: &'a [u8],
    pub scheme: &'a [u8],
    pub path: &'a [u8],
    /// Without the `?`.
    pub query: Option<&'a [u8]>,
    /// The port of the listener, or of the authority for the outbound listener.
    pub port: u16,
    pub headers: &'a dyn Headers,
}

/// The header fields of a request, however they are kept.
pub trait Headers {
    /// Calls `see` for the value of each field of that (lower-case) name, in order.
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8]));
}

/// The answer of [`Table::find`].
#[derive(Clone, Copy, Debug)]
pub enum Found<'t> {
    Entry(&'t VirtualHost, &'t Entry),
    /// The host is known, no rule matches: 404 NR.
    NoRoute(&'t VirtualHost),
    UnknownHost,
}

/// No host name is longer (RFC 1035 section 2.3.4).
const LONGEST_HOST: usize = 255;

impl Table {
    /// Of a pattern given twice the first host wins.
    pub fn build(hosts: Vec<Named>) -> Self {
        let mut table = Self { hosts: Vec::with_capacity(hosts.len()), ..Self::default() };
        table.exact.reserve(hosts.iter().map(|named| named.patterns.len()).sum());
        for (index, named) in hosts.into_iter().enumerate() {
            for pattern in &*named.patterns {
                if &**pattern == "*" {
                    table.any.get_or_insert(index);
                } else if let Some(suffix) = pattern.strip_prefix('*') {
                    table.suffix.entry(suffix.into()).or_insert(index);
                } else {
                    table.exact.entry(Arc::clone(pattern)).or_insert(index);
                }
            }
            table.hosts.push(named.host);
        }
        table
    }

    /// The same, to be changed before the table is used.
    pub fn hosts_mut(&mut self) -> &mut [Arc<VirtualHost>] {
        &mut self.hosts
    }

    /// Every virtual host, in the order of the documents.
    pub fn hosts(&self) -> &[Arc<VirtualHost>] {
        &self.hosts
    }

    /// The first entry that holds, of the virtual host that fits best: exact, longest suffix, any.
    pub fn find(&self, facts: &Facts<'_>) -> Found<'_> {
        let Some(host) = self.host(facts.authority) else { return Found::UnknownHost };
        match host.entries.iter().find(|entry| entry.when.holds(facts)) {
            Some(entry) => Found::Entry(host, entry),
            None => Found::NoRoute(host),
        }
    }

    /// The virtual host that an authority belongs to.
    pub fn host(&self, authority: &[u8]) -> Option<&VirtualHost> {
        let index = self.by_name(authority).or(self.any)?;
        self.hosts.get(index).map(AsRef::as_ref)
    }

    fn by_name(&self, authority: &[u8]) -> Option<usize> {
        if self.exact.is_empty() && self.suffix.is_empty() {
            return None;
        }
        let mut lower = [0u8; LONGEST_HOST];
        self.named(bare_host(authority, &mut lower)?)
    }

    fn named(&self, name: &str) -> Option<usize> {
        if let Some(index) = self.exact.get(name) {
            return Some(*index);
        }
        if self.suffix.is_empty() {
            return None;
        }
        // From the longest suffix on; one that is the whole name does not count.
        let dots = name.bytes().enumerate().filter(|(at, byte)| *byte == b'.' && *at > 0).map(|(at, _)| at);
        dots.map(|at| &name[at..]).find_map(|suffix| self.suffix.get(suffix).copied())
    }
}

/// The host in lower case, without port or final dot.
fn bare_host<'b>(authority: &[u8], lower: &'b mut [u8; LONGEST_HOST]) -> Option<&'b str> {
    let end = match authority.first()? {
        b'[' => authority.iter().position(|byte| *byte == b']')? + 1,
        _ => authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len()),
    };
    let host = authority[..end].strip_suffix(b".").unwrap_or(&authority[..end]);
    let copy = lower.get_mut(..host.len())?;
    copy.copy_from_slice(host);
    copy.make_ascii_lowercase();
    std::str::from_utf8(copy).ok()
}

impl Match {
    /// Do all conditions hold?
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        self.unmet(facts).is_none()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) | (Self::Prefix(one), Self::Prefix(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Pattern {
    /// Does the value match?
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => **exact == *value,
            Self::Prefix(prefix) => value.starts_with(prefix),
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    fn matches_in(&self, value: &[u8], case: Case) -> bool {
        match (self, case) {
            (_, Case::Matters) | (Self::Regex(_), _) => self.matches(value),
            (Self::Exact(exact), _) => exact.eq_ignore_ascii_case(value),
            (Self::Prefix(prefix), _) => {
                value.get(..prefix.len()).is_some_and(|front| front.eq_ignore_ascii_case(prefix))
            }
        }
    }
}

impl HeaderMatch {
    /// Is it there at all? The name is put into lower case.
    pub fn present(name: &str) -> Self {
        Self { name: name.to_ascii_lowercase().into(), want: Want::Present }
    }

    /// As [`HeaderMatch::holds`], and of pseudo headers as Envoy keeps them.
    fn holds_of(&self, facts: &Facts<'_>) -> bool {
        match &*self.name {
            name if !name.starts_with(':') => self.holds(facts.headers),
            ":authority" => self.holds(&Pseudo(Some(facts.authority))),
            ":method" => self.holds(&Pseudo(Some(facts.method))),
            ":scheme" => self.holds(&Pseudo(Some(facts.scheme))),
            ":path" => match facts.query {
                None => self.holds(&Pseudo(Some(facts.path))),
                Some(query) => self.holds(&Pseudo(Some(&[facts.path, b"?", query].concat()))),
            },
            // No request has another.
            _ => self.holds(&Pseudo(None)),
        }
    }

    pub(crate) fn holds(&self, headers: &dyn Headers) -> bool {
        let (mut present, mut hit, mut missed) = (false, false, false);
        let pattern = match &self.want {
            Want::Present | Want::Absent => None,
            Want::Value(pattern) | Want::Every(pattern) | Want::Not(pattern) => Some(pattern),
        };
        headers.each(&self.name, &mut |value| {
            present = true;
            let matches = pattern.is_some_and(|pattern| pattern.matches(value));
            (hit, missed) = (hit | matches, missed | !matches);
        });
        match &self.want {
            Want::Present => present,
            Want::Absent => !present,
            Want::Value(_) => hit,
            Want::Every(_) => hit && !missed,
            Want::Not(pattern) => !hit && (present || !pattern.matches(b"")),
        }
    }
}

/// The value of a pseudo header.
struct Pseudo<'v>(Option<&'v [u8]>);

impl Headers for Pseudo<'_> {
    fn each(&self, _: &str, see: &mut dyn FnMut(&[u8])) {
        if let Some(value) = self.0 {
            see(value);
        }
    }
}

impl QueryMatch {
    fn holds(&self, query: Option<&[u8]>) -> bool {
        let mut pairs = query.unwrap_or_default().split(|byte| *byte == b'&').map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=');
            at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]))
        });
        let value = pairs.find(|(name, _)| *name == self.name.as_bytes()).map(|(_, value)| value);
        match (&self.value, value) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(pattern), Some(value)) => pattern.matches(value),
        }
    }
}

impl Route {
    /// The fault that each of its tries may feel.
    pub const fn fault(&self) -> Option<&Arc<fault::Rules>> {
        match &self.action {
            Action::Forward(forward) => forward.fault.as_ref(),
            Action::Redirect(_) | Action::Direct(_) => None,
        }
    }
}

impl Forward {
    /// A destination, in proportion to the weights; a single one costs no draw.
    pub fn choose(&self, rng: &mut Rng) -> &Destination {
        if let [only] = self.destinations.as_slice() {
            return only;
        }
        let mut left = rng.below(self.total_weight);
        let chosen = self.destinations.iter().find(|destination| {
            let here = left < destination.weight;
            left = left.wrapping_sub(destination.weight);
            here
        });
        // Lowering makes the total the sum, so one is always found; the last stands in for a broken plan.
        chosen.unwrap_or(&self.destinations[self.destinations.len() - 1])
    }
}
