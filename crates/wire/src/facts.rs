//! What the fields of a head say about the message itself: its framing, its connection, its host.
//!
//! Does not: parse lines (`head` does).

use crate::field::{Field, Name, Names};
use crate::head::{Connection, Framing, RequestKind, Version};
use crate::malformed::Malformed;
use crate::scan;
use crate::span::Span;
use crate::target::valid_host;

/// See the module. Gathered field by field.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) names: Names,
    /// A name has an underscore.
    pub(crate) underscored: bool,
    pub(crate) connection: Connection,
    length: Option<u64>,
    /// `Transfer-Encoding`, when there is one.
    coding: Option<Result<(), Malformed>>,
    hosts: u32,
    host: Span,
    /// The first thing that is wrong: told when the head is complete, after what is wrong with its lines.
    wrong: Option<Malformed>,
}

impl Facts {
    /// The next field.
    pub(crate) fn see(&mut self, field: &Field, buf: &[u8]) {
        self.names.add(field.id);
        match field.id {
            Name::ContentLength => match (self.length, scan::number(field.value.of(buf))) {
                (None, Some(length)) => self.length = Some(length),
                _ => self.wrong = self.wrong.or(Some(Malformed::ContentLength)),
            },
            Name::TransferEncoding => {
                self.coding = Some(match self.coding {
                    Some(_) => Err(Malformed::TransferEncoding),
                    None if field.value.of(buf).eq_ignore_ascii_case(b"chunked") => Ok(()),
                    None => Err(Malformed::TransferCoding),
                });
            }
            Name::Host => {
                self.hosts += 1;
                self.host = field.value;
            }
            Name::Connection => self.connection.read(field.value.of(buf)),
            _ => {}
        }
    }

    /// All fields were seen.
    pub(crate) fn sound(self) -> Result<Self, Malformed> {
        self.wrong.map_or(Ok(self), Err)
    }

    /// RFC 9112 sections 6.1 and 6.3; both lengths in one request are refused, not chosen between.
    pub(crate) fn request_framing(&self, version: Version) -> Result<Framing, Malformed> {
        match (self.coding, self.length) {
            (None, None) => Ok(Framing::None),
            (None, Some(length)) => Ok(Framing::Length(length)),
            (Some(_), Some(_)) => Err(Malformed::TwoFramings),
            (Some(_), None) if version == Version::Http10 => Err(Malformed::TransferEncoding),
            (Some(coding), None) => coding.map(|()| Framing::Chunked),
        }
    }

    pub(crate) fn response_framing(
        &self,
        version: Version,
        status: u16,
        request: RequestKind,
    ) -> Result<Framing, Malformed> {
        if self.coding.is_some() && self.length.is_some() {
            return Err(Malformed::TwoFramings);
        }
        // RFC 9110 section 15.3.5: it has no content, so one that says it has is not what it seems.
        if status == 204 && self.coding.is_some() {
            return Err(Malformed::TransferEncoding);
        }
        if status == 204 && self.length.is_some_and(|length| length > 0) {
            return Err(Malformed::ContentLength);
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
    pub(crate) fn host(&self, version: Version, buf: &[u8]) -> Result<Option<Span>, Malformed> {
        match self.hosts {
            0 if version == Version::Http10 => Ok(None),
            0 => Err(Malformed::NoHost),
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
