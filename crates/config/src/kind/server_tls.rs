//! `tls` of a server: of a Gateway's, and of a Sidecar's ingress.

use crate::decode::Object;
use crate::problem::{Code, Problem};

/// The mode; PASSTHROUGH when none is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Passthrough,
    Simple,
    Mutual,
    AutoPassthrough,
    IstioMutual,
    OptionalMutual,
}

const MODES: &[(&str, Mode)] = &[
    ("PASSTHROUGH", Mode::Passthrough),
    ("SIMPLE", Mode::Simple),
    ("MUTUAL", Mode::Mutual),
    ("AUTO_PASSTHROUGH", Mode::AutoPassthrough),
    ("ISTIO_MUTUAL", Mode::IstioMutual),
    ("OPTIONAL_MUTUAL", Mode::OptionalMutual),
];

/// Checks the settings, and says the mode.
pub fn check(tls: &Object<'_>) -> Mode {
    let mode = tls.word("mode", MODES).map_or(Mode::Passthrough, |mode| mode.value);
    let text = |name| tls.text(name).filter(|text| !text.value.is_empty()).is_some();
    for [first, second] in [["credentialName", "credentialNames"], ["tlsCertificates", "credentialNames"]] {
        if tls.has(first) && tls.has(second) {
            let words = format!("`{first}` and `{second}` exclude each other");
            tls.sink.add(tls.problem(Code::Conflict, second, words));
        }
    }
    if mode == Mode::IstioMutual {
        for name in ["serverCertificate", "privateKey", "caCertificates", "credentialName"] {
            if text(name) {
                let words = format!("ISTIO_MUTUAL has its own certificates: `{name}` cannot be given");
                tls.sink.add(tls.problem(Code::Conflict, name, words));
            }
        }
        return mode;
    }
    let needs: &[&'static str] = match mode {
        Mode::Simple => &["serverCertificate", "privateKey"],
        Mode::Mutual | Mode::OptionalMutual => &["serverCertificate", "privateKey", "caCertificates"],
        _ => &[],
    };
    if text("credentialName") && !needs.is_empty() {
        return mode;
    }
    let several = ["tlsCertificates", "credentialNames"].iter().any(|name| !tls.list(name).is_empty());
    for name in needs.iter().copied() {
        if !text(name) && !(several && (name != "caCertificates" || tls.has("credentialNames"))) {
            tls.missing(name);
        }
    }
    if text("caCrl") && mode == Mode::Simple {
        tls.sink.add(tls.problem(Code::Conflict, "caCrl", "SIMPLE asks no client for a certificate: no `caCrl`"));
    }
    if matches!(mode, Mode::Passthrough | Mode::AutoPassthrough)
        && let Some(name) = ["serverCertificate", "privateKey", "caCertificates", "credentialName", "caCrl"]
            .into_iter()
            .find(|name| text(name))
    {
        let words = format!("this mode passes TLS through: `{name}` is ignored");
        tls.sink.add(Problem::new(Code::NoEffect, tls.place_of(name), words).hint("remove it, or change the mode"));
    }
    mode
}
