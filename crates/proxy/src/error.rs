//! Why the data plane could not start, or could not take a plan.
//!
//! Does not: describe failed requests (`weir_policy::refusal` does).

use crate::tls::Trouble;
use std::net::SocketAddr;
use std::{fmt, io};

/// What failed, with the remedy in its words. Nothing was changed.
#[derive(Debug)]
pub enum StartError {
    /// The address is taken.
    InUse(SocketAddr, String),
    /// The address cannot be listened on.
    Bind(SocketAddr, String, io::Error),
    /// The operating system refused a thread or a runtime.
    System(io::Error),
    /// Keys that a plan needs cannot be used.
    Keys(Vec<Trouble>),
    /// The data plane is ending or has ended.
    Ended,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(address, purpose) => write!(
                f,
                "{address} ({purpose}) is in use by another process: stop that one (`ss -ltnp 'sport = :{port}'` names it), \
                 or choose another port",
                port = address.port()
            ),
            Self::Bind(address, purpose, why) => write!(f, "cannot listen on {address} ({purpose}): {why}"),
            Self::System(why) => write!(f, "the operating system refused a thread, a timer or a poller: {why}"),
            Self::Keys(troubles) => {
                let first = troubles.first().map(ToString::to_string).unwrap_or_default();
                let more = troubles.len().saturating_sub(1);
                if more > 0 { write!(f, "{first}; and {more} more") } else { f.write_str(&first) }
            }
            Self::Ended => f.write_str("the data plane is ending"),
        }
    }
}

impl std::error::Error for StartError {}
