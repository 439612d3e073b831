//! Connections that become WebSockets, and those that only ask to become something (UPG-01, UPG-03).

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::recorder::Recorder;
use common::{Client, Doors, eventually, rules};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const ASK: &str = "GET /chat HTTP/1.1\r\nHost: app.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A backend whose every connection is the test's to play.
struct Stage {
    port: u16,
    actors: Receiver<TcpStream>,
}

impl Stage {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, actors): (Sender<TcpStream>, _) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { port, actors }
    }

    /// The next connection, and the head that came over it.
    fn next(&self) -> (TcpStream, String) {
        let mut stream = self.actors.recv_timeout(PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let head = read_head(&mut stream);
        (stream, head)
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("read") == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text").to_ascii_lowercase()
}

fn hear(stream: &mut TcpStream, words: &[u8]) {
    let mut bytes = vec![0; words.len()];
    stream.read_exact(&mut bytes).expect("heard");
    assert_eq!(bytes, words);
}

#[test]
fn a_websocket_carries_bytes_both_ways_through_both_doors() {
    let stage = Stage::open();
    let doors = Doors::open(stage.port, &rules("  - timeout: 1s\n    route: [{ destination: { host: app.test } }]\n"));
    for at in doors.both() {
        let mut client = TcpStream::connect(at).expect("connected");
        client.set_read_timeout(Some(PATIENCE)).expect("set");
        client.write_all(ASK.as_bytes()).expect("written");
        // Ahead of the answer: it is not to go up before it.
        client.write_all(b"early").expect("written");
        let (mut actor, head) = stage.next();
        for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-key: dghl"] {
            assert_eq!(head.matches(field).count(), 1, "{field}: {head}");
        }
        actor.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
        assert!(actor.read(&mut [0; 8]).is_err(), "no byte before the 101");
        actor.set_read_timeout(Some(PATIENCE)).expect("set");
        actor.write_all(AGREED.as_bytes()).expect("written");
        actor.write_all(b"first").expect("written");
        let told = read_head(&mut client);
        assert!(told.starts_with("http/1.1 101 switching protocols\r\n"), "{told}");
        for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-accept: s3pp"] {
            assert_eq!(told.matches(field).count(), 1, "{field}: {told}");
        }
        assert!(!told.contains("content-length") && !told.contains("transfer-encoding"), "{told}");
        hear(&mut client, b"first");
        hear(&mut actor, b"early");
        // The route's time is for the answer.
        std::thread::park_timeout(Duration::from_millis(1200));
        client.write_all(b"ping").expect("written");
        hear(&mut actor, b"ping");
        actor.write_all(b"pong").expect("written");
        hear(&mut client, b"pong");
        client.shutdown(Shutdown::Write).expect("shut");
        assert_eq!(actor.read(&mut [0; 8]).expect("an end"), 0);
        actor.write_all(b"bye").expect("the other half goes on");
        drop(actor);
        hear(&mut client, b"bye");
        assert_eq!(client.read(&mut [0; 8]).expect("an end"), 0);
    }
    eventually("both are gone", || doors.weir.connections() == 0);
    let counted = doors.weir.admin("GET", "/metrics").text();
    let line = counted.lines().find(|line| line.starts_with("istio_requests_total") && line.contains("\"101\""));
    assert!(line.is_some_and(|line| line.ends_with(" 2")), "{line:?}");
}

/// UPG-01: what follows a request that was not agreed to is the next request, routed as such.
#[test]
fn without_a_101_the_next_request_is_a_request() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    for at in doors.both() {
        let before = backend.requests().len();
        let mut client = Client::open(at);
        let both = format!("{ASK}GET /next HTTP/1.1\r\nHost: other.test\r\n\r\n");
        assert_eq!(client.raw(both.as_bytes()).expect("an answer").status, 200);
        let next = client.reply().expect("an answer");
        // At the edge every host leads to the backend; inside, this one is known nowhere.
        assert!([200, 502].contains(&next.status), "{}", next.status);
        assert!(backend.requests()[before].starts_with("GET /chat "));
        assert_eq!(backend.requests().len() - before, if next.status == 200 { 2 } else { 1 });
    }
}

/// UPG-03, and other words that ask for what is not served.
#[test]
fn nothing_else_is_switched_to() {
    let backend = Recorder::start();
    let doors = Doors::open(backend.port, "");
    let asks = [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: foo\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
    ];
    for at in doors.both() {
        for fields in asks {
            let mut client = Client::open(at);
            assert_eq!(client.send("GET", "app.test", "/", fields).expect("an answer").status, 200, "{fields}");
            let seen = backend.last().to_ascii_lowercase();
            assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{seen}");
        }
        let mut client = Client::open(at);
        let body = "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n";
        assert!(client.raw(format!("POST / HTTP/1.1\r\nHost: app.test\r\n{body}\r\nok").as_bytes()).is_some());
        assert!(!backend.last().to_ascii_lowercase().contains("upgrade"));
    }
}

#[test]
fn a_101_that_was_not_asked_for_is_refused() {
    let stage = Stage::open();
    let doors = Doors::open(stage.port, "");
    let other = AGREED.replace("websocket", "h2c");
    for (ask, answer) in
        [("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n", AGREED), (ASK, other.as_str()), (ASK, "HTTP/1.1 101 x\r\n\r\n")]
    {
        let mut client = TcpStream::connect(doors.edge).expect("connected");
        client.set_read_timeout(Some(PATIENCE)).expect("set");
        client.write_all(ask.as_bytes()).expect("written");
        let (mut actor, _) = stage.next();
        actor.write_all(answer.as_bytes()).expect("written");
        assert!(read_head(&mut client).starts_with("http/1.1 502 "), "{ask} {answer}");
        // The rest of that connection is nobody's answer.
        let _ = actor.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(actor.read(&mut [0; 8]).unwrap_or(0), 0, "it is not used again");
    }
    assert!(matches!(stage.actors.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout)));
}
