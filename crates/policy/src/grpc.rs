//! gRPC's statuses: their names, and what an HTTP status means to a gRPC client.
//!
//! Does not: speak gRPC.

use std::time::Duration;

/// Names in the order of their numbers.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// UNAVAILABLE.
pub const UNAVAILABLE: u8 = 14;
/// RESOURCE_EXHAUSTED.
pub const RESOURCE_EXHAUSTED: u8 = 8;

/// The number of a status by its name.
pub fn of_name(name: &str) -> Option<u8> {
    NAMES.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok())
}

/// Every name, in the order of the numbers.
pub const fn names() -> &'static [&'static str] {
    &NAMES
}

/// What a gRPC client makes of an HTTP status (gRPC's `http-grpc-status-mapping`).
pub const fn of_http(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => UNAVAILABLE,
        _ => 2,
    }
}

/// Is this `content-type` gRPC's?
pub fn is_content_type(value: &[u8]) -> bool {
    value.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// The length that `grpc-timeout` says: one to eight digits and a unit.
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Appends milliseconds as `grpc-timeout` says them: in a unit that leaves eight digits at most.
pub fn write_timeout(out: &mut Vec<u8>, millis: u64) {
    use std::io::Write;
    let units = [(1, 'm'), (1000, 'S'), (60_000, 'M')];
    let fits = units.iter().find(|(length, _)| millis / length < 100_000_000);
    let (length, unit) = fits.copied().unwrap_or((3_600_000, 'H'));
    // Writing to a vector cannot fail.
    let _ = write!(out, "{}{unit}", (millis / length).min(99_999_999));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_content_types() {
        assert_eq!(of_name("DEADLINE_EXCEEDED"), Some(4));
        assert_eq!(of_name("UNAUTHENTICATED"), Some(16));
        assert_eq!(of_name("14"), None);
        assert_eq!((of_http(429), of_http(500)), (14, 2));
        assert!(is_content_type(b"application/grpc") && is_content_type(b"application/grpc+proto"));
        assert!(!is_content_type(b"application/grpc-web") && !is_content_type(b"application/json"));
    }

    #[test]
    fn timeouts_are_read_and_written() {
        assert_eq!(timeout(b"200m"), Some(Duration::from_millis(200)));
        assert_eq!(timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(timeout(b"0n"), Some(Duration::ZERO));
        for bad in [&b""[..], b"m", b"1", b"123456789S", b"1x", b"-1S", b"1.5S", b" 1S"] {
            assert_eq!(timeout(bad), None, "{bad:?}");
        }
        let written = |millis| {
            let mut out = Vec::new();
            write_timeout(&mut out, millis);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(200), "200m");
        assert_eq!(written(100_000_000), "100000S");
        assert_eq!(written(u64::MAX), "99999999H");
    }
}
