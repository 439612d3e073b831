//! Which addresses are weir's own: a request that names where it wants to go must not come back to us.
//!
//! Does not: know of other processes; two weirs that name each other are theirs to see.

use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// See the module.
#[derive(Default, Debug)]
pub(crate) struct Own {
    listeners: Mutex<Vec<SocketAddr>>,
    /// Beside the listeners: the admin address.
    more: Mutex<Vec<SocketAddr>>,
}

impl Own {
    /// Every listener there is now.
    pub(crate) fn listen(&self, listeners: Vec<SocketAddr>) {
        *self.listeners.lock() = listeners;
    }

    /// Another address of this process, for good.
    pub(crate) fn add(&self, address: SocketAddr) {
        self.more.lock().push(address);
    }

    /// Would a connection there come to us?
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        let reaches = |own: &SocketAddr| own.port() == address.port() && covers(own.ip(), address.ip());
        self.listeners.lock().iter().any(reaches) || self.more.lock().iter().any(reaches)
    }
}

/// Does a socket bound to `own` take what is sent to `ip`? One bound to no address takes all of this machine's: those
/// that can be bound. That is a system call, only where the port is ours already.
fn covers(own: IpAddr, ip: IpAddr) -> bool {
    let (own, ip) = (own.to_canonical(), ip.to_canonical());
    own == ip || ip.is_unspecified() || (own.is_unspecified() && (ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_ours_by_port_and_by_what_its_socket_takes() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let own = Own::default();
        own.listen(vec![at("127.0.0.1:15001"), at("0.0.0.0:80")]);
        own.add(at("127.0.0.1:15000"));
        for ours in ["127.0.0.1:15001", "0.0.0.0:15001", "[::ffff:127.0.0.1]:15001", "127.0.0.9:80", "127.0.0.1:15000"]
        {
            assert!(own.has(at(ours)), "{ours}");
        }
        for other in ["127.0.0.1:15002", "127.0.0.2:15001", "192.0.2.1:80", "127.0.0.2:15000"] {
            assert!(!own.has(at(other)), "{other}");
        }
    }
}
