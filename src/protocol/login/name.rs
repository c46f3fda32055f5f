//! Names of accounts: the chat's nicknames, without those that would be a comment in the file.

use std::fmt;

use crate::protocol::nickname::{CHARS_MAX, CHARS_MIN, Nickname, NicknameError};

/// The rule that a name breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// It has fewer than 3 or more than 16 characters.
    Length,
    /// It has a character that no nickname has, or begins with `#`.
    Characters,
    /// The server's own lines begin with it.
    Reserved,
}

/// Parses the name of an account.
///
/// # Errors
///
/// The rule that it breaks.
pub fn parse_name(text: &str) -> Result<Nickname<'_>, NameError> {
    match Nickname::parse(text) {
        // It would be read as a comment.
        Ok(_) if text.starts_with('#') => Err(NameError::Characters),
        Ok(nickname) => Ok(nickname),
        Err(NicknameError::Length) => Err(NameError::Length),
        Err(NicknameError::Characters) => Err(NameError::Characters),
        Err(NicknameError::Reserved) => Err(NameError::Reserved),
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Length => write!(f, "a name has {CHARS_MIN} to {CHARS_MAX} characters"),
            NameError::Characters => f.write_str("a name has no blanks or control characters"),
            NameError::Reserved => f.write_str("the name is reserved for the server"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_a_nickname_without_a_hash_sign_in_front() {
        let check = |text| parse_name(text).map(|name| name.text().to_owned());
        assert_eq!(check("bob"), Ok("bob".into()));
        assert_eq!(check("b#b"), Ok("b#b".into()));
        for (text, error) in [
            ("#bob", NameError::Characters),
            ("b:b", NameError::Characters),
            ("b b", NameError::Characters),
            ("b\nb", NameError::Characters),
            ("", NameError::Length),
            ("bo", NameError::Length),
            ("abcdefghijklmnopq", NameError::Length),
            ("Server", NameError::Reserved),
        ] {
            assert_eq!(check(text), Err(error), "{text:?}");
        }
    }
}
