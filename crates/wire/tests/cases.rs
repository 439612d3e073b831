//! The cases of RFC 9112 that smugglers use, one by one.

use weir_wire::{Body, Framing, Limits, Malformed, Parsed, RequestHead, RequestKind, ResponseHead, Step};

fn status(request: &str) -> u16 {
    status_of(request.as_bytes())
}

fn status_of(request: &[u8]) -> u16 {
    let mut head = RequestHead::default();
    match weir_wire::parse_request(request, &Limits::default(), &mut head) {
        Ok(Parsed::Complete) => 0,
        Ok(Parsed::Partial) => 1,
        Err(why) => why.status(),
    }
}

#[test]
fn requests_that_are_refused() {
    let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let rows = [
        // SMG-01, 03, 05, 07
        (with("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n"), 400),
        (with("Content-Length: 5\r\nContent-Length: 6\r\n"), 400),
        (with("Content-Length: 5\r\nContent-Length: 5\r\n"), 400),
        (with("Content-Length: 4, 5\r\n"), 400),
        (with("Content-Length: -1\r\n"), 400),
        (with("Content-Length: +5\r\n"), 400),
        (with("Content-Length:\r\n"), 400),
        (with("Content-Length: 18446744073709551616\r\n"), 400),
        (with("Transfer-Encoding: xchunked\r\n"), 501),
        (with("Transfer-Encoding: chunked, identity\r\n"), 501),
        (with("Transfer-Encoding: identity\r\n"), 501),
        (with("Transfer-Encoding: chunked, chunked\r\n"), 501),
        (with("Transfer-Encoding: \x0bchunked\r\n"), 400),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 400),
        // SMG-09, 11
        (with("Transfer-Encoding : chunked\r\n"), 400),
        (with("X: a\r\n folded\r\n"), 400),
        ("GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        (with("X: a\rb\r\n"), 400),
        (with("X: a\0b\r\n"), 400),
        (with(": b\r\n"), 400),
        // HDR-01, 07
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a.test/x@b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a:0\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n".to_owned(), 400),
        (" / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), 505),
        (with(&format!("X: {}\r\n", "a".repeat(64 * 1024))), 431),
        (with(&"X: a\r\n".repeat(1000)), 431),
        (format!("GET /{}", "a".repeat(100 * 1024)), 431),
    ];
    for (request, expected) in rows {
        let shown: String = request.chars().take(90).collect();
        assert_eq!(status(&request), expected, "{shown:?}");
    }
}

#[test]
fn requests_that_are_accepted() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://b.test/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\ta\tb \r\n\r\n",
    ] {
        assert_eq!(status(request), 0, "{request:?}");
    }
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\n"), 1, "more is to come");
}

#[test]
fn a_head_byte_by_byte() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    let mut head = RequestHead::default();
    for end in 0..request.len() {
        let outcome = weir_wire::parse_request(&request[..end], &Limits::default(), &mut head);
        assert_eq!(outcome, Ok(Parsed::Partial), "{end}");
    }
    assert_eq!(weir_wire::parse_request(request, &Limits::default(), &mut head), Ok(Parsed::Complete));
    assert_eq!(head.fields.len(), 2);
}

#[test]
fn chunk_sizes_that_are_refused() {
    for bytes in [
        "+3\r\n",
        "0x3\r\n",
        "3_0\r\n",
        "10000000000000003\r\n",
        "-1\r\n",
        "3\t\r\n",
        "3 \r\n",
        "\r\n",
        "3\nabc",
        "3\r\nabcX\r\n",
        "zz\r\n",
    ] {
        let mut body = Body::new(Framing::Chunked);
        let mut at = 0;
        let refused = loop {
            match body.next(&bytes.as_bytes()[at..]) {
                Err(_) => break true,
                Ok(Step::More) => break false,
                Ok(Step::Skip { consumed } | Step::Data { consumed, .. } | Step::End { consumed, .. }) => {
                    at += consumed
                }
            }
        };
        assert!(refused, "{bytes:?}");
    }
}

#[test]
fn chunk_extensions_are_read_over_within_a_bound() {
    let mut body = Body::new(Framing::Chunked);
    assert_eq!(body.next(b"3;a=b\r\nabc\r\n"), Ok(Step::Data { start: 7, end: 10, consumed: 12 }));
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(900));
    let refused = (0..100).any(|_| body.next(chunk.as_bytes()) == Err(Malformed::ChunkExtension));
    assert!(refused, "a megabyte of extensions");
}

#[test]
fn responses() {
    let parse = |text: &str, kind| {
        let mut head = ResponseHead::default();
        weir_wire::parse_response(text.as_bytes(), &Limits::default(), kind, &mut head)
            .map(|_| (head.status, head.framing))
    };
    let other = RequestKind::Other;
    assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", other), Ok((200, Framing::Length(3))));
    assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", RequestKind::Head), Ok((200, Framing::None)));
    assert_eq!(parse("HTTP/1.1 304 \r\nContent-Length: 3\r\n\r\n", other), Ok((304, Framing::None)));
    assert_eq!(parse("HTTP/1.1 204\r\n\r\n", other), Ok((204, Framing::None)));
    assert_eq!(parse("HTTP/1.0 200 OK\r\n\r\n", other), Ok((200, Framing::UntilClose)));
    for bad in [
        "HTTP/1.1 99 X\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert!(parse(bad, other).is_err(), "{bad:?}");
    }
}
