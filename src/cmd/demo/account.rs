//! What the demo tells at its end: what the callers saw, and what the proxy counted.

use super::callers::Seen;
use std::fmt;
use std::time::Duration;

/// See the module.
pub(crate) struct Account<'a> {
    pub(crate) without: &'a Seen,
    pub(crate) with: &'a Seen,
    pub(crate) metrics: &'a str,
}

/// One line about a part.
pub(crate) fn line(name: &str, seen: &Seen) -> String {
    let total = seen.ok + seen.failed;
    let share = f64::from(seen.ok) * 100.0 / f64::from(total.max(1));
    format!(
        "  {name:<26} {:>4} of {total} succeeded ({share:>5.1} %)   half took ≤ {}, 99 % ≤ {}",
        seen.ok,
        millis(quantile(&seen.times, 50)),
        millis(quantile(&seen.times, 99)),
    )
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or_default()
}

fn millis(length: Duration) -> String {
    format!("{:.1} ms", length.as_secs_f64() * 1000.0)
}

impl Account<'_> {
    /// The sum of a family's series for a service.
    fn sum(&self, family: &str, with: &str) -> f64 {
        let lines = self.metrics.lines().filter(|line| line.starts_with(&format!("{family}{{")) && line.contains(with));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = "destination_service=\"shop.demo\"";
        writeln!(f, "What the proxy counted for shop.demo (the same numbers are in its /metrics):")?;
        let rows = [
            ("istio_retry_attempts_total", "retries started: a failed or slow try was sent to another server"),
            ("istio_retry_success_total", "requests that a retry saved"),
            ("istio_retry_limit_exceeded_total", "failures passed on because all attempts were used"),
            ("istio_retry_budget_denied_total", "failures passed on because the retry budget was exhausted"),
        ];
        for (family, words) in rows {
            writeln!(f, "  {:>6}  {family:<36} {words}", self.sum(family, service))?;
        }
        let ok = self.sum("istio_requests_total", "destination_service=\"shop.demo\"");
        writeln!(f, "  {ok:>6}  {:<36} requests in all", "istio_requests_total")?;
        let slow = |seen: &Seen| seen.times.iter().filter(|time| **time >= Duration::from_millis(250)).count();
        writeln!(
            f,
            "\nRequests that took 250 ms or longer: {} without, {} with perTryTimeout 80 ms.",
            slow(self.without),
            slow(self.with)
        )
    }
}
