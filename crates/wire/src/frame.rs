//! HTTP/2 frame headers passing by: where each frame begins, what kind it is, how long (RFC 9113 section 4.1).
//!
//! ```text
//!   [preface, 24 bytes] ─► 9 bytes of header ─► payload, skipped ─► 9 bytes of header ─► …
//! ```
//! The h2 crate reads the frames themselves; here they are counted, and told apart where it is less exact than the RFC
//! ([`Fault`]). Does not: keep a payload.

/// The header of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Of the payload.
    pub length: u32,
    pub kind: Kind,
    /// `END_STREAM` on DATA and HEADERS.
    pub ends: bool,
    flags: u8,
    stream: u32,
    /// The payload's first bytes: as many as there are, at most eight.
    begin: [u8; BEGIN],
}

const BEGIN: usize = 8;

/// What makes a frame end its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Of a size that its type does not have: FRAME_SIZE_ERROR (RFC 9113 sections 6.3 to 6.9).
    Size,
    /// A window above 2³¹−1 in SETTINGS: FLOW_CONTROL_ERROR (section 6.5.2).
    Window,
    /// PROTOCOL_ERROR: the first frame is not SETTINGS (section 3.4), or trailers begin with a pseudo-header (8.1).
    Protocol,
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
    /// A header, and the first bytes of its payload.
    head: [u8; HEAD + BEGIN],
    have: usize,
    /// Bytes to pass over before the next header.
    skip: usize,
    first: First,
    /// The highest stream that began.
    highest: u32,
}

const HEAD: usize = 9;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum First {
    /// SETTINGS must come now.
    Expected,
    Seen,
}

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frames {
    /// What a client sends: the preface first.
    pub const fn of_client() -> Self {
        Self { skip: PREFACE.len(), ..Self::of_server() }
    }

    pub const fn of_server() -> Self {
        Self { head: [0; HEAD + BEGIN], have: 0, skip: 0, first: First::Expected, highest: 0 }
    }

    /// Looks at the next bytes and calls `see` for each frame whose first bytes are complete in them; the fault is for
    /// those of clients.
    pub fn pass(&mut self, mut bytes: &[u8], mut see: impl FnMut(Head, Option<Fault>)) {
        loop {
            let over = self.skip.min(bytes.len());
            self.skip -= over;
            bytes = &bytes[over..];
            if bytes.is_empty() {
                return;
            }
            let mut wanted = HEAD;
            if self.have >= HEAD {
                wanted += (self.length() as usize).min(BEGIN);
            }
            let take = (wanted - self.have).min(bytes.len());
            self.head[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have >= HEAD && self.have == HEAD + (self.length() as usize).min(BEGIN) {
                self.skip = self.length() as usize - (self.have - HEAD);
                self.have = 0;
                let head = self.head();
                let fault = self.fault(&head);
                see(head, fault);
            }
        }
    }

    const fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]])
    }

    fn head(&self) -> Head {
        let [_, _, _, kind, flags, a, b, c, d, begin @ ..] = self.head;
        let kind = Kind::of(kind);
        Head {
            length: self.length(),
            kind,
            ends: flags & 1 != 0 && matches!(kind, Kind::Data | Kind::Headers),
            flags,
            stream: u32::from_be_bytes([a & 0x7f, b, c, d]),
            begin,
        }
    }

    /// Is this frame, if a client sent it, one that ends the connection? Of each frame in turn.
    fn fault(&mut self, head: &Head) -> Option<Fault> {
        if std::mem::replace(&mut self.first, First::Seen) == First::Expected && head.kind != Kind::Settings {
            return Some(Fault::Protocol);
        }
        let wrong = match head.kind {
            Kind::Settings if head.flags & 1 != 0 => head.length != 0,
            Kind::Settings => !head.length.is_multiple_of(6),
            Kind::Ping => head.length != 8,
            Kind::Reset | Kind::WindowUpdate => head.length != 4,
            Kind::Priority => head.length != 5,
            _ => false,
        };
        if wrong {
            return Some(Fault::Size);
        }
        match head.kind {
            Kind::Settings => {
                let [a, b, c, d, e, f, ..] = head.begin;
                let (name, value) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]));
                (head.length >= 6 && name == 4 && value > i32::MAX as u32).then_some(Fault::Window)
            }
            Kind::Headers if head.stream > self.highest => {
                self.highest = head.stream;
                None
            }
            Kind::Headers => head.begins_with_pseudo_header().then_some(Fault::Protocol),
            _ => None,
        }
    }
}

