//! Fields with a successor, and fields that Istio dropped: what it does with them, and the edit.

use super::View;
use super::look::Look;
use super::policies::blocks;
use crate::problem::{Code, Edit, Problem};

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    for rule in view.of_kind("VirtualService").flat_map(|doc| doc.spec.items_at("http")) {
        percent(rule, "fault.delay", Code::Deprecated, "`percent` is deprecated: a whole number only", out);
        percent(rule, "fault.abort", Code::NotInIstio, "Istio has no `percent` here: it would inject nothing", out);
        for name in ["mirror_percent", "mirrorPercent"] {
            if let Some(at) = rule.get(name) {
                renamed(at, name, "mirrorPercentage: { value: … }", out);
            }
        }
        if let Some(at) = rule.get("corsPolicy.allowOrigin") {
            renamed(at, "allowOrigin", "allowOrigins: [{ exact: … }]", out);
        }
    }
    for block in blocks(view, "outlierDetection") {
        if let Some(at) = block.at.get("consecutiveErrors") {
            renamed(at, "consecutiveErrors", "consecutiveGatewayErrors, or consecutive5xxErrors", out);
        }
    }
    for block in blocks(view, "loadBalancer") {
        if let Some(at) = block.at.get("simple").filter(|at| at.text() == Some("LEAST_CONN")) {
            let edit = Edit { line: at.value_place().line, old: "LEAST_CONN".into(), new: "LEAST_REQUEST".into() };
            let problem = at.problem(Code::Deprecated, "`LEAST_CONN` is the old name of `LEAST_REQUEST`");
            out.push(Problem { fix: Some(edit), ..problem.hint("write `LEAST_REQUEST`") });
        }
        if let Some(at) = block.at.get("warmupDurationSecs") {
            renamed(at, "warmupDurationSecs", "warmup: { duration: … }", out);
        }
        if let Some(at) = block.at.get("consistentHash.minimumRingSize") {
            renamed(at, "minimumRingSize", "ringHash: { minimumRingSize: … }", out);
        }
    }
}

fn renamed(at: Look<'_>, old: &str, new: &str, out: &mut Vec<Problem>) {
    let words = format!("`{old}` is deprecated");
    out.push(at.problem(Code::Deprecated, words).hint(format!("write `{new}`")));
}

fn percent(rule: Look<'_>, part: &str, code: Code, words: &str, out: &mut Vec<Problem>) {
    let Some((at, text)) = rule.get(part).and_then(|part| Some((part.get("percent")?, part.text_at("percent")?)))
    else {
        return;
    };
    let new = format!("percentage: {{ value: {text} }}");
    let hint = format!("write `{new}`");
    let edit = Edit { line: at.place().line, old: format!("percent: {text}"), new };
    out.push(Problem { fix: Some(edit), ..at.problem(code, words).hint(hint) });
}
