//! `RateLimitPolicy`: how many requests in how much time, for whom. Ours.

use super::http_match::{Empty, HttpMatch, StringMatch, string_match};
use super::target::{Target, TargetKind, target};
use crate::decode::{At, Object, text};
use crate::names;
use crate::problem::{Code, Problem};
use crate::yaml::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::place::Place;
use weir_policy::rate::{Amount, Answer, Cost, MOST_PARTS, Mode, OnError, Part, RetryAfter, Shared, Tell};

/// `RateLimitPolicy.spec`.
#[derive(Clone, Debug)]
pub struct RateLimitPolicy {
    pub name: String,
    pub namespace: String,
    pub targets: Vec<Target>,
    pub rules: Vec<Rule>,
}

/// `rules[]` that have a limit.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its place in the list when it has none.
    pub name: String,
    /// One for each method of each block; empty = all requests.
    pub matches: Vec<HttpMatch>,
    pub key: Vec<Part>,
    pub amount: Amount,
    pub overrides: Vec<Override>,
    pub cost: Cost,
    pub mode: Mode,
    pub answer: Answer,
    pub shared: Option<Shared>,
    pub place: Place,
}

/// `overrides[]`: values in the order of the key; `*` is any.
#[derive(Clone, Debug)]
pub struct Override {
    pub values: Vec<String>,
    pub amount: Amount,
}

/// The shortest `per`.
const LEAST: Duration = Duration::from_millis(1);
/// Rules of a policy, overrides of a rule, headers of an answer.
const MOST: usize = 1_000;
/// How long a request waits for a shared store by default.
const TIMEOUT: Duration = Duration::from_millis(5);

/// Reads `RateLimitPolicy.spec`.
pub fn rate_limit_policy(spec: &Object<'_>, namespace: &str, name: &str) -> RateLimitPolicy {
    let targets = spec.objects("targetRefs").filter_map(|written| {
        let found = target(&written, namespace)?;
        if matches!(found.kind, TargetKind::Workload) {
            let words = "a RateLimitPolicy for a Workload is accepted and not enforced yet";
            written.sink.add(written.problem(Code::NotEnforced, "kind", words));
            return None;
        }
        Some(found)
    });
    let targets = targets.collect();
    let mut names = HashSet::new();
    let rules = bounded(spec, "rules").enumerate().filter_map(|(at, written)| {
        let rule = rule(&written, at)?;
        if !names.insert(rule.name.clone()) {
            written.refuse("name", format!("two rules are named `{}`: they would count together", rule.name));
        }
        Some(rule)
    });
    let rules = rules.collect();
    RateLimitPolicy { name: name.to_owned(), namespace: namespace.to_owned(), targets, rules }
}

fn bounded<'a>(of: &Object<'a>, name: &'static str) -> impl Iterator<Item = Object<'a>> {
    let count = of.list(name).len();
    if count > MOST {
        of.sink.add(of.problem(Code::Bounds, name, format!("`{name}` has {count} items; at most {MOST} can be")));
    }
    of.objects(name).take(MOST)
}

