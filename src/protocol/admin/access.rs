//! Rights at an admin listener: the token, the hosts it may be asked under, the pages that may ask.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use subtle::ConstantTimeEq;

use super::response::Response;
use super::route::Resource;
use crate::codec::http::Request;
use crate::setting::SettingError;

/// Most names of `host=`.
const HOSTS_MAX: usize = 64;

/// The secret that lets a client over TCP in.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<[u8]>);

/// The reason a file holds no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// There is nothing in it.
    Empty,
    /// It has more than one line.
    ManyLines,
    /// It has a character that a header field cannot have.
    InvalidCharacter,
    /// It is longer than [`Token::LEN_MAX`].
    TooLong,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Empty => f.write_str("it is empty"),
            TokenError::ManyLines => f.write_str("it has more than one line"),
            TokenError::InvalidCharacter => {
                f.write_str("it has a character other than visible ASCII")
            }
            TokenError::TooLong => write!(f, "it is longer than {} bytes", Token::LEN_MAX),
        }
    }
}

impl std::error::Error for TokenError {}

impl Token {
    /// Longest token, in bytes.
    pub const LEN_MAX: usize = 1024;

    /// The token in a file: one line of visible ASCII.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn parse(file: &[u8]) -> Result<Self, TokenError> {
        let line = file.strip_suffix(b"\n").unwrap_or(file);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(TokenError::Empty);
        }
        if line.contains(&b'\n') {
            return Err(TokenError::ManyLines);
        }
        if line.len() > Token::LEN_MAX {
            return Err(TokenError::TooLong);
        }
        if !line.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::InvalidCharacter);
        }
        Ok(Token(line.into()))
    }

    /// Whether the value of `Authorization` is `Bearer` and this token. Takes as long for any token
    /// of its length.
    fn is_sent_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, rest)) = authorization.split_at_checked(b"Bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(self.0.ct_eq(rest.trim_ascii()))
    }
}

/// Shows nothing of it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The value of `host=`: names, separated by commas.
pub(super) fn parse_hosts(value: &str) -> Result<Vec<String>, SettingError> {
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    let names: Vec<&str> = value.split(',').map(str::trim).collect();
    if names.len() > HOSTS_MAX || !names.iter().all(is_name) {
        let choices = "host names separated by commas";
        return Err(SettingError::NotOneOf { value: value.to_owned(), choices });
    }
    Ok(names.into_iter().map(str::to_ascii_lowercase).collect())
}

/// The client that asks, and the demands of the listener.
pub(super) struct Caller<'a> {
    /// It comes over a Unix socket, whose permissions have let it in.
    pub(super) is_local: bool,
    pub(super) hosts: &'a [String],
    pub(super) token: Option<&'a Token>,
}

impl Caller<'_> {
    /// Keeps web pages out: those of other origins, and those that have their own name resolve to
    /// this server (DNS rebinding).
    pub(super) fn check_page(&self, request: &Request<'_>) -> Result<(), Response> {
        if !self.is_local && !request.host.is_none_or(|host| is_known_host(host, self.hosts)) {
            return Err(Response::error(
                403,
                "unknown Host; host=NAME in the listener's URL lets it in",
            ));
        }
        match request.origin {
            Some(origin) if !is_same_origin(origin, request.host) => {
                Err(Response::error(403, "pages of other origins may not ask"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the caller may have a resource.
    pub(super) fn check_token(
        &self,
        request: &Request<'_>,
        resource: &Resource,
    ) -> Result<(), Response> {
        if self.is_local || resource.is_public() {
            return Ok(());
        }
        match (self.token, request.authorization) {
            (None, _) if resource.is_change() => Err(Response::error(
                403,
                "changes need --admin-token, or a Unix socket (admin+unix:///PATH)",
            )),
            (None, _) => Ok(()),
            (Some(token), Some(sent)) if token.is_sent_in(sent) => Ok(()),
            (Some(_), _) => Err(Response::unauthorized()),
        }
    }
}

/// Whether a `Host` is an address, `localhost`, or one of `hosts`.
fn is_known_host(host: &str, hosts: &[String]) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_port && address.parse::<Ipv6Addr>().is_ok();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    let is_name = |known: &str| name.eq_ignore_ascii_case(known);
    name.parse::<IpAddr>().is_ok() || is_name("localhost") || hosts.iter().any(|h| is_name(h))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Whether an `Origin` is that of the server's own pages.
fn is_same_origin(origin: &[u8], host: Option<&str>) -> bool {
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|a| host.is_some_and(|host| a.eq_ignore_ascii_case(host.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_one_line_of_visible_ascii() {
        for (file, error) in [
            (&b""[..], TokenError::Empty),
            (b"\n", TokenError::Empty),
            (b"a\nb\n", TokenError::ManyLines),
            (b"a\n\n", TokenError::ManyLines),
            (b"a b", TokenError::InvalidCharacter),
            (b"a\rb", TokenError::InvalidCharacter),
            ("\u{e9}".as_bytes(), TokenError::InvalidCharacter),
            (&[b'x'; Token::LEN_MAX + 1], TokenError::TooLong),
        ] {
            assert_eq!(Token::parse(file), Err(error), "{}", file.escape_ascii());
        }
        for file in [&b"secret"[..], b"secret\n", b"secret\r\n"] {
            assert_eq!(Token::parse(file), Ok(Token(b"secret"[..].into())));
        }
    }

    #[test]
    fn token_is_sent_as_bearer() {
        let token = Token::parse(b"secret").unwrap();
        for (sent, is_right) in [
            ("Bearer secret", true),
            ("bearer  secret ", true),
            ("Bearer secre", false),
            ("Bearer secret2", false),
            ("Bearer Secret", false),
            ("Bearer ", false),
            ("secret", false),
            ("Basic secret", false),
        ] {
            assert_eq!(token.is_sent_in(sent.as_bytes()), is_right, "{sent}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn hosts_are_addresses_localhost_and_those_given() {
        let hosts = parse_hosts("status.example, Other").unwrap();
        for host in [
            "127.0.0.1",
            "127.0.0.1:6580",
            "[::1]",
            "[::1]:80",
            "10.1.2.3:1",
            "LocalHost:1",
            "status.example",
            "OTHER:99",
        ] {
            assert!(is_known_host(host, &hosts), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:6580",
            "127.0.0.1.evil.example",
            "status.example.evil",
            "localhost.",
            "localhost:x",
            "localhost:99999",
            "[::1",
            "[evil]",
            "[::1]x",
            "127.1",
            "127.0.0.1:80:80",
        ] {
            assert!(!is_known_host(host, &hosts), "{host}");
        }
        assert!(parse_hosts("a,,b").is_err() && parse_hosts("a b").is_err());
    }

    #[test]
    fn origin_is_same_with_the_same_authority() {
        let host = Some("localhost:6580");
        assert!(is_same_origin(b"http://localhost:6580", host));
        assert!(is_same_origin(b"https://LOCALHOST:6580", host));
        for origin in ["null", "http://localhost", "http://evil", "localhost:6580", "", "file://"] {
            assert!(!is_same_origin(origin.as_bytes(), host), "{origin}");
        }
        assert!(!is_same_origin(b"http://a", None));
    }
}
