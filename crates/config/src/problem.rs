//! Everything that can be wrong with documents: one table of codes. A retired number is never used again.

use std::sync::Arc;
use weir_policy::place::Place;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// It cannot be accepted: the plan is not used.
    Error,
    /// It is accepted and does not do what it says, or not what Istio would do.
    Warning,
    Info,
}

impl Severity {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal $severity:ident;)*) => {
        /// What kind of problem it is.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }
        }
    };
}

codes! {
    /// Not YAML.
    Syntax = "WEIR0001" Error;
    /// Too deep, too large, or an alias that refers to itself.
    Bounds = "WEIR0002" Error;
    /// A key stands twice in one mapping.
    DuplicateKey = "WEIR0003" Error;
    // WEIR0004 is retired: a document that is no mapping is a WrongType.
    /// A document without `kind`: skipped.
    NoKind = "WEIR0005" Info;
    UnknownKind = "WEIR0006" Error;
    /// The kind exists, not in this `apiVersion`.
    ApiVersion = "WEIR0007" Error;
    /// A name or namespace that is none.
    Metadata = "WEIR0008" Error;
    /// A file that cannot be read.
    Unreadable = "WEIR0009" Error;
    /// A kind of somebody else: skipped.
    ForeignKind = "WEIR0010" Info;
    UnknownField = "WEIR0101" Error;
    WrongType = "WEIR0102" Error;
    /// A value outside what the field allows.
    Value = "WEIR0103" Error;
    Missing = "WEIR0104" Error;
    Duration = "WEIR0105" Error;
    Regex = "WEIR0106" Error;
    /// Fields that exclude each other.
    Conflict = "WEIR0107" Error;
    /// A part of an EnvoyFilter that weir has not.
    OutsideSubset = "WEIR0108" Error;
    /// Accepted and understood; does nothing yet.
    NotEnforced = "WEIR0201" Warning;
    /// Works here; Istio has no such field.
    NotInIstio = "WEIR0202" Warning;
    /// 0 means "not set".
    ZeroIsUnset = "WEIR0203" Warning;
    /// A host or subset that is known nowhere.
    UnknownDestination = "WEIR0204" Warning;
    /// Several DestinationRules for one host.
    SeveralRules = "WEIR0205" Warning;
    /// Several VirtualServices for one host.
    SeveralServices = "WEIR0206" Warning;
    /// A rule behind one that matches everything.
    Unreachable = "WEIR0207" Warning;
    Deprecated = "WEIR0208" Warning;
    /// A security setting that is not enforced yet: what it guards is refused.
    SecurityNotEnforced = "WEIR0209" Warning;
    /// The same kind, namespace and name twice: the first one counts.
    DuplicateResource = "WEIR0210" Warning;
    /// The service has several ports and none is named.
    AmbiguousPort = "WEIR0211" Warning;
    /// `perTryTimeout` that is not below `timeout` is ignored.
    PerTryIgnored = "WEIR0212" Warning;
    /// A gateway that is known nowhere.
    UnknownGateway = "WEIR0213" Warning;
    /// A Gateway server of a protocol that is not served yet: its port stays closed.
    PortClosed = "WEIR0214" Warning;
    /// A certificate, key or CA that cannot be used: missing, half written, not a pair, expired.
    Keys = "WEIR0216" Warning;
    /// Settings that can have no effect.
    NoEffect = "WEIR0215" Warning;

    // Retries and timeouts (check/retries.rs).
    /// A try that takes too long ends the request: `retryOn` does not cover it.
    PerTryNotRetried = "WEIR0301" Warning;
    /// Tries and waits together are longer than `timeout`.
    TriesExceedTimeout = "WEIR0302" Warning;
    /// Retries without `timeout`: how long a request may take.
    NoTimeout = "WEIR0303" Info;
    /// Conditions that cannot happen.
    RetryNeverFires = "WEIR0304" Warning;
    /// POST and PATCH may be carried out twice.
    RetriesUnsafe = "WEIR0305" Warning;
    /// The first wait may be longer than `timeout`.
    BackOffExceedsTimeout = "WEIR0306" Warning;
    /// An EnvoyFilter that gives retries to every route.
    RetriesEverywhere = "WEIR0307" Warning;
    /// Injected faults are not retried, and do not count for `timeout`.
    FaultBeforePolicies = "WEIR0308" Info;

    // Outlier detection (check/outliers.rs).
    /// `maxEjectionPercent` of so few endpoints is none.
    EjectsNothing = "WEIR0321" Warning;
    /// `consecutiveGatewayErrors` that `consecutive5xxErrors` is always ahead of.
    GatewayThreshold = "WEIR0322" Warning;
    /// The first ejection is as long as the longest.
    EjectionNeverGrows = "WEIR0323" Warning;
    /// `consecutiveLocalOriginFailures` is 5 without being written.
    LocalOriginDefault = "WEIR0324" Warning;
    /// Only errors in a row count: there is no rate in it.
    ConsecutiveOnly = "WEIR0325" Info;
    /// `minHealthPercent` against `maxEjectionPercent`.
    PanicThreshold = "WEIR0326" Warning;
    /// Outlier detection with every detector switched off.
    DetectorsOff = "WEIR0327" Warning;
    /// Ejected endpoints come back later than `baseEjectionTime` says.
    IntervalAboveEjection = "WEIR0328" Warning;

    // Connection pools and edges (check/pools.rs, check/edges.rs).
    /// One lost SYN is a failure.
    ConnectTimeoutShort = "WEIR0341" Warning;
    /// `maxRetries` counts retries at once, not per request.
    RetriesAreConcurrency = "WEIR0342" Info;
    /// An idle connection is closed before the keepalive asks.
    KeepaliveNeverFires = "WEIR0343" Warning;
    /// A queue's length alone does not limit concurrency.
    PendingIsNotConcurrency = "WEIR0344" Warning;
    /// A limit that another limit keeps from being reached.
    LimitsAgainst = "WEIR0345" Warning;
    /// HTTP/2 settings of a destination that is not spoken to in HTTP/2.
    StreamsWithoutHttp2 = "WEIR0346" Info;
    /// A port's settings replace those of the destination.
    PortResets = "WEIR0347" Warning;
    /// TLS to a server whose certificate nothing is said about.
    ServerNotVerified = "WEIR0348" Warning;
    /// `retryBudget` replaces `maxRetries`.
    BudgetReplaces = "WEIR0349" Warning;

    // Matches and rewrites (check/paths.rs).
    /// A prefix and its replacement do not end alike.
    RewriteSlash = "WEIR0361" Warning;
    /// A prefix that ends with `/` leaves out the path without it.
    PrefixBoundary = "WEIR0362" Info;
    /// A match that an earlier one covers.
    CoveredMatch = "WEIR0363" Info;

    // Quotas (check/quotas.rs).
    /// Nothing says how many.
    QuotaWithoutAmount = "WEIR0371" Warning;
    /// An API that Istio removed.
    RemovedApi = "WEIR0372" Warning;

    // Across documents (check/names.rs, check/conflicts.rs).
    SubsetSelectsNothing = "WEIR0401" Warning;
    HostNotInGateway = "WEIR0403" Warning;
    GatewaysConflict = "WEIR0404" Warning;
    SidecarsConflict = "WEIR0405" Warning;
    TelemetriesConflict = "WEIR0406" Warning;
    AddressesRequired = "WEIR0407" Warning;
    ProtocolsConflict = "WEIR0408" Warning;
    /// A port whose name does not say its protocol.
    PortName = "WEIR0409" Info;
    TargetPortsConflict = "WEIR0410" Warning;
    CertificateTwice = "WEIR0411" Warning;
    /// Subsets of the mesh do not hold for requests through a Gateway.
    SubsetOnIngress = "WEIR0412" Warning;
    SelectorSelectsNothing = "WEIR0413" Warning;
    EmptyProviders = "WEIR0414" Warning;
    /// A Gateway's port that the Service in front of its proxies has not.
    GatewayPort = "WEIR0415" Warning;
    /// Two Services give one port of the same workloads another protocol.
    WorkloadProtocol = "WEIR0416" Warning;

    // Monitoring (check/alerts.rs, check/monitors.rs).
    /// A selector whose label never has this value.
    SelectorNeverMatches = "WEIR0501" Warning;
    UnknownMetric = "WEIR0502" Warning;
    /// `histogram_quantile` over series that are not summed by `le`.
    QuantileWithoutLe = "WEIR0503" Warning;
    /// A relabelling that drops every sample.
    KeepsNothing = "WEIR0504" Warning;
    /// A metric of weir's that Istio has not.
    MetricNotInIstio = "WEIR0505" Info;
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub code: Code,
    pub severity: Severity,
    pub place: Place,
    /// Columns to underline, ≥ 1.
    pub length: u32,
    /// What is wrong, in one sentence.
    pub words: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The same as an edit, where it is mechanical.
    pub fix: Option<Edit>,
}

