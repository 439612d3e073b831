//! `Gateway`: ports that are listened on.

use crate::decode::{At, Object};
use crate::problem::{Code, Problem};
use std::net::IpAddr;
use weir_policy::place::Place;

/// `Gateway.spec`.
#[derive(Debug)]
pub struct Gateway {
    pub namespace: String,
    pub name: String,
    pub servers: Vec<Server>,
    pub selector: Vec<(String, String)>,
}

/// `spec.servers[]` that can be served: HTTP in the clear.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    pub bind: Option<IpAddr>,
    /// `host`, `namespace/host`, `*`.
    pub hosts: Vec<At<String>>,
    pub place: Place,
}

/// Reads `Gateway.spec`.
pub fn gateway(spec: &Object<'_>, namespace: &str, name: &str) -> Gateway {
    let selector = spec.text_map("selector");
    let servers: Vec<Server> = spec.objects("servers").filter_map(|server| read_server(&server)).collect();
    if !spec.has("servers") {
        spec.missing("servers");
    }
    spec.end();
    Gateway { namespace: namespace.to_owned(), name: name.to_owned(), servers, selector }
}

fn read_server(server: &Object<'_>) -> Option<Server> {
    let hosts = server.texts("hosts");
    if hosts.is_empty() {
        server.missing("hosts");
    }
    server.text("name");
    server.text("defaultEndpoint");
    server.later(&["defaultEndpoint"]);
    let bind = bind(server);
    let tls = server.object("tls");
    if let Some(tls) = &tls {
        read_tls(tls);
    }
    let Some(port) = server.object("port") else {
        server.missing("port");
        server.end();
        return None;
    };
    let number = port.number("number", 1, 65_535);
    port.text("name");
    port.number("targetPort", 1, 65_535);
    let protocol = port.text("protocol");
    port.end();
    server.end();
    let Some(protocol) = protocol else {
        port.missing("protocol");
        return None;
    };
    if !is_served(&protocol, number.as_ref()?.value, server) {
        return None;
    }
    Some(Server { port: number?.value as u16, bind, hosts, place: server.place() })
}

fn bind(server: &Object<'_>) -> Option<IpAddr> {
    let bind = server.text("bind")?;
    let address = bind.value.parse().ok();
    if address.is_none() {
        let words = format!("`bind: {}` is not an IP address", bind.value);
        server.sink.add(Problem::new(Code::Value, bind.place, words));
    }
    address
}

/// Known, and plain HTTP? Anything else warns, and its port stays closed: never plaintext by omission.
fn is_served(protocol: &At<String>, port: i64, server: &Object<'_>) -> bool {
    let known = ["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS", "UDP"];
    let name = protocol.value.to_uppercase();
    if !known.contains(&name.as_str()) {
        let words = format!("the protocol `{}` is not known", protocol.value);
        let hint = format!("it is one of {}", known.join(", "));
        server.sink.add(Problem::new(Code::Value, protocol.place.clone(), words).hint(hint));
        return false;
    }
    if name == "HTTP" {
        return true;
    }
    let words = format!("{name} servers are not served yet: port {port} stays closed");
    server.sink.add(Problem::new(Code::PortClosed, protocol.place.clone(), words));
    false
}

fn read_tls(tls: &Object<'_>) {
    let modes = ["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"];
    tls.word("mode", &modes.map(|mode| (mode, ())));
    tls.truth("httpsRedirect");
    for name in ["serverCertificate", "privateKey", "caCertificates", "caCrl", "credentialName", "caCertCredentialName"]
    {
        tls.text(name);
    }
    for name in ["subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash", "cipherSuites", "credentialNames"]
    {
        tls.texts(name);
    }
    let versions = ["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"].map(|version| (version, ()));
    tls.word("minProtocolVersion", &versions);
    tls.word("maxProtocolVersion", &versions);
    tls.list("tlsCertificates");
    tls.later(&["httpsRedirect"]);
    tls.end();
}
