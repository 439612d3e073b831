//! The last good documents on disk, so that a restart serves them when the given ones cannot be served.
//!
//! ```text
//!   keep:  write beside it ─► fsync ─► last-good becomes previous ─► rename ─► fsync the folder
//!   load:  last-good whole? ─► it │ else previous whole? ─► it │ else none
//! ```
//! A kill or a power cut at any moment leaves one whole copy. Whole = length and checksum fit.
//! Does not: compile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use weir_config::Text;

const LAST: &str = "last-good";
const PREVIOUS: &str = "previous";
const MAGIC: &str = "weir-state 1";

/// A folder that keeps the last good documents.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
}

impl State {
    /// Makes the folder when it is not there; for this user only, because documents may hold secrets.
    ///
    /// # Errors
    /// It cannot be made, or is no folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Keeps the texts; when this returns they survive a power cut.
    ///
    /// # Errors
    /// The disk is full, say: what was kept before is still there.
    pub fn keep(&self, texts: &[Text]) -> io::Result<()> {
        let fresh = self.folder.join(format!("new-{}", std::process::id()));
        let written = write(&fresh, &encode(texts)).and_then(|()| {
            let (last, previous) = (self.folder.join(LAST), self.folder.join(PREVIOUS));
            match fs::rename(&last, &previous) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
                _ => {}
            }
            fs::rename(&fresh, &last)
        });
        if written.is_err() {
            // A half-written file is of no use; that it cannot be removed changes nothing.
            let _ = fs::remove_file(&fresh);
        }
        written?;
        File::open(&self.folder)?.sync_all()
    }

    /// The newest texts that are whole.
    pub fn load(&self) -> Option<Vec<Text>> {
        [LAST, PREVIOUS].iter().find_map(|name| decode(&fs::read(self.folder.join(name)).ok()?))
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// One line `weir-state 1 CHECKSUM LENGTH`, then of each text: two lengths in a line, its name, its content.
fn encode(texts: &[Text]) -> Vec<u8> {
    let mut payload = Vec::new();
    for text in texts {
        payload.extend_from_slice(format!("{} {}\n", text.name.len(), text.text.len()).as_bytes());
        payload.extend_from_slice(text.name.as_bytes());
        payload.extend_from_slice(text.text.as_bytes());
    }
    let mut out = format!("{MAGIC} {:016x} {}\n", checksum(&payload), payload.len()).into_bytes();
    out.append(&mut payload);
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<Text>> {
    let (head, payload) = line(bytes)?;
    let mut words = head.strip_prefix(MAGIC)?.split_whitespace();
    let sum = u64::from_str_radix(words.next()?, 16).ok()?;
    let length: usize = words.next()?.parse().ok()?;
    if payload.len() != length || checksum(payload) != sum {
        return None;
    }
    let mut texts = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (lengths, behind) = line(rest)?;
        let (name, text) = lengths.split_once(' ')?;
        let (name, behind) = behind.split_at_checked(name.parse().ok()?)?;
        let (text, behind) = behind.split_at_checked(text.parse().ok()?)?;
        let whole = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        texts.push(Text { name: whole(name)?.into(), text: whole(text)?.into() });
        rest = behind;
    }
    Some(texts)
}

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

/// FNV-1a, 64 bits: finds damage, proves nothing.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str) -> State {
        let folder = std::env::temp_dir().join(format!("weir-state-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        State::open(&folder).expect("a folder")
    }

    fn texts(content: &str) -> Vec<Text> {
        vec![
            Text { name: "a.yaml".into(), text: content.into() },
            Text { name: "b.yaml".into(), text: "line\n\nline ü".into() },
        ]
    }

    fn first(state: &State) -> Option<String> {
        state.load().map(|texts| String::from(&*texts[0].text))
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let state = state("round");
        assert!(state.load().is_none());
        state.keep(&texts("one")).expect("kept");
        state.keep(&texts("two\n")).expect("kept");
        let found = state.load().expect("texts");
        assert_eq!(found.len(), 2);
        assert_eq!((&*found[0].name, &*found[0].text, &*found[1].text), ("a.yaml", "two\n", "line\n\nline ü"));
    }

    #[test]
    fn damage_anywhere_falls_back_to_the_previous() {
        let state = state("damage");
        state.keep(&texts("one")).expect("kept");
        state.keep(&texts("two")).expect("kept");
        let path = state.folder.join(LAST);
        let whole = fs::read(&path).expect("a file");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).expect("written");
            assert_eq!(first(&state).as_deref(), Some("one"), "bit flip at {at}");
            fs::write(&path, &whole[..at]).expect("written");
            assert_eq!(first(&state).as_deref(), Some("one"), "cut at {at}");
        }
        // As a kill between the two renames leaves it.
        fs::remove_file(&path).expect("removed");
        assert_eq!(first(&state).as_deref(), Some("one"));
    }

    #[test]
    fn a_half_written_new_file_is_not_looked_at() {
        let state = state("half");
        state.keep(&texts("one")).expect("kept");
        fs::write(state.folder.join("new-1"), b"weir-st").expect("written");
        assert_eq!(first(&state).as_deref(), Some("one"));
    }
}
