//! Where the clients of a world come from, where that counts: few hostile addresses with many
//! connections, many innocent ones, and proxies, whose connections begin with a PROXY header, or
//! with something else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::support::rng::Rng;

/// The networks that listeners trust, where they trust any.
pub const PROXIES: &str = "10.9.0.0/24,fd09::/64";

/// Networks that may be exempt, as a setting lists them, and whether an address is in one.
type Exempt = (&'static str, fn(IpAddr) -> bool);

/// The innocent clients, the hostile ones, and the proxies themselves.
pub const EXEMPT: [Exempt; 3] = [
    ("198.51.100.0/24,2001:db8::/32", |ip| ip != HOSTILE && !is_proxy(ip)),
    ("192.0.2.64/26", |ip| ip == HOSTILE),
    ("10.9.0.0/24, fd09::/64", is_proxy),
];

const HOSTILE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));
/// A subscriber who has a /64, and uses it; in the network of the innocent ones.
const HOSTILE_SUBNET: u64 = 0x2001_0db8_0bad_0001;

/// Where a client comes from, and how its connection begins.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The peer as the system has it: the client, or its proxy.
    pub from: SocketAddr,
    /// Whose connection it is, as the server is to know.
    pub client: SocketAddr,
    pub manner: Manner,
    /// Bytes before anything that the client says.
    pub header: Vec<u8>,
    /// A header that is nothing but data, because it is the second, or of nobody that is trusted.
    pub data: Vec<u8>,
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// With what its client says: nobody expects a header.
    Direct,
    /// With a header that names a client.
    Named,
    /// With one that names none: its proxy speaks for itself.
    Unnamed,
    /// The same as `Named`, a byte now and then.
    Dribbles,
    /// With a beginning of a header.
    Stalls,
    /// The same, and then it shuts its side.
    HangsUp,
    /// With something else.
    Garbage,
    /// With what its client says, although a header is expected.
    Missing,
}

impl Manner {
    /// Whether a header comes, to be whole one day.
    pub fn is_good(self) -> bool {
        matches!(self, Manner::Named | Manner::Unnamed | Manner::Dribbles)
    }

    /// Whether a header is expected.
    pub fn expects_header(self) -> bool {
        self != Manner::Direct
    }

    /// Whether what comes can be told from a header at once, or may be.
    pub fn is_wrong(self) -> bool {
        matches!(self, Manner::Garbage | Manner::Missing)
    }

    /// Whether its client says something, however it begins.
    pub fn speaks(self) -> bool {
        self.is_good() || matches!(self, Manner::Direct | Manner::Missing)
    }
}

impl Origin {
    /// One that is let in, unless its header comes late: nobody else has its address.
    pub fn innocent(number: usize, is_trusting: bool, rng: &mut Rng) -> Self {
        let client = SocketAddr::new(innocent(number), 1_000 + number as u16);
        if is_trusting && rng.one_in(2) {
            return Origin::named(Manner::Named, client, rng);
        }
        Origin::direct(client)
    }

    /// Any.
    pub fn any(number: usize, is_trusting: bool, rng: &mut Rng) -> Self {
        let ip = match rng.below(8) {
            0..4 => HOSTILE,
            4 => {
                let low = u128::from(HOSTILE_SUBNET) << 64 | 1 << rng.below(64);
                IpAddr::V6(Ipv6Addr::from_bits(low))
            }
            _ => innocent(number),
        };
        let client = SocketAddr::new(ip, 1_000 + number as u16);
        if !is_trusting || rng.one_in(4) {
            // A header of somebody who is not trusted is data.
            let data = if rng.one_in(4) { header_of(client, rng) } else { Vec::new() };
            return Origin { data, ..Origin::direct(client) };
        }
        match rng.below(16) {
            0..8 => Origin::named(Manner::Named, client, rng),
            8 | 9 => {
                let from = proxy(number, rng);
                Origin { client: from, ..Origin::proxied(Manner::Unnamed, from, unnamed(rng)) }
            }
            10 => Origin::named(Manner::Dribbles, client, rng),
            11 => Origin { header: garbage(rng), ..Origin::named(Manner::Garbage, client, rng) },
            12 => Origin { header: Vec::new(), ..Origin::named(Manner::Missing, client, rng) },
            13 => {
                let data = header_of(client, rng);
                Origin { data, ..Origin::named(Manner::Named, client, rng) }
            }
            cut => {
                let manner = if cut == 14 { Manner::Stalls } else { Manner::HangsUp };
                let mut origin = Origin::named(manner, client, rng);
                origin.header.truncate(rng.below(origin.header.len()));
                origin
            }
        }
    }

