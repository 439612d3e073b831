//! What the variables of header operations stand for, in one request (`weir_policy::format`).
//!
//! ```text
//!   operations of a request   see it as the client sent it, and what a destination among several changed before
//!   operations of a response  see the request as it went up, and the response as it came
//! ```
//! Looked at only for operations that have variables. Does not: parse them.

use super::headers::{Ask, Several};
use super::line::Line;
use crate::record::Record;
use crate::worker::Worker;
use std::borrow::Cow;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;
use weir_policy::flag::Flags;
use weir_policy::format::{Address, Form, Length, Names, Variable, View};
use weir_policy::route::{Edits, Facts};
use weir_policy::time::Time;
use weir_wire::{Field, RequestHead, ResponseHead, Version, write};

/// One request, as far as variables ask for it.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) record: &'a Record<'a>,
    /// The client's.
    pub(crate) line: &'a Line,
    pub(crate) seen: Seen<'a>,
    pub(crate) reply: Reply<'a>,
    /// What the upstream is spoken to in, once it answered.
    pub(crate) speaks: Option<Version>,
    /// When the request had been received as a whole.
    pub(crate) received: Option<Time>,
    pub(crate) attempts: u32,
}

/// The request's head.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) request: &'a RequestHead,
    pub(crate) buf: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) query: Option<&'a [u8]>,
    pub(crate) authority: &'a [u8],
    pub(crate) original_path: Option<&'a [u8]>,
    pub(crate) request_id: &'a [u8],
    /// What was done to its fields before.
    pub(crate) over: [Option<&'a Edits>; 2],
}

/// The answer that is on its way.
#[derive(Clone, Copy)]
pub(crate) enum Reply<'a> {
    None,
    Upstream {
        head: &'a ResponseHead,
        buf: &'a [u8],
    },
    /// Our own.
    Own {
        location: Option<&'a [u8]>,
    },
}

impl<'a> Seen<'a> {
    /// As it was routed.
    pub(crate) const fn routed(
        facts: &Facts<'a>,
        request: &'a RequestHead,
        buf: &'a [u8],
        request_id: &'a [u8],
    ) -> Self {
        let Facts { path, query, authority, .. } = *facts;
        Self { request, buf, path, query, authority, original_path: None, request_id, over: [None, None] }
    }

    /// As it went up.
    pub(crate) const fn sent(ask: &Ask<'a>) -> Self {
        let Ask { request, buf, path, query, authority, original_path, request_id, edits, .. } = *ask;
        let over = [Some(edits[0]), Some(edits[1])];
        Self { request, buf, path, query, authority, original_path, request_id, over }
    }
}

