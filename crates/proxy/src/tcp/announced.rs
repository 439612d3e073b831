//! The PROXY protocol's header in front of a connection: who the client is, by the word of the proxy before us.
//!
//! Does not: know whether there is to be one (`Mesh.spec.gatewayTopology` says so).

use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use weir_wire::{LARGEST_PROXY, Proxied, read_proxy};

/// Takes the header from the socket, and not a byte more. The client that it names; the peer, when it names none.
pub(crate) async fn announced(socket: &TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    let mut held = Vec::new();
    let mut ahead = [0; LARGEST_PROXY];
    loop {
        let before = held.len();
        let count = socket.peek(&mut ahead[..LARGEST_PROXY - before]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        held.extend_from_slice(&ahead[..count]);
        match read_proxy(&held) {
            Proxied::Whole { length, ends } => {
                take(socket, &mut ahead, length - before)?;
                return Ok(ends.map_or(peer, |ends| ends.client));
            }
            // All of it belongs to the header.
            Proxied::Partial if held.len() < LARGEST_PROXY => take(socket, &mut ahead, count)?,
            Proxied::Partial | Proxied::Malformed => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Takes bytes that were seen already.
fn take(socket: &TcpStream, into: &mut [u8], mut count: usize) -> io::Result<()> {
    while count > 0 {
        match socket.try_read(&mut into[..count])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => count -= read,
        }
    }
    Ok(())
}
