//! A process people can trust: drain, upgrade, last good documents, systemd's protocols. Against the real binary.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::{Backend, Client, Weir, eventually, folder, free_port, gateway, service_entry, signal};
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn get(address: std::net::SocketAddr) -> u16 {
    Client::open(address).get("app.test", "/").expect("an answer").status
}

#[test]
fn an_upgrade_hands_every_listener_over() {
    let backend = Backend::start();
    let port = free_port();
    let mesh = service_entry("app.test", backend.port) + &gateway(port);
    let mut weir = Weir::start(&mesh, &["--workers", "2"]);
    let (first, edge) = (weir.id(), ([127, 0, 0, 1], port).into());
    let mut kept = Client::open(weir.outbound);
    assert_eq!(kept.get("app.test", "/").expect("an answer").status, 200);
    let reply = weir.upgrade();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_ne!(weir.id(), first);
    // The connection to the old process is still served, and its client is told to go.
    let last = kept.get("app.test", "/").expect("an answer of the old process");
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert_eq!(weir.wait().code(), Some(0), "the old process: {}", weir.said());
    assert_eq!((get(weir.outbound), get(edge)), (200, 200));
    assert_eq!(weir.admin("GET", "/ready").status, 200);
    // And again: what was taken over can be handed on.
    let second = weir.id();
    assert_eq!(weir.upgrade().status, 200);
    assert_ne!(weir.id(), second);
    eventually("the second process ends", || !std::path::Path::new(&format!("/proc/{second}/fd/0")).exists());
    assert_eq!((get(weir.outbound), get(edge)), (200, 200));
}

#[test]
fn a_successor_that_cannot_serve_leaves_the_old_one() {
    let backend = Backend::start();
    let good = service_entry("app.test", backend.port);
    let mut weir = Weir::start(&good, &[]);
    let first = weir.id();
    weir.write(&good.replace("hosts:", "hostz:"));
    let reply = weir.upgrade();
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert!(reply.text().contains("exit status: 2"), "{}", reply.text());
    assert_eq!((weir.id(), get(weir.outbound)), (first, 200));
    assert_eq!(weir.admin("GET", "/ready").status, 200);
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["upgrade", "--admin", &weir.admin.to_string()])
        .output()
        .expect("weir runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the running process goes on"));
}

#[test]
fn sigusr2_upgrades() {
    let backend = Backend::start();
    let mut weir = Weir::start(&service_entry("app.test", backend.port), &[]);
    weir.signal("USR2");
    let mut successor = None;
    eventually("a new process serves", || {
        let said = weir.said();
        let line = said.lines().find_map(|line| line.strip_prefix("weir: process ")?.split(' ').next()?.parse().ok());
        successor = line;
        successor.is_some()
    });
    weir.adopt(successor.expect("a process"));
    assert_eq!(weir.wait().code(), Some(0));
    assert_eq!(get(weir.outbound), 200);
}

#[test]
fn sigterm_is_not_ready_first_and_cuts_nothing() {
    let backend = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = backend.local_addr().expect("an address").port();
    let mut weir = Weir::start(&service_entry("app.test", port), &["--drain-delay", "2s"]);
    let mut client = Client::open(weir.outbound);
    client.stream().write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").expect("written");
    let (mut upstream, _) = backend.accept().expect("the request");
    weir.signal("TERM");
    eventually("not ready", || weir.admin("GET", "/ready").status == 503);
    // Still accepting: who has not looked at readiness yet is not refused.
    let mut late = Client::open(weir.outbound);
    let answer = late.get("nowhere.test", "/").expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (502, Some("close")));
    eventually("no more connections are accepted", || Client::try_open(weir.outbound).is_none());
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").expect("written");
    let answer = client.reply().expect("the request in flight is answered");
    assert_eq!((answer.status, answer.header("connection"), answer.text().as_str()), (200, Some("close"), "late"));
    assert_eq!(weir.wait().code(), Some(0));
}

#[test]
fn what_outlasts_the_drain_timeout_is_cut_and_the_exit_code_says_so() {
    let backend = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = backend.local_addr().expect("an address").port();
    let flags = ["--drain-delay", "0s", "--drain-timeout", "300ms"];
    let mut weir = Weir::start(&service_entry("app.test", port), &flags);
    let mut client = Client::open(weir.outbound);
    client.stream().write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").expect("written");
    let _request = backend.accept().expect("the request");
    weir.signal("TERM");
    assert_eq!(weir.wait().code(), Some(4), "{}", weir.said());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut weir = Weir::start(&service_entry("app.test", 1), &["--drain-delay", "60s"]);
    weir.signal("TERM");
    eventually("not ready", || weir.admin("GET", "/ready").status == 503);
    let began = Instant::now();
    weir.signal("TERM");
    assert_eq!(weir.wait().code(), Some(128 + 15));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_last_good_documents_are_served_after_a_kill() {
    let backend = Backend::start();
    let state = folder();
    let good = service_entry("app.test", backend.port);
    let mut weir = Weir::start(&good, &["--state", &state.to_string_lossy()]);
    assert_eq!(get(weir.outbound), 200);
    let status = |weir: &Weir| weir.admin("GET", "/api/v1/version").text();
    assert!(status(&weir).contains("\"status\":\"ok\""), "{}", status(&weir));

    weir.write(&good.replace("hosts:", "hostz:"));
    let took = weir.kill_and_restart();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(weir.said().contains("DEGRADED"), "{}", weir.said());
    assert!(status(&weir).contains("\"status\":\"degraded\""), "{}", status(&weir));
    assert!(status(&weir).contains("did you mean `hosts`?"), "{}", status(&weir));
    assert_eq!((get(weir.outbound), weir.metric("weir_config_degraded")), (200, 1));

    weir.remove_documents();
    weir.kill_and_restart();
    assert_eq!(get(weir.outbound), 200);

    weir.write(&good);
    assert_eq!(weir.admin("POST", "/api/v1/reload").status, 200);
    assert!(status(&weir).contains("\"status\":\"ok\""), "{}", status(&weir));
    let _ = std::fs::remove_dir_all(state);
}

#[test]
fn systemd_opens_the_sockets_and_hears_how_we_are() {
    let backend = Backend::start();
    let folder = folder();
    let file = folder.join("mesh.yaml");
    std::fs::write(&file, service_entry("app.test", backend.port)).expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let path = folder.join("notify");
    let notified = UnixDatagram::bind(&path).expect("a socket");
    notified.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let hear = || {
        let mut bytes = [0; 1024];
        let count = notified.recv(&mut bytes).expect("word of weir");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    // As systemd does it: the socket is descriptor 3.
    let mut weir = Command::new("sh")
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--admin", "off", "--drain-delay", "0s", "--outbound", &address.to_string(), "-f"])
        .arg(&file)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("weir starts");
    let until = |word: &str| {
        let end = Instant::now() + Duration::from_secs(10);
        while !hear().contains(word) {
            assert!(Instant::now() < end, "no {word}");
        }
    };
    until("READY=1");
    assert_eq!(get(address), 200);
    until("WATCHDOG=1");
    signal(weir.id(), "HUP");
    until("RELOADING=1");
    until("READY=1");
    signal(weir.id(), "TERM");
    until("STOPPING=1");
    assert_eq!(weir.wait().expect("ended").code(), Some(0));
    let _ = std::fs::remove_dir_all(folder);
}
