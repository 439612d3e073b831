//! A Gateway's server as rustls wants it.

use super::authorities::roots;
use super::keys::Files;
use super::trouble::Fault;
use super::verify::NamedClients;
use super::{PROVIDER, slot};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use std::sync::Arc;
use weir_policy::tls::{Carries, Clients, Proof, Server, Suite, Versions};

/// In the order of preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl slot::Build for Server {
    type Built = ServerConfig;

    fn build(&self, files: &mut Files<'_>) -> Result<ServerConfig, Fault> {
        let keys: Result<Vec<Arc<CertifiedKey>>, Fault> =
            self.identities.iter().map(|identity| files.identity(identity).map(Arc::new)).collect();
        let keys = Arc::new(Keys(keys?));
        let clients = verifier(&self.clients, files)?;
        let provider = provider(&self.suites);
        let unfit =
            |why: rustls::Error| Fault::new(format!("TLS cannot be set up: {why}"), "mend the settings of `tls`");
        let versions = match self.versions {
            Versions::Both => rustls::ALL_VERSIONS,
            Versions::Only12 => &[&rustls::version::TLS12],
            Versions::Only13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(unfit)?;
        let mut config = builder.with_client_cert_verifier(clients).with_cert_resolver(keys);
        if self.carries == Carries::Http {
            config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        }
        // A ticket is good where it was given only: servers may ask clients for different things.
        config.ticketer = tickets().map_err(unfit)?;
        Ok(config)
    }
}

fn tickets() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    aws_lc_rs::Ticketer::new()
}

fn provider(suites: &[Suite]) -> Arc<CryptoProvider> {
    if suites.is_empty() {
        return Arc::clone(&PROVIDER);
    }
    let mut cipher_suites: Vec<SupportedCipherSuite> = PROVIDER.cipher_suites.clone();
    cipher_suites.retain(|suite| suite.tls13().is_some());
    for wanted in suites {
        cipher_suites.extend(PROVIDER.cipher_suites.iter().find(|suite| suite.suite() == number(*wanted)));
    }
    Arc::new(CryptoProvider { cipher_suites, ..(**PROVIDER).clone() })
}

const fn number(suite: Suite) -> CipherSuite {
    match suite {
        Suite::EcdsaAes128 => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Suite::EcdsaAes256 => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Suite::EcdsaChaCha20 => CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Suite::RsaAes128 => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Suite::RsaAes256 => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Suite::RsaChaCha20 => CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn verifier(clients: &Clients, files: &mut Files<'_>) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    let Some(Proof { authorities, revoked, names }) = clients.proof() else { return Ok(Arc::new(NoClientAuth)) };
    let Some(roots) = roots(authorities, files)? else {
        return Err(Fault::new("clients cannot be verified without CA certificates", "write caCertificates"));
    };
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER));
    if let Some(path) = revoked {
        builder = builder.with_crls(files.revoked(path)?);
    }
    if matches!(clients, Clients::ProvenIfAny(_)) {
        builder = builder.allow_unauthenticated();
    }
    let chain = builder
        .build()
        .map_err(|why| Fault::new(format!("clients cannot be verified: {why}"), "look at caCertificates and caCrl"))?;
    if names.is_empty() { Ok(chain) } else { Ok(Arc::new(NamedClients { chain, names: names.clone() })) }
}

/// Certificates for clients that can verify one kind of key only: the first that suits.
#[derive(Debug)]
struct Keys(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let suits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(suits).or(self.0.first()).cloned()
    }
}
