//! A modelled proxy's connections to one endpoint: idle, being dialled, or waited for in line.
//!
//! ```text
//!   lend ─► idle? ──────────────────────────────► Ready
//!            │ none
//!            └─ the cluster's ceilings say ─► Dial │ InLine │ Full
//!   give_back ─► first in line gets it │ else idle
//!   close ─────► first in line must dial
//! ```
//! One worker's pool; connections are counted, they have no age. Does not: decide the ceilings
//! (`weir_policy::inflight` does).

use std::collections::VecDeque;
use weir_policy::inflight::{Held, Inflight, Rules, Wait};

/// See the module. `T` names who waits.
#[derive(Debug)]
pub struct Pool<T> {
    idle: u32,
    open: u32,
    line: VecDeque<T>,
}

/// What a request that wants a connection gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lent {
    /// A connection.
    Ready,
    /// A place to dial; [`Pool::dialled`] or [`Pool::failed`] follows.
    Dial,
    /// A place in line; it hears from [`Pool::give_back`] or [`Pool::close`].
    InLine,
    /// Nothing: a ceiling.
    Full,
}

/// What the first in line gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next<T> {
    Nobody,
    /// The connection.
    Connection(T),
    /// The place to dial one, counted already.
    Dial(T),
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { idle: 0, open: 0, line: VecDeque::new() }
    }
}

impl<T: PartialEq> Pool<T> {
    /// A connection for `who`.
    pub fn lend(&mut self, inflight: &mut Inflight, rules: &Rules, who: T) -> Lent {
        if self.idle > 0 {
            self.idle -= 1;
            return Lent::Ready;
        }
        let held = if self.open == 0 { Held::None } else { Held::Some };
        match inflight.wait(rules, held) {
            Err(_) => Lent::Full,
            Ok(Wait::Queue) => {
                self.line.push_back(who);
                Lent::InLine
            }
            Ok(Wait::Dial) => {
                self.open += 1;
                Lent::Dial
            }
        }
    }

    /// A dial succeeded: whoever dialled has the connection.
    pub const fn dialled(&mut self, inflight: &mut Inflight) {
        inflight.waited();
    }

    /// A dial failed or was given up.
    pub fn failed(&mut self, inflight: &mut Inflight) -> Next<T> {
        inflight.waited();
        self.close(inflight)
    }

    /// Whoever stands in line gives up.
    pub fn leave_line(&mut self, inflight: &mut Inflight, who: &T) {
        if let Some(place) = self.line.iter().position(|other| other == who) {
            self.line.remove(place);
            inflight.waited();
        }
    }

    /// A connection can be used again.
    pub fn give_back(&mut self, inflight: &mut Inflight) -> Next<T> {
        match self.line.pop_front() {
            Some(next) => {
                inflight.waited();
                Next::Connection(next)
            }
            None => {
                self.idle += 1;
                Next::Nobody
            }
        }
    }

    /// A connection is gone.
    pub fn close(&mut self, inflight: &mut Inflight) -> Next<T> {
        self.open -= 1;
        inflight.disconnected();
        match self.line.pop_front() {
            Some(next) => {
                // It was waiting and goes on waiting, now for its own dial.
                self.open += 1;
                inflight.connections += 1;
                Next::Dial(next)
            }
            None => Next::Nobody,
        }
    }

    /// Closes what is idle: the end of a run.
    pub fn drain(&mut self, inflight: &mut Inflight) {
        while self.idle > 0 {
            self.idle -= 1;
            self.open -= 1;
            inflight.disconnected();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_served_in_order_and_counts_return_to_zero() {
        let rules = Rules { connections: 1, pending: 2, ..Rules::default() };
        let (mut inflight, mut pool) = (Inflight::default(), Pool::default());
        assert_eq!(pool.lend(&mut inflight, &rules, 1), Lent::Dial);
        pool.dialled(&mut inflight);
        assert_eq!(pool.lend(&mut inflight, &rules, 2), Lent::InLine);
        assert_eq!(pool.lend(&mut inflight, &rules, 3), Lent::InLine);
        assert_eq!(pool.lend(&mut inflight, &rules, 4), Lent::Full);
        assert_eq!(pool.give_back(&mut inflight), Next::Connection(2));
        assert_eq!(pool.close(&mut inflight), Next::Dial(3));
        assert_eq!(pool.failed(&mut inflight), Next::Nobody);
        assert_eq!(inflight, Inflight::default());
    }
}
