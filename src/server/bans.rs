//! Addresses that an operator has refused for a time.

use std::collections::HashMap;

use crate::address::{AddressKey, Peer};
use crate::clock::Millis;

/// Most addresses. One more takes the place of the one that would be free first.
const BANS_MAX: usize = 65_536;

/// Refused addresses, each with when it is free again.
#[derive(Debug, Default)]
pub(super) struct Bans {
    until: HashMap<AddressKey, Millis>,
}

impl Bans {
    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// Bytes allocated.
    pub(super) fn allocated(&self) -> usize {
        self.until.capacity() * size_of::<(AddressKey, Millis)>()
    }

    pub(super) fn add(&mut self, address: AddressKey, until: Millis, now: Millis) {
        self.until.retain(|_, until| *until > now);
        if self.until.len() >= BANS_MAX
            && let Some((_, first)) = self.until.iter().map(|(&of, &until)| (until, of)).min()
        {
            self.until.remove(&first);
        }
        self.until.insert(address, until);
    }

    /// Whether a peer is refused. Those over a Unix socket have no address.
    pub(super) fn includes(&mut self, peer: Peer, now: Millis) -> bool {
        let Some(ip) = peer.ip() else { return false };
        let address = AddressKey::from(ip);
        match self.until.get(&address) {
            Some(until) if *until > now => true,
            Some(_) => {
                self.until.remove(&address);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(n: u32) -> Peer {
        Peer::Inet((Ipv4Addr::from(n), 1).into())
    }

    #[test]
    fn ban_ends_when_its_time_is_over() {
        let mut bans = Bans::default();
        bans.add(peer(1).ip().unwrap().into(), Millis(100), Millis(0));
        assert!(bans.includes(peer(1), Millis(99)) && !bans.includes(peer(2), Millis(99)));
        assert!(!bans.includes(peer(1), Millis(100)) && bans.is_empty());
    }

    #[test]
    fn bans_are_bounded_and_the_first_to_end_goes() {
        // Two end at a time: the lower address goes.
        let mut bans = Bans::default();
        for n in 0..BANS_MAX as u32 {
            bans.until.insert(peer(n).ip().unwrap().into(), Millis(1000 + u64::from(n / 2)));
        }
        bans.add(peer(u32::MAX).ip().unwrap().into(), Millis(5), Millis(0));
        assert_eq!(bans.until.len(), BANS_MAX);
        assert!(!bans.includes(peer(0), Millis(0)) && bans.includes(peer(1), Millis(0)));
        assert!(bans.includes(peer(u32::MAX), Millis(0)));
    }
}
