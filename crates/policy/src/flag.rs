//! Response flags: Envoy's letters for what happened to a request.
//!
//! Does not: invent letters; a reason that Envoy has no flag for has a word of ours ([`crate::refusal`]).

use std::fmt;

/// A set of flags; prints as in Envoy's access log: `UF,URX`, or `-` when empty.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Debug)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal $letters:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            const LETTERS: &'static [(Self, &'static str)] = &[$((Self::$name, $letters),)*];
        }
    };
}

flags! {
    /// No healthy upstream.
    NO_HEALTHY = 0 "UH";
    /// Upstream connection failure.
    CONNECT_FAILURE = 1 "UF";
    /// Upstream overflow: a limit or a retry limit.
    OVERFLOW = 2 "UO";
    /// No route.
    NO_ROUTE = 3 "NR";
    /// Retries exhausted.
    RETRIES_EXHAUSTED = 4 "URX";
    /// No cluster.
    NO_CLUSTER = 5 "NC";
    /// Duration timeout.
    MAX_DURATION = 6 "DT";
    /// The client went away.
    CLIENT_GONE = 7 "DC";
    /// Failed local health check.
    LOCAL_HEALTH = 8 "LH";
    /// Upstream request timeout.
    TIMEOUT = 9 "UT";
    /// Local reset.
    LOCAL_RESET = 10 "LR";
    /// Upstream remote reset.
    REMOTE_RESET = 11 "UR";
    /// Upstream connection termination.
    CONNECTION_TERMINATED = 12 "UC";
    /// Delay injected.
    DELAY_INJECTED = 13 "DI";
    /// Fault injected.
    FAULT_INJECTED = 14 "FI";
    /// Rate limited.
    RATE_LIMITED = 15 "RL";
    /// Refused by authorization.
    UNAUTHORIZED = 16 "UAEX";
    /// Stream idle timeout.
    STREAM_IDLE = 17 "SI";
    /// Downstream protocol error.
    CLIENT_PROTOCOL = 18 "DPE";
    /// Upstream protocol error.
    UPSTREAM_PROTOCOL = 19 "UPE";
    /// Overload.
    OVERLOADED = 20 "OM";
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
