//! The demo's callers: threads that each send requests one after the other.

use super::parts::Part;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// What the callers saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) ok: u32,
    pub(crate) failed: u32,
    /// Of each request, the shortest first.
    pub(crate) times: Vec<Duration>,
}

/// Sends the requests of a part through the proxy. Several callers send each of theirs at the same moment.
pub(crate) fn run(proxy: SocketAddr, part: &Part) -> Seen {
    let mut seen = Seen::default();
    let together = Barrier::new(part.callers as usize);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..part.callers).map(|_| scope.spawn(|| calls(proxy, part, &together))).collect();
        for thread in threads {
            // A caller that panicked has nothing to tell; its requests are missing from the sum.
            let Ok(one) = thread.join() else { continue };
            seen.ok += one.ok;
            seen.failed += one.failed;
            seen.times.extend(one.times);
        }
    });
    seen.times.sort_unstable();
    seen
}

#[allow(clippy::disallowed_methods, reason = "the binary measures what its callers wait")]
fn calls(proxy: SocketAddr, part: &Part, together: &Barrier) -> Seen {
    let mut seen = Seen::default();
    let mut link = None;
    for _ in 0..part.requests {
        together.wait();
        let began = Instant::now();
        let status = call(proxy, part.host, &mut link);
        seen.times.push(began.elapsed());
        match status {
            Some(200) => seen.ok += 1,
            _ => seen.failed += 1,
        }
    }
    seen
}

fn call(proxy: SocketAddr, host: &str, link: &mut Option<BufReader<TcpStream>>) -> Option<u16> {
    let mut reader = match link.take() {
        Some(reader) => reader,
        None => {
            let stream = TcpStream::connect_timeout(&proxy, Duration::from_secs(2)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            stream.set_nodelay(true).ok()?;
            BufReader::new(stream)
        }
    };
    write!(reader.get_mut(), "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").ok()?;
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    *link = Some(reader);
    Some(status)
}
