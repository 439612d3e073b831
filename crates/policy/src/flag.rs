//! Response flags: Envoy's letters for what happened to a request.
//!
//! Does not: invent letters; a reason that Envoy has no flag for has a word of ours ([`crate::refusal`]).

use std::fmt;

/// A set of flags; prints as in Envoy's access log: `UF,URX`, or `-` when empty.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Debug)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal $letters:literal $long:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            const LETTERS: &'static [(Self, &'static str)] = &[$((Self::$name, $letters),)*];

            const LONG: &'static [(Self, &'static str)] = &[$((Self::$name, $long),)*];
        }
    };
}

flags! {
    /// No healthy upstream.
    NO_HEALTHY = 0 "UH" "NoHealthyUpstream";
    /// Upstream connection failure.
    CONNECT_FAILURE = 1 "UF" "UpstreamConnectionFailure";
    /// Upstream overflow: a limit or a retry limit.
    OVERFLOW = 2 "UO" "UpstreamOverflow";
    /// No route.
    NO_ROUTE = 3 "NR" "NoRouteFound";
    /// Retries exhausted.
    RETRIES_EXHAUSTED = 4 "URX" "UpstreamRetryLimitExceeded";
    /// No cluster.
    NO_CLUSTER = 5 "NC" "NoClusterFound";
    /// Duration timeout.
    MAX_DURATION = 6 "DT" "DurationTimeout";
    /// The client went away.
    CLIENT_GONE = 7 "DC" "DownstreamConnectionTermination";
    /// Failed local health check.
    LOCAL_HEALTH = 8 "LH" "FailedLocalHealthCheck";
    /// Upstream request timeout.
    TIMEOUT = 9 "UT" "UpstreamRequestTimeout";
    /// Local reset.
    LOCAL_RESET = 10 "LR" "LocalReset";
    /// Upstream remote reset.
    REMOTE_RESET = 11 "UR" "UpstreamRemoteReset";
    /// Upstream connection termination.
    CONNECTION_TERMINATED = 12 "UC" "UpstreamConnectionTermination";
    /// Delay injected.
    DELAY_INJECTED = 13 "DI" "DelayInjected";
    /// Fault injected.
    FAULT_INJECTED = 14 "FI" "FaultInjected";
    /// Rate limited.
    RATE_LIMITED = 15 "RL" "RateLimited";
    /// Refused by authorization.
    UNAUTHORIZED = 16 "UAEX" "UnauthorizedExternalService";
    /// Stream idle timeout.
    STREAM_IDLE = 17 "SI" "StreamIdleTimeout";
    /// Downstream protocol error.
    CLIENT_PROTOCOL = 18 "DPE" "DownstreamProtocolError";
    /// Upstream protocol error.
    UPSTREAM_PROTOCOL = 19 "UPE" "UpstreamProtocolError";
    /// Overload.
    OVERLOADED = 20 "OM" "OverloadManagerTerminated";
}

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// The bits, to carry a set through code that does not know flags.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set with these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The flag of these letters, such as `UO`.
    pub fn of_letters(letters: &str) -> Option<Self> {
        Self::LETTERS.iter().find(|(_, known)| *known == letters).map(|(flag, _)| *flag)
    }

    /// The long names of those that are set, as in `%RESPONSE_FLAGS_LONG%`.
    pub fn long_names(self) -> impl Iterator<Item = &'static str> {
        Self::LONG.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (flag, letters) in Self::LETTERS.iter().filter(|(flag, _)| self.has(*flag)) {
            debug_assert!(flag.0 != 0);
            if !first {
                f.write_str(",")?;
            }
            f.write_str(letters)?;
            first = false;
        }
        if first { f.write_str("-") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_print_as_envoy_prints_them() {
        assert_eq!(Flags::NONE.to_string(), "-");
        assert_eq!(Flags::RETRIES_EXHAUSTED.with(Flags::CONNECT_FAILURE).to_string(), "UF,URX");
    }
}
