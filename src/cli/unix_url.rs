//! Unix sockets in URLs, `PROTOCOL[+tls]+unix:///PATH[?key=value&…]`, and their paths and modes.
//! Opens nothing.

use std::ffi::OsString;
use std::fmt::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode;

use crate::escape::EscapeControl;
use crate::limits::UNIX_PATH_LEN_MAX;
use crate::os_text;
#[cfg(any(feature = "unix", feature = "client", feature = "load"))]
use crate::setting::SettingError;

/// The URL in errors.
pub(super) const EXAMPLE: &str = "chat+unix:///run/chat.sock";

/// An error of a Unix socket's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnixPathError {
    /// There is none.
    Missing,
    /// A host and port stand in its place.
    HostAndPort(String),
    /// It does not begin with a slash.
    Relative(String),
    /// It has so many bytes, more than a socket's may have.
    TooLong(usize),
    /// A `%` is not followed by two hexadecimal digits.
    NotPercentEncoded(String),
    /// It has a NUL byte.
    Nul,
}

impl fmt::Display for UnixPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        let example = format_args!("as in {EXAMPLE}");
        match self {
            UnixPathError::Missing => write!(f, "the path of the socket is missing, {example}"),
            UnixPathError::HostAndPort(text) => {
                write!(f, "'{text}' is a host and port, a Unix socket has a path, {example}")
            }
            UnixPathError::Relative(path) => {
                write!(f, "the path '{path}' does not begin with /, {example}")
            }
            UnixPathError::TooLong(len) => {
                write!(f, "the path has {len} bytes, a Unix socket's at most {UNIX_PATH_LEN_MAX}")
            }
            UnixPathError::NotPercentEncoded(path) => {
                write!(f, "the path '{path}' is not percent-encoded, a % is written %25")
            }
            UnixPathError::Nul => f.write_str("the path has a NUL byte"),
        }
    }
}

/// Reads the path of a URL, which is percent-encoded: a `?` begins the keys.
///
/// # Errors
///
/// See [`UnixPathError`].
pub(super) fn parse_path(text: &str) -> Result<PathBuf, UnixPathError> {
    let encoded = os_text::decode(text).into_vec();
    let is_escape = |at: usize| {
        encoded.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut percents = encoded.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    if !percents.all(|(at, _)| is_escape(at)) {
        return Err(UnixPathError::NotPercentEncoded(text.to_owned()));
    }
    if !text.is_empty() && !text.starts_with('/') {
        let authority = text.split('/').next().unwrap_or_default();
        let port = authority.rsplit_once(':').map(|(_, port)| port);
        return Err(match port {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                UnixPathError::HostAndPort(authority.to_owned())
            }
            _ => UnixPathError::Relative(text.to_owned()),
        });
    }
    check_path(OsString::from_vec(percent_decode(&encoded).collect()).into())
}

/// Checks a path, which is as the file system has it.
///
/// # Errors
///
/// See [`UnixPathError`].
pub(super) fn check_path(path: PathBuf) -> Result<PathBuf, UnixPathError> {
    let bytes = path.as_os_str().as_bytes();
    match bytes {
        [] => Err(UnixPathError::Missing),
        _ if bytes.contains(&0) => Err(UnixPathError::Nul),
        [b'/', ..] if bytes.len() > UNIX_PATH_LEN_MAX => Err(UnixPathError::TooLong(bytes.len())),
        [b'/', ..] => Ok(path),
        _ => Err(UnixPathError::Relative(os_text::encode(bytes))),
    }
}

/// Reads the permissions of a socket's file, in octal.
///
/// # Errors
///
/// They are not a number from 0 to 0777.
#[cfg(any(feature = "unix", feature = "client", feature = "load"))]
pub(super) fn parse_mode(value: &str) -> Result<u32, SettingError> {
    let is_octal = value.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    let choices = "an octal mode from 0 to 0777, such as 0660";
    mode.ok_or_else(|| SettingError::NotOneOf { value: value.to_owned(), choices })
}

/// Shows a path as a URL has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UrlPath<'a>(pub(crate) &'a Path);

impl fmt::Display for UrlPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_whitespace() || c.is_control() || matches!(c, '%' | '?' | '#') {
                    let mut bytes = [0; 4];
                    encode(f, c.encode_utf8(&mut bytes).as_bytes())?;
                } else {
                    f.write_char(c)?;
                }
            }
            encode(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn encode(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_percent_encoded_in_a_url() {
        for (text, path, shown) in [
            ("/run/x.sock", &b"/run/x.sock"[..], "/run/x.sock"),
            ("/run/a%20b%3f%25", b"/run/a b?%", "/run/a%20b%3F%25"),
            ("/tmp/a b", b"/tmp/a b", "/tmp/a%20b"),
            ("/tmp/\u{e9}%ff", b"/tmp/\xc3\xa9\xff", "/tmp/\u{e9}%FF"),
            ("/tmp/%0a%1b[2J", b"/tmp/\n\x1b[2J", "/tmp/%0A%1B[2J"),
        ] {
            let parsed = parse_path(text).unwrap();
            assert_eq!(parsed.as_os_str().as_bytes(), path);
            assert_eq!(UrlPath(&parsed).to_string(), shown);
            assert_eq!(parse_path(shown), Ok(parsed));
        }
    }

    #[test]
    fn path_errors_name_the_culprit() {
        let example = "as in chat+unix:///run/chat.sock";
        for (text, why) in [
            ("", format!("the path of the socket is missing, {example}")),
            ("run/x", format!("the path 'run/x' does not begin with /, {example}")),
            (
                "localhost:5000",
                format!("'localhost:5000' is a host and port, a Unix socket has a path, {example}"),
            ),
            (":5000/x", format!("':5000' is a host and port, a Unix socket has a path, {example}")),
            ("/a%2", "the path '/a%2' is not percent-encoded, a % is written %25".to_owned()),
            ("/a%zz", "the path '/a%zz' is not percent-encoded, a % is written %25".to_owned()),
            ("/a%00b", "the path has a NUL byte".to_owned()),
        ] {
            assert_eq!(parse_path(text).unwrap_err().to_string(), why);
        }
        let longest = format!("/{}", "x".repeat(UNIX_PATH_LEN_MAX - 1));
        assert!(parse_path(&longest).is_ok());
        let error = parse_path(&format!("{longest}x")).unwrap_err();
        assert_eq!(error, UnixPathError::TooLong(UNIX_PATH_LEN_MAX + 1));
    }

    #[cfg(feature = "unix")]
    #[test]
    fn mode_is_octal() {
        for (text, mode) in [("0660", 0o660), ("660", 0o660), ("0", 0), ("0777", 0o777)] {
            assert_eq!(parse_mode(text), Ok(mode));
        }
        for text in ["", "rw", "0o660", "888", "1777", "+7", "-1", "07777"] {
            let error = parse_mode(text).unwrap_err().to_string();
            let why = format!("'{text}' is not an octal mode from 0 to 0777, such as 0660");
            assert_eq!(error, why);
        }
    }
}
