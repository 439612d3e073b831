//! HTTP filters: their name and configuration, whole or for one route.

use super::fault::http_fault;
use super::limit::{LocalRateLimit, local_rate_limit};
use super::message::Message;
use crate::problem::{Code, Problem};
use weir_policy::fault::Rules;

/// A filter of a listener.
#[derive(Debug)]
pub struct Filter {
    pub name: String,
    pub config: Config,
}

/// What a filter does.
#[derive(Clone, Debug)]
pub enum Config {
    Fault(Rules),
    Limit(Box<LocalRateLimit>),
}

const LIMIT: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
const STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];

/// Reads `{ name, typed_config }`.
pub fn filter(message: &Message<'_>) -> Option<Filter> {
    let name = message.text("name");
    let typed = message.message("typed_config");
    message.end();
    for wanted in ["name", "typed_config"] {
        if !message.object.has(wanted) {
            message.object.missing(wanted);
        }
    }
    Some(Filter { name: name?, config: config(&typed?)? })
}

/// Reads a configuration by its `@type`, or out of a TypedStruct.
pub fn config(typed: &Message<'_>) -> Option<Config> {
    let found = typed.object.text("@type").map(|found| found.value).unwrap_or_default();
    let name = found.rsplit('/').next().unwrap_or_default();
    if STRUCTS.contains(&name) {
        let url = typed.text("type_url").unwrap_or_default();
        let value = typed.message("value");
        typed.end();
        return by_type(url.rsplit('/').next().unwrap_or_default(), &value?);
    }
    by_type(name, typed)
}

fn by_type(name: &str, message: &Message<'_>) -> Option<Config> {
    match name {
        LIMIT => Some(Config::Limit(Box::new(local_rate_limit(message)))),
        FAULT => Some(Config::Fault(http_fault(message))),
        _ => {
            let words = format!("`{}` of the type `{name}` is not in weir's subset of EnvoyFilter", message.path);
            let problem = Problem::new(Code::OutsideSubset, message.object.place(), words);
            message.object.sink.add(problem.hint(format!("weir has {LIMIT} and {FAULT}")));
            None
        }
    }
}

/// `typed_per_filter_config`: by the names of filters.
pub fn per_filter(message: &Message<'_>) -> Vec<Filter> {
    const NAME: &str = "typed_per_filter_config";
    let read = |(key, node): &(crate::yaml::Key, crate::yaml::Node)| {
        let path = format!("{}.{NAME}.{}", message.path, key.text);
        let typed = Message::of(node, NAME, path, message.object.sink)?;
        Some(Filter { name: key.text.clone(), config: config(&typed)? })
    };
    message.object.map(NAME).iter().filter_map(read).collect()
}
