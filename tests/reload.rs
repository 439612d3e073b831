//! Reload under load: 200 acknowledged versions, each changing a response header that the clients check.
//! No request fails, no connection is closed, nothing is left behind.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::{Backend, Client, Weir, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const VERSIONS: u64 = 200;
const CLIENTS: usize = 4;

fn mesh(port: u16, version: u64) -> String {
    let http = format!(
        "  - headers: {{ response: {{ set: {{ x-version: \"{version}\" }} }} }}
    route: [{{ destination: {{ host: app.test }} }}]
"
    );
    common::service_entry("app.test", port) + &common::rules(&http)
}

#[test]
fn two_hundred_versions_under_load_lose_nothing() {
    let backend = Backend::start();
    let weir = Weir::start(&mesh(backend.port, 0), &["--workers", "2"]);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let (outbound, warm) = (weir.outbound, Client::open(weir.outbound));
    drop(warm);
    eventually("the first connection is gone", || weir.connections() == 0);
    let before = weir.resources();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (acknowledged, done) = (Arc::clone(&acknowledged), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut client = Client::open(outbound);
                let mut requests = 0u64;
                while !done.load(Ordering::SeqCst) {
                    let at_least = acknowledged.load(Ordering::SeqCst);
                    // One connection for all of it: a closed one is an error here.
                    let reply = client.get("app.test", "/").expect("an answer on the same connection");
                    assert_eq!(reply.status, 200);
                    let seen: u64 = reply.header("x-version").expect("a version").parse().expect("a number");
                    assert!(seen >= at_least, "version {seen} after {at_least} was acknowledged");
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    for version in 1..=VERSIONS {
        weir.write(&mesh(backend.port, version));
        let status = weir.admin("POST", "/api/v1/reload");
        assert_eq!(status.status, 200, "{}", status.text());
        acknowledged.store(version, Ordering::SeqCst);
    }
    done.store(true, Ordering::SeqCst);
    let requests: u64 = clients.into_iter().map(|client| client.join().expect("no client failed")).sum();
    assert!(requests >= VERSIONS, "{requests} requests");
    eventually("all connections are gone", || weir.connections() == 0);
    // Idle upstream connections stay pooled; they are not leaks.
    // Threads of the admin address come and go with its requests, so there may be fewer.
    eventually("descriptors and threads are as before", || {
        let after = weir.resources();
        after.threads <= before.threads && after.descriptors <= before.descriptors + CLIENTS + 2
    });
}

#[test]
fn a_bad_version_is_refused_and_the_good_one_stays() {
    let backend = Backend::start();
    let weir = Weir::start(&mesh(backend.port, 7), &[]);
    weir.write(&mesh(backend.port, 8).replace("hosts:", "hostz:"));
    let refused = weir.admin("POST", "/api/v1/reload");
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("did you mean `hosts`?"), "{}", refused.text());
    let reply = Client::open(weir.outbound).get("app.test", "/").expect("an answer");
    assert_eq!(reply.header("x-version"), Some("7"));
}
