//! Message heads: parsed in one pass into spans, or refused.
//!
//! ```text
//!   [CRLF] method SP target SP HTTP/1.x CRLF  (name ":" OWS value OWS CRLF)*  CRLF      request
//!          HTTP/1.x SP status [SP reason] CRLF  ( … )*  CRLF                            response
//! ```
//! A head that arrives byte by byte costs no more than one that arrives at once: while it is incomplete only the new
//! bytes are looked at. Does not: copy a byte.

use crate::facts::Facts;
use crate::field::{Field, Name, Names};
use crate::malformed::Malformed;
use crate::scan;
use crate::span::Span;
use crate::target::valid_host;

/// Bounds of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes, start line and empty line included.
    pub head: usize,
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 60 * 1024, fields: 100 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// More bytes are needed.
    Partial,
    Complete,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    /// Never parsed: a head that came in frames is written as one of HTTP/1.1 first, and marked by who did so.
    Http2,
}

/// How the body is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Framing {
    #[default]
    None,
    Length(u64),
    Chunked,
    /// Responses only.
    UntilClose,
}

/// What `Connection` said.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Connection {
    pub close: bool,
    pub keep_alive: bool,
    /// It names fields, so it must be looked at to drop them.
    pub names: bool,
}

/// A request's head. Reused: parsing clears it and keeps its storage.
#[derive(Clone, Default, Debug)]
pub struct RequestHead {
    pub method: Span,
    pub target: Span,
    pub version: Version,
    pub fields: Vec<Field>,
    /// The names of `fields`.
    pub names: Names,
    /// One of them has an underscore.
    pub underscored: bool,
    /// Bytes of the head.
    pub len: usize,
    pub framing: Framing,
    pub connection: Connection,
    /// The value of the one `Host`.
    pub host: Option<Span>,
    resume: usize,
}

/// A response's head. Reused like [`RequestHead`].
#[derive(Clone, Default, Debug)]
pub struct ResponseHead {
    pub status: u16,
    pub reason: Span,
    pub version: Version,
    pub fields: Vec<Field>,
    /// The names of `fields`.
    pub names: Names,
    pub len: usize,
    pub framing: Framing,
    pub connection: Connection,
    resume: usize,
}

/// What a response answers, as far as its body depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    Head,
    Connect,
    Other,
}

impl RequestHead {
    /// The first field of this name.
    pub fn field(&self, name: Name) -> Option<&Field> {
        if self.names.has(name) { self.fields.iter().find(|field| field.id == name) } else { None }
    }

    /// The next bytes are of another head.
    pub const fn restart(&mut self) {
        self.resume = 0;
    }
}

impl ResponseHead {
    /// The next bytes are of another head.
    pub const fn restart(&mut self) {
        self.resume = 0;
    }

    /// May the connection carry another exchange, as far as this head says?
    pub const fn keeps_alive(&self) -> bool {
        match self.version {
            Version::Http11 | Version::Http2 => !self.connection.close,
            Version::Http10 => self.connection.keep_alive && !self.connection.close,
        }
    }
}

/// Parses a request's head from the front of `buf`.
///
/// # Errors
/// What [`Malformed`] names; the answer's status is [`Malformed::status`].
pub fn parse_request(buf: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Parsed, Malformed> {
    if is_waiting(buf, &mut head.resume, limits)? {
        return Ok(Parsed::Partial);
    }
    let mut cursor = Cursor { buf, at: 0, limit: limits.head };
    let fields = std::mem::take(&mut head.fields);
    *head = RequestHead { fields, resume: head.resume, ..RequestHead::default() };
    let outcome = request(&mut cursor, limits, head);
    finish(outcome, buf, limits, &mut head.resume)
}

/// Parses a response's head from the front of `buf`.
///
/// # Errors
/// What [`Malformed`] names: the upstream does not speak HTTP.
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    request: RequestKind,
    head: &mut ResponseHead,
) -> Result<Parsed, Malformed> {
    if is_waiting(buf, &mut head.resume, limits)? {
        return Ok(Parsed::Partial);
    }
    let mut cursor = Cursor { buf, at: 0, limit: limits.head };
    let fields = std::mem::take(&mut head.fields);
    *head = ResponseHead { fields, resume: head.resume, ..ResponseHead::default() };
    let outcome = response(&mut cursor, limits, request, head);
    finish(outcome, buf, limits, &mut head.resume)
}

