//! Rows of docs/src/compatibility.md that no scenario shows: the same documents in both modes.

#![allow(clippy::expect_used, reason = "this is a test")]

mod common;

use common::recorder::Recorder;
use common::{Client, Doors, eventually, limits};
use std::io::Write;

/// weir with its own defaults, and as Istio.
fn both(backend: &Recorder, more: &str) -> [Doors; 2] {
    let istio: &[&str] = &["--compatibility", "istio"];
    [Doors::open(backend.port, more), Doors::open_with(backend.port, more, istio)]
}

#[test]
fn metrics_have_a_class_of_the_status_unless_compatible() {
    let backend = Recorder::start();
    for (doors, classes) in both(&backend, "").iter().zip([1, 0]) {
        assert_eq!(Client::open(doors.weir.outbound).get("app.test", "/").expect("an answer").status, 200);
        let mut series = Vec::new();
        // A request is counted when its answer is out: the client may have it before.
        eventually("the request is counted", || {
            let metrics = doors.weir.admin("GET", "/metrics").text();
            series =
                metrics.lines().filter(|line| line.starts_with("istio_requests_total{")).map(str::to_owned).collect();
            !series.is_empty()
        });
        assert_eq!(series.len(), 1, "{series:?}");
        assert_eq!(series[0].matches("response_code_class=\"2xx\"").count(), classes, "{}", series[0]);
        assert_eq!(series[0].matches("response_code_class").count(), classes, "{}", series[0]);
    }
}

/// The first part, and the rest only when weir with its own defaults has ended such a client: the other was there before.
fn in_two_parts(doors: &[Doors; 2], first: &[u8], rest: &[u8]) {
    let begun = |doors: &Doors| {
        let mut client = Client::open(doors.edge);
        client.stream().write_all(first).expect("written");
        client
    };
    let [own, istio] = doors;
    let (mut patient, mut impatient) = (begun(istio), begun(own));
    assert_eq!(impatient.reply().map(|reply| reply.status), Some(408));
    assert!(impatient.is_closed());
    assert_eq!(patient.raw(rest).expect("an answer").status, 200);
}

#[test]
fn a_request_head_may_take_for_ever_when_compatible() {
    let backend = Recorder::start();
    let doors = both(&backend, &limits("headTimeout: 400ms"));
    in_two_parts(&doors, b"GET / HTTP/1.1\r\nHost: app.te", b"st\r\n\r\n");
}

#[test]
fn a_request_body_has_no_rate_when_compatible() {
    let backend = Recorder::start();
    let doors = both(&backend, &limits("bodyTimeout: 400ms"));
    in_two_parts(&doors, b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\na", b"bc");
}
