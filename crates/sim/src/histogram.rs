//! Durations counted in buckets that are at most a sixteenth wide: quantiles without keeping every value.
//!
//! Does not: share anything between threads (`weir-observe` has the histogram of the data path).

use std::time::Duration;

const FINE: u32 = 16;

/// Counts of microseconds, exact below 16 µs, then 16 buckets per power of two.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    /// Counts one more.
    pub fn record(&mut self, length: Duration) {
        let bucket = bucket(u64::try_from(length.as_micros()).unwrap_or(u64::MAX));
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
    }

    /// How many were counted.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The length that `share` (0–1) of all do not exceed, to a sixteenth; `None` of nothing.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let bucket = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Duration::from_micros(upper(bucket)))
    }
}

fn bucket(micros: u64) -> usize {
    if micros < u64::from(FINE) {
        return micros as usize;
    }
    let power = micros.ilog2() - FINE.ilog2();
    (power * FINE) as usize + (micros >> power) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let (power, rest) = ((bucket as u64 / u64::from(FINE)).saturating_sub(1), bucket as u64 % u64::from(FINE));
    if bucket < FINE as usize {
        return bucket as u64;
    }
    (((u64::from(FINE) + rest + 1) as u128) << power).saturating_sub(1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_below_the_upper_bound_of_its_bucket_and_near_it() {
        for micros in (0..5000).chain([1 << 20, 123_456_789, u64::MAX / 2, u64::MAX]) {
            let upper = upper(bucket(micros));
            assert!(upper >= micros && (upper - micros) as f64 <= micros as f64 / 16.0, "{micros} → {upper}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for millis in 1..=100 {
            histogram.record(Duration::from_millis(millis));
        }
        let p99 = histogram.quantile(0.99).expect("not empty");
        assert!(p99 >= Duration::from_millis(99) && p99 < Duration::from_millis(106), "{p99:?}");
        assert_eq!(histogram.count(), 100);
    }
}
