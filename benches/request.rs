//! What one proxied request costs in instructions of our own code, on three rungs, so that growth is seen.
//!
//! ```text
//!   hard-coded   the wire crate on bare sockets: one upstream written into the code, nothing decided
//!   thin         the proxy with a plan of one route and no policy, no access log
//!   full         the proxy with every policy of `full.yaml` on, and the access log
//! ```
//! `cargo bench --bench request` runs each rung under callgrind with N and with 3N requests and divides the difference
//! of the worker thread's instructions by 2N: start-up cancels out, and what the kernel does is not in it. It compares
//! with `benches/request.txt` and fails when a rung grew by more than 5 %; `-- --renew` writes that file anew.
//! Does not: measure time.

#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a bench run by hand: a failure is a failure")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

#[path = "request/hard_coded.rs"]
mod hard_coded;
#[path = "request/plans.rs"]
mod plans;

const RUNGS: [&str; 3] = ["hard-coded", "thin", "full"];
const REQUESTS: u64 = 400;
/// Growth beyond this share fails.
const BOUND: f64 = 0.05;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--child") {
        child(&arguments[at + 1], arguments[at + 2].parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--test") {
        RUNGS.iter().for_each(|rung| child(rung, 3));
        return ExitCode::SUCCESS;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/request.txt");
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let mut now = String::from("# instructions of the worker thread per request (user code, callgrind)\n");
    let mut grown = false;
    for rung in RUNGS {
        let count = (instructions(rung, 3 * REQUESTS) - instructions(rung, REQUESTS)) / (2 * REQUESTS);
        let known = before.lines().find_map(|line| line.strip_prefix(rung)?.trim().parse::<u64>().ok());
        let change = known.map_or(0.0, |known| count as f64 / known as f64 - 1.0);
        println!("{rung:<12} {count:>7}   {:+.1} % against {}", change * 100.0, known.unwrap_or(0));
        grown |= change > BOUND;
        let _ = writeln!(now, "{rung:<12} {count}");
    }
    if arguments.iter().any(|argument| argument == "--renew") {
        std::fs::write(&file, now).expect("written");
        return ExitCode::SUCCESS;
    }
    if grown { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Instructions of the thread that carries the traffic, over a run of `requests`.
fn instructions(rung: &str, requests: u64) -> u64 {
    let folder = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes", "--quiet"])
        .arg(format!("--callgrind-out-file={}/out", folder.display()))
        .arg(std::env::current_exe().expect("this program"))
        .args(["--child", rung, &requests.to_string()])
        .stdout(Stdio::null())
        .status()
        .expect("valgrind is installed");
    assert!(ran.success(), "{rung} ran");
    let outputs = std::fs::read_dir(&folder).expect("readable").flatten();
    let texts = outputs.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let of = |text: &str| text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    let carries = |text: &String| text.contains("weir_wire::head::parse_request") || text.contains("parse_request");
    let sum = texts.filter(carries).filter_map(|text| of(&text)).max().expect("a thread that parses requests");
    std::fs::remove_dir_all(&folder).expect("removed");
    sum
}

/// A backend, the rung in front of it, and a client that sends `requests` one after the other, as services do.
fn child(rung: &str, requests: u64) {
    let backend = backend();
    let (address, _running) = match rung {
        "hard-coded" => (hard_coded::start(backend), None),
        "thin" => plans::start(plans::thin(backend)),
        _ => plans::start(plans::full(backend)),
    };
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("set");
    let mut answer = [0u8; 16 * 1024];
    for _ in 0..requests {
        stream.write_all(REQUEST).expect("sent");
        let mut held = 0;
        while !answer[..held].ends_with(b"the end") {
            let count = stream.read(&mut answer[held..]).expect("an answer");
            assert!(count > 0, "the connection stays");
            held += count;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..held]));
    }
}

/// Thirteen fields, as a call between services has them.
const REQUEST: &[u8] = b"GET /api/v1/orders/123?expand=items HTTP/1.1\r\nHost: app.test\r\n\
User-Agent: shop/4.12 (linux; x86_64) client/1.9\r\nAccept: application/json;q=0.9, */*;q=0.8\r\n\
Accept-Encoding: gzip, br\r\nAccept-Language: en-US,en;q=0.9\r\nCache-Control: no-cache\r\n\
Authorization: Bearer aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\
Cookie: session=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n\
traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Tenant: acme\r\n\
X-Client-Version: 4.12.1\r\nReferer: https://shop.test/cart\r\nX-Request-Id: 1f0c7d5e-2b86-4a6e-9a53-6f1d1b8b2c11\r\n\r\n";

/// Answers every request with the same kilobyte.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let body = format!("{}the end", "x".repeat(1017));
    let answer = format!(
        "HTTP/1.1 200 OK\r\nserver: origin\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_nodelay(true).expect("set");
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty() && stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
