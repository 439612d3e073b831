//! Why weir answers a request itself: one word, one flag, one status each.
//!
//! Does not: write the reply (`proxy/http/reply` does).

use crate::flag::Flags;

/// The reason of a reply that no upstream gave. Its word is the metric label, the log's `reason`, the
/// `x-weir-reason` header and the docs' name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The host is known nowhere.
    UnknownHost,
    /// The host is known, no rule matches.
    NoRoute,
    /// The rule leads to a service or subset that is known nowhere.
    NoCluster,
    /// A security setting guards it that is not enforced yet.
    NotEnforced,
    /// No endpoint, or none that is usable.
    NoHealthy,
    /// The connection was refused.
    ConnectFailed,
    /// The TLS handshake with the upstream failed.
    TlsFailed,
    /// The connection was not made in time.
    ConnectTimeout,
    /// The upstream ended the connection before a response.
    Closed,
    /// The upstream reset the stream.
    Reset,
    /// The upstream refused the stream without looking at it.
    RefusedStream,
    /// The upstream did not speak HTTP.
    Protocol,
    /// A ceiling on connections, waiting requests or requests.
    Overflow,
    /// The request's timeout.
    Timeout,
    /// The try's timeout, and no retry.
    PerTryTimeout,
    /// No byte for too long.
    Idle,
    /// The client sent its body too slowly.
    SlowBody,
    /// Memory is short.
    Overloaded,
    /// No descriptor is left for a connection upstream.
    Descriptors,
    /// The client's upload was malformed or broke off.
    Upload,
    /// The client went away.
    ClientGone,
    /// A fault on purpose.
    Fault,
    /// A limit on requests in time.
    RateLimited,
    /// The TLS connection was opened for another name than the request's.
    Misdirected,
}

impl Refusal {
    /// Every reason: for tables and tests.
    pub const ALL: [Self; 24] = [
        Self::UnknownHost,
        Self::NoRoute,
        Self::NoCluster,
        Self::NotEnforced,
        Self::NoHealthy,
        Self::ConnectFailed,
        Self::TlsFailed,
        Self::ConnectTimeout,
        Self::Closed,
        Self::Reset,
        Self::RefusedStream,
        Self::Protocol,
        Self::Overflow,
        Self::Timeout,
        Self::PerTryTimeout,
        Self::Idle,
        Self::SlowBody,
        Self::Overloaded,
        Self::Descriptors,
        Self::Upload,
        Self::ClientGone,
        Self::Fault,
        Self::RateLimited,
        Self::Misdirected,
    ];

    /// The one word, everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown_host",
            Self::NoRoute => "no_route",
            Self::NoCluster => "no_cluster",
            Self::NotEnforced => "not_enforced",
            Self::NoHealthy => "no_healthy_endpoint",
            Self::ConnectFailed => "connect_failed",
            Self::TlsFailed => "tls_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::Closed => "upstream_closed",
            Self::Reset => "upstream_reset",
            Self::RefusedStream => "upstream_refused_stream",
            Self::Protocol => "upstream_protocol",
            Self::Overflow => "overflow",
            Self::Timeout => "timeout",
            Self::PerTryTimeout => "per_try_timeout",
            Self::Idle => "stream_idle",
            Self::SlowBody => "slow_body",
            Self::Overloaded => "overloaded",
            Self::Descriptors => "descriptors",
            Self::Upload => "bad_upload",
            Self::ClientGone => "client_gone",
            Self::Fault => "fault",
            Self::RateLimited => "rate_limited",
            Self::Misdirected => "misdirected",
        }
    }

    /// The status of the reply (the response table of the docs).
    pub const fn status(self) -> u16 {
        match self {
            Self::UnknownHost | Self::Protocol => 502,
            Self::NoRoute => 404,
            Self::Timeout | Self::PerTryTimeout => 504,
            Self::Idle | Self::SlowBody => 408,
            Self::Upload => 400,
            Self::ClientGone => 0,
            Self::RateLimited => 429,
            Self::Misdirected => 421,
            _ => 503,
        }
    }

    /// Envoy's letters. An unknown host has none: istiod answers it with a route of its own.
    pub const fn flags(self) -> Flags {
        match self {
            Self::UnknownHost | Self::NotEnforced | Self::Misdirected => Flags::NONE,
            Self::NoRoute => Flags::NO_ROUTE,
            Self::NoCluster => Flags::NO_CLUSTER,
            Self::NoHealthy => Flags::NO_HEALTHY,
            Self::ConnectFailed | Self::TlsFailed | Self::ConnectTimeout => Flags::CONNECT_FAILURE,
            Self::Closed => Flags::CONNECTION_TERMINATED,
            Self::Reset | Self::RefusedStream => Flags::REMOTE_RESET,
            Self::Protocol => Flags::UPSTREAM_PROTOCOL,
            Self::Overflow => Flags::OVERFLOW,
            Self::Timeout | Self::PerTryTimeout => Flags::TIMEOUT,
            Self::Idle | Self::SlowBody => Flags::STREAM_IDLE,
            Self::Overloaded | Self::Descriptors => Flags::OVERLOADED,
            Self::Upload => Flags::CLIENT_PROTOCOL,
            Self::ClientGone => Flags::CLIENT_GONE,
            Self::Fault => Flags::FAULT_INJECTED,
            Self::RateLimited => Flags::RATE_LIMITED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_reason_has_a_word_of_its_own() {
        let words: HashSet<_> = Refusal::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Refusal::ALL.len());
    }
}
