//! `trafficPolicy.tls`: TLS to a destination.

use crate::decode::Object;
use crate::problem::{Code, Problem};
use weir_policy::place::Place;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

const MODES: &[(&str, Mode)] = &[
    ("DISABLE", Mode::Disable),
    ("SIMPLE", Mode::Simple),
    ("MUTUAL", Mode::Mutual),
    ("ISTIO_MUTUAL", Mode::IstioMutual),
];

/// Checks the settings. The place of a mode that encrypts: not enforced yet, so the destination is guarded.
pub fn guarded(tls: &Object<'_>) -> Option<Place> {
    let mode = tls.word("mode", MODES);
    let of = mode.as_ref().map_or(Mode::Disable, |mode| mode.value);
    rules(tls, of);
    tls.unenforced(&["clientCertificate", "privateKey", "caCertificates", "caCrl", "credentialName", "sni"]);
    tls.unenforced(&["subjectAltNames", "insecureSkipVerify"]);
    tls.end();
    let mode = mode.filter(|_| of != Mode::Disable)?;
    let words = "TLS to this destination is not enforced yet: requests to it get 503 `not_enforced`, never plaintext";
    tls.sink.add(Problem::new(Code::SecurityNotEnforced, mode.place.clone(), words));
    Some(mode.place)
}

fn rules(tls: &Object<'_>, mode: Mode) {
    let text = |name| tls.text(name).is_some_and(|text| !text.value.is_empty());
    let conflict = |name: &str, words: String| tls.sink.add(tls.problem(Code::Conflict, name, words));
    if tls.truth("insecureSkipVerify") == Some(true) {
        let excluded: &[&'static str] = match mode {
            Mode::Simple => &["caCertificates", "credentialName", "subjectAltNames"],
            Mode::Mutual => &["caCertificates", "subjectAltNames"],
            Mode::Disable | Mode::IstioMutual => &[],
        };
        for name in tls.given(excluded) {
            conflict(name, format!("`insecureSkipVerify` verifies nothing, so `{name}` cannot be given"));
        }
    }
    if matches!(mode, Mode::Simple | Mode::Mutual) && text("credentialName") {
        for name in tls.given(&["clientCertificate", "caCertificates", "privateKey", "caCrl"]) {
            if text(name) {
                conflict(name, format!("`credentialName` and `{name}` exclude each other"));
            }
        }
        return;
    }
    if mode == Mode::Mutual {
        for name in ["clientCertificate", "privateKey"] {
            if !text(name) {
                tls.missing(name);
            }
        }
    }
}
