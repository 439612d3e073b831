//! Envoy's LocalRateLimit, and the `rate_limits` of routes that describe requests to it.

use super::message::Message;
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::format::Value;
use weir_policy::limit::{Absent, Action, DefaultUse, Descriptor, Entry, Fill, Scope, Tell};
use weir_policy::route::Edits;
use weir_policy::share::Share;

/// `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`.
#[derive(Clone, Debug)]
pub struct LocalRateLimit {
    pub fill: Option<Fill>,
    pub enabled: Option<Share>,
    pub enforced: Option<Share>,
    /// `status.code`, by number.
    pub status: Option<u16>,
    pub response: Edits,
    pub over: Edits,
    pub descriptors: Vec<Descriptor>,
    pub default_use: DefaultUse,
    pub scope: Scope,
    pub tell: Tell,
    /// `rate_limited_as_resource_exhausted`.
    pub exhausted: bool,
    /// Its own `rate_limits`: they stand in for the route's.
    pub actions: Vec<Vec<Action>>,
}

/// Envoy's bound on `fill_interval`.
const LEAST_FILL: Duration = Duration::from_millis(50);
/// Descriptors of one limit.
const MOST_DESCRIPTORS: usize = 1_000;

/// Reads a LocalRateLimit, without its `@type`.
pub fn local_rate_limit(message: &Message<'_>) -> LocalRateLimit {
    // Names of statistics that weir has not.
    message.object.text("stat_prefix");
    let fill = message.message("token_bucket").and_then(|bucket| fill(&bucket));
    if !message.object.has("token_bucket") && !message.object.has("descriptors") {
        let words = "a local rate limit without `token_bucket` limits nothing";
        message.object.sink.add(Problem::new(Code::NoEffect, message.object.place(), words));
    }
    let always = message.object.truth("always_consume_default_token_bucket").unwrap_or(true);
    let per_connection = message.object.truth("local_rate_limit_per_downstream_connection").unwrap_or(false);
    let tells = [("OFF", Tell::Nothing), ("DRAFT_VERSION_03", Tell::Numbers)];
    let limit = LocalRateLimit {
        fill,
        enabled: message.runtime_fraction("filter_enabled"),
        enforced: message.runtime_fraction("filter_enforced"),
        status: message.message("status").and_then(|status| http_status(&status)),
        response: header_options(message, "response_headers_to_add"),
        over: header_options(message, "request_headers_to_add_when_not_enforced"),
        descriptors: descriptors(message),
        default_use: if always { DefaultUse::Always } else { DefaultUse::Unmatched },
        scope: if per_connection { Scope::Connection } else { Scope::Process },
        tell: message.object.word("enable_x_ratelimit_headers", &tells).map(|word| word.value).unwrap_or_default(),
        exhausted: message.object.truth("rate_limited_as_resource_exhausted").unwrap_or(false),
        actions: rate_limits(message),
    };
    message.end();
    if limit.enabled.is_none_or(|share| share == Share::NONE) {
        let words = "a local rate limit is off unless `filter_enabled` says otherwise, as in Envoy";
        let hint = "add `filter_enabled` and `filter_enforced` with 100 percent";
        message.object.sink.add(Problem::new(Code::NoEffect, message.object.place(), words).hint(hint));
    } else if limit.enforced.is_none_or(|share| share == Share::NONE) {
        let words = "without `filter_enforced` this limit refuses nothing, as in Envoy";
        message.object.sink.add(Problem::new(Code::NoEffect, message.object.place(), words));
    }
    limit
}

fn fill(bucket: &Message<'_>) -> Option<Fill> {
    let max = bucket.object.number("max_tokens", 1, i64::from(u32::MAX));
    let per_fill = bucket.object.number("tokens_per_fill", 1, i64::from(u32::MAX));
    let interval = bucket.length("fill_interval", LEAST_FILL);
    for name in ["max_tokens", "fill_interval"] {
        if bucket.object.node(name).is_none() {
            bucket.object.missing(name);
        }
    }
    bucket.end();
    let per_fill = per_fill.map_or(1, |number| number.value as u32);
    Some(Fill { max: max?.value as u32, per_fill, interval: interval? })
}

/// `status.code`: the name of Envoy's StatusCode, or its number.
fn http_status(status: &Message<'_>) -> Option<u16> {
    let node = status.object.node("code")?;
    status.end();
    let crate::yaml::Value::Scalar(text, _) = &node.value else {
        status.object.sink.add(status.refuse("code", "`code` must be a status"));
        return None;
    };
    let number = text.parse().ok().filter(|code| (100..=599).contains(code));
    let named = || STATUSES.iter().find(|(name, _)| name == text).map(|(_, code)| *code);
    let found = number.or_else(named);
    if found.is_none() {
        let names: Vec<&str> = STATUSES.iter().map(|(name, _)| *name).collect();
        let problem = status.refuse("code", format!("`code: {text}` is not a status of Envoy's"));
        let hint = crate::decode::similar(text, &names).unwrap_or_else(|| "write its number".to_owned());
        status.object.sink.add(problem.hint(hint));
    }
    found
}

