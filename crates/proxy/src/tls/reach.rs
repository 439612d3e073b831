//! The handshake with an upstream.

use super::keyring::Keyring;
use super::session::Session;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConnection, Error};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use weir_policy::tls::{Authorities, Client, Failure};

/// What will be spoken inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inside {
    Http1,
    Http2,
    /// Not HTTP: no protocol is named.
    Bytes,
}

/// Speaks TLS with an upstream by the rules of its destination.
pub(crate) async fn reach(
    socket: TcpStream,
    address: SocketAddr,
    rules: &Arc<Client>,
    inside: Inside,
    keyring: &Keyring,
) -> Result<Session, Failure> {
    let configs = keyring.of(rules).and_then(|slot| slot.good()).ok_or(Failure::NoKeys)?;
    let config = match inside {
        Inside::Http1 => &configs.http1,
        Inside::Http2 => &configs.http2,
        Inside::Bytes => &configs.bytes,
    };
    let name = match &rules.name {
        Some(name) => ServerName::try_from(name.to_string()).map_err(|_| Failure::NoName)?,
        // Verified by other names, or not at all.
        None if !rules.proof.names.is_empty() || rules.proof.authorities == Authorities::Unverified => {
            ServerName::IpAddress(address.ip().into())
        }
        None => return Err(Failure::NoName),
    };
    let tls = ClientConnection::new(Arc::clone(config), name).map_err(|why| failure(&why))?;
    let mut session = Session::new(socket, tls.into());
    poll_fn(|cx| session.poll_shaken(cx)).await.map_err(|why| of_io(&why))?;
    Ok(session)
}

fn of_io(why: &io::Error) -> Failure {
    why.get_ref().and_then(|why| why.downcast_ref::<Error>()).map_or(Failure::NotTls, failure)
}

fn failure(why: &Error) -> Failure {
    match why {
        Error::InvalidCertificate(why) => certificate(why),
        Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(_) => Failure::NothingInCommon,
        Error::AlertReceived(alert) => Failure::Alert(u8::from(*alert)),
        Error::NoCertificatesPresented | Error::UnsupportedNameType => Failure::BadCertificate,
        _ => Failure::NotTls,
    }
}

const fn certificate(why: &CertificateError) -> Failure {
    match why {
        CertificateError::UnknownIssuer => Failure::UnknownAuthority,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Failure::Expired,
        CertificateError::Revoked => Failure::Revoked,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Failure::WrongName,
        _ => Failure::BadCertificate,
    }
}
