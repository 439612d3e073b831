//! The access log on its way out: a buffer per worker, one writer thread, never a wait on the data path.
//!
//! ```text
//!   request ─► worker's buffer ─► (next turn of the loop) ─► bounded channel ─► writer thread ─► stdout
//!                                                               full: dropped and counted
//! ```
//! Does not: format lines (`weir_observe::Line` does).

use crate::mesh::Mesh;
use crate::worker::Worker;
use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::Notify;
use weir_observe::Line;
use weir_policy::plan::AccessLog;

/// Buffers that may wait for the writer.
const WAITING: usize = 256;
/// A worker's buffer is sent when it is this full, without waiting for the turn of the loop.
const FULL: usize = 64 * 1024;
/// What a new buffer holds before it grows: some lines.
const FIRST: usize = 4 * 1024;

/// A worker's end of the log.
pub(crate) struct Log {
    format: AccessLog,
    buffer: RefCell<Vec<u8>>,
    lines: RefCell<u64>,
    written: Notify,
    sender: Option<SyncSender<Vec<u8>>>,
    mesh: Arc<Mesh>,
}

/// The writer thread, and the way to it.
pub(crate) struct Writer {
    pub(crate) sender: SyncSender<Vec<u8>>,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts the writer thread; each worker gets a [`Log`] with a clone of the sender. `None` when the log is off.
pub(crate) fn start_writer(format: AccessLog) -> std::io::Result<Option<Writer>> {
    if format == AccessLog::Off {
        return Ok(None);
    }
    let (sender, receiver) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(&receiver))?;
    Ok(Some(Writer { sender, thread }))
}

fn write_all(receiver: &Receiver<Vec<u8>>) {
    let mut out = std::io::stdout();
    for lines in receiver {
        // A closed pipe is no reason to stop serving; there is no better place to say so.
        if out.write_all(&lines).is_err() || out.flush().is_err() {
            continue;
        }
    }
}

impl Log {
    pub(crate) fn new(format: AccessLog, sender: Option<SyncSender<Vec<u8>>>, mesh: Arc<Mesh>) -> Self {
        Self { format, buffer: RefCell::default(), lines: RefCell::new(0), written: Notify::new(), sender, mesh }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.sender.is_some()
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        let mut buffer = self.buffer.borrow_mut();
        match self.format {
            AccessLog::Text => line.text(&mut buffer),
            AccessLog::Json | AccessLog::Off => line.json(&mut buffer),
        }
        *self.lines.borrow_mut() += 1;
        let full = buffer.len() >= FULL;
        drop(buffer);
        if full {
            self.flush_now();
        } else {
            self.written.notify_one();
        }
    }

    /// Hands what is buffered to the writer, or drops and counts it when the writer is behind.
    pub(crate) fn flush_now(&self) {
        let (Some(sender), lines) = (&self.sender, self.lines.take()) else { return };
        if lines == 0 {
            return;
        }
        let lines_out = self.buffer.replace(Vec::with_capacity(FIRST));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(lines_out) {
            self.mesh.registry.dropped_lines(lines);
        }
    }
}

/// Flushes once per turn of the loop in which something was logged.
pub(crate) async fn flush(worker: Rc<Worker>) {
    loop {
        worker.log.written.notified().await;
        worker.log.flush_now();
    }
}