/// Envoy's `envoy.type.v3.StatusCode`, as far as answers use it.
const STATUSES: [(&str, u16); 30] = [
    ("OK", 200),
    ("Created", 201),
    ("Accepted", 202),
    ("NoContent", 204),
    ("MovedPermanently", 301),
    ("Found", 302),
    ("SeeOther", 303),
    ("TemporaryRedirect", 307),
    ("PermanentRedirect", 308),
    ("BadRequest", 400),
    ("Unauthorized", 401),
    ("PaymentRequired", 402),
    ("Forbidden", 403),
    ("NotFound", 404),
    ("MethodNotAllowed", 405),
    ("NotAcceptable", 406),
    ("RequestTimeout", 408),
    ("Conflict", 409),
    ("Gone", 410),
    ("PreconditionFailed", 412),
    ("PayloadTooLarge", 413),
    ("UnprocessableEntity", 422),
    ("Locked", 423),
    ("FailedDependency", 424),
    ("TooManyRequests", 429),
    ("InternalServerError", 500),
    ("NotImplemented", 501),
    ("BadGateway", 502),
    ("ServiceUnavailable", 503),
    ("GatewayTimeout", 504),
];

/// HeaderValueOptions: `[{ header: { key, value }, append_action }]`.
fn header_options(message: &Message<'_>, name: &'static str) -> Edits {
    let mut edits = Edits::default();
    for option in message.messages(name) {
        let actions = [
            ("APPEND_IF_EXISTS_OR_ADD", false),
            ("ADD_IF_ABSENT", false),
            ("OVERWRITE_IF_EXISTS_OR_ADD", true),
            ("OVERWRITE_IF_EXISTS", true),
        ];
        let overwrites = option.object.word("append_action", &actions).is_some_and(|word| word.value);
        let append = option.object.truth("append");
        let Some(header) = option.message("header") else {
            option.object.missing("header");
            continue;
        };
        let (key, value) = (header.text("key"), header.text("value").unwrap_or_default());
        header.end();
        option.end();
        let Some(key) = key else {
            header.object.missing("key");
            continue;
        };
        let token = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let clean = !value.bytes().any(|byte| byte < 0x20 || byte == 0x7f);
        let parsed = Value::parse(&value, "").ok().filter(|_| token && clean);
        let Some(value) = parsed else {
            let words = format!("`{key}: {value}` is not a header that weir can add here");
            header.object.sink.add(header.refuse("value", words));
            continue;
        };
        let pair = (key.to_ascii_lowercase().into(), value);
        if overwrites || append == Some(false) { edits.set.push(pair) } else { edits.add.push(pair) }
    }
    edits
}

fn descriptors(message: &Message<'_>) -> Vec<Descriptor> {
    let all = message.messages("descriptors");
    if all.len() > MOST_DESCRIPTORS {
        let words = format!("`{}` has {} descriptors; at most {MOST_DESCRIPTORS} are kept", message.path, all.len());
        message.object.sink.add(message.refuse("descriptors", words));
    }
    let read = |descriptor: &Message<'_>| {
        let entry = |entry: &Message<'_>| {
            let (key, value) = (entry.text("key"), entry.text("value"));
            entry.end();
            if value.as_deref().unwrap_or_default().is_empty() {
                let words = format!("`{}` has no `value`: weir has no bucket for each value", entry.path);
                entry.object.sink.add(Problem::new(Code::OutsideSubset, entry.object.place(), words));
            }
            Some(Entry { key: key?.into(), value: value?.into() })
        };
        let entries: Vec<Entry> = descriptor.messages("entries").iter().filter_map(entry).collect();
        let fill = descriptor.message("token_bucket").and_then(|bucket| fill(&bucket));
        for name in ["entries", "token_bucket"] {
            if !descriptor.object.has(name) {
                descriptor.object.missing(name);
            }
        }
        descriptor.end();
        Some(Descriptor { entries, fill: fill? })
    };
    all.iter().take(MOST_DESCRIPTORS).filter_map(read).collect()
}

/// `rate_limits[].actions` of a route, a virtual host, or the filter itself.
pub fn rate_limits(message: &Message<'_>) -> Vec<Vec<Action>> {
    let read = |limit: &Message<'_>| {
        if limit.count("stage").is_some_and(|stage| stage != 0) {
            limit.object.sink.add(limit.refuse("stage", format!("`{}.stage` must be 0", limit.path)));
        }
        let actions = limit.messages("actions").iter().filter_map(action).collect::<Vec<_>>();
        limit.end();
        actions
    };
    message.messages("rate_limits").iter().map(read).filter(|actions| !actions.is_empty()).collect()
}

fn action(action: &Message<'_>) -> Option<Action> {
    let found = if let Some(key) = action.message("generic_key") {
        let name = key.text("descriptor_key").unwrap_or_else(|| "generic_key".to_owned());
        let value = key.text("descriptor_value");
        key.end();
        value.map(|value| Action::Fixed(Entry { key: name.into(), value: value.into() }))
    } else if let Some(header) = action.message("request_headers") {
        let (name, key) = (header.text("header_name"), header.text("descriptor_key"));
        let skip = header.object.truth("skip_if_absent").unwrap_or(false);
        header.end();
        let absent = if skip { Absent::Skip } else { Absent::Drop };
        name.zip(key).map(|(name, key)| Action::Header {
            name: name.to_ascii_lowercase().into(),
            key: key.into(),
            absent,
        })
    } else if let Some(address) = action.message("remote_address") {
        address.end();
        Some(Action::ClientAddress)
    } else {
        action.end();
        return None;
    };
    action.end();
    if found.is_none() {
        let words = format!("`{}` is not complete", action.path);
        action.object.sink.add(Problem::new(Code::Missing, action.object.place(), words));
    }
    found
}
