//! `weir ca`: what it makes, what it refuses, and that a Gateway and a client can be of it.

#![allow(clippy::expect_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test against a real process needs deadlines in real time")]

mod common;

use common::{Client, Weir, folder, free_port, service_entry};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What it said, and whether it did it.
fn ca(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_weir")).arg("ca").args(arguments).current_dir(folder).output();
    let done = done.expect("weir runs");
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn an_authority_and_its_certificates_replace_nothing_unasked() {
    let folder = folder();
    let ca = |arguments: &[&str]| ca(&folder, arguments);
    let (done, said) = ca(&["issue", "--service-account", "web", "--out", "web"]);
    assert!(!done && said.contains("weir ca init"), "{said}");
    assert!(ca(&["init", "--trust-domain", "shop.test"]).0);
    let (done, said) = ca(&["init"]);
    assert!(!done && said.contains("--force"), "{said}");
    let (done, said) = ca(&["issue", "--service-account", "web", "--out", "web", "--dns", "web.test"]);
    assert!(done && said.contains("spiffe://shop.test/ns/default/sa/web"), "{said}");
    let (done, said) = ca(&["issue", "--service-account", "web", "--out", "web"]);
    assert!(!done && said.contains("tls.crt is there already"), "{said}");
    assert!(ca(&["issue", "--service-account", "web", "--out", "web", "--force"]).0);
    for secret in ["ca/ca.key", "web/tls.key"] {
        let mode = std::fs::metadata(folder.join(secret)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    for (arguments, words) in [
        (&["issue", "--service-account", "a/../b", "--out", "x"][..], "lower-case letters"),
        (&["issue", "--service-account", "a", "--out", "x", "--ttl", "900000h"], "--ttl"),
        (&["issue", "--service-account", "a", "--out", "x", "--ttl", "100000h"], "the authority ends before"),
        (&["issue", "--service-account", "a", "--out", "x", "--dns", "ü"], "no host name"),
        (&["init", "other", "--trust-domain", "UPPER"], "in lower case"),
    ] {
        let (done, said) = ca(arguments);
        assert!(!done && said.contains(words), "{arguments:?}: {said}");
    }
    assert!(ca(&["init", "second"]).0);
    std::fs::copy(folder.join("second/ca.key"), folder.join("ca/ca.key")).expect("copied");
    let (done, said) = ca(&["issue", "--service-account", "web", "--out", "y"]);
    assert!(!done && said.contains("of two authorities"), "{said}");
}

/// One weir is both ends: a Gateway that wants clients of the authority, and a destination that is one.
#[test]
fn two_workloads_of_an_authority_prove_themselves_to_each_other() {
    let (folder, port) = (folder(), free_port());
    assert!(ca(&folder, &["init"]).0);
    for (name, host) in [("server", "app.test"), ("client", "client.test")] {
        let done = ca(&folder, &["issue", "--service-account", name, "--dns", host, "--out", name]);
        assert!(done.0, "{}", done.1);
    }
    let mesh = |names: &str| {
        format!(
            "{}---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{ name: edge }}
spec:
  servers:
  - port: {{ number: {port}, name: https, protocol: HTTPS }}
    bind: 127.0.0.1
    hosts: [app.test]
    tls: {{ mode: MUTUAL, credentialName: server, subjectAltNames: [\"{names}\"] }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: edge }}
spec: {{ hosts: [app.test], gateways: [edge], http: [{{ directResponse: {{ status: 200 }} }}] }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec:
  host: app.test
  trafficPolicy:
    tls: {{ mode: MUTUAL, credentialName: client, subjectAltNames: [\"spiffe://cluster.local/ns/default/sa/server\"] }}
",
            service_entry("app.test", port)
        )
    };
    for (names, status) in
        [("spiffe://cluster.local/ns/default/sa/client", 200), ("spiffe://cluster.local/ns/x/sa/client", 503)]
    {
        let weir = Weir::start(&mesh(names), &["--secrets", &folder.to_string_lossy()]);
        let reply = Client::open(weir.outbound).get("app.test", "/").expect("an answer");
        assert_eq!(reply.status, status, "{names}: {}", reply.text());
    }
}
