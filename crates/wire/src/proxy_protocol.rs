//! The PROXY protocol, versions 1 and 2: who the client is, said by the proxy before us, in front of the first byte.
//!
//! ```text
//!   v1   "PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\n"          at most 107 bytes
//!   v2   12 bytes of signature, command, family, length, addresses, TLVs (read over)
//! ```
//! Source: the protocol's text, <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>.
//! Does not: decide who may say so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Of a line of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// Addresses and TLVs of version 2 that are read over.
const LONGEST_BODY: usize = 4096;
/// The most that a header can have.
pub const LARGEST_PROXY: usize = 16 + LONGEST_BODY;

/// Which version is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    V1,
    V2,
}

/// What stands at the beginning of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proxied {
    /// More bytes are needed.
    Partial,
    /// It is no header of this protocol.
    Malformed,
    /// A header of `length` bytes.
    Whole { length: usize, ends: Option<Ends> },
}

/// Both ends of the connection as the proxy before us saw it; absent where it speaks for itself or does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// Reads a header of either version.
pub fn read_proxy(bytes: &[u8]) -> Proxied {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes[..common] == SIGNATURE[..common] {
        return if common < SIGNATURE.len() { Proxied::Partial } else { read_v2(bytes) };
    }
    let start = bytes.len().min(6);
    if bytes[..start] == b"PROXY "[..start] { read_v1(bytes) } else { Proxied::Malformed }
}

fn read_v1(bytes: &[u8]) -> Proxied {
    let seen = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if seen.len() < LONGEST_LINE { Proxied::Partial } else { Proxied::Malformed };
    };
    let length = end + 2;
    let Ok(line) = std::str::from_utf8(&seen[..end]) else { return Proxied::Malformed };
    let words: Vec<&str> = line.split(' ').collect();
    let ends = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => return Proxied::Whole { length, ends: None },
        ["PROXY", family @ ("TCP4" | "TCP6"), source, target, from, to] => {
            let six = *family == "TCP6";
            address(source, from, six).zip(address(target, to, six)).map(|(client, server)| Ends { client, server })
        }
        _ => None,
    };
    ends.map_or(Proxied::Malformed, |ends| Proxied::Whole { length, ends: Some(ends) })
}

fn address(ip: &str, port: &str, six: bool) -> Option<SocketAddr> {
    let ip: IpAddr = ip.parse().ok()?;
    let plain = port == "0" || (!port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit()));
    (ip.is_ipv6() == six && plain).then_some(SocketAddr::new(ip, port.parse().ok()?))
}

fn read_v2(bytes: &[u8]) -> Proxied {
    let [version, family, high, low] = match bytes.get(12..16) {
        Some([a, b, c, d]) => [*a, *b, *c, *d],
        _ => return Proxied::Partial,
    };
    let body = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(version, 0x20 | 0x21) || body > LONGEST_BODY {
        return Proxied::Malformed;
    }
    let Some(body) = bytes.get(16..16 + body) else { return Proxied::Partial };
    let length = 16 + body.len();
    // LOCAL: the proxy itself, a health check say.
    if version == 0x20 {
        return Proxied::Whole { length, ends: None };
    }
    let ends = match family {
        0x11 => body.first_chunk::<12>().map(four),
        0x21 => body.first_chunk::<36>().map(six),
        // Unspecified, datagrams, Unix: nothing that we could use.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Proxied::Whole { length, ends: None },
        _ => None,
    };
    ends.map_or(Proxied::Malformed, |ends| Proxied::Whole { length, ends: Some(ends) })
}

fn four(body: &[u8; 12]) -> Ends {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *body;
    let at = |ip: [u8; 4], port: [u8; 2]| SocketAddr::from((Ipv4Addr::from(ip), u16::from_be_bytes(port)));
    Ends { client: at([a, b, c, d], [i, j]), server: at([e, f, g, h], [k, l]) }
}

fn six(body: &[u8; 36]) -> Ends {
    let ip = |from: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&body[from..from + 16]);
        Ipv6Addr::from(octets)
    };
    let port = |from: usize| u16::from_be_bytes([body[from], body[from + 1]]);
    Ends { client: (ip(0), port(32)).into(), server: (ip(16), port(34)).into() }
}

