//! Listening sockets: taken over from an earlier process, or found free first and then bound once per worker.
//!
//! ```text
//!   handed over? ──yes──► those sockets, all of them, whatever the number of workers
//!      │ no
//!   probe without SO_REUSEPORT ──in use──► error, nothing bound
//!      │ free (and closed again)
//!      └─► one SO_REUSEPORT socket per worker, all bound before any worker accepts
//! ```
//! With SO_REUSEPORT alone a second weir would bind silently and take a share of the traffic. A socket that was
//! handed over is never closed and bound again: the connections that wait in its queue would be lost.
//! Does not: accept.

use crate::error::StartError;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

const BACKLOG: i32 = 4096;

/// Listening sockets that somebody else opened: an earlier weir, or systemd. Each is told by its address.
#[derive(Default, Debug)]
pub struct Handed(Vec<(SocketAddr, TcpListener)>);

impl Handed {
    /// Sockets without an address of the internet (there should be none) are left out.
    pub fn new(sockets: Vec<TcpListener>) -> Self {
        Self(sockets.into_iter().filter_map(|socket| Some((socket.local_addr().ok()?, socket))).collect())
    }

    /// All sockets that listen where `address` asks to. `[::]` is also `0.0.0.0`, as systemd opens it.
    pub fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let suits = |bound: &SocketAddr| {
            let everywhere = bound.ip().is_unspecified() && address.ip() == IpAddr::from([0, 0, 0, 0]);
            *bound == address || (bound.port() == address.port() && everywhere)
        };
        self.0.extract_if(.., |(bound, _)| suits(bound)).map(|(_, socket)| socket).collect()
    }

    /// Where the sockets listen that nobody has taken.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(address, _)| *address).collect()
    }
}

/// One address and the sockets that listen on it: one per worker, or as many as were handed over.
#[derive(Debug)]
pub(crate) struct Bound {
    /// With the real port where 0 was asked for.
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<TcpListener>,
}

impl Bound {
    /// What each worker accepts from: every socket has at least one worker, every worker at least one socket.
    pub(crate) fn shares(&self, workers: usize) -> Result<Vec<Vec<TcpListener>>, StartError> {
        let mut shares: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        for turn in 0..self.sockets.len().max(workers) {
            let socket = self.sockets[turn % self.sockets.len()].try_clone().map_err(StartError::System)?;
            shares[turn % workers].push(socket);
        }
        Ok(shares)
    }

    /// Copies of the sockets, to be handed to another process.
    pub(crate) fn copies(&self) -> io::Result<Vec<TcpListener>> {
        self.sockets.iter().map(TcpListener::try_clone).collect()
    }
}

/// Takes `address` from what was handed over, or binds it once per worker; `purpose` is for the error's words.
pub(crate) fn bind(
    address: SocketAddr,
    purpose: &str,
    workers: usize,
    handed: &mut Handed,
) -> Result<Bound, StartError> {
    let failed = |why: io::Error| match why.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse(address, purpose.to_owned()),
        _ => StartError::Bind(address, purpose.to_owned(), why),
    };
    let sockets = handed.take(address);
    if !sockets.is_empty() {
        for socket in &sockets {
            socket.set_nonblocking(true).map_err(failed)?;
        }
        return Ok(Bound { address, sockets });
    }
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

    const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_port_that_another_listener_shares_is_still_in_use() {
        let first = bind(ANY, "test", 2, &mut Handed::default()).expect("a free port");
        assert_eq!(first.sockets.len(), 2);
        let second = bind(first.address, "test", 1, &mut Handed::default());
        assert!(matches!(second, Err(StartError::InUse(..))), "{second:?}");
    }

    #[test]
    fn every_socket_that_was_handed_over_has_a_worker_and_every_worker_a_socket() {
        for (sockets, workers) in [(4, 1), (4, 3), (2, 2), (1, 3)] {
            let first = bind(ANY, "test", sockets, &mut Handed::default()).expect("a free port");
            let mut handed = Handed::new(first.copies().expect("copies"));
            let taken = bind(first.address, "test", workers, &mut handed).expect("taken over");
            assert_eq!(taken.sockets.len(), sockets);
            assert!(handed.addresses().is_empty());
            let shares = taken.shares(workers).expect("shares");
            assert_eq!(shares.len(), workers);
            assert!(shares.iter().all(|share| !share.is_empty()));
            assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), sockets.max(workers));
        }
    }
}
