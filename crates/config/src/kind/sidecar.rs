//! `Sidecar`: what a workload sees of the mesh.

use super::destination_rule::connection_pool;
use super::outbound::{self, Outbound};
use super::{policy, server_tls};
use crate::decode::{At, Object};
use crate::names;
use crate::problem::{Code, Problem};
use weir_policy::place::Place;

/// `Sidecar.spec`, as far as it is of the outbound side.
#[derive(Clone, Debug)]
pub struct Sidecar {
    pub namespace: String,
    /// Empty = every workload of the namespace.
    pub selector: Vec<(String, String)>,
    /// `None` = no `egress`: everything is seen.
    pub seen: Option<Vec<Seen>>,
    /// `None` = the mesh's.
    pub outbound: Option<Outbound>,
    pub place: Place,
}

/// `egress[].hosts[]`: `namespace/host`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// `*`, `~` or a name; `.` is already the Sidecar's own.
    pub namespace: String,
    /// A host or a wildcard.
    pub host: String,
}

/// Reads `Sidecar.spec`.
pub fn sidecar(spec: &Object<'_>, namespace: &str) -> Sidecar {
    policy::selector(spec, "workloadSelector", "labels");
    let selector = spec.object("workloadSelector").map(|selector| selector.text_map("labels")).unwrap_or_default();
    let lists = ["egress", "ingress"].iter().any(|name| !spec.list(name).is_empty());
    if !lists && spec.given(&["outboundTrafficPolicy", "inboundConnectionPool"]).is_empty() {
        spec.sink.add(Problem::new(Code::Missing, spec.place(), "this Sidecar says nothing"));
    }
    ingress(spec);
    if let Some(pool) = spec.object("inboundConnectionPool") {
        connection_pool(&pool);
    }
    let seen = egress(spec, namespace);
    let outbound = outbound::of_sidecar(spec);
    spec.later(&["ingress", "inboundConnectionPool"]);
    Sidecar { namespace: namespace.to_owned(), selector, seen, outbound, place: spec.place() }
}

fn number(port: &Object<'_>) -> i64 {
    port.number("number", 0, i64::from(u32::MAX)).map_or(0, |number| number.value)
}

/// What ports of both sides share: a name, a protocol, no target.
fn port(port: &Object<'_>) {
    if let Some(name) = port.text("name").filter(|name| !name.value.is_empty() && !names::is_label(&name.value)) {
        port.sink.refuse(&name.place, format!("`{}` is not a port's name", name.value));
    }
    if let Some(word) = port.text("protocol").filter(|word| !word.value.is_empty())
        && names::protocol(&word.value).is_none()
    {
        port.sink.refuse(&word.place, format!("the protocol `{}` is not known", word.value));
    }
    if port.number("targetPort", 0, i64::from(u32::MAX)).is_some_and(|target| target.value > 0) {
        port.refuse("targetPort", "`targetPort` has no meaning in a Sidecar");
    }
}

fn bind(listener: &Object<'_>) {
    if let Some(bind) = listener.text("bind").filter(|bind| !bind.value.is_empty() && !names::is_address(&bind.value)) {
        listener.sink.refuse(&bind.place, format!("`bind: {}` is not an IP address", bind.value));
    }
}

/// The `number` of a port that must be one.
pub(super) fn port_number(port: &Object<'_>) -> i64 {
    let found = number(port);
    in_range(port, found);
    found
}

fn in_range(object: &Object<'_>, found: i64) {
    if !(1..=65_535).contains(&found) {
        object.refuse("number", format!("`number` is {found}; it must be 1 to 65535"));
    }
}

fn ingress(spec: &Object<'_>) {
    let mut seen: Vec<i64> = Vec::new();
    for listener in spec.objects("ingress") {
        let Some(own) = listener.object("port") else {
            listener.missing("port");
            continue;
        };
        port(&own);
        let found = number(&own);
        in_range(&own, found);
        bind(&listener);
        if seen.contains(&found) {
            own.refuse("number", format!("the port {found} is taken by another listener"));
        }
        seen.push(found);
        if let Some(endpoint) = listener.text("defaultEndpoint").filter(|endpoint| !is_endpoint(&endpoint.value)) {
            let words = format!("`{}` is not a place on this machine", endpoint.value);
            let hint = "write it like `127.0.0.1:8080`, `[::1]:8080`, `:8080` or `unix:///path`";
            listener.sink.add(Problem::new(Code::Value, endpoint.place, words).hint(hint));
        }
        if let Some(tls) = listener.object("tls") {
            ingress_tls(&tls, &own);
        }
        if let Some(pool) = listener.object("connectionPool") {
            connection_pool(&pool);
        }
    }
}

