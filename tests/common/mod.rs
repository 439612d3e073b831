//! What the tests against the real binary share: a weir, a backend, a client. Standard library only.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "for tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a condition, with a deadline.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A ServiceEntry for a backend on loopback.
pub(crate) fn service_entry(host: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name} }}
spec:
  hosts: [{host}]
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {port} }}]
  endpoints: [{{ address: 127.0.0.1 }}]
",
        name = host.replace('.', "-")
    )
}

/// A backend that answers `ok` to everything.
pub(crate) struct Backend {
    pub(crate) port: u16,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer_all(stream));
            }
        });
        Self { port }
    }
}

fn answer_all(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").ok()?;
        }
    }
}

/// A running weir with its own folder; ended with the test.
pub(crate) struct Weir {
    pub(crate) outbound: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    file: PathBuf,
}

/// What a process holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resources {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that was free a moment ago, below the ephemeral range.
pub(crate) fn free_port() -> u16 {
    loop {
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let port = 12_000 + ((std::process::id() * 37 + number * 7) % 18_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn folder() -> PathBuf {
    let name = format!("weir-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

impl Weir {
    pub(crate) fn start(mesh: &str, arguments: &[&str]) -> Self {
        let file = folder().join("mesh.yaml");
        std::fs::write(&file, mesh).expect("written");
        let (outbound, admin) = ([127, 0, 0, 1], free_port());
        let outbound: SocketAddr = (outbound, free_port()).into();
        let admin: SocketAddr = ([127, 0, 0, 1], admin).into();
        let child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["run", "--access-log", "off", "--outbound", &outbound.to_string(), "--admin", &admin.to_string()])
            .args(arguments)
            .arg("-f")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("weir starts");
        let weir = Self { outbound, admin, child, file };
        eventually("weir is ready", || TcpStream::connect(admin).is_ok() && weir.admin("GET", "/ready").status == 200);
        weir
    }

    /// Replaces the documents, as an editor does: by a rename.
    pub(crate) fn write(&self, mesh: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, mesh).expect("written");
        std::fs::rename(&new, &self.file).expect("renamed");
    }

    pub(crate) fn admin(&self, method: &str, path: &str) -> Reply {
        let mut client = Client::open(self.admin);
        client.send(method, "127.0.0.1", path, "connection: close\r\n").expect("an answer of the admin address")
    }

    pub(crate) fn connections(&self) -> u64 {
        self.metric("weir_downstream_connections_active")
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.admin("GET", "/metrics").text();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect("the metric").to_owned();
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    pub(crate) fn resources(&self) -> Resources {
        let count = |name: &str| std::fs::read_dir(format!("/proc/{}/{name}", self.child.id())).expect("proc").count();
        Resources { descriptors: count("fd"), threads: count("task") }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        eventually("weir ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("ended")
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(self.file.parent().expect("a folder"));
    }
}

/// One keep-alive connection.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { reader: BufReader::new(stream) }
    }

    pub(crate) fn get(&mut self, host: &str, path: &str) -> Option<Reply> {
        self.send("GET", host, path, "")
    }

    pub(crate) fn send(&mut self, method: &str, host: &str, path: &str, headers: &str) -> Option<Reply> {
        self.raw(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").as_bytes())
    }

    /// Sends bytes as they are and reads one reply.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Option<Reply> {
        self.reader.get_mut().write_all(bytes).ok()?;
        self.reply()
    }

    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.trim().parse().ok()?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        match reply.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => {
                reply.body = vec![0; length];
                self.reader.read_exact(&mut reply.body).ok()?;
            }
            None => {
                self.reader.read_to_end(&mut reply.body).ok()?;
            }
        }
        Some(reply)
    }

    /// Has the peer ended the connection?
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).is_ok()
    }
}
