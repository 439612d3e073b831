//! Where a request asks to go, for clusters whose endpoint is what the client names.
//!
//! Does not: pick; [`weir_policy::cluster::Cluster::visit`] keeps the state of what was named.

use crate::worker::Worker;
use std::net::{IpAddr, SocketAddr};
use weir_policy::call::Way;
use weir_policy::discovery::Discovery;
use weir_policy::plan::Upstream;

/// The address that an authority names: an IP address as it is, a name as the name servers have it.
pub(crate) async fn demand(worker: &Worker, upstream: &Upstream, authority: &[u8]) -> Way {
    if upstream.discovery != Discovery::OnDemand {
        return Way::Balanced;
    }
    let Some((host, port)) = split(authority) else { return Way::Nowhere };
    let port = port.unwrap_or(upstream.service.port);
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => Some(ip),
        Err(_) => worker.mesh.resolver.find(host).await,
    };
    match ip {
        // To ask ourselves would be to ask for ever.
        Some(ip) if worker.mesh.own.has(SocketAddr::new(ip, port)) => Way::Nowhere,
        Some(ip) => Way::To(SocketAddr::new(ip, port)),
        None => Way::Nowhere,
    }
}

/// Host and port; brackets of an IPv6 address and a final dot are dropped.
fn split(authority: &[u8]) -> Option<(&str, Option<u16>)> {
    let text = std::str::from_utf8(authority).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let (host, behind) = inside.split_once(']')?;
            (host, behind.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let host = host.trim_end_matches('.');
    let port = match port {
        Some(digits) => Some(digits.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => None,
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_fall_into_host_and_port() {
        type Row<'r> = (&'r str, Option<(&'r str, Option<u16>)>);
        let rows: [Row<'_>; 7] = [
            ("a.test", Some(("a.test", None))),
            ("a.test.:81", Some(("a.test", Some(81)))),
            ("127.0.0.1:8080", Some(("127.0.0.1", Some(8080)))),
            ("[::1]:81", Some(("::1", Some(81)))),
            ("[::1]", Some(("::1", None))),
            ("a.test:0", None),
            (":80", None),
        ];
        for (authority, expected) in rows {
            assert_eq!(split(authority.as_bytes()), expected, "{authority}");
        }
    }
}
