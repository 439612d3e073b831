//! The demo's sample services: three small HTTP servers, two of them with faults.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use weir_policy::rng::Rng;

/// What a server does to some of its requests.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Three of ten: half of them 503, half closed without an answer.
    Failing,
    /// One of five takes 300 ms.
    Slow,
}

/// Starts the three servers; returns their ports.
pub(crate) fn start(seed: u64) -> std::io::Result<[u16; 3]> {
    let mut ports = [0; 3];
    for (port, fault) in ports.iter_mut().zip([Fault::None, Fault::Failing, Fault::Slow]) {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        let rng = Arc::new(Mutex::new(Rng::new(seed)));
        std::thread::Builder::new().name("sample".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let rng = Arc::clone(&rng);
                // Each connection has a thread; there are as many as the demo has callers.
                std::thread::spawn(move || serve(stream, fault, &rng));
            }
        })?;
    }
    Ok(ports)
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
        let status = match (fault, draw) {
            (Fault::Failing, 0..3) => "503 Service Unavailable",
            (Fault::Failing, 3..6) => return None,
            (Fault::Slow, 0..4) => {
                std::thread::park_timeout(Duration::from_millis(300));
                "200 OK"
            }
            _ => "200 OK",
        };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 6\r\n\r\nhello\n").ok()?;
    }
}
