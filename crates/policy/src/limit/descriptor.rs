//! What a request is described by: `rate_limits[].actions`, and the `descriptors` that have buckets of their own.
//!
//! Does not: count.

use super::Fill;
use crate::route::Facts;
use std::net::IpAddr;

/// `descriptors[]`: requests that are described so have a bucket of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// In order; all must be equal.
    pub entries: Vec<Entry>,
    pub fill: Fill,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub key: Box<str>,
    pub value: Box<str>,
}

/// `actions[]`: one entry of a description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// `generic_key`.
    Fixed(Entry),
    /// `request_headers`: the value of a header (or `:path`, `:method`, `:authority`).
    Header { name: Box<str>, key: Box<str>, absent: Absent },
    /// `remote_address`.
    ClientAddress,
}

/// `skip_if_absent`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Absent {
    /// Without the header there is no description.
    #[default]
    Drop,
    /// Without the header the description has no such entry.
    Skip,
}

impl Descriptor {
    pub(super) fn fits(&self, described: &[Entry]) -> bool {
        self.entries == described
    }
}

/// The description that a list of actions makes of a request.
pub(super) fn describe(actions: &[Action], facts: &Facts<'_>, peer: IpAddr) -> Option<Vec<Entry>> {
    let mut entries = Vec::with_capacity(actions.len());
    for action in actions {
        match action {
            Action::Fixed(entry) => entries.push(entry.clone()),
            Action::ClientAddress => {
                entries.push(Entry { key: "remote_address".into(), value: peer.to_string().into() });
            }
            Action::Header { name, key, absent } => match (header(name, facts), absent) {
                (Some(value), _) => entries.push(Entry { key: key.clone(), value: value.into() }),
                (None, Absent::Skip) => {}
                (None, Absent::Drop) => return None,
            },
        }
    }
    (!entries.is_empty()).then_some(entries)
}

fn header(name: &str, facts: &Facts<'_>) -> Option<String> {
    let mut value = match name {
        ":method" => Some(facts.method.to_vec()),
        ":authority" | "host" => Some(facts.authority.to_vec()),
        ":scheme" => Some(facts.scheme.to_vec()),
        ":path" => {
            let mut path = facts.path.to_vec();
            if let Some(query) = facts.query {
                path.push(b'?');
                path.extend_from_slice(query);
            }
            Some(path)
        }
        _ => None,
    };
    facts.headers.each(name, &mut |found| {
        value.get_or_insert_with(|| found.to_vec());
    });
    // A value that is not text matches no descriptor: those are text.
    String::from_utf8(value?).ok()
}
