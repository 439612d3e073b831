//! Which names a peer's certificate must carry, beside its chain.
//!
//! Does not: judge chains (webpki does).

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::fmt::Write;
use std::sync::Arc;

/// Does it carry one of the names? URIs must be equal; for host names a wildcard of the certificate counts, as in Envoy.
fn carries(certificate: &CertificateDer<'_>, names: &[Arc<str>]) -> bool {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return false };
    names.iter().any(|name| {
        if name.contains("://") {
            return parsed.valid_uri_names().any(|uri| uri == &**name);
        }
        let listed = parsed.valid_dns_names().any(|host| host.eq_ignore_ascii_case(name));
        listed || ServerName::try_from(&**name).is_ok_and(|name| parsed.verify_is_valid_for_subject_name(&name).is_ok())
    })
}

/// The first `spiffe://` name of a certificate, or its first URI.
pub(super) fn principal(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let first = parsed.valid_uri_names().next();
    parsed.valid_uri_names().find(|uri| uri.starts_with("spiffe://")).or(first).map(str::to_owned)
}

/// A certificate as Envoy's `x-forwarded-client-cert` says it: `Hash=…;Subject="…";URI=…;DNS=…`. What could be taken for
/// something else is left out.
pub(super) fn shown(certificate: &CertificateDer<'_>) -> String {
    let mut out = String::from("Hash=");
    for byte in sha256(certificate) {
        let _ = write!(out, "{byte:02x}");
    }
    let plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && !text.contains(['"', '\\']);
    let safe = |text: &&str| plain(text) && !text.contains([';', ',', '=', ' ']);
    if let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) {
        let subject = parsed.subject().to_string();
        if plain(&subject) {
            let _ = write!(out, ";Subject=\"{subject}\"");
        }
    }
    if let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) {
        for uri in parsed.valid_uri_names().filter(safe).take(NAMES) {
            let _ = write!(out, ";URI={uri}");
        }
        for host in parsed.valid_dns_names().filter(safe).take(NAMES) {
            let _ = write!(out, ";DNS={host}");
        }
    }
    out
}

/// Names of one certificate that are passed on.
const NAMES: usize = 8;

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().map(|suite| suite.common.hash_provider.hash(bytes));
    hash.map(|hash| hash.as_ref().to_vec()).unwrap_or_default()
}

fn unnamed() -> Error {
    Error::InvalidCertificate(CertificateError::NotValidForName)
}

/// Clients by their chain, and by `subjectAltNames`.
#[derive(Debug)]
pub(super) struct NamedClients {
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    pub(super) names: Vec<Arc<str>>,
}

impl ClientCertVerifier for NamedClients {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        if carries(end_entity, &self.names) { Ok(verified) } else { Err(unnamed()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// A server by its chain, and by `subjectAltNames` instead of the name that was asked for.
#[derive(Debug)]
pub(super) struct NamedServer {
    pub(super) chain: Arc<WebPkiServerVerifier>,
    pub(super) names: Vec<Arc<str>>,
}

impl ServerCertVerifier for NamedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is judged last: the chain is good.
            Ok(_)
            | Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(why) => return Err(why),
        }
        if carries(end_entity, &self.names) { Ok(ServerCertVerified::assertion()) } else { Err(unnamed()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// `insecureSkipVerify`: whoever answers.
#[derive(Debug)]
pub(super) struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &super::PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &super::PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        super::PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
