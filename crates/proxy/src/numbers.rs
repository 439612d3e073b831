//! A cluster's living state, as metrics show it.
//!
//! Does not: format (`weir_observe` does).

use crate::mesh::Cell;
use std::sync::Arc;
use weir_observe::{ClusterNumbers, Distribution, Ejections, EndpointState};
use weir_policy::cluster::Cluster;
use weir_policy::outlier::{Health, Kind};
use weir_policy::retry::No;
use weir_policy::spread::{BOUNDS, Spread};
use weir_policy::time::Time;

/// Everything a scrape shows of one cluster. Endpoints whose time is over return first: without calls nobody else
/// would say so.
pub(crate) fn numbers(cell: &Cell, now: Time) -> ClusterNumbers {
    let (inflight, counts, rules, ejected, refused) = {
        let mut cluster = cell.cluster.lock();
        cluster.tick(now);
        let refused = cluster.outlier().overflows;
        (cluster.inflight, cluster.counts, Arc::clone(cluster.rules()), ejected(&cluster), refused)
    };
    let left = |ceiling: u32, used: u32| u64::from(ceiling.saturating_sub(used));
    let detector = rules.outlier.is_some();
    ClusterNumbers {
        labels: cell.labels,
        retries: counts.retries,
        retry_successes: counts.retry_successes,
        retry_refused: No::ALL.iter().map(|no| (no.word(), counts.refused[*no as usize])).collect(),
        retry_back_off: distribution(&counts.back_off),
        retry_duration: distribution(&counts.retried),
        remaining: vec![
            ("connections", left(rules.inflight.connections, inflight.connections)),
            ("pending", left(rules.inflight.pending, inflight.pending)),
            ("requests", left(rules.inflight.requests, inflight.requests)),
            ("retries", left(rules.inflight.retries, inflight.retries)),
        ],
        rejected: vec![
            ("connections", counts.overflow_connections),
            ("pending", counts.overflow_pending),
            ("requests", counts.overflow_requests),
            ("retries", counts.refused[No::MaxRetries as usize]),
        ],
        ejections: ejected.into_iter().map(|(address, health)| ejections(address, &health)).collect(),
        ejections_refused: Kind::ALL
            .iter()
            .filter(|_| detector)
            .map(|kind| (kind.word(), refused[*kind as usize]))
            .collect(),
    }
}

/// Endpoints that were ejected at least once.
fn ejected(cluster: &Cluster) -> Vec<(std::net::SocketAddr, Health)> {
    if cluster.rules().outlier.is_none() {
        return Vec::new();
    }
    let ever = |(_, health): &(_, &Health)| health.ejections.iter().any(|count| *count > 0);
    cluster.healths().filter(ever).map(|(address, health)| (address, *health)).collect()
}

fn ejections(address: std::net::SocketAddr, health: &Health) -> Ejections {
    Ejections {
        endpoint: address.to_string(),
        counts: Kind::ALL.iter().map(|kind| (kind.word(), health.ejections[*kind as usize])).collect(),
        state: if health.is_ejected() { EndpointState::Out } else { EndpointState::In },
    }
}

fn distribution(spread: &Spread) -> Distribution {
    Distribution { bounds: &BOUNDS, buckets: spread.buckets.to_vec(), micros: spread.micros }
}
