//! Whose `x-envoy-*` request headers are obeyed: addresses by prefix.
//!
//! ```text
//!   client's address in a range, and no `x-forwarded-for` (so nobody stands between) ─► obeyed
//!   else ─► removed and ignored
//! ```
//! As Envoy's `internal_address_config` with `use_remote_address`. Does not: read headers ([`crate::wish`] does).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    address: IpAddr,
    /// 0 to 32, or 128.
    prefix: u8,
}

impl Cidr {
    /// `None` when the prefix is longer than the address.
    pub const fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let longest = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        if prefix <= longest { Some(Self { address, prefix }) } else { None }
    }

    /// Of `10.0.0.0/8`, or of one address.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some((address, prefix)) => Self::new(address.parse().ok()?, prefix.parse().ok()?),
            None => {
                let address: IpAddr = text.parse().ok()?;
                Self::new(address, if address.is_ipv4() { 32 } else { 128 })
            }
        }
    }

    /// How many bits of an address it says.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Is the address in the range? An IPv4 address that came in over IPv6 is one of IPv4.
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => shared_v4(own, other) >= u32::from(self.prefix),
            (IpAddr::V6(own), IpAddr::V6(other)) => shared_v6(own, other) >= u32::from(self.prefix),
            _ => false,
        }
    }
}

const fn shared_v4(one: Ipv4Addr, other: Ipv4Addr) -> u32 {
    (one.to_bits() ^ other.to_bits()).leading_zeros()
}

const fn shared_v6(one: Ipv6Addr, other: Ipv6Addr) -> u32 {
    (one.to_bits() ^ other.to_bits()).leading_zeros()
}

/// The trusted ranges of each kind of listener; empty = nobody, which is the default.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Trust {
    /// Of the outbound listener: `Mesh.spec.trustRequestOverrides`, or an EnvoyFilter for `SIDECAR_OUTBOUND`.
    pub outbound: Vec<Cidr>,
    /// Of every Gateway's listener: the same of `Mesh`, or an EnvoyFilter for `GATEWAY`.
    pub gateways: Vec<Cidr>,
}

/// Is the address in one of the ranges?
pub fn covers(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        Cidr::parse(text).expect("a range")
    }

    #[test]
    fn a_range_holds_what_shares_its_prefix() {
        let eight = range("10.0.0.0/8");
        assert!(eight.contains("10.255.0.1".parse().expect("ip")));
        assert!(!eight.contains("11.0.0.1".parse().expect("ip")));
        assert!(eight.contains("::ffff:10.1.1.1".parse().expect("ip")), "IPv4 in IPv6");
        assert!(range("0.0.0.0/0").contains("1.2.3.4".parse().expect("ip")));
        assert!(!range("0.0.0.0/0").contains("::1".parse().expect("ip")));
        assert!(range("::1").contains("::1".parse().expect("ip")));
        assert!(range("fd00::/8").contains("fd12::1".parse().expect("ip")));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/-1", "fd00::/129", "10.0.0.0/8/8", "host"] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }
}
