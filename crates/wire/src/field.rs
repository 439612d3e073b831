//! Header fields: where they stand, and which of the names that matter they have.
//!
//! Does not: hash; a name is told by its length and letters.

use crate::span::Span;

/// One field line; the value is without the white space around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    pub id: Name,
}

macro_rules! names {
    ($($variant:ident = $text:literal,)*) => {
        /// A field name that somebody decides by; all others are `Other`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Name {
            /// Not one of these.
            Other,
            /// Any further `x-envoy-*`.
            XEnvoyOther,
            /// `x-envoy-fault-*`: Envoy passes them on.
            XEnvoyFault,
            /// Any `x-weir-*`.
            XWeir,
            $(#[doc = $text] $variant,)*
        }

        const KNOWN: &[(&[u8], Name)] = &[$(($text.as_bytes(), Name::$variant),)*];
    };
}

names! {
    Host = "host",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Connection = "connection",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    Expect = "expect",
    Http2Settings = "http2-settings",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    Forwarded = "forwarded",
    XRequestId = "x-request-id",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyExpectedRqTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XEnvoyRatelimited = "x-envoy-ratelimited",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
    XEnvoyOverloaded = "x-envoy-overloaded",
    XEnvoyInternal = "x-envoy-internal",
    XEnvoyExternalAddress = "x-envoy-external-address",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    IdempotencyKey = "idempotency-key",
    ContentType = "content-type",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    GrpcRetryPushbackMs = "grpc-retry-pushback-ms",
    Server = "server",
    Date = "date",
    RetryAfter = "retry-after",
    Authorization = "authorization",
    ProxyAuthorization = "proxy-authorization",
    ProxyAuthenticate = "proxy-authenticate",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    CacheControl = "cache-control",
    ContentEncoding = "content-encoding",
    ContentRange = "content-range",
}

/// Names sorted by length: `BY_LENGTH[n]` is the range of `ORDER` with names of `n` bytes.
const LONGEST: usize = 32;
const ORDER: [usize; KNOWN.len()] = order();
const BY_LENGTH: [(u8, u8); LONGEST + 1] = by_length();

const fn order() -> [usize; KNOWN.len()] {
    let mut order = [0; KNOWN.len()];
    let (mut length, mut at) = (0, 0);
    while length <= LONGEST {
        let mut index = 0;
        while index < KNOWN.len() {
            if KNOWN[index].0.len() == length {
                order[at] = index;
                at += 1;
            }
            index += 1;
        }
        length += 1;
    }
    order
}

const fn by_length() -> [(u8, u8); LONGEST + 1] {
    let mut ranges = [(0, 0); LONGEST + 1];
    let (mut length, mut at) = (0, 0);
    while length <= LONGEST {
        let start = at;
        while (at as usize) < KNOWN.len() && KNOWN[ORDER[at as usize]].0.len() == length {
            at += 1;
        }
        ranges[length] = (start, at);
        length += 1;
    }
    ranges
}

impl Name {
    /// The name's id, in any letter case.
    pub fn of(name: &[u8]) -> Self {
        if let (Some((start, end)), [first, .., last]) = (BY_LENGTH.get(name.len()), name) {
            for index in &ORDER[*start as usize..*end as usize] {
                let (known, id) = KNOWN[*index];
                // First and last letter tell nearly all of one length apart, for less than a comparison costs.
                let alike = known[0] == first | 0x20 && known[known.len() - 1] == last | 0x20;
                if alike && is_folded(known, name) {
                    return id;
                }
            }
        }
        match name.first() {
            Some(b'x' | b'X') if starts(name, b"x-envoy-fault-") => Self::XEnvoyFault,
            Some(b'x' | b'X') if starts(name, b"x-envoy-") => Self::XEnvoyOther,
            Some(b'x' | b'X') if starts(name, b"x-weir-") => Self::XWeir,
            _ => Self::Other,
        }
    }
}

/// Is `name` the (lower-case) `known` of the same length? No byte of a token but a letter's other case becomes one of
/// a known name by setting that bit, and without a branch per byte it costs a third.
fn is_folded(known: &[u8], name: &[u8]) -> bool {
    known.iter().zip(name).fold(0, |differ, (known, byte)| differ | (known ^ (byte | 0x20))) == 0
}

fn starts(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|front| is_folded(prefix, front))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (text, id) in KNOWN {
            assert_eq!(Name::of(text), *id);
            assert_eq!(Name::of(&text.to_ascii_uppercase()), *id);
        }
        assert_eq!(Name::of(b"X-Envoy-Retry-On"), Name::XEnvoyOther);
        assert_eq!(Name::of(b"x-envoy-fault-abort-request"), Name::XEnvoyFault);
        assert_eq!(Name::of(b"x-weir-reason"), Name::XWeir);
        assert_eq!(Name::of(b"x-hosts"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
    }

    #[test]
    fn no_other_token_passes_for_a_known_name() {
        let tokens: Vec<u8> = (0..=u8::MAX).filter(|byte| crate::scan::token(&[*byte]) == 1).collect();
        for (text, id) in KNOWN {
            for at in 0..text.len() {
                for byte in tokens.iter().filter(|byte| !byte.eq_ignore_ascii_case(&text[at])) {
                    let mut changed = text.to_vec();
                    changed[at] = *byte;
                    assert_ne!(Name::of(&changed), *id, "{}", String::from_utf8_lossy(&changed));
                }
            }
        }
    }
}
