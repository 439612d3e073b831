//! What the filters before the routes counted: faults, limits, mirrors.
//!
//! Does not: count itself; [`crate::Registry`] does.

use crate::expose::{escape, family, service};
use crate::registry::{Registry, ServiceLabels};
use std::fmt::Write;
use std::sync::Arc;

/// One limit's counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitNumbers {
    /// `namespace/policy#rule`.
    pub id: Arc<str>,
    pub allowed: u64,
    pub limited: u64,
    /// Requests that a shared store could not be asked about.
    pub unknown: u64,
}

/// What is remembered of keys, over all limits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeyNumbers {
    pub keys: u64,
    /// Forgotten while they were in use.
    pub evicted: u64,
}

pub(crate) fn render(registry: &Registry, services: &[ServiceLabels], out: &mut String) {
    let counts = registry.filters();
    family(out, "istio_fault_injected_total", "counter", "Faults injected on purpose, by kind.");
    // Writing to a string cannot fail, here and below.
    for ((labels, kind), count) in counts.faults {
        let [host, name, namespace] = service(services, labels);
        let _ = writeln!(
            out,
            "istio_fault_injected_total{{destination_service=\"{host}\",destination_service_name=\"{name}\",\
             destination_service_namespace=\"{namespace}\",type=\"{kind}\"}} {count}"
        );
    }
    type Value = fn(&LimitNumbers) -> u64;
    let families: [(&str, &str, Value); 3] = [
        ("istio_rate_limit_allowed_total", "Requests that a limit let pass.", |limit| limit.allowed),
        ("istio_rate_limit_limited_total", "Requests beyond a limit, enforced or not.", |limit| limit.limited),
        ("istio_rate_limit_unknown_total", "Requests that a shared store was not asked about in time.", |limit| {
            limit.unknown
        }),
    ];
    for (name, help, value) in families {
        family(out, name, "counter", help);
        for limit in &counts.limits {
            let _ = writeln!(out, "{name}{{policy=\"{}\"}} {}", escape(&limit.id), value(limit));
        }
    }
    family(out, "istio_rate_limit_keys", "gauge", "Keys that limits remember, in use or not.");
    let _ = writeln!(out, "istio_rate_limit_keys {}", counts.keys.keys);
    family(out, "istio_rate_limit_evicted_keys_total", "counter", "Keys in use that were forgotten for others.");
    let _ = writeln!(out, "istio_rate_limit_evicted_keys_total {}", counts.keys.evicted);
    family(out, "weir_mirrored_requests_total", "counter", "Copies of requests, by what became of them.");
    for (result, count) in counts.mirrors {
        let _ = writeln!(out, "weir_mirrored_requests_total{{result=\"{result}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Source;

    #[test]
    fn faults_limits_and_mirrors_are_shown() {
        let registry = Registry::new(Source::default());
        registry.fault(None, "delay");
        registry.fault(None, "delay");
        registry.mirrored("sent");
        registry.limits(vec![LimitNumbers { id: "n/p#0".into(), allowed: 5, limited: 2, unknown: 1 }]);
        let mut out = String::new();
        render(&registry, &[], &mut out);
        assert!(out.contains("type=\"delay\"} 2\n"), "{out}");
        assert!(out.contains("istio_rate_limit_allowed_total{policy=\"n/p#0\"} 5\n"), "{out}");
        assert!(out.contains("istio_rate_limit_limited_total{policy=\"n/p#0\"} 2\n"), "{out}");
        assert!(out.contains("weir_mirrored_requests_total{result=\"sent\"} 1\n"), "{out}");
    }
}
