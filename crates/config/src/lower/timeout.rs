//! `timeout` and `perTryTimeout` → [`weir_policy::timeout::Rules`].

use crate::decode::At;
use crate::duration::show;
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::timeout::Rules;

/// A per-try timeout that is not below the request's is dropped, as Envoy does; the warning says so.
pub fn lower(whole: Option<&At<Duration>>, per_try: Option<&At<Duration>>, problems: &mut Vec<Problem>) -> Rules {
    let limit = whole.map(|whole| whole.value).filter(|whole| !whole.is_zero());
    let Some(per_try) = per_try else { return Rules { whole: limit, per_try: None } };
    if let Some(limit) = limit.filter(|limit| per_try.value >= *limit) {
        let words =
            format!("`perTryTimeout: {}` is not below `timeout: {}`: it is ignored", show(per_try.value), show(limit));
        problems.push(
            Problem::new(Code::PerTryIgnored, per_try.place.clone(), words).hint("make it shorter, or remove it"),
        );
        return Rules { whole: Some(limit), per_try: None };
    }
    Rules { whole: limit, per_try: Some(per_try.value) }
}
