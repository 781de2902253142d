//! Whom a limit is for, by address.

use std::net::{IpAddr, Ipv6Addr};

/// The IPv4 address, or the /64 that one client of IPv6 has to itself.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}
