//! Files to certificates and keys: read, taken apart, and looked at before they are used.
//!
//! ```text
//!   name of a secret ─► DIR/NAME/tls.crt … ─┐
//!   path ───────────────────────────────────┴─► PEM ─► a certificate and its key: do they fit? in date?
//! ```
//! Does not: keep what was read.

use super::PROVIDER;
use super::trouble::Fault;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_policy::tls::Identity;

/// Bytes of one file.
const LARGEST: u64 = 1 << 20;

/// Reads the files of one server or destination, and remembers what they were.
pub(crate) struct Files<'s> {
    secrets: Option<&'s Path>,
    /// Since 1970.
    now: Duration,
    seen: DefaultHasher,
    paths: Vec<PathBuf>,
}

impl<'s> Files<'s> {
    pub(super) fn new(secrets: Option<&'s Path>, now: Duration) -> Self {
        Self { secrets, now, seen: DefaultHasher::new(), paths: Vec::new() }
    }

    /// Of all contents so far: another number when one of them changes.
    pub(super) fn seen(&self) -> u64 {
        self.seen.finish()
    }

    /// Which files were looked for.
    pub(super) fn paths(self) -> Vec<PathBuf> {
        self.paths
    }

    fn read(&mut self, path: PathBuf) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
        bytes.hash(&mut self.seen);
        file.is_ok().hash(&mut self.seen);
        let shown = path.display().to_string();
        self.paths.push(path);
        match file {
            Err(why) => {
                Err(Fault::new(format!("cannot read {shown}: {why}"), "write the file, or mend its path or rights"))
            }
            Ok(_) if bytes.len() as u64 > LARGEST => Err(Fault::new(
                format!("{shown} is larger than 1 MiB"),
                "give it only the certificates that are needed",
            )),
            Ok(_) => Ok(bytes),
        }
    }

    /// The folder of a secret. Its name must not lead elsewhere.
    fn secret(&self, name: &str) -> Result<PathBuf, Fault> {
        let name = name.strip_prefix("kubernetes://").unwrap_or(name);
        let Some(folder) = self.secrets else {
            let words = format!("the secret `{name}` is asked for, and there is no folder of secrets");
            return Err(Fault::new(words, "start weir with --secrets DIR; it has a folder for each secret"));
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(Fault::new(format!("`{name}` cannot name a secret"), "letters, digits, `-`, `_` and `.`"));
        }
        Ok(folder.join(name))
    }

    /// A file of a secret, by its name of today or by Istio's older one.
    fn part(&mut self, name: &str, parts: [&str; 2]) -> Result<(Vec<u8>, String), Fault> {
        let folder = self.secret(name)?;
        let [first, second] = parts.map(|part| folder.join(part));
        let path = if !first.exists() && second.exists() { second } else { first };
        let shown = path.display().to_string();
        Ok((self.read(path)?, shown))
    }

    /// A certificate with its chain, and its key.
    pub(super) fn identity(&mut self, identity: &Identity) -> Result<CertifiedKey, Fault> {
        let (certificate, key) = match identity {
            Identity::Files { certificate, key } => {
                let chain = self.read(PathBuf::from(&**certificate))?;
                ((chain, certificate.to_string()), (self.read(PathBuf::from(&**key))?, key.to_string()))
            }
            Identity::Secret(name) => (self.part(name, ["tls.crt", "cert"])?, self.part(name, ["tls.key", "key"])?),
        };
        let chain = certificates(&certificate.0, &certificate.1)?;
        let (pem, shown) = key;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|why| {
            Fault::new(
                format!("{shown} has no private key: {why}"),
                "it must be PEM: PKCS#8, PKCS#1 or SEC1, not encrypted",
            )
        })?;
        in_date(&chain[0], &certificate.1, self.now)?;
        CertifiedKey::from_der(chain, key, &PROVIDER).map_err(|why| match why {
            rustls::Error::InconsistentKeys(_) => {
                let words = format!("the key in {shown} is not that of the certificate in {}", certificate.1);
                Fault::new(words, "write both files of one pair")
            }
            why => Fault::new(
                format!("the key in {shown} cannot be used: {why}"),
                "use an ECDSA P-256, RSA or Ed25519 key",
            ),
        })
    }

    /// CA certificates of a file.
    pub(super) fn authorities(&mut self, path: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let pem = self.read(PathBuf::from(path))?;
        certificates(&pem, path)
    }

    /// CA certificates of a secret: its own `ca.crt`, or those of the secret `NAME-cacert`.
    pub(super) fn authorities_of(&mut self, name: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let apart = format!("{name}-cacert");
        let name = if self.secret(&apart)?.exists() { &apart } else { name };
        let (pem, shown) = self.part(name, ["ca.crt", "cacert"])?;
        certificates(&pem, &shown)
    }

    pub(super) fn revoked(&mut self, path: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, Fault> {
        let pem = self.read(PathBuf::from(path))?;
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
        match lists {
            Ok(lists) if !lists.is_empty() => Ok(lists),
            _ => Err(Fault::new(format!("{path} has no certificate revocation list"), "it must be PEM: X509 CRL")),
        }
    }
}

fn certificates(pem: &[u8], shown: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let hint = "it must be PEM: CERTIFICATE, the server's own first";
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Fault::new(format!("{shown} has no certificate"), hint)),
        Err(why) => Err(Fault::new(format!("{shown} cannot be read as certificates: {why}"), hint)),
    }
}

/// Nobody would accept it otherwise.
fn in_date(certificate: &CertificateDer<'_>, shown: &str, now: Duration) -> Result<(), Fault> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|why| Fault::new(format!("{shown} is no certificate: {why}"), "write the server's certificate"))?;
    let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > until.timestamp() {
        return Err(Fault::new(format!("the certificate in {shown} expired on {until}"), "renew it"));
    }
    if now < from.timestamp() {
        let words = format!("the certificate in {shown} is valid from {from} only");
        return Err(Fault::new(words, "wait, or look at the clock of this machine"));
    }
    Ok(())
}
