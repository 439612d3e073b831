//! `retryBudget` → [`weir_policy::budget::Rules`].

use crate::kind::destination_rule::RetryBudget;
use weir_policy::budget::{Rules, Written};
use weir_policy::plan::Compatibility;

/// What is written holds in both modes; when nothing is, weir has a budget and Istio none.
pub fn lower(written: Option<&RetryBudget>, compatibility: Compatibility) -> Rules {
    let default = Written::default();
    match (written, compatibility) {
        (Some(written), _) => Rules::Written(Written {
            percent: written.percent.unwrap_or(default.percent),
            minimum: written.minimum.unwrap_or(default.minimum),
            interval: written.interval.filter(|interval| !interval.is_zero()),
        }),
        (None, Compatibility::Weir) => Rules::Default,
        (None, Compatibility::Istio) => Rules::Off,
    }
}
