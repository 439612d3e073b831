//! What the demo tells: what the callers saw, a line for each part, and what the proxy counted.

use super::callers::Seen;
use super::parts::{self, Counter, PARTS, Part};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What comes first: who is there.
pub(crate) fn opening(proxy: SocketAddr) -> String {
    format!(
        "weir serves on {proxy}; behind it a service on three servers:\n\
         \x20 one is well, one fails 6 of 10 requests, one takes 300 ms for 3 of 20\n\
         The same 90 requests, one after the other, under other policies each time;\n\
         the last line has 20 callers at once for one server that takes 100 ms:\n\n\
         {:<14}{:<24}{:>9}{:>8}{:>13}{:>11}\n",
        "host", "policy", "succeeded", "failed", "half within", "slowest"
    )
}

/// One line about a part.
pub(crate) fn line(part: &Part, seen: &Seen) -> String {
    let last = seen.times.last().copied().unwrap_or_default();
    let half = seen.times.get(seen.times.len().saturating_sub(1) / 2).copied().unwrap_or_default();
    let (ok, failed) = (seen.ok, seen.failed);
    format!("{:<14}{:<24}{ok:>9}{failed:>8}{:>13}{:>11}", part.host, part.policy, millis(half), millis(last))
}

fn millis(length: Duration) -> String {
    format!("{:.1} ms", length.as_secs_f64() * 1000.0)
}

/// What the proxy counted, and what it meant.
pub(crate) struct Account<'a> {
    /// Of each part.
    pub(crate) seen: &'a [Seen],
    pub(crate) metrics: &'a str,
    pub(crate) admin: SocketAddr,
}

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "What the proxy counted (the numbers of http://{}/metrics):", self.admin)?;
        for part in &PARTS {
            writeln!(f, "\n  {}   {}", part.host, part.policy)?;
            for counter in part.counters {
                let labels = if counter.labels.is_empty() { String::new() } else { format!("{{{}}}", counter.labels) };
                let sum = sum(self.metrics, part.host, counter);
                writeln!(f, "  {sum:>6}  {:<34} {}{labels}", counter.words, counter.family)?;
            }
        }
        let failed = |host: &str| {
            let of = PARTS.iter().zip(self.seen).find(|(part, _)| part.host == host);
            of.map_or(0, |(_, seen)| seen.failed)
        };
        writeln!(
            f,
            "\nOf {} requests {} failed without a policy, {} with all of them.",
            PARTS[0].requests,
            failed("plain.demo"),
            failed("all.demo")
        )
    }
}

/// Is every request of every part counted?
pub(crate) fn is_complete(metrics: &str) -> bool {
    PARTS.iter().all(|part| sum(metrics, part.host, &parts::ALL) >= u64::from(part.callers * part.requests))
}

/// The sum of the series of a counter.
fn sum(metrics: &str, host: &str, counter: &Counter) -> u64 {
    let service = format!("destination_service=\"{host}\"");
    let wanted = || counter.labels.split(',').filter(|label| !label.is_empty()).chain([service.as_str()]);
    let values = metrics.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(counter.family)?.strip_prefix('{')?.rsplit_once("} ")?;
        let has = |label: &str| labels.split(',').any(|one| one == label);
        wanted().all(has).then(|| value.parse::<u64>().ok()).flatten()
    });
    values.sum()
}
