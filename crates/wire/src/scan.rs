//! Byte classes of the grammar: a table for tokens, branch-free folds for longer runs.

const TOKEN: [bool; 256] = tokens();

const fn tokens() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
}

/// How many bytes at the front may stand in a token (RFC 9110 section 5.6.2).
pub(crate) fn token(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !TOKEN[*byte as usize]).unwrap_or(bytes.len())
}

/// May all of it stand in a field value: field-vchar, obs-text, SP and HTAB (RFC 9110 section 5.5)?
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    // No early exit, so that the compiler makes it a vector loop.
    !bytes.iter().fold(false, |bad, byte| bad | ((*byte < 0x20) & (*byte != b'\t')) | (*byte == 0x7f))
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
