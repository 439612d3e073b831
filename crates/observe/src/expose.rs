//! All series as Prometheus text (format 0.0.4): one family after the other, in a stable order.

use crate::clusters::{self, ClusterNumbers};
use crate::histogram::{BYTES, DURATION_MICROS, Total};
use crate::registry::{Registry, ServiceLabels};
use crate::shard::{Protocol, Series, SeriesKey, Totals};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// The `content-type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Appends everything to `out`. `flags` makes text of a key's flag bits.
pub fn render(
    registry: &Registry,
    shards: &[Arc<Series>],
    numbers: &[ClusterNumbers],
    flags: &dyn Fn(u32) -> String,
    out: &mut String,
) {
    let services = registry.services();
    let mut totals: BTreeMap<SeriesKey, Totals> = BTreeMap::new();
    for shard in shards {
        shard.each(|key, counters| counters.add_to(totals.entry(*key).or_default()));
    }
    let rows: Vec<(String, Totals)> =
        totals.into_iter().map(|(key, totals)| (request_labels(registry, &services, &key, flags), totals)).collect();
    requests(&rows, out);
    crate::tcp::render(registry, &services, flags, out);
    clusters::render(numbers, &services, out);
    crate::filters::render(registry, &services, out);
    process(registry, out);
}

pub(crate) fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail, here and below.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn requests(rows: &[(String, Totals)], out: &mut String) {
    family(out, "istio_requests_total", "counter", "Requests, by who asked whom and how it ended.");
    for (labels, totals) in rows {
        let _ = writeln!(out, "istio_requests_total{{{labels}}} {}", totals.requests);
    }
    let millis = |bound: u64| format!("{}", bound as f64 / 1000.0);
    histogram(
        out,
        "istio_request_duration_milliseconds",
        "Time from head to end, in milliseconds.",
        rows,
        |totals| (&totals.duration.buckets[..], &DURATION_MICROS[..], totals.duration.sum as f64 / 1000.0),
        &millis,
    );
    let bytes = |bound: u64| bound.to_string();
    let of = |total: &Total<12>| total.sum as f64;
    histogram(
        out,
        "istio_request_bytes",
        "Bytes of request bodies.",
        rows,
        |totals| (&totals.request_bytes.buckets[..], &BYTES[..], of(&totals.request_bytes)),
        &bytes,
    );
    histogram(
        out,
        "istio_response_bytes",
        "Bytes of response bodies.",
        rows,
        |totals| (&totals.response_bytes.buckets[..], &BYTES[..], of(&totals.response_bytes)),
        &bytes,
    );
}

fn histogram<'t>(
    out: &mut String,
    name: &str,
    help: &str,
    rows: &'t [(String, Totals)],
    of: impl Fn(&'t Totals) -> (&'t [u64], &'t [u64], f64),
    text: &dyn Fn(u64) -> String,
) {
    family(out, name, "histogram", help);
    for (labels, totals) in rows {
        let (buckets, bounds, sum) = of(totals);
        let mut count = 0;
        for (bucket, bound) in buckets.iter().zip(bounds) {
            count += bucket;
            let le = if *bound == u64::MAX { "+Inf".to_owned() } else { text(*bound) };
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{le}\"}} {count}");
        }
        let _ = write!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}\n");
    }
}

fn request_labels(
    registry: &Registry,
    services: &[ServiceLabels],
    key: &SeriesKey,
    flags: &dyn Fn(u32) -> String,
) -> String {
    let mut labels = parties(registry, services, key.labels);
    let _ = write!(
        labels,
        "request_protocol=\"{}\",response_code=\"{}\",grpc_response_status=\"{}\",\
         response_flags=\"{}\",connection_security_policy=\"unknown\"",
        if key.protocol == Protocol::Grpc { "grpc" } else { "http" },
        key.status,
        key.grpc.map(|status| status.to_string()).unwrap_or_default(),
        flags(key.flags),
    );
    if registry.code_class() {
        let _ = write!(labels, ",response_code_class=\"{}xx\"", key.status / 100);
    }
    labels
}