fn rule(written: &Object<'_>, at: usize) -> Option<Rule> {
    let name = written.text("name").map_or_else(|| at.to_string(), |name| name.value);
    let matches = bounded(written, "match").flat_map(|block| matches(&block)).collect();
    let key: Vec<Part> = bounded(written, "key").filter_map(|part_| part(&part_)).collect();
    if key.len() > MOST_PARTS {
        let words = format!("a key has {} parts; at most {MOST_PARTS} can be", key.len());
        written.sink.add(written.problem(Code::Bounds, "key", words));
    }
    let amount = written.object("limit").and_then(|limit| amount(&limit));
    let overrides = bounded(written, "overrides").filter_map(|one| override_(&one, key.len())).collect();
    let cost = written.object("cost").map_or(Cost { header: None, default: 1 }, |cost| Cost {
        header: cost.text("header").map(|header| header.value.to_ascii_lowercase().into()),
        default: cost.number("default", 0, i64::from(u32::MAX)).map_or(1, |number| number.value as u32),
    });
    let modes = [("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];
    let mode = written.word("mode", &modes).map(|mode| mode.value).unwrap_or_default();
    let answer = written.object("respond").map(|respond| answer(&respond)).unwrap_or_default();
    if let Some(amount) =
        amount.filter(|amount| cost.header.is_none() && amount.burst > 0 && cost.default > amount.burst)
    {
        let words =
            format!("a request costs {} and at most {} can be there: every one is refused", cost.default, amount.burst);
        written.sink.add(written.problem(Code::NoEffect, "cost", words).hint("raise `burst`, or lower the cost"));
    }
    let shared = shared(written);
    Some(Rule { name, matches, key, amount: amount?, overrides, cost, mode, answer, shared, place: written.place() })
}

/// A block: one condition for each of its methods.
fn matches(block: &Object<'_>) -> Vec<HttpMatch> {
    let uri = block.object("path").and_then(|path| string_match(&path, Empty::Allowed));
    let read = |(key, node): &(crate::yaml::Key, crate::yaml::Node)| {
        if !names::is_header_name(&key.text) {
            block.sink.refuse(&block.sink.place(key.line, key.column), format!("`{}` is no header's name", key.text));
        }
        let written = Object::of(node, "headers", block.sink)?;
        Some((key.text.clone(), Some(string_match(&written, Empty::Refused)?)))
    };
    let headers = block.map("headers").iter().filter_map(read).collect();
    let all = HttpMatch { uri, headers, ..HttpMatch::default() };
    let methods = block.texts("methods");
    if methods.is_empty() {
        return vec![all];
    }
    let of = |method: At<String>| {
        let exact = At { value: StringMatch::Exact(method.value), place: method.place };
        HttpMatch { method: Some(exact), ..all.clone() }
    };
    methods.into_iter().take(MOST).map(of).collect()
}

fn part(written: &Object<'_>) -> Option<Part> {
    let named = |name| written.text(name).map(|found| found.value);
    let yes = |name| written.truth(name).unwrap_or(false);
    let header = named("header").map(|name| Part::Header(name.to_ascii_lowercase().into()));
    let query = named("query").map(|name| Part::Query(name.into()));
    let cookie = named("cookie").map(|name| Part::Cookie(name.into()));
    let flags = [("clientAddress", Part::ClientAddress), ("method", Part::Method), ("path", Part::Path)];
    let flag = flags.into_iter().filter(|(name, _)| yes(name)).map(|(_, part)| part).next();
    let found = header.or(query).or(cookie).or(flag);
    if found.is_none() {
        let words = "this part of the key says nothing: it is left out";
        written.sink.add(Problem::new(Code::NoEffect, written.place(), words));
    }
    found
}

/// `requests`, `per`, `burst`.
fn amount(written: &Object<'_>) -> Option<Amount> {
    let most = i64::from(u32::MAX);
    let requests = written.number("requests", 0, most).map(|number| number.value as u32);
    let per = written.duration("per", LEAST).map(|per| per.value);
    let burst = written.number("burst", 0, most).map(|number| number.value as u32);
    let (requests, per) = (requests?, per?);
    if burst == Some(0) && requests > 0 {
        let words = "a `burst` of 0 has room for no request: it must be at least 1";
        written.sink.add(written.problem(Code::Value, "burst", words).hint("leave it out: it is `requests` then"));
    }
    Some(Amount::bucket(requests, per, burst.unwrap_or(requests)))
}

fn override_(written: &Object<'_>, parts: usize) -> Option<Override> {
    let values: Vec<String> = written.texts("key").into_iter().map(|value| value.value).collect();
    if values.len() != parts {
        let words = format!("this key has {} values and the rule's has {parts}: it is for no request", values.len());
        written.sink.add(written.problem(Code::NoEffect, "key", words).hint("write a value for each; `*` is any"));
    }
    let amount = written.object("limit").and_then(|limit| amount(&limit))?;
    (values.len() == parts).then_some(Override { values, amount })
}

fn shared(written: &Object<'_>) -> Option<Shared> {
    let is_shared = written.word("scope", &[("proxy", false), ("service", true)]).is_some_and(|scope| scope.value);
    let redis = written.object("store").and_then(|store| store.object("redis"));
    let shared = redis.and_then(|redis| {
        let timeout = redis.duration("timeout", LEAST).map_or(TIMEOUT, |timeout| timeout.value);
        let words = [("allow", OnError::Allow), ("deny", OnError::Deny)];
        let on_error = redis.word("onError", &words).map(|word| word.value).unwrap_or_default();
        let url = redis.text("url")?;
        is_redis(&url, &redis).then(|| Shared { url: Arc::from(url.value), timeout, on_error, slice: None })
    });
    match (is_shared, written.has("store")) {
        (true, false) => {
            let words = "`scope: service` needs a `store`: without one each process counts alone";
            let hint = "add `store: { redis: { url: \"redis://…\" } }`";
            written.sink.add(written.problem(Code::NoEffect, "scope", words).hint(hint));
        }
        (false, true) => {
            let words = "a `store` is used by `scope: service` only: this rule counts in each process alone";
            written.sink.add(written.problem(Code::NoEffect, "store", words).hint("add `scope: service`"));
        }
        _ => {}
    }
    shared.filter(|_| is_shared)
}

/// Is it an address of a Redis that weir can speak to?
pub fn is_redis(url: &At<String>, of: &Object<'_>) -> bool {
    let fits = url.value.split(',').all(|node| {
        let rest = node.trim().strip_prefix("redis://").unwrap_or(node.trim());
        let host = rest.split('/').next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
        let port = host.rsplit_once(':').map_or(Ok(6379), |(_, port)| port.parse::<u16>());
        !host.is_empty() && !rest.contains("://") && port.is_ok()
    });
    if !fits {
        let problem = Problem::new(Code::Value, url.place.clone(), format!("`{}` is no address of a Redis", url.value));
        of.sink.add(problem.hint("write `redis://HOST:PORT`; the nodes of a cluster separated by commas"));
    }
    fits
}

fn answer(respond: &Object<'_>) -> Answer {
    let mut answer = Answer::default();
    if let Some(status) = respond.number("status", 400, 599) {
        answer.status = status.value as u16;
    }
    answer.body = respond.text("body").map(|body| body.value).unwrap_or_default().into();
    for (key, node) in respond.map("headers").iter().take(MOST) {
        let name = key.text.to_ascii_lowercase();
        let plain = match &node.value {
            Value::Scalar(text, _) => text.as_str(),
            Value::List(_) | Value::Map(_) => "",
        };
        match (name.as_str(), plain) {
            ("retry-after", "auto") => answer.retry_after = RetryAfter::Auto,
            ("retry-after", "false" | "off" | "none") => answer.retry_after = RetryAfter::Nothing,
            ("x-ratelimit", "true") => answer.tell = Tell::Numbers,
            ("x-ratelimit", "false") => answer.tell = Tell::Nothing,
            ("x-ratelimit", _) => {
                respond.sink.refuse(&respond.sink.place(node.line, node.column), "`x-ratelimit` is true or false");
            }
            ("retry-after", seconds) if seconds.parse::<u32>().is_ok() => {
                answer.retry_after = RetryAfter::Nothing;
                answer.fields.push((name.into(), seconds.into()));
            }
            _ => {
                let Some(value) = text(node, "headers", respond.sink) else { continue };
                let clean = !value.value.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f);
                if !names::is_header_name(&name) || !clean || name.starts_with(':') {
                    let words = format!("`{}: {}` is no header that an answer can have", key.text, value.value);
                    respond.sink.refuse(&value.place, words);
                    continue;
                }
                answer.fields.push((name.into(), value.value.into()));
            }
        }
    }
    answer
}
