//! How long things took, in fixed buckets of milliseconds: what a cluster counts beside numbers.
//!
//! Does not: allocate, or tell apart what falls into one bucket.

use std::time::Duration;

/// Upper bounds of the buckets, in milliseconds; the last bucket takes everything.
pub const BOUNDS: [u64; 13] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, u64::MAX];

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spread {
    /// Not cumulative.
    pub buckets: [u64; BOUNDS.len()],
    /// Of all, in microseconds.
    pub micros: u64,
}

impl Spread {
    pub fn record(&mut self, length: Duration) {
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| bound.saturating_mul(1000) < micros);
        self.buckets[bucket] += 1;
        self.micros = self.micros.saturating_add(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut spread = Spread::default();
        for micros in [0, 1_000, 1_001, 25_000, 3_600_000_000] {
            spread.record(Duration::from_micros(micros));
        }
        assert_eq!(spread.buckets, [2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(spread.micros, 3_600_027_001);
        spread.record(Duration::MAX);
        assert_eq!(spread.buckets[12], 2);
    }
}
