//! SipHash-1-3: a hash that nobody who does not know the key can aim at.
//!
//! Does not: choose keys. The proxy draws one when it starts, so that clients cannot make keys that collide.

/// A key; the same key, the same hashes. See <https://www.aumasson.jp/siphash/siphash.pdf>.
#[derive(Clone, Copy, Debug)]
pub struct Sip {
    k0: u64,
    k1: u64,
}

struct Lanes([u64; 4]);

impl Sip {
    pub const fn new(k0: u64, k1: u64) -> Self {
        Self { k0, k1 }
    }

    /// The hash of the parts. They are told apart: `ab`, `c` is another hash than `a`, `bc`.
    pub fn hash(self, parts: &[&[u8]]) -> u64 {
        let mut lanes = Lanes([
            self.k0 ^ 0x736f_6d65_7073_6575,
            self.k1 ^ 0x646f_7261_6e64_6f6d,
            self.k0 ^ 0x6c79_6765_6e65_7261,
            self.k1 ^ 0x7465_6462_7974_6573,
        ]);
        for part in parts {
            let mut words = part.chunks_exact(8);
            for word in words.by_ref() {
                lanes.word(u64::from_le_bytes(word.try_into().unwrap_or_default()));
            }
            let mut last = [0u8; 8];
            let rest = words.remainder();
            last[..rest.len()].copy_from_slice(rest);
            last[7] = part.len() as u8;
            lanes.word(u64::from_le_bytes(last));
        }
        lanes.end()
    }
}

impl Lanes {
    const fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    const fn end(mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keys_and_lengths_are_told_apart_and_bits_spread() {
        let sip = Sip::new(7, 8);
        assert_ne!(sip.hash(&[b"ab", b"c"]), sip.hash(&[b"a", b"bc"]));
        assert_ne!(sip.hash(&[b"a"]), sip.hash(&[b"a\0"]));
        assert_ne!(sip.hash(&[b"a"]), Sip::new(7, 9).hash(&[b"a"]));
        let ones: u32 = (0..1000u32).map(|n| (sip.hash(&[&n.to_le_bytes()]) ^ sip.hash(&[b"x"])).count_ones()).sum();
        // 32,000 expected; the deviation is about 126.
        assert!((31_000..33_000).contains(&ones), "{ones}");
    }
}
