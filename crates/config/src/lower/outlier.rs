//! `outlierDetection` → [`weir_policy::outlier::Rules`].

use crate::kind::outlier_detection::OutlierDetection;
use weir_policy::outlier::{LONGEST, Origin, Rules};

/// The block's presence switches the detector on, even when it is empty.
pub fn lower(written: Option<&OutlierDetection>) -> Option<Rules> {
    let written = written?;
    let default = Rules::default();
    let base = written.base.unwrap_or(default.base);
    // A written 0 switches a counter off.
    let counter = |count: Option<u32>| count.filter(|count| *count > 0);
    Some(Rules {
        errors: if written.errors.is_none() { default.errors } else { counter(written.errors) },
        gateway: counter(written.gateway),
        origin: match written.split {
            // Without a number of its own Envoy's five hold.
            Some(true) => Origin::Split(counter(written.local).or(default.errors)),
            Some(false) | None => Origin::Shared,
        },
        codes: written.codes.clone(),
        interval: written.interval.unwrap_or(default.interval),
        base,
        longest: written.longest.unwrap_or(LONGEST).max(base),
        jitter: written.jitter.unwrap_or(default.jitter),
        max_percent: written.max_percent.unwrap_or(default.max_percent),
        min_health_percent: written.min_health_percent.unwrap_or(default.min_health_percent),
    })
}
