//! `Gateway`: ports that are listened on.

use super::server_tls::{self, Mode, Termination};
use crate::decode::{At, Object};
use crate::meta::Document;
use crate::names::{self, Protocol};
use crate::problem::{Code, Problem};
use std::net::IpAddr;
use weir_policy::place::Place;
use weir_policy::tls::Carries;

/// `Gateway.spec`.
#[derive(Clone, Debug)]
pub struct Gateway {
    pub namespace: String,
    pub name: String,
    pub servers: Vec<Server>,
    pub selector: Vec<(String, String)>,
}

/// `spec.servers[]` that can be served.
#[derive(Clone, Debug)]
pub struct Server {
    pub port: u16,
    pub bind: Option<IpAddr>,
    /// `host`, `namespace/host`, `*`.
    pub hosts: Vec<At<String>>,
    pub serves: Serves,
    /// `httpsRedirect`: every request is sent to HTTPS.
    pub redirects: bool,
    pub place: Place,
}

/// What a server does with a connection.
#[derive(Clone, Debug)]
pub enum Serves {
    /// In the clear.
    Clear(Carries),
    /// TLS ends here.
    Ended(Termination, Carries),
    /// PASSTHROUGH: TLS goes on, to where the name in its first bytes leads.
    Passed,
    /// AUTO_PASSTHROUGH: the name is a cluster's, `outbound_.PORT_.SUBSET_.HOST`.
    PassedByCluster,
}

impl Serves {
    /// Servers of one port must be alike in this.
    pub const fn first_bytes(&self) -> FirstBytes {
        match self {
            Self::Clear(Carries::Http) => FirstBytes::Request,
            Self::Clear(Carries::Bytes) => FirstBytes::Any,
            Self::Ended(..) | Self::Passed | Self::PassedByCluster => FirstBytes::Handshake,
        }
    }
}

/// What a connection to a port begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstBytes {
    Request,
    Handshake,
    Any,
}

/// Reads `Gateway.spec`.
pub fn gateway(spec: &Object<'_>, document: &Document<'_>) -> Gateway {
    let (namespace, name) = (document.namespace.clone(), document.name.clone());
    if !names::is_label(&name) && document.annotation("internal.istio.io/gateway-semantics") != Some("gateway") {
        let words = format!("`{name}` cannot name a Gateway: letters, digits and `-`, at most 63");
        spec.sink.add(Problem::new(Code::Metadata, document.place.clone(), words));
    }
    let selector = spec.text_map("selector");
    unique_names(spec);
    let servers: Vec<Server> = spec.objects("servers").filter_map(|server| read_server(&server)).collect();
    if spec.list("servers").is_empty() {
        spec.missing("servers");
    }
    spec.end();
    Gateway { namespace, name, servers, selector }
}

fn unique_names(spec: &Object<'_>) {
    let mut seen: Vec<String> = Vec::new();
    for port in spec.objects("servers").filter_map(|server| server.object("port")) {
        let Some(name) = port.text("name") else { continue };
        if seen.contains(&name.value) {
            port.sink.refuse(&name.place, format!("the port name `{}` stands twice", name.value));
        }
        seen.push(name.value);
    }
}

fn read_server(server: &Object<'_>) -> Option<Server> {
    let hosts = server.texts("hosts");
    if hosts.is_empty() {
        server.missing("hosts");
    }
    for host in hosts.iter().filter(|host| !is_host(&host.value)) {
        let words = format!("`{}` is not `host` or `namespace/host`, with a full name or a wildcard", host.value);
        server.sink.refuse(&host.place, words);
    }
    server.text("name");
    server.text("defaultEndpoint");
    server.without_effect(&["name"]);
    server.later(&["defaultEndpoint"]);
    let bind = server.text("bind");
    let address = bind.as_ref().and_then(|bind| bind.value.parse().ok());
    let tls = server.object("tls");
    let mode = tls.as_ref().map(server_tls::check);
    let Some(port) = server.object("port") else {
        server.missing("port");
        server.end();
        return None;
    };
    let number = read_port(server, &port, bind.as_ref().map(|bind| bind.value.as_str()).unwrap_or_default());
    server.end();
    let protocol = port.text("protocol");
    port.end();
    let Some(protocol) = protocol else {
        port.missing("protocol");
        return None;
    };
    let served = is_served(&protocol, number?, mode, server);
    let redirects = tls.as_ref().is_some_and(|tls| tls.truth("httpsRedirect") == Some(true));
    // Read always, so that its problems are seen too.
    let termination = tls.as_ref().zip(mode).and_then(|(tls, mode)| server_tls::termination(tls, mode));
    if let Some(tls) = &tls {
        tls.end();
    }
    let place = server.place();
    let serves = match served? {
        Served::Clear(carries) => Serves::Clear(carries),
        Served::Ended(carries) => Serves::Ended(termination?, carries),
        Served::Passed => Serves::Passed,
        Served::PassedByCluster => Serves::PassedByCluster,
    };
    let redirects = redirects && serves.first_bytes() == FirstBytes::Request;
    Some(Server { port: number?, bind: address, hosts, serves, redirects, place })
}

