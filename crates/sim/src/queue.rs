//! The virtual clock: events in order of time, and of the order they were planned in when the time is the same.
//!
//! Does not: know what an event means.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use weir_policy::time::Time;

/// What is to come. Its clock stands at the event taken last.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    planned: u64,
    now: Time,
}

/// An event whose time has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due<E> {
    pub at: Time,
    pub event: E,
}

#[derive(Debug)]
struct Entry<E> {
    at: Time,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0, now: Time::ZERO }
    }
}

impl<E> Queue<E> {
    /// Plans `event` for `at`; for now, when `at` has passed.
    pub fn plan(&mut self, at: Time, event: E) {
        let entry = Entry { at: at.max(self.now), sequence: self.planned, event };
        self.planned += 1;
        self.heap.push(Reverse(entry));
    }

    /// The next event; the clock moves to it.
    pub fn take(&mut self) -> Option<Due<E>> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(Due { at: entry.at, event: entry.event })
    }

    /// The time of the event taken last.
    pub const fn now(&self) -> Time {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_orders_events_and_planning_orders_those_of_one_time() {
        let mut queue = Queue::default();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (1, "b")] {
            queue.plan(Time::from_millis(at), name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.take()).map(|due| due.event).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        queue.plan(Time::ZERO, "late");
        assert_eq!(queue.take().map(|due| due.at), Some(Time::from_millis(5)), "time never runs backwards");
    }
}
