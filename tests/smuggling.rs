//! Request smuggling (reliability cases SMG): through both doors, with every byte that reaches the upstream recorded.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::recorder::Recorder;
use common::{Client, Doors, rules};
use std::io::Write;

/// Refused with one of `statuses`, the connection closed, and not one byte upstream.
fn refused_unseen(requests: &[String], statuses: &[u16]) {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    for request in requests {
        let bytes: Vec<u8> = request.chars().map(|char| char as u8).collect();
        for door in doors.both() {
            let mut client = Client::open(door);
            let reply = client.raw(&bytes).expect("an answer");
            assert!(statuses.contains(&reply.status), "{} for {request:?}", reply.status);
            assert_eq!(reply.header("connection"), Some("close"), "{request:?}");
            assert!(client.is_closed(), "{request:?}");
        }
    }
    assert_eq!(String::from_utf8_lossy(&backend.bytes()), "", "upstream saw something");
}

fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n\r\n{body}")
}

#[test]
fn smg_01_both_lengths() {
    let both = "Content-Length: 6\r\nTransfer-Encoding: chunked";
    let turned = "Transfer-Encoding: chunked\r\nContent-Length: 6";
    refused_unseen(&[post(both, "0\r\n\r\nG"), post(turned, "0\r\n\r\nG")], &[400]);
}

#[test]
fn smg_03_two_content_lengths() {
    let lines = [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: ",
        "Content-Length: 99999999999999999999",
    ];
    refused_unseen(&lines.map(|line| post(line, "hello!")), &[400]);
}

#[test]
fn smg_05_transfer_codings_that_are_not_chunked() {
    let codings =
        ["xchunked", "chunked, identity", "identity", "chunked, chunked", "\x0bchunked", "chunked;q=1", "", "gzip"];
    let mut all: Vec<String> =
        codings.iter().map(|coding| post(&format!("Transfer-Encoding: {coding}"), "0\r\n\r\n")).collect();
    all.push(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"));
    all.push(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"));
    refused_unseen(&all, &[400, 501]);
}

#[test]
fn smg_07_http_1_0_with_chunks() {
    let old = "POST / HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned();
    refused_unseen(&[old], &[400, 426]);
}

#[test]
fn smg_09_space_before_the_colon_and_folded_lines() {
    refused_unseen(
        &[
            post("Transfer-Encoding : chunked", "0\r\n\r\n"),
            post("Content-Length\t: 5", "hello"),
            post("X: a\r\n folded: b", ""),
            "GET / HTTP/1.1\r\n X: y\r\nHost: app.test\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\n\tX: y\r\nHost: app.test\r\n\r\n".to_owned(),
        ],
        &[400],
    );
}

#[test]
fn smg_11_bare_line_feeds_and_returns() {
    refused_unseen(
        &[
            "GET / HTTP/1.1\nHost: app.test\n\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: app.test\nX: y\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: app.test\r\nX: a\rb\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: app.test\r\nX: a\0b\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: app.test\r\n\n".to_owned(),
        ],
        &[400],
    );
}

#[test]
fn smg_13_chunk_extensions_are_stripped_and_bounded() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    for door in doors.both() {
        let request = post("Transfer-Encoding: chunked", "3;a=b\r\nabc\r\n2;c=\"d e\"\r\nde\r\n0;f\r\n\r\n");
        assert_eq!(Client::open(door).raw(request.as_bytes()).expect("an answer").status, 200);
        let seen = backend.last();
        let body = seen.split_once("\r\n\r\n").expect("a head").1;
        assert!(!body.contains(';'), "{seen}");
        let data: String = body.split("\r\n").skip(1).step_by(2).collect();
        assert_eq!(data, "abcde", "{seen}");
    }
    let before = backend.requests().len();
    for door in doors.both() {
        let mut client = Client::open(door);
        client.stream().write_all(post("Transfer-Encoding: chunked", "").as_bytes()).expect("written");
        // A megabyte of extensions: the connection is ended long before it is all sent.
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
        let sent = (0..1000).take_while(|_| client.stream().write_all(chunk.as_bytes()).is_ok()).count();
        let reply = client.reply();
        assert!(reply.is_none_or(|reply| reply.status == 400), "after {sent} chunks");
    }
    assert_eq!(backend.requests().len(), before, "no whole request");
    let seen = backend.bytes();
    assert!(!String::from_utf8_lossy(&seen).contains("eee") && seen.len() < 8 * 1024, "{} bytes", seen.len());
}

#[test]
fn smg_15_chunk_sizes_that_are_none() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    let bodies = [
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3_0\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "3\t\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
    ];
    for body in bodies {
        for door in doors.both() {
            let mut client = Client::open(door);
            let reply = client.raw(post("Transfer-Encoding: chunked", body).as_bytes()).expect("an answer");
            assert_eq!((reply.status, reply.header("connection")), (400, Some("close")), "{body:?}");
            assert!(client.is_closed(), "{body:?}");
        }
    }
    assert_eq!(backend.requests(), Vec::<String>::new(), "no whole request");
}

