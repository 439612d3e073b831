//! Where requests are worked on: futures that are made once and used by one connection, or stream, after another.
//!
//! ```text
//!   job ─► a free desk, or a new one ─► polled until done ─► free again
//!                                          │ a panic: the desk is thrown away, and what lay on it
//! ```
//! The future of a request is large, so it is neither moved nor made anew for each; and an idle connection holds none.
//! While a desk works, its worker's watch stands still. Does not: know what a job is about.

use super::http2::serve::{self as http2, Begun};
use super::serve::{self as http1, After, Client};
use crate::worker::Worker;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Desks kept for the next jobs of a worker.
const MOST: usize = 512;

/// What is to be done.
pub(crate) enum Job {
    /// The requests of a connection that has become readable.
    Connection(Box<Client>),
    /// The one request of a stream.
    Stream(Box<Begun>),
}

/// What came of it.
pub(crate) enum Done {
    Connection(Box<Client>, After),
    Stream,
}

/// In, and out.
#[derive(Default)]
struct Tray {
    job: Cell<Option<Job>>,
    done: Cell<Option<Done>>,
}

struct Desk {
    tray: Rc<Tray>,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

/// A worker's free desks.
#[derive(Default)]
pub(crate) struct Desks {
    free: RefCell<Vec<Desk>>,
}

impl Desks {
    /// Frees all that nobody works at.
    pub(crate) fn clear(&self) {
        drop(self.free.take());
    }

    /// Has `job` done; `None` when it panicked.
    pub(crate) async fn work(worker: &Rc<Worker>, job: Job) -> Option<Done> {
        let free = worker.desks.free.borrow_mut().pop();
        let mut desk = free.unwrap_or_else(|| Desk::new(worker));
        desk.tray.job.set(Some(job));
        let done = poll_fn(|cx| desk.poll(worker, cx)).await?;
        let mut free = worker.desks.free.borrow_mut();
        if free.len() < MOST {
            free.push(desk);
        }
        Some(done)
    }
}

impl Desk {
    fn new(worker: &Rc<Worker>) -> Self {
        let tray = Rc::new(Tray::default());
        let work = Box::pin(work(Rc::clone(worker), Rc::clone(&tray)));
        Self { tray, work }
    }

    fn poll(&mut self, worker: &Worker, cx: &mut Context<'_>) -> Poll<Option<Done>> {
        worker.clock.stop();
        let polled = catch_unwind(AssertUnwindSafe(|| self.work.as_mut().poll(cx)));
        worker.clock.go_on();
        match (polled, self.tray.done.take()) {
            (Ok(_), Some(done)) => Poll::Ready(Some(done)),
            (Ok(_), None) => Poll::Pending,
            (Err(_), _) => Poll::Ready(None),
        }
    }
}

async fn work(worker: Rc<Worker>, tray: Rc<Tray>) {
    loop {
        // Nobody need be woken for a job: who brings it polls.
        let job = poll_fn(|_| tray.job.take().map_or(Poll::Pending, Poll::Ready)).await;
        let done = match job {
            Job::Connection(mut client) => {
                let after = http1::busy(&worker, &mut client).await;
                Done::Connection(client, after)
            }
            Job::Stream(begun) => {
                http2::run(*begun).await;
                Done::Stream
            }
        };
        tray.done.set(Some(done));
    }
}
