//! A request before it is routed: what was found out about it.
//!
//! Does not: decide where it goes.

use super::headers::Persistence;
use super::serve::Client;
use crate::mesh::{Door, Live};
use crate::record::Record;
use crate::worker::{Lease, Worker};
use std::rc::Rc;
use weir_policy::filter::Passage;
use weir_policy::route::{self, Facts, Headers, Table};
use weir_policy::time::Time;
use weir_wire::{Field, Framing, Name, RequestHead, Target as Form, Version};

/// The header fields of a request, for routes.
pub(crate) struct Fields<'a> {
    pub(crate) fields: &'a [Field],
    pub(crate) buf: &'a [u8],
}

impl Headers for Fields<'_> {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        for field in self.fields {
            if field.name.of(self.buf).eq_ignore_ascii_case(name.as_bytes()) {
                see(field.value.of(self.buf));
            }
        }
    }
}

/// A request with all that was found out about it before it is routed.
pub(crate) struct Inquiry<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) live: &'a Lease,
    pub(crate) request: &'a RequestHead,
    pub(crate) buf: &'a [u8],
    pub(crate) facts: Facts<'a>,
    pub(crate) request_id: &'a [u8],
    pub(crate) record: Record<'a>,
    pub(crate) persistence: Persistence,
    pub(crate) passage: Passage<'a>,
    /// Of its rule and of its destination, as far as they are known.
    pub(crate) edits: [Option<&'a route::HeaderEdits>; 2],
    /// What of its body is still to be read; `Framing::None` when all is here.
    pub(crate) to_come: Framing,
    /// When its filters let it pass: timeouts count from here.
    pub(crate) admitted: Time,
}

/// Path, query and authority by the form of the target (RFC 9112 section 3.2).
pub(crate) fn parts<'a>(
    form: &Form<'a>,
    request: &RequestHead,
    buf: &'a [u8],
) -> (&'a [u8], Option<&'a [u8]>, &'a [u8]) {
    let host: &[u8] = request.host.map_or(b"", |host| host.of(buf));
    match *form {
        Form::Origin { path, query } => (path, query, host),
        Form::Absolute { authority, path, query, .. } => (if path.is_empty() { b"/" } else { path }, query, authority),
        Form::Authority(authority) => (b"/", None, authority),
        Form::Asterisk => (b"*", None, host),
    }
}

/// The scheme that the target has, or that the proxy before us saw; ours at the edge.
pub(crate) fn scheme(form: &Form<'_>, client: &Client, fields: &Fields<'_>) -> &'static [u8] {
    let known = |scheme: &[u8]| match scheme {
        _ if scheme.eq_ignore_ascii_case(b"https") => Some(&b"https"[..]),
        _ if scheme.eq_ignore_ascii_case(b"http") => Some(&b"http"[..]),
        _ => None,
    };
    let target = if let Form::Absolute { scheme, .. } = form { known(scheme) } else { None };
    let told = || {
        let mut told = fields.fields.iter().filter(|field| field.id == Name::XForwardedProto);
        told.next().filter(|_| client.door == Door::Outbound).and_then(|field| known(field.value.of(fields.buf)))
    };
    target.or_else(told).unwrap_or(client.scheme().as_bytes())
}

pub(crate) fn table(live: &Live, door: Door) -> Option<&Table> {
    match door {
        Door::Outbound | Door::Service { .. } => Some(&live.plan.outbound),
        Door::Gateway { port } => {
            live.plan.gateways.iter().find(|gateway| gateway.port == port).map(|found| &found.table)
        }
    }
}

pub(crate) fn door_port(door: Door, authority: &[u8]) -> u16 {
    match door {
        Door::Gateway { port } => port,
        Door::Outbound | Door::Service { .. } => {
            let digits = authority.rsplit(|byte| *byte == b':').next().filter(|digits| digits.len() < authority.len());
            digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(80)
        }
    }
}

pub(crate) fn persistence(worker: &Worker, request: &RequestHead) -> Persistence {
    match request.version {
        _ if worker.mesh.is_leaving() || request.connection.close => Persistence::Close,
        Version::Http11 | Version::Http2 => Persistence::Keep,
        Version::Http10 if request.connection.keep_alive => Persistence::KeepOld,
        Version::Http10 => Persistence::Close,
    }
}

/// A body that is here as a whole is dropped, so that the connection can go on behind an answer of ours.
pub(crate) fn skip(framing: Framing, rest: &mut crate::buffer::Buf) -> Framing {
    match framing {
        Framing::Length(length) if rest.unread().len() as u64 >= length => {
            rest.consume(usize::try_from(length).unwrap_or(usize::MAX));
            Framing::None
        }
        framing => framing,
    }
}
