//! Where connections come from: what a PROXY header says of a client, and how many of one address
//! there may be. In a build without the feature `admission`, `origins_disabled` stands in.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::address_table::{AddressHandle, AddressTable};
#[cfg(feature = "admin")]
use super::bans::Bans;
use super::connection::{Connection, Flags};
use super::side_table::SideTable;
use super::transport::Transport;
use crate::address::{AddressKey, Peer};
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::networks::Networks;
use crate::setting::SettingError;

pub use super::address_table::{AddressLimit, AddressLimits};

/// Peers that are trusted to begin with a PROXY header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Those at these addresses.
    pub networks: Networks,
    /// Those of a Unix socket.
    #[cfg(feature = "unix")]
    pub is_unix: bool,
}

impl TrustedProxies {
    /// Parses the value of `proxy=`: networks, or `unix`.
    ///
    /// # Errors
    ///
    /// As [`Networks::parse`].
    pub fn parse(value: &str) -> Result<Self, SettingError> {
        #[cfg(feature = "unix")]
        if value == "unix" {
            return Ok(TrustedProxies { is_unix: true, ..TrustedProxies::default() });
        }
        Ok(TrustedProxies { networks: Networks::parse(value)?, ..TrustedProxies::default() })
    }

    fn includes(&self, peer: Peer) -> bool {
        match peer {
            Peer::Inet(addr) => self.networks.contains(addr.ip()),
            #[cfg(feature = "unix")]
            Peer::Unix { .. } => self.is_unix,
        }
    }
}

/// The trusted proxies of a listener, where it has any.
pub(super) type Proxies = Option<Box<TrustedProxies>>;

/// A connection that was let in: where it is counted, if it is.
#[derive(Debug)]
#[must_use]
pub(super) struct Admitted(Option<AddressHandle>);

pub(super) struct Origins {
    table: AddressTable,
    exempt: Networks,
    /// Where each connection that is counted is counted.
    counted: SideTable<AddressHandle>,
    /// The addresses that PROXY headers gave.
    proxied: SideTable<Proxied>,
    /// Connections whose PROXY header has not come, as [`order`] has them: the oldest first.
    headerless: BTreeSet<(u32, u32)>,
    #[cfg(feature = "admin")]
    bans: Bans,
}

/// An address in 16 bytes with its place: most are IPv4.
enum Proxied {
    V4([u8; 4], u16),
    V6(Box<SocketAddr>),
}

impl Origins {
    pub(super) fn new() -> Self {
        Origins {
            table: AddressTable::new(AddressLimits::default()),
            exempt: Networks::default(),
            counted: SideTable::new(),
            proxied: SideTable::new(),
            headerless: BTreeSet::new(),
            #[cfg(feature = "admin")]
            bans: Bans::default(),
        }
    }

    /// Limits the connections that come from now on.
    pub(super) fn set_limits(&mut self, limits: AddressLimits, exempt: Networks) {
        self.table.set_limits(limits);
        self.exempt = exempt;
    }

    /// Refuses an address until then.
    #[cfg(feature = "admin")]
    pub(super) fn ban(&mut self, address: AddressKey, until: Millis, now: Millis) {
        self.bans.add(address, until, now);
    }

    /// Whether connections are counted at all.
    pub(super) fn is_limiting(&self) -> bool {
        self.table.is_limiting()
    }

    /// Bytes allocated.
    pub(super) fn allocated(&self) -> usize {
        let held = self.table.allocated() + self.counted.allocated() + self.proxied.allocated();
        #[cfg(feature = "admin")]
        let held = held + self.bans.allocated();
        held
    }

    /// Where a connection comes from: the client its PROXY header named, else its peer.
    pub(super) fn peer_of<T: Transport>(
        &self,
        id: ConnId,
        conn: &Connection<T>,
    ) -> io::Result<Peer> {
        match self.proxied.get(id.index) {
            Some(address) if conn.flags.has(Flags::PROXIED) => Ok(address.to_peer()),
            _ => conn.stream.peer(),
        }
    }

    /// Whether a connection from `peer` is to begin with a PROXY header.
    #[inline]
    pub(super) fn expects_header(proxies: &Proxies, peer: Peer) -> bool {
        proxies.as_ref().is_some_and(|proxies| proxies.includes(peer))
    }

