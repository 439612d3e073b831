//! Header fields: where they stand, and which of the names that matter they have.
//!
//! Does not: hash whole names; a known one is told by its length and three letters, and then compared.

use crate::span::Span;

/// One field line; the value is without the white space around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    pub id: Name,
    pub form: Form,
}

/// How a field line is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As we would write it: `name: value CRLF`.
    Ours,
    /// With more, less, or other white space.
    Theirs,
}

impl Field {
    /// A field of which all is known that stands between its colon and its line's end.
    #[inline]
    pub(crate) fn new(name: Span, id: Name, behind: &[u8]) -> Self {
        let from = name.end as usize + 1;
        // Nearly every value stands behind one space and before none.
        if let [b' ', value @ ..] = behind
            && let (Some(first), Some(last)) = (value.first(), value.last())
            && !is_blank(first)
            && !is_blank(last)
        {
            return Self { name, value: Span::new(from + 1, from + behind.len()), id, form: Form::Ours };
        }
        let front = behind.iter().position(|byte| !is_blank(byte)).unwrap_or(behind.len());
        let back = behind[front..].iter().rev().position(|byte| !is_blank(byte)).unwrap_or_default();
        let value = Span::new(from + front, from + behind.len() - back);
        Self { name, value, id, form: Form::Theirs }
    }
}

const fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

macro_rules! names {
    ($($variant:ident = $text:literal,)*) => {
        /// A field name that somebody decides by, or that is in most messages: it need not be looked at byte by byte.
        /// All others are `Other`.
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
    XForwardedClientCert = "x-forwarded-client-cert",
    Forwarded = "forwarded",
    XRequestId = "x-request-id",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyExpectedRqTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XEnvoyRatelimited = "x-envoy-ratelimited",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyOriginalHost = "x-envoy-original-host",
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
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    AcceptRanges = "accept-ranges",
    UserAgent = "user-agent",
    Referer = "referer",
    Origin = "origin",
    Location = "location",
    Vary = "vary",
    Etag = "etag",
    LastModified = "last-modified",
}

/// Which names stand in a head.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Names(u64);

impl Names {
    pub const fn of(names: &[Name]) -> Self {
        let (mut all, mut index) = (Self(0), 0);
        while index < names.len() {
            all.add(names[index]);
            index += 1;
        }
        all
    }

    pub const fn has(self, name: Name) -> bool {
        self.0 & (1 << name as u32) != 0
    }

    /// Those of either.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) const fn add(&mut self, name: Name) {
        self.0 |= 1 << name as u32;
    }
}

const _: () = assert!(KNOWN.len() + 4 <= u64::BITS as usize, "a bit for each name");

/// Where a name would stand in `SLOTS`: its length and three of its letters tell the known ones apart.
const fn slot(name: &[u8], factor: u32) -> usize {
    let (length, first) = (name.len(), (name[0] | 0x20) as u32);
    let fourth = (name[length.saturating_sub(4)] | 0x20) as u32;
    let last = (name[length - 1] | 0x20) as u32;
    let key = (length as u32) << 24 ^ first << 16 ^ fourth << 8 ^ last;
    (key.wrapping_mul(factor) >> 24) as usize
}

const EMPTY: u8 = u8::MAX;
const FACTOR: u32 = factor();
/// By [`slot`]: the name's place in `KNOWN`.
const SLOTS: [u8; 256] = match slots(FACTOR) {
    Some(slots) => slots,
    None => panic!("`factor` has found one that works"),
};

/// The slots, if this factor gives each known name one of its own.
const fn slots(factor: u32) -> Option<[u8; 256]> {
    let (mut slots, mut index) = ([EMPTY; 256], 0);
    while index < KNOWN.len() {
        let at = slot(KNOWN[index].0, factor);
        if slots[at] != EMPTY {
            return None;
        }
        slots[at] = index as u8;
        index += 1;
    }
    Some(slots)
}

const fn factor() -> u32 {
    let mut factor = 0x9e37_79b1;
    while slots(factor).is_none() {
        factor = factor.wrapping_add(2);
    }
    factor
}

impl Name {
    /// Does it stand for one name, not for many?
    pub(crate) const fn is_exact(self) -> bool {
        self as u8 > Self::XWeir as u8
    }

    /// The name's id, in any letter case.
    pub fn of(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::Other;
        }
        if let Some((known, id)) = KNOWN.get(SLOTS[slot(name, FACTOR)] as usize)
            && known.len() == name.len()
            && is_folded(known, name)
        {
            return *id;
        }
        match name {
            [b'x' | b'X', b'-', b'e' | b'E', ..] if starts(name, b"x-envoy-fault-") => Self::XEnvoyFault,
            [b'x' | b'X', b'-', b'e' | b'E', ..] if starts(name, b"x-envoy-") => Self::XEnvoyOther,
            [b'x' | b'X', b'-', b'w' | b'W', ..] if starts(name, b"x-weir-") => Self::XWeir,
            _ => Self::Other,
        }
    }
}

/// Is `name` the (lower-case) `known` of the same length, but for the case of its letters? Word by word: a letter is
/// told from digits and marks by one bit, and another bit is its case.
fn is_folded(known: &[u8], name: &[u8]) -> bool {
    const fn differ(known: u64, name: u64) -> u64 {
        const LETTER: u64 = u64::MAX / 255 * 0x40;
        (known ^ name) & !((known & LETTER) >> 1)
    }
    let eight = |one: &[u8; 8], other: &[u8; 8]| differ(u64::from_le_bytes(*one), u64::from_le_bytes(*other));
    let four = |one: &[u8; 4]| u64::from(u32::from_le_bytes(*one));
    // What is left over is compared with some of what was compared already, as a whole word.
    if let (Some(one), Some(other)) = (known.last_chunk(), name.last_chunk()) {
        let words = known.as_chunks().0.iter().zip(name.as_chunks().0);
        return words.fold(eight(one, other), |sum, (one, other)| sum | eight(one, other)) == 0;
    }
    if let (Some(one), Some(other), Some(first), Some(second)) =
        (known.last_chunk(), name.last_chunk(), known.first_chunk(), name.first_chunk())
    {
        return differ(four(one), four(other)) | differ(four(first), four(second)) == 0;
    }
    known.iter().zip(name).all(|(one, other)| differ(u64::from(*one), u64::from(*other)) == 0)
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
    fn nothing_else_passes_for_a_known_name() {
        for (text, id) in KNOWN {
            for at in 0..text.len() {
                for byte in (0..=u8::MAX).filter(|byte| !byte.eq_ignore_ascii_case(&text[at])) {
                    let mut changed = text.to_vec();
                    changed[at] = byte;
                    assert_ne!(Name::of(&changed), *id, "{}", String::from_utf8_lossy(&changed));
                }
            }
        }
    }
}
