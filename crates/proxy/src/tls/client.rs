//! A destination as rustls wants it.

use super::authorities::roots;
use super::keys::Files;
use super::trouble::Fault;
use super::verify::{AnyServer, NamedServer};
use super::{PROVIDER, slot};
use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;
use weir_policy::tls::{Client, Proof};

/// One for each version of HTTP: ALPN says which it will be; and one for what is not HTTP.
#[derive(Debug)]
pub(crate) struct Configs {
    pub(super) http1: Arc<ClientConfig>,
    pub(super) http2: Arc<ClientConfig>,
    pub(super) bytes: Arc<ClientConfig>,
}

impl slot::Build for Client {
    type Built = Configs;

    fn build(&self, files: &mut Files<'_>) -> Result<Configs, Fault> {
        let identity = self.identity.as_ref().map(|identity| files.identity(identity)).transpose()?;
        let verifier = verifier(&self.proof, files)?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER));
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|why| Fault::new(format!("TLS cannot be set up: {why}"), "mend the settings of `tls`"))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut http1 = match identity {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&key)))),
            None => builder.with_no_client_auth(),
        };
        let mut http2 = http1.clone();
        let bytes = Arc::new(http1.clone());
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        http2.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Configs { http1: Arc::new(http1), http2: Arc::new(http2), bytes })
    }
}

fn verifier(proof: &Proof, files: &mut Files<'_>) -> Result<Arc<dyn ServerCertVerifier>, Fault> {
    let Some(roots) = roots(&proof.authorities, files)? else { return Ok(Arc::new(AnyServer)) };
    let mut builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER));
    if let Some(path) = &proof.revoked {
        builder = builder.with_crls(files.revoked(path)?);
    }
    let chain = builder
        .build()
        .map_err(|why| Fault::new(format!("servers cannot be verified: {why}"), "look at caCertificates and caCrl"))?;
    if proof.names.is_empty() { Ok(chain) } else { Ok(Arc::new(NamedServer { chain, names: proof.names.clone() })) }
}
