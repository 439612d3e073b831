//! Real servers through the TCP path: Redis and PostgreSQL behave as directly.
//!
//! Without `redis-server` and PostgreSQL these tests fail: `bash scripts/test.sh environment` installs them.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::{Weir, eventually, folder, free_port, signal};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server that ends with its test.
struct Server {
    child: Child,
    port: u16,
    end: &'static str,
}

impl Drop for Server {
    fn drop(&mut self) {
        signal(self.child.id(), self.end);
        let _ = self.child.wait();
    }
}

/// A weir that has the server at a port of its own.
fn in_front(protocol: &str, server: u16) -> (Weir, u16) {
    let port = free_port();
    let mesh = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: db }}
spec:
  hosts: [db.test]
  resolution: STATIC
  ports: [{{ number: {port}, name: it, protocol: {protocol}, targetPort: {server} }}]
  endpoints: [{{ address: 127.0.0.1 }}]
"
    );
    (Weir::start(&mesh, &[]), port)
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn redis() -> Server {
    let (port, folder) = (free_port(), folder());
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1"]).current_dir(folder);
    let child = silent(&mut command).spawn().expect("redis-server runs");
    let server = Server { child, port, end: "TERM" };
    eventually("redis answers", || ask(port, "PING\r\n").as_deref() == Some("+PONG\r\n+OK\r\n"));
    server
}

/// Everything that a Redis says to this, until it ends.
fn ask(port: u16, words: &str) -> Option<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    socket.write_all(words.as_bytes()).ok()?;
    socket.write_all(b"QUIT\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn redis_behaves_as_directly() {
    let server = redis();
    let (weir, port) = in_front("REDIS", server.port);
    let large = "x".repeat(1 << 20);
    let conversation = format!(
        "FLUSHALL\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{large}\r\nSTRLEN k\r\nGET k\r\nMULTI\r\nINCR l\r\nINCR l\r\nEXEC\r\nNOSUCH\r\n{}",
        large.len(),
        "INCR l\r\n".repeat(10_000)
    );
    let direct = ask(server.port, &conversation).expect("an answer");
    assert!(direct.len() > 1 << 20);
    assert!(ask(port, &conversation).expect("an answer") == direct, "the same, byte for byte");
    // A subscriber hears what another connection says, over a reload too.
    let mut subscriber = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    subscriber.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let hears = |subscriber: &mut TcpStream, words: &str| {
        let mut bytes = vec![0; words.len()];
        subscriber.read_exact(&mut bytes).expect("heard");
        assert_eq!(String::from_utf8_lossy(&bytes), words);
    };
    subscriber.write_all(b"SUBSCRIBE c\r\n").expect("written");
    hears(&mut subscriber, "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    weir.signal("HUP");
    eventually("a reload", || weir.said().contains("is in force"));
    assert_eq!(ask(port, "PUBLISH c hello\r\n").as_deref(), Some(":1\r\n+OK\r\n"));
    hears(&mut subscriber, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n");
    let done = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-n", "20000", "-c", "50", "-P", "8", "-q", "-t", "ping,set,get,lpush,mset"])
        .output()
        .expect("redis-benchmark runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains("MSET"), "{said}");
}

/// The newest PostgreSQL here.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let newest = versions.flatten().map(|entry| entry.path()).max().expect("a version");
    newest.join("bin")
}

/// As the user that PostgreSQL insists on, when we are root.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new(program);
    let number = |flag: &str| {
        let told = Command::new("id").args([flag, "postgres"]).output().expect("id runs").stdout;
        String::from_utf8_lossy(&told).trim().parse::<u32>().expect("a number")
    };
    let root = Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
    if root {
        command.uid(number("-u")).gid(number("-g"));
    }
    command
}

fn postgres() -> Server {
    let (port, programs) = (free_port(), programs());
    let folder = folder();
    let opened = Command::new("chmod").arg("777").arg(&folder).status().expect("chmod runs");
    assert!(opened.success());
    let data = folder.join("data");
    let mut command = as_postgres(&programs.join("initdb"));
    command.args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"]).arg(&data);
    assert!(silent(&mut command).status().expect("initdb runs").success());
    let mut command = as_postgres(&programs.join("postgres"));
    command.args(["-p", &port.to_string(), "-h", "127.0.0.1", "-F", "-k"]).arg(&folder).arg("-D").arg(&data);
    let child = silent(&mut command).spawn().expect("postgres runs");
    let server = Server { child, port, end: "INT" };
    eventually("postgres answers", || psql(port, "select 1") == "1\n");
    server
}

/// What psql says: answers and errors.
fn psql(port: u16, words: &str) -> String {
    let output = Command::new("psql")
        .args(["-h", "127.0.0.1", "-U", "postgres", "-At", "-p", &port.to_string(), "-c", words])
        .output()
        .expect("psql runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn postgresql_behaves_as_directly() {
    let server = postgres();
    let (weir, port) = in_front("TCP", server.port);
    for words in [
        "select 6 * 7",
        "create table it (n int, words text)",
        "insert into it select n, repeat('x', 1000) from generate_series(1, 5000) n",
        "select * from it order by n",
        "copy it to stdout",
        "select 1 / 0",
        "select no_such()",
        "drop table it",
    ] {
        let direct = psql(server.port, words);
        if words.starts_with("create") || words.starts_with("insert") || words.starts_with("drop") {
            assert!(!direct.contains("ERROR"), "{direct}");
            continue;
        }
        assert!(psql(port, words) == direct, "{words}");
    }
    let bench = |arguments: &[&str]| {
        let mut command = Command::new(programs().join("pgbench"));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()]).args(arguments).arg("postgres");
        let output = command.output().expect("pgbench runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        said
    };
    bench(&["-i", "-s", "1"]);
    let said = bench(&["-c", "4", "-t", "50"]);
    assert!(said.contains("number of transactions actually processed: 200/200"), "{said}");
    eventually("none is left", || weir.connections() == 0);
}