impl Head {
    /// Does the field block begin with a pseudo-header, in a form that can be told without the dynamic table
    /// (RFC 7541 section 6)? A pseudo-header may stand nowhere else, and nowhere in trailers.
    fn begins_with_pseudo_header(&self) -> bool {
        let padded = usize::from(self.flags & 8 != 0);
        let at = padded + if self.flags & 32 != 0 { 5 } else { 0 };
        let block = self.begin.get(at..(self.length as usize).min(BEGIN)).unwrap_or_default();
        match *block {
            // Indexed, or a literal whose name is indexed: the static table has pseudo-headers at 1 to 14.
            [0x81..=0x8e | 0x41..=0x4e | 0x01..=0x0e | 0x11..=0x1e, ..] => true,
            // A literal name: `:`, or in Huffman's code 1011100.
            [0x40 | 0x00 | 0x10, length, first, ..] => {
                first == if length & 0x80 == 0 { b':' } else { 0xb8 | first & 1 }
            }
            _ => false,
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
                follower.pass(now, |head, _| seen.push(head));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let seen: Vec<_> = seen.iter().map(|head| (head.length, head.kind, head.ends)).collect();
            let expected: Vec<_> = frames
                .iter()
                .map(|(kind, flags, payload)| {
                    let (length, kind) = (u32::try_from(*payload).expect("short"), Kind::of(*kind));
                    (length, kind, *flags == 1 && matches!(kind, Kind::Data | Kind::Headers))
                })
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }

    /// The faults of the frames, in order.
    fn faults(frames: &[(u8, u8, u32, &[u8])]) -> Vec<Option<Fault>> {
        let mut bytes = PREFACE.to_vec();
        for (kind, flags, stream, payload) in frames {
            bytes.extend_from_slice(&u32::try_from(payload.len()).expect("short").to_be_bytes()[1..]);
            bytes.extend_from_slice(&[*kind, *flags]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(payload);
        }
        let mut faults = Vec::new();
        Frames::of_client().pass(&bytes, |_, fault| faults.push(fault));
        faults
    }

    const HELLO: (u8, u8, u32, &[u8]) = (4, 0, 0, &[]);

    #[test]
    fn a_frame_of_a_wrong_size_is_told() {
        assert_eq!(faults(&[HELLO, (6, 0, 0, &[0; 8]), (3, 0, 1, &[0; 4]), (2, 0, 1, &[0; 5])]), [None; 4]);
        for wrong in
            [(6, 0, 0, &[0; 7][..]), (3, 0, 1, &[0; 3]), (2, 0, 1, &[0; 4]), (4, 0, 0, &[0; 5]), (4, 1, 0, &[0; 6])]
        {
            assert_eq!(faults(&[HELLO, wrong]), [None, Some(Fault::Size)], "{wrong:?}");
        }
        assert_eq!(faults(&[(6, 0, 0, &[0; 8])]), [Some(Fault::Protocol)], "SETTINGS must be first");
        assert_eq!(faults(&[HELLO, (4, 0, 0, &[0, 4, 0x80, 0, 0, 0])]), [None, Some(Fault::Window)]);
    }

    #[test]
    fn pseudo_headers_in_trailers_are_told() {
        let request: (u8, u8, u32, &[u8]) = (1, 4, 1, &[0x82, 0x86]);
        for block in [&[0x83][..], &[0x44, 1, b'/'], &[0x00, 2, b':', b'x', 0], &[0x40, 0x82, 0xb9, 0xff, 0]] {
            assert_eq!(faults(&[HELLO, request, (1, 5, 1, block)]), [None, None, Some(Fault::Protocol)], "{block:?}");
        }
        let padded: &[u8] = &[0, 0, 0, 0, 0, 0, 0x83];
        assert_eq!(faults(&[HELLO, request, (1, 5 | 8 | 32, 1, padded)])[2], Some(Fault::Protocol));
        for block in [&[0x40, 3, b'x', b'-', b'a', 0][..], &[0xbe], &[0x20, 0xbe], &[]] {
            assert_eq!(faults(&[HELLO, request, (1, 5, 1, block)]), [None; 3], "{block:?}");
        }
    }
}
