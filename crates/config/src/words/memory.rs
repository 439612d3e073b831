//! Texts from one bundle to the next: what did not change is neither read nor gathered again.
//!
//! ```text
//!   text ─┬─ the very same, in its place ─► its parts
//!         └─ else ─► chunks: as before ─► the part as it was;  new ─► read
//!   only documents changed, none came, went or moved ─► their words are put in the place of the old ones
//!   else ─────────────────────────────────────────────► all are gathered anew
//! ```
//! Most of the time of a small change would be looking at what stayed as it was: so nothing of it is touched.

use super::{Keep, Known, Part, Parts, Word, Words, gather, read};
use crate::bundle::Text;
use crate::problem::Problem;
use std::collections::HashMap;
use std::sync::Arc;

/// Texts that were read, and their words. One for each follower of documents.
#[derive(Default)]
pub struct Memory {
    texts: Vec<Remembered>,
    pub words: Words,
    /// Of all documents, and of putting them together.
    pub problems: Vec<Problem>,
}

struct Remembered {
    text: Text,
    parts: Parts,
    /// Where their chunks start in the text.
    starts: Vec<usize>,
}

impl Memory {
    /// Reads a bundle's texts.
    pub fn read(&mut self, texts: &[Text]) {
        if !self.is_of(texts) {
            self.arrange(texts);
            return self.gather();
        }
        let changed = self.texts.iter().zip(texts).filter(|(known, text)| !Arc::ptr_eq(&known.text.text, &text.text));
        let mut whole = changed.count() <= FEW;
        for (known, text) in self.texts.iter_mut().zip(texts) {
            if Arc::ptr_eq(&known.text.text, &text.text) {
                continue;
            }
            let new = Remembered::read(text, Some(known));
            whole = whole && self.words.replace(&known.parts, &new.parts);
            *known = new;
        }
        if !whole {
            self.gather();
        }
    }

    /// Are these the same texts by name, in the same order?
    fn is_of(&self, texts: &[Text]) -> bool {
        let same = |one: &Arc<str>, other: &Arc<str>| Arc::ptr_eq(one, other) || one == other;
        self.texts.len() == texts.len()
            && self.texts.iter().zip(texts).all(|(known, text)| same(&known.text.name, &text.name))
    }

    /// Finds what is known of each text; forgets texts that are gone.
    fn arrange(&mut self, texts: &[Text]) {
        let before = std::mem::take(&mut self.texts);
        let mut before: HashMap<Arc<str>, Remembered> =
            before.into_iter().map(|known| (Arc::clone(&known.text.name), known)).collect();
        self.texts = texts.iter().map(|text| Remembered::read(text, before.remove(&text.name).as_ref())).collect();
    }

    fn gather(&mut self) {
        self.problems.clear();
        self.words = gather(self.texts.iter().map(|known| &known.parts), &mut self.problems);
    }
}

impl Remembered {
    /// The parts of a text: those that stand where and as they stood are the same ones.
    fn read(text: &Text, old: Option<&Self>) -> Self {
        if let Some(old) = old.filter(|old| old.text.text == text.text) {
            return Self { text: text.clone(), parts: Arc::clone(&old.parts), starts: old.starts.clone() };
        }
        let mut starts = Vec::new();
        let parts = read(text, Keep::Words, |chunk, at| {
            starts.push(chunk.start);
            let old = old?;
            let (part, start) = (old.parts.get(at)?, old.starts.get(at)?);
            let before = old.text.text.get(*start..start + part.length);
            (part.line == chunk.line && before == Some(chunk.text)).then(|| Arc::clone(part))
        });
        Self { text: text.clone(), parts: parts.into(), starts }
    }
}

/// Texts, and documents of a text, whose words are put in place, each of which is looked for; more are gathered sooner.
const FEW: usize = 16;

impl Words {
    /// Puts the words of documents in the place of those of the same documents as they were. False when that is not
    /// all that changes: then everything is to be gathered.
    fn replace(&mut self, old: &[Arc<Part>], new: &[Arc<Part>]) -> bool {
        let changed = || old.iter().zip(new).filter(|(old, new)| !Arc::ptr_eq(old, new));
        let same = |old: &Part, new: &Part| {
            let told = old.problems.problems == new.problems.problems && new.problems.rest().is_none();
            let known = old.known.len() == new.known.len();
            told && known && old.known.iter().zip(&new.known).all(|(old, new)| old.is(new))
        };
        if old.len() != new.len() || changed().count() > FEW || !changed().all(|(old, new)| same(old, new)) {
            return false;
        }
        let known = changed().flat_map(|(old, new)| old.known.iter().zip(&new.known));
        known.into_iter().all(|(old, new)| self.swap(old.word.as_ref(), new.word.as_ref()))
    }

    fn swap(&mut self, old: Option<&Word>, new: Option<&Word>) -> bool {
        match (old, new) {
            (None, None) => true,
            (Some(Word::VirtualService(old)), Some(Word::VirtualService(new))) => {
                old.is_plain() && new.is_plain() && swap(&mut self.virtual_services, old, new)
            }
            (Some(Word::Rule(old)), Some(Word::Rule(new))) => swap(&mut self.rules, old, new),
            (Some(Word::Entry(old)), Some(Word::Entry(new))) => swap(&mut self.entries, old, new),
            (Some(Word::Workload(old)), Some(Word::Workload(new))) => swap(&mut self.workloads, old, new),
            (Some(Word::Gateway(old)), Some(Word::Gateway(new))) => swap(&mut self.gateways, old, new),
            (Some(Word::Sidecar(old)), Some(Word::Sidecar(new))) => swap(&mut self.sidecars, old, new),
            (Some(Word::Policy(old)), Some(Word::Policy(new))) => swap(&mut self.policies, old, new),
            (Some(Word::Service(old)), Some(Word::Service(new))) => swap(&mut self.services, old, new),
            // The others are few, or not one word a document.
            _ => false,
        }
    }
}

/// False when the old one is not there: it was the second of its name.
fn swap<T>(words: &mut [Arc<T>], old: &Arc<T>, new: &Arc<T>) -> bool {
    let found = words.iter_mut().find(|word| Arc::ptr_eq(word, old));
    found.map(|word| *word = Arc::clone(new)).is_some()
}

impl Known {
    /// Is it the same document?
    fn is(&self, other: &Self) -> bool {
        (self.kind, &self.namespace, &self.name, &self.place)
            == (other.kind, &other.namespace, &other.name, &other.place)
    }
}
