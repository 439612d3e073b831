//! `NetworkChaos`: what goes wrong between workloads (Chaos Mesh).

use crate::decode::Object;
use crate::meta::Document;
use crate::problem::Code;

/// Actions and the block that each of them reads.
const ACTIONS: &[(&str, &str)] = &[
    ("delay", "delay"),
    ("loss", "loss"),
    ("duplicate", "duplicate"),
    ("corrupt", "corrupt"),
    ("bandwidth", "bandwidth"),
];

/// Checks `NetworkChaos.spec`.
pub fn check(spec: &Object<'_>, _: &Document<'_>) {
    let action = spec.text("action").map(|action| action.value).unwrap_or_default();
    if let Some((_, block)) = ACTIONS.iter().find(|(name, _)| *name == action)
        && !spec.has(block)
    {
        spec.missing(block);
    }
    mode(spec);
    if let Some(target) = spec.object("target") {
        mode(&target);
    }
    let direction = spec.text("direction").map(|direction| direction.value).unwrap_or_default();
    let aimless = !spec.has("target") && spec.list("externalTargets").is_empty();
    if matches!(direction.as_str(), "from" | "both") && aimless && action != "partition" {
        let words = format!("`direction: {direction}` needs a `target`");
        spec.sink.add(spec.problem(Code::Missing, "direction", words));
    }
}

/// `mode` and its `value`.
fn mode(object: &Object<'_>) {
    let Some(mode) = object.text("mode") else { return };
    let value = object.node("value").and_then(|node| match &node.value {
        crate::yaml::Value::Scalar(text, _) => text.parse::<i64>().ok(),
        _ => None,
    });
    let high = match mode.value.as_str() {
        "fixed" => i64::from(u32::MAX),
        "fixed-percent" | "random-max-percent" => 100,
        _ => return,
    };
    let low = if mode.value == "random-max-percent" { 0 } else { 1 };
    if !value.is_some_and(|value| (low..=high).contains(&value)) {
        object.refuse("value", format!("`mode: {}` needs a `value` of {low} to {high}", mode.value));
    }
}
