//! An account as its user names it: a valid name and a valid password, and the forms in which both
//! protocols take them. Asks nobody.

use std::fmt;

use crate::protocol::chat::Lang;
pub(super) use crate::protocol::login::Attempt;
use crate::protocol::login::{Password, Refusal, parse_name, parse_name_and_password};

/// A name and its password.
#[derive(Debug, PartialEq)]
pub(super) struct Account {
    name: String,
    password: Password,
}

impl Eq for Account {}

/// Checks a name.
///
/// # Errors
///
/// The text with which a server would refuse it.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    parse_name(name).map(|_| ()).map_err(|error| error.to_string())
}

/// True if a server that refuses for `reason` may take the same attempt a little later.
pub(super) fn is_busy(reason: &str) -> bool {
    reason == Refusal::Busy.to_string()
        || [Lang::En, Lang::Ru].iter().any(|&lang| reason == Refusal::Busy.chat(lang).to_string())
}

impl Account {
    /// Takes a name and a password.
    ///
    /// # Errors
    ///
    /// The text with which a server would refuse them.
    pub(super) fn new(attempt: Attempt, name: &str, password: &[u8]) -> Result<Self, String> {
        let (name, password) = parse_name_and_password(attempt, name, password)
            .map_err(|refusal| refusal.to_string())?;
        Ok(Account { name: name.text().to_owned(), password })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The payload of LOGIN and REGISTER.
    pub(super) fn payload(&self) -> Vec<u8> {
        [self.name.as_bytes(), b"\0", self.password.as_bytes()].concat()
    }

    /// The line of a chat that logs in.
    ///
    /// # Errors
    ///
    /// A chat cannot carry the password.
    pub(super) fn chat_login(&self) -> Result<Vec<u8>, String> {
        let password = chat_password(self.password.as_bytes())?;
        Ok([b"/login ", self.name.as_bytes(), b" ", password].concat())
    }
}

/// A password that a chat line can end with.
fn chat_password(password: &[u8]) -> Result<&[u8], String> {
    let text = str::from_utf8(password).ok();
    let fits = |text: &str| text.trim() == text && !text.contains(['\n', '\r']);
    match text.is_some_and(fits) {
        true => Ok(password),
        false => Err("over chat a password is UTF-8 and one line without blanks around it".into()),
    }
}

/// A line of a chat that needs a password and was typed without one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) attempt: Attempt,
    command: String,
}

impl Unfinished {
    /// `/login NICK` or `/register`; `None` is any other line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let attempt = match (words.next()?, words.next(), words.next()) {
            ("/login", Some(_), None) => Attempt::Login,
            ("/register", None, None) => Attempt::Register,
            _ => return None,
        };
        Some(Unfinished { attempt, command: line.trim().to_owned() })
    }

    /// Whose password is asked for, if the line names somebody.
    pub(super) fn name(&self) -> Option<&str> {
        self.command.split_whitespace().nth(1)
    }

    /// The line to send.
    ///
    /// # Errors
    ///
    /// A chat cannot carry the password.
    pub(super) fn finish(&self, password: &Password) -> Result<Vec<u8>, String> {
        let password = chat_password(password.as_bytes())?;
        Ok([self.command.as_bytes(), b" ", password].concat())
    }
}

/// ` as bob`, or nothing.
pub(super) struct AsUser<'a>(pub(super) Option<&'a Account>);

impl fmt::Display for AsUser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |account| write!(f, " as {}", account.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_is_refused_as_by_a_server() {
        let refusal = |name, password: &[u8]| Account::new(Attempt::Login, name, password).err();
        let password = Some("a password has 8 to 128 bytes".to_owned());
        assert_eq!(refusal("bob", b"1234567"), password);
        assert_eq!(refusal("bob", &[b'x'; 129]), password);
        assert_eq!(refusal("bo", b"12345678"), Some("a name has 3 to 16 characters".into()));
        assert_eq!(refusal("bob", b"1234\x005678"), Some("LOGIN needs NAME NUL PASSWORD".into()));
        let bob = Account::new(Attempt::Login, "bob", b"pass word").unwrap();
        assert_eq!(bob.payload(), b"bob\0pass word");
        assert_eq!(bob.chat_login(), Ok(b"/login bob pass word".to_vec()));
    }

    #[test]
    fn chat_line_cannot_carry_every_password() {
        for password in [&b"password\nexit"[..], b" password", b"password\t", b"\xffpassword"] {
            let bob = Account::new(Attempt::Login, "bob", password).unwrap();
            assert!(bob.chat_login().is_err(), "{}", password.escape_ascii());
        }
    }

    #[test]
    fn chat_line_without_a_password_is_unfinished() {
        let parsed = |line| Unfinished::parse(line).map(|line| line.name().map(str::to_owned));
        assert_eq!(parsed(" /login bob "), Some(Some("bob".into())));
        assert_eq!(parsed("/register"), Some(None));
        for line in ["/login", "/login bob password", "/register password", "login bob", "", "hi"] {
            assert_eq!(parsed(line), None, "{line}");
        }
        let password = Password::new(b"pass word".to_vec()).unwrap();
        let line = Unfinished::parse("/login bob").unwrap();
        assert_eq!(line.finish(&password), Ok(b"/login bob pass word".to_vec()));
    }

    #[test]
    fn busy_is_known_over_both_protocols() {
        for reason in
            ["busy, try again", "[ERROR] busy, try again", "[ERROR] сервер занят, повторите"]
        {
            assert!(is_busy(reason), "{reason}");
        }
        assert!(!is_busy("login failed"));
    }
}
