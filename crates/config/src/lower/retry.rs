//! `retries`, the destination's `retryPolicy`, the mesh's default → [`weir_policy::retry::Rules`].
//!
//! ```text
//!   route > subset > host > mesh > built in
//! ```

use crate::kind::destination_rule::RetryPolicy;
use crate::kind::retries::Retries;
use std::time::Duration;
use weir_policy::plan::Compatibility;
use weir_policy::retry::{BackOff, NonIdempotent, Previous, Rules};

/// What `retries` says; `None` = switched off. What it leaves open is the default's. `previous` is the destination's
/// default: a hashing balancer's retries stay where they are.
pub fn of_route(written: Option<&Retries>, compatibility: Compatibility, previous: Previous) -> Option<Rules> {
    let mut rules = Rules { previous, ..built_in(compatibility) };
    let Some(written) = written else { return Some(rules) };
    if written.attempts == Some(0) {
        return None;
    }
    rules.attempts = written.attempts.unwrap_or(rules.attempts);
    if let Some(on) = &written.retry_on {
        rules.on = on.conditions;
        rules.codes.clone_from(&on.codes);
    }
    if let Some(base) = written.back_off {
        rules.back_off = BackOff { base, max: base * 10 };
    }
    rules.previous = match written.avoid_previous {
        Some(true) => Previous::Avoid,
        Some(false) => Previous::Allow,
        None => previous,
    };
    rules.non_idempotent = non_idempotent(written.non_idempotent, compatibility);
    Some(rules)
}

/// What a destination's `retryPolicy` says.
pub fn of_destination(written: &RetryPolicy, compatibility: Compatibility, previous: Previous) -> Option<Rules> {
    let mut rules = Rules { previous, ..built_in(compatibility) };
    if written.retries == Some(0) {
        return None;
    }
    rules.attempts = written.retries.unwrap_or(rules.attempts);
    if let Some(on) = &written.retry_on {
        rules.on = on.conditions;
        rules.codes.clone_from(&on.codes);
    }
    if !written.codes.is_empty() {
        rules.codes.extend(&written.codes);
        rules.on = rules.on.with(weir_policy::retry::Conditions::STATUS_CODES);
    }
    let base = written.base.unwrap_or(rules.back_off.base).max(Duration::from_millis(1));
    rules.back_off = BackOff { base, max: written.max.unwrap_or(base * 10).max(base) };
    rules.picks = written.picks.unwrap_or(rules.picks);
    rules.non_idempotent = non_idempotent(written.non_idempotent, compatibility);
    Some(rules)
}

fn built_in(compatibility: Compatibility) -> Rules {
    Rules { non_idempotent: non_idempotent(None, compatibility), ..Rules::default() }
}

fn non_idempotent(written: Option<bool>, compatibility: Compatibility) -> NonIdempotent {
    match (written, compatibility) {
        (Some(true), _) | (None, Compatibility::Istio) => NonIdempotent::Retry,
        (Some(false), _) | (None, Compatibility::Weir) => NonIdempotent::Guard,
    }
}
