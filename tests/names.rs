//! Endpoints by name, against the real binary and a name server that does as it is told.

#![allow(clippy::expect_used, reason = "this is a test")]

mod common;

use common::{Client, Weir, eventually, free_port};
use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

/// What a name server knows: the addresses of a name, or nothing at all (it stays silent).
type Zone = Arc<Mutex<HashMap<String, Option<Vec<Ipv4Addr>>>>>;

/// Answers questions for A records from the zone, each answer good for one second.
fn name_server(zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut bytes = [0u8; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            if let Some(answer) = answer(&bytes[..length], &zone.lock().expect("not poisoned")) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    address
}

/// RFC 1035 section 4.1: the question is repeated, its name is referred to by each record.
fn answer(question: &[u8], zone: &HashMap<String, Option<Vec<Ipv4Addr>>>) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] > 0 {
        let end = at + 1 + question[at] as usize;
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).into_owned());
        at = end;
    }
    let end = at + 5;
    let is_a = question[at + 1..at + 3] == [0, 1];
    let known = zone.get(&labels.join("."));
    let addresses = match known {
        Some(None) => return None,
        Some(Some(addresses)) if is_a => addresses.clone(),
        _ => Vec::new(),
    };
    let mut out = question[..2].to_vec();
    out.extend_from_slice(&[0x84, if known.is_none() { 3 } else { 0 }, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    out.extend_from_slice(&question[12..end]);
    for address in addresses {
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend_from_slice(&address.octets());
    }
    Some(out)
}

/// A backend on each of these loopback addresses, all on one port; each answers with its address.
fn backends(hosts: &[Ipv4Addr]) -> u16 {
    let port = free_port();
    for host in hosts {
        let listener = TcpListener::bind((*host, port)).expect("a port");
        let host = host.to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let host = host.clone();
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
                    while let Some(Ok(line)) = lines.next() {
                        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{host}", host.len());
                        if line.is_empty() && stream.write_all(text.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }
    port
}

fn loopback(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

fn mesh(resolution: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: app }}
spec:
  hosts: [app.test]
  resolution: {resolution}
  ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {port} }}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: app }}
spec:
  host: app.test
  trafficPolicy: {{ loadBalancer: {{ simple: ROUND_ROBIN }} }}
"
    )
}

/// Who answers eight requests.
fn seen(client: &mut Client) -> BTreeSet<String> {
    (0..8).map(|_| client.get("app.test", "/").map_or("closed".to_owned(), |reply| reply.text())).collect()
}

fn set(hosts: &[u8]) -> BTreeSet<String> {
    hosts.iter().map(|last| loopback(*last).to_string()).collect()
}

#[test]
fn every_address_of_a_name_is_an_endpoint_and_a_dead_name_server_changes_nothing() {
    let zone: Zone = Arc::default();
    zone.lock().expect("fine").insert("app.test".into(), Some(vec![loopback(2), loopback(3)]));
    let server = name_server(Arc::clone(&zone)).to_string();
    let port = backends(&[loopback(2), loopback(3), loopback(4)]);
    let weir = Weir::start(&mesh("DNS", port), &["--name-server", &server]);
    let mut client = Client::open(weir.outbound);
    assert_eq!(seen(&mut client), set(&[2, 3]), "ready means that the names are known");

    zone.lock().expect("fine").insert("app.test".into(), Some(vec![loopback(3), loopback(4)]));
    eventually("endpoints follow the answer", || seen(&mut client) == set(&[3, 4]));

    zone.lock().expect("fine").insert("app.test".into(), None);
    eventually("a silent name server is noticed", || weir.metric("weir_names_stale") == 1);
    assert_eq!(seen(&mut client), set(&[3, 4]), "the stale answer is kept");
    assert!(weir.metric("weir_name_lookups_total{result=\"failure\"}") >= 1);

    zone.lock().expect("fine").insert("app.test".into(), Some(vec![loopback(2)]));
    eventually("it recovers by itself", || seen(&mut client) == set(&[2]));
}