/// A change of one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// From 1; the first occurrence of `old` in or after this line, no further than [`Edit::REACH`] lines.
    pub line: u32,
    pub old: String,
    pub new: String,
}

impl Edit {
    /// Lines that are searched: the texts of an alert may go over several.
    pub const REACH: usize = 40;
}

impl Problem {
    pub fn new(code: Code, place: Place, words: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), place, length: 1, words: brief(words.into()), hint: None, fix: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(brief(hint.into()));
        self
    }
}

/// Characters of one quotation of what the user wrote: the line itself is shown beside the words.
const QUOTED: usize = 80;

/// Long quotations (between backticks) are cut.
fn brief(words: String) -> String {
    if words.len() <= QUOTED {
        return words;
    }
    let parts = words.split('`').enumerate().map(|(at, part)| match part.char_indices().nth(QUOTED) {
        Some((end, _)) if at % 2 == 1 => format!("{}…", &part[..end]),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

/// The first problems of a text; of the others only how many, and the worst.
#[derive(Clone, Default, Debug)]
pub struct Few {
    pub problems: Vec<Problem>,
    more: usize,
    worst: Option<Severity>,
}

impl Few {
    /// Nobody reads more of one text.
    pub const MOST: usize = 1000;

    pub fn add(&mut self, problem: Problem) {
        if self.problems.len() < Self::MOST {
            self.problems.push(problem);
        } else {
            self.more += 1;
            self.worst = self.worst.into_iter().chain([problem.severity]).min();
        }
    }

    pub fn of(problem: Problem) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }

    /// Those of another part of the text.
    pub fn add_all(&mut self, other: &Self) {
        other.problems.iter().for_each(|problem| self.add(problem.clone()));
        self.more += other.more;
        self.worst = self.worst.into_iter().chain(other.worst).min();
    }

    /// What is to be said of the others.
    pub fn rest(&self) -> Option<Problem> {
        let severity = self.worst?;
        let words = format!("this text has {} problems more; the first {} are shown", self.more, Self::MOST);
        let place = Place { file: Arc::clone(&self.problems.first()?.place.file), line: 1, column: 1 };
        Some(Problem { severity, ..Problem::new(Code::Bounds, place, words) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_quoted_in_part() {
        let place = Place { file: "a.yaml".into(), line: 1, column: 1 };
        let long = "ä".repeat(5000);
        let problem = Problem::new(Code::Value, place, format!("`timeout: {long}` is not a duration, `x` is one"));
        assert!(problem.words.chars().count() < 140, "{}", problem.words);
        assert!(problem.words.ends_with("ä…` is not a duration, `x` is one"), "{}", problem.words);
    }
}
