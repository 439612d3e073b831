//! What each key has used, in a table of bounded size: nothing waits for a sweep, nothing grows without end.
//!
//! ```text
//!   tag ─► its window of 16 places ─┬─ there ───────────────────────────► its state
//!                                   ├─ a free place, or one as new ─────► the default state
//!                                   ├─ none, and room to grow ──────────► twice as many places, again
//!                                   └─ none ────────────────────────────► the one nearest to new is forgotten, counted
//! ```
//! A state that is as new says nothing: forgetting it loses nothing. Only a table that is full of keys in use forgets
//! more, and then those that have the least to remember. Does not: lock; the owner has many tables, and one lock each.

use crate::time::Time;

/// What a table keeps for a key. The default is that of a new key.
pub trait State: Copy + Default {
    /// When it is as new.
    fn until(&self) -> Time;
}

/// Places that a tag can be in.
const WINDOW: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub struct Keyed<S> {
    /// 0 = free.
    tags: Box<[u64]>,
    states: Box<[S]>,
    most: usize,
    /// Keys that were forgotten while they were in use.
    pub evicted: u64,
    keys: usize,
}

/// Where a tag is, or can go.
enum Found {
    There(usize),
    Free(usize),
    /// Every place is taken; this one is nearest to new.
    Taken(usize),
}

impl<S: State> Keyed<S> {
    /// An empty table, which holds about `keys` keys at the most: twice as many places, a power of two.
    pub fn new(keys: usize) -> Self {
        let most = keys.saturating_mul(2).next_power_of_two().max(WINDOW);
        Self { tags: Box::default(), states: Box::default(), most, evicted: 0, keys: 0 }
    }

    /// The state of a tag: hashes whose low bits are as good as random.
    pub fn of(&mut self, tag: u64, now: Time) -> &mut S {
        let tag = tag.max(1);
        let at = loop {
            match self.find(tag, now) {
                Found::There(at) => return &mut self.states[at],
                Found::Free(at) => break at,
                Found::Taken(_) if self.tags.len() < self.most => self.grow(now),
                Found::Taken(at) => {
                    self.evicted += 1;
                    break at;
                }
            }
        };
        self.keys += usize::from(self.tags[at] == 0);
        self.tags[at] = tag;
        self.states[at] = S::default();
        &mut self.states[at]
    }

    /// The state of a tag that has one; makes none.
    pub fn get(&self, tag: u64) -> Option<S> {
        match self.find(tag.max(1), Time::ZERO) {
            Found::There(at) => Some(self.states[at]),
            Found::Free(_) | Found::Taken(_) => None,
        }
    }

    /// Places that hold a key, in use or as new.
    pub const fn keys(&self) -> usize {
        self.keys
    }

    #[cfg(test)]
    pub(super) const fn tags(&self) -> usize {
        self.tags.len()
    }

    fn find(&self, tag: u64, now: Time) -> Found {
        let mask = self.tags.len().wrapping_sub(1);
        if self.tags.is_empty() {
            return Found::Taken(0);
        }
        let home = tag as usize;
        let (mut free, mut nearest) = (None, (Time::from_nanos(u64::MAX), 0));
        for step in 0..WINDOW {
            let at = home.wrapping_add(step) & mask;
            match self.tags[at] {
                found if found == tag => return Found::There(at),
                0 => free = free.or(Some(at)),
                // Asked for only where no place is free.
                _ if free.is_none() => nearest = nearest.min((self.states[at].until(), at)),
                _ => {}
            }
        }
        match free {
            Some(at) => Found::Free(at),
            None if nearest.0 <= now => Found::Free(nearest.1),
            None => Found::Taken(nearest.1),
        }
    }

    /// Twice as many places; those as new are left behind.
    fn grow(&mut self, now: Time) {
        let places = (self.tags.len() * 2).max(WINDOW);
        let tags = std::mem::replace(&mut self.tags, vec![0; places].into());
        let states = std::mem::replace(&mut self.states, vec![S::default(); places].into());
        self.keys = 0;
        for (tag, state) in tags.iter().zip(&states).filter(|(tag, state)| **tag != 0 && state.until() > now) {
            let (Found::There(at) | Found::Free(at) | Found::Taken(at)) = self.find(*tag, now);
            self.evicted += u64::from(self.tags[at] != 0);
            self.keys += usize::from(self.tags[at] == 0);
            self.tags[at] = *tag;
            self.states[at] = *state;
        }
    }
}
