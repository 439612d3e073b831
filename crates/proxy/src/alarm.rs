//! One timer per connection, lazily re-armed: a request that ends in time costs no timer operation.
//!
//! ```text
//!   deadline later than the armed one   keep; when it fires early, arm again
//!   deadline earlier                    arm anew
//! ```
//! Does not: know what the deadline is for.

use crate::clock::Watch;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Sleep;
use weir_policy::time::Time;

/// See the module. Unused, it is a null pointer.
#[derive(Default, Debug)]
pub(crate) struct Alarm {
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    until: Time,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    /// Ready when `deadline` has passed.
    pub(crate) fn poll(&mut self, clock: &Watch, deadline: Time, cx: &mut Context<'_>) -> Poll<()> {
        let armed = self.armed.get_or_insert_with(|| Armed {
            until: deadline,
            sleep: Box::pin(tokio::time::sleep_until(clock.instant(deadline))),
        });
        if deadline < armed.until {
            armed.until = deadline;
            armed.sleep.as_mut().reset(clock.instant(deadline));
        }
        loop {
            if armed.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if clock.now() >= deadline {
                return Poll::Ready(());
            }
            // It fired for an earlier deadline, or a fraction of the timer's millisecond too soon.
            armed.until = deadline;
            let again = clock.instant(deadline).max(clock.instant(clock.now() + std::time::Duration::from_micros(500)));
            armed.sleep.as_mut().reset(again);
        }
    }
}
