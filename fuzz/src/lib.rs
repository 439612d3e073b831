//! What must hold for any bytes: one function per target, each a property, not just "does not crash".
//!
//! Does not: make the bytes; libFuzzer does.

use weir_config::yaml::{self, Node, Style, Value};
use weir_config::{Bundle, Options, Text};
use weir_wire::{Body, Framing, Limits, Malformed, Parsed, RequestHead, RequestKind, ResponseHead, Step, Version};

/// A head: what we accept, httparse accepts, with the same meaning; arriving in two parts changes nothing.
pub fn head(bytes: &[u8]) {
    let mut whole = RequestHead::default();
    let outcome = weir_wire::parse_request(bytes, &Limits::default(), &mut whole);
    if outcome == Ok(Parsed::Complete) {
        agrees_with_httparse(&whole, bytes);
    }
    let cut = bytes.first().map_or(0, |first| usize::from(*first) % (bytes.len() + 1));
    let mut parts = RequestHead::default();
    let mut last = weir_wire::parse_request(&bytes[..cut], &Limits::default(), &mut parts);
    if last == Ok(Parsed::Partial) {
        last = weir_wire::parse_request(bytes, &Limits::default(), &mut parts);
    }
    assert_eq!(last == Ok(Parsed::Complete), outcome == Ok(Parsed::Complete), "{outcome:?} at once, {last:?} in parts");
    if outcome == Ok(Parsed::Complete) {
        assert_eq!((parts.len, parts.framing), (whole.len, whole.framing));
    }
    let mut response = ResponseHead::default();
    if weir_wire::parse_response(bytes, &Limits::default(), RequestKind::Other, &mut response) == Ok(Parsed::Complete) {
        assert!(response.len <= bytes.len() && (100..600).contains(&response.status));
    }
}

fn agrees_with_httparse(head: &RequestHead, bytes: &[u8]) {
    let mut storage = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Request::new(&mut storage);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(head.len)));
    assert_eq!(other.method.map(str::as_bytes), Some(head.method.of(bytes)));
    assert_eq!(other.path.map(str::as_bytes), Some(head.target.of(bytes)));
    assert_eq!(other.version, Some(u8::from(head.version == Version::Http11)));
    assert_eq!(other.headers.len(), head.fields.len());
    for (theirs, ours) in other.headers.iter().zip(&head.fields) {
        assert_eq!((theirs.name.as_bytes(), theirs.value), (ours.name.of(bytes), ours.value.of(bytes)));
    }
}

/// A chunked body: the same data byte by byte as at once, and as a decoder that is too simple to be wrong says.
pub fn body(bytes: &[u8]) {
    let whole = decode(bytes, bytes.len().max(1));
    let parts = decode(bytes, 1);
    assert_eq!(whole.is_ok(), parts.is_ok());
    let Ok(whole) = whole else { return };
    assert_eq!(Some(&whole), parts.ok().as_ref());
    if let Some((data, used)) = plainly(bytes) {
        assert!(whole.done);
        assert_eq!((&whole.data, whole.used), (&data, used));
    }
}

/// A TLS client's first bytes: told once, told the same whatever follows; a name is a name.
pub fn hello(bytes: &[u8]) {
    use weir_wire::{Hello, read_hello};
    let (mut whole, mut part) = (String::new(), String::new());
    let found = read_hello(bytes, &mut whole);
    assert_eq!(found == Hello::Named, !whole.is_empty());
    assert!(whole.len() <= 255 && whole.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
    for end in 0..bytes.len().min(512) {
        let early = read_hello(&bytes[..end], &mut part);
        if early != Hello::Partial {
            assert_eq!((early, &part), (found, &whole), "told after {end} bytes");
            break;
        }
    }
}

/// The PROXY protocol: a header is told once; what it says is written and read again as the same.
pub fn proxy(bytes: &[u8]) {
    use weir_wire::{Proxied, ProxyVersion, read_proxy, write_proxy};
    let found = read_proxy(bytes);
    for end in 0..bytes.len().min(256) {
        let early = read_proxy(&bytes[..end]);
        if early != Proxied::Partial {
            assert_eq!(early, found, "told after {end} bytes");
            break;
        }
    }
    let Proxied::Whole { length, ends } = found else { return };
    assert!(length <= bytes.len());
    let Some(ends) = ends else { return };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut out = Vec::new();
        write_proxy(version, &ends, &mut out);
        let Proxied::Whole { length, ends: Some(back) } = read_proxy(&out) else { panic!("{out:?} is not read") };
        assert_eq!((length, back.client.port()), (out.len(), ends.client.port()));
        assert_eq!(back.client.ip().to_canonical(), ends.client.ip().to_canonical());
    }
}

