//! A backend that keeps every byte it is sent, tells requests apart strictly, and answers as it is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A running recorder. Its threads end with the process.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// Everything, over all connections.
    bytes: Vec<u8>,
    /// Whole requests, as sent.
    requests: Vec<String>,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

impl Recorder {
    /// Answers `ok` to everything.
    pub(crate) fn start() -> Self {
        Self::answering(OK)
    }

    /// Sends these bytes for each whole request.
    pub(crate) fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&shared);
                std::thread::spawn(move || record(stream, answer, &kept));
            }
        });
        Self { port, kept }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.kept.lock().expect("kept").bytes.clone()
    }

    /// The whole requests so far, bytes as characters.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.kept.lock().expect("kept").requests.clone()
    }

    pub(crate) fn last(&self) -> String {
        self.requests().pop().expect("a request")
    }
}

fn record(mut stream: TcpStream, answer: &str, kept: &Mutex<Kept>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut unread, mut piece) = (Vec::new(), [0; 64 * 1024]);
    loop {
        while let Some(length) = whole(&unread) {
            let request: Vec<u8> = unread.drain(..length).collect();
            kept.lock().ok()?.requests.push(request.iter().map(|byte| char::from(*byte)).collect());
            stream.write_all(answer.as_bytes()).ok()?;
        }
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        unread.extend_from_slice(&piece[..count]);
        kept.lock().ok()?.bytes.extend_from_slice(&piece[..count]);
    }
}

/// The length of the first request, when all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked\r\n") {
        let mut at = head;
        loop {
            let end = at + find(&bytes[at..], b"\r\n")?;
            let size =
                usize::from_str_radix(std::str::from_utf8(&bytes[at..end]).ok()?, 16).expect("a plain chunk size");
            if size == 0 {
                let trailers =
                    if bytes[end..].starts_with(b"\r\n\r\n") { 4 } else { find(&bytes[end..], b"\r\n\r\n")? + 4 };
                return Some(end + trailers);
            }
            at = end + 2 + size + 2;
            if at > bytes.len() {
                return None;
            }
        }
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