/// A request's edits: of its rule and its destination in their order. What a destination among several does is seen by
/// its rule; else both see what the client sent. `values` is asked for only when there are variables.
pub(crate) fn of_request<'e, 'v>(
    edits: [&'e Edits; 2],
    several: Several,
    values: impl FnOnce() -> Values<'v>,
) -> [Cow<'e, Edits>; 2] {
    if edits.iter().all(|edits| edits.is_literal()) {
        return edits.map(Cow::Borrowed);
    }
    let values = values();
    let first = edits[0].resolve(&values);
    let second = match several {
        Several::No => edits[1].resolve(&values),
        Several::Yes => {
            let seen = Seen { over: [Some(&*first), None], ..values.seen };
            Cow::Owned(edits[1].resolve(&Values { seen, ..values }).into_owned())
        }
    };
    [first, second]
}

/// A response's edits.
pub(crate) fn of_response<'e, 'v>(edits: [&'e Edits; 2], values: impl FnOnce() -> Values<'v>) -> [Cow<'e, Edits>; 2] {
    if edits.iter().all(|edits| edits.is_literal()) {
        return edits.map(Cow::Borrowed);
    }
    let values = values();
    edits.map(|edits| edits.resolve(&values))
}

impl Values<'_> {
    fn request_field(&self, name: &str, out: &mut Vec<u8>) -> Found {
        let Seen { request, buf, over, query, .. } = self.seen;
        let pseudo = match name {
            ":path" => Some(self.seen.path),
            ":method" => Some(request.method.of(buf)),
            ":authority" | "host" => Some(self.seen.authority),
            ":scheme" => Some(&b"http"[..]),
            "x-request-id" => Some(self.seen.request_id),
            "x-envoy-original-path" if self.seen.original_path.is_some() => self.seen.original_path,
            _ => None,
        };
        if let Some(value) = pseudo {
            out.extend_from_slice(value);
            if let (":path", Some(query)) = (name, query) {
                out.push(b'?');
                out.extend_from_slice(query);
            }
            return Found::of(!value.is_empty());
        }
        for edits in over.iter().rev().flatten() {
            if let Some((_, value)) = edits.set.iter().find(|(known, _)| &**known == name) {
                out.extend_from_slice(value.text().as_bytes());
                return Found::Yes;
            }
            if edits.remove.iter().any(|known| &**known == name) {
                return Found::No;
            }
        }
        if field(&request.fields, buf, name, out) == Found::Yes {
            return Found::Yes;
        }
        let mut added = over.iter().flatten().flat_map(|edits| &edits.add);
        match added.find(|(known, _)| &**known == name) {
            Some((_, value)) => {
                out.extend_from_slice(value.text().as_bytes());
                Found::Yes
            }
            None => Found::No,
        }
    }

    fn response_field(&self, name: &str, out: &mut Vec<u8>) -> Found {
        match (self.reply, name) {
            (Reply::Upstream { head, .. }, ":status") => {
                write::decimal(out, u64::from(head.status));
                Found::Yes
            }
            (Reply::Upstream { head, buf }, _) => field(&head.fields, buf, name, out),
            (Reply::Own { location: Some(location) }, "location") => {
                out.extend_from_slice(location);
                Found::Yes
            }
            (Reply::None | Reply::Own { .. }, _) => Found::No,
        }
    }

    fn lasted(&self, form: Form) -> Option<Duration> {
        let now = self.worker.now();
        match form {
            Form::Whole => Some(now.since(self.record.began)),
            Form::Request => Some(self.received?.since(self.record.began)),
            Form::Response => matches!(self.reply, Reply::Upstream { .. }).then(|| now.since(self.record.began)),
        }
    }
}

impl View for Values<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        let record = self.record;
        match variable {
            Variable::Request(names) => named(names, out, |name, out| self.request_field(name, out)),
            Variable::Response(names) => named(names, out, |name, out| self.response_field(name, out)),
            Variable::Protocol => out.extend_from_slice(version(self.seen.request.version)),
            Variable::UpstreamProtocol => out.extend_from_slice(self.speaks.map_or(b"", version)),
            Variable::Status => {
                let status = if let Reply::Upstream { head, .. } = self.reply { head.status } else { 0 };
                write::decimal(out, u64::from(status));
            }
            Variable::Details => out.extend_from_slice(record.details.as_bytes()),
            Variable::Flags(_) if record.flags == Flags::NONE => out.push(b'-'),
            // Writing to a vector cannot fail.
            Variable::Flags(Length::Short) => drop(write!(out, "{}", record.flags)),
            Variable::Flags(Length::Long) => record.flags.long_names().enumerate().for_each(|(nth, name)| {
                if nth > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name.as_bytes());
            }),
            Variable::Cluster => out.extend_from_slice(record.cell.map_or("", |cell| &cell.name).as_bytes()),
            Variable::Peer(part) => address(Some(record.peer), *part, out),
            Variable::Own(part) => address(self.line.own_address(), *part, out),
            Variable::Upstream(part) => address(record.upstream, *part, out),
            Variable::Started(moment) => {
                let lasted = self.worker.now().since(record.began).as_millis();
                let unix = self.worker.mesh.clock.unix_millis();
                moment.write(unix.saturating_sub(u64::try_from(lasted).unwrap_or(0)), out);
            }
            Variable::Lasted(form) => {
                if let Some(length) = self.lasted(*form) {
                    write::decimal(out, u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
                }
            }
            Variable::Received => write::decimal(out, record.received),
            Variable::Sent => write::decimal(out, record.sent),
            Variable::Attempts => write::decimal(out, u64::from(self.attempts)),
            Variable::Hostname => out.extend_from_slice(hostname().as_bytes()),
            Variable::RequestId => out.extend_from_slice(self.seen.request_id),
            Variable::Never(_) => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Yes,
    No,
}

impl Found {
    const fn of(found: bool) -> Self {
        if found { Self::Yes } else { Self::No }
    }
}

fn named(names: &Names, out: &mut Vec<u8>, look: impl Fn(&str, &mut Vec<u8>) -> Found) {
    if look(&names.first, out) == Found::No
        && let Some(second) = &names.second
    {
        look(second, out);
    }
}

/// The first field of that name.
fn field(fields: &[Field], buf: &[u8], name: &str, out: &mut Vec<u8>) -> Found {
    let found = fields.iter().find(|field| field.name.of(buf).eq_ignore_ascii_case(name.as_bytes()));
    out.extend_from_slice(found.map_or(b"", |field| field.value.of(buf)));
    Found::of(found.is_some())
}

const fn version(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
        Version::Http2 => b"HTTP/2",
    }
}

fn address(address: Option<SocketAddr>, part: Address, out: &mut Vec<u8>) {
    let Some(address) = address else { return };
    // Writing to a vector cannot fail.
    drop(match part {
        Address::Whole => write!(out, "{address}"),
        Address::Bare => write!(out, "{}", address.ip()),
        Address::Port => write!(out, "{}", address.port()),
    });
}

/// The machine's name, read once.
fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().to_owned()
    })
}
