//! Policies of single ports, and TLS to destinations.

use super::View;
use super::look::Look;
use super::policies::blocks;
use crate::problem::{Code, Problem, Severity};

/// What a port's settings replace; what they leave out falls to the defaults.
const REPLACED: [&str; 4] = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];

pub(super) fn lint(view: &View<'_>, out: &mut Vec<Problem>) {
    for doc in view.of_kind("DestinationRule") {
        let Some(host) = doc.spec.text_at("host") else { continue };
        let all = view.rules_for(&view.name(host, doc));
        let whole = doc.spec.get("trafficPolicy").into_iter();
        let subsets = doc.spec.items_at("subsets").filter_map(|subset| subset.get("trafficPolicy"));
        for policy in whole.chain(subsets) {
            for port in policy.items_at("portLevelSettings") {
                let lost = |name: &&&str| {
                    let elsewhere = all.iter().filter_map(|rule| rule.spec.get("trafficPolicy"));
                    !port.has(name) && (policy.has(name) || elsewhere.into_iter().any(|policy| policy.has(name)))
                };
                resets(port, &REPLACED.iter().filter(lost).copied().collect::<Vec<_>>(), out);
            }
        }
    }
    for block in blocks(view, "tls") {
        verified(block.at, out);
    }
}

fn resets(port: Look<'_>, lost: &[&str], out: &mut Vec<Problem>) {
    let Some((number, at)) = port.number_at("port.number").zip(port.get("port")) else { return };
    let hint = "a port's settings replace the destination's as a whole: repeat here what is to hold for this port";
    let problem = if lost.is_empty() {
        let missing: Vec<&str> = REPLACED.into_iter().filter(|name| !port.has(name)).collect();
        if missing.is_empty() {
            return;
        }
        let words =
            format!("port {number} has the defaults for {}, whatever is set for the destination", missing.join(", "));
        Problem { severity: Severity::Info, ..at.problem(Code::PortResets, words) }
    } else {
        let words = format!("port {number} loses the destination's {}", lost.join(", "));
        at.problem(Code::PortResets, words)
    };
    out.push(problem.hint(hint));
}

/// IST0128, IST0129.
fn verified(tls: Look<'_>, out: &mut Vec<Problem>) {
    let mode = tls.text_at("mode").unwrap_or_default();
    if !["SIMPLE", "MUTUAL"].contains(&mode) || tls.is_true_at("insecureSkipVerify") {
        return;
    }
    let ca = ["caCertificates", "credentialName"].iter().any(|name| tls.has(name));
    let names = tls.items_at("subjectAltNames").next().is_some();
    let at = tls.get("mode").unwrap_or(tls);
    let (words, hint) = match (ca, names) {
        (true, true) => return,
        (false, _) => (
            "TLS without `caCertificates`: older Istio takes any certificate, newer ones any that the system trusts",
            "name the CA by `caCertificates`, and the server by `subjectAltNames`",
        ),
        (true, false) => (
            "any certificate of this CA is accepted: `subjectAltNames` does not say whose",
            "name the server by `subjectAltNames`",
        ),
    };
    out.push(at.problem(Code::ServerNotVerified, words).hint(hint));
}
