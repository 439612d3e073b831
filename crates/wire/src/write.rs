//! Heads and framing on their way out, appended to a buffer.
//!
//! Does not: send.

use crate::body::{is_forwardable_trailer, parse_trailers};
use crate::field::{Field, Form};
use crate::malformed::Malformed;

/// Appends `name: value CRLF`.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a field with a number as its value.
pub fn number_field(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
pub fn decimal(out: &mut Vec<u8>, mut value: u64) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the fields that `keep` keeps. Neighbours that are written as we would write them are copied in one run.
pub fn fields(out: &mut Vec<u8>, buf: &[u8], fields: &[Field], mut keep: impl FnMut(&Field) -> bool) {
    // What waits to be copied.
    let (mut from, mut to) = (0, 0);
    for one in fields {
        if !keep(one) {
            continue;
        }
        let start = one.name.start as usize;
        if one.form == Form::Ours && to == start {
            to = one.value.end as usize + 2;
            continue;
        }
        out.extend_from_slice(buf.get(from..to).unwrap_or_default());
        (from, to) = (start, start);
        match one.form {
            Form::Ours => to = one.value.end as usize + 2,
            Form::Theirs => field(out, one.name.of(buf), one.value.of(buf)),
        }
    }
    out.extend_from_slice(buf.get(from..to).unwrap_or_default());
}

/// Appends one chunk; nothing for no data, which would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let mut digits = [0u8; 16];
    let (mut at, mut size) = (digits.len(), data.len());
    while size > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[size & 15];
        size >>= 4;
    }
    out.reserve(data.len() + 20);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body; `trailers` are encoded lines.
pub fn last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

/// Appends those trailers of a received section that may be passed on.
///
/// # Errors
/// The section is not made of field lines.
pub fn trailers(out: &mut Vec<u8>, block: &[u8]) -> Result<(), Malformed> {
    for one in parse_trailers(block)? {
        if is_forwardable_trailer(one.id) {
            field(out, one.name.of(block), one.value.of(block));
        }
    }
    Ok(())
}

/// Appends `HTTP/1.1 status reason CRLF`.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The standard reason phrase (RFC 9110 section 15); empty for an unknown status.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_chunks() {
        let mut out = Vec::new();
        for value in [0, 9, 10, 12_345, u64::MAX] {
            decimal(&mut out, value);
            out.push(b' ');
        }
        assert_eq!(out, b"0 9 10 12345 18446744073709551615 ");
        out.clear();
        chunk(&mut out, &[b'x'; 26]);
        assert!(out.starts_with(b"1a\r\nxxx"));
        chunk(&mut out, b"");
        assert!(out.ends_with(b"x\r\n"), "an empty chunk would end the body");
    }
}
