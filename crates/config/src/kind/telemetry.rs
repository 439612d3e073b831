//! `Telemetry`: metrics, access logs and traces of workloads.

use super::policy;
use crate::decode::{Object, text};
use crate::meta::Document;

/// Checks `Telemetry.spec`.
pub fn check(spec: &Object<'_>, _: &Document<'_>) {
    policy::attachment(spec);
    for metrics in spec.objects("metrics") {
        providers(&metrics);
        metrics.objects("overrides").for_each(|over| tags(&over));
    }
    spec.objects("tracing").for_each(|tracing| trace(&tracing));
    spec.objects("accessLogging").for_each(|logging| log(&logging));
}

fn log(logging: &Object<'_>) {
    providers(logging);
    let Some(filter) = logging.object("filter") else { return };
    let expression = filter.text("expression").map(|text| text.value).unwrap_or_default();
    if !is_whole(&expression) {
        filter.refuse("expression", format!("`{expression}` is not an expression of CEL"));
    }
}

/// Could it be an expression of CEL? Brackets and quotes are closed, and it neither begins nor ends in the middle.
fn is_whole(text: &str) -> bool {
    let (mut open, mut quote, mut bytes) = (Vec::new(), None, text.bytes());
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', Some(_)) => drop(bytes.next()),
            (byte, Some(end)) if byte == end => quote = None,
            (_, Some(_)) => {}
            (b'"' | b'\'', None) => quote = Some(byte),
            (b'(' | b'[' | b'{', None) => open.push(byte),
            (b')', None) if open.pop() != Some(b'(') => return false,
            (b']', None) if open.pop() != Some(b'[') => return false,
            (b'}', None) if open.pop() != Some(b'{') => return false,
            _ => {}
        }
    }
    let middle = |byte: &u8| b"+*/%<>=&|.,?:".contains(byte);
    let text = text.trim().as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| !middle(byte));
    open.is_empty() && quote.is_none() && (text.first() == Some(&b'.') || ends(text.first())) && ends(text.last())
}

fn providers(object: &Object<'_>) {
    for provider in object.objects("providers") {
        if provider.text("name").is_none_or(|name| name.value.is_empty()) {
            provider.missing("name");
        }
    }
}

fn tags(over: &Object<'_>) {
    for (key, node) in over.map("tagOverrides") {
        let Some(tag) = Object::of(node, "tagOverrides", over.sink) else { continue };
        let removes = tag.text("operation").is_some_and(|word| word.value == "REMOVE");
        let value = tag.text("value").filter(|value| !value.value.is_empty());
        if removes && value.is_some() {
            tag.refuse("value", format!("`{}` is removed, so it has no `value`", key.text));
        } else if !removes && value.is_none() {
            tag.missing("value");
        }
    }
    if let Some(found) = over.object("match")
        && found.text("customMetric").is_some_and(|metric| metric.value.is_empty())
    {
        found.refuse("customMetric", "`customMetric` is empty");
    }
}

fn trace(tracing: &Object<'_>) {
    providers(tracing);
    tracing.fraction("randomSamplingPercentage", 0.0, 100.0);
    for (key, node) in tracing.map("customTags") {
        let Some(tag) = Object::of(node, "customTags", tracing.sink) else { continue };
        if key.text.is_empty() {
            tracing.refuse("customTags", "a tag has no name");
        }
        for (name, part) in [("literal", "value"), ("header", "name"), ("environment", "name")] {
            let Some(source) = tag.object(name) else { continue };
            let given = source.node(part).and_then(|node| text(node, part, source.sink));
            if given.is_none_or(|text| text.value.is_empty()) {
                source.missing(part);
            }
        }
    }
}
