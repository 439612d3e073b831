//! Heads and bodies under random bytes: never a panic, never two meanings. `WEIR_FUZZ_CASES` sets how many.

#![allow(clippy::expect_used, reason = "this is a test")]

use proptest::prelude::*;
use weir_wire::{
    Body, Framing, Limits, Malformed, Parsed, RequestHead, RequestKind, ResponseHead, Step, Version, write,
};

fn cases() -> ProptestConfig {
    let cases = std::env::var("WEIR_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn parse(bytes: &[u8]) -> (Result<Parsed, Malformed>, RequestHead) {
    let mut head = RequestHead::default();
    (weir_wire::parse_request(bytes, &Limits::default(), &mut head), head)
}

/// Pieces of which requests, and things that look like them, are made.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "GET ", "POST ", "/", "/a?b", " HTTP/1.1", " HTTP/1.0", "\r\n", "\r\n", "\r\n\r\n", "\n", "\r", "Host: a\r\n", "Host: a",
            "Content-Length: 5\r\n", "Content-Length: ", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding", ":", " ", "\t",
            "X-A: b\r\n", "x: \r\n", "Connection: close, x\r\n", "0", "5", "chunked", "\0", "\u{7f}", "*", "OPTIONS ",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// A well-formed request and what it says.
fn requests() -> impl Strategy<Value = (Vec<u8>, Vec<(String, String)>)> {
    let value = "[!-~]([ -~]{0,20}[!-~])?|";
    let fields = prop::collection::vec(("x-[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}", value, "[ \t]{0,3}", "[ \t]{0,3}"), 0..8);
    ("[A-Z]{1,8}", "/[a-z0-9/._~%-]{0,20}", fields).prop_map(|(method, target, fields)| {
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: a.test\r\n").into_bytes();
        let mut expected = vec![("host".to_owned(), "a.test".to_owned())];
        for (name, value, before, behind) in fields {
            bytes.extend_from_slice(format!("{name}:{before}{value}{behind}\r\n").as_bytes());
            expected.push((name, value));
        }
        bytes.extend_from_slice(b"\r\n");
        (bytes, expected)
    })
}

fn said(head: &RequestHead, bytes: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.fields.iter().map(|field| (text(field.name.of(bytes)), text(field.value.of(bytes)))).collect()
}

/// Decodes a body that arrives in the given pieces; the data, and how many bytes were left over.
fn decode(framing: Framing, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize, bool), Malformed> {
    let (mut body, mut data, mut at) = (Body::new(framing), Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    for end in ends {
        while !body.is_done() {
            match body.next(&bytes[at..end.max(at)])? {
                Step::More => break,
                Step::Skip { consumed } | Step::End { consumed, .. } => at += consumed,
                Step::Data { start, end: to, consumed } => {
                    data.extend_from_slice(&bytes[at + start..at + to]);
                    at += consumed;
                }
            }
        }
    }
    Ok((data, bytes.len() - at, body.is_done()))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in pieces()) {
        let _ = parse(&bytes);
        let mut head = ResponseHead::default();
        let _ = weir_wire::parse_response(&bytes, &Limits::default(), RequestKind::Other, &mut head);
    }

    /// What we accept, httparse accepts, with the same names and values.
    #[test]
    fn httparse_agrees_with_what_we_accept(bytes in pieces()) {
        let (outcome, head) = parse(&bytes);
        if outcome == Ok(Parsed::Complete) {
            let mut storage = [httparse::EMPTY_HEADER; 128];
            let mut other = httparse::Request::new(&mut storage);
            let status = other.parse(&bytes).expect("accepted by both");
            prop_assert_eq!(status, httparse::Status::Complete(head.len));
            prop_assert_eq!(other.method.expect("a method").as_bytes(), head.method.of(&bytes));
            prop_assert_eq!(other.path.expect("a target").as_bytes(), head.target.of(&bytes));
            let minor = u8::from(head.version == Version::Http11);
            prop_assert_eq!(other.version, Some(minor));
            let theirs: Vec<_> = other.headers.iter().map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned())).collect();
            prop_assert_eq!(theirs, said(&head, &bytes));
        }
    }

    #[test]
    fn well_formed_heads_say_what_was_written((bytes, expected) in requests()) {
        let (outcome, head) = parse(&bytes);
        prop_assert_eq!(outcome, Ok(Parsed::Complete));
        prop_assert_eq!(head.len, bytes.len());
        prop_assert_eq!(said(&head, &bytes), expected.clone());
        let mut out = b"GET / HTTP/1.1\r\n".to_vec();
        write::fields(&mut out, &bytes, &head.fields, |_| true);
        out.extend_from_slice(b"\r\n");
        let (again, second) = parse(&out);
        prop_assert_eq!(again, Ok(Parsed::Complete));
        prop_assert_eq!(said(&second, &out), expected);
    }

    #[test]
    fn however_a_head_arrives_it_is_the_same(bytes in prop_oneof![pieces(), requests().prop_map(|(bytes, _)| bytes)], cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let (whole, expected) = parse(&bytes);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
        ends.sort_unstable();
        let (mut head, mut last) = (RequestHead::default(), Ok(Parsed::Partial));
        for end in ends {
            last = weir_wire::parse_request(&bytes[..end], &Limits::default(), &mut head);
            if last != Ok(Parsed::Partial) {
                break;
            }
        }
        match whole {
            Ok(Parsed::Complete) => {
                prop_assert_eq!(last, Ok(Parsed::Complete));
                prop_assert_eq!(said(&head, &bytes), said(&expected, &bytes));
                prop_assert_eq!(head.framing, expected.framing);
            }
            // A malformed head may be refused for another reason, or sooner; never accepted.
            Err(_) => prop_assert!(last != Ok(Parsed::Complete)),
            Ok(Parsed::Partial) => prop_assert!(last != Ok(Parsed::Complete)),
        }
    }

    /// The bound on fields is that bound, and the bound on bytes that bound.
    #[test]
    fn bounds_are_exact(fields in 1usize..9, extra in 0usize..3, short in 0usize..3) {
        let bytes = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(fields)).into_bytes();
        let limits = Limits { head: bytes.len() + extra - short.min(extra + 1), fields: fields + 1 };
        let outcome = |limits: &Limits| weir_wire::parse_request(&bytes, limits, &mut RequestHead::default());
        let expected = if limits.head >= bytes.len() { Ok(Parsed::Complete) } else { Err(Malformed::TooLarge) };
        prop_assert_eq!(outcome(&limits), expected);
        let fewer = Limits { fields, ..Limits::default() };
        prop_assert_eq!(outcome(&fewer), Err(Malformed::TooManyFields));
    }

    #[test]
    fn trailers_end_where_they_end(fields in prop::collection::vec("[a-z]{1,5}: [a-z]{0,5}", 1..4), behind in prop::collection::vec(any::<u8>(), 0..5), cuts in prop::collection::vec(any::<usize>(), 0..5)) {
        let block: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let mut bytes = format!("1\r\na\r\n0\r\n{block}\r\n").into_bytes();
        bytes.extend_from_slice(&behind);
        let (decoded, left, done) = decode(Framing::Chunked, &bytes, &cuts).expect("well-formed");
        prop_assert_eq!((&decoded[..], left, done), (&b"a"[..], behind.len(), true));
    }

    #[test]
    fn chunks_come_back_as_they_were(data in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), cuts in prop::collection::vec(any::<usize>(), 0..8), behind in prop::collection::vec(any::<u8>(), 0..5)) {
        let mut bytes = Vec::new();
        data.iter().for_each(|piece| write::chunk(&mut bytes, piece));
        write::last_chunk(&mut bytes, b"");
        bytes.extend_from_slice(&behind);
        let (decoded, left, done) = decode(Framing::Chunked, &bytes, &cuts).expect("well-formed");
        prop_assert_eq!(decoded, data.concat());
        prop_assert!(done);
        prop_assert_eq!(left, behind.len(), "not a byte of the next message");
    }

    #[test]
    fn a_length_is_a_length(length in 0u64..50, bytes in prop::collection::vec(any::<u8>(), 50..60), cuts in prop::collection::vec(any::<usize>(), 0..5)) {
        let (decoded, left, done) = decode(Framing::Length(length), &bytes, &cuts).expect("well-formed");
        prop_assert_eq!(decoded, &bytes[..length as usize]);
        prop_assert!(done);
        prop_assert_eq!(left, bytes.len() - length as usize);
    }

    #[test]
    fn any_chunked_bytes_are_decoded_or_refused_alike(bytes in prop::collection::vec(prop::sample::select(b"0123aAfF;=\r\n x-+\t".to_vec()), 0..60), cuts in prop::collection::vec(any::<usize>(), 0..5)) {
        let whole = decode(Framing::Chunked, &bytes, &[]);
        let parts = decode(Framing::Chunked, &bytes, &cuts);
        match (&whole, &parts) {
            (Ok(whole), Ok(parts)) => prop_assert_eq!(whole, parts),
            (Err(_), Err(_)) => {}
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
