//! All texts about accounts: refusals and notices, on `command` and, in two languages, in the chat.

use std::fmt;

use super::attempt::Attempt;
use super::password::{PASSWORD_LEN_MAX, PASSWORD_LEN_MIN};
use crate::protocol::lang::Lang;
use crate::protocol::nickname::{CHARS_MAX, CHARS_MIN};

/// Why an attempt is refused. `Display` is the payload of an ERROR frame; [`chat`](Refusal::chat)
/// a chat line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// There is no such account, or the password is wrong: one text for both.
    LoginFailed,
    /// The payload is not `NAME` NUL `PASSWORD`; in the chat, words are missing.
    NeedsNameAndPassword(Attempt),
    /// The name is too short or too long.
    NameLength,
    /// The name has a character that no name has.
    NameCharacters,
    /// The password is too short or too long.
    PasswordLength,
    /// The connection is logged in, under this name.
    AlreadyLoggedIn(&'a str),
    /// An account has this name or one that looks like it.
    Taken(&'a str),
    /// Clients may not register, or there are as many accounts as there may be.
    RegistrationClosed,
    /// The account could not be written. The reason is for the log.
    RegistrationFailed,
    /// The address has failed too often.
    TooManyAttempts {
        /// Seconds until it may try again.
        secs: u64,
    },
    /// The queue is full, or the address has an attempt in it.
    Busy,
    /// With `auth=required`: the client is not logged in. In the chat, the room needs an account.
    LoginRequired,
}

/// Notices to a client besides refusals. The texts of `command` are those of
/// [`Welcome`](Notice::Welcome); the others are the chat's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The client is logged in. The chat has a message of its own for it.
    Welcome(&'a str),
    /// The member's nickname is an account now.
    Registered(&'a str),
    /// The nickname is an account's: it is only had by logging in.
    IsRegistered(&'a str),
    /// Another connection has logged in to the account.
    LoggedInElsewhere(&'a str),
}

impl<'a> Refusal<'a> {
    /// The refusal as a line of the chat, without the line's end.
    #[must_use]
    pub fn chat(self, lang: Lang) -> impl fmt::Display + use<'a> {
        ChatRefusal(self, lang)
    }

    fn fmt_ru(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::LoginFailed => f.write_str("неверный ник или пароль"),
            Refusal::NeedsNameAndPassword(Attempt::Login) => f.write_str("так: /login НИК ПАРОЛЬ"),
            Refusal::NeedsNameAndPassword(Attempt::Register) => {
                f.write_str("так: /register ПАРОЛЬ")
            }
            Refusal::NameLength => {
                write!(f, "в нике должно быть от {CHARS_MIN} до {CHARS_MAX} символов")
            }
            Refusal::NameCharacters => {
                f.write_str("в нике не бывает пробелов и управляющих символов")
            }
            Refusal::PasswordLength => {
                let (min, max) = (PASSWORD_LEN_MIN, PASSWORD_LEN_MAX);
                write!(f, "в пароле должно быть от {min} до {max} байт")
            }
            Refusal::AlreadyLoggedIn(name) => write!(f, "вы уже вошли как {name}"),
            Refusal::Taken(name) => write!(f, "ник {name} занят"),
            Refusal::RegistrationClosed => f.write_str("регистрация закрыта"),
            Refusal::RegistrationFailed => f.write_str("зарегистрировать не удалось"),
            Refusal::TooManyAttempts { secs } => {
                write!(f, "слишком много попыток, повторите через {secs} с")
            }
            Refusal::Busy => f.write_str("сервер занят, повторите"),
            Refusal::LoginRequired => {
                f.write_str("в эту комнату пускают по паролю: /login НИК ПАРОЛЬ")
            }
        }
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::LoginFailed => f.write_str("login failed"),
            Refusal::NeedsNameAndPassword(Attempt::Login) => {
                f.write_str("LOGIN needs NAME NUL PASSWORD")
            }
            Refusal::NeedsNameAndPassword(Attempt::Register) => {
                f.write_str("REGISTER needs NAME NUL PASSWORD")
            }
            Refusal::NameLength => write!(f, "a name has {CHARS_MIN} to {CHARS_MAX} characters"),
            Refusal::NameCharacters => f.write_str("a name has no blanks or control characters"),
            Refusal::PasswordLength => {
                write!(f, "a password has {PASSWORD_LEN_MIN} to {PASSWORD_LEN_MAX} bytes")
            }
            Refusal::AlreadyLoggedIn(name) => write!(f, "already logged in as {name}"),
            Refusal::Taken(name) => write!(f, "{name} is taken"),
            Refusal::RegistrationClosed => f.write_str("registration is closed"),
            Refusal::RegistrationFailed => f.write_str("registration failed"),
            Refusal::TooManyAttempts { secs } => {
                write!(f, "too many attempts, try again in {secs} s")
            }
            Refusal::Busy => f.write_str("busy, try again"),
            Refusal::LoginRequired => f.write_str("login required"),
        }
    }
}

struct ChatRefusal<'a>(Refusal<'a>, Lang);

impl fmt::Display for ChatRefusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[ERROR] ")?;
        match (self.1, self.0) {
            (Lang::Ru, refusal) => refusal.fmt_ru(f),
            (Lang::En, Refusal::NeedsNameAndPassword(Attempt::Login)) => {
                f.write_str("usage: /login NICK PASSWORD")
            }
            (Lang::En, Refusal::NeedsNameAndPassword(Attempt::Register)) => {
                f.write_str("usage: /register PASSWORD")
            }
            (Lang::En, Refusal::NameLength) => {
                write!(f, "a nickname has {CHARS_MIN} to {CHARS_MAX} characters")
            }
            (Lang::En, Refusal::NameCharacters) => {
                f.write_str("a nickname has no blanks or control characters")
            }
            (Lang::En, Refusal::LoginRequired) => {
                f.write_str("this room needs an account: /login NICK PASSWORD")
            }
            (Lang::En, refusal) => write!(f, "{refusal}"),
        }
    }
}