#[derive(PartialEq, Debug)]
struct Decoded {
    data: Vec<u8>,
    used: usize,
    done: bool,
}

fn decode(bytes: &[u8], step: usize) -> Result<Decoded, Malformed> {
    let (mut body, mut data, mut at, mut end) = (Body::new(Framing::Chunked), Vec::new(), 0, 0);
    while !body.is_done() {
        match body.next(&bytes[at..end])? {
            Step::More if end == bytes.len() => break,
            Step::More => end = (end + step).min(bytes.len()),
            Step::Skip { consumed } | Step::End { consumed, .. } => at += consumed,
            Step::Data { start, end: to, consumed } => {
                data.extend_from_slice(&bytes[at + start..at + to]);
                at += consumed;
            }
        }
    }
    Ok(Decoded { data, used: at, done: body.is_done() })
}

/// Chunks without extensions or trailers; `None` for anything else.
fn plainly(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut at, mut data) = (0, Vec::new());
    loop {
        let line = at + bytes[at..].windows(2).position(|pair| pair == b"\r\n")?;
        let digits = std::str::from_utf8(&bytes[at..line]).ok()?;
        if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(digits, 16).ok()?;
        at = line + 2;
        if bytes.get(at + size..at + size + 2)? != b"\r\n" {
            return None;
        }
        data.extend_from_slice(&bytes[at..at + size]);
        at += size + 2;
        if size == 0 {
            return Some((data, at));
        }
    }
}

/// A path: its normal form is its own normal form, starts with `/`, and has no dot segment or double slash.
pub fn path(bytes: &[u8]) {
    let mut out = Vec::new();
    let Ok(normal) = weir_policy::path::normalise(bytes, &mut out).map(<[u8]>::to_vec) else { return };
    let mut again = Vec::new();
    assert_eq!(weir_policy::path::normalise(&normal, &mut again), Ok(&normal[..]));
    if bytes.first() == Some(&b'/') {
        assert_eq!(normal.first(), Some(&b'/'));
        for segment in normal.split(|byte| *byte == b'/') {
            assert!(segment != b"." && segment != b"..", "{}", String::from_utf8_lossy(&normal));
        }
    }
}

/// A text: every plain scalar on one line stands where its node says.
pub fn yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut problems = Vec::new();
    let documents = yaml::read(&"fuzz".into(), text, &mut problems);
    for problem in &problems {
        assert!(problem.place.line >= 1);
    }
    // An alias repeats its value at its own place, and folded or escaped text is not where it is written.
    if text.contains(['*', '&', '\u{feff}', '\u{85}', '\u{2028}', '\u{2029}', '\r', '\t', '!']) {
        return;
    }
    let lines: Vec<&str> = text.split('\n').collect();
    documents.iter().for_each(|document| stands(document, &lines));
}

fn stands(node: &Node, lines: &[&str]) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| stands(item, lines)),
        Value::Map(entries) => {
            for (key, value) in entries {
                stands(value, lines);
                assert!(key.line >= 1 && key.column >= 1);
            }
        }
        Value::Scalar(text, Style::Plain) if !text.is_empty() && !text.contains([' ', '\n']) => {
            let line = lines.get(node.line as usize - 1).copied().unwrap_or_default();
            let there: String = line.chars().skip(node.column as usize - 1).collect();
            assert!(there.starts_with(text.as_str()), "{text:?} at {}:{}: {there:?}", node.line, node.column);
        }
        Value::Scalar(..) => {}
    }
}

/// Any text compiles or has problems, each with a place; the same text, the same outcome.
pub fn compile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let texts = vec![Text { name: "fuzz".into(), text: text.into() }];
    let bundle = Bundle { texts, options: Options::default() };
    let (_, first) = weir_config::compile(&bundle);
    let (_, second) = weir_config::compile(&bundle);
    let said = |problems: &[weir_config::Problem]| {
        problems.iter().map(|problem| format!("{} {}", problem.place, problem.words)).collect::<Vec<_>>()
    };
    assert_eq!(said(&first), said(&second));
}
