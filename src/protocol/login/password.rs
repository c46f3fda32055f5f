//! Passwords in memory: bounded, zeroed when dropped, never displayed.

use std::fmt;
use std::io::{self, Read};

use zeroize::Zeroizing;

/// Fewest bytes of a password.
pub const PASSWORD_LEN_MIN: usize = 8;
/// Most bytes of a password.
pub const PASSWORD_LEN_MAX: usize = 128;

/// A password that an account may have. Zeroed when dropped; `Debug` does not show it.
pub struct Password(Zeroizing<Vec<u8>>);

/// The rule that a password breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordError {
    /// It has fewer than 8 or more than 128 bytes.
    Length,
    /// It has a NUL, which separates it from the name on the wire.
    Nul,
}

impl Password {
    /// Takes `bytes` as a password. They are zeroed if they are none.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub fn new(bytes: Vec<u8>) -> Result<Self, PasswordError> {
        let bytes = Zeroizing::new(bytes);
        if !(PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX).contains(&bytes.len()) {
            return Err(PasswordError::Length);
        }
        if bytes.contains(&0) {
            return Err(PasswordError::Nul);
        }
        Ok(Password(bytes))
    }

    /// Reads a line, without its end, as a password. Unbuffered, so that no copy is left behind.
    ///
    /// # Errors
    ///
    /// Reading failed; inside, the rule that the line breaks.
    pub fn read_line(input: &mut impl Read) -> io::Result<Result<Self, PasswordError>> {
        // With space for `\r` and for a byte too many.
        let mut line = Zeroizing::new(Vec::with_capacity(PASSWORD_LEN_MAX + 2));
        let mut byte = Zeroizing::new([0]);
        loop {
            match input.read(&mut *byte) {
                Ok(1) if byte[0] != b'\n' => {}
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if line.len() < PASSWORD_LEN_MAX + 2 {
                line.push(byte[0]);
            }
        }
        if line.ends_with(b"\r") {
            line.pop();
        }
        Ok(Password::new(std::mem::take(&mut *line)))
    }

    /// The password.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Not in constant time: for two that one user has typed.
impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordError::Length => {
                write!(f, "a password has {PASSWORD_LEN_MIN} to {PASSWORD_LEN_MAX} bytes")
            }
            PasswordError::Nul => f.write_str("a password has no NUL"),
        }
    }
}

impl std::error::Error for PasswordError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_has_8_to_128_bytes_without_nul() {
        let check = |bytes: &[u8]| Password::new(bytes.to_vec()).map(|_| ());
        assert_eq!(check(b"1234567"), Err(PasswordError::Length));
        assert_eq!(check(b"12345678"), Ok(()));
        assert_eq!(check("паро".as_bytes()), Ok(()), "bytes count, not characters");
        assert_eq!(check(&[b'x'; 128]), Ok(()));
        assert_eq!(check(&[b'x'; 129]), Err(PasswordError::Length));
        assert_eq!(check(b"12345678\0"), Err(PasswordError::Nul));
    }

    #[test]
    fn password_is_one_line_without_its_end() {
        let read = |mut text: &[u8]| {
            let password = Password::read_line(&mut text).unwrap();
            (password.map(|password| password.as_bytes().to_vec()), text.len())
        };
        for text in [&b"pass word"[..], b"pass word\n", b"pass word\r\n"] {
            assert_eq!(read(text), (Ok(b"pass word".to_vec()), 0));
        }
        assert_eq!(read(b"password\nnext\n"), (Ok(b"password".to_vec()), 5));
        let long = [&[b'x'; 128][..], b"\r\n"].concat();
        assert_eq!(read(&long).0.map(|password| password.len()), Ok(128));
        let long = [&[b'x'; 9_999][..], b"\nnext"].concat();
        assert_eq!(read(&long), (Err(PasswordError::Length), 4), "it is read to its end");
    }

    #[test]
    fn password_is_not_in_its_debug_output() {
        let password = Password::new(b"tell-nobody".to_vec()).unwrap();
        assert_eq!(format!("{password:?}"), "Password(…)");
    }
}
