//! The demo's sample services: four small HTTP servers, three of them with faults.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use weir_policy::rng::Rng;

/// What a server does to some of its requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Twelve of twenty: eight 503, four closed without an answer.
    Failing,
    /// Three of twenty take 300 ms.
    Slow,
    /// Everything takes 100 ms.
    Busy,
}

/// What becomes of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Ok,
    Late(Duration),
    Unavailable,
    Closed,
}

impl Fault {
    /// `draw` is one of twenty.
    const fn fate(self, draw: u64) -> Fate {
        match (self, draw) {
            (Self::Failing, 0..8) => Fate::Unavailable,
            (Self::Failing, 8..12) => Fate::Closed,
            (Self::Slow, 0..3) => Fate::Late(Duration::from_millis(300)),
            (Self::Busy, _) => Fate::Late(Duration::from_millis(100)),
            _ => Fate::Ok,
        }
    }
}

/// Names in the documents, and the servers they stand for.
const SERVERS: [(&str, Fault); 4] =
    [("$WELL", Fault::None), ("$FAILING", Fault::Failing), ("$SLOW", Fault::Slow), ("$BUSY", Fault::Busy)];

/// The running servers. Their threads end with the process.
pub(crate) struct Samples {
    seed: u64,
    servers: Vec<(&'static str, u16, Arc<Mutex<Rng>>)>,
}

impl Samples {
    /// What stands for each server in the documents, and its port.
    pub(crate) fn ports(&self) -> Vec<(&'static str, u16)> {
        self.servers.iter().map(|(name, port, _)| (*name, *port)).collect()
    }

    /// From here on the same failures come again, in the same order.
    pub(crate) fn begin(&self) {
        for (_, _, rng) in &self.servers {
            *rng.lock().unwrap_or_else(PoisonError::into_inner) = Rng::new(self.seed);
        }
    }
}

pub(crate) fn start(seed: u64) -> std::io::Result<Samples> {
    let mut samples = Samples { seed, servers: Vec::new() };
    for (name, fault) in SERVERS {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let rng = Arc::new(Mutex::new(Rng::new(seed)));
        samples.servers.push((name, listener.local_addr()?.port(), Arc::clone(&rng)));
        std::thread::Builder::new().name("sample".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let rng = Arc::clone(&rng);
                // Each connection has a thread: there are as many as the demo has callers, or a person's curls.
                std::thread::spawn(move || serve(stream, fault, &rng));
            }
        })?;
    }
    Ok(samples)
}

fn serve(mut stream: TcpStream, fault: Fault, rng: &Mutex<Rng>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
        }
        let draw = rng.lock().unwrap_or_else(PoisonError::into_inner).below(20);
        let status = match fault.fate(draw) {
            Fate::Ok => "200 OK",
            Fate::Unavailable => "503 Service Unavailable",
            Fate::Closed => return None,
            Fate::Late(length) => {
                std::thread::park_timeout(length);
                "200 OK"
            }
        };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 6\r\n\r\nhello\n").ok()?;
    }
}
