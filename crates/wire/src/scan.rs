//! Byte classes of the grammar: a table for tokens, branch-free folds and words of eight bytes for longer runs.

/// Of each byte what it is in a token: [`OTHER`], [`UNDERSCORE`], or 0 for all that may stand there.
const TOKEN: [u8; 256] = tokens();
const UNDERSCORE: u8 = 1;
const OTHER: u8 = 2;

const fn tokens() -> [u8; 256] {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        match byte as u8 {
            b'_' => table[byte] = UNDERSCORE,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => table[byte] = 0,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'`' | b'|' | b'~' => {
                table[byte] = 0;
            }
            _ => {}
        }
        byte += 1;
    }
    table
}

/// The front of some bytes that may be a token (RFC 9110 section 5.6.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) length: usize,
    pub(crate) underscored: bool,
}

pub(crate) fn token(bytes: &[u8]) -> Token {
    let (mut seen, mut length) = (0, 0);
    let class = |byte: u8| TOKEN[byte as usize];
    for [a, b, c, d] in bytes.as_chunks::<4>().0 {
        let four = class(*a) | class(*b) | class(*c) | class(*d);
        if four & OTHER != 0 {
            break;
        }
        seen |= four;
        length += 4;
    }
    for byte in &bytes[length..] {
        if class(*byte) == OTHER {
            break;
        }
        seen |= class(*byte);
        length += 1;
    }
    Token { length, underscored: seen != 0 }
}

/// Where the first colon stands.
pub(crate) fn colon(bytes: &[u8]) -> Option<usize> {
    const COLONS: u64 = ONES * b':' as u64;
    let (words, _) = bytes.as_chunks::<8>();
    for (nth, word) in words.iter().enumerate() {
        let other = u64::from_le_bytes(*word) ^ COLONS;
        let marks = other.wrapping_sub(ONES) & !other & (ONES * 0x80);
        if marks != 0 {
            return Some(nth * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let from = words.len() * 8;
    bytes[from..].iter().position(|byte| *byte == b':').map(|at| from + at)
}

/// One in each byte.
const ONES: u64 = u64::MAX / 255;

/// Where the first byte stands that may not be in a field value: in a good head, the CR behind it.
pub(crate) fn value_end(bytes: &[u8]) -> Option<usize> {
    let (pairs, _) = bytes.as_chunks::<16>();
    for (nth, pair) in pairs.iter().enumerate() {
        // Two words at a time: little endian, so that the first byte is the lowest.
        let both = u128::from_le_bytes(*pair);
        let (low, high) = (controls(both as u64), controls((both >> 64) as u64));
        if low | high != 0 {
            let mut marks = u128::from(high) << 64 | u128::from(low);
            while marks != 0 {
                let at = marks.trailing_zeros() as usize / 8;
                if !is_value_byte(pair[at]) {
                    return Some(nth * 16 + at);
                }
                marks &= marks - 1;
            }
        }
    }
    let from = pairs.len() * 16;
    bytes[from..].iter().position(|byte| !is_value_byte(*byte)).map(|at| from + at)
}

/// The high bit of every byte below 0x20 or equal to 0x7f; of no byte before the first of these.
const fn controls(word: u64) -> u64 {
    let low = word.wrapping_sub(ONES * 0x20) & !word;
    let other = word ^ (ONES * 0x7f);
    let delete = other.wrapping_sub(ONES) & !other;
    (low | delete) & (ONES * 0x80)
}

/// field-vchar, obs-text, SP or HTAB (RFC 9110 section 5.5).
const fn is_value_byte(byte: u8) -> bool {
    (byte >= 0x20 || byte == b'\t') && byte != 0x7f
}

/// May all of it stand in a field value: field-vchar, obs-text, SP and HTAB (RFC 9110 section 5.5)?
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    value_end(bytes).is_none()
}

/// May all of it stand in a request target? No space, control, `#`, or byte beyond ASCII.
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |bad, byte| bad | (*byte <= 0x20) | (*byte >= 0x7f) | (*byte == b'#'))
}

/// `1*DIGIT` that fits.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Word by word as byte by byte, whatever stands beside what.
        #[test]
        fn the_end_of_a_value_is_its_first_control(bytes in proptest::collection::vec(
            prop_oneof![Just(0), Just(1), Just(b'\t'), Just(0x1f), Just(0x20), Just(0x7e), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()],
            0..60,
        )) {
            prop_assert_eq!(value_end(&bytes), bytes.iter().position(|byte| !is_value_byte(*byte)));
            let shifted: Vec<u8> = bytes.iter().map(|byte| byte.wrapping_add(b':')).collect();
            prop_assert_eq!(colon(&shifted), bytes.iter().position(|byte| *byte == 0));
        }

        #[test]
        fn a_token_ends_at_its_first_other_byte(bytes in "[a-z_-]{0,12}[ :(]?[a-z_]{0,3}") {
            let found = token(bytes.as_bytes());
            let length = bytes.bytes().position(|byte| b" :(".contains(&byte)).unwrap_or(bytes.len());
            prop_assert_eq!((found.length, found.underscored), (length, bytes[..length].contains('_')));
        }
    }
}
