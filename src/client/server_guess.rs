//! The protocol that a server seems to speak, judged by bytes that are not a reply of the one it was
//! addressed in. Sends nothing.

use std::fmt;

use super::endpoint::Endpoint;
use crate::codec::Decoder;
use crate::codec::command::HEADER_LEN;
use crate::codec::prefixed::{self, PrefixedDecoder};
use crate::escape::EscapeControl;
use crate::protocol::ProtocolName;

/// How many bytes of a reply, or of a request, a guess looks at.
pub(super) const GUESS_LEN: usize = 1024;

/// How many bytes of a reply an error quotes.
const EXCERPT_LEN: usize = 60;

/// Beginnings of replies that tell a server that is not mynah.
const FOREIGN: [(&[u8], &str); 9] = [
    (b"+PONG", "Redis"),
    (b"+OK", "Redis, or a POP3 server"),
    (b"-ERR", "Redis"),
    (b"-NOAUTH", "Redis"),
    (b"-DENIED", "Redis"),
    (b"SSH-", "an SSH server"),
    (b"220 ", "a mail or FTP server"),
    (b"ERROR\r\n", "memcached"),
    (b"INFO {", "NATS"),
];

const HTTP_SERVER: &str = "the server seems to be an HTTP server";

/// A protocol that a server seems to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerGuess {
    Mynah(ProtocolName),
    /// A server that speaks TLS first.
    Tls,
    /// An HTTP server: an admin listener, perhaps.
    Http,
    /// A server of another kind, with its article.
    Foreign(&'static str),
}

impl ServerGuess {
    /// Judges by the beginning of the reply alone: texts with which no reply of `command` or
    /// `prefixed` begins by chance.
    pub(super) fn from_text(reply: &[u8]) -> Option<Self> {
        if [&b"[ERROR] "[..], b"[INFO] "].iter().any(|kind| reply.starts_with(kind)) {
            return Some(ServerGuess::Mynah(ProtocolName::Chat));
        }
        if reply.starts_with(b"Echo: ") {
            return Some(ServerGuess::Mynah(ProtocolName::Raw));
        }
        let is_plugin = [&b"None"[..], b"Error occurred while processing data"].contains(&reply);
        if let Some(plugin) = ProtocolName::parse("plugin").filter(|_| is_plugin) {
            return Some(ServerGuess::Mynah(plugin));
        }
        if reply.starts_with(b"\x15\x03") {
            return Some(ServerGuess::Tls);
        }
        if reply.starts_with(b"HTTP/") {
            return Some(ServerGuess::Http);
        }
        let foreign = FOREIGN.iter().find(|(start, _)| reply.starts_with(start));
        foreign.map(|(_, name)| ServerGuess::Foreign(name))
    }

    /// Judges by the reply and the request, or by their first [`GUESS_LEN`] bytes.
    pub(super) fn from_exchange(reply: &[u8], request: &[u8]) -> Option<Self> {
        let reply = &reply[..reply.len().min(GUESS_LEN)];
        let request = &request[..request.len().min(GUESS_LEN)];
        let begins_as = |expected: &[u8]| {
            let len = expected.len().min(reply.len());
            // Fewer bytes begin alike by chance.
            len >= HEADER_LEN && expected[..len] == reply[..len]
        };
        if let Some(guess) = ServerGuess::from_text(reply) {
            return Some(guess);
        }
        // An ERROR frame, of less than 64 KiB.
        if reply.starts_with(b"\xff\0\0") {
            return Some(ServerGuess::Mynah(ProtocolName::Command));
        }
        if begins_as(&prefixed_reply(request)) {
            return Some(ServerGuess::Mynah(ProtocolName::Prefixed));
        }
        begins_as(request).then_some(ServerGuess::Mynah(ProtocolName::Raw))
    }

