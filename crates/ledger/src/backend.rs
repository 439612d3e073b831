//! A backend that answers each request with its id, keeps a book, and fails a chosen share of them on purpose.

use crate::book::Book;
use crate::framed_backend;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// Shares of requests, in thousandths, chosen by the id: the same ids, the same faults.
#[derive(Clone, Copy, Default, Debug)]
pub struct Faults {
    /// Answered with 503.
    pub errors: u64,
    /// Not answered: the connection is closed.
    pub closes: u64,
}

/// A running backend. Its threads end with the process.
#[derive(Debug)]
pub struct Backend {
    pub port: u16,
    /// A request that was not answered on purpose stands in the class of 5xx: that is what its client must see.
    pub book: Arc<Book>,
}

/// A port of our own. A thousand dials at once find room: those that did not would be tried again by their system after a
/// second, which is nobody's time but the test's.
fn listen() -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    socket2::SockRef::from(&listener).listen(4096)?;
    Ok(listener)
}

impl Backend {
    /// Listens on loopback.
    ///
    /// # Errors
    /// No port.
    pub fn start(faults: Faults) -> std::io::Result<Self> {
        let listener = listen()?;
        let port = listener.local_addr()?.port();
        let book = Arc::new(Book::default());
        let kept = Arc::clone(&book);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let book = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, faults, &book));
            }
        });
        Ok(Self { port, book })
    }
}

impl Backend {
    /// One that speaks HTTP/2: to GET and to unary gRPC calls as to any id, and `/talk`, which says back what is said.
    ///
    /// # Errors
    /// No port.
    pub fn start_framed() -> std::io::Result<Self> {
        let listener = listen()?;
        let port = listener.local_addr()?.port();
        let book = Arc::new(Book::default());
        framed_backend::serve(listener, Arc::clone(&book))?;
        Ok(Self { port, book })
    }
}

fn serve(mut stream: TcpStream, faults: Faults, book: &Book) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut line, mut id, mut waits) = (String::new(), 0, false);
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.starts_with("GET ") {
            id = line.split(['/', ' ']).find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
        // Only what has no body is answered: who sends one slowly is to wait for ever.
        waits |= line.starts_with("POST ");
        if line != "\r\n" || waits {
            continue;
        }
        let draw = scatter(id) % 1000;
        if draw < faults.closes {
            book.status(503);
            return None;
        }
        let status = if draw < faults.closes + faults.errors { 503 } else { 200 };
        let words = body(id);
        book.status(status);
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{words}", words.len());
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

/// What the answer to `id` must be: of a length that differs from one to the next.
pub(crate) fn body(id: u64) -> String {
    let mark = scatter(id);
    format!("{id}:{}", format!("{mark:016x}").repeat(1 + (mark % 8) as usize))
}

/// An id's bits, well mixed (splitmix64).
fn scatter(id: u64) -> u64 {
    let mut mixed = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
