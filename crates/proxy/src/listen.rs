//! Listening sockets: found free first, then bound once per worker.
//!
//! ```text
//!   probe without SO_REUSEPORT ──in use──► error, nothing bound
//!      │ free (and closed again)
//!      └─► one SO_REUSEPORT socket per worker, all bound before any worker accepts
//! ```
//! With SO_REUSEPORT alone a second weir would bind silently and take a share of the traffic.
//! Does not: accept.

use crate::error::StartError;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

const BACKLOG: i32 = 4096;

/// One port, bound once per worker.
#[derive(Debug)]
pub(crate) struct Bound {
    /// With the real port where 0 was asked for.
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<TcpListener>,
}

/// Binds `address` once per worker; `purpose` is for the error's words.
pub(crate) fn bind(address: SocketAddr, purpose: &str, workers: usize) -> Result<Bound, StartError> {
    let failed = |why: io::Error| match why.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse(address, purpose.to_owned()),
        _ => StartError::Bind(address, purpose.to_owned(), why),
    };
    let probed = probe(address).map_err(failed)?;
    let sockets: io::Result<Vec<TcpListener>> = (0..workers).map(|_| shared(probed)).collect();
    Ok(Bound { address: probed, sockets: sockets.map_err(failed)? })
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process in TIME_WAIT must not keep the port from us.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Is the port free? For port 0, which one is?
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    TcpListener::from(socket).local_addr()
}

fn shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_listener_shares_is_still_in_use() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "test", 2).expect("a free port");
        assert_eq!(first.sockets.len(), 2);
        let second = bind(first.address, "test", 1);
        assert!(matches!(second, Err(StartError::InUse(..))), "{second:?}");
    }
}