    /// A connection of `peer` has come. One that is let in is to be [held](Self::hold), or
    /// [given up](Self::give_up).
    ///
    /// # Errors
    ///
    /// The limit that it is refused by.
    pub(super) fn admit(&mut self, peer: Peer, now: Millis) -> Result<Admitted, AddressLimit> {
        #[cfg(feature = "admin")]
        if !self.bans.is_empty() && self.bans.includes(peer, now) {
            return Err(AddressLimit::Banned);
        }
        match peer {
            Peer::Inet(addr) if self.table.is_limiting() && !self.exempt.contains(addr.ip()) => {
                self.table.admit(AddressKey::from(peer), now).map(|handle| Admitted(Some(handle)))
            }
            // Those of a Unix socket are not counted.
            _ => Ok(Admitted(None)),
        }
    }

    /// A connection that was let in stays.
    pub(super) fn hold(&mut self, index: u32, admitted: Admitted) {
        if let Admitted(Some(handle)) = admitted {
            self.counted.insert(index, handle);
        }
    }

    /// A connection that was let in has not come to stay, for another reason.
    pub(super) fn give_up(&mut self, admitted: Admitted, now: Millis) {
        if let Admitted(Some(handle)) = admitted {
            self.table.release(handle, now);
        }
    }

    /// A connection is no client any more. Does nothing where it is not counted.
    pub(super) fn release(&mut self, index: u32, now: Millis) {
        if let Some(handle) = self.counted.take(index) {
            self.table.release(handle, now);
        }
    }

    /// The PROXY header of a connection has named its client. A dual-stack proxy says an IPv4
    /// address as an IPv4-mapped one.
    pub(super) fn set_client(&mut self, index: u32, client: SocketAddr) {
        let address = match client.ip().to_canonical() {
            IpAddr::V4(ip) => Proxied::V4(ip.octets(), client.port()),
            IpAddr::V6(_) => Proxied::V6(Box::new(client)),
        };
        self.proxied.insert(index, address);
    }

    /// A connection waits for its PROXY header.
    pub(super) fn wait_for_header(&mut self, id: ConnId) {
        self.headerless.insert(order(id));
    }

    /// The wait for a PROXY header is over.
    pub(super) fn end_wait(&mut self, id: ConnId) {
        self.headerless.remove(&order(id));
    }

    /// The connection that has waited longest for its PROXY header, where more than `max` do.
    pub(super) fn first_over(&self, max: usize) -> Option<ConnId> {
        let &(generation, index) =
            self.headerless.first().filter(|_| self.headerless.len() > max)?;
        Some(ConnId { index, generation })
    }

    /// The connection has closed.
    pub(super) fn forget(&mut self, id: ConnId, is_proxied: bool) {
        if is_proxied {
            self.proxied.take(id.index);
        }
        self.end_wait(id);
    }

    /// Checks the counts against connections: index, address where it is known, whether it is a
    /// client, whether its header has come.
    ///
    /// # Panics
    ///
    /// If they disagree.
    pub(super) fn assert_counts(&self, clients: &[(ConnId, Option<Peer>)], headerless: usize) {
        assert_eq!(self.headerless.len(), headerless, "connections without PROXY header");
        if !self.table.is_limiting() {
            return;
        }
        let (mut counted, mut open) = (0, HashMap::new());
        for (id, peer) in clients {
            let Some(Peer::Inet(addr)) = peer else { continue };
            let is_exempt = self.exempt.contains(addr.ip());
            let is_counted = self.counted.get(id.index).is_some();
            assert_eq!(is_counted, !is_exempt, "{id} is counted");
            counted += usize::from(is_counted);
            if is_counted {
                *open.entry(AddressKey::from(addr.ip())).or_insert(0) += 1;
            }
        }
        for (address, open) in open {
            assert_eq!(self.table.open_of(address), open, "connections of {address:?}");
        }
        assert_eq!(self.counted.len(), counted, "connections that are counted");
        assert_eq!(self.table.open_total(), counted as u64, "the sum over all addresses");
    }
}

impl Proxied {
    fn to_peer(&self) -> Peer {
        Peer::Inet(match self {
            Proxied::V4(octets, port) => (*octets, *port).into(),
            Proxied::V6(addr) => **addr,
        })
    }
}

/// By accept; generations wrap after four billions of them.
fn order(id: ConnId) -> (u32, u32) {
    (id.generation, id.index)
}