/// An incomplete head is parsed again only when its empty line has come. Looks at new bytes alone.
fn is_waiting(buf: &[u8], resume: &mut usize, limits: &Limits) -> Result<bool, Malformed> {
    if *resume == 0 {
        return Ok(false);
    }
    let from = resume.saturating_sub(3).min(buf.len());
    if memchr::memmem::find(&buf[from..], b"\r\n\r\n").is_some() {
        return Ok(false);
    }
    for at in memchr::memchr_iter(b'\n', &buf[from..]) {
        if from + at == 0 || buf[from + at - 1] != b'\r' {
            return Err(Malformed::LineEnd);
        }
    }
    if buf.len() > limits.head {
        return Err(Malformed::TooLarge);
    }
    *resume = buf.len();
    Ok(true)
}

/// Why a parse stopped.
enum Stop {
    /// At the end of the bytes.
    Short,
    Bad(Malformed),
}

impl From<Malformed> for Stop {
    fn from(why: Malformed) -> Self {
        Self::Bad(why)
    }
}

fn finish(outcome: Result<(), Stop>, buf: &[u8], limits: &Limits, resume: &mut usize) -> Result<Parsed, Malformed> {
    match outcome {
        Ok(()) => Ok(Parsed::Complete),
        Err(Stop::Bad(why)) => Err(why),
        Err(Stop::Short) if buf.len() > limits.head => Err(Malformed::TooLarge),
        Err(Stop::Short) => {
            *resume = buf.len();
            Ok(Parsed::Partial)
        }
    }
}

struct Cursor<'a> {
    buf: &'a [u8],
    at: usize,
    limit: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.buf[self.at..]
    }

    /// Passes a CRLF; `wrong` when something else stands there.
    fn crlf(&mut self, wrong: Malformed) -> Result<(), Stop> {
        match self.rest() {
            [b'\r', b'\n', ..] => {
                self.at += 2;
                if self.at > self.limit { Err(Malformed::TooLarge.into()) } else { Ok(()) }
            }
            [] | [b'\r'] => Err(Stop::Short),
            [b'\r' | b'\n', ..] => Err(Malformed::LineEnd.into()),
            _ => Err(wrong.into()),
        }
    }

    fn version(&mut self) -> Result<Version, Stop> {
        let bytes = self.rest();
        let known = bytes.len().min(7);
        if bytes[..known] != b"HTTP/1."[..known] {
            // Another well-formed version is answered as such.
            let other = bytes.len() >= 8
                && bytes.starts_with(b"HTTP/")
                && bytes[5].is_ascii_digit()
                && bytes[6] == b'.'
                && bytes[7].is_ascii_digit();
            let short = bytes.len() < 8 && b"HTTP/".starts_with(&bytes[..bytes.len().min(5)]);
            return Err(match (other, short) {
                (true, _) => Malformed::VersionUnknown.into(),
                (_, true) => Stop::Short,
                _ => Malformed::Version.into(),
            });
        }
        let version = match bytes.get(7) {
            None => return Err(Stop::Short),
            Some(b'1') => Version::Http11,
            Some(b'0') => Version::Http10,
            Some(b'2'..=b'9') => return Err(Malformed::VersionUnknown.into()),
            Some(_) => return Err(Malformed::Version.into()),
        };
        self.at += 8;
        Ok(version)
    }

    /// Passes all field lines and the empty line.
    fn fields(&mut self, limits: &Limits, fields: &mut Vec<Field>) -> Result<Facts, Stop> {
        fields.clear();
        let mut facts = Facts::default();
        loop {
            let (start, line) = (self.at, self.rest());
            if let [b'\r', ..] = line {
                return self.crlf(Malformed::LineEnd).map(|()| facts);
            }
            let colon = scan::colon(line).ok_or_else(|| misnamed(line))?;
            let id = Name::of(&line[..colon]);
            if !id.is_exact() {
                let token = scan::token(&line[..colon]);
                if token.length < colon || colon == 0 {
                    return Err(misnamed(line));
                }
                facts.underscored |= token.underscored;
            }
            let behind = &line[colon + 1..];
            let Some(length) = scan::value_end(behind) else { return Err(Stop::Short) };
            if !matches!(behind[length], b'\r' | b'\n') {
                return Err(Malformed::FieldValue.into());
            }
            let field = Field::new(Span::new(start, start + colon), id, &behind[..length]);
            self.at = start + colon + 1 + length;
            self.crlf(Malformed::LineEnd)?;
            if fields.len() >= limits.fields {
                return Err(Malformed::TooManyFields.into());
            }
            facts.see(&field, self.buf);
            fields.push(field);
        }
    }
}

