//! Dials an endpoint.
//!
//! Does not: count connections (`pool` does) or retry.

use crate::pressure::Pressure;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use weir_policy::connection::Rules;
use weir_policy::outcome::{ConnectFailure, Result as Ended};

/// A connection within `connect_timeout`, with the keep-alive that the rules ask for. The last descriptors are not taken.
pub(crate) async fn dial(address: SocketAddr, rules: &Rules, pressure: &Pressure) -> Result<TcpStream, Ended> {
    let failed = match tokio::time::timeout(rules.connect_timeout, TcpStream::connect(address)).await {
        Err(_) => ConnectFailure::TimedOut,
        Ok(Err(why)) if is_exhausted(&why) => return Err(Ended::Exhausted),
        Ok(Err(_)) => ConnectFailure::Refused,
        // A socket that cannot be set up as asked is of no use: the peer has closed it already.
        Ok(Ok(stream)) if pressure.leaves_none(&stream) => return Err(Ended::Exhausted),
        Ok(Ok(stream)) => match set_up(&stream, rules) {
            Ok(()) => return Ok(stream),
            Err(_) => ConnectFailure::Refused,
        },
    };
    Err(Ended::ConnectFailed(failed))
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
