//! What the tests against the real binary share: a weir, a backend, a client. Standard library only.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "for tests")]

pub(crate) mod keys;
pub(crate) mod recorder;

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

/// A Gateway on loopback whose every host leads to `app.test`.
pub(crate) fn gateway(port: u16) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{ name: edge }}
spec:
  servers:
  - port: {{ number: {port}, name: http, protocol: HTTP }}
    bind: 127.0.0.1
    hosts: [\"*\"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: edge }}
spec:
  hosts: [\"*\"]
  gateways: [edge]
  http:
  - route: [{{ destination: {{ host: app.test }} }}]
"
    )
}

/// A VirtualService for `app.test` with these rules, indented by two.
pub(crate) fn rules(http: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: app }}
spec:
  hosts: [app.test]
  http:
{http}"
    )
}

/// `Mesh.spec.limits`, as a document.
pub(crate) fn limits(written: &str) -> String {
    format!(
        "---\napiVersion: weir.dev/v1alpha1\nkind: Mesh\nmetadata: {{ name: mesh }}\nspec: {{ limits: {{ {written} }} }}\n"
    )
}

/// A weir with both doors open to one backend.
pub(crate) struct Doors {
    pub(crate) weir: Weir,
    pub(crate) edge: SocketAddr,
}

impl Doors {
    pub(crate) fn open(backend: u16, more: &str) -> Self {
        Self::open_with(backend, more, &[])
    }

    pub(crate) fn open_with(backend: u16, more: &str, arguments: &[&str]) -> Self {
        let port = free_port();
        let mesh = service_entry("app.test", backend) + &gateway(port) + more;
        Self { weir: Weir::start(&mesh, arguments), edge: ([127, 0, 0, 1], port).into() }
    }

    /// The outbound listener, and the Gateway's.
    pub(crate) fn both(&self) -> [SocketAddr; 2] {
        [self.weir.outbound, self.edge]
    }
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
    pub(crate) folder: PathBuf,
    child: Child,
    file: PathBuf,
    arguments: Vec<String>,
    /// Processes that took over.
    successors: Vec<u32>,
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
        Self::start_with(mesh, arguments, |_| {})
    }

    /// `prepare` may change the command: its environment, its outputs. What weir says is in `stderr` of its folder.
    pub(crate) fn start_with(mesh: &str, arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = folder();
        let file = folder.join("mesh.yaml");
        std::fs::write(&file, mesh).expect("written");
        let local = [127, 0, 0, 1];
        let (outbound, admin): (SocketAddr, SocketAddr) = ((local, free_port()).into(), (local, free_port()).into());
        let mut all: Vec<String> = ["run", "--outbound"].map(str::to_owned).into();
        all.extend([outbound.to_string(), "--admin".to_owned(), admin.to_string()]);
        if !arguments.contains(&"--access-log") {
            all.extend(["--access-log", "off"].map(str::to_owned));
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        all.extend(["-f".to_owned(), file.to_string_lossy().into_owned()]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let said = std::fs::File::create(folder.join("stderr")).expect("a file");
        command.args(&all).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        prepare(&mut command);
        let child = command.spawn().expect("weir starts");
        let weir = Self { outbound, admin, folder, child, file, arguments: all, successors: Vec::new() };
        weir.until_ready();
        weir
    }

    fn until_ready(&self) {
        let end = Instant::now() + PATIENCE;
        while !(TcpStream::connect(self.admin).is_ok()
            && self.try_admin("GET", "/ready").is_some_and(|it| it.status == 200))
        {
            assert!(Instant::now() < end, "weir is not ready; it said:\n{}", self.said());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// What it wrote to stderr.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    /// Ends it without warning and starts it again; returns when it serves.
    pub(crate) fn kill_and_restart(&mut self) -> Duration {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
        let said = std::fs::File::create(self.folder.join("stderr")).expect("a file");
        let began = Instant::now();
        self.child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("weir starts");
        self.until_ready();
        began.elapsed()
    }

    /// Has it hand over to a new process.
    pub(crate) fn upgrade(&mut self) -> Reply {
        let reply = self.admin("POST", "/api/v1/upgrade");
        if reply.status == 200 {
            let text = reply.text();
            let number = text.split(' ').nth(1).and_then(|word| word.parse().ok());
            self.successors.push(number.expect("the number of the new process"));
        }
        reply
    }

    /// Where the access log comes out, when it was piped.
    pub(crate) fn access_log(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("stdout is piped")
    }

    pub(crate) fn adopt(&mut self, successor: u32) {
        self.successors.push(successor);
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    pub(crate) fn remove_documents(&self) {
        std::fs::remove_file(&self.file).expect("removed");
    }

    /// Replaces the documents, as an editor does: by a rename.
    pub(crate) fn write(&self, mesh: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, mesh).expect("written");
        std::fs::rename(&new, &self.file).expect("renamed");
    }

    pub(crate) fn admin(&self, method: &str, path: &str) -> Reply {
        self.try_admin(method, path).expect("an answer of the admin address")
    }

    pub(crate) fn try_admin(&self, method: &str, path: &str) -> Option<Reply> {
        Client::try_open(self.admin)?.send(method, "127.0.0.1", path, "connection: close\r\n")
    }

    pub(crate) fn connections(&self) -> u64 {
        self.metric("weir_downstream_connections_active")
    }

    /// The value of one series: `name` or `name{labels}`; 0 when it is not there yet.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.admin("GET", "/metrics").text();
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.map_or(0, |value| value.parse().expect("a number"))
    }

    pub(crate) fn resources(&self) -> Resources {
        let count = |name: &str| std::fs::read_dir(format!("/proc/{}/{name}", self.id())).expect("proc").count();
        Resources { descriptors: count("fd"), threads: count("task") }
    }

    /// Of the process that serves.
    pub(crate) fn id(&self) -> u32 {
        self.successors.last().copied().unwrap_or_else(|| self.child.id())
    }

    /// Resident memory of the process that serves, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("proc");
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
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
        for successor in &self.successors {
            // Only if it still is a weir: the number may be another's by now.
            let name = std::fs::read_to_string(format!("/proc/{successor}/comm")).unwrap_or_default();
            if name.trim() == "weir" {
                signal(*successor, "KILL");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn signal(process: u32, name: &str) {
    let done = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().expect("kill runs");
    assert!(done.success(), "kill -{name} {process}");
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
        Self::try_open(address).expect("connected")
    }

    pub(crate) fn try_open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { reader: BufReader::new(stream) })
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
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