/// Appends a header. Ends of two families are both written as version 6's.
pub fn write_proxy(version: ProxyVersion, ends: &Ends, out: &mut Vec<u8>) {
    let (client, server) = (plain(ends.client), plain(ends.server));
    let (client, server) = match (client.ip(), server.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => (client, server),
        _ => (mapped(client), mapped(server)),
    };
    match version {
        ProxyVersion::V1 => {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (client.port(), server.port());
            out.extend_from_slice(format!("PROXY {family} {} {} {from} {to}\r\n", client.ip(), server.ip()).as_bytes());
        }
        ProxyVersion::V2 => {
            out.extend_from_slice(&SIGNATURE);
            out.extend_from_slice(if client.is_ipv4() { &[0x21, 0x11, 0, 12] } else { &[0x21, 0x21, 0, 36] });
            for ip in [client.ip(), server.ip()] {
                match ip {
                    IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
                }
            }
            out.extend_from_slice(&client.port().to_be_bytes());
            out.extend_from_slice(&server.port().to_be_bytes());
        }
    }
}

/// Without a scope, and an IPv4 address as such.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn both_versions_say_who_the_client_is() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\nGET /";
        let ends = Some(Ends { client: at("192.0.2.1:5000"), server: at("192.0.2.2:443") });
        assert_eq!(read_proxy(line), Proxied::Whole { length: line.len() - 5, ends });
        let mut two = SIGNATURE.to_vec();
        two.extend_from_slice(&[0x21, 0x11, 0, 15, 192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 1, 0xbb, 4, 0, 0]);
        assert_eq!(read_proxy(&two), Proxied::Whole { length: 31, ends }, "a TLV is read over");
        for end in 0..31 {
            assert_eq!(read_proxy(&two[..end]), Proxied::Partial, "{end}");
        }
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_nobody() {
        assert_eq!(read_proxy(b"PROXY UNKNOWN\r\n"), Proxied::Whole { length: 15, ends: None });
        assert_eq!(read_proxy(b"PROXY UNKNOWN a b\r\n"), Proxied::Whole { length: 19, ends: None });
        let local = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
        assert_eq!(read_proxy(&local), Proxied::Whole { length: 16, ends: None });
    }

    #[test]
    fn anything_else_is_refused() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'a'; 120]].concat();
        let body = |rest: &[u8]| [&SIGNATURE[..], rest].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 5000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 ::1 5000 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 99999\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 05000 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +500 443\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.1 192.0.2.2 5000 443\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 192.0.2.2 5000 443\r\n".to_vec(),
            long,
            body(&[0x11, 0x11, 0, 12]),
            body(&[0x22, 0x11, 0, 12]),
            body(&[0x21, 0x11, 0xff, 0xff]),
            body(&[0x21, 0x11, 0, 4, 1, 2, 3, 4]),
            body(&[0x21, 0x44, 0, 0]),
        ] {
            assert_eq!(read_proxy(&bytes), Proxied::Malformed, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), signed: bool) {
            let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
            if let Proxied::Whole { length, .. } = read_proxy(&bytes) {
                prop_assert!(length <= bytes.len() && length <= LARGEST_PROXY);
            }
        }

        #[test]
        fn what_is_written_is_read(client: (IpAddr, u16), server: (IpAddr, u16), two: bool, more: Vec<u8>) {
            let ends = Ends { client: client.into(), server: server.into() };
            let version = if two { ProxyVersion::V2 } else { ProxyVersion::V1 };
            let mut out = Vec::new();
            write_proxy(version, &ends, &mut out);
            let length = out.len();
            out.extend(more);
            let Proxied::Whole { length: found, ends: Some(back) } = read_proxy(&out) else {
                return Err(TestCaseError::fail("not read"));
            };
            prop_assert_eq!(found, length);
            prop_assert_eq!(plain(back.client), plain(ends.client));
            prop_assert_eq!(plain(back.server), plain(ends.server));
        }
    }
}
