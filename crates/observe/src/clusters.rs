//! The series of clusters: retries, ceilings, ejections. Clusters of one service are summed.
//!
//! Does not: count; the living state of clusters does.

use crate::expose::{cluster_labels, escape, family};
use crate::registry::ServiceLabels;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The living state of one cluster, as numbers.
#[derive(Clone, Default, Debug)]
pub struct ClusterNumbers {
    /// Of [`crate::Registry::labels`].
    pub labels: u32,
    pub retries: u64,
    pub retry_successes: u64,
    /// Retries refused, by reason.
    pub retry_refused: Vec<(&'static str, u64)>,
    pub retry_back_off: Distribution,
    pub retry_duration: Distribution,
    /// What the ceilings leave, by resource.
    pub remaining: Vec<(&'static str, u64)>,
    /// Requests that a ceiling refused, by resource.
    pub rejected: Vec<(&'static str, u64)>,
    /// Endpoints that were ejected at least once: as many as the documents name, at most.
    pub ejections: Vec<Ejections>,
    /// Ejections that the percentage forbade, by type.
    pub ejections_refused: Vec<(&'static str, u64)>,
}

/// Counts per bucket (not cumulative).
#[derive(Clone, Default, Debug)]
pub struct Distribution {
    /// Upper bounds in milliseconds, the last one without end.
    pub bounds: &'static [u64],
    pub buckets: Vec<u64>,
    pub micros: u64,
}

/// What the detector did to one endpoint.
#[derive(Clone, Debug)]
pub struct Ejections {
    /// `address:port`.
    pub endpoint: String,
    /// By type.
    pub counts: Vec<(&'static str, u64)>,
    pub state: EndpointState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndpointState {
    In,
    Out,
}

pub(crate) fn render(clusters: &[ClusterNumbers], services: &[ServiceLabels], out: &mut String) {
    retries(clusters, services, out);
    let back_off = "Waits before retries, in milliseconds.";
    histogram(clusters, services, "istio_retry_backoff_milliseconds", back_off, |cluster| &cluster.retry_back_off, out);
    let duration = "Time of requests that were retried, from their start to their answer, in milliseconds.";
    histogram(
        clusters,
        services,
        "istio_retry_duration_milliseconds",
        duration,
        |cluster| &cluster.retry_duration,
        out,
    );
    breakers(clusters, services, out);
    ejections(clusters, services, out);
}

/// Clusters of one service (its ports and subsets) are summed.
fn by_service<'c, T: Default + std::ops::AddAssign>(
    clusters: &'c [ClusterNumbers],
    value: impl Fn(&'c ClusterNumbers) -> T,
) -> BTreeMap<u32, T> {
    let mut sums: BTreeMap<u32, T> = BTreeMap::new();
    for cluster in clusters {
        *sums.entry(cluster.labels).or_default() += value(cluster);
    }
    sums
}

type Value<'v> = Box<dyn Fn(&ClusterNumbers) -> u64 + 'v>;

fn refused(word: &'static str) -> Value<'static> {
    Box::new(move |cluster| {
        cluster.retry_refused.iter().filter(|(known, _)| *known == word).map(|(_, count)| *count).sum::<u64>()
    })
}

fn retries(clusters: &[ClusterNumbers], services: &[ServiceLabels], out: &mut String) {
    let families: [(&str, &str, Value<'_>); 7] = [
        ("istio_retry_attempts_total", "Retries started.", Box::new(|cluster| cluster.retries)),
        ("istio_retry_success_total", "Requests that a retry saved.", Box::new(|cluster| cluster.retry_successes)),
        ("istio_retry_limit_exceeded_total", "Failures passed on because all attempts were used.", refused("attempts")),
        (
            "istio_retry_overflow_total",
            "Failures passed on because maxRetries retries were under way.",
            refused("max_retries"),
        ),
        (
            "istio_retry_budget_denied_total",
            "Failures passed on because the retry budget was exhausted.",
            refused("budget"),
        ),
        (
            "istio_retry_not_idempotent_skipped_total",
            "Failures passed on because the request may have been processed and is not idempotent.",
            refused("method_guard"),
        ),
        (
            "istio_retry_body_not_kept_total",
            "Failures passed on because the body was too large to keep.",
            refused("body_not_kept"),
        ),
    ];
    for (name, help, value) in families {
        family(out, name, "counter", help);
        for (labels, sum) in by_service(clusters, &value) {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(out, "{name}{{{}}} {sum}", cluster_labels(services, labels));
        }
    }
}

fn histogram(
    clusters: &[ClusterNumbers],
    services: &[ServiceLabels],
    name: &str,
    help: &str,
    of: impl Fn(&ClusterNumbers) -> &Distribution,
    out: &mut String,
) {
    let mut sums: BTreeMap<u32, Distribution> = BTreeMap::new();
    for cluster in clusters {
        let own = of(cluster);
        let sum = sums.entry(cluster.labels).or_insert_with(|| Distribution {
            bounds: own.bounds,
            buckets: vec![0; own.buckets.len()],
            micros: 0,
        });
        sum.micros = sum.micros.saturating_add(own.micros);
        sum.buckets.iter_mut().zip(&own.buckets).for_each(|(sum, count)| *sum += count);
    }
    family(out, name, "histogram", help);
    for (labels, sum) in sums {
        let labels = cluster_labels(services, labels);
        let mut count = 0;
        for (bucket, bound) in sum.buckets.iter().zip(sum.bounds) {
            count += bucket;
            let le = if *bound == u64::MAX { "+Inf".to_owned() } else { bound.to_string() };
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{le}\"}} {count}");
        }
        let millis = sum.micros as f64 / 1000.0;
        let _ = write!(out, "{name}_sum{{{labels}}} {millis}\n{name}_count{{{labels}}} {count}\n");
    }
}

/// Rows by service and resource.
fn by_resource<'c>(
    clusters: &'c [ClusterNumbers],
    rows: impl Fn(&'c ClusterNumbers) -> &'c [(&'static str, u64)],
) -> BTreeMap<(u32, &'static str), u64> {
    let mut sums = BTreeMap::new();
    for cluster in clusters {
        for (resource, value) in rows(cluster) {
            let sum: &mut u64 = sums.entry((cluster.labels, *resource)).or_default();
            *sum = sum.saturating_add(*value);
        }
    }
    sums
}

fn breakers(clusters: &[ClusterNumbers], services: &[ServiceLabels], out: &mut String) {
    let mut rows = |name: &str, kind: &str, help: &str, label: &str, rows: BTreeMap<(u32, &'static str), u64>| {
        family(out, name, kind, help);
        for ((labels, word), value) in rows {
            let _ = writeln!(out, "{name}{{{},{label}=\"{word}\"}} {value}", cluster_labels(services, labels));
        }
    };
    // A service is at its ceiling when one of its clusters is.
    let mut full = BTreeMap::new();
    for cluster in clusters {
        for (resource, left) in &cluster.remaining {
            let state: &mut u64 = full.entry((cluster.labels, *resource)).or_default();
            *state = (*state).max(u64::from(*left == 0));
        }
    }
    let state = "1 when a ceiling is reached, by resource.";
    rows("istio_circuit_breaker_state", "gauge", state, "resource", full);
    let remaining = by_resource(clusters, |cluster| &cluster.remaining);
    rows("istio_circuit_breaker_remaining", "gauge", "What the ceilings leave.", "resource", remaining);
    let rejected = by_resource(clusters, |cluster| &cluster.rejected);
    let help = "Requests and retries that a ceiling refused.";
    rows("istio_circuit_breaker_rejected_total", "counter", help, "resource", rejected);
    let overflow = by_resource(clusters, |cluster| &cluster.ejections_refused);
    let help = "Ejections that maxEjectionPercent forbade.";
    rows("istio_outlier_detection_ejections_overflow_total", "counter", help, "type", overflow);
}

fn ejections(clusters: &[ClusterNumbers], services: &[ServiceLabels], out: &mut String) {
    let mut totals: BTreeMap<(u32, &str, &str), u64> = BTreeMap::new();
    let mut active: BTreeMap<(u32, &str), u64> = BTreeMap::new();
    for cluster in clusters {
        for endpoint in &cluster.ejections {
            for (kind, count) in endpoint.counts.iter().filter(|(_, count)| *count > 0) {
                *totals.entry((cluster.labels, &endpoint.endpoint, kind)).or_default() += count;
            }
            let out = u64::from(endpoint.state == EndpointState::Out);
            *active.entry((cluster.labels, &endpoint.endpoint)).or_default() += out;
        }
    }
    let name = "istio_outlier_detection_ejections_total";
    family(out, name, "counter", "Endpoints ejected, by what they did.");
    for ((labels, endpoint, kind), count) in totals {
        let (labels, endpoint) = (cluster_labels(services, labels), escape(endpoint));
        let _ = writeln!(out, "{name}{{{labels},endpoint=\"{endpoint}\",type=\"{kind}\"}} {count}");
    }
    let name = "istio_outlier_detection_ejections_active";
    family(out, name, "gauge", "In how many clusters of the service an endpoint is ejected now.");
    for ((labels, endpoint), count) in active {
        let (labels, endpoint) = (cluster_labels(services, labels), escape(endpoint));
        let _ = writeln!(out, "{name}{{{labels},endpoint=\"{endpoint}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_of_a_service_are_summed_and_the_fullest_says_the_state() {
        let of = |left, out: EndpointState, count| ClusterNumbers {
            remaining: vec![("requests", left)],
            ejections: vec![Ejections {
                endpoint: "10.0.0.1:80".into(),
                counts: vec![("consecutive_5xx", count), ("consecutive_gateway_failure", 0)],
                state: out,
            }],
            retry_back_off: Distribution { bounds: &[1, u64::MAX], buckets: vec![1, 2], micros: 5_500 },
            ..ClusterNumbers::default()
        };
        let service = ServiceLabels { host: "a".into(), name: "a".into(), namespace: "n".into() };
        let mut out = String::new();
        render(&[of(0, EndpointState::Out, 2), of(7, EndpointState::In, 1)], &[service], &mut out);
        let labels = "destination_service=\"a\",destination_service_name=\"a\",destination_service_namespace=\"n\"";
        for line in [
            format!("istio_circuit_breaker_state{{{labels},resource=\"requests\"}} 1\n"),
            format!("istio_circuit_breaker_remaining{{{labels},resource=\"requests\"}} 7\n"),
            format!(
                "istio_outlier_detection_ejections_total{{{labels},endpoint=\"10.0.0.1:80\",type=\"consecutive_5xx\"}} 3\n"
            ),
            format!("istio_outlier_detection_ejections_active{{{labels},endpoint=\"10.0.0.1:80\"}} 1\n"),
            format!("istio_retry_backoff_milliseconds_bucket{{{labels},le=\"1\"}} 2\n"),
            format!("istio_retry_backoff_milliseconds_bucket{{{labels},le=\"+Inf\"}} 6\n"),
            format!("istio_retry_backoff_milliseconds_sum{{{labels}}} 11\n"),
            format!("istio_retry_backoff_milliseconds_count{{{labels}}} 6\n"),
        ] {
            assert!(out.contains(&line), "{line}{out}");
        }
        assert!(!out.contains("type=\"consecutive_gateway_failure\""), "what never happened makes no series");
    }
}
