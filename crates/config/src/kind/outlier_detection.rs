//! `outlierDetection`: Istio's words, and what its validation asks of them.

use crate::decode::{At, Object, number};
use crate::problem::{Code, Problem};
use std::time::Duration;

/// `trafficPolicy.outlierDetection`.
#[derive(Clone, PartialEq, Debug)]
pub struct OutlierDetection {
    pub errors: Option<u32>,
    pub gateway: Option<u32>,
    pub split: Option<bool>,
    pub local: Option<u32>,
    pub interval: Option<Duration>,
    pub base: Option<Duration>,
    pub max_percent: Option<u32>,
    pub min_health_percent: Option<u32>,
    pub codes: Vec<u16>,
    /// Ours: no ejection is longer.
    pub longest: Option<Duration>,
    /// Ours: up to this is added to each ejection.
    pub jitter: Option<Duration>,
}

const LEAST: Duration = Duration::from_millis(1);
const COUNT: i64 = u32::MAX as i64;

/// Reads `outlierDetection`.
pub fn outlier_detection(outlier: &Object<'_>) -> OutlierDetection {
    let count = |name| outlier.number(name, 0, COUNT).map(|number| number.value as u32);
    let length = |name| outlier.duration(name, LEAST).map(|length| length.value);
    old_errors(outlier);
    let split = outlier.truth("splitExternalLocalOriginErrors");
    let local = count("consecutiveLocalOriginFailures");
    if local.is_some_and(|local| local > 0) && split != Some(true) {
        let words = "`consecutiveLocalOriginFailures` needs `splitExternalLocalOriginErrors: true`";
        outlier.sink.add(outlier.problem(Code::Conflict, "consecutiveLocalOriginFailures", words));
    }
    outlier.ours("maxEjectionTime", "its longest ejection is 300s, or baseEjectionTime");
    outlier.ours("ejectionJitter", "ejections have no jitter");
    let out = OutlierDetection {
        errors: count("consecutive5xxErrors"),
        gateway: count("consecutiveGatewayErrors"),
        split,
        local,
        interval: length("interval"),
        base: length("baseEjectionTime"),
        max_percent: max_percent(outlier),
        min_health_percent: outlier.number("minHealthPercent", 0, 100).map(|percent| percent.value as u32),
        codes: codes(outlier),
        longest: length("maxEjectionTime"),
        jitter: outlier.duration("ejectionJitter", Duration::ZERO).map(|length| length.value),
    };
    outlier.end();
    if let (Some(longest), Some(base)) = (out.longest, out.base)
        && longest < base
    {
        let words = "`maxEjectionTime` is below `baseEjectionTime`";
        outlier.sink.add(outlier.problem(Code::Value, "maxEjectionTime", words));
    }
    out
}

/// `consecutiveErrors`: Istio still knows the word, warns, and does nothing with it.
fn old_errors(outlier: &Object<'_>) {
    outlier.without_effect(&["consecutiveErrors"]);
    if outlier.number("consecutiveErrors", 0, COUNT).is_some_and(|number| number.value > 0) {
        let words = "`consecutiveErrors` is deprecated and has no effect, as in Istio";
        let hint = "write `consecutive5xxErrors` or `consecutiveGatewayErrors`";
        outlier.sink.add(outlier.problem(Code::Deprecated, "consecutiveErrors", words).hint(hint));
    }
}

/// 0 is "not set": istiod passes on only what is above it.
fn max_percent(outlier: &Object<'_>) -> Option<u32> {
    let At { value, place } = outlier.number("maxEjectionPercent", 0, 100)?;
    if value == 0 {
        let words = "`maxEjectionPercent: 0` means \"not set\": the default of 10 holds";
        outlier.sink.add(Problem::new(Code::ZeroIsUnset, place, words).hint("remove `outlierDetection` to eject none"));
        return None;
    }
    Some(value as u32)
}

fn codes(outlier: &Object<'_>) -> Vec<u16> {
    const NAME: &str = "outlierDetectionHttpErrorCodes";
    let nodes = outlier.list(NAME).iter();
    nodes.filter_map(|node| Some(number(node, NAME, 100, 599, outlier.sink)?.value as u16)).collect()
}

impl OutlierDetection {
    /// What this one leaves open is the other's.
    pub fn fill(&mut self, other: &Self) {
        self.errors = self.errors.or(other.errors);
        self.gateway = self.gateway.or(other.gateway);
        self.split = self.split.or(other.split);
        self.local = self.local.or(other.local);
        self.interval = self.interval.or(other.interval);
        self.base = self.base.or(other.base);
        self.max_percent = self.max_percent.or(other.max_percent);
        self.min_health_percent = self.min_health_percent.or(other.min_health_percent);
        self.longest = self.longest.or(other.longest);
        self.jitter = self.jitter.or(other.jitter);
        if self.codes.is_empty() {
            self.codes.clone_from(&other.codes);
        }
    }
}
