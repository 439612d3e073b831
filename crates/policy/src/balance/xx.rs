//! xxHash64, as Envoy hashes keys: the same key, the same place on a ring.
//!
//! Does not: resist those who choose keys to collide; it only spreads load.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// The hash of `data`.
pub fn hash(data: &[u8], seed: u64) -> u64 {
    let (blocks, mut rest) = data.as_chunks::<32>();
    let mut state = if blocks.is_empty() { seed.wrapping_add(P5) } else { stripes(blocks, seed) };
    state = state.wrapping_add(data.len() as u64);
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        state = (state ^ round(0, u64::from_le_bytes(*word))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<4>() {
        let word = u64::from(u32::from_le_bytes(*word));
        state = (state ^ word.wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        rest = after;
    }
    for byte in rest {
        state = (state ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    avalanche(state)
}

fn stripes(blocks: &[[u8; 32]], seed: u64) -> u64 {
    let mut lanes = [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }
    let [a, b, c, d] = lanes;
    let mixed = a.rotate_left(1).wrapping_add(b.rotate_left(7)).wrapping_add(c.rotate_left(12));
    lanes.iter().fold(mixed.wrapping_add(d.rotate_left(18)), |state, lane| {
        (state ^ round(0, *lane)).wrapping_mul(P1).wrapping_add(P4)
    })
}

const fn round(state: u64, word: u64) -> u64 {
    state.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

const fn avalanche(mut state: u64) -> u64 {
    state = (state ^ (state >> 33)).wrapping_mul(P2);
    state = (state ^ (state >> 29)).wrapping_mul(P3);
    state ^ (state >> 32)
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn published_values() {
        assert_eq!(hash(b"", 0), 0xEF46_DB37_51D8_E999);
        assert_eq!(hash(b"a", 0), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(hash(b"abc", 0), 0x44BC_2CF5_AD77_0999);
        assert_eq!(hash(b"Nobody inspects the spammish repetition", 0), 0xFBCE_A83C_8A37_8BF1);
    }
}
