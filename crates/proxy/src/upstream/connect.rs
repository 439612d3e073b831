//! Dials an endpoint.
//!
//! Does not: count connections (`pool` does) or retry.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use weir_policy::connection::Rules;
use weir_policy::outcome::ConnectFailure;

/// A connection within `connect_timeout`, with the keep-alive that the rules ask for.
pub(crate) async fn dial(address: SocketAddr, rules: &Rules) -> Result<TcpStream, ConnectFailure> {
    match tokio::time::timeout(rules.connect_timeout, TcpStream::connect(address)).await {
        Err(_) => Err(ConnectFailure::TimedOut),
        Ok(Err(_)) => Err(ConnectFailure::Refused),
        // A socket that cannot be set up as asked is of no use: the peer has closed it already.
        Ok(Ok(stream)) => set_up(&stream, rules).map(|()| stream).map_err(|_| ConnectFailure::Refused),
    }
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
