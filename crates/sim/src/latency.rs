//! How long things take: constant, uniform, or lognormal by its median and 99th percentile.
//!
//! Does not: keep state; the generator is the caller's.

use std::time::Duration;
use weir_policy::rng::Rng;

/// A distribution of lengths of time. Lengths are at most an hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Latency {
    Constant(Duration),
    /// Evenly in `[low, high)`.
    Uniform {
        low: Duration,
        high: Duration,
    },
    /// Half of all below `p50`, 99 of 100 below `p99`; `p99` ≥ `p50`.
    Lognormal {
        p50: Duration,
        p99: Duration,
    },
    /// Times between events that know nothing of each other.
    Exponential {
        mean: Duration,
    },
}

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;
const LONGEST: f64 = 3600.0;

impl Latency {
    /// One length.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        match *self {
            Self::Constant(length) => length,
            Self::Uniform { low, high } => {
                let span = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX);
                low + Duration::from_nanos(rng.below(span))
            }
            Self::Lognormal { p50, p99 } => {
                let median = p50.as_secs_f64();
                let sigma = (p99.as_secs_f64().max(median) / median.max(1e-9)).ln() / Z99;
                seconds(median * (sigma * normal(rng)).exp())
            }
            Self::Exponential { mean } => seconds(-mean.as_secs_f64() * above_zero(rng).ln()),
        }
    }
}

fn seconds(length: f64) -> Duration {
    Duration::from_secs_f64(length.clamp(0.0, LONGEST))
}

/// Evenly in `[0, 1)`.
pub(crate) fn share(rng: &mut Rng) -> f64 {
    (rng.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// Evenly in `(0, 1]`: its logarithm is finite.
fn above_zero(rng: &mut Rng) -> f64 {
    1.0 - share(rng)
}

/// Standard normal, by Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * above_zero(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * share(rng)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(latency: Latency) -> Vec<Duration> {
        let mut rng = Rng::new(11);
        let mut all: Vec<_> = (0..20_000).map(|_| latency.draw(&mut rng)).collect();
        all.sort();
        all
    }

    #[test]
    fn a_lognormal_has_the_percentiles_it_was_given() {
        let all = sorted(Latency::Lognormal { p50: Duration::from_millis(20), p99: Duration::from_millis(120) });
        let (p50, p99) = (all[10_000].as_secs_f64() * 1e3, all[19_800].as_secs_f64() * 1e3);
        assert!((19.0..21.0).contains(&p50), "{p50}");
        assert!((110.0..130.0).contains(&p99), "{p99}");
    }

    #[test]
    fn an_exponential_has_its_mean_and_a_uniform_its_bounds() {
        let all = sorted(Latency::Exponential { mean: Duration::from_millis(10) });
        let mean = all.iter().sum::<Duration>().as_secs_f64() / all.len() as f64;
        assert!((0.0098..0.0102).contains(&mean), "{mean}");
        let (low, high) = (Duration::from_millis(3), Duration::from_millis(5));
        let all = sorted(Latency::Uniform { low, high });
        assert!(all[0] >= low && all[all.len() - 1] < high);
    }
}
