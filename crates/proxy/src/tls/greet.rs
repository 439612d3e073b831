//! The handshake with a client: its first words choose the server.
//!
//! ```text
//!   ClientHello ─► name ─► server of the port ──none──► alert unrecognized_name
//!                            └─► its keys ─► handshake ─► session
//! ```

use super::keyring::Entrance;
use super::session::{In, Out, Session};
use super::slot::Slot;
use super::verify;
use rustls::server::{Accepted, Acceptor};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};
use tokio::net::TcpStream;
use weir_policy::tls::Server;

/// A fatal alert in the clear: there is no server of that name (RFC 6066 section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A client that TLS was spoken with.
pub(crate) struct Guest {
    pub(crate) session: Session,
    pub(crate) secured: Arc<Secured>,
}

/// What is known of a client by its handshake.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) server: Arc<Slot<Server>>,
    /// The name it asked for.
    pub(crate) name: Option<Box<str>>,
    /// The URI of its certificate, `spiffe://…`.
    pub(crate) principal: Option<Box<str>>,
    /// Its certificate in the words of `x-forwarded-client-cert`.
    pub(crate) proven: Option<Box<str>>,
}

/// Why there is no session, in one word.
pub(crate) type Refused = &'static str;

/// Speaks TLS with a client, of which `first` was read already.
pub(crate) async fn greet(socket: TcpStream, first: Vec<u8>, entrance: &Entrance) -> Result<Guest, Refused> {
    let accepted = listen(&socket, &first).await?;
    drop(first);
    let name: Option<Box<str>> = accepted.client_hello().server_name().map(Into::into);
    let chosen = entrance.choose(name.as_deref()).and_then(|slot| Some((slot, slot.good()?)));
    let Some((server, config)) = chosen else {
        // Seven bytes into an empty socket; who does not read them is gone.
        let _ = socket.try_write(&UNRECOGNIZED_NAME);
        return Err("tls_name");
    };
    let server = Arc::clone(server);
    let tls = match accepted.into_connection(config) {
        Ok(tls) => tls,
        Err((_, mut alert)) => {
            let _ = alert.write_all(&mut Out(&socket));
            return Err("tls_handshake");
        }
    };
    let mut session = Session::new(socket, tls.into());
    poll_fn(|cx| session.poll_shaken(cx)).await.map_err(|why| refused(&why))?;
    let certificate = session.tls.peer_certificates().and_then(|chain| chain.first());
    let principal = certificate.and_then(verify::principal).map(Into::into);
    let proven = certificate.map(|certificate| verify::shown(certificate).into());
    let secured = Arc::new(Secured { server, name, principal, proven });
    Ok(Guest { session, secured })
}

async fn listen(socket: &TcpStream, mut first: &[u8]) -> Result<Accepted, Refused> {
    let mut acceptor = Acceptor::default();
    while !first.is_empty() {
        acceptor.read_tls(&mut first).map_err(|_| "tls_handshake")?;
    }
    poll_fn(|cx| {
        loop {
            match acceptor.accept() {
                Ok(Some(accepted)) => return Poll::Ready(Ok(accepted)),
                Ok(None) => {}
                Err((_, mut alert)) => {
                    let _ = alert.write_all(&mut Out(socket));
                    return Poll::Ready(Err("tls_handshake"));
                }
            }
            if ready!(socket.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Err("tls_ended"));
            }
            match acceptor.read_tls(&mut In(socket)) {
                Ok(count) if count > 0 => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return Poll::Ready(Err("tls_ended")),
            }
        }
    })
    .await
}

fn refused(why: &io::Error) -> Refused {
    use rustls::Error;
    match why.get_ref().and_then(|why| why.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => "tls_client_certificate",
        Some(Error::AlertReceived(_)) => "tls_client_refused",
        Some(_) => "tls_handshake",
        None => "tls_ended",
    }
}
