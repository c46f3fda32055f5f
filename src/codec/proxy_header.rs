//! The header of the PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt, 2.1 and 2.2):
//! what a proxy says of its client before it passes the client's bytes on.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str;

/// Longest header of version 1, its CRLF included.
pub const V1_LEN_MAX: usize = 107;

/// Longest header of version 2 that is taken: the longest addresses, those of Unix sockets, and 304
/// bytes of extensions (proxy-protocol.txt recommends to accept 536 in all).
pub const V2_LEN_MAX: usize = 536;

const V1_BEGIN: &[u8] = b"PROXY";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 before its addresses: signature, version and command, family, length.
const V2_FIXED_LEN: usize = 16;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxySource {
    /// The proxy's own, for a health check (`LOCAL`), or that of a client whose address it does not
    /// know or cannot say (`UNKNOWN`, `AF_UNSPEC`, a Unix socket): the address of the connection
    /// stands.
    Peer,
    /// That of the client at this address.
    Client(SocketAddr),
}

/// The bytes are no header of either version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyError {
    /// They begin as neither version does.
    Signature,
    /// No line end within [`V1_LEN_MAX`] bytes, or a length beyond [`V2_LEN_MAX`].
    TooLong,
    /// Version 1 and not of its form: `PROXY TCP4 SOURCE DESTINATION PORT PORT`.
    Line,
    /// Version 2 with another number.
    Version,
    /// A command that is neither `LOCAL` nor `PROXY`.
    Command,
    /// A family or a transport that is not defined.
    Family,
    /// Version 2, and shorter than its addresses.
    TooShort,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyError::Signature => "it does not begin with one",
            ProxyError::TooLong => "it is too long",
            ProxyError::Line => "its line is malformed",
            ProxyError::Version => "its version is neither 1 nor 2",
            ProxyError::Command => "its command is neither LOCAL nor PROXY",
            ProxyError::Family => "its address family is unknown",
            ProxyError::TooShort => "its length does not hold its addresses",
        })
    }
}

impl core::error::Error for ProxyError {}

/// Looks for a header at the start of `input`. Returns what it says and how many bytes it takes up,
/// or `None` when `input` is only a beginning. Whatever the cut, the answer to the whole is the same.
/// An error is found with the first byte that makes one certain; but a line of version 1 is judged
/// once it has ended.
///
/// ```
/// use mynah::internal::codec::proxy_header::{ProxySource, decode};
///
/// let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n";
/// let client = ProxySource::Client("192.0.2.7:51234".parse().unwrap());
/// assert_eq!(decode(header), Ok(Some((client, header.len()))));
/// assert_eq!(decode(&header[..20]), Ok(None));
/// ```
///
/// # Errors
///
/// The connection can only be closed.
pub fn decode(input: &[u8]) -> Result<Option<(ProxySource, usize)>, ProxyError> {
    match input.first() {
        None => Ok(None),
        Some(b'P') => decode_v1(input),
        Some(b'\r') => decode_v2(input),
        Some(_) => Err(ProxyError::Signature),
    }
}

fn decode_v1(input: &[u8]) -> Result<Option<(ProxySource, usize)>, ProxyError> {
    if !begins_alike(input, V1_BEGIN) {
        return Err(ProxyError::Signature);
    }
    let seen = input.get(..V1_LEN_MAX).unwrap_or(input);
    let Some(line_len) = seen.windows(2).position(|end| end == b"\r\n") else {
        return if seen.len() < V1_LEN_MAX { Ok(None) } else { Err(ProxyError::TooLong) };
    };
    let source = seen.get(..line_len).and_then(parse_line).ok_or(ProxyError::Line)?;
    Ok(Some((source, line_len.saturating_add(2))))
}

