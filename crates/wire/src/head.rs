//! Message heads: parsed in one pass into spans, or refused.
//!
//! ```text
//!   [CRLF] method SP target SP HTTP/1.x CRLF  (name ":" OWS value OWS CRLF)*  CRLF      request
//!          HTTP/1.x SP status [SP reason] CRLF  ( … )*  CRLF                            response
//! ```
//! A head that arrives byte by byte costs no more than one that arrives at once: while it is incomplete only the new
//! bytes are looked at. Does not: copy a byte.

use crate::field::{Field, Name};
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

impl Cursor<'_> {
    fn rest(&self) -> &[u8] {
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
    fn fields(&mut self, limits: &Limits, fields: &mut Vec<Field>) -> Result<(), Stop> {
        fields.clear();
        loop {
            match self.rest().first() {
                None => return Err(Stop::Short),
                Some(b'\r') => return self.crlf(Malformed::LineEnd),
                Some(_) => {}
            }
            let field = self.field()?;
            if fields.len() >= limits.fields {
                return Err(Malformed::TooManyFields.into());
            }
            fields.push(field);
        }
    }

    fn field(&mut self) -> Result<Field, Stop> {
        let start = self.at;
        let name_end = start + scan::token(self.rest());
        match self.buf.get(name_end) {
            None => return Err(Stop::Short),
            Some(b':') if name_end > start => {}
            Some(b' ' | b'\t') => return Err(Malformed::FieldSpace.into()),
            Some(b'\n') => return Err(Malformed::LineEnd.into()),
            Some(_) => return Err(Malformed::FieldName.into()),
        }
        self.at = name_end + 1;
        let Some(length) = memchr::memchr2(b'\r', b'\n', self.rest()) else {
            return Err(if scan::is_value(self.rest()) { Stop::Short } else { Malformed::FieldValue.into() });
        };
        let (mut from, mut to) = (self.at, self.at + length);
        if !scan::is_value(&self.buf[from..to]) {
            return Err(Malformed::FieldValue.into());
        }
        self.at = to;
        self.crlf(Malformed::LineEnd)?;
        while from < to && matches!(self.buf[from], b' ' | b'\t') {
            from += 1;
        }
        while from < to && matches!(self.buf[to - 1], b' ' | b'\t') {
            to -= 1;
        }
        let id = Name::of(&self.buf[start..name_end]);
        Ok(Field { name: Span::new(start, name_end), value: Span::new(from, to), id })
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
    let length = scan::token(cursor.rest());
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
    cursor.fields(limits, &mut head.fields)?;
    head.len = cursor.at;
    let facts = Facts::of(&head.fields, cursor.buf)?;
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
    cursor.fields(limits, &mut head.fields)?;
    head.len = cursor.at;
    let facts = Facts::of(&head.fields, cursor.buf)?;
    head.connection = facts.connection;
    head.framing = facts.response_framing(head.version, head.status, request)?;
    Ok(())
}

/// What the fields say about the message itself.
#[derive(Default)]
struct Facts {
    length: Option<u64>,
    /// `Transfer-Encoding`, when there is one.
    coding: Option<Result<(), Malformed>>,
    connection: Connection,
    hosts: u32,
    host: Span,
}

impl Facts {
    fn of(fields: &[Field], buf: &[u8]) -> Result<Self, Malformed> {
        let mut facts = Self::default();
        for field in fields {
            let value = field.value.of(buf);
            match field.id {
                Name::ContentLength => {
                    if facts.length.is_some() {
                        return Err(Malformed::ContentLength);
                    }
                    facts.length = Some(scan::number(value).ok_or(Malformed::ContentLength)?);
                }
                Name::TransferEncoding => {
                    facts.coding = Some(match facts.coding {
                        Some(_) => Err(Malformed::TransferEncoding),
                        None if value.eq_ignore_ascii_case(b"chunked") => Ok(()),
                        None => Err(Malformed::TransferCoding),
                    });
                }
                Name::Host => {
                    facts.hosts += 1;
                    facts.host = field.value;
                }
                Name::Connection => facts.connection.read(value),
                _ => {}
            }
        }
        Ok(facts)
    }

    /// RFC 9112 sections 6.1 and 6.3; both lengths in one request are refused, not chosen between.
    fn request_framing(&self, version: Version) -> Result<Framing, Malformed> {
        match (self.coding, self.length) {
            (None, None) => Ok(Framing::None),
            (None, Some(length)) => Ok(Framing::Length(length)),
            (Some(_), Some(_)) => Err(Malformed::TwoFramings),
            (Some(_), None) if version == Version::Http10 => Err(Malformed::TransferEncoding),
            (Some(coding), None) => coding.map(|()| Framing::Chunked),
        }
    }

    fn response_framing(&self, version: Version, status: u16, request: RequestKind) -> Result<Framing, Malformed> {
        if self.coding.is_some() && self.length.is_some() {
            return Err(Malformed::TwoFramings);
        }
        let bodiless = status < 200 || matches!(status, 204 | 304) || request == RequestKind::Head;
        let tunnel = request == RequestKind::Connect && (200..300).contains(&status);
        match (self.coding, self.length) {
            (Some(Err(why)), _) => Err(why),
            _ if bodiless || tunnel => Ok(Framing::None),
            (Some(Ok(())), _) if version == Version::Http10 => Err(Malformed::TransferEncoding),
            (Some(Ok(())), _) => Ok(Framing::Chunked),
            (None, Some(length)) => Ok(Framing::Length(length)),
            (None, None) => Ok(Framing::UntilClose),
        }
    }

    /// Exactly one valid `Host` in HTTP/1.1, at most one in 1.0 (RFC 9112 section 3.2).
    fn host(&self, version: Version, buf: &[u8]) -> Result<Option<Span>, Malformed> {
        match self.hosts {
            0 if version == Version::Http10 => Ok(None),
            1 if valid_host(self.host.of(buf)) => Ok(Some(self.host)),
            _ => Err(Malformed::Host),
        }
    }
}

impl Connection {
    fn read(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if !option.is_empty() {
                self.names = true;
            }
        }
    }
}
