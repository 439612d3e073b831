//! A hash for maps whose keys come from the documents: quick, and no secret.
//!
//! Whoever sends requests can only ask such a map, not fill it, so nothing is gained by finding keys that collide.
//! Does not: suit a map that is keyed by what peers send.

use std::hash::{BuildHasherDefault, Hasher};

/// See the module.
#[derive(Clone, Copy, Default, Debug)]
pub struct Fold(u64);

/// For the type of a map.
pub type Folding = BuildHasherDefault<Fold>;

impl Fold {
    const fn word(&mut self, word: u64) {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let product = (self.0 ^ word) as u128 * FACTOR as u128;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word) ^ 0xa5a5);
        }
        let rest = rest.iter().fold(rest.len() as u64 + 1, |sum, byte| sum << 8 | u64::from(*byte));
        self.word(rest);
    }

    fn write_u8(&mut self, byte: u8) {
        self.word(u64::from(byte) ^ 0x5a00);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn names_of_a_mesh_spread() {
        let name = |number: usize| format!("service-{number}.namespace-{}.svc.cluster.local", number % 97);
        let hashes: Vec<u64> = (0..10_000).map(|number| Folding::default().hash_one(name(number).as_str())).collect();
        let buckets: HashSet<u64> = hashes.iter().map(|hash| hash & 0x3fff).collect();
        // As many as of random numbers: 16,384 × (1 − e^(−10,000 ÷ 16,384)) = 7,485.
        assert!((7_300..7_700).contains(&buckets.len()), "{}", buckets.len());
        let tops: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert_eq!(tops.len(), 128, "hashbrown tells entries apart by these bits");
    }
}
