//! Is memory or are descriptors running out?
//!
//! ```text
//!   memory, looked at ten times a second:   0 ────── 90 % ──────────── 95 % ────── 100 %
//!                                             serve   accept no more     and refuse new requests (503, OM)
//!   descriptors, at each accept:            0 ────── 90 % ──────────────────────── 100 %
//!                                             serve   refuse connections; what is left is for upstreams, and its last for admin
//! ```
//! Requests under way are finished: they free what is short. Does not: know where the limits come from.

use crate::mesh::Mesh;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Weak;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(100);
/// Shares of a limit, in percent.
const STOP_ACCEPTING: u64 = 90;
const SHED: u64 = 95;

/// What the process may use; `None` = no limit is known.
#[derive(Clone, Default, Debug)]
pub struct Ceilings {
    /// Bytes of memory of the cgroup.
    pub memory: Option<u64>,
    /// The cgroup's own count of its memory, and the file with its parts; else this process's resident memory counts.
    pub usage: Option<PathBuf>,
    pub stat: Option<PathBuf>,
    /// Open files (`RLIMIT_NOFILE`).
    pub descriptors: Option<u64>,
}

/// How short something is; read by every worker.
#[derive(Debug)]
pub(crate) struct Pressure {
    /// Of memory; written by the thread.
    level: AtomicU8,
    /// The first descriptor that no client may have.
    reserved: u64,
    /// The first one that no upstream may have either: what is left is for the admin address and for names.
    last: u64,
    /// Bytes that may be kept for retries, whatever the configuration says: an eighth of the memory.
    pub(crate) replay: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Level {
    Low,
    Accepting,
    Shedding,
}

impl Pressure {
    pub(crate) fn new(ceilings: &Ceilings) -> Self {
        let share = |limit: u64| limit.saturating_sub(limit / 10);
        Self {
            level: AtomicU8::new(Level::Low as u8),
            reserved: ceilings.descriptors.map_or(u64::MAX, share),
            last: ceilings.descriptors.map_or(u64::MAX, |limit| limit - (limit / 50).clamp(4, 64).min(limit)),
            replay: ceilings.memory.map_or(u64::MAX, |memory| memory / 8),
        }
    }

    /// The kernel gives the lowest free number, so a high one says that all below it are in use.
    pub(crate) fn refuses(&self, descriptor: &impl AsRawFd) -> bool {
        u64::try_from(descriptor.as_raw_fd()).is_ok_and(|number| number >= self.reserved)
    }

    /// Is this one of the last descriptors, which no upstream may have?
    pub(crate) fn leaves_none(&self, descriptor: &impl AsRawFd) -> bool {
        u64::try_from(descriptor.as_raw_fd()).is_ok_and(|number| number >= self.last)
    }

    pub(crate) fn stops_accepting(&self) -> bool {
        self.level.load(Ordering::Relaxed) >= Level::Accepting as u8
    }

    pub(crate) fn sheds(&self) -> bool {
        self.level.load(Ordering::Relaxed) >= Level::Shedding as u8
    }
}

fn level(used: u64, limit: Option<u64>) -> Level {
    let Some(limit) = limit.filter(|limit| *limit > 0) else { return Level::Low };
    match used / (limit / 100).max(1) {
        share if share >= SHED => Level::Shedding,
        share if share >= STOP_ACCEPTING => Level::Accepting,
        _ => Level::Low,
    }
}

/// An allocator keeps what was freed and uses it again, and may not give it back for long. So pressure ends also when
/// half of the connections are gone that there were when it began: there is room, whatever the figures say.
#[derive(Default, Debug)]
struct Crowd {
    /// When memory became short.
    connections: Option<u32>,
}

impl Crowd {
    fn judge(&mut self, found: Level, connections: u32) -> Level {
        if found == Level::Low {
            self.connections = None;
            return Level::Low;
        }
        let began = *self.connections.get_or_insert(connections);
        if connections > 0 && connections >= began / 2 { found } else { Level::Low }
    }
}

/// Watches as long as the mesh lives.
pub(crate) fn watch(mesh: Weak<Mesh>, ceilings: Ceilings) -> std::io::Result<()> {
    if ceilings.memory.is_none() {
        return Ok(());
    }
    std::thread::Builder::new().name("pressure".into()).spawn(move || {
        let mut crowd = Crowd::default();
        while let Some(mesh) = mesh.upgrade() {
            let found = level(memory(&ceilings), ceilings.memory);
            let found = crowd.judge(found, mesh.connections.load(Ordering::Relaxed));
            let before = mesh.pressure.level.swap(found as u8, Ordering::Relaxed);
            if before < Level::Accepting as u8 && found >= Level::Accepting {
                mesh.registry.limited(weir_observe::Limit::Pressure);
            }
            drop(mesh);
            std::thread::park_timeout(EVERY);
        }
    })?;
    Ok(())
}

/// Bytes that count against the limit and cannot be had back by dropping file caches.
fn memory(ceilings: &Ceilings) -> u64 {
    let number = |path: &PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    match ceilings.usage.as_ref().and_then(number) {
        Some(usage) => usage.saturating_sub(ceilings.stat.as_ref().map_or(0, file_cache)),
        None => resident(),
    }
}

/// Of `memory.stat`, by both versions' names.
fn file_cache(path: &PathBuf) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let names = ["inactive_file", "active_file", "total_inactive_file", "total_active_file"];
    let total = text.lines().any(|line| line.starts_with("total_inactive_file "));
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| names.contains(name) && name.starts_with("total_") == total)
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum()
}

/// Resident bytes of this process, less what it shares with files.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_shares() {
        assert_eq!(level(89, Some(100)), Level::Low);
        assert_eq!(level(90, Some(100)), Level::Accepting);
        assert_eq!(level(95, Some(100)), Level::Shedding);
        assert_eq!(level(95, None), Level::Low);
        assert_eq!(level(u64::MAX, Some(u64::MAX / 2)), Level::Shedding);
    }

    #[test]
    fn pressure_ends_with_half_of_its_crowd_and_comes_back_with_it() {
        let mut crowd = Crowd::default();
        assert_eq!(crowd.judge(Level::Low, 500), Level::Low);
        assert_eq!(crowd.judge(Level::Shedding, 100), Level::Shedding);
        assert_eq!(crowd.judge(Level::Shedding, 50), Level::Shedding);
        assert_eq!(crowd.judge(Level::Shedding, 49), Level::Low);
        assert_eq!(crowd.judge(Level::Accepting, 60), Level::Accepting);
        assert_eq!(crowd.judge(Level::Low, 60), Level::Low);
        assert_eq!(crowd.judge(Level::Accepting, 10), Level::Accepting);
        assert_eq!(Crowd::default().judge(Level::Shedding, 0), Level::Low, "nobody could free anything");
    }

    #[test]
    fn this_process_uses_something() {
        assert!(resident() > 100_000);
    }
}
