//! Kubernetes' `Service`, `Endpoints` and `EndpointSlice`.

use super::export::Export;
use crate::decode::{At, Object};
use crate::meta::Document;
use crate::names;
use crate::problem::Code;
use crate::yaml::Value;
use std::net::IpAddr;
use weir_policy::place::Place;

/// `Service.spec`.
#[derive(Clone, Debug)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub ports: Vec<ServicePort>,
    pub selector: Vec<(String, String)>,
    /// `type: ExternalName`: another name for a host.
    pub external: Option<At<String>>,
    pub export: Export,
    pub place: Place,
}

/// `spec.ports[]` over TCP.
#[derive(Clone, Debug)]
pub struct ServicePort {
    pub number: u16,
    /// Empty when the service has one port.
    pub name: String,
    pub protocol: String,
    pub target: Option<Target>,
    pub place: Place,
}

/// `targetPort`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    Number(u16),
    /// A port of the workload.
    Name(String),
}

/// Addresses that serve the same ports: a subset of `Endpoints`, or an `EndpointSlice`.
#[derive(Clone, Debug)]
pub struct Serving {
    pub namespace: String,
    pub service: String,
    pub addresses: Vec<Address>,
    pub ports: Vec<(String, u16)>,
    pub place: Place,
}

/// A ready address.
#[derive(Clone, Debug)]
pub struct Address {
    pub ip: At<IpAddr>,
    pub workload: String,
}

/// The label of a slice that names its service.
const SLICE_OF: &str = "kubernetes.io/service-name";

/// Reads `Service.spec`.
pub fn service(spec: &Object<'_>, document: &Document<'_>) -> Service {
    let ports = spec.objects("ports").filter_map(|port| service_port(&port)).collect();
    let external =
        spec.text("type").filter(|word| word.value == "ExternalName").and_then(|_| spec.text("externalName"));
    if external.is_some() {
        let words = "names are not looked up yet: this service has no endpoints";
        spec.sink.add(spec.problem(Code::NotEnforced, "externalName", words));
    }
    spec.unenforced(&["externalName"]);
    Service {
        namespace: document.namespace.clone(),
        name: document.name.clone(),
        ports,
        selector: spec.text_map("selector"),
        external,
        export: export(document),
        place: document.place.clone(),
    }
}

/// The annotation `networking.istio.io/exportTo`.
fn export(document: &Document<'_>) -> Export {
    let written = document.annotation("networking.istio.io/exportTo").unwrap_or("*");
    let names: Vec<&str> = written.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    match names.as_slice() {
        [] | ["*", ..] => Export::Everyone,
        ["~"] => Export::Nobody,
        names => {
            let own = |name: &&str| if *name == "." { document.namespace.clone() } else { (*name).to_owned() };
            Export::Namespaces(names.iter().map(own).collect())
        }
    }
}

fn service_port(port: &Object<'_>) -> Option<ServicePort> {
    let number = port.number("port", 1, 65_535)?.value as u16;
    let name = port.text("name").map(|name| name.value).unwrap_or_default();
    let transport = port.text("protocol").map_or_else(|| "TCP".to_owned(), |protocol| protocol.value);
    let application = port.text("appProtocol").map(|word| word.value);
    let target = port.node("targetPort").and_then(|node| match &node.value {
        Value::Scalar(text, _) => Some(text.parse().map_or_else(|_| Target::Name(text.clone()), Target::Number)),
        _ => None,
    });
    if transport != "TCP" {
        let words = format!("{transport} is not served: the port {number} is left out");
        port.sink.add(port.problem(Code::NotEnforced, "protocol", words));
        return None;
    }
    // As Istio names ports: the protocol, then a dash and anything.
    let said = application.unwrap_or_else(|| name.split('-').next().unwrap_or_default().to_owned());
    let said = if name.starts_with("grpc-web") { "grpc-web".to_owned() } else { said };
    let protocol = if names::protocol(&said).is_some() { said.to_uppercase() } else { String::new() };
    Some(ServicePort { number, name, protocol, target, place: port.place() })
}

/// Reads `Endpoints`: its subsets.
pub fn endpoints(body: &Object<'_>, document: &Document<'_>) -> Vec<Serving> {
    let read = |subset: Object<'_>| Serving {
        namespace: document.namespace.clone(),
        service: document.name.clone(),
        addresses: subset.objects("addresses").filter_map(|found| address(&found, "ip")).collect(),
        ports: ports(&subset),
        place: document.place.clone(),
    };
    body.objects("subsets").map(read).collect()
}

/// Reads an `EndpointSlice`; `None` when it names no service.
pub fn slice(body: &Object<'_>, document: &Document<'_>) -> Option<Serving> {
    let Some((_, service)) = document.labels.iter().find(|(key, _)| key == SLICE_OF) else {
        let words = format!("this slice has no label `{SLICE_OF}`: it belongs to no service");
        body.sink.add(crate::problem::Problem::new(Code::NoEffect, document.place.clone(), words).hint("add it"));
        return None;
    };
    let ready = |endpoint: &Object<'_>| {
        endpoint.object("conditions").and_then(|conditions| conditions.truth("ready")).unwrap_or(true)
    };
    // All addresses of an endpoint are the same workload: the first one is used.
    let addresses = body.objects("endpoints").filter(ready).filter_map(|endpoint| {
        let found = endpoint.texts("addresses").into_iter().next()?;
        let ip = parse(&endpoint, found)?;
        Some(Address { ip, workload: workload(&endpoint) })
    });
    Some(Serving {
        namespace: document.namespace.clone(),
        service: service.clone(),
        addresses: addresses.collect(),
        ports: ports(body),
        place: document.place.clone(),
    })
}

fn address(object: &Object<'_>, name: &'static str) -> Option<Address> {
    let ip = parse(object, object.text(name)?)?;
    Some(Address { ip, workload: workload(object) })
}

fn workload(object: &Object<'_>) -> String {
    let target = object.object("targetRef").and_then(|target| target.text("name"));
    target.or_else(|| object.text("hostname")).map(|name| name.value).unwrap_or_default()
}

fn parse(object: &Object<'_>, written: At<String>) -> Option<At<IpAddr>> {
    let Ok(value) = written.value.parse() else {
        object.sink.refuse(&written.place, format!("`{}` is not an IP address", written.value));
        return None;
    };
    Some(At { value, place: written.place })
}

fn ports(object: &Object<'_>) -> Vec<(String, u16)> {
    let read = |port: Object<'_>| {
        let name = port.text("name").map(|name| name.value).unwrap_or_default();
        Some((name, port.number("port", 1, 65_535)?.value as u16))
    };
    object.objects("ports").filter_map(read).collect()
}
