//! Certificates made for a test, and a client that speaks TLS.

use super::PATIENCE;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Names with `://` are URIs.
    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        self.issue_until(names, Duration::from_secs(3600 * 24))
    }

    /// Valid from a day ago; `zero` = until an hour ago.
    pub(crate) fn issue_until(&self, names: &[&str], length: Duration) -> Pair {
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(match name.contains("://") {
                true => SanType::URI((*name).try_into().expect("a URI")),
                false => SanType::DnsName((*name).try_into().expect("a name")),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(3600 * 24)).into();
        params.not_after =
            if length.is_zero() { (now - Duration::from_secs(3600)).into() } else { (now + length).into() };
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

impl Pair {
    /// As a secret: each file is replaced at once.
    pub(crate) fn write(&self, folder: &Path, authority: Option<&Authority>) {
        std::fs::create_dir_all(folder).expect("a folder");
        put(&folder.join("tls.crt"), &self.certificate);
        put(&folder.join("tls.key"), &self.key);
        if let Some(authority) = authority {
            put(&folder.join("ca.crt"), &authority.pem);
        }
    }
}

pub(crate) fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, path).expect("renamed");
}

/// How a client speaks TLS.
pub(crate) struct Speaker {
    config: Arc<ClientConfig>,
}

/// A client's TLS connection.
pub(crate) struct Secure {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Speaker {
    pub(crate) fn new(trust: &Authority) -> Self {
        Self::with(trust, None, rustls::ALL_VERSIONS, &["http/1.1"])
    }

    pub(crate) fn proven(trust: &Authority, own: &Pair) -> Self {
        Self::with(trust, Some(own), rustls::ALL_VERSIONS, &["http/1.1"])
    }

    pub(crate) fn with(
        trust: &Authority,
        own: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trust.pem.as_bytes()).expect("PEM")).expect("a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { config: Arc::new(config) }
    }

    /// A connection after its handshake; why not, otherwise.
    pub(crate) fn open(&self, address: SocketAddr, name: &str) -> Result<Secure, std::io::Error> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let tls = ClientConnection::new(Arc::clone(&self.config), name).expect("a connection");
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut stream = StreamOwned::new(tls, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Secure { stream })
    }

    /// The status of one request on a connection of its own; `None` when there was no answer.
    pub(crate) fn status(&self, address: SocketAddr, host: &str) -> Option<u16> {
        self.open(address, host).ok()?.get(host).map(|(status, _)| status)
    }
}

impl Secure {
    /// Status and body.
    pub(crate) fn get(&mut self, host: &str) -> Option<(u16, String)> {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).ok()?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.trim().parse().ok()?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((status, String::from_utf8(body).ok()?))
    }

    /// The certificate that the server showed.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
    }
}
