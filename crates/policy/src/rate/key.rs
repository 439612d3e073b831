//! What makes two requests count together: the values of a rule's `key`.
//!
//! ```text
//!   x-tenant: acme, from 10.0.0.1 ─► [4 acme][8 10.0.0.1]     lengths before values: no value can pose as two
//! ```
//! A value that is missing is one of its own, so leaving a header out is no way around a limit. A long value stands as
//! its hash. Does not: read requests' bodies.

use super::sip::Sip;
use crate::route::Facts;
use std::io::Write;
use std::net::IpAddr;

/// Parts of one key.
pub const MOST_PARTS: usize = 4;
/// Bytes of a value that stands as it is.
const LONGEST: usize = 45;
const ROOM: usize = MOST_PARTS * (LONGEST + 1);
/// The length of a value that is not there.
const MISSING: u8 = 0xff;
/// The length of a value that stands as its hash.
const HASHED: u8 = 0xfe;
/// Of long values; the same in every process, as shared stores want it.
const LONG: [Sip; 2] = [Sip::new(1, 2), Sip::new(3, 4)];

/// `key[]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// Lower case. The first of several values.
    Header(Box<str>),
    ClientAddress,
    /// Case matters. The first of several values, as sent.
    Query(Box<str>),
    Cookie(Box<str>),
    Method,
    /// Normalised, without query.
    Path,
}

/// The values of one request, at most [`MOST_PARTS`].
#[derive(Clone, Copy, Debug)]
pub struct Key {
    length: u8,
    room: [u8; ROOM],
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Key {}

impl Key {
    const EMPTY: Self = Self { length: 0, room: [0; ROOM] };

    /// Of a request.
    pub fn of(parts: &[Part], facts: &Facts<'_>, peer: IpAddr) -> Self {
        let mut key = Self::EMPTY;
        for part in parts.iter().take(MOST_PARTS) {
            part.see(facts, peer, &mut |value| key.push(value));
        }
        key
    }

    /// Of values as an override writes them.
    pub fn written<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        let mut key = Self::EMPTY;
        values.into_iter().take(MOST_PARTS).for_each(|value| key.push(Some(value.as_bytes())));
        key
    }

    /// Of one value that is not there.
    pub fn missing() -> Self {
        let mut key = Self::EMPTY;
        key.push(None);
        key
    }

    /// Unambiguous, and the same in every process.
    pub fn bytes(&self) -> &[u8] {
        &self.room[..usize::from(self.length)]
    }

    /// Each value, as [`Key::bytes`] has it.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes();
        std::iter::from_fn(move || {
            let length = match *rest.first()? {
                MISSING => 1,
                HASHED => 17,
                length => 1 + usize::from(length),
            };
            let (value, behind) = rest.split_at(length.min(rest.len()));
            rest = behind;
            Some(value)
        })
    }

    /// For records: which key it was, without saying it.
    pub fn hash(&self) -> u64 {
        LONG[0].hash(&[self.bytes()])
    }

    fn push(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.add(MISSING, &[]),
            Some(value) if value.len() <= LONGEST => self.add(value.len() as u8, value),
            Some(value) => {
                let [one, two] = LONG.map(|sip| sip.hash(&[value]).to_be_bytes());
                self.add(HASHED, &one);
                let end = usize::from(self.length);
                self.room[end..end + two.len()].copy_from_slice(&two);
                self.length += two.len() as u8;
            }
        }
    }

    fn add(&mut self, mark: u8, value: &[u8]) {
        let at = usize::from(self.length);
        self.room[at] = mark;
        self.room[at + 1..at + 1 + value.len()].copy_from_slice(value);
        self.length += 1 + value.len() as u8;
    }
}

impl Part {
    /// Calls `see` once, with the request's value.
    fn see(&self, facts: &Facts<'_>, peer: IpAddr, see: &mut dyn FnMut(Option<&[u8]>)) {
        match self {
            Self::Header(name) => first(facts, name, |value| Some(value), see),
            Self::Cookie(name) => first(facts, "cookie", |value| cookie(value, name.as_bytes()), see),
            Self::Query(name) => see(query(facts.query, name.as_bytes())),
            Self::Method => see(Some(facts.method)),
            Self::Path => see(Some(facts.path)),
            Self::ClientAddress => {
                let mut text = [0u8; LONGEST];
                let mut rest = &mut text[..];
                // The longest address has 45 characters.
                let _ = write!(rest, "{}", peer.to_canonical());
                let length = LONGEST - rest.len();
                see(Some(&text[..length]));
            }
        }
    }
}

/// The first field of that name that has what is wanted.
fn first(facts: &Facts<'_>, name: &str, wanted: impl Fn(&[u8]) -> Option<&[u8]>, see: &mut dyn FnMut(Option<&[u8]>)) {
    let mut seen = false;
    facts.headers.each(name, &mut |value| {
        if let Some(found) = wanted(value).filter(|_| !seen) {
            seen = true;
            see(Some(found));
        }
    });
    if !seen {
        see(None);
    }
}

fn cookie<'v>(value: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).find_map(|pair| named(pair, name))
}

fn query<'v>(query: Option<&'v [u8]>, name: &[u8]) -> Option<&'v [u8]> {
    query?.split(|byte| *byte == b'&').find_map(|pair| named(pair, name))
}

fn named<'v>(pair: &'v [u8], name: &[u8]) -> Option<&'v [u8]> {
    let rest = pair.strip_prefix(name)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"=") }
}
