//! Which local address each connection leaves from. One address has as many ports as the kernel
//! gives out, so more connections need more addresses.

use std::net::{IpAddr, Ipv4Addr};

/// Connections one loopback address is used for, of the 28,232 ports Linux gives out by default.
/// connect(2) looks at every other port first (`__inet_hash_connect`), so the first half is found
/// at once, and the second after a search through the first: at 16,000 connections from one
/// address Linux 6.18 makes 320 a second, where it made 10,000.
const LOOPBACK_PORTS_MAX: usize = 14_000;

/// The addresses connections leave from, in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources(Vec<IpAddr>);

impl Sources {
    /// The addresses for `connections` connections to `target`: those `given`, else on IPv4
    /// loopback as many of 127.0.0.0/8 as it takes where each has `ports` ports, else what the
    /// system picks.
    pub(super) fn plan(given: &[IpAddr], target: IpAddr, connections: usize, ports: usize) -> Self {
        if !given.is_empty() {
            return Sources(given.to_vec());
        }
        // A few ports are in use by others, or by connections that have just gone.
        let each = LOOPBACK_PORTS_MAX.min((ports - ports / 128) / 2).max(1);
        let IpAddr::V4(v4) = target else { return Sources(Vec::new()) };
        if !v4.is_loopback() || connections <= each {
            return Sources(Vec::new());
        }
        let first = u32::from(Ipv4Addr::LOCALHOST);
        let most = u32::from(Ipv4Addr::new(127, 255, 255, 254)) - first;
        let count = u32::try_from(connections.div_ceil(each)).unwrap_or(u32::MAX).min(most);
        Sources((first..first + count).map(|bits| Ipv4Addr::from(bits).into()).collect())
    }

    /// Where connection number `index` leaves from; `None` leaves it to the system.
    pub(super) fn of(&self, index: usize) -> Option<IpAddr> {
        (!self.0.is_empty()).then(|| self.0[index % self.0.len()])
    }

    /// How many addresses there are, one where the system picks it.
    pub(super) fn count(&self) -> usize {
        self.0.len().max(1)
    }

    /// The addresses, none where the system picks.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(target: &str, connections: usize, ports: usize) -> Sources {
        Sources::plan(&[], target.parse().unwrap(), connections, ports)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_addresses_are_cycled_when_half_the_ports_of_one_are_taken() {
        assert_eq!(plan("127.0.0.1", 14_000, 28_232), Sources(Vec::new()));
        let two = plan("127.0.0.1", 28_000, 28_232);
        assert_eq!(two, Sources(vec![ip("127.0.0.1"), ip("127.0.0.2")]));
        assert_eq!(two.of(0), Some(ip("127.0.0.1")));
        assert_eq!(two.of(3), Some(ip("127.0.0.2")));
        assert_eq!(plan("127.0.0.1", 28_001, 28_232).count(), 3);
        assert_eq!(plan("127.0.0.1", 1_000_000, 28_232).of(71), Some(ip("127.0.0.72")));
    }

    #[test]
    fn fewer_ports_take_more_addresses() {
        assert_eq!(plan("127.0.0.1", 10_000, 6_400).count(), 4);
        assert_eq!(plan("127.0.0.1", 300, 1).count(), 300);
        assert_eq!(plan("127.0.0.1", 300, 1).of(299), Some(ip("127.0.1.44")));
    }

    #[test]
    fn elsewhere_the_system_picks_unless_addresses_are_given() {
        assert_eq!(plan("10.0.0.1", 1_000_000, 28_232).of(7), None);
        assert_eq!(plan("::1", 1_000_000, 28_232).count(), 1);
        let given = [ip("10.0.0.2"), ip("10.0.0.3")];
        let sources = Sources::plan(&given, ip("10.0.0.1"), 5, 28_232);
        assert_eq!(sources.of(3), Some(ip("10.0.0.3")));
        assert_eq!(sources.addresses(), given);
    }
}
