//! `WorkloadGroup`: a template for workloads, and their probe.

use super::policy;
use crate::decode::Object;
use crate::meta::Document;
use crate::names;
use crate::problem::Code;

/// Checks `WorkloadGroup.spec`.
pub fn check(spec: &Object<'_>, _: &Document<'_>) {
    if let Some(metadata) = spec.object("metadata") {
        policy::labels(&metadata, "labels");
    }
    if let Some(template) = spec.object("template") {
        let address = template.text("address").map(|address| address.value).unwrap_or_default();
        if let Some(path) = names::socket_path(&address) {
            if !names::is_socket_path(path) {
                template.refuse("address", format!("`{address}` is not the path of a socket"));
            }
            if template.has("ports") {
                let words = "the address is a socket, so it has no `ports`";
                template.sink.add(template.problem(Code::Conflict, "ports", words));
            }
        }
        super::service_entry::port_names(&template);
    }
    if let Some(probe) = spec.object("probe") {
        read_probe(&probe);
    }
}

fn read_probe(probe: &Object<'_>) {
    let methods = ["httpGet", "tcpSocket", "exec", "grpc"];
    if probe.given(&methods).is_empty() {
        probe.missing("httpGet");
    }
    if let Some(exec) = probe.object("exec")
        && exec.texts("command").is_empty()
    {
        exec.missing("command");
    }
    let Some(get) = probe.object("httpGet") else { return };
    let scheme = get.text("scheme").map(|scheme| scheme.value).unwrap_or_default();
    if !["", "HTTP", "HTTPS"].contains(&scheme.as_str()) {
        get.refuse("scheme", format!("`scheme: {scheme}` is neither HTTP nor HTTPS"));
    }
    for header in get.objects("httpHeaders") {
        let name = header.text("name").map(|name| name.value).unwrap_or_default();
        if !names::is_header_name(&name) {
            header.refuse("name", format!("`{name}` is not a header's name"));
        }
    }
}
