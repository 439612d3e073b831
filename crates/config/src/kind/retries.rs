//! `retries` and `retryOn`: of a route, of the mesh, of a destination.

use crate::decode::{At, Object};
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::place::Place;
use weir_policy::retry::Conditions;

/// `retries`.
#[derive(Clone, Debug)]
pub struct Retries {
    pub attempts: Option<u32>,
    pub per_try: Option<At<Duration>>,
    pub retry_on: Option<RetryOn>,
    pub avoid_previous: Option<bool>,
    pub back_off: Option<Duration>,
    pub non_idempotent: Option<bool>,
    pub place: Place,
}

/// `retryOn`, understood.
#[derive(Clone, Debug)]
pub struct RetryOn {
    pub conditions: Conditions,
    pub codes: Vec<u16>,
}

const LEAST: Duration = Duration::from_millis(1);

/// Reads `retries` of a route, where no `attempts` are 0 attempts.
pub fn route_retries(written: &Object<'_>) -> Retries {
    let out = retries(written);
    if written.has("attempts") {
        return out;
    }
    let others = written.given(&["perTryTimeout", "retryOn", "retryRemoteLocalities"]);
    match others.first() {
        Some(_) => {
            let words =
                format!("`retries` without `attempts` switches retries off, so `{}` cannot be given", others[0]);
            written.sink.add(Problem::new(Code::Missing, written.place(), words).hint("add `attempts: 2`"));
        }
        None => {
            let words = "`retries` without `attempts` switches retries off";
            written.sink.add(Problem::new(Code::ZeroIsUnset, written.place(), words).hint("write `attempts: 0`"));
        }
    }
    Retries { attempts: Some(0), ..out }
}

/// Reads `retries`, or the mesh's default.
pub fn retries(written: &Object<'_>) -> Retries {
    let attempts = written.number("attempts", 0, i64::from(i32::MAX));
    let per_try = written.duration("perTryTimeout", LEAST);
    let on = retry_on(written);
    written.truth("retryRemoteLocalities");
    written.later(&["retryRemoteLocalities"]);
    let avoid_previous = written.truth("retryIgnorePreviousHosts");
    let back_off = written.duration("backoff", LEAST).map(|length| length.value);
    written.ours("retryNonIdempotent", "it retries every method");
    let non_idempotent = written.truth("retryNonIdempotent");
    let others = ["perTryTimeout", "retryOn", "retryRemoteLocalities"];
    if attempts.as_ref().is_some_and(|attempts| attempts.value == 0)
        && let Some(name) = others.iter().find(|name| written.has(name))
    {
        let words = format!("`attempts: 0` switches retries off, so `{name}` cannot be given");
        written.sink.add(written.problem(Code::Conflict, name, words));
    }
    written.end();
    let attempts = attempts.map(|attempts| attempts.value as u32);
    Retries { attempts, per_try, retry_on: on, avoid_previous, back_off, non_idempotent, place: written.place() }
}

/// Reads `retryOn`: known words, and statuses that exist; parts are not trimmed, as in Istio's validation.
pub fn retry_on(written: &Object<'_>) -> Option<RetryOn> {
    let At { value, place } = written.text("retryOn")?;
    if value.is_empty() {
        return None;
    }
    let mut out = RetryOn { conditions: Conditions::default(), codes: Vec::new() };
    for part in value.split(',') {
        if let Some(condition) = Conditions::of_word(part) {
            out.conditions = out.conditions.with(condition);
        } else if let Some(code) = part.parse::<u16>().ok().filter(|code| is_status(*code)) {
            out.codes.push(code);
            out.conditions = out.conditions.with(Conditions::STATUS_CODES);
        } else {
            let known: Vec<&str> = Conditions::words().collect();
            let words = format!("`retryOn` has `{part}`, which is neither a condition nor a status");
            let hint = match part.trim() {
                "" => "remove the empty part".to_owned(),
                trimmed if trimmed != part => "remove the spaces around it: Istio refuses them".to_owned(),
                trimmed => crate::decode::similar(trimmed, &known)
                    .unwrap_or_else(|| format!("conditions are {}", known.join(", "))),
            };
            written.sink.add(Problem::new(Code::Value, place.clone(), words).hint(hint));
        }
    }
    Some(out)
}

/// A status that net/http has a name for, as Istio asks.
fn is_status(code: u16) -> bool {
    matches!(code, 100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 500..=508 | 510 | 511)
}
