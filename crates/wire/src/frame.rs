//! HTTP/2 frame headers passing by: where each frame begins, what kind it is, how long (RFC 9113 section 4.1).
//!
//! ```text
//!   [preface, 24 bytes] ─► 9 bytes of header ─► payload, skipped ─► 9 bytes of header ─► …
//! ```
//! For counting only: the h2 crate reads the frames themselves. Does not: keep, check or copy a payload.

/// The header of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Of the payload.
    pub length: u32,
    pub kind: Kind,
    /// `END_STREAM` on DATA and HEADERS.
    pub ends: bool,
}

/// RFC 9113 section 6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// A type that the RFC does not know: to be ignored.
    Unknown,
}

impl Kind {
    const fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

/// Follows one direction of a connection.
#[derive(Clone, Debug)]
pub struct Frames {
    head: [u8; 9],
    have: usize,
    /// Bytes to pass over before the next header.
    skip: usize,
}

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frames {
    /// What a client sends: the preface first.
    pub const fn of_client() -> Self {
        Self { head: [0; 9], have: 0, skip: PREFACE.len() }
    }

    pub const fn of_server() -> Self {
        Self { head: [0; 9], have: 0, skip: 0 }
    }

    /// Looks at the next bytes and calls `see` for each frame whose header is complete in them.
    pub fn pass(&mut self, mut bytes: &[u8], mut see: impl FnMut(Head)) {
        loop {
            let over = self.skip.min(bytes.len());
            self.skip -= over;
            bytes = &bytes[over..];
            if bytes.is_empty() {
                return;
            }
            let take = (self.head.len() - self.have).min(bytes.len());
            self.head[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have < self.head.len() {
                return;
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            let length = u32::from_be_bytes([0, a, b, c]);
            self.skip = length as usize;
            let kind = Kind::of(kind);
            see(Head { length, kind, ends: flags & 1 != 0 && matches!(kind, Kind::Data | Kind::Headers) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, payload: usize) {
        out.extend_from_slice(&u32::try_from(payload).expect("short").to_be_bytes()[1..]);
        out.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        out.resize(out.len() + payload, 4);
    }

    proptest! {
        #[test]
        fn frames_are_found_however_the_bytes_are_cut(
            frames in proptest::collection::vec((0u8..12, 0u8..2, 0usize..40), 0..20),
            cuts in proptest::collection::vec(1usize..30, 1..40),
        ) {
            let mut bytes = PREFACE.to_vec();
            for (kind, flags, payload) in &frames {
                frame(&mut bytes, *kind, *flags, *payload);
            }
            let (mut follower, mut seen, mut rest) = (Frames::of_client(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                follower.pass(now, |head| seen.push(head));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let expected: Vec<Head> = frames
                .iter()
                .map(|(kind, flags, payload)| {
                    let (length, kind) = (u32::try_from(*payload).expect("short"), Kind::of(*kind));
                    Head { length, kind, ends: *flags == 1 && matches!(kind, Kind::Data | Kind::Headers) }
                })
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
