//! Is an HTTP/2 peer at work, or does it only make us work? Frames that carry nothing are counted, and too many end
//! the connection.
//!
//! ```text
//!   every frame ─► its kind's count in the present second ─► above its allowance? ─► Flood (GOAWAY ENHANCE_YOUR_CALM)
//!   HEADERS, RST_STREAM ─► in ten seconds: more than 100 resets, and more than half of the streams ─► RapidReset
//! ```
//! Answers earn allowance: for each DATA frame that we send, a peer may send some WINDOW_UPDATEs and a PING (clients
//! measure the bandwidth so). Does not: read frames or close anything.

use crate::time::Time;
use std::time::Duration;

/// What a peer sent, as far as it counts here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// A stream begins (or its trailers come).
    Headers,
    Reset,
    Settings,
    Ping,
    Priority,
    WindowUpdate,
    Continuation,
    /// DATA without a byte that does not end its stream.
    EmptyData,
    /// Of a type that is to be ignored.
    Unknown,
    /// DATA with something in it, GOAWAY.
    Other,
}

/// What it was too much of; its word is the metric's label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Flood {
    RapidReset,
    Settings,
    Ping,
    Priority,
    WindowUpdate,
    Continuation,
    EmptyData,
    Unknown,
}

impl Flood {
    /// The one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::RapidReset => "h2_rapid_reset",
            Self::Settings => "h2_settings_flood",
            Self::Ping => "h2_ping_flood",
            Self::Priority => "h2_priority_flood",
            Self::WindowUpdate => "h2_window_update_flood",
            Self::Continuation => "h2_continuation_flood",
            Self::EmptyData => "h2_empty_data_flood",
            Self::Unknown => "h2_unknown_frame_flood",
        }
    }
}

/// Frames of one kind in one second, whatever we send.
const SETTINGS: u32 = 100;
const EMPTY: u32 = 200;
const COMMON: u32 = 1000;
/// For each DATA frame that we sent in that second.
const UPDATES_PER_DATA: u32 = 10;
/// Resets in [`RESET_WINDOW`] that nobody minds.
const RESETS: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);
const RESET_WINDOW: Duration = Duration::from_secs(10);

/// The counts of one connection.
#[derive(Clone, Default, Debug)]
pub struct Watch {
    second: Time,
    now: Counts,
    resets_since: Time,
    streams: u32,
    resets: u32,
}

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    settings: u32,
    pings: u32,
    priorities: u32,
    updates: u32,
    continuations: u32,
    empty: u32,
    unknown: u32,
    /// DATA frames that we sent.
    data: u32,
}

impl Watch {
    /// We sent a DATA frame.
    pub const fn answered(&mut self) {
        self.now.data = self.now.data.saturating_add(1);
    }

    /// The peer sent a frame. `Some`: it is to be sent away.
    pub fn seen(&mut self, frame: Frame, now: Time) -> Option<Flood> {
        if now.since(self.second) >= SECOND {
            (self.second, self.now) = (now, Counts::default());
        }
        if now.since(self.resets_since) >= RESET_WINDOW {
            (self.resets_since, self.streams, self.resets) = (now, 0, 0);
        }
        let counts = &mut self.now;
        let (count, most, flood) = match frame {
            Frame::Other => return None,
            Frame::Headers => {
                self.streams += 1;
                return None;
            }
            Frame::Reset => return self.reset(),
            Frame::Settings => (&mut counts.settings, SETTINGS, Flood::Settings),
            Frame::Ping => (&mut counts.pings, COMMON.saturating_add(counts.data), Flood::Ping),
            Frame::Priority => (&mut counts.priorities, COMMON, Flood::Priority),
            Frame::WindowUpdate => {
                let earned = counts.data.saturating_mul(UPDATES_PER_DATA);
                (&mut counts.updates, COMMON.saturating_add(earned), Flood::WindowUpdate)
            }
            Frame::Continuation => (&mut counts.continuations, COMMON, Flood::Continuation),
            Frame::EmptyData => (&mut counts.empty, EMPTY, Flood::EmptyData),
            Frame::Unknown => (&mut counts.unknown, COMMON, Flood::Unknown),
        };
        *count += 1;
        (*count > most).then_some(flood)
    }

    const fn reset(&mut self) -> Option<Flood> {
        self.resets += 1;
        let most_of_them = self.resets.saturating_mul(2) > self.streams;
        if self.resets > RESETS && most_of_them { Some(Flood::RapidReset) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the frame that was one too many, of at most `most` sent so far apart.
    fn ends_after(frames: &[Frame], apart: Duration, most: u32) -> Option<u32> {
        let mut watch = Watch::default();
        let mut now = Time::ZERO;
        (1..=most).find(|number| {
            now += apart;
            watch.seen(frames[*number as usize % frames.len()], now).is_some()
        })
    }

    #[test]
    fn each_flood_ends_and_a_trickle_does_not() {
        let micro = Duration::from_micros(10);
        for (frame, most) in [
            (Frame::Settings, 101),
            (Frame::Ping, 1001),
            (Frame::Priority, 1001),
            (Frame::WindowUpdate, 1001),
            (Frame::Continuation, 1001),
            (Frame::EmptyData, 201),
            (Frame::Unknown, 1001),
        ] {
            assert_eq!(ends_after(&[frame], micro, 10_000), Some(most), "{frame:?}");
            assert_eq!(ends_after(&[frame], Duration::from_millis(20), 10_000), None, "{frame:?}");
        }
        assert_eq!(ends_after(&[Frame::Other], micro, 100_000), None);
    }

    #[test]
    fn resets_end_it_when_they_are_most_of_its_streams() {
        let micro = Duration::from_micros(10);
        assert_eq!(ends_after(&[Frame::Headers, Frame::Reset], micro, 10_000), Some(201));
        let few = [Frame::Headers, Frame::Headers, Frame::Headers, Frame::Reset];
        assert_eq!(ends_after(&few, micro, 100_000), None, "one in three is no attack");
        assert_eq!(ends_after(&[Frame::Headers, Frame::Reset], Duration::from_millis(100), 10_000), None);
    }

    #[test]
    fn what_we_send_earns_updates_and_pings() {
        let mut watch = Watch::default();
        for _ in 0..1000 {
            watch.answered();
            for _ in 0..10 {
                assert_eq!(watch.seen(Frame::WindowUpdate, Time::ZERO), None);
            }
            assert_eq!(watch.seen(Frame::Ping, Time::ZERO), None);
        }
    }
}