#[test]
fn a_round_robin_name_is_served_by_the_first_address() {
    let zone: Zone = Arc::default();
    zone.lock().expect("fine").insert("app.test".into(), Some(vec![loopback(3), loopback(2)]));
    let server = name_server(Arc::clone(&zone)).to_string();
    let port = backends(&[loopback(2), loopback(3)]);
    let weir = Weir::start(&mesh("DNS_ROUND_ROBIN", port), &["--name-server", &server]);
    assert_eq!(seen(&mut Client::open(weir.outbound)), set(&[3]));
    zone.lock().expect("fine").insert("app.test".into(), Some(vec![loopback(2), loopback(3)]));
    eventually("the new first one", || seen(&mut Client::open(weir.outbound)) == set(&[2]));
}

#[test]
fn a_name_that_is_unknown_at_first_is_503_and_served_once_it_is_known() {
    let zone: Zone = Arc::default();
    let server = name_server(Arc::clone(&zone)).to_string();
    let port = backends(&[loopback(2)]);
    let weir = Weir::start(&mesh("DNS", port), &["--name-server", &server]);
    let mut client = Client::open(weir.outbound);
    let reply = client.get("app.test", "/").expect("an answer");
    assert_eq!((reply.status, reply.header("x-weir-reason")), (503, Some("no_healthy_endpoint")));
    zone.lock().expect("fine").insert("app.test".into(), Some(vec![loopback(2)]));
    eventually("it is served", || seen(&mut client) == set(&[2]));
}

#[test]
fn a_reload_keeps_what_names_came_to() {
    let zone: Zone = Arc::default();
    zone.lock().expect("fine").insert("app.test".into(), Some(vec![loopback(2), loopback(3)]));
    let server = name_server(Arc::clone(&zone)).to_string();
    let port = backends(&[loopback(2), loopback(3)]);
    let weir = Weir::start(&mesh("DNS", port), &["--name-server", &server]);
    zone.lock().expect("fine").insert("app.test".into(), None);
    weir.write(&mesh("DNS", port).replace("ROUND_ROBIN }", "RANDOM }"));
    assert_eq!(weir.admin("POST", "/api/v1/reload").status, 200);
    let mut client = Client::open(weir.outbound);
    eventually("both serve", || seen(&mut client) == set(&[2, 3]));
}

#[test]
fn a_destination_on_demand_is_where_the_request_says() {
    let zone: Zone = Arc::default();
    for (name, last) in [("one.wild.test", 2), ("two.wild.test", 3)] {
        zone.lock().expect("fine").insert(name.into(), Some(vec![loopback(last)]));
    }
    let server = name_server(Arc::clone(&zone)).to_string();
    let port = backends(&[loopback(2), loopback(3)]);
    for resolution in ["DYNAMIC_DNS", "NONE"] {
        let mesh = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: wild }}\nspec:\n  hosts: [\"*.wild.test\"]\n  \
             resolution: {resolution}\n  ports: [{{ number: {port}, name: http, protocol: HTTP }}]\n"
        );
        let weir = Weir::start(&mesh, &["--name-server", &server]);
        let mut client = Client::open(weir.outbound);
        let get = |client: &mut Client, host: &str| {
            let reply = client.get(host, "/").expect("an answer");
            (reply.status, reply.text())
        };
        for _ in 0..2 {
            assert_eq!(get(&mut client, "one.wild.test"), (200, "127.0.0.2".to_owned()));
            assert_eq!(get(&mut client, &format!("two.wild.test:{port}")), (200, "127.0.0.3".to_owned()));
        }
        assert_eq!(get(&mut client, "three.wild.test").0, 503, "a name that nobody knows");
    }
}

/// `outboundTrafficPolicy` of the Mesh and of a Sidecar, as far as each is written.
fn policies(mesh: Option<&str>, sidecar: Option<&str>) -> String {
    let mesh = mesh.map(|policy| {
        format!("---\napiVersion: weir.dev/v1alpha1\nkind: Mesh\nmetadata: {{ name: mesh }}\nspec: {{ outboundTrafficPolicy: {policy} }}\n")
    });
    let sidecar = sidecar.map(|policy| {
        format!("---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{ name: own }}\nspec: {{ outboundTrafficPolicy: {policy} }}\n")
    });
    mesh.unwrap_or_default() + &sidecar.unwrap_or_default()
}

