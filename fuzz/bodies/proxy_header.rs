//! Headers of the PROXY protocol. Nothing panics; every cut gives the answer of the whole, an error
//! included; no byte behind the header counts; the crate proxy-header sees the same header, but for
//! the differences of [`is_stricter`] and [`is_looser`].

use std::net::SocketAddr;

use mynah::internal::codec::proxy_header::{
    ProxyError, ProxySource, V1_LEN_MAX, V2_LEN_MAX, decode,
};
use proxy_header::{ParseConfig, Protocol, ProxyHeader};

type Answer = Result<Option<(ProxySource, usize)>, ProxyError>;

/// Checks one input: bytes as they come from a connection.
///
/// # Panics
///
/// When an answer is wrong.
pub fn run(data: &[u8]) {
    let whole = decode(data);
    check_cuts(data, whole);
    check_len(data, whole);
    check_theirs(data, whole);
}

/// Until the answer is there it is `None`; from then on no further byte changes it.
fn check_cuts(data: &[u8], whole: Answer) {
    let mut is_decided = false;
    for cut in 0..data.len().min(V2_LEN_MAX + 2) {
        let answer = decode(&data[..cut]);
        if is_decided || answer != Ok(None) {
            assert_eq!(answer, whole, "cut at {cut}");
            is_decided = true;
        }
    }
    assert!(data.len() < V2_LEN_MAX || whole != Ok(None), "{V2_LEN_MAX} bytes do not suffice");
}

/// The header is as long as the answer says: one byte less is none.
fn check_len(data: &[u8], whole: Answer) {
    let Ok(Some((_, len))) = whole else { return };
    let len_max = if data[0] == b'P' { V1_LEN_MAX } else { V2_LEN_MAX };
    assert!((1..=data.len().min(len_max)).contains(&len), "{len} bytes");
    assert_eq!(decode(&data[..len - 1]), Ok(None));
    assert_eq!(decode(&data[..len]), whole);
    let mut other = data.to_vec();
    other[len..].fill(b'\n');
    assert_eq!(decode(&other), whole);
}

fn check_theirs(data: &[u8], whole: Answer) {
    // Nobody waits for more than this.
    let data = &data[..data.len().min(V2_LEN_MAX)];
    let theirs = ProxyHeader::parse(data, ParseConfig::default());
    let theirs = theirs.ok().map(|(header, len)| (their_source(&header), len));
    let ours = whole.ok().flatten();
    match (ours, theirs) {
        (ours, theirs) if ours == theirs => {}
        (None, Some(_)) => assert!(is_stricter(data, whole), "{whole:?}, not {theirs:?}"),
        (Some((ProxySource::Peer, _)), None) => {
            assert!(is_looser(data), "{whole:?}, but the crate refuses it");
        }
        _ => panic!("{whole:?}, not {theirs:?}"),
    }
}

/// The address that counts. That of UDP does not: no connection of ours is one ("automatically falls
/// back to the UNSPEC mode for the valid combinations above that it does not support", 2.2).
fn their_source(header: &ProxyHeader<'_>) -> ProxySource {
    let client = header.proxied_address().filter(|addr| addr.protocol == Protocol::Stream);
    client.map_or(ProxySource::Peer, |addr| ProxySource::Client(SocketAddr::clone(&addr.source)))
}

/// Headers that the crate takes and that are none (proxy-protocol.txt, 2.1): ports as Rust writes
/// them, any byte for the first blank, a word that only begins with `UNKNOWN`, a line over 107 bytes.
/// Of version 2 (2.2) it takes none that is refused here.
fn is_stricter(data: &[u8], whole: Answer) -> bool {
    let Some(line) = data.strip_prefix(b"PROXY") else { return false };
    let end = line.windows(2).position(|end| end == b"\r\n").expect("the crate has found one");
    let line = &line[..end];
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    // "Heading zeroes are not permitted in front of numbers", and a sign is no digit.
    let is_odd_port = |port: &&[u8]| {
        port.len() > 1 && port.starts_with(b"0") || port.iter().any(|byte| !byte.is_ascii_digit())
    };
    // "If the CRLF sequence is not found in the first 107 characters, the receiver should declare the
    // line invalid."
    let is_long = whole == Err(ProxyError::TooLong) && "PROXY\r\n".len() + end > V1_LEN_MAX;
    is_long
        || whole == Err(ProxyError::Line)
            // "Exactly one space".
            && (!line.starts_with(b" ")
            // "Any sequence which does not exactly match the protocol must be discarded."
            || line.starts_with(b" UNKNOWN") && words[1] != b"UNKNOWN"
            || words.len() == 6 && words[4..].iter().any(is_odd_port))
}

/// Headers that name no client and that the crate refuses although they are valid.
fn is_looser(data: &[u8]) -> bool {
    // "The receiver must ignore anything presented before the CRLF is found" (2.1), a lone CR too.
    data.starts_with(b"PROXY UNKNOWN ")
        // LOCAL: "must use the real connection endpoints and discard the protocol block including the
        // family which is ignored" (2.2).
        || data.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x20")
}