/// What is wrong with a line that does not begin with a name and a colon.
#[cold]
fn misnamed(line: &[u8]) -> Stop {
    match line.get(scan::token(line).length) {
        None => Stop::Short,
        Some(b' ' | b'\t') => Malformed::FieldSpace.into(),
        Some(b'\n') => Malformed::LineEnd.into(),
        Some(_) => Malformed::FieldName.into(),
    }
}

fn request(cursor: &mut Cursor<'_>, limits: &Limits, head: &mut RequestHead) -> Result<(), Stop> {
    // One empty line before a request is to be ignored (RFC 9112 section 2.2).
    match cursor.rest() {
        [b'\r', b'\n', ..] => cursor.at = 2,
        [b'\r'] => return Err(Stop::Short),
        _ => {}
    }
    let start = cursor.at;
    let length = scan::token(cursor.rest()).length;
    match cursor.rest().get(length) {
        None => return Err(Stop::Short),
        Some(b' ') if length > 0 => {}
        Some(_) => return Err(Malformed::Method.into()),
    }
    head.method = Span::new(start, start + length);
    cursor.at += length + 1;
    let start = cursor.at;
    let Some(length) = memchr::memchr3(b' ', b'\r', b'\n', cursor.rest()) else {
        return Err(if scan::is_target(cursor.rest()) { Stop::Short } else { Malformed::Target.into() });
    };
    let target = &cursor.rest()[..length];
    if cursor.rest()[length] != b' ' || !scan::is_target(target) || !is_form(target, head.method.of(cursor.buf)) {
        return Err(Malformed::Target.into());
    }
    head.target = Span::new(start, start + length);
    cursor.at += length + 1;
    head.version = cursor.version()?;
    cursor.crlf(Malformed::Version)?;
    let facts = cursor.fields(limits, &mut head.fields)?.sound()?;
    head.len = cursor.at;
    head.names = facts.names;
    head.underscored = facts.underscored;
    head.connection = facts.connection;
    head.framing = facts.request_framing(head.version)?;
    head.host = facts.host(head.version, cursor.buf)?;
    Ok(())
}

/// Does the form of the target suit the method (RFC 9112 section 3.2)?
fn is_form(target: &[u8], method: &[u8]) -> bool {
    if method == b"CONNECT" {
        return valid_host(target) && target.contains(&b':');
    }
    match target.first() {
        Some(b'/') => true,
        Some(b'*') => target.len() == 1 && method == b"OPTIONS",
        _ => ["http://", "https://"].iter().any(|scheme| {
            target.get(..scheme.len()).is_some_and(|front| front.eq_ignore_ascii_case(scheme.as_bytes())) && {
                let behind = &target[scheme.len()..];
                let end = behind.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(behind.len());
                valid_host(&behind[..end])
            }
        }),
    }
}

fn response(
    cursor: &mut Cursor<'_>,
    limits: &Limits,
    request: RequestKind,
    head: &mut ResponseHead,
) -> Result<(), Stop> {
    head.version = cursor.version().map_err(|stop| match stop {
        Stop::Bad(_) => Stop::Bad(Malformed::StatusLine),
        short => short,
    })?;
    let bytes = cursor.rest();
    head.status = match bytes {
        [b' ', a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ if bytes.len() < 4 => return Err(Stop::Short),
        _ => return Err(Malformed::StatusLine.into()),
    };
    cursor.at += 4;
    let start = match cursor.rest().first() {
        None => return Err(Stop::Short),
        Some(b' ') => cursor.at + 1,
        Some(b'\r' | b'\n') => cursor.at,
        Some(_) => return Err(Malformed::StatusLine.into()),
    };
    cursor.at = start;
    let Some(length) = memchr::memchr2(b'\r', b'\n', cursor.rest()) else { return Err(Stop::Short) };
    if !scan::is_value(&cursor.rest()[..length]) {
        return Err(Malformed::StatusLine.into());
    }
    head.reason = Span::new(start, start + length);
    cursor.at += length;
    cursor.crlf(Malformed::StatusLine)?;
    let facts = cursor.fields(limits, &mut head.fields)?.sound()?;
    head.len = cursor.at;
    head.names = facts.names;
    head.connection = facts.connection;
    head.framing = facts.response_framing(head.version, head.status, request)?;
    Ok(())
}
