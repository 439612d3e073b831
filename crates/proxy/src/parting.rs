//! The word to an HTTP/2 connection that it is to take no more streams, and to end after the last.
//!
//! Does not: decide when (the worker does).

use crate::worker::DRAIN_IDLE;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use weir_policy::time::Time;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Parting(Rc<PartingState>);

#[derive(Debug)]
struct PartingState {
    told: Cell<Option<Time>>,
    heard: Cell<Heard>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    No,
    Yes,
}

impl Parting {
    pub(crate) fn new() -> Self {
        Self(Rc::new(PartingState { told: Cell::new(None), heard: Cell::new(Heard::No), waker: RefCell::new(None) }))
    }

    pub(crate) fn tell(&self, now: Time) {
        if self.0.told.get().is_none() {
            self.0.told.set(Some(now));
            if let Some(waker) = self.0.waker.take() {
                waker.wake();
            }
        }
    }

    /// Tells it; false when it was told long ago, and is still there.
    pub(crate) fn is_polite(&self, now: Time) -> bool {
        self.tell(now);
        self.0.told.get().is_some_and(|told| now.since(told) < DRAIN_IDLE)
    }

    /// Ready once, when it was told.
    pub(crate) fn poll_told(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.heard.get() == Heard::Yes {
            return Poll::Pending;
        }
        if self.0.told.get().is_some() {
            self.0.heard.set(Heard::Yes);
            return Poll::Ready(());
        }
        let mut waker = self.0.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
