//! Message bodies: which bytes of a buffer are data, which are framing, where the message ends.
//!
//! ```text
//!   Length(n)    n bytes ───────────────────────────────────────► done
//!   Chunked      Size ─► Data ─► DataEnd ─► Size … 0 ─► Trailers ─► done
//!   UntilClose   every byte, until the connection ends ─────────► done
//! ```
//! Chunk extensions are read over, within a bound. Does not: copy.

use crate::field::{Field, Name};
use crate::head::Framing;
use crate::malformed::Malformed;
use crate::scan;
use crate::span::Span;

/// Bytes of chunk-size lines beyond the sizes themselves, in one message.
const EXTENSIONS: u32 = 16 * 1024;
/// One chunk-size line.
const SIZE_LINE: usize = 1024;
/// All trailer fields.
const TRAILERS: usize = 8 * 1024;
const TRAILER_FIELDS: usize = 64;

/// What [`Body::next`] found at the front of the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing can be said before more bytes come.
    More,
    /// Framing only: drop `consumed` bytes.
    Skip { consumed: usize },
    /// `start..end` is data; then drop `consumed` bytes.
    Data { start: usize, end: usize, consumed: usize },
    /// The message is over; the trailer section, if there is one, is the span (final CRLF excluded).
    End { consumed: usize, trailers: Option<Span> },
}

/// A body under way.
#[derive(Clone, Debug)]
pub struct Body {
    state: State,
    /// Bytes of extensions seen.
    extensions: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Length(u64),
    UntilClose,
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

impl Body {
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, extensions: 0 }
    }

    /// Has all of it been seen?
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The connection ended.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], unless the end of the connection is the end of the body.
    pub const fn at_eof(&mut self) -> Result<(), Malformed> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Malformed::Truncated),
        }
    }

    /// Looks at the unread bytes.
    ///
    /// # Errors
    /// A violation of RFC 9112 section 7.1, or of a bound.
    pub fn next(&mut self, buf: &[u8]) -> Result<Step, Malformed> {
        match self.state {
            State::Done => Ok(Step::More),
            _ if buf.is_empty() => Ok(Step::More),
            State::UntilClose => Ok(Step::Data { start: 0, end: buf.len(), consumed: buf.len() }),
            State::Length(left) => {
                let count = take(left, buf);
                self.state = if count as u64 == left { State::Done } else { State::Length(left - count as u64) };
                Ok(Step::Data { start: 0, end: count, consumed: count })
            }
            State::Size => self.size(buf),
            State::Data(left) => Ok(self.data(left, buf, 0)),
            State::DataEnd => self.data_end(buf),
            State::Trailers => self.trailers(buf),
        }
    }

    fn data(&mut self, left: u64, buf: &[u8], start: usize) -> Step {
        let count = take(left, &buf[start..]);
        let end = start + count;
        self.state = State::Data(left - count as u64);
        if count as u64 == left {
            self.state = State::DataEnd;
            // The line end is usually here too: saves a step.
            if buf[end..].starts_with(b"\r\n") {
                self.state = State::Size;
                return Step::Data { start, end, consumed: end + 2 };
            }
        }
        Step::Data { start, end, consumed: end }
    }

    fn data_end(&mut self, buf: &[u8]) -> Result<Step, Malformed> {
        match buf {
            [b'\r', b'\n', ..] => {
                self.state = State::Size;
                Ok(Step::Skip { consumed: 2 })
            }
            [b'\r'] => Ok(Step::More),
            _ => Err(Malformed::ChunkEnd),
        }
    }

    /// `chunk-size [ chunk-ext ] CRLF`: hex digits only, no sign, no white space before the extension.
    fn size(&mut self, buf: &[u8]) -> Result<Step, Malformed> {
        let digits = buf.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 16 {
            return Err(Malformed::ChunkSize);
        }
        let Some(mark) = buf.get(digits) else { return Ok(Step::More) };
        if digits == 0 || !matches!(mark, b'\r' | b';') {
            return Err(Malformed::ChunkSize);
        }
        let Some(length) = memchr::memchr2(b'\r', b'\n', &buf[digits..]) else {
            let bad = buf.len() > SIZE_LINE || !scan::is_value(&buf[digits..]);
            return if bad { Err(Malformed::ChunkExtension) } else { Ok(Step::More) };
        };
        let end = digits + length;
        if buf[end] == b'\n' || end > SIZE_LINE || !scan::is_value(&buf[digits..end]) {
            return Err(Malformed::ChunkExtension);
        }
        match buf.get(end + 1) {
            None => return Ok(Step::More),
            Some(b'\n') => {}
            Some(_) => return Err(Malformed::ChunkSize),
        }
        self.extensions = self.extensions.saturating_add(length as u32);
        if self.extensions > EXTENSIONS {
            return Err(Malformed::ChunkExtension);
        }
        let size = buf[..digits].iter().fold(0u64, |sum, byte| (sum << 4) | u64::from(hex(*byte)));
        let consumed = end + 2;
        if size == 0 {
            self.state = State::Trailers;
            return self.trailers_behind(buf, consumed);
        }
        self.state = State::Data(size);
        if consumed == buf.len() { Ok(Step::Skip { consumed }) } else { Ok(self.data(size, buf, consumed)) }
    }

    /// Most messages end right behind the last chunk.
    fn trailers_behind(&mut self, buf: &[u8], consumed: usize) -> Result<Step, Malformed> {
        if buf[consumed..].starts_with(b"\r\n") {
            self.state = State::Done;
            return Ok(Step::End { consumed: consumed + 2, trailers: None });
        }
        Ok(Step::Skip { consumed })
    }

    fn trailers(&mut self, buf: &[u8]) -> Result<Step, Malformed> {
        if buf.starts_with(b"\r\n") {
            self.state = State::Done;
            return Ok(Step::End { consumed: 2, trailers: None });
        }
        match memchr::memmem::find(buf, b"\r\n\r\n") {
            Some(end) if end + 4 <= TRAILERS => {
                parse_trailers(&buf[..end + 2])?;
                self.state = State::Done;
                Ok(Step::End { consumed: end + 4, trailers: Some(Span::new(0, end + 2)) })
            }
            None if buf.len() < TRAILERS && !has_bare_line_end(buf) => Ok(Step::More),
            _ => Err(Malformed::Trailers),
        }
    }
}

