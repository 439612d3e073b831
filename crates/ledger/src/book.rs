//! A book: requests by how they ended; and the same read from an access log and from metrics.

use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests by how they ended.
#[derive(Default, Debug)]
pub struct Book {
    /// By class of status: `[0]` is unused.
    classes: [AtomicU64; 6],
    refused: AtomicU64,
    lost: AtomicU64,
    stale: AtomicU64,
    wrong: AtomicU64,
    closed: AtomicU64,
    left_out: AtomicU64,
    /// Of the latest thing that went wrong, for people.
    words: std::sync::Mutex<Option<String>>,
    micros: std::sync::Mutex<Vec<u32>>,
}

/// A book at one moment.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub classes: [u64; 6],
    /// The connection was not accepted.
    pub refused: u64,
    /// The connection ended without the whole answer.
    pub lost: u64,
    /// A kept connection was closed before any byte of the answer.
    pub stale: u64,
    /// The answer was another request's, or damaged.
    pub wrong: u64,
    /// Connections that the peer asked to close (`connection: close`).
    pub closed: u64,
    /// Requests that a GOAWAY left out, and that were sent again.
    pub left_out: u64,
    pub words: Option<String>,
}

impl Counts {
    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Requests that were not answered as they should.
    pub const fn failed(&self) -> u64 {
        self.refused + self.lost + self.stale + self.wrong
    }
}

impl Book {
    pub fn status(&self, status: u16) {
        self.classes[usize::from(status / 100).min(5)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, why: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.say(why);
    }

    pub(crate) fn lost(&self, why: String) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.say(why);
    }

    pub(crate) fn stale(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wrong(&self, why: String) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        self.say(why);
    }

    pub(crate) fn closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    fn say(&self, why: String) {
        *lock(&self.words) = Some(why);
    }

    /// Latencies of a client, when it ends.
    pub(crate) fn add_micros(&self, micros: &[u32]) {
        lock(&self.micros).extend_from_slice(micros);
    }

    /// The latency that `share` (0 to 1) of the answers did not exceed, in microseconds. Whole when all clients ended.
    pub fn quantile(&self, share: f64) -> u32 {
        let mut all = lock(&self.micros);
        all.sort_unstable();
        let index = (all.len() as f64 * share) as usize;
        all.get(index.min(all.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            classes: std::array::from_fn(|class| read(&self.classes[class])),
            refused: read(&self.refused),
            lost: read(&self.lost),
            stale: read(&self.stale),
            wrong: read(&self.wrong),
            closed: read(&self.closed),
            left_out: read(&self.left_out),
            words: lock(&self.words).clone(),
        }
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Counts the lines of a JSON access log as they come, until its writer ends.
pub fn count_log(log: impl BufRead, into: &Book) {
    for line in log.lines().map_while(Result::ok) {
        let code = line.split_once("\"response_code\":").map(|(_, rest)| rest);
        let digits = code.and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok());
        match digits {
            Some(status) => into.status(status),
            None => into.wrong(line),
        }
    }
}

/// Sums `istio_requests_total` of a Prometheus text by class of status.
pub fn count_metrics(text: &str) -> [u64; 6] {
    let mut classes = [0; 6];
    for line in text.lines().filter(|line| line.starts_with("istio_requests_total{")) {
        let code = line.split_once("response_code=\"").and_then(|(_, rest)| rest.get(..1)?.parse::<usize>().ok());
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
        classes[code.unwrap_or(0).min(5)] += value.unwrap_or(0);
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_metrics_are_read() {
        let book = Book::default();
        count_log(&b"{\"a\":1,\"response_code\":200,\"x\":2}\n{\"response_code\":503}\nrubbish\n"[..], &book);
        let counts = book.counts();
        assert_eq!((counts.classes, counts.wrong), ([0, 0, 1, 0, 0, 1], 1));
        let text = "istio_requests_total{a=\"b\",response_code=\"200\",response_flags=\"-\"} 7\n\
                    istio_requests_total{response_code=\"204\"} 1\nother 3\n";
        assert_eq!(count_metrics(text), [0, 0, 8, 0, 0, 0]);
    }
}
