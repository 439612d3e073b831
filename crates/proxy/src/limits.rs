//! The living tokens of every limit, for the whole process: kept over reloads by id.
//!
//! Does not: decide; `weir_policy::limit` does.

use crate::clock::Clock;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use weir_observe::LimitNumbers;
use weir_policy::limit::{Rules, Tokens};

/// The tokens of one limit; the lock is held for one request's arithmetic.
pub(crate) type Pot = Mutex<Tokens>;

/// See the module.
#[derive(Default, Debug)]
pub(crate) struct Limits {
    by_id: Mutex<HashMap<Arc<str>, Arc<Pot>>>,
}

impl Limits {
    /// Finds or makes the tokens of each limit; changes nothing that a request can see.
    pub(crate) fn prepare(&self, rules: &[Arc<Rules>], clock: &Clock) -> Vec<Arc<Pot>> {
        let by_id = self.by_id.lock();
        let make = |rules: &Arc<Rules>| Arc::new(Mutex::new(Tokens::new(Arc::clone(rules), clock.now())));
        rules.iter().map(|rules| by_id.get(&rules.id).map_or_else(|| make(rules), Arc::clone)).collect()
    }

    /// Puts the rules of a prepared plan in force, and forgets limits that it does not have.
    pub(crate) fn adopt(&self, rules: &[Arc<Rules>], pots: &[Arc<Pot>], clock: &Clock) {
        for (rules, pot) in rules.iter().zip(pots) {
            let old = pot.lock().renew(Arc::clone(rules), clock.now());
            drop(old);
        }
        let kept = rules.iter().zip(pots).map(|(rules, pot)| (Arc::clone(&rules.id), Arc::clone(pot))).collect();
        let old = std::mem::replace(&mut *self.by_id.lock(), kept);
        drop(old);
    }

    /// What each limit counted, by id.
    pub(crate) fn numbers(&self) -> Vec<LimitNumbers> {
        let pots: Vec<(Arc<str>, Arc<Pot>)> =
            self.by_id.lock().iter().map(|(id, pot)| (Arc::clone(id), Arc::clone(pot))).collect();
        let number = |(id, pot): (Arc<str>, Arc<Pot>)| {
            let tokens = pot.lock();
            LimitNumbers { id, allowed: tokens.allowed, limited: tokens.limited, unknown: 0 }
        };
        let mut numbers: Vec<LimitNumbers> = pots.into_iter().map(number).collect();
        numbers.sort_by(|a, b| a.id.cmp(&b.id));
        numbers
    }
}
