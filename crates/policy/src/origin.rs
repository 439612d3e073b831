//! Where an effective value comes from: a field of a document, a header of the request, or nobody's word: a default.
//!
//! ```text
//!   route's own > destination's (subset, host) > mesh's > built in
//! ```
//! A table stands beside what it describes and holds only what was written: what it does not name is built in. Does
//! not: know what the values are ([`crate::effective`] does).

use crate::place::Place;

/// Whose word a value is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// The rule of the VirtualService.
    Route,
    /// A DestinationRule: for a route, the default that its destination brings.
    Destination,
    /// The `Mesh`.
    Mesh,
    /// The Sidecar of this workload.
    Sidecar,
    /// An EnvoyFilter.
    Filter,
    /// A ReliabilityPolicy.
    Policy,
    /// A flag of the command line; its place has no line.
    CommandLine,
}

impl Source {
    /// In outputs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Destination => "destination",
            Self::Mesh => "mesh",
            Self::Sidecar => "sidecar",
            Self::Filter => "filter",
            Self::Policy => "policy",
            Self::CommandLine => "command-line",
        }
    }
}

/// The origin of one value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin<'p> {
    /// Nobody wrote it.
    BuiltIn,
    Written(Source, &'p Place),
    /// A trusted client asked for it by a header ([`crate::trust`]).
    Request,
}

impl Origin<'_> {
    /// `route`, `destination`, `mesh`, `sidecar`, `filter`, `policy`, `command-line`, `request` or `built-in`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Written(source, _) => source.word(),
            Self::Request => "request",
        }
    }
}

/// The origins of the values of one route, destination or cluster, by the values' names.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Origins(Vec<Known>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    name: &'static str,
    source: Source,
    place: Place,
}

impl Origins {
    /// `name` was written there; what was known of it is forgotten.
    pub fn set(&mut self, name: &'static str, source: Source, place: Place) {
        let known = Known { name, source, place };
        match self.0.binary_search_by_key(&name, |known| known.name) {
            Ok(at) => self.0[at] = known,
            // Few are written: one by one they take no more room than needed.
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, known);
            }
        }
    }

    /// Where the value of this name comes from.
    pub fn of(&self, name: &str) -> Origin<'_> {
        let found = self.0.binary_search_by_key(&name, |known| known.name);
        found.map_or(Origin::BuiltIn, |at| Origin::Written(self.0[at].source, &self.0[at].place))
    }

    /// Every name that was written.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|known| known.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_written_is_built_in_and_the_last_word_counts() {
        let at = |line| Place { file: "t.yaml".into(), line, column: 1 };
        let mut origins = Origins::default();
        for (name, line) in [("timeout", 3), ("retries.attempts", 4), ("timeout", 9)] {
            origins.set(name, Source::Route, at(line));
        }
        assert_eq!(origins.of("timeout"), Origin::Written(Source::Route, &at(9)));
        assert_eq!(origins.of("retries.retryOn"), Origin::BuiltIn);
        assert_eq!(origins.names().collect::<Vec<_>>(), ["retries.attempts", "timeout"]);
    }
}
