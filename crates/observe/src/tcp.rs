//! Connections that carry no requests: Istio's `istio_tcp_*`.
//!
//! Does not: count per byte; a connection tells what it moved now and then.

use crate::expose::{family, parties};
use crate::registry::{Registry, ServiceLabels};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What tells one series of connections from another. Bounded: services come from the documents, flags are few.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TcpKey {
    /// Of [`Registry::labels`]; `None` when no service was reached.
    pub labels: Option<u32>,
    /// Bits whose text the caller of `render` knows.
    pub flags: u32,
}

/// Counts of connections, or what is to be added to them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TcpNumbers {
    pub opened: u64,
    pub closed: u64,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
}

impl TcpNumbers {
    pub(crate) const fn add(&mut self, more: &Self) {
        self.opened += more.opened;
        self.closed += more.closed;
        self.received += more.received;
        self.sent += more.sent;
    }
}

/// A family: its name, its help, its number.
type Family = (&'static str, &'static str, fn(&TcpNumbers) -> u64);

const FAMILIES: [Family; 4] = [
    ("istio_tcp_sent_bytes_total", "Bytes sent to clients of TCP connections.", |of| of.sent),
    ("istio_tcp_received_bytes_total", "Bytes received from clients of TCP connections.", |of| of.received),
    ("istio_tcp_connections_opened_total", "TCP connections.", |of| of.opened),
    ("istio_tcp_connections_closed_total", "TCP connections that are over.", |of| of.closed),
];

pub(crate) fn render(registry: &Registry, services: &[ServiceLabels], flags: &dyn Fn(u32) -> String, out: &mut String) {
    let all: BTreeMap<TcpKey, TcpNumbers> = registry.all_tcp();
    let rows: Vec<(String, TcpNumbers)> = all
        .into_iter()
        .map(|(key, numbers)| {
            let mut labels = parties(registry, services, key.labels);
            let _ = write!(
                labels,
                "request_protocol=\"tcp\",response_flags=\"{}\",connection_security_policy=\"unknown\"",
                match flags(key.flags) {
                    none if none.is_empty() => "-".to_owned(),
                    some => some,
                }
            );
            (labels, numbers)
        })
        .collect();
    for (name, help, of) in FAMILIES {
        family(out, name, "counter", help);
        for (labels, numbers) in &rows {
            let _ = writeln!(out, "{name}{{{labels}}} {}", of(numbers));
        }
    }
}