/// `host`, or `namespace/host`; a host is a full name, a wildcard or an address.
fn is_host(written: &str) -> bool {
    let (namespace, host) = written.split_once('/').unwrap_or(("*", written));
    let place = ["*", "."].contains(&namespace) || names::is_label(namespace);
    place && (names::is_full_host(host) || (host.contains('.') && names::is_address(host)))
}

/// The port's number, where there is one to listen on.
fn read_port(server: &Object<'_>, port: &Object<'_>, bind: &str) -> Option<u16> {
    if port.text("name").is_none_or(|name| name.value.is_empty()) {
        port.missing("name");
    }
    if port.number("targetPort", 0, i64::from(u32::MAX)).is_some_and(|target| target.value > 0) {
        port.refuse("targetPort", "`targetPort` has no meaning in a Gateway");
    }
    port.without_effect(&["name", "targetPort"]);
    let socket = names::socket_path(bind);
    let number = port.number("number", if socket.is_some() { 0 } else { 1 }, 65_535);
    match socket {
        Some(path) => {
            if !names::is_socket_path(path) {
                server.refuse("bind", format!("`bind: {bind}` is not the path of a socket"));
            }
            if number.as_ref().is_some_and(|number| number.value != 0) {
                port.refuse("number", "a server on a socket has the port number 0");
            }
            let words = "sockets are accepted and not served yet: this server stays closed";
            server.sink.add(server.problem(Code::PortClosed, "bind", words));
            None
        }
        None => {
            if !bind.is_empty() && !names::is_address(bind) {
                server.refuse("bind", format!("`bind: {bind}` is not an IP address"));
            }
            number.map(|number| number.value as u16)
        }
    }
}

/// How a server is served.
enum Served {
    Clear(Carries),
    Ended(Carries),
    Passed,
    PassedByCluster,
}

/// What is not served warns, and its port stays closed: never plaintext by omission.
fn is_served(protocol: &At<String>, port: u16, mode: Option<Mode>, server: &Object<'_>) -> Option<Served> {
    let Some(kind) = names::protocol(&protocol.value) else {
        let words = format!("the protocol `{}` is not known", protocol.value);
        let hint = "it is one of HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TLS, TCP, MONGO, REDIS, MYSQL";
        server.sink.add(Problem::new(Code::Value, protocol.place.clone(), words).hint(hint));
        return None;
    };
    tls_fits(server, kind);
    let name = protocol.value.to_uppercase();
    // HTTP/2 without TLS is told by its first bytes, whichever of these is written.
    if matches!(name.as_str(), "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB") {
        return Some(Served::Clear(Carries::Http));
    }
    if matches!(name.as_str(), "TCP" | "MONGO" | "REDIS" | "MYSQL") {
        return Some(Served::Clear(Carries::Bytes));
    }
    let what = match (name.as_str(), mode) {
        ("HTTPS", Some(Mode::Simple | Mode::Mutual | Mode::OptionalMutual)) => {
            return Some(Served::Ended(Carries::Http));
        }
        ("TLS", Some(Mode::Simple | Mode::Mutual | Mode::OptionalMutual)) => {
            return Some(Served::Ended(Carries::Bytes));
        }
        ("HTTPS" | "TLS", Some(Mode::Passthrough)) => return Some(Served::Passed),
        ("HTTPS" | "TLS", Some(Mode::AutoPassthrough)) => return Some(Served::PassedByCluster),
        ("HTTPS" | "TLS", Some(Mode::IstioMutual)) => "ISTIO_MUTUAL",
        (name, _) => name,
    };
    let words = format!("{what} servers are not served yet: port {port} stays closed");
    server.sink.add(Problem::new(Code::PortClosed, protocol.place.clone(), words));
    None
}

/// HTTPS and TLS need settings; plain HTTP can only redirect to them; others have none.
fn tls_fits(server: &Object<'_>, protocol: Protocol) {
    let tls = server.object("tls");
    if protocol == Protocol::Tls {
        if tls.is_none() {
            server.missing("tls");
        }
        return;
    }
    let Some(tls) = tls else { return };
    let passes = tls.text("mode").is_none_or(|mode| ["PASSTHROUGH", "AUTO_PASSTHROUGH"].contains(&mode.value.as_str()));
    let keys = ["serverCertificate", "privateKey", "caCertificates"];
    let only_redirects = passes && keys.iter().all(|name| tls.text(name).is_none_or(|text| text.value.is_empty()));
    if protocol != Protocol::Http || !only_redirects {
        let words = "a server without HTTPS or TLS has no `tls` (plain HTTP can have `httpsRedirect`)";
        server.sink.add(server.problem(Code::Conflict, "tls", words));
    }
}
