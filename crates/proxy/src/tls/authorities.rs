//! Whom we trust, as rustls wants it.

use super::keys::Files;
use super::trouble::Fault;
use rustls::RootCertStore;
use std::sync::{Arc, OnceLock};
use weir_policy::tls::Authorities;

/// `None`: nobody is asked.
pub(super) fn roots(of: &Authorities, files: &mut Files<'_>) -> Result<Option<Arc<RootCertStore>>, Fault> {
    let (found, shown) = match of {
        Authorities::Unverified => return Ok(None),
        Authorities::System => return system().map(Some),
        Authorities::File(path) => (files.authorities(path)?, &**path),
        Authorities::Secret(name) => (files.authorities_of(name)?, &**name),
    };
    let mut roots = RootCertStore::empty();
    for certificate in found {
        roots.add(certificate).map_err(|why| {
            Fault::new(format!("a CA certificate of {shown} cannot be used: {why}"), "write X.509 CA certificates")
        })?;
    }
    Ok(Some(Arc::new(roots)))
}

/// Read once: they change with the system's packages.
fn system() -> Result<Arc<RootCertStore>, Fault> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = SYSTEM.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        let words = "the system has no CA certificates, so no server can be verified";
        return Err(Fault::new(words, "install ca-certificates, set SSL_CERT_FILE, or write caCertificates"));
    }
    Ok(Arc::clone(roots))
}
