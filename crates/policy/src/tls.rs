//! TLS as documents ask for it: who is proven to whom, and where keys are found — never the keys.
//!
//! ```text
//!   Server ── hosts (SNI) ─► identities + what is asked of clients
//!   Client ── our identity, whom we trust, which name the server must prove
//! ```
//! Does not: read files or speak TLS (`proxy/tls` does).

use crate::place::Place;
use std::sync::Arc;

/// `tls` of a Gateway's server that is terminated here.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Server {
    /// Which names of a handshake (SNI) it is for, lower case: full names, `*.example.com`, `*`.
    pub hosts: Vec<Arc<str>>,
    /// At least one; several for clients that can verify one kind of key only.
    pub identities: Vec<Identity>,
    pub clients: Clients,
    pub versions: Versions,
    /// Of TLS 1.2, in order; empty = all that are known. TLS 1.3 has always all of its own.
    pub suites: Vec<Suite>,
    pub carries: Carries,
}

/// What is inside of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Carries {
    /// Requests.
    #[default]
    Http,
    /// Bytes, for [`crate::tcp`].
    Bytes,
}

/// A server, and where it is written.
#[derive(Clone, Debug)]
pub struct Entry {
    pub rules: Arc<Server>,
    pub place: Place,
}

/// What is asked of a server's clients.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Clients {
    /// SIMPLE: nothing.
    Anybody,
    /// MUTUAL: a certificate of these authorities.
    Proven(Proof),
    /// OPTIONAL_MUTUAL: one of these authorities, or none.
    ProvenIfAny(Proof),
}

/// What makes a peer's certificate a good one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proof {
    pub authorities: Authorities,
    /// `caCrl`: a file with certificates that are taken back.
    pub revoked: Option<Arc<str>>,
    /// `subjectAltNames`: it must carry one of these; empty = any (of a client), the name asked for (of a server).
    pub names: Vec<Arc<str>>,
}

/// Whose certificates are accepted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Authorities {
    /// Those of the operating system.
    System,
    /// `caCertificates`.
    File(Arc<str>),
    /// `ca.crt` of a secret.
    Secret(Arc<str>),
    /// `insecureSkipVerify`: anybody's. Encrypted, and not proven.
    Unverified,
}

/// Where a certificate and its key are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    Files {
        certificate: Arc<str>,
        key: Arc<str>,
    },
    /// `credentialName`: `tls.crt` and `tls.key` of a secret.
    Secret(Arc<str>),
}

/// Versions that are spoken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Versions {
    #[default]
    Both,
    Only12,
    Only13,
}

/// The suites of TLS 1.2 that are still fit for use, by OpenSSL's names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suite {
    EcdsaAes128,
    EcdsaAes256,
    EcdsaChaCha20,
    RsaAes128,
    RsaAes256,
    RsaChaCha20,
}

impl Suite {
    pub const ALL: [(&'static str, Self); 6] = [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", Self::EcdsaAes128),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", Self::EcdsaAes256),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", Self::EcdsaChaCha20),
        ("ECDHE-RSA-AES128-GCM-SHA256", Self::RsaAes128),
        ("ECDHE-RSA-AES256-GCM-SHA384", Self::RsaAes256),
        ("ECDHE-RSA-CHACHA20-POLY1305", Self::RsaChaCha20),
    ];
}

/// `trafficPolicy.tls` of a destination: TLS that begins here.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Client {
    /// MUTUAL: who we are.
    pub identity: Option<Identity>,
    pub proof: Proof,
    /// `sni`, else the destination's host: what is asked for, and what the server's certificate must be for unless
    /// [`Proof::names`] says otherwise. `None`: the host is a wildcard.
    pub name: Option<Arc<str>>,
}

/// Why a handshake with an upstream failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// Our own keys or authorities could not be loaded.
    NoKeys,
    /// Nothing says which name it must prove.
    NoName,
    /// No authority that we trust has signed it.
    UnknownAuthority,
    /// It is out of date, or not valid yet.
    Expired,
    Revoked,
    /// It is for other names.
    WrongName,
    /// Anything else about its certificate.
    BadCertificate,
    /// It refused us, with an alert of this number (RFC 8446 section 6).
    Alert(u8),
    /// No version or suite in common.
    NothingInCommon,
    /// It ended the connection, or is not speaking TLS.
    NotTls,
}

impl Failure {
    /// For the access log.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoKeys => "TLS: our keys or CA certificates could not be loaded",
            Self::NoName => "TLS: no name to verify the server by",
            Self::UnknownAuthority => "TLS: server certificate of an unknown authority",
            Self::Expired => "TLS: server certificate expired or not valid yet",
            Self::Revoked => "TLS: server certificate revoked",
            Self::WrongName => "TLS: server certificate for other names",
            Self::BadCertificate => "TLS: server certificate not acceptable",
            Self::Alert(42) => "TLS: alert bad certificate",
            Self::Alert(44) => "TLS: alert certificate revoked",
            Self::Alert(45) => "TLS: alert certificate expired",
            Self::Alert(46) => "TLS: alert certificate unknown",
            Self::Alert(48) => "TLS: alert unknown CA",
            Self::Alert(49) => "TLS: alert access denied",
            Self::Alert(112) => "TLS: alert unrecognized name",
            Self::Alert(116) => "TLS: alert certificate required",
            Self::Alert(120) => "TLS: alert no application protocol",
            Self::Alert(_) => "TLS: alert of the server",
            Self::NothingInCommon => "TLS: no version or cipher suite in common",
            Self::NotTls => "TLS: the server ended the connection or does not speak TLS",
        }
    }
}

impl Clients {
    pub const fn proof(&self) -> Option<&Proof> {
        match self {
            Self::Anybody => None,
            Self::Proven(proof) | Self::ProvenIfAny(proof) => Some(proof),
        }
    }
}

impl Server {
    /// How well one of its hosts fits the name of a handshake or of a request; `None`: it is for other names.
    pub fn fits(&self, name: Option<&str>) -> Option<usize> {
        self.hosts.iter().filter_map(|pattern| fit(pattern, name)).max()
    }
}

/// An exact name fits best, then the longest wildcard.
pub(crate) fn fit(pattern: &str, name: Option<&str>) -> Option<usize> {
    if pattern == "*" {
        return Some(0);
    }
    let name = name?;
    match pattern.strip_prefix('*') {
        Some(suffix) => {
            let (at, long) = (name.len().checked_sub(suffix.len())?, name.len() > suffix.len());
            (long && name.is_char_boundary(at) && name[at..].eq_ignore_ascii_case(suffix)).then_some(suffix.len())
        }
        None => pattern.eq_ignore_ascii_case(name).then_some(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_fits_better_than_a_wildcard_and_that_better_than_any() {
        assert_eq!(fit("a.example.com", Some("A.example.com")), Some(usize::MAX));
        assert_eq!(fit("*.example.com", Some("a.example.com")), Some(12));
        assert_eq!(fit("*.com", Some("a.example.com")), Some(4));
        assert_eq!(fit("*", Some("a.example.com")), Some(0));
        assert_eq!(fit("*", None), Some(0));
        for (pattern, name) in [
            ("*.example.com", Some("example.com")),
            ("*.example.com", Some(".example.com")),
            ("*.example.com", None),
            ("a.example.com", None),
            ("a.example.com", Some("b.example.com")),
            ("*.é", Some("é")),
        ] {
            assert_eq!(fit(pattern, name), None, "{pattern} {name:?}");
        }
    }
}