impl<'a> Notice<'a> {
    /// The notice as a line of the chat, without the line's end.
    #[must_use]
    pub fn chat(self, lang: Lang) -> impl fmt::Display + use<'a> {
        ChatNotice(self, lang)
    }
}

/// The payload of the reply on `command`.
impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Notice::Welcome(name) | Notice::Registered(name) => write!(f, "welcome {name}"),
            Notice::IsRegistered(name) => write!(f, "{name} is taken"),
            Notice::LoggedInElsewhere(name) => write!(f, "{name} logged in elsewhere"),
        }
    }
}

struct ChatNotice<'a>(Notice<'a>, Lang);

impl fmt::Display for ChatNotice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Notice::Welcome(nick), Lang::En) => write!(f, "[INFO] Welcome, {nick}!"),
            (Notice::Welcome(nick), Lang::Ru) => write!(f, "[INFO] Добро пожаловать, {nick}!"),
            (Notice::Registered(nick), Lang::En) => write!(f, "[INFO] {nick} is registered"),
            (Notice::Registered(nick), Lang::Ru) => {
                write!(f, "[INFO] ник {nick} зарегистрирован")
            }
            (Notice::IsRegistered(nick), Lang::En) => {
                write!(f, "[ERROR] {nick} is registered: /login {nick} PASSWORD")
            }
            (Notice::IsRegistered(nick), Lang::Ru) => {
                write!(f, "[ERROR] ник {nick} зарегистрирован: /login {nick} ПАРОЛЬ")
            }
            (Notice::LoggedInElsewhere(nick), Lang::En) => {
                write!(f, "[INFO] {nick} logged in elsewhere")
            }
            (Notice::LoggedInElsewhere(nick), Lang::Ru) => {
                write!(f, "[INFO] вход под ником {nick} с другого подключения")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_has_one_text_for_each_protocol() {
        for (refusal, command, en, ru) in [
            (Refusal::LoginFailed, "login failed", "login failed", "неверный ник или пароль"),
            (
                Refusal::NeedsNameAndPassword(Attempt::Login),
                "LOGIN needs NAME NUL PASSWORD",
                "usage: /login NICK PASSWORD",
                "так: /login НИК ПАРОЛЬ",
            ),
            (
                Refusal::NeedsNameAndPassword(Attempt::Register),
                "REGISTER needs NAME NUL PASSWORD",
                "usage: /register PASSWORD",
                "так: /register ПАРОЛЬ",
            ),
            (
                Refusal::NameLength,
                "a name has 3 to 16 characters",
                "a nickname has 3 to 16 characters",
                "в нике должно быть от 3 до 16 символов",
            ),
            (
                Refusal::NameCharacters,
                "a name has no blanks or control characters",
                "a nickname has no blanks or control characters",
                "в нике не бывает пробелов и управляющих символов",
            ),
            (
                Refusal::PasswordLength,
                "a password has 8 to 128 bytes",
                "a password has 8 to 128 bytes",
                "в пароле должно быть от 8 до 128 байт",
            ),
            (
                Refusal::AlreadyLoggedIn("bob"),
                "already logged in as bob",
                "already logged in as bob",
                "вы уже вошли как bob",
            ),
            (Refusal::Taken("bob"), "bob is taken", "bob is taken", "ник bob занят"),
            (
                Refusal::RegistrationClosed,
                "registration is closed",
                "registration is closed",
                "регистрация закрыта",
            ),
            (
                Refusal::RegistrationFailed,
                "registration failed",
                "registration failed",
                "зарегистрировать не удалось",
            ),
            (
                Refusal::TooManyAttempts { secs: 8 },
                "too many attempts, try again in 8 s",
                "too many attempts, try again in 8 s",
                "слишком много попыток, повторите через 8 с",
            ),
            (Refusal::Busy, "busy, try again", "busy, try again", "сервер занят, повторите"),
            (
                Refusal::LoginRequired,
                "login required",
                "this room needs an account: /login NICK PASSWORD",
                "в эту комнату пускают по паролю: /login НИК ПАРОЛЬ",
            ),
        ] {
            assert_eq!(refusal.to_string(), command);
            assert_eq!(refusal.chat(Lang::En).to_string(), format!("[ERROR] {en}"));
            assert_eq!(refusal.chat(Lang::Ru).to_string(), format!("[ERROR] {ru}"));
        }
    }

    #[test]
    fn notice_has_one_text_for_each_protocol() {
        assert_eq!(Notice::Welcome("bob").to_string(), "welcome bob");
        assert_eq!(Notice::Registered("bob").to_string(), "welcome bob");
        for (notice, en, ru) in [
            (Notice::Welcome("bob"), "[INFO] Welcome, bob!", "[INFO] Добро пожаловать, bob!"),
            (
                Notice::Registered("bob"),
                "[INFO] bob is registered",
                "[INFO] ник bob зарегистрирован",
            ),
            (
                Notice::IsRegistered("bob"),
                "[ERROR] bob is registered: /login bob PASSWORD",
                "[ERROR] ник bob зарегистрирован: /login bob ПАРОЛЬ",
            ),
            (
                Notice::LoggedInElsewhere("bob"),
                "[INFO] bob logged in elsewhere",
                "[INFO] вход под ником bob с другого подключения",
            ),
        ] {
            assert_eq!(notice.chat(Lang::En).to_string(), en);
            assert_eq!(notice.chat(Lang::Ru).to_string(), ru);
        }
    }
}
