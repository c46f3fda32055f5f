//! Name and password as a client sends them: `NAME` NUL `PASSWORD`, or the words of a chat line.

use super::attempt::Attempt;
use super::messages::Refusal;
use super::name::{NameError, parse_name};
use super::password::{Password, PasswordError};
use crate::protocol::nickname::Nickname;

/// Parses the payload of LOGIN or REGISTER.
///
/// # Errors
///
/// The refusal to answer with. None has cost a hash, so none counts as a failed attempt.
pub fn parse_credentials(
    attempt: Attempt,
    payload: &[u8],
) -> Result<(Nickname<'_>, Password), Refusal<'_>> {
    let mut parts = payload.split(|byte| *byte == 0);
    let (Some(name), Some(password), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Refusal::NeedsNameAndPassword(attempt));
    };
    let name = str::from_utf8(name).map_err(|_| Refusal::NameCharacters)?;
    parse_name_and_password(attempt, name, password)
}

/// Parses a name and a password.
///
/// # Errors
///
/// The refusal to answer with, as [`parse_credentials`].
pub fn parse_name_and_password<'a>(
    attempt: Attempt,
    name: &'a str,
    password: &[u8],
) -> Result<(Nickname<'a>, Password), Refusal<'a>> {
    let nickname = parse_name(name).map_err(|error| match error {
        NameError::Length => Refusal::NameLength,
        NameError::Characters => Refusal::NameCharacters,
        NameError::Reserved if attempt == Attempt::Login => Refusal::LoginFailed,
        NameError::Reserved => Refusal::Taken(name),
    })?;
    let password = Password::new(password.to_vec()).map_err(|error| match error {
        PasswordError::Length => Refusal::PasswordLength,
        PasswordError::Nul => Refusal::NeedsNameAndPassword(attempt),
    })?;
    Ok((nickname, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refusal(payload: &[u8]) -> Refusal<'_> {
        parse_credentials(Attempt::Login, payload).map(|_| ()).unwrap_err()
    }

    #[test]
    fn payload_is_name_nul_password() {
        let parsed = parse_credentials(Attempt::Register, b"bob\0pass word");
        let (name, password) = parsed.unwrap();
        assert_eq!((name.text(), password.as_bytes()), ("bob", &b"pass word"[..]));
    }

    #[test]
    fn bad_payload_is_refused_with_its_reason() {
        let needs = Refusal::NeedsNameAndPassword(Attempt::Login);
        for (payload, expected) in [
            (&b""[..], needs),
            (b"bob", needs),
            (b"bob\0pass\0word", needs),
            (b"\0password", Refusal::NameLength),
            (b"bo\0password", Refusal::NameLength),
            (b"b b\0password", Refusal::NameCharacters),
            (b"#bob\0password", Refusal::NameCharacters),
            (b"bob\xff\0password", Refusal::NameCharacters),
            (b"server\0password", Refusal::LoginFailed),
            (b"bob\0", Refusal::PasswordLength),
            (b"bob\0short", Refusal::PasswordLength),
        ] {
            assert_eq!(refusal(payload), expected, "{}", payload.escape_ascii());
        }
        let long = [&b"bob\0"[..], &[b'x'; 129]].concat();
        assert_eq!(refusal(&long), Refusal::PasswordLength);
        let register = parse_credentials(Attempt::Register, b"Error\0password").map(|_| ());
        assert_eq!(register, Err(Refusal::Taken("Error")));
    }
}