fn is_endpoint(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    if let Some(path) = names::socket_path(text) {
        return names::is_socket_path(path);
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let bare = !text.starts_with('[') && host.contains(':');
    let here = ["", "127.0.0.1", "0.0.0.0", "::1", "::"].contains(&host);
    here && !bare && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn ingress_tls(tls: &Object<'_>, port: &Object<'_>) {
    let mode = server_tls::check(tls);
    let protocol = port.text("protocol").map(|word| word.value).unwrap_or_default();
    if names::protocol(&protocol) != Some(names::Protocol::Tls) {
        let words = "a port without HTTPS or TLS has no `tls`";
        tls.sink.add(Problem::new(Code::Conflict, tls.place(), words).hint("give it `protocol: HTTPS` or `TLS`"));
    }
    if matches!(mode, server_tls::Mode::IstioMutual | server_tls::Mode::AutoPassthrough) {
        tls.refuse("mode", "this mode cannot stand at a Sidecar's ingress");
    }
    for name in ["subjectAltNames", "credentialName", "credentialNames", "tlsCertificates"] {
        if tls.has(name) {
            tls.refuse(name, format!("`{name}` cannot stand at a Sidecar's ingress"));
        }
    }
    if tls.truth("httpsRedirect") == Some(true) {
        tls.refuse("httpsRedirect", "`httpsRedirect` cannot stand at a Sidecar's ingress");
    }
}

fn egress(spec: &Object<'_>, namespace: &str) -> Option<Vec<Seen>> {
    if spec.list("egress").is_empty() {
        return None;
    }
    spec.objects("egress").for_each(|listener| listener.unenforced(&["bind", "captureMode", "port"]));
    let mut taken: Vec<String> = Vec::new();
    let mut out = Vec::new();
    let last = spec.list("egress").len().saturating_sub(1);
    for (index, listener) in spec.objects("egress").enumerate() {
        match listener.object("port") {
            None if index != last => {
                let words = "a listener without `port` takes what is left: it must be the last one";
                listener.sink.add(Problem::new(Code::Value, listener.place(), words));
            }
            None => {}
            Some(own) => {
                let name = egress_port(&listener, &own);
                if taken.contains(&name) {
                    own.refuse("number", format!("{name} is taken by another listener"));
                }
                taken.push(name);
            }
        }
        let hosts = listener.texts("hosts");
        if hosts.is_empty() {
            listener.missing("hosts");
        }
        out.extend(hosts.iter().filter_map(|host| read_host(host, namespace, &listener)));
    }
    Some(out)
}

/// The listener's address, as a name that must be unique.
fn egress_port(listener: &Object<'_>, own: &Object<'_>) -> String {
    port(own);
    let found = number(own);
    let address = listener.text("bind").map(|bind| bind.value).unwrap_or_default();
    if found != 0 {
        in_range(own, found);
        bind(listener);
        return format!("the port {found}");
    }
    if !names::socket_path(&address).is_some_and(names::is_socket_path) {
        own.refuse("number", "a port of 0 needs a `bind` of the form `unix:///path`");
    }
    if listener.text("captureMode").is_some_and(|mode| mode.value == "IPTABLES") {
        listener.refuse("captureMode", "a socket is not captured: `captureMode` is DEFAULT or NONE");
    }
    format!("the socket `{address}`")
}

fn read_host(written: &At<String>, namespace: &str, listener: &Object<'_>) -> Option<Seen> {
    let refuse = |words: String| listener.sink.refuse(&written.place, words);
    let Some((space, host)) = written.value.split_once('/') else {
        refuse(format!("`{}` must be `namespace/host`", written.value));
        return None;
    };
    if !["*", ".", "~"].contains(&space) && !names::is_label(space) {
        refuse(format!("`{space}` is neither a namespace, `.`, `*` nor `~`"));
    }
    if !names::is_full_host(host) {
        refuse(format!("`{host}` is not a full host name, nor a wildcard such as `*.example.com`"));
        return None;
    }
    let space = if space == "." { namespace } else { space };
    Some(Seen { namespace: space.to_owned(), host: host.to_ascii_lowercase() })
}
