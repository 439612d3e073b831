//! gRPC's statuses: their names, and what an HTTP status means to a gRPC client.
//!
//! Does not: speak gRPC.

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
}