#[test]
fn smg_17_trailers_that_frame_or_route_are_dropped() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    let trailers =
        "Content-Length: 9\r\nHost: evil.test\r\nTransfer-Encoding: chunked\r\nAuthorization: Basic x\r\nX-Sum: 7\r\n";
    for door in doors.both() {
        let request = post("Transfer-Encoding: chunked\r\nTE: trailers", &format!("1\r\nx\r\n0\r\n{trailers}\r\n"));
        assert_eq!(Client::open(door).raw(request.as_bytes()).expect("an answer").status, 200);
        let seen = backend.last().to_ascii_lowercase();
        for name in ["content-length", "evil.test", "authorization"] {
            assert!(!seen.contains(name), "{name}: {seen}");
        }
        assert_eq!(seen.matches("transfer-encoding").count(), 1, "{seen}");
        let (head, rest) = seen.split_once("\r\n\r\n").expect("a head");
        assert!(!head.contains("x-sum"), "never merged into the head: {seen}");
        assert!(rest.contains("x-sum: 7"), "an honest trailer passes: {seen}");
    }
}

#[test]
fn smg_19_a_local_answer_leaves_no_body_to_be_read_as_a_request() {
    let backend = Recorder::start();
    let local = rules(
        "  - match: [{ uri: { prefix: /redirect } }]
    redirect: { uri: /elsewhere }
  - match: [{ uri: { prefix: /direct } }]
    directResponse: { status: 401, body: { string: \"who are you\" } }
  - route: [{ destination: { host: app.test } }]
",
    );
    let doors = Doors::open(backend.port, &local);
    let inner = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let next = "GET /next HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    for path in ["/redirect", "/direct", "/"] {
        for host in ["app.test", "unknown.test"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{inner}{next}", inner.len());
            let mut client = Client::open(doors.weir.outbound);
            client.stream().write_all(request.as_bytes()).expect("written");
            let first = client.reply().expect("an answer");
            let second = client.reply();
            match path {
                "/" if host == "app.test" => assert_eq!((first.status, second.map(|it| it.status)), (200, Some(200))),
                // The connection ended, or the next request was found where it begins.
                _ => assert!(second.is_none_or(|it| it.status == 200), "{path} {host}"),
            }
        }
    }
    let seen = backend.requests();
    assert!(seen.iter().all(|request| !request.starts_with("GET /smuggled")), "{seen:?}");
}

#[test]
fn smg_21_an_answer_with_two_lengths_is_not_passed_on_and_its_connection_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nx: a\nb\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let backend = Recorder::answering(answer);
        let doors = Doors::open(backend.port, "");
        for door in doors.both() {
            let reply = Client::open(door).get("app.test", "/").expect("an answer");
            assert_eq!((reply.status, reply.header("x-weir-reason")), (502, Some("upstream_protocol")), "{answer:?}");
        }
    }
}

#[test]
fn smg_23_bytes_behind_an_answer_are_nobodys() {
    let backend = Recorder::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    );
    let doors = Doors::open(backend.port, "");
    for door in doors.both() {
        let mut client = Client::open(door);
        for _ in 0..5 {
            assert_eq!(client.get("app.test", "/").expect("an answer").text(), "ok");
        }
    }
}
