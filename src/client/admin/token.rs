//! The token of `--token FILE`: one line, as the server's `--admin-token` has it. It comes from a file
//! alone: others on the machine can read arguments, and programs that are started the environment.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::strerror::strerror;

/// Longest token, in bytes.
const LEN_MAX: usize = 1024;

/// A token of visible ASCII.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::client) struct Token(String);

impl Token {
    /// Reads the token in a file.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(in crate::client) fn read(path: &Path) -> Result<Self, String> {
        let mut bytes = Vec::new();
        // With a line end, and one byte that tells that it is too long.
        let limit = LEN_MAX as u64 + 3;
        File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(|error| strerror(&error).to_string())?;
        Token::parse(&bytes).map_err(str::to_owned)
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = str::from_utf8(line).ok().filter(|text| text.is_ascii());
        match text {
            Some("") => Err("it is empty"),
            _ if line.contains(&b'\n') => Err("it has more than one line"),
            _ if line.len() > LEN_MAX => Err("it is longer than 1024 bytes"),
            Some(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Token(text.to_owned()))
            }
            _ => Err("it has a character other than visible ASCII"),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Shows nothing of it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_one_line_of_visible_ascii() {
        for file in [&b"secret"[..], b"secret\n", b"secret\r\n"] {
            assert_eq!(Token::parse(file), Ok(Token("secret".to_owned())));
        }
        for (file, reason) in [
            (&b""[..], "it is empty"),
            (b"\r\n", "it is empty"),
            (b"a\nb\n", "it has more than one line"),
            (b"a b", "it has a character other than visible ASCII"),
            (b"a\x1b", "it has a character other than visible ASCII"),
            (b"\xff", "it has a character other than visible ASCII"),
            (&[b'x'; LEN_MAX + 3], "it is longer than 1024 bytes"),
        ] {
            assert_eq!(Token::parse(file), Err(reason), "{}", file.escape_ascii());
        }
        assert_eq!(format!("{:?}", Token("secret".to_owned())), "Token");
    }
}
