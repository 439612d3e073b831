//! Dials an endpoint, and speaks TLS with it where its rules say so.
//!
//! Does not: count connections (`pool` does) or retry.

use crate::mesh::Mesh;
use crate::stream::Stream;
use crate::tls::reach::{Inside, reach};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weir_policy::connection::Rules;
use weir_policy::outcome::{ConnectFailure, Result as Ended};

/// A connection within `connect_timeout`, its handshake included, with the keep-alive that the rules ask for. The last
/// descriptors are not taken.
pub(crate) async fn dial(address: SocketAddr, rules: &Rules, inside: Inside, mesh: &Mesh) -> Result<Stream, Ended> {
    dial_announced(address, rules, inside, mesh, &[]).await
}

/// The same, with a header before the first byte, that of TLS included.
pub(crate) async fn dial_announced(
    address: SocketAddr,
    rules: &Rules,
    inside: Inside,
    mesh: &Mesh,
    header: &[u8],
) -> Result<Stream, Ended> {
    let connecting = async {
        let mut socket = match TcpStream::connect(address).await {
            Ok(socket) if mesh.pressure.leaves_none(&socket) => return Err(Ended::Exhausted),
            Ok(socket) => socket,
            Err(why) if is_exhausted(&why) => return Err(Ended::Exhausted),
            Err(_) => return Err(Ended::ConnectFailed(ConnectFailure::Refused)),
        };
        // A socket that cannot be set up as asked is of no use: the peer has closed it already.
        set_up(&socket, rules).map_err(|_| Ended::ConnectFailed(ConnectFailure::Refused))?;
        if !header.is_empty() {
            let written = socket.write_all(header).await;
            written.map_err(|_| Ended::ConnectFailed(ConnectFailure::Refused))?;
        }
        let Some(tls) = &rules.tls else { return Ok(Stream::Plain(socket)) };
        // Boxed: connections in the clear have no room for it.
        let session = Box::pin(reach(socket, address, tls, inside, &mesh.keyring)).await;
        session
            .map(|session| Stream::Tls(Box::new(session)))
            .map_err(|why| Ended::ConnectFailed(ConnectFailure::Tls(why)))
    };
    let late = Err(Ended::ConnectFailed(ConnectFailure::TimedOut));
    tokio::time::timeout(rules.connect_timeout, connecting).await.unwrap_or(late)
}

/// Out of descriptors, of the machine (ENFILE) or of this process (EMFILE); the numbers are every Unix's.
fn is_exhausted(why: &io::Error) -> bool {
    matches!(why.raw_os_error(), Some(23 | 24))
}

fn set_up(stream: &TcpStream, rules: &Rules) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(keepalive) = rules.keepalive {
        let mut probes = TcpKeepalive::new();
        if let Some(time) = keepalive.time {
            probes = probes.with_time(time);
        }
        if let Some(interval) = keepalive.interval {
            probes = probes.with_interval(interval);
        }
        if let Some(count) = keepalive.probes {
            probes = probes.with_retries(count);
        }
        SockRef::from(stream).set_tcp_keepalive(&probes)?;
    }
    Ok(())
}
