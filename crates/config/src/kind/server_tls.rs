//! `tls` of a server: of a Gateway's, and of a Sidecar's ingress.

use crate::decode::{At, Object};
use crate::problem::{Code, Problem};
use std::sync::Arc;
use weir_policy::tls::{Authorities, Clients, Identity, Proof, Suite, Versions};

/// What a server terminates, but for its hosts.
#[derive(Clone, Debug)]
pub struct Termination {
    pub identities: Vec<Identity>,
    pub clients: Clients,
    pub versions: Versions,
    pub suites: Vec<Suite>,
}

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
    let listed = |name| !tls.list(name).is_empty();
    if mode == Mode::IstioMutual {
        let lists = ["tlsCertificates", "credentialNames"].into_iter().filter(|name| listed(name));
        let texts = ["serverCertificate", "privateKey", "caCertificates", "credentialName"];
        for name in texts.into_iter().filter(|name| text(name)).chain(lists) {
            let words = format!("ISTIO_MUTUAL has its own certificates: `{name}` cannot be given");
            tls.sink.add(tls.problem(Code::Conflict, name, words));
        }
        return mode;
    }
    one_source(tls);
    let needs: &[&'static str] = match mode {
        Mode::Simple => &["serverCertificate", "privateKey"],
        Mode::Mutual | Mode::OptionalMutual => &["serverCertificate", "privateKey", "caCertificates"],
        _ => &[],
    };
    if text("credentialName") && !needs.is_empty() {
        return mode;
    }
    let several = listed("tlsCertificates") || listed("credentialNames");
    if !needs.is_empty() {
        for pair in tls.objects("tlsCertificates") {
            let missing = |name: &&'static str| pair.text(name).is_none_or(|text| text.value.is_empty());
            ["serverCertificate", "privateKey"].iter().filter(|name| missing(name)).for_each(|name| pair.missing(name));
        }
    }
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

/// Certificates come from one place.
fn one_source(tls: &Object<'_>) {
    let text = |name| tls.text(name).filter(|text| !text.value.is_empty()).is_some();
    let sources = [
        ("credentialName", text("credentialName")),
        ("serverCertificate", text("serverCertificate") && text("privateKey")),
        ("credentialNames", !tls.list("credentialNames").is_empty()),
        ("tlsCertificates", !tls.list("tlsCertificates").is_empty()),
    ];
    let mut given = sources.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        let words = format!("`{first}` and `{second}` exclude each other");
        tls.sink.add(tls.problem(Code::Conflict, second, words));
    }
}

/// Reads the settings of a server that terminates TLS. `None`: it cannot be served as written, and says why.
pub fn termination(tls: &Object<'_>, mode: Mode) -> Option<Termination> {
    let (identities, versions, suites, proof) = (identities(tls), versions(tls), suites(tls), proof(tls));
    let lists = ["verifyCertificateSpki", "verifyCertificateHash"];
    let pinned = lists.into_iter().find(|name| !tls.list(name).is_empty());
    let blind = (tls.truth("insecureSkipVerify") == Some(true)).then_some("insecureSkipVerify");
    tls.unenforced(&["verifyCertificateSpki", "verifyCertificateHash", "insecureSkipVerify"]);
    if let Some(name) = pinned.or(blind) {
        let words = format!("`{name}` is not enforced yet: this server stays closed");
        tls.sink.add(tls.problem(Code::PortClosed, name, words).hint("remove it, and verify by `subjectAltNames`"));
        return None;
    }
    let clients = match mode {
        Mode::Simple => Clients::Anybody,
        Mode::Mutual => Clients::Proven(proof?),
        Mode::OptionalMutual => Clients::ProvenIfAny(proof?),
        Mode::Passthrough | Mode::AutoPassthrough | Mode::IstioMutual => return None,
    };
    if identities.is_empty() {
        return None;
    }
    Some(Termination { identities, clients, versions: versions?, suites })
}

fn word(tls: &Object<'_>, name: &'static str) -> Option<Arc<str>> {
    tls.text(name).filter(|text| !text.value.is_empty()).map(|text| text.value.into())
}

/// As istiod: a list wins over the single fields, and a secret over files.
fn identities(tls: &Object<'_>) -> Vec<Identity> {
    let pair = |of: &Object<'_>| {
        let (certificate, key) = (word(of, "serverCertificate"), word(of, "privateKey"));
        Some(Identity::Files { certificate: certificate?, key: key? })
    };
    let secret = |name: Arc<str>| vec![Identity::Secret(name)];
    let secrets = tls.texts("credentialNames").into_iter().map(|name| Identity::Secret(name.value.into()));
    let several = tls.objects("tlsCertificates").filter_map(|of| {
        let found = pair(&of);
        of.without_effect(&["caCertificates"]);
        of.end();
        found
    });
    let lists: [Vec<Identity>; 4] = [
        secrets.collect(),
        word(tls, "credentialName").map(secret).unwrap_or_default(),
        several.collect(),
        pair(tls).into_iter().collect(),
    ];
    lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default()
}

fn proof(tls: &Object<'_>) -> Option<Proof> {
    let secret = word(tls, "caCertCredentialName")
        .or_else(|| word(tls, "credentialName"))
        .or_else(|| tls.texts("credentialNames").into_iter().next().map(|name| name.value.into()));
    let names = tls.texts("subjectAltNames").into_iter().map(|name| name.value.into()).collect();
    let (file, revoked) = (word(tls, "caCertificates"), word(tls, "caCrl"));
    let authorities = secret.map(Authorities::Secret).or_else(|| file.map(Authorities::File));
    Some(Proof { authorities: authorities?, revoked, names })
}

const VERSIONS: &[(&str, u8)] = &[("TLS_AUTO", 0), ("TLSV1_0", 10), ("TLSV1_1", 11), ("TLSV1_2", 12), ("TLSV1_3", 13)];

fn versions(tls: &Object<'_>) -> Option<Versions> {
    let (least, most) = (tls.word("minProtocolVersion", VERSIONS), tls.word("maxProtocolVersion", VERSIONS));
    if let Some(At { value: 10 | 11, place }) = &least {
        let words = "TLS 1.2 is the least that is spoken here: clients of TLS 1.0 and 1.1 are refused";
        tls.sink.add(Problem::new(Code::NoEffect, place.clone(), words).hint("write TLSV1_2, or remove it"));
    }
    let (least, most) = (least.map_or(0, |least| least.value), most.map_or(0, |most| most.value));
    match (least, most) {
        (_, 10 | 11) | (13, 12) => {
            let words = "no version is left: TLS 1.2 and 1.3 are spoken. This server stays closed";
            tls.sink.add(tls.problem(Code::PortClosed, "maxProtocolVersion", words).hint("remove it"));
            None
        }
        (13, _) => Some(Versions::Only13),
        (_, 12) => Some(Versions::Only12),
        _ => Some(Versions::Both),
    }
}

fn suites(tls: &Object<'_>) -> Vec<Suite> {
    let known = |written: At<String>| {
        let found = Suite::ALL.iter().find(|(name, _)| written.value.eq_ignore_ascii_case(name));
        if found.is_none() {
            let words = format!("the cipher suite `{}` is not spoken here", written.value);
            let hint = Suite::ALL.map(|(name, _)| name).join(", ");
            let problem = Problem::new(Code::NoEffect, written.place, words);
            tls.sink.add(problem.hint(format!("those of TLS 1.2 are {hint}; those of TLS 1.3 are always on")));
        }
        found.map(|(_, suite)| *suite)
    };
    tls.texts("cipherSuites").into_iter().filter_map(known).collect()
}
