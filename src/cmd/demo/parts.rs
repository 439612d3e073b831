//! The parts of the demo: who calls what, and which counters tell what happened.

/// One line of the demo: the same requests, under other policies.
pub(crate) struct Part {
    pub(crate) host: &'static str,
    /// What is written for this host.
    pub(crate) policy: &'static str,
    /// Callers at the same time.
    pub(crate) callers: u32,
    /// Requests of each caller.
    pub(crate) requests: u32,
    /// What to count.
    pub(crate) counters: &'static [Counter],
}

/// A number of the account: the sum of a family's series that have all these labels.
pub(crate) struct Counter {
    pub(crate) words: &'static str,
    pub(crate) family: &'static str,
    /// As Prometheus writes them; the service's own is added.
    pub(crate) labels: &'static str,
}

const fn counter(words: &'static str, family: &'static str, labels: &'static str) -> Counter {
    Counter { words, family, labels }
}

/// Every request.
pub(crate) const ALL: Counter = counter("requests", "istio_requests_total", "");
const OK: Counter = counter("answered 200", "istio_requests_total", "response_code=\"200\"");
const RETRIES: Counter = counter("retries started", "istio_retry_attempts_total", "");
const SAVED: Counter = counter("requests that a retry saved", "istio_retry_success_total", "");
const EJECTED: Counter =
    counter("ejected after 3 failures in a row", "istio_outlier_detection_ejections_total", "type=\"consecutive_5xx\"");

pub(crate) const PARTS: [Part; 6] = [
    Part {
        host: "plain.demo",
        policy: "no policy",
        callers: 1,
        requests: 90,
        counters: &[
            ALL,
            counter("failures passed on", "istio_requests_total", "response_flags=\"-\",response_code=\"503\""),
            counter("closed in place of an answer", "istio_requests_total", "response_flags=\"UC\""),
        ],
    },
    Part {
        host: "timeout.demo",
        policy: "timeout: 100ms",
        callers: 1,
        requests: 90,
        counters: &[
            ALL,
            counter("ended by 504 after 100 ms, not 300", "istio_requests_total", "response_flags=\"UT\""),
        ],
    },
    Part {
        host: "retry.demo",
        policy: "retries: 3, 100ms each",
        callers: 1,
        requests: 90,
        counters: &[
            ALL,
            RETRIES,
            SAVED,
            counter("failures passed on, attempts used", "istio_retry_limit_exceeded_total", ""),
        ],
    },
    Part { host: "eject.demo", policy: "outlierDetection", callers: 1, requests: 90, counters: &[ALL, EJECTED] },
    Part {
        host: "all.demo",
        policy: "all of these",
        callers: 1,
        requests: 90,
        counters: &[ALL, OK, EJECTED, RETRIES, SAVED],
    },
    Part {
        host: "limit.demo",
        policy: "http2MaxRequests: 8",
        callers: 20,
        requests: 4,
        counters: &[
            ALL,
            OK,
            counter("refused at once, 503 `overflow`", "istio_circuit_breaker_rejected_total", "resource=\"requests\""),
        ],
    },
];
