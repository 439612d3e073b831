//! Start, refuse to start, drain: against the real binary.

#![allow(clippy::expect_used, reason = "this is a test")]

mod common;

use common::{Backend, Client, Weir, eventually, folder, free_port, service_entry};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};

fn run(file: &std::path::Path, outbound: &str, admin: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--outbound", outbound, "--admin", admin, "-f"])
        .arg(file)
        .output()
        .expect("weir runs")
}

#[test]
fn a_port_in_use_is_an_error_also_when_another_weir_holds_it() {
    let weir = Weir::start(&service_entry("app.test", 1), &[]);
    let file = folder().join("mesh.yaml");
    std::fs::write(&file, service_entry("app.test", 1)).expect("written");
    let output = run(&file, &weir.outbound.to_string(), "off");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("is in use by another process") && said.contains("choose another port"), "{said}");

    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    let output = run(&file, "off", &address);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("(admin) is in use"));
}

#[test]
fn a_gateway_port_in_use_leaves_the_last_good_plan() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let backend = Backend::start();
    let weir = Weir::start(&service_entry("app.test", backend.port), &[]);
    let gateway = format!(
        "{}---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: g }}\nspec:\n  servers:\n  - port: {{ number: {port}, name: http, protocol: HTTP }}\n    bind: 127.0.0.1\n    hosts: [\"*\"]\n",
        service_entry("app.test", backend.port)
    );
    weir.write(&gateway);
    let refused = weir.admin("POST", "/api/v1/reload");
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("is in use"), "{}", refused.text());
    assert_eq!(Client::open(weir.outbound).get("app.test", "/").expect("an answer").status, 200);
}

#[test]
fn bad_documents_do_not_start() {
    let file = folder().join("mesh.yaml");
    std::fs::write(&file, "apiVersion: networking.istio.io/v1\nkind: Nothing\n").expect("written");
    let output = run(&file, "off", "off");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn sigterm_ends_idle_connections_and_the_process() {
    let backend = Backend::start();
    let mut weir = Weir::start(&service_entry("app.test", backend.port), &[]);
    let mut client = Client::open(weir.outbound);
    assert_eq!(client.get("app.test", "/").expect("an answer").status, 200);
    let kill = Command::new("kill").args(["-TERM", &weir.id().to_string()]).status().expect("kill runs");
    assert!(kill.success());
    assert_eq!(weir.wait().code(), Some(0));
    assert!(client.is_closed());
}

#[test]
fn a_request_body_is_refused_without_being_forwarded_when_it_is_not_http() {
    let backend = Backend::start();
    let weir = Weir::start(&service_entry("app.test", backend.port), &[]);
    let rows: [(&[u8], u16); 5] = [
        (
            b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: app.test\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: app.test\n\n", 400),
        (b"GET /%00 HTTP/1.1\r\nHost: app.test\r\n\r\n", 400),
    ];
    for (bytes, expected) in rows {
        let mut client = Client::open(weir.outbound);
        let reply = client.raw(bytes).expect("an answer");
        assert_eq!(reply.status, expected, "{}", String::from_utf8_lossy(bytes));
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(reply.header("x-weir-reason"), Some("bad_request"));
        assert!(client.is_closed());
    }
    eventually("all are gone", || weir.connections() == 0);
}

#[test]
fn the_admin_address_answers_local_tools_only() {
    let weir = Weir::start(&service_entry("app.test", 1), &[]);
    let foreign = Client::open(weir.admin).send("GET", "evil.test", "/metrics", "").expect("an answer");
    assert_eq!(foreign.status, 403);
    let page = Client::open(weir.admin).send("POST", "127.0.0.1", "/api/v1/reload", "origin: http://evil.test\r\n");
    assert_eq!(page.expect("an answer").status, 403);
    assert_eq!(Client::open(weir.admin).get("127.0.0.1", "/api/v1/reload").expect("an answer").status, 405);
    let everywhere: SocketAddr = ([0, 0, 0, 0], free_port()).into();
    let file = folder().join("mesh.yaml");
    std::fs::write(&file, "").expect("written");
    assert_eq!(run(&file, "off", &everywhere.to_string()).status.code(), Some(2));
}