    fn direct(client: SocketAddr) -> Self {
        let (header, data) = (Vec::new(), Vec::new());
        Origin { from: client, client, manner: Manner::Direct, header, data }
    }

    fn named(manner: Manner, client: SocketAddr, rng: &mut Rng) -> Self {
        let from = proxy(usize::from(client.port()), rng);
        let header = header_of(client, rng);
        Origin { client, ..Origin::proxied(manner, from, header) }
    }

    fn proxied(manner: Manner, from: SocketAddr, header: Vec<u8>) -> Self {
        Origin { from, client: from, manner, header, data: Vec::new() }
    }
}

/// One of the addresses that nobody else has, of either family.
fn innocent(number: usize) -> IpAddr {
    match number % 3 {
        0 => {
            let subnet = 0x2001_0db8_0000_0000 | number as u128;
            IpAddr::V6(Ipv6Addr::from_bits(subnet << 64 | 1))
        }
        _ => IpAddr::V4(Ipv4Addr::new(198, 51, 100, number as u8)),
    }
}

fn proxy(number: usize, rng: &mut Rng) -> SocketAddr {
    let ip = match rng.below(3) {
        0 => IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 7)),
        host => IpAddr::V4(Ipv4Addr::new(10, 9, 0, host as u8)),
    };
    SocketAddr::new(ip, 20_000 + number as u16)
}

fn is_proxy(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 10,
        IpAddr::V6(ip) => ip.segments()[0] == 0xfd09,
    }
}

/// A header of either version that names `client`: an IPv4 one as an IPv6 one at times.
fn header_of(client: SocketAddr, rng: &mut Rng) -> Vec<u8> {
    let shown = match client {
        SocketAddr::V4(addr) if rng.one_in(4) => {
            SocketAddr::new(addr.ip().to_ipv6_mapped().into(), addr.port())
        }
        _ => client,
    };
    if rng.one_in(2) { v1(shown) } else { v2(shown, rng) }
}

fn v1(client: SocketAddr) -> Vec<u8> {
    let (ip, port) = (client.ip(), client.port());
    let (family, to) = if ip.is_ipv4() { ("TCP4", "10.9.0.9") } else { ("TCP6", "fd09::9") };
    format!("PROXY {family} {ip} {to} {port} 443\r\n").into_bytes()
}

fn v2(client: SocketAddr, rng: &mut Rng) -> Vec<u8> {
    let ports = [client.port().to_be_bytes(), 443u16.to_be_bytes()].concat();
    let (family, mut rest) = match client.ip() {
        IpAddr::V4(ip) => (0x11, [ip.octets(), [10, 9, 0, 9]].concat()),
        IpAddr::V6(ip) => (0x21, [ip.octets(), [9; 16]].concat()),
    };
    rest.extend(ports);
    if rng.one_in(2) {
        let len = rng.between(0, 300);
        rest.extend(rng.bytes(len));
    }
    v2_of(0x21, family, &rest)
}

fn v2_of(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &len, rest].concat()
}

fn unnamed(rng: &mut Rng) -> Vec<u8> {
    match rng.below(5) {
        0 => b"PROXY UNKNOWN\r\n".to_vec(),
        1 => b"PROXY UNKNOWN whatever this is\r\n".to_vec(),
        2 => v2_of(0x20, 0, b""),
        3 => v2_of(0x21, 0, b"something"),
        // Of UDP.
        _ => v2_of(0x21, 0x12, &[7; 12]),
    }
}

/// Something that is no header, which shows at its end at the latest.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    match rng.below(6) {
        0 => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        1 => b"PROXY TCP4 192.0.2.66 10.9.0.9 99999 443\r\n".to_vec(),
        2 => [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(),
        3 => v2_of(0x21, 0x11, &[1; 521]),
        4 => v2_of(0x21, 0x21, &[1; 35]),
        _ => v2_of(0x31, 0x11, &[1; 12]),
    }
}
