//! `PeerAuthentication`: which workloads take plaintext.

use super::policy;
use crate::decode::Object;
use crate::meta::Document;
use crate::problem::Code;

/// Checks `PeerAuthentication.spec`.
pub fn check(spec: &Object<'_>, _: &Document<'_>) {
    policy::selector(spec, "selector", "matchLabels");
    if !spec.has("portLevelMtls") {
        return;
    }
    let selects = spec.object("selector").is_some_and(|selector| !selector.map("matchLabels").is_empty());
    if !selects {
        let words = "`portLevelMtls` needs a `selector` with labels: ports are a workload's";
        spec.sink.add(spec.problem(Code::Conflict, "portLevelMtls", words));
    }
    for (key, _) in spec.map("portLevelMtls") {
        if !key.text.parse::<u32>().is_ok_and(|port| (1..=65_535).contains(&port)) {
            let words = format!("`{}` is not a port: 1 to 65535", key.text);
            spec.sink.refuse(&spec.sink.place(key.line, key.column), words);
        }
    }
}
