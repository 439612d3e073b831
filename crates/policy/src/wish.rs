//! What a request asks for itself, by `x-envoy-*` headers: more retries, other timeouts.
//!
//! ```text
//!   trusted client ([`crate::trust`]) ─► Wishes ─► over the rules of its route ─► the rules of this one call
//!   others: the headers are removed and ignored
//! ```
//! A request without such headers costs nothing here. What cannot be read is ignored, as Envoy ignores it. Does not:
//! decide whom to trust, or let anybody past limits and budgets.

use crate::decision::Terms;
use crate::plan::Compatibility;
use crate::retry::{Conditions, NonIdempotent, Previous, Rules};
use crate::route::{Destination, HeaderMatch};
use crate::timeout;
use std::sync::Arc;
use std::time::Duration;

/// Codes and names that one request may add; a list is cut off behind them.
const MOST: usize = 64;

/// See the module.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Wishes {
    /// `x-envoy-retry-on` and `x-envoy-retry-grpc-on`: added to the route's.
    on: Conditions,
    /// `x-envoy-max-retries`: in place of the route's, when there is any condition.
    retries: Option<u32>,
    /// `x-envoy-retriable-status-codes`: added.
    codes: Vec<u16>,
    /// `x-envoy-retriable-header-names`: added.
    headers: Vec<HeaderMatch>,
    /// `x-envoy-upstream-rq-timeout-ms`; zero = none.
    whole: Option<Duration>,
    /// `x-envoy-upstream-rq-per-try-timeout-ms`; zero = none.
    per_try: Option<Duration>,
    late: Late,
}

/// How a time-out is answered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Late {
    /// 504.
    #[default]
    GatewayTimeout,
    /// 204 without a body: `x-envoy-upstream-rq-timeout-alt-response`.
    NoContent,
}

impl Late {
    /// The status of the answer; outlier detection counts it too.
    pub const fn status(self) -> u16 {
        match self {
            Self::GatewayTimeout => 504,
            Self::NoContent => 204,
        }
    }
}

impl Wishes {
    /// Takes one header field into account; other names are ignored.
    pub fn read(&mut self, name: &[u8], value: &[u8]) {
        let Some(rest) = name.get(..8).filter(|start| start.eq_ignore_ascii_case(b"x-envoy-")).map(|_| &name[8..])
        else {
            return;
        };
        let Ok(value) = std::str::from_utf8(value) else { return };
        let is = |known: &str| rest.eq_ignore_ascii_case(known.as_bytes());
        if is("retry-on") {
            self.on = words(value).filter(|word| !word.is_grpc()).fold(self.on, Conditions::with);
        } else if is("retry-grpc-on") {
            self.on = words(value).filter(|word| word.is_grpc()).fold(self.on, Conditions::with);
        } else if is("max-retries") {
            self.retries = number(value).map(|count| u32::try_from(count).unwrap_or(u32::MAX - 1)).or(self.retries);
        } else if is("retriable-status-codes") {
            self.codes.extend(parts(value).filter_map(|part| part.parse::<u16>().ok()).take(MOST));
            self.codes.truncate(MOST);
        } else if is("retriable-header-names") {
            self.headers.extend(parts(value).filter(|part| !part.is_empty()).take(MOST).map(HeaderMatch::present));
            self.headers.truncate(MOST);
        } else if is("upstream-rq-timeout-ms") {
            self.whole = number(value).map(Duration::from_millis).or(self.whole);
        } else if is("upstream-rq-per-try-timeout-ms") {
            self.per_try = number(value).map(Duration::from_millis).or(self.per_try);
        } else if is("upstream-rq-timeout-alt-response") {
            self.late = Late::NoContent;
        }
    }

    /// How a time-out of this call is answered.
    pub const fn late(&self) -> Late {
        self.late
    }

    /// The retries of this call. `built_in` is what a route without retries starts from: Envoy's one.
    pub fn retry(&self, route: Option<&Arc<Rules>>, built_in: impl FnOnce() -> Rules) -> Option<Arc<Rules>> {
        let on = route.map_or(Conditions::default(), |rules| rules.on).with(self.on);
        let changed = self.on != Conditions::default()
            || self.retries.is_some()
            || !self.codes.is_empty()
            || !self.headers.is_empty();
        if !changed || on == Conditions::default() {
            return route.cloned();
        }
        let mut rules = match route {
            Some(rules) => Rules::clone(rules),
            None => Rules { attempts: 1, codes: Vec::new(), previous: Previous::Allow, ..built_in() },
        };
        rules.on = on;
        rules.attempts = self.retries.unwrap_or(rules.attempts);
        rules.codes.extend(&self.codes);
        rules.headers.extend(self.headers.iter().cloned());
        Some(Arc::new(rules))
    }

