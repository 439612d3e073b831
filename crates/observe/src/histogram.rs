//! Fixed buckets, as Istio's dashboards expect them. One writer, any number of readers, no lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of `istio_request_duration_milliseconds`, in microseconds.
pub const DURATION_MICROS: [u64; 20] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
    u64::MAX,
];

/// Upper bounds of `istio_request_bytes` and `istio_response_bytes`.
pub const BYTES: [u64; 12] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000, u64::MAX];

/// A counter that one thread adds to and others read.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning thread may.
    pub fn add(&self, more: u64) {
        // A plain load and store: there is one writer, and no reader decides anything by it.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts per bucket (not cumulative) and the sum.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    buckets: [Counter; N],
    sum: Counter,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), sum: Counter::default() }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a value by the upper bounds `bounds`, the last of which takes everything.
    pub fn record(&self, value: u64, bounds: &[u64; N]) {
        let bucket = bounds.partition_point(|bound| *bound < value).min(N - 1);
        self.buckets[bucket].add(1);
        self.sum.add(value);
    }

    /// Adds what is counted here to `total`.
    pub fn add_to(&self, total: &mut Total<N>) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.value();
        }
        total.sum += self.sum.value();
    }
}

/// A histogram summed over shards.
#[derive(Clone, Debug)]
pub struct Total<const N: usize> {
    pub buckets: [u64; N],
    pub sum: u64,
}

impl<const N: usize> Default for Total<N> {
    fn default() -> Self {
        Self { buckets: [0; N], sum: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::<12>::default();
        for value in [0, 1, 2, 10, 11, u64::MAX] {
            histogram.record(value, &BYTES);
        }
        let mut total = Total::default();
        histogram.add_to(&mut total);
        assert_eq!(total.buckets[..3], [2, 2, 1]);
        assert_eq!(total.buckets[11], 1);
    }
}
