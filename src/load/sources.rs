//! Local address and port of each connection. One address has as many ports as the kernel gives out,
//! so more connections need more addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

/// Most connections from one loopback address: a few less than the 28,232 ports that Linux gives out
/// by default.
const LOOPBACK_PORTS_MAX: usize = 28_000;

/// Most ports tried by number before the kernel picks one.
const PORT_TRIES_MAX: u16 = 64;

/// Local addresses and ports of all connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    addresses: Vec<IpAddr>,
    /// The ports that the kernel gives out; `None` if it skips some, or in an unknown order.
    ports: Option<RangeInclusive<u16>>,
}

impl Sources {
    /// The addresses for `connections` connections to `target`: those `given`; else, to IPv4 loopback
    /// on Linux, as many of 127.0.0.0/8 as are needed with `port_count` ports each; else the system
    /// picks one. Connections to a Unix socket (`None`) have neither addresses nor ports.
    pub(super) fn plan(
        given: &[IpAddr],
        target: Option<IpAddr>,
        connections: usize,
        port_count: usize,
        ports: Option<RangeInclusive<u16>>,
    ) -> Self {
        let addresses = if given.is_empty() {
            let loopback = |target| loopback_addresses(target, connections, port_count);
            target.map(loopback).unwrap_or_default()
        } else {
            given.to_vec()
        };
        Sources { addresses, ports: ports.filter(|_| target.is_some()) }
    }

    /// The local address of connection `index`; `None` leaves it to the system.
    pub(super) fn address(&self, index: usize) -> Option<IpAddr> {
        (!self.addresses.is_empty()).then(|| self.addresses[index % self.addresses.len()])
    }

    /// The ports to try by number for connection `index`, before the kernel picks one: none as long
    /// as the kernel finds a free one at once.
    ///
    /// connect(2) tries every other port first, from the lowest on, and the ones between only after
    /// a search through all of those (`__inet_hash_connect`): at 16,000 connections from one address,
    /// Linux 6.18 makes 320 a second where it made 10,000. So the ones between are tried by number.
    ///
    /// `skipped` of them have been found taken, and are not tried again.
    pub(super) fn ports(&self, index: usize, skipped: usize) -> impl Iterator<Item = u16> + use<> {
        let (low, half) = match &self.ports {
            Some(ports) => (*ports.start(), (ports.end() - ports.start()).div_ceil(2)),
            None => (0, 0),
        };
        // Other programs have ports in the kernel's half too.
        let easy = usize::from(half) * 15 / 16;
        let first = (index / self.count()).checked_sub(easy).map(|first| first + skipped);
        let left = first.map_or(0, |first| usize::from(half).saturating_sub(first));
        let first = first.and_then(|first| u16::try_from(first).ok()).unwrap_or(0);
        let tries = u16::try_from(left).unwrap_or(PORT_TRIES_MAX).min(PORT_TRIES_MAX);
        // `low + 1 + 2 * (half - 1)` is the highest there is, or below.
        (first..first + tries).map(move |number| low + 1 + 2 * number)
    }

    /// The number of addresses; 1 if the system picks.
    pub(super) fn count(&self) -> usize {
        self.addresses.len().max(1)
    }

    /// The addresses; none if the system picks.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

fn loopback_addresses(target: IpAddr, connections: usize, port_count: usize) -> Vec<IpAddr> {
    // Other programs and connections in TIME_WAIT have a few of the ports.
    let each = LOOPBACK_PORTS_MAX.min(port_count - port_count / 128).max(1);
    let IpAddr::V4(v4) = target else { return Vec::new() };
    // Elsewhere the loopback device has no address but 127.0.0.1 until one is added.
    if !cfg!(target_os = "linux") || !v4.is_loopback() || connections <= each {
        return Vec::new();
    }
    let first = u32::from(Ipv4Addr::LOCALHOST);
    let most = u32::from(Ipv4Addr::new(127, 255, 255, 254)) - first;
    let count = u32::try_from(connections.div_ceil(each)).unwrap_or(u32::MAX).min(most);
    (first..first + count).map(|bits| Ipv4Addr::from(bits).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(target: &str, connections: usize, ports: usize) -> Sources {
        Sources::plan(&[], Some(ip(target)), connections, ports, Some(32_768..=60_999))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn loopback_addresses_rotate_past_28000_connections() {
        assert_eq!(plan("127.0.0.1", 28_000, 28_232).addresses().len(), 0);
        let two = plan("127.0.0.1", 28_001, 28_232);
        assert_eq!(two.addresses(), [ip("127.0.0.1"), ip("127.0.0.2")]);
        assert_eq!(two.address(0), Some(ip("127.0.0.1")));
        assert_eq!(two.address(3), Some(ip("127.0.0.2")));
        assert_eq!(plan("127.0.0.1", 1_000_000, 28_232).count(), 36);
        assert_eq!(plan("127.0.0.1", 1_000_000, 28_232).address(35), Some(ip("127.0.0.36")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn fewer_ports_need_more_addresses() {
        assert_eq!(plan("127.0.0.1", 10_000, 6_400).count(), 2);
        assert_eq!(plan("127.0.0.1", 300, 1).count(), 300);
        assert_eq!(plan("127.0.0.1", 300, 1).address(299), Some(ip("127.0.1.44")));
    }

    #[test]
    fn system_picks_other_addresses_unless_given() {
        assert_eq!(plan("10.0.0.1", 1_000_000, 28_232).address(7), None);
        assert_eq!(plan("::1", 1_000_000, 28_232).count(), 1);
        let given = [ip("10.0.0.2"), ip("10.0.0.3")];
        let sources = Sources::plan(&given, Some(ip("10.0.0.1")), 5, 28_232, None);
        assert_eq!(sources.address(3), Some(ip("10.0.0.3")));
        assert_eq!(sources.addresses(), given);
        assert_eq!(sources.ports(20_000, 0).count(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn ports_between_are_tried_when_others_run_out() {
        let sources = plan("127.0.0.1", 28_000, 28_232);
        assert_eq!(sources.ports(13_000, 0).count(), 0, "the kernel finds one at once");
        let easy = 14_116 * 15 / 16;
        let tried = |index, skipped| sources.ports(index, skipped).take(2).collect::<Vec<u16>>();
        assert_eq!(tried(easy, 0), [32_769, 32_771]);
        assert_eq!(tried(easy + 1, 0), [32_771, 32_773]);
        assert_eq!(tried(easy + 1, 5), [32_781, 32_783], "five were taken");
        assert_eq!(tried(easy + 14_115, 0), [60_999], "the last");
        assert_eq!(tried(easy + 14_000, 116), [0; 0], "all have been tried");
        let two = plan("127.0.0.1", 56_000, 28_232);
        assert_eq!(two.ports(2 * easy + 3, 0).next(), Some(32_771), "each address has all");
    }

    #[test]
    fn ports_stay_within_the_smallest_ranges() {
        for ports in [1..=1, 1..=2, 1..=3, 65_534..=65_535, 1_024..=65_535] {
            let sources = Sources::plan(&[], Some(ip("10.0.0.1")), 9, 9, Some(ports.clone()));
            for index in 0..70_000 {
                assert!(sources.ports(index, 0).all(|port| ports.contains(&port)), "{ports:?}");
            }
        }
    }
}
