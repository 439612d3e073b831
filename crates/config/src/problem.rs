//! Everything that can be wrong with documents: one table of codes. A retired number is never used again.

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
    /// A document that is not a mapping.
    Shape = "WEIR0004" Error;
    /// A document without `kind`: skipped.
    NoKind = "WEIR0005" Info;
    UnknownKind = "WEIR0006" Error;
    /// The kind exists, not in this `apiVersion`.
    ApiVersion = "WEIR0007" Error;
    /// A name or namespace that is none.
    Metadata = "WEIR0008" Error;
    /// A file that cannot be read.
    Unreadable = "WEIR0009" Error;
    UnknownField = "WEIR0101" Error;
    WrongType = "WEIR0102" Error;
    /// A value outside what the field allows.
    Value = "WEIR0103" Error;
    Missing = "WEIR0104" Error;
    Duration = "WEIR0105" Error;
    Regex = "WEIR0106" Error;
    /// Fields that exclude each other.
    Conflict = "WEIR0107" Error;
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
    /// Settings that can have no effect.
    NoEffect = "WEIR0215" Warning;
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
}

impl Problem {
    pub fn new(code: Code, place: Place, words: impl Into<String>) -> Self {
        Self { code, severity: code.severity(), place, length: 1, words: words.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
