//! `WasmPlugin` and `TrafficExtension`: code in the proxy. It is validated; weir runs none.

use super::policy;
use crate::decode::Object;
use crate::meta::Document;
use crate::problem::Code;
use crate::url::{self, Form};

/// Checks `WasmPlugin.spec`.
pub fn check(spec: &Object<'_>, _: &Document<'_>) {
    policy::attachment(spec);
    module(spec);
}

/// Checks `TrafficExtension.spec`.
pub fn extension(spec: &Object<'_>, _: &Document<'_>) {
    policy::attachment(spec);
    match spec.object("wasm") {
        Some(wasm) => module(&wasm),
        None if !spec.has("lua") => spec.missing("wasm"),
        None => {}
    }
}

fn module(spec: &Object<'_>) {
    match spec.text("url") {
        Some(address) if !address.value.is_empty() => {
            let scheme = url::scheme(&address.value, Form::Request)
                .or_else(|| url::scheme(&format!("http://{}", address.value), Form::Request));
            if !matches!(scheme.as_deref(), Some("" | "file" | "http" | "https" | "oci")) {
                let words = format!("`url: {}` is none of file, http, https, oci", address.value);
                spec.sink.refuse(&address.place, words);
            }
        }
        _ => spec.missing("url"),
    }
    let Some(machine) = spec.object("vmConfig") else { return };
    let mut seen: Vec<String> = Vec::new();
    for variable in machine.objects("env") {
        let Some(name) = variable.text("name") else { continue };
        let host = variable.text("valueFrom").is_some_and(|word| word.value == "HOST");
        if host && variable.text("value").is_some_and(|value| !value.value.is_empty()) {
            let words = format!("`{}` comes from the host, so it has no `value`", name.value);
            variable.sink.add(variable.problem(Code::Conflict, "value", words));
        }
        if seen.contains(&name.value) {
            variable.refuse("name", format!("`env` has `{}` twice", name.value));
        }
        seen.push(name.value);
    }
}
