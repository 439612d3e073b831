//! A share of requests, in parts per million: `percentage`, `percent`, Envoy's FractionalPercent.
//!
//! Does not: round up. As in Istio what is below a ten-thousandth of a percent is cut off.

use crate::rng::Rng;

/// Parts per million, `0..=1_000_000`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Debug)]
pub struct Share(u32);

impl Share {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(1_000_000);

    /// Of a percentage (0–100); cut off to a ten-thousandth of a percent, as istiod does.
    pub fn of_percent(percent: f64) -> Self {
        // Out of range and NaN end at the bounds: the cast saturates.
        Self(((percent * 10_000.0) as u32).min(Self::ALL.0))
    }

    /// `numerator` of `denominator` (100, 10,000 or 1,000,000); more than all is all.
    pub fn of_fraction(numerator: u32, denominator: u32) -> Self {
        let parts = u64::from(numerator) * u64::from(Self::ALL.0) / u64::from(denominator.max(1));
        Self(u32::try_from(parts).unwrap_or(Self::ALL.0).min(Self::ALL.0))
    }

    /// Parts per million.
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// The dice: does this one belong to the share? None and all cost no draw.
    pub const fn hits(self, rng: &mut Rng) -> bool {
        match self.0 {
            0 => false,
            1_000_000.. => true,
            parts => rng.below(1_000_000) < parts as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_cut_to_a_ten_thousandth_of_a_percent() {
        assert_eq!(Share::of_percent(50.0).parts(), 500_000);
        assert_eq!(Share::of_percent(0.0001).parts(), 1);
        assert_eq!(Share::of_percent(0.00009).parts(), 0);
        assert_eq!(Share::of_percent(250.0), Share::ALL);
        assert_eq!(Share::of_percent(-1.0), Share::NONE);
        assert_eq!(Share::of_percent(f64::NAN), Share::NONE);
        assert_eq!(Share::of_fraction(1, 100).parts(), 10_000);
        assert_eq!(Share::of_fraction(101, 100), Share::ALL);
        assert_eq!(Share::of_fraction(3, 0), Share::ALL);
    }

    #[test]
    fn dice_fall_in_proportion() {
        let mut rng = Rng::new(11);
        let share = Share::of_percent(10.0);
        let hits = (0..100_000).filter(|_| share.hits(&mut rng)).count();
        // 10,000 expected; six standard deviations are 569.
        assert!((9_431..=10_569).contains(&hits), "{hits}");
        assert!((0..1000).all(|_| Share::ALL.hits(&mut rng) && !Share::NONE.hits(&mut rng)));
    }
}