/// Reads a line of version 1, without its end. One blank separates its words.
fn parse_line(line: &[u8]) -> Option<ProxySource> {
    let line = line.strip_prefix(b"PROXY ")?;
    if line.split(|byte| *byte == b' ').next() == Some(b"UNKNOWN") {
        // "The receiver must ignore anything presented before the CRLF", bytes of any kind.
        return Some(ProxySource::Peer);
    }
    let mut words = str::from_utf8(line).ok()?.split(' ');
    let family = words.next()?;
    let parse_address = |word: &str| match family {
        "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let source = parse_address(words.next()?)?;
    let _destination = parse_address(words.next()?)?;
    let port = parse_port(words.next()?)?;
    let _destination_port = parse_port(words.next()?)?;
    words.next().is_none().then(|| ProxySource::Client(SocketAddr::new(source, port)))
}

/// A decimal number without leading zeros.
fn parse_port(word: &str) -> Option<u16> {
    let is_canonical = word == "0" || !word.starts_with('0');
    let is_digits = word.bytes().all(|byte| byte.is_ascii_digit());
    if is_canonical && is_digits { word.parse().ok() } else { None }
}

fn decode_v2(input: &[u8]) -> Result<Option<(ProxySource, usize)>, ProxyError> {
    if !begins_alike(input, V2_SIGNATURE) {
        return Err(ProxyError::Signature);
    }
    let is_proxy = match input.get(12) {
        None => return Ok(None),
        Some(0x20) => false,
        Some(0x21) => true,
        Some(byte) if byte >> 4 == 2 => return Err(ProxyError::Command),
        Some(_) => return Err(ProxyError::Version),
    };
    let Some(&family) = input.get(13) else { return Ok(None) };
    let addresses_len = match (family >> 4, family & 0xf) {
        _ if !is_proxy => 0,
        // The family alone decides how long they are; who does not know the client says 0.
        (0, 0) => 0,
        (1, 1 | 2) => 12,
        (2, 1 | 2) => 36,
        (3, 1 | 2) => 216,
        _ => return Err(ProxyError::Family),
    };
    let Some(&[high, low]) = input.get(14..V2_FIXED_LEN) else { return Ok(None) };
    let rest_len = usize::from(u16::from_be_bytes([high, low]));
    let len = V2_FIXED_LEN.saturating_add(rest_len);
    if rest_len < addresses_len {
        return Err(ProxyError::TooShort);
    }
    if len > V2_LEN_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(rest) = input.get(V2_FIXED_LEN..len) else { return Ok(None) };
    let source = match (is_proxy, family) {
        // A stream of TCP; that of UDP or of a Unix socket has no address that would count here.
        (true, 0x11) => v4_source(rest),
        (true, 0x21) => v6_source(rest),
        _ => Some(ProxySource::Peer),
    };
    source.ok_or(ProxyError::TooShort).map(|source| Some((source, len)))
}

fn v4_source(addresses: &[u8]) -> Option<ProxySource> {
    let (address, rest) = addresses.split_first_chunk::<4>()?;
    let [high, low] = *rest.get(4..6)?.first_chunk::<2>()?;
    let address = IpAddr::from(Ipv4Addr::from(*address));
    Some(ProxySource::Client(SocketAddr::new(address, u16::from_be_bytes([high, low]))))
}

fn v6_source(addresses: &[u8]) -> Option<ProxySource> {
    let (address, rest) = addresses.split_first_chunk::<16>()?;
    let [high, low] = *rest.get(16..18)?.first_chunk::<2>()?;
    let address = IpAddr::from(Ipv6Addr::from(*address));
    Some(ProxySource::Client(SocketAddr::new(address, u16::from_be_bytes([high, low]))))
}

/// Whether `input` and `begin` agree as far as both go.
fn begins_alike(input: &[u8], begin: &[u8]) -> bool {
    input.iter().zip(begin).all(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(addr: &str) -> ProxySource {
        ProxySource::Client(addr.parse().unwrap())
    }

    /// A header of version 2 with this command and family, and what follows its length.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &len, rest].concat()
    }

    fn v4_addresses() -> Vec<u8> {
        [&[192, 0, 2, 7, 198, 51, 100, 1][..], &51_234u16.to_be_bytes(), &443u16.to_be_bytes()]
            .concat()
    }

    fn v6_addresses() -> Vec<u8> {
        let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        [&ip("2001:db8::7")[..], &ip("::1"), &7u16.to_be_bytes(), &9u16.to_be_bytes()].concat()
    }

    /// The header is found at its whole length, with bytes behind it or without, and at no cut.
    #[track_caller]
    fn found(header: &[u8], source: ProxySource) {
        for cut in 0..header.len() {
            assert_eq!(decode(&header[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(decode(header), Ok(Some((source, header.len()))));
        assert_eq!(decode(&[header, b"PROXY "].concat()), Ok(Some((source, header.len()))));
    }

    #[test]
    fn v1_header_names_the_client() {
        found(b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", client("192.0.2.7:51234"));
        found(b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n", client("[2001:db8::7]:0"));
        let longest = b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                        ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(longest.len(), 104);
        found(longest, client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"));
    }

    #[test]
    fn v1_unknown_ignores_the_rest_of_its_line() {
        found(b"PROXY UNKNOWN\r\n", ProxySource::Peer);
        found(b"PROXY UNKNOWN what ever 1\r\n", ProxySource::Peer);
        found(b"PROXY UNKNOWN \xff\r\0\r\n", ProxySource::Peer);
        let longest = [&b"PROXY UNKNOWN "[..], &[b'x'; 91], b"\r\n"].concat();
        assert_eq!(longest.len(), V1_LEN_MAX);
        found(&longest, ProxySource::Peer);
    }

    #[test]
    fn v1_line_of_another_form_is_refused() {
        for line in [
            "PROXY\r\n",
            "PROXY TCP4\r\n",
            "PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n",
        ] {
            assert_eq!(decode(line.as_bytes()), Err(ProxyError::Line), "{line:?}");
        }
        assert_eq!(decode(b"PROXY TCP4 \xff\r\n"), Err(ProxyError::Line));
    }

    #[test]
    fn v1_line_without_an_end_is_refused_at_107_bytes() {
        let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        assert_eq!(decode(&endless[..V1_LEN_MAX - 1]), Ok(None));
        assert_eq!(decode(&endless[..V1_LEN_MAX]), Err(ProxyError::TooLong));
    }

    #[test]
    fn v2_header_names_the_client() {
        found(&v2(0x21, 0x11, &v4_addresses()), client("192.0.2.7:51234"));
        found(&v2(0x21, 0x21, &v6_addresses()), client("[2001:db8::7]:7"));
    }

    #[test]
    fn v2_extensions_are_skipped() {
        let room = V2_LEN_MAX - V2_FIXED_LEN - 12;
        for extension in [&b"\x01\0\x02h2"[..], &vec![0xff; room]] {
            let rest = [&v4_addresses()[..], extension].concat();
            found(&v2(0x21, 0x11, &rest), client("192.0.2.7:51234"));
        }
    }

    #[test]
    fn v2_local_and_unspecified_keep_the_peer() {
        found(&v2(0x20, 0x00, b""), ProxySource::Peer);
        // A family beside LOCAL is to be ignored.
        found(&v2(0x20, 0x11, &v4_addresses()), ProxySource::Peer);
        found(&v2(0x20, 0x99, b"x"), ProxySource::Peer);
        found(&v2(0x21, 0x00, b"anything"), ProxySource::Peer);
        found(&v2(0x21, 0x31, &[0; 216]), ProxySource::Peer);
        found(&v2(0x21, 0x12, &v4_addresses()), ProxySource::Peer);
    }

    #[test]
    fn v2_header_out_of_bounds_is_refused() {
        for (header, error) in [
            (v2(0x11, 0x11, &v4_addresses()), ProxyError::Version),
            (v2(0x31, 0x11, &v4_addresses()), ProxyError::Version),
            (v2(0x22, 0x11, &v4_addresses()), ProxyError::Command),
            (v2(0x21, 0x13, &v4_addresses()), ProxyError::Family),
            (v2(0x21, 0x41, &v4_addresses()), ProxyError::Family),
            (v2(0x21, 0x01, &v4_addresses()), ProxyError::Family),
            (v2(0x21, 0x11, &v4_addresses()[..11]), ProxyError::TooShort),
            (v2(0x21, 0x21, &v4_addresses()), ProxyError::TooShort),
            (v2(0x21, 0x31, &[0; 215]), ProxyError::TooShort),
            (v2(0x21, 0x11, &[0; V2_LEN_MAX - V2_FIXED_LEN + 1]), ProxyError::TooLong),
            (v2(0x20, 0x00, &[0; 65_535]), ProxyError::TooLong),
        ] {
            assert_eq!(decode(&header), Err(error), "{header:02x?}");
        }
    }

    #[test]
    fn other_bytes_are_refused_at_the_first_that_differs() {
        for input in
            [&b"GET / HTTP/1.1"[..], b"\x16\x03\x01", b"PR0", b"\r\n\r\n\0\r\nQUIT\r", b"\n"]
        {
            assert_eq!(decode(input), Err(ProxyError::Signature), "{input:?}");
            for cut in 0..input.len() {
                let begun = decode(&input[..cut]);
                assert!(matches!(begun, Ok(None) | Err(ProxyError::Signature)), "{begun:?}");
            }
        }
    }
}
