//! A line that says that long work goes on; on a terminal only.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Shown until it is dropped, from the first second on.
pub(crate) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    pub(crate) fn start(files: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let (ended, wait) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut seconds = 0u32;
            while wait.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                seconds += 1;
                eprint!("\rweir: checking {files} files, {seconds} s");
            }
            if seconds > 0 {
                // To the start of the line, and nothing on it.
                eprint!("\r\u{1b}[K");
            }
            let _ = std::io::stderr().flush();
        });
        Self(Some((ended, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((ended, thread)) = self.0.take() {
            drop(ended);
            // A thread that only writes to stderr: whatever it met, the check is done.
            let _ = thread.join();
        }
    }
}