#[test]
fn hosts_that_nobody_declared_pass_or_are_refused_by_policy() {
    let zone: Zone = Arc::default();
    zone.lock().expect("fine").insert("else.test".into(), Some(vec![loopback(3)]));
    let server = name_server(Arc::clone(&zone)).to_string();
    let port = backends(&[loopback(2), loopback(3)]);
    let (any, only) = ("{ mode: ALLOW_ANY }", "{ mode: REGISTRY_ONLY }");
    let rows = [(None, None, 502), (Some(any), None, 200), (Some(any), Some(only), 502), (Some(only), Some(any), 200)];
    for (mesh_says, sidecar_says, status) in rows {
        let documents = mesh("DNS", port) + &policies(mesh_says, sidecar_says);
        let weir = Weir::start(&documents, &["--name-server", &server]);
        let mut client = Client::open(weir.outbound);
        for host in [format!("127.0.0.2:{port}"), format!("else.test:{port}")] {
            let reply = client.get(&host, "/").expect("an answer");
            assert_eq!(reply.status, status, "{host} with {mesh_says:?}, {sidecar_says:?}");
        }
        let name = if status == 200 { "PassthroughCluster" } else { "BlackHoleCluster" };
        let code = format!("response_code=\"{status}\"");
        eventually("both are counted", || {
            let metrics = weir.admin("GET", "/metrics").text();
            let ours = |line: &&str| line.starts_with("istio_requests_total") && line.contains(name);
            metrics.lines().find(ours).is_some_and(|line| line.contains(&code) && line.ends_with(" 2"))
        });
        if status == 200 {
            assert_eq!(client.get("127.0.0.2:1", "/").map(|reply| reply.status), Some(503), "nobody listens");
            assert_eq!(client.get("nobody.test", "/").map(|reply| reply.status), Some(503), "no such name");
        }
    }
}

#[test]
fn a_request_that_names_weir_itself_is_not_sent_in_a_circle() {
    let weir = Weir::start(&(mesh("DNS", 1) + &policies(Some("{ mode: ALLOW_ANY }"), None)), &[]);
    let mut client = Client::open(weir.outbound);
    for own in [weir.outbound, weir.admin] {
        let reply = client.get(&own.to_string(), "/ready").expect("an answer");
        assert_eq!((reply.status, reply.header("x-weir-reason")), (503, Some("no_healthy_endpoint")), "{own}");
    }
}

#[test]
fn unknown_hosts_go_through_the_egress_proxy() {
    let zone: Zone = Arc::default();
    zone.lock().expect("fine").insert("app.test".into(), Some(vec![loopback(2)]));
    let server = name_server(Arc::clone(&zone)).to_string();
    let port = backends(&[loopback(2)]);
    let policy = "{ mode: ALLOW_ANY, egressProxy: { host: app.test, port: { number: 80 } } }";
    let weir = Weir::start(&(mesh("DNS", port) + &policies(None, Some(policy))), &["--name-server", &server]);
    let reply = Client::open(weir.outbound).get("anything.example", "/").expect("an answer");
    assert_eq!((reply.status, reply.text()), (200, "127.0.0.2".to_owned()));
}

#[test]
fn a_balancer_that_passes_through_goes_to_the_address_that_is_named() {
    let port = backends(&[loopback(2), loopback(3)]);
    let mesh = format!(
        "{}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: any }}\nspec:\n  hosts: [127.0.0.2, 127.0.0.3]\n  \
         http: [{{ route: [{{ destination: {{ host: app.test }} }}] }}]\n",
        mesh("DNS", port).replace("ROUND_ROBIN", "PASSTHROUGH")
    );
    let weir = Weir::start(&mesh, &[]);
    let mut client = Client::open(weir.outbound);
    for host in ["127.0.0.2", "127.0.0.3"] {
        let reply = client.get(&format!("{host}:{port}"), "/").expect("an answer");
        assert_eq!((reply.status, reply.text()), (200, host.to_owned()));
    }
    let own = client.get(&format!("127.0.0.1:{}", weir.outbound.port()), "/").expect("an answer");
    assert_eq!(own.status, 502, "not a host of the mesh");
}
