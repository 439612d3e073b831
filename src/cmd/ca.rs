//! `weir ca`: an authority in a folder, and short-lived certificates that carry who a workload is.
//!
//! ```text
//!   init  ─► DIR/ca.crt   spiffe://DOMAIN                        DIR/ca.key   0600, never leaves
//!   issue ─► OUT/tls.crt  spiffe://DOMAIN/ns/NS/sa/SA, hosts     OUT/tls.key  0600     OUT/ca.crt
//! ```
//! Nothing is overwritten without `--force`; with it each file is replaced as a whole. Does not: serve certificates.

use crate::args::ca::{Ca, Init, Issue, What};
use crate::cmd::out;
use anyhow::{Context, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

/// Clocks of machines differ by so much.
const EARLIER: Duration = Duration::from_secs(300);
const READABLE: u32 = 0o644;
const SECRET: u32 = 0o600;

pub(crate) fn ca(ca: &Ca) -> anyhow::Result<ExitCode> {
    match &ca.what {
        What::Init(asked) => init(asked)?,
        What::Issue(asked) => issue(asked)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::disallowed_methods, reason = "a certificate is dated by the system's clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn init(asked: &Init) -> anyhow::Result<()> {
    let (certificate, key) = (asked.folder.join("ca.crt"), asked.folder.join("ca.key"));
    refuse_to_replace(&[&certificate, &key], asked.force)?;
    let mut params = dated(asked.ttl)?;
    params.distinguished_name.push(DnType::CommonName, format!("weir CA of {}", asked.trust_domain));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri(&format!("spiffe://{}", asked.trust_domain))?];
    let pair = KeyPair::generate().context("cannot make a key")?;
    let signed = params.self_signed(&pair).context("cannot sign")?;
    make_folder(&asked.folder)?;
    write(&key, &pair.serialize_pem(), SECRET)?;
    write(&certificate, &signed.pem(), READABLE)?;
    out(&format!("{} and {}: keep the key where only issuing needs it\n", certificate.display(), key.display()));
    Ok(())
}

fn issue(asked: &Issue) -> anyhow::Result<()> {
    let files = ["tls.crt", "tls.key", "ca.crt"].map(|name| asked.out.join(name));
    refuse_to_replace(&files.each_ref().map(|path| path.as_path()), asked.force)?;
    let authority = Authority::read(&asked.ca)?;
    let name = format!("spiffe://{}/ns/{}/sa/{}", authority.domain, asked.namespace, asked.service_account);
    let mut params = dated(asked.ttl)?;
    if now() + asked.ttl > authority.until {
        bail!("the authority ends before the certificate would: give a shorter --ttl, or make a new authority");
    }
    params.distinguished_name.push(DnType::CommonName, asked.service_account.as_str());
    params.subject_alt_names = vec![uri(&name)?];
    for host in &asked.dns {
        let host = host.as_str().try_into().with_context(|| format!("`{host}` is no host name"))?;
        params.subject_alt_names.push(SanType::DnsName(host));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let pair = KeyPair::generate().context("cannot make a key")?;
    let signed = params.signed_by(&pair, &authority.issuer).context("cannot sign")?;
    make_folder(&asked.out)?;
    let [certificate, key, trusted] = &files;
    write(key, &pair.serialize_pem(), SECRET)?;
    write(certificate, &signed.pem(), READABLE)?;
    write(trusted, &authority.pem, READABLE)?;
    out(&format!("{name}: {}\n", asked.out.display()));
    Ok(())
}

/// An authority as it is kept.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    domain: String,
    until: SystemTime,
}

impl Authority {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let [certificate, key] = ["ca.crt", "ca.key"].map(|name| folder.join(name));
        let open = |path: &Path| {
            fs::read_to_string(path).with_context(|| {
                format!("cannot read {}: make an authority with `weir ca init`, or name it with --ca", path.display())
            })
        };
        let (pem, key_pem) = (open(&certificate)?, open(&key)?);
        let pair = KeyPair::from_pem(&key_pem).with_context(|| format!("{} is no key", key.display()))?;
        let (_, block) =
            parse_x509_pem(pem.as_bytes()).with_context(|| format!("{} is no PEM", certificate.display()))?;
        let parsed = block.parse_x509().with_context(|| format!("{} is no certificate", certificate.display()))?;
        if parsed.public_key().raw != pair.subject_public_key_info() {
            bail!("{} is not the key of {}: they are of two authorities", key.display(), certificate.display());
        }
        let domain = trust_domain(&parsed).with_context(|| {
            format!("{} has no trust domain: it was not made by `weir ca init`", certificate.display())
        })?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let issuer = Issuer::from_ca_cert_pem(&pem, pair).context("the authority cannot be used")?;
        Ok(Self { issuer, domain, until: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), pem })
    }
}

fn trust_domain(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix("spiffe://").map(str::to_owned),
        _ => None,
    })
}

fn dated(length: Duration) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let now = now();
    let until =
        now.checked_add(length).filter(|_| !length.is_zero() && length < Duration::from_secs(100 * 366 * 86_400));
    params.not_before = (now - EARLIER).into();
    params.not_after = until.context("--ttl is at least a moment and at most a hundred years")?.into();
    Ok(params)
}

fn uri(name: &str) -> anyhow::Result<SanType> {
    Ok(SanType::URI(name.try_into().with_context(|| format!("`{name}` is no name"))?))
}

fn refuse_to_replace(paths: &[&Path], force: bool) -> anyhow::Result<()> {
    match paths.iter().find(|path| path.exists()) {
        Some(path) if !force => bail!("{} is there already: choose another folder, or say --force", path.display()),
        _ => Ok(()),
    }
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Whole or not at all: a running weir may be reading.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    // Left by an earlier attempt, perhaps with other rights.
    let _ = fs::remove_file(&new);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}