/// Who asked, and whom; ends with a comma.
pub(crate) fn parties(registry: &Registry, services: &[ServiceLabels], of: Option<u32>) -> String {
    let mut labels = String::with_capacity(512);
    let source = &registry.source;
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { escape(text) };
    let _ = write!(
        labels,
        "reporter=\"source\",source_workload=\"{}\",source_workload_namespace=\"{}\",source_app=\"{}\",\
         source_principal=\"unknown\",source_version=\"unknown\",source_cluster=\"unknown\",\
         source_canonical_service=\"{}\",source_canonical_revision=\"latest\",",
        known(&source.workload),
        known(&source.namespace),
        known(&source.workload),
        known(&source.workload),
    );
    let [host, name, namespace] = service(services, of);
    let _ = write!(
        labels,
        "destination_workload=\"unknown\",destination_workload_namespace=\"unknown\",destination_principal=\"unknown\",\
         destination_app=\"unknown\",destination_version=\"unknown\",destination_service=\"{host}\",\
         destination_canonical_service=\"{name}\",destination_canonical_revision=\"latest\",\
         destination_service_name=\"{name}\",destination_service_namespace=\"{namespace}\",\
         destination_cluster=\"unknown\","
    );
    labels
}

pub(crate) fn service(services: &[ServiceLabels], labels: Option<u32>) -> [String; 3] {
    match labels.map(|index| services.get(index as usize)) {
        Some(Some(service)) => [escape(&service.host), escape(&service.name), escape(&service.namespace)],
        Some(None) => ["other", "other", "other"].map(str::to_owned),
        None => ["unknown", "unknown", "unknown"].map(str::to_owned),
    }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(crate) fn cluster_labels(services: &[ServiceLabels], labels: u32) -> String {
    let [host, name, namespace] = service(services, Some(labels));
    format!(
        "destination_service=\"{host}\",destination_service_name=\"{name}\",destination_service_namespace=\"{namespace}\""
    )
}

fn process(registry: &Registry, out: &mut String) {
    let process = registry.process();
    family(out, "weir_downstream_connections_active", "gauge", "Client connections open now.");
    let _ = writeln!(out, "weir_downstream_connections_active {}", process.connections);
    family(out, "weir_panics_total", "counter", "Requests whose code panicked; each ended its connection only.");
    let _ = writeln!(out, "weir_panics_total {}", process.panics);
    family(out, "weir_access_log_dropped_total", "counter", "Access lines dropped because the writer was behind.");
    let _ = writeln!(out, "weir_access_log_dropped_total {}", process.dropped_lines);
    family(out, "weir_name_lookups_total", "counter", "Questions to name servers, by what came of them.");
    for (result, count) in [("answer", process.lookups.answers), ("failure", process.lookups.failures)] {
        let _ = writeln!(out, "weir_name_lookups_total{{result=\"{result}\"}} {count}");
    }
    family(out, "weir_names_stale", "gauge", "Names whose latest question failed: the last answer is in use.");
    let _ = writeln!(out, "weir_names_stale {}", process.lookups.stale);
    family(
        out,
        "weir_malformed_requests_total",
        "counter",
        "Requests refused because they were not HTTP, or too slow.",
    );
    for (reason, count) in process.malformed {
        let _ = writeln!(out, "weir_malformed_requests_total{{reason=\"{reason}\"}} {count}");
    }
    family(out, "weir_connections_refused_total", "counter", "Client connections that were not accepted.");
    for (reason, count) in process.refused {
        let _ = writeln!(out, "weir_connections_refused_total{{reason=\"{reason}\"}} {count}");
    }
    family(out, "weir_limited_total", "counter", "What a limit ended or refused.");
    for (limit, count) in process.limited {
        let _ = writeln!(out, "weir_limited_total{{limit=\"{limit}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Source;
    use crate::shard::{Protocol, Sample, Shard};
    use std::time::Duration;

    #[test]
    fn shards_are_summed_and_labels_escaped() {
        let registry = Registry::new(Source { workload: "shop".into(), namespace: "default".into() });
        let labels = registry.labels(ServiceLabels { host: "a\"b".into(), name: "a".into(), namespace: "n".into() });
        let key = SeriesKey { labels: Some(labels), status: 503, flags: 1, protocol: Protocol::Http, grpc: None };
        let sample = Sample { duration: Duration::from_millis(3), request_bytes: 0, response_bytes: 10 };
        let (mut first, mut second) = (Shard::new(), Shard::new());
        first.record(&key, &sample);
        second.record(&key, &sample);
        let mut out = String::new();
        render(&registry, &[first.series(), second.series()], &[], &|_| "UF".to_owned(), &mut out);
        let line = out.lines().find(|line| line.starts_with("istio_requests_total{")).expect("a series");
        assert!(line.ends_with(" 2") && line.contains("destination_service=\"a\\\"b\""), "{line}");
        assert!(line.contains("response_flags=\"UF\"") && line.contains("response_code=\"503\""), "{line}");
        assert!(out.contains(",le=\"5\"} 2\n") && out.contains(",le=\"1\"} 0\n"));
        assert!(out.contains("istio_request_duration_milliseconds_sum{"));
    }
}