    /// The retries and time limits of this call, over those of its destination.
    pub fn terms(&self, destination: &Destination, compatibility: Compatibility) -> Terms {
        let built_in = || {
            let non_idempotent = match compatibility {
                Compatibility::Weir => NonIdempotent::Guard,
                Compatibility::Istio => NonIdempotent::Retry,
            };
            Rules { non_idempotent, ..Rules::default() }
        };
        Terms { retry: self.retry(destination.retry.as_ref(), built_in), timeout: self.timeout(destination.timeout) }
    }

    /// The time limits of this call.
    pub fn timeout(&self, route: timeout::Rules) -> timeout::Rules {
        let some = |length: Duration| Some(length).filter(|length| !length.is_zero());
        let whole = self.whole.map_or(route.whole, some);
        let per_try = self.per_try.map_or(route.per_try, some);
        // One that is not below the whole is dropped, as Envoy does.
        let per_try = per_try.filter(|per_try| whole.is_none_or(|whole| *per_try < whole));
        timeout::Rules { whole, per_try }
    }
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

fn words(list: &str) -> impl Iterator<Item = Conditions> {
    parts(list).filter_map(Conditions::of_word)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    fn wishes(fields: &[(&str, &str)]) -> Wishes {
        let mut wishes = Wishes::default();
        fields.iter().for_each(|(name, value)| wishes.read(name.as_bytes(), value.as_bytes()));
        wishes
    }

    fn five_xx() -> Arc<Rules> {
        Arc::new(Rules { attempts: 3, on: Conditions::FIVE_XX, ..Rules::default() })
    }

    #[test]
    fn conditions_are_added_and_the_count_replaced() {
        let asked = wishes(&[("X-Envoy-Retry-On", "reset, bogus,unavailable"), ("x-envoy-max-retries", "1")]);
        let rules = asked.retry(Some(&five_xx()), Rules::default).expect("rules");
        assert_eq!((rules.on, rules.attempts), (Conditions::FIVE_XX.with(Conditions::RESET), 1));
        let grpc = wishes(&[("x-envoy-retry-grpc-on", "unavailable,5xx")]).retry(None, Rules::default).expect("rules");
        assert_eq!((grpc.on, grpc.attempts), (Conditions::GRPC_UNAVAILABLE, 1), "switched-off retries: one");
        let none = wishes(&[("x-envoy-max-retries", "0")]).retry(Some(&five_xx()), Rules::default).expect("rules");
        assert_eq!(none.attempts, 0);
    }

    #[test]
    fn without_any_condition_the_rest_is_nothing() {
        let asked = wishes(&[("x-envoy-max-retries", "5"), ("x-envoy-retriable-status-codes", "503")]);
        assert_eq!(asked.retry(None, Rules::default), None);
        let (own, nothing) = (five_xx(), wishes(&[("x-envoy-max-retries", "many"), ("user-agent", "x")]));
        assert!(Arc::ptr_eq(&own, &nothing.retry(Some(&own), Rules::default).expect("rules")), "and copies nothing");
    }

    #[test]
    fn codes_and_header_names_are_added() {
        let asked = wishes(&[
            ("x-envoy-retriable-status-codes", "418, x,503"),
            ("x-envoy-retriable-header-names", "x-a, X-B,"),
        ]);
        let rules = asked.retry(Some(&five_xx()), Rules::default).expect("rules");
        assert_eq!(rules.codes, [418, 503]);
        assert_eq!(rules.headers, [HeaderMatch::present("x-a"), HeaderMatch::present("X-B")]);
        let long = "1,".repeat(10_000);
        assert_eq!(wishes(&[("x-envoy-retriable-status-codes", &long)]).codes.len(), MOST);
    }

    #[test]
    fn timeouts_are_replaced_and_zero_is_none() {
        let (second, five) = (Some(Duration::from_secs(1)), Some(Duration::from_secs(5)));
        let route = timeout::Rules { whole: five, per_try: second };
        let of = |fields: &[(&str, &str)]| wishes(fields).timeout(route);
        assert_eq!(of(&[]), route);
        let whole = of(&[("x-envoy-upstream-rq-timeout-ms", "300")]);
        assert_eq!(whole, timeout::Rules { whole: Some(Duration::from_millis(300)), per_try: None });
        assert_eq!(of(&[("x-envoy-upstream-rq-timeout-ms", "0")]), timeout::Rules { whole: None, per_try: second });
        assert_eq!(
            of(&[("x-envoy-upstream-rq-per-try-timeout-ms", "0")]),
            timeout::Rules { whole: five, per_try: None }
        );
        assert_eq!(wishes(&[("x-envoy-upstream-rq-timeout-alt-response", "")]).late().status(), 204);
    }

    proptest! {
        #[test]
        fn no_value_is_too_odd(name in "(?i)x-envoy-(retry-on|max-retries|retriable-status-codes|upstream-rq-timeout-ms|.{0,9})", value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut wishes = Wishes::default();
            wishes.read(name.as_bytes(), &value);
            prop_assert!(wishes.retry(None, Rules::default).is_none_or(|rules| rules.on != Conditions::default()));
            let _ = wishes.timeout(timeout::Rules::default());
        }
    }
}
