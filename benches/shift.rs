//! What one endpoint that comes and one that goes cost a cluster of 10,000: under its lock, and outside of it.

#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_policy::balance::{self, Table};
use weir_policy::cluster::Cluster;
use weir_policy::discovery::{Discovery, Shift};
use weir_policy::place::Place;
use weir_policy::plan::{Endpoint, Service, Upstream};
use weir_policy::{budget, connection, inflight};

const ENDPOINTS: u32 = 10_000;
const CHANGES: u32 = 200;

fn endpoint(number: u32) -> Endpoint {
    let ip = IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
    Endpoint { address: SocketAddr::new(ip, 80), weight: 1, workload: "".into(), place: Place::default() }
}

fn upstream(balance: balance::Rules) -> Upstream {
    let text = |text: &str| Arc::from(text);
    Upstream {
        id: text("default/app|80|"),
        name: text("outbound|80||app"),
        service: Service {
            host: text("app"),
            name: text("app"),
            namespace: text("default"),
            port: 80,
            subset: text(""),
        },
        discovery: Discovery::default(),
        endpoints: (0..ENDPOINTS).map(endpoint).collect(),
        balance,
        inflight: inflight::Rules::default(),
        budget: budget::Rules::Off,
        connection: connection::Rules::default(),
        outlier: None,
        origins: weir_policy::origin::Origins::default(),
        place: Place::default(),
    }
}

fn main() {
    let mut cluster = Cluster::new(Arc::new(upstream(balance::Rules::LeastRequest)));
    let (mut outside, mut inside) = (Duration::ZERO, Duration::ZERO);
    for change in 0..CHANGES {
        let began = Instant::now();
        let wanted = (change + 1..ENDPOINTS + change + 1).map(endpoint).collect();
        let Some(shift) = Shift::between(cluster.rules(), wanted) else { continue };
        let table = Arc::new(Table::build(&shift.rules.balance, &shift.rules.endpoints));
        outside += began.elapsed();
        let began = Instant::now();
        let old = cluster.shift(&shift, table);
        inside += began.elapsed();
        drop(old);
    }
    println!(
        "{ENDPOINTS} endpoints, one out and one in: {:?} outside of the lock, {:?} under it",
        outside / CHANGES,
        inside / CHANGES
    );
}
