//! Addresses: where a connection comes from, and as what that is counted. Knows no sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A client at this address.
    Inet(SocketAddr),
    /// A process of this machine, through a Unix socket (unix(7): `SO_PEERCRED`).
    #[cfg(feature = "unix")]
    Unix {
        /// The user it ran as when it connected.
        uid: u32,
        /// Its process id.
        pid: i32,
    },
}

impl Peer {
    /// Its address, where it has one.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Inet(addr) => Some(addr.ip()),
            #[cfg(feature = "unix")]
            Peer::Unix { .. } => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        Peer::Inet(addr)
    }
}

/// `192.0.2.7:51234`, or `unix (uid 1000, pid 4711)`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(addr) => addr.fmt(f),
            #[cfg(feature = "unix")]
            Peer::Unix { uid, pid } => write!(f, "unix (uid {uid}, pid {pid})"),
        }
    }
}

/// One address for counting: an IPv4 address, or the /64 of an IPv6 address, because a subscriber
/// is given at least that much (RFC 6177). An IPv4-mapped address counts as IPv4. Of a Unix socket's
/// peers, those of one user count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressKey {
    /// An IPv4 address.
    V4(u32),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
    /// A user of this machine, through a Unix socket.
    #[cfg(feature = "unix")]
    Unix(u32),
}

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => AddressKey::V4(address.to_bits()),
            IpAddr::V6(address) => AddressKey::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl From<Peer> for AddressKey {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Inet(addr) => addr.ip().into(),
            #[cfg(feature = "unix")]
            Peer::Unix { uid, .. } => AddressKey::Unix(uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_an_ipv4_address_or_an_ipv6_subnet() {
        let key = |text: &str| AddressKey::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    }
}