fn has_bare_line_end(buf: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', buf).any(|at| at == 0 || buf[at - 1] != b'\r')
}

fn take(left: u64, buf: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(buf.len())
}

const fn hex(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte - b'A' + 10,
    }
}

/// The fields of a trailer section: lines that each end with CRLF.
///
/// # Errors
/// What is not a field line, or too many of them.
pub fn parse_trailers(block: &[u8]) -> Result<Vec<Field>, Malformed> {
    let mut fields = Vec::new();
    let mut at = 0;
    while at < block.len() {
        let line_end = memchr::memmem::find(&block[at..], b"\r\n").ok_or(Malformed::Trailers)? + at;
        let line = &block[at..line_end];
        let colon = scan::token(line).length;
        if colon == 0 || line.get(colon) != Some(&b':') || !scan::is_value(&line[colon + 1..]) {
            return Err(Malformed::Trailers);
        }
        if fields.len() >= TRAILER_FIELDS {
            return Err(Malformed::Trailers);
        }
        fields.push(Field::new(Span::new(at, at + colon), Name::of(&line[..colon]), &line[colon + 1..]));
        at = line_end + 2;
    }
    Ok(fields)
}

/// May a trailer be passed on? Not those that frame, route or authorise the message (RFC 9110 section 6.5.1).
pub const fn is_forwardable_trailer(name: Name) -> bool {
    use Name::*;
    !matches!(
        name,
        ContentLength
            | TransferEncoding
            | Host
            | Connection
            | KeepAlive
            | ProxyConnection
            | Te
            | Trailer
            | Upgrade
            | Expect
            | Http2Settings
            | Authorization
            | ProxyAuthorization
            | ProxyAuthenticate
            | Cookie
            | SetCookie
            | CacheControl
            | ContentType
            | ContentEncoding
            | ContentRange
            | XForwardedFor
            | XForwardedProto
            | XForwardedHost
            | XForwardedPort
            | Forwarded
            | XRequestId
            | IdempotencyKey
            | XEnvoyOther
            | XEnvoyAttemptCount
            | XEnvoyExpectedRqTimeoutMs
            | XEnvoyInternal
            | XEnvoyExternalAddress
            | XWeir
            | RetryAfter
            | Date
    )
}
