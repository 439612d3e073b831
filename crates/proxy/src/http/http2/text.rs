//! Heads between their two forms: fields of HTTP/2, and the text of an HTTP/1.1 head.
//!
//! ```text
//!   client's request, upstream's response   fields ─► text ─► parsed strictly: the same code as for HTTP/1.1
//!   request upstream, response to client    text (edits applied) ─► fields
//! ```
//! What has no place in HTTP/2 (`connection`, `transfer-encoding`, …) is left out on the way to fields. Whatever text
//! is made here goes through the parser, so that no field can become a line of its own. Does not: decide.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use weir_wire::write::{self, decimal};
use weir_wire::{Malformed, Name};

/// Whether a message has more than its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rest {
    /// The head ends the stream.
    Nothing,
    Something,
}

/// Writes a client's request as the head of an HTTP/1.1 request.
///
/// # Errors
/// RFC 9113 section 8.2 and 8.3: it is malformed.
pub(crate) fn of_request(out: &mut Vec<u8>, head: &http::request::Parts, rest: Rest) -> Result<(), Malformed> {
    out.clear();
    let host = authority(head)?;
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    if head.method == Method::CONNECT {
        out.extend_from_slice(host);
    } else {
        let path = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
        if !(path.starts_with('/') || (path == "*" && head.method == Method::OPTIONS)) {
            return Err(Malformed::Target);
        }
        out.extend_from_slice(path.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write::field(out, b"host", host);
    fields(out, &head.headers, |name| name != http::header::HOST && name != http::header::COOKIE)?;
    cookies(out, &head.headers);
    if rest == Rest::Something && !head.headers.contains_key(http::header::CONTENT_LENGTH) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The one host: `:authority`, and a `host` that says the same (section 8.3.1).
fn authority(head: &http::request::Parts) -> Result<&[u8], Malformed> {
    if head.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(Malformed::Target);
    }
    let mut hosts = head.headers.get_all(http::header::HOST).iter().map(HeaderValue::as_bytes);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Malformed::Host);
    }
    match (head.uri.authority().map(|authority| authority.as_str().as_bytes()), host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => Err(Malformed::Host),
        (Some(authority), _) => Ok(authority),
        (None, Some(host)) => Ok(host),
        (None, None) => Err(Malformed::Host),
    }
}

fn fields(out: &mut Vec<u8>, map: &HeaderMap, keep: impl Fn(&HeaderName) -> bool) -> Result<(), Malformed> {
    for (name, value) in map.iter().filter(|(name, _)| keep(name)) {
        let value = value.as_bytes();
        // Section 8.2.1: no white space around a value.
        if value.first().is_some_and(is_space) || value.last().is_some_and(is_space) {
            return Err(Malformed::FieldValue);
        }
        write::field(out, name.as_str().as_bytes(), value);
    }
    Ok(())
}

const fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Crumbs become one field again (section 8.2.3).
fn cookies(out: &mut Vec<u8>, map: &HeaderMap) {
    let mut between: &[u8] = b"cookie: ";
    for crumb in map.get_all(http::header::COOKIE) {
        out.extend_from_slice(between);
        out.extend_from_slice(crumb.as_bytes());
        between = b"; ";
    }
    if between == b"; " {
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes an upstream's response as the head of an HTTP/1.1 response.
///
/// # Errors
/// A field that HTTP does not allow.
pub(crate) fn of_response(out: &mut Vec<u8>, head: &http::response::Parts) -> Result<(), Malformed> {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(head.status.as_u16()));
    out.extend_from_slice(b"\r\n");
    fields(out, &head.headers, |_| true)
}

/// Writes trailers as lines.
pub(crate) fn of_trailers(out: &mut Vec<u8>, map: &HeaderMap) -> Result<(), Malformed> {
    fields(out, map, |_| true)
}

/// The lines of a head or of trailers, as fields.
pub(crate) fn to_fields(mut lines: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(16);
    while let Some(end) = memchr::memchr(b'\n', lines) {
        let line = lines[..end].trim_ascii_end();
        lines = &lines[end + 1..];
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_of_http1(name, value) {
            // Neither can fail: both were parsed, or came with the configuration, which was checked.
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
    }
    map
}

/// Has it no place in HTTP/2 (section 8.2.2)?
fn is_of_http1(name: &[u8], value: &[u8]) -> bool {
    match Name::of(name) {
        Name::Connection
        | Name::KeepAlive
        | Name::ProxyConnection
        | Name::TransferEncoding
        | Name::Upgrade
        | Name::Http2Settings
        | Name::Host => true,
        Name::Te => value != b"trailers",
        _ => false,
    }
}

/// A text split behind the empty line of its head.
pub(crate) fn head_length(text: &[u8]) -> usize {
    memchr::memmem::find(text, b"\r\n\r\n").map_or(text.len(), |end| end + 4)
}

/// The head of a response that we wrote, as HTTP/2 has it.
pub(crate) fn to_response(text: &[u8]) -> Response<()> {
    let mut response = Response::new(());
    let line = memchr::memchr(b'\n', text).map_or(text.len(), |end| end + 1);
    let digits = text.get(9..12).unwrap_or_default();
    *response.status_mut() = StatusCode::from_bytes(digits).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = to_fields(&text[line..]);
    response
}

/// The head of a request that we wrote, as HTTP/2 has it; `None` when its target has no form there.
pub(crate) fn to_request(text: &[u8]) -> Option<Request<()>> {
    let line = memchr::memchr(b'\n', text)?;
    let mut words = text[..line].split(|byte| *byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let host = text[line + 1..].strip_prefix(b"host: ")?;
    let host = &host[..memchr::memchr(b'\r', host)?];
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(Authority::try_from(host).ok()?);
    uri.path_and_query = Some(path(target)?);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = to_fields(&text[line + 1..]);
    Some(request)
}

/// A target may hold marks that the http crate does not take: they are percent-encoded.
fn path(target: &[u8]) -> Option<PathAndQuery> {
    if let Ok(path) = PathAndQuery::try_from(target) {
        return Some(path);
    }
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for byte in target {
        if byte.is_ascii_alphanumeric() || b"/?%-._~!$&'()*+,;=:@[]|".contains(byte) {
            encoded.push(*byte);
        } else {
            encoded.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    PathAndQuery::try_from(encoded.as_slice()).ok()
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, fields: &[(&'static str, &'static str)]) -> http::request::Parts {
        let mut request = Request::builder().method("POST").uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn text(uri: &str, fields: &[(&'static str, &'static str)], rest: Rest) -> Result<String, Malformed> {
        let mut out = Vec::new();
        of_request(&mut out, &request(uri, fields), rest)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_request_becomes_text() {
        let crumbs = [("cookie", "a=1"), ("x-b", "c"), ("cookie", "d=2")];
        let written = text("http://app.test/p?q=1", &crumbs, Rest::Something);
        let expected = "POST /p?q=1 HTTP/1.1\r\nhost: app.test\r\nx-b: c\r\ncookie: a=1; d=2\r\n\
                        transfer-encoding: chunked\r\n\r\n";
        assert_eq!(written.as_deref(), Ok(expected));
        let written = text("http://app.test/", &[("content-length", "3")], Rest::Something);
        assert_eq!(written.as_deref(), Ok("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\n"));
    }

    #[test]
    fn two_hosts_that_differ_are_refused() {
        assert_eq!(text("http://a.test/", &[("host", "b.test")], Rest::Nothing), Err(Malformed::Host));
        assert_eq!(text("/", &[("host", "a.test"), ("host", "a.test")], Rest::Nothing), Err(Malformed::Host));
        assert_eq!(text("/", &[], Rest::Nothing), Err(Malformed::Host));
        assert!(text("http://a.test/", &[("host", "A.test")], Rest::Nothing).is_ok());
        assert_eq!(text("http://a.test/", &[("x", " y")], Rest::Nothing), Err(Malformed::FieldValue));
        assert_eq!(text("ftp://a.test/", &[], Rest::Nothing), Err(Malformed::Target));
    }

    #[test]
    fn what_is_of_http1_ends_here() {
        let fields = to_fields(b"Connection: close\r\nTE: gzip\r\nX-A:  b \r\ntransfer-encoding: chunked\r\n\r\n");
        assert_eq!(fields.len(), 1);
        assert_eq!(fields.get("x-a").map(HeaderValue::as_bytes), Some(&b"b"[..]));
        let head = to_request(b"GET /a`b?c HTTP/1.1\r\nhost: app.test:80\r\nte: trailers\r\n\r\n").expect("a request");
        assert_eq!(head.uri().to_string(), "http://app.test:80/a%60b?c");
        assert_eq!(head.headers().len(), 1);
        assert_eq!(to_response(b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n").status(), 204);
    }
}
