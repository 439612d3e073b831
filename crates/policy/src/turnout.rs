//! Which endpoints of a cluster are in use: found, taken out and put back in constant time.
//!
//! ```text
//!   dense  [4 0 2]        the usable ones, in any order: one is drawn by its rank
//!   at     [1 - 2 - 0]    where each stands in it
//! ```
//! Does not: know why one is out ([`crate::outlier`]).

use crate::outlier;

const OUT: u32 = u32::MAX;

/// See the module. Endpoints are numbered as in the rules.
#[derive(Clone, Default, Debug)]
pub struct Turnout {
    dense: Vec<u32>,
    at: Vec<u32>,
    panic: Panic,
}

/// Are so few in use that all are (`minHealthPercent`)?
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Panic {
    #[default]
    No,
    Yes,
}

impl Turnout {
    /// Of `count` endpoints, less those that are `out`.
    pub fn new(count: u32, out: impl Fn(u32) -> bool) -> Self {
        let mut turnout = Self { dense: Vec::with_capacity(count as usize), at: Vec::new(), panic: Panic::No };
        for index in 0..count {
            let place = if out(index) { OUT } else { turnout.dense.len() as u32 };
            turnout.at.push(place);
            if place != OUT {
                turnout.dense.push(index);
            }
        }
        turnout
    }

    /// All endpoints.
    pub const fn len(&self) -> u32 {
        self.at.len() as u32
    }

    pub const fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Usable endpoints; all of them in panic.
    pub const fn count(&self) -> usize {
        match self.panic {
            Panic::No => self.dense.len(),
            Panic::Yes => self.at.len(),
        }
    }

    /// One of the usable ones, by its rank below [`Turnout::count`].
    pub fn nth(&self, rank: usize) -> usize {
        match self.panic {
            Panic::No => self.dense[rank] as usize,
            Panic::Yes => rank,
        }
    }

    pub fn has(&self, index: usize) -> bool {
        self.panic == Panic::Yes || self.at[index] != OUT
    }

    /// Takes one out.
    pub fn take(&mut self, index: u32) {
        let place = std::mem::replace(&mut self.at[index as usize], OUT);
        if place == OUT {
            return;
        }
        self.dense.swap_remove(place as usize);
        if let Some(moved) = self.dense.get(place as usize) {
            self.at[*moved as usize] = place;
        }
    }

    /// Puts one back. There is room: it was in before.
    pub fn put(&mut self, index: u32) {
        if self.at[index as usize] == OUT {
            self.at[index as usize] = self.dense.len() as u32;
            self.dense.push(index);
        }
    }

    /// One more endpoint, in use, behind the others.
    pub fn grow(&mut self) {
        let index = self.at.len() as u32;
        self.at.push(self.dense.len() as u32);
        self.dense.push(index);
    }

    /// One endpoint fewer: the last takes the number of the one that goes.
    pub fn shrink(&mut self, index: u32) {
        self.take(index);
        let Some(last) = self.at.pop() else { return };
        if (index as usize) < self.at.len() {
            self.at[index as usize] = last;
            if last != OUT {
                self.dense[last as usize] = index;
            }
        }
    }

    /// Looks whether there is panic, after a change.
    pub fn judge(&mut self, rules: Option<&outlier::Rules>) {
        let panic = |rules| outlier::is_panic(rules, self.dense.len() as u32, self.at.len() as u32);
        self.panic = if rules.is_some_and(panic) { Panic::Yes } else { Panic::No };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_usable_ones_are_exactly_those_not_taken(count in 1u32..20, moves in proptest::collection::vec((0u32..20, any::<bool>()), 0..60)) {
            let mut turnout = Turnout::new(count, |_| false);
            let mut model: std::collections::BTreeSet<u32> = (0..count).collect();
            for (index, out) in moves {
                let index = index % count;
                if out {
                    turnout.take(index);
                    model.remove(&index);
                } else {
                    turnout.put(index);
                    model.insert(index);
                }
                let found: std::collections::BTreeSet<u32> =
                    (0..turnout.count()).map(|rank| turnout.nth(rank) as u32).collect();
                prop_assert_eq!(&found, &model);
                prop_assert!((0..count).all(|index| turnout.has(index as usize) == model.contains(&index)));
            }
        }
    }

    proptest! {
        #[test]
        fn growing_and_shrinking_keep_who_is_in(moves in proptest::collection::vec((0u32..3, 0u32..20), 0..80)) {
            let mut turnout = Turnout::new(3, |index| index == 1);
            let mut model = vec![true, false, true];
            for (kind, index) in moves {
                match kind {
                    0 => {
                        turnout.grow();
                        model.push(true);
                    }
                    1 if !model.is_empty() => {
                        let index = index % model.len() as u32;
                        turnout.shrink(index);
                        model.swap_remove(index as usize);
                    }
                    2 if !model.is_empty() => {
                        let index = index % model.len() as u32;
                        turnout.take(index);
                        model[index as usize] = false;
                    }
                    _ => {}
                }
                let mut found: Vec<usize> = (0..turnout.count()).map(|rank| turnout.nth(rank)).collect();
                found.sort_unstable();
                let expected: Vec<usize> = (0..model.len()).filter(|index| model[*index]).collect();
                prop_assert_eq!(found, expected);
                prop_assert_eq!(turnout.len() as usize, model.len());
            }
        }
    }

    #[test]
    fn in_panic_all_are_used() {
        let mut turnout = Turnout::new(4, |index| index > 0);
        turnout.judge(Some(&outlier::Rules { min_health_percent: 26, ..outlier::Rules::default() }));
        assert!(turnout.count() == 4 && turnout.has(3));
        turnout.judge(Some(&outlier::Rules { min_health_percent: 25, ..outlier::Rules::default() }));
        assert!(turnout.count() == 1 && !turnout.has(3) && turnout.nth(0) == 0);
    }
}
