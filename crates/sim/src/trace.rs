//! Steps as text: what golden files show and what the parity test compares byte by byte.
//!
//! ```text
//!      5ms -> try 10.0.0.2 #1        time since the start, in whole milliseconds; with several calls the call's number
//!     22ms -> answer 503 URX         stands before the arrow
//! ```
//! Does not: decide what is worth a line; whoever drives a call does.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use weir_policy::cluster::Cluster;
use weir_policy::flag::Flags;
use weir_policy::refusal::Refusal;
use weir_policy::retry::No;
use weir_policy::time::Time;

/// One step of one call, or a look at a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub at: Time,
    /// Which call, from 1; 0 when it is nobody's.
    pub call: u64,
    pub what: What,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A try begins.
    Try {
        address: SocketAddr,
        /// From 1.
        number: u32,
    },
    /// A fault holds the request up before its call begins, so long.
    Delay(Duration),
    /// It is a copy of another request: nobody waits for it.
    Copy,
    /// The call waits, so long.
    Wait(Duration),
    /// A response goes to the client.
    Answer { status: u16, flags: Flags },
    /// It was passed on to its end; said when that took time.
    End,
    /// The response broke off, as the whole request ran out of time.
    CutOff,
    /// The client left while the response was passed on.
    Left,
    /// We answer ourselves.
    Refuse { refusal: Refusal, flags: Flags },
    /// Something about a cluster.
    Note(String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Try { address, number } => write!(f, "try {} #{number}", Host(*address)),
            Self::Delay(length) => write!(f, "delay {}ms", length.as_millis()),
            Self::Copy => f.write_str("copy"),
            Self::Wait(length) => write!(f, "wait {}ms", length.as_millis()),
            Self::Answer { status, flags } if *flags == Flags::NONE => write!(f, "answer {status}"),
            Self::Answer { status, flags } => write!(f, "answer {status} {flags}"),
            Self::End => f.write_str("end"),
            Self::CutOff => f.write_str("cut off"),
            Self::Left => f.write_str("left"),
            Self::Refuse { refusal, flags } => write!(f, "refuse {} {flags} {}", refusal.status(), refusal.word()),
            Self::Note(note) => f.write_str(note),
        }
    }
}

/// An address; the port is left out when it is 80.
#[derive(Clone, Copy, Debug)]
pub struct Host(pub SocketAddr);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.ip(), self.0.port()) {
            (IpAddr::V4(ip), 80) => write!(f, "{ip}"),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// How a line names its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Naming {
    /// There is only one.
    Silent,
    Number,
}

impl Line {
    /// The line of a golden file.
    pub fn text(&self, naming: Naming) -> String {
        let at = format!("{}ms", self.at.nanos() / 1_000_000);
        match naming {
            Naming::Number if self.call > 0 => format!("{at:>9} {} -> {}", self.call, self.what),
            _ => format!("{at:>9} -> {}", self.what),
        }
    }
}

/// What was ejected when one last looked.
#[derive(Default, Debug)]
pub struct Watch {
    out: Vec<SocketAddr>,
}

impl Watch {
    /// What has changed since: endpoints ejected, and back.
    pub fn changes(&mut self, cluster: &Cluster, now: Time) -> Vec<What> {
        if self.out.is_empty() && cluster.outlier().active() == 0 {
            return Vec::new();
        }
        let mut changes = Vec::new();
        let mut out = Vec::new();
        for (address, health) in cluster.healths() {
            let Some(until) = health.until() else { continue };
            out.push(address);
            if !self.out.contains(&address) {
                changes.push(What::Note(format!("ejected {} {}ms", Host(address), until.since(now).as_millis())));
            }
        }
        let back = self.out.iter().filter(|address| !out.contains(address));
        changes.extend(back.map(|address| What::Note(format!("back {}", Host(*address)))));
        self.out = out;
        changes
    }
}

/// The state of a cluster in one line: what is under way, what was counted. Zeros are left out.
pub fn look(cluster: &Cluster) -> String {
    let (inflight, counts) = (cluster.inflight, cluster.counts);
    let mut parts = vec![format!("requests {}", inflight.requests)];
    let mut add = |name: &str, value: u64| {
        if value > 0 {
            parts.push(format!("{name} {value}"));
        }
    };
    add("retrying", inflight.retries.into());
    add("waiting", inflight.pending.into());
    add("connections", inflight.connections.into());
    for (address, active) in cluster.active() {
        add(&Host(address).to_string(), active.into());
    }
    add("ejected", cluster.outlier().active().into());
    add("not ejected", cluster.outlier().overflows.iter().sum());
    add("firsts", counts.firsts);
    add("retries", counts.retries);
    add("saved", counts.retry_successes);
    add("overflow", counts.overflow_requests + counts.overflow_pending);
    for no in No::ALL {
        add(&format!("no:{}", no.word()), counts.refused[no as usize]);
    }
    format!("look: {}", parts.join(", "))
}