    /// The rest of an error: the protocol, and the command line that speaks it.
    pub(super) fn hint(self, endpoint: &Endpoint) -> String {
        match self {
            ServerGuess::Foreign(name) => format!("the server seems to be {name}"),
            ServerGuess::Tls if cfg!(feature = "tls") => {
                let url = endpoint.url("+tls");
                format!("the server seems to speak TLS: try {url}")
            }
            ServerGuess::Tls => "the server seems to speak TLS".to_owned(),
            ServerGuess::Http if endpoint.is_admin => HTTP_SERVER.to_owned(),
            ServerGuess::Http => {
                let endpoint = Endpoint { is_admin: true, ..endpoint.clone() };
                let command = format!("mynah-cli --admin {endpoint} status");
                format!("{HTTP_SERVER}; if it is an admin listener, try: {command}")
            }
            ServerGuess::Mynah(protocol) => {
                let endpoint = Endpoint { protocol, is_admin: false, ..endpoint.clone() };
                let command = match protocol {
                    ProtocolName::Command => "echo TEXT",
                    ProtocolName::Chat => "chat",
                    _ => "send TEXT",
                };
                format!("the server seems to speak {protocol}, try: mynah-cli {endpoint} {command}")
            }
        }
    }
}

/// True if `reply` begins with a TLS alert: what a server of TLS says to a client that does not speak
/// it.
pub(super) fn is_alert(reply: &[u8]) -> bool {
    matches!(reply, [21, 3, 0..=4, 0, 2, 1 | 2, ..])
}

/// The replies of a `prefixed` server to bytes that were meant for another one.
fn prefixed_reply(mut request: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    while let Ok(Some((message, len))) = PrefixedDecoder.decode(request) {
        let reversed: Vec<u8> = message.iter().rev().copied().collect();
        prefixed::encode(&reversed, &mut reply);
        request = &request[len..];
    }
    reply
}

/// The first bytes of a reply, in quotes.
pub(super) struct Excerpt<'a>(pub(super) &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let shown = &self.0[..self.0.len().min(EXCERPT_LEN)];
        let ellipsis = if shown.len() < self.0.len() { "…" } else { "" };
        write!(EscapeControl(f), "'{}{ellipsis}'", String::from_utf8_lossy(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::{Command, Frame};

    fn frame(command: Command, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Frame { command, payload }.encode(&mut bytes);
        bytes
    }

    fn name(reply: &[u8], request: &[u8]) -> Option<String> {
        ServerGuess::from_exchange(reply, request).map(|guess| match guess {
            ServerGuess::Mynah(protocol) => protocol.to_string(),
            ServerGuess::Foreign(name) => name.to_owned(),
            ServerGuess::Tls => "TLS".to_owned(),
            ServerGuess::Http => "HTTP".to_owned(),
        })
    }

    #[test]
    fn reply_tells_the_protocol() {
        let echo = frame(Command::Echo, b"hello");
        let rev = frame(Command::Reverse, b"hello");
        for (reply, request, expected) in [
            (&b"\x01\0\0\0\x05olleh"[..], &echo, "prefixed"),
            (b"\x02\0\0\0\x05olleh", &rev, "prefixed"),
            (b"Echo: \x01\0\0\0\x05hello", &echo, "raw"),
            (&rev, &rev, "raw"),
            (b"[ERROR] a nickname has no blanks or control characters\n", &echo, "chat"),
            (b"HTTP/1.1 400 Bad Request\r\n", &echo, "HTTP"),
            (b"-ERR unknown command\r\n", &echo, "Redis"),
            (b"+PONG\r\n", &echo, "Redis"),
            (b"\x15\x03\x03\0\x02\x02\x16", &echo, "TLS"),
            (b"\xff\0\0\0\x09too long!", &b"\x05hello".to_vec(), "command"),
        ] {
            assert_eq!(name(reply, request).as_deref(), Some(expected), "{reply:?}");
        }
        assert_eq!(name(b"", &echo), None);
        assert_eq!(name(b"\x01\0", &echo), None);
        assert_eq!(name(b"\x01\0\0\0\x05HELLO", &frame(Command::Echo, b"other")), None);
        #[cfg(feature = "plugins")]
        assert_eq!(name(b"None", &echo).as_deref(), Some("plugin"));
    }

    #[test]
    fn long_request_still_tells_prefixed() {
        let echo = frame(Command::Echo, &b"abc".repeat(1000));
        let reply = prefixed_reply(&echo[..GUESS_LEN]);
        assert_eq!(name(&reply, &echo).as_deref(), Some("prefixed"));
    }

    #[test]
    fn excerpt_is_one_short_line() {
        assert_eq!(Excerpt(b"a\r\n\xff").to_string(), "'a\\r\\n\u{fffd}'");
        assert_eq!(Excerpt(&[b'x'; 100]).to_string(), format!("'{}…'", "x".repeat(EXCERPT_LEN)));
    }
}
