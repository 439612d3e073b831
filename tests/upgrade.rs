//! Protocol upgrades (reliability cases UPG): none is made that both sides did not agree to; nothing is tunnelled.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::recorder::Recorder;
use common::{Client, Doors};
use std::io::Write;

#[test]
fn upg_01_a_refused_upgrade_makes_no_tunnel() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    for door in doors.both() {
        let mut client = Client::open(door);
        let request = "GET /first HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n\
                       GET /smuggled HTTP/1.1\r\nHost: nowhere.invalid\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
        client.stream().write_all(request.as_bytes()).expect("written");
        assert_eq!(client.reply().expect("an answer").status, 200);
        // The second is a request of its own: routed by its own host, or the connection is over.
        let second = client.reply();
        if door == doors.weir.outbound {
            assert!(second.is_none_or(|reply| reply.status == 502), "the outbound door knows no such host");
        }
    }
    let seen = backend.requests();
    assert!(seen.iter().all(|request| !request.to_ascii_lowercase().contains("upgrade")), "{seen:?}");
    let raw = seen.iter().filter(|request| request.starts_with("GET /smuggled"));
    assert!(raw.clone().count() <= 1, "at most through the edge, whose hosts are all: {seen:?}");
    assert!(raw.clone().all(|request| request.contains("x-request-id: ")), "never as it came: {seen:?}");
}

#[test]
fn upg_03_h2c_is_not_negotiated_through_us() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    for door in doors.both() {
        let request = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                       HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
        let reply = Client::open(door).raw(request.as_bytes()).expect("an answer");
        assert_eq!(reply.status, 200);
    }
    let seen = String::from_utf8_lossy(&backend.bytes()).to_ascii_lowercase();
    assert!(!seen.contains("upgrade") && !seen.contains("http2-settings") && !seen.contains("h2c"), "{seen}");
}

#[test]
fn upg_04_an_upstream_that_switches_unasked_is_not_followed() {
    let backend =
        Recorder::answering("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\nraw bytes");
    let doors = Doors::open(backend.port, "");
    for door in doors.both() {
        let mut client = Client::open(door);
        let request = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n";
        let reply = client.raw(request.as_bytes()).expect("an answer");
        assert_eq!((reply.status, reply.header("x-weir-reason")), (502, Some("upstream_protocol")));
    }
}

#[test]
fn upg_06_connect_makes_no_tunnel_at_a_gateway() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    let request = "CONNECT app.test:80 HTTP/1.1\r\nHost: app.test:80\r\n\r\n";
    assert_eq!(Client::open(doors.edge).raw(request.as_bytes()).expect("an answer").status, 404);
    assert_eq!(backend.bytes(), b"");
}
