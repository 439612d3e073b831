//! CONNECT on the outbound listener: tunnels to known hosts, and to nobody else.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::{Backend, Client, Weir, eventually, free_port, service_entry};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// A server that sends back what comes.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    port
}

fn ask(weir: &Weir, target: &str) -> TcpStream {
    let mut client = TcpStream::connect(weir.outbound).expect("connected");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    client.write_all(head.as_bytes()).expect("written");
    client
}

fn status(weir: &Weir, target: &str) -> u16 {
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    Client::open(weir.outbound).raw(head.as_bytes()).expect("an answer").status
}

#[test]
fn a_tunnel_to_a_known_host_carries_bytes() {
    let weir = Weir::start(&service_entry("app.test", echo()), &[]);
    let mut client = ask(&weir, "app.test:80");
    client.write_all(b"early").expect("written");
    let mut told = vec![0; b"HTTP/1.1 200 OK\r\n\r\nearly".len()];
    client.read_exact(&mut told).expect("read");
    assert_eq!(told, b"HTTP/1.1 200 OK\r\n\r\nearly");
    client.write_all(&[0, 255, 13, 10]).expect("written");
    let mut four = [0; 4];
    client.read_exact(&mut four).expect("read");
    assert_eq!(four, [0, 255, 13, 10]);
    client.shutdown(Shutdown::Write).expect("shut");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("an end");
    assert!(rest.is_empty());
    eventually("it is gone", || weir.connections() == 0);
    let text = weir.admin("GET", "/metrics").text();
    let counted = text.lines().any(|line| {
        line.starts_with("istio_requests_total") && line.contains("response_code=\"200\"") && line.ends_with(" 1")
    });
    assert!(counted, "{text}");
}

#[test]
fn a_tunnel_leads_nowhere_else() {
    let dead = free_port();
    let mesh = service_entry("app.test", echo()) + "---\n" + &service_entry("dead.test", dead);
    let weir = Weir::start(&mesh, &[]);
    let backend = Backend::start();
    for (target, expected) in [
        ("app.test:81", 404),
        ("dead.test:80", 503),
        ("other.test:80", 502),
        (&*format!("127.0.0.1:{}", backend.port), 502),
    ] {
        assert_eq!(status(&weir, target), expected, "{target}");
    }
    let any = "---
apiVersion: weir.dev/v1alpha1
kind: Mesh
metadata: { name: mesh }
spec: { outboundTrafficPolicy: { mode: ALLOW_ANY } }
";
    let istio = Weir::start(&mesh, &["--compatibility", "istio"]);
    assert_eq!(status(&istio, "app.test:80"), 404, "as Envoy");
    let weir = Weir::start(&(mesh + any), &[]);
    let mut client = ask(&weir, &format!("127.0.0.1:{}", backend.port));
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let mut told = [0; 50];
    client.read_exact(&mut told).expect("read");
    assert!(told.starts_with(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&told));
    assert_eq!(status(&weir, &weir.outbound.to_string()), 503, "never to weir itself");
}
