//! Closed-loop clients: each sends, waits for the whole answer, checks it, writes it down; some connections are kept,
//! all are given up and opened anew from time to time.

#![allow(clippy::disallowed_methods, reason = "a client of real servers lives in real time")]

use crate::backend::body;
use crate::book::{Book, Counts};
use crate::framed;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// In what a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Speaks {
    #[default]
    Http1,
    /// GET in HTTP/2, prior knowledge.
    Http2,
    /// A unary gRPC call.
    Grpc,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    pub speaks: Speaks,
    pub to: SocketAddr,
    pub host: String,
    /// Clients at the same time.
    pub clients: usize,
    /// Requests per second of all clients together; `None` = as many as are answered.
    pub rate: Option<u32>,
    /// Requests on one connection, before a new one is opened; every fourth connection is given up after one.
    pub kept: u32,
    /// Ends by itself after so many.
    pub requests: Option<u64>,
}

/// Clients under way.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    pub book: Arc<Book>,
}

impl Load {
    pub fn start(self) -> Running {
        let (stop, book, next) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Book::default()), Arc::new(AtomicU64::new(1)));
        let threads = (0..self.clients)
            .map(|index| {
                let client = Client {
                    load: self.clone(),
                    index,
                    stop: Arc::clone(&stop),
                    book: Arc::clone(&book),
                    next: Arc::clone(&next),
                };
                std::thread::spawn(move || match client.load.speaks {
                    Speaks::Http1 => client.run(),
                    Speaks::Http2 | Speaks::Grpc => framed::run(&client),
                })
            })
            .collect();
        Running { stop, threads, book }
    }
}

impl Running {
    /// Lets every client finish the request it has sent.
    pub fn finish(self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until all requests are sent and answered.
    pub fn wait(self) -> Counts {
        for thread in self.threads {
            // A client that panicked is a client whose request was lost; the test that started it must not go on.
            if thread.join().is_err() {
                self.book.lost("a client panicked".to_owned());
            }
        }
        self.book.counts()
    }
}

pub(crate) struct Client {
    pub(crate) load: Load,
    index: usize,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) book: Arc<Book>,
    next: Arc<AtomicU64>,
}

/// When the next request of a client is due.
pub(crate) struct Pace {
    pause: Option<Duration>,
    next: Instant,
}

impl Pace {
    /// How long to wait for it; the one after it is due a pause later, or at once when this one was late by more.
    pub(crate) fn due(&mut self) -> Option<Duration> {
        let pause = self.pause?;
        let now = Instant::now();
        let left = self.next.checked_duration_since(now);
        self.next = if left.is_some() { self.next + pause } else { (self.next + pause).max(now) };
        left
    }
}

impl Client {
    pub(crate) fn pace(&self) -> Pace {
        let pause =
            self.load.rate.map(|rate| Duration::from_secs_f64(self.load.clients as f64 / f64::from(rate.max(1))));
        let first = pause.unwrap_or_default().mul_f64(self.index as f64 / self.load.clients as f64);
        Pace { pause, next: Instant::now() + first }
    }

    /// The id of the next request; `None`: all are sent.
    pub(crate) fn next_id(&self) -> Option<u64> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.load.requests.is_none_or(|most| id <= most).then_some(id)
    }

    fn run(&self) {
        let mut pace = self.pace();
        let mut micros = Vec::new();
        let mut connections = self.index as u32;
        let mut kept: Option<(Connection, u32)> = None;
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(left) = pace.due() {
                std::thread::sleep(left);
            }
            let Some(id) = self.next_id() else { break };
            let began = Instant::now();
            let (mut connection, left) = match kept.take() {
                Some(kept) => kept,
                None => match Connection::open(self.load.to) {
                    Ok(connection) => {
                        connections += 1;
                        (connection, if connections.is_multiple_of(4) { 1 } else { self.load.kept })
                    }
                    Err(why) => {
                        self.book.refused(format!("id {id}: {why}"));
                        continue;
                    }
                },
            };
            let stays = self.exchange(&mut connection, id);
            micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
            if stays && left > 1 {
                kept = Some((connection, left - 1));
            }
        }
        self.book.add_micros(&micros);
    }

    /// One request; whether the connection may carry another.
    fn exchange(&self, connection: &mut Connection, id: u64) -> bool {
        match connection.ask(&self.load.host, id) {
            Ok(answer) => {
                if answer.status == 200 && answer.body != body(id).as_bytes() {
                    self.book.wrong(format!("id {id} was answered {:?}", String::from_utf8_lossy(&answer.body)));
                    return false;
                }
                self.book.status(answer.status);
                if answer.close {
                    self.book.closed();
                }
                connection.served += 1;
                !answer.close
            }
            Err(Failure::BeforeAnything) if connection.served > 0 => {
                self.book.stale();
                false
            }
            Err(failure) => {
                self.book.lost(format!("id {id} on a connection that served {}: {failure:?}", connection.served));
                false
            }
        }
    }
}

struct Connection {
    reader: BufReader<TcpStream>,
    served: u32,
}

struct Answer {
    status: u16,
    close: bool,
    body: Vec<u8>,
}

#[derive(Debug)]
enum Failure {
    /// Not one byte of an answer came.
    BeforeAnything,
    Within(#[expect(dead_code, reason = "shown")] std::io::Error),
}

impl From<std::io::Error> for Failure {
    fn from(why: std::io::Error) -> Self {
        Self::Within(why)
    }
}

impl Connection {
    fn open(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { reader: BufReader::new(stream), served: 0 })
    }

    fn ask(&mut self, host: &str, id: u64) -> Result<Answer, Failure> {
        let request = format!("GET /{id} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).map_err(|_| Failure::BeforeAnything)?;
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => return Err(Failure::BeforeAnything),
            Err(why) if line.is_empty() && why.kind() == std::io::ErrorKind::ConnectionReset => {
                return Err(Failure::BeforeAnything);
            }
            Err(why) => return Err(why.into()),
            Ok(_) => {}
        }
        let malformed = || std::io::Error::other("not an HTTP answer");
        let status = line.split(' ').nth(1).and_then(|word| word.trim().parse().ok()).ok_or_else(malformed)?;
        let (mut length, mut close) = (0, false);
        loop {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(malformed().into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| malformed())?;
            }
            close |= name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close");
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok(Answer { status, close, body })
    }
}
