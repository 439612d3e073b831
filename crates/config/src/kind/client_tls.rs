//! `trafficPolicy.tls`: TLS to a destination.

use crate::decode::Object;
use crate::problem::{Code, Problem};
use std::sync::Arc;
use weir_policy::place::Place;
use weir_policy::tls::{Authorities, Identity, Proof};

/// The settings as written.
#[derive(Clone, Debug)]
pub enum ClientTls {
    /// DISABLE: in the clear.
    Disable,
    Originate(Origination),
    /// A mode that is not enforced yet: the destination is refused.
    Guarded(Place),
}

/// TLS that begins here, but for the name that follows from the destination.
#[derive(Clone, Debug)]
pub struct Origination {
    pub identity: Option<Identity>,
    pub proof: Proof,
    pub sni: Option<Arc<str>>,
}

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

/// Reads and checks the settings.
pub fn client_tls(tls: &Object<'_>) -> ClientTls {
    let mode = tls.word("mode", MODES);
    let of = mode.as_ref().map_or(Mode::Disable, |mode| mode.value);
    rules(tls, of);
    let read = originate(tls, of);
    tls.end();
    let (Some(mode), Mode::IstioMutual) = (mode, of) else { return read };
    let words = "mutual TLS by workload certificates is not enforced yet: requests to it get 503 `not_enforced`, \
                 never plaintext";
    tls.sink.add(Problem::new(Code::SecurityNotEnforced, mode.place.clone(), words));
    ClientTls::Guarded(mode.place)
}

fn originate(tls: &Object<'_>, mode: Mode) -> ClientTls {
    let word = |name| tls.text(name).filter(|text| !text.value.is_empty()).map(|text| Arc::<str>::from(text.value));
    let (certificate, key, secret) = (word("clientCertificate"), word("privateKey"), word("credentialName"));
    let (file, revoked, sni) = (word("caCertificates"), word("caCrl"), word("sni"));
    let names = tls.texts("subjectAltNames").into_iter().map(|name| name.value.into()).collect();
    let blind = tls.truth("insecureSkipVerify") == Some(true);
    if matches!(mode, Mode::Disable | Mode::IstioMutual) {
        return ClientTls::Disable;
    }
    let identity = match (mode, &secret, certificate.zip(key)) {
        (Mode::Mutual, Some(secret), _) => Some(Identity::Secret(Arc::clone(secret))),
        (Mode::Mutual, None, Some((certificate, key))) => Some(Identity::Files { certificate, key }),
        _ => None,
    };
    let authorities = match (blind, secret, file) {
        (true, ..) => Authorities::Unverified,
        (false, Some(secret), _) => Authorities::Secret(secret),
        (false, None, Some(file)) => Authorities::File(file),
        (false, None, None) => Authorities::System,
    };
    ClientTls::Originate(Origination { identity, proof: Proof { authorities, revoked, names }, sni })
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
