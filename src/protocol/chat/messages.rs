//! Everything the server says in a chat, in each language it speaks.

use std::fmt;

use super::nickname;
use crate::codec::line::LINE_LEN_MAX;
use crate::escape::SingleLine;

/// The languages of `lang=`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Russian: two of the lines are those the ancestor's clients look for.
    Ru,
}

/// One thing to say. Displayed with [`in_lang`](Message::in_lang), without the end of the line.
///
/// Text of clients is shown through [`SingleLine`], so that it stays on its line.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    /// A nickname is accepted.
    Welcome(&'a str),
    /// A nickname is too short or too long.
    NicknameLength,
    /// A nickname has blanks or characters that cannot be seen.
    NicknameCharacters,
    /// A command comes before the nickname.
    NicknameFirst,
    /// Somebody has the nickname, or the server keeps it for itself.
    Taken(&'a str),
    /// Somebody came.
    Joined(&'a str),
    /// Somebody went.
    Left(&'a str),
    /// Somebody says something to everyone.
    Post {
        /// Who.
        from: &'a str,
        /// What.
        text: &'a str,
    },
    /// Who is here, sorted.
    Online {
        /// Who is named.
        nicks: &'a [&'a str],
        /// How many others there are.
        more: usize,
    },
    /// Somebody says something to one.
    Private {
        /// Who.
        from: &'a str,
        /// What.
        text: &'a str,
    },
    /// The same, for who said it.
    PrivateSent {
        /// To whom.
        to: &'a str,
        /// What.
        text: &'a str,
    },
    /// A private message for somebody who is not here.
    NoSuchUser(&'a str),
    /// How `/msg` is used.
    MsgUsage,
    /// The commands, one a line.
    Help,
    /// A command there is not, with its slash.
    UnknownCommand(&'a str),
    /// A message was too long.
    TooLong,
    /// A message was not UTF-8.
    NotUtf8,
    /// There is no room: so many are the most there can be.
    Full(usize),
    /// The server stops.
    ShutDown,
}

impl<'a> Message<'a> {
    /// The message in a language.
    #[must_use]
    pub const fn in_lang(self, lang: Lang) -> Localized<'a> {
        Localized { message: self, lang }
    }
}

/// Displays [`Message`] in a language.
#[derive(Debug, Clone, Copy)]
pub struct Localized<'a> {
    message: Message<'a>,
    lang: Lang,
}

impl fmt::Display for Localized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Lang::{En, Ru};
        const MIN: usize = nickname::CHARS_MIN;
        const MAX: usize = nickname::CHARS_MAX;
        match (self.message, self.lang) {
            (Message::Welcome(nick), En) => write!(f, "[INFO] Welcome, {nick}!"),
            (Message::Welcome(nick), Ru) => write!(f, "[INFO] Добро пожаловать, {nick}!"),
            (Message::NicknameLength, En) => {
                write!(f, "[ERROR] a nickname has {MIN} to {MAX} characters")
            }
            (Message::NicknameLength, Ru) => {
                write!(f, "[ERROR] в нике должно быть от {MIN} до {MAX} символов")
            }
            (Message::NicknameCharacters, En) => {
                f.write_str("[ERROR] a nickname has no blanks or control characters")
            }
            (Message::NicknameCharacters, Ru) => {
                f.write_str("[ERROR] в нике не бывает пробелов и управляющих символов")
            }
            (Message::NicknameFirst, En) => f.write_str("[ERROR] choose a nickname first"),
            (Message::NicknameFirst, Ru) => f.write_str("[ERROR] сначала выберите ник"),
            (Message::Taken(nick), En) => write!(f, "[ERROR] {nick} is taken, choose another"),
            (Message::Taken(nick), Ru) => write!(f, "[ERROR] ник {nick} занят, выберите другой"),
            (Message::Joined(nick), En) => write!(f, "[SERVER] {nick} joined"),
            (Message::Joined(nick), Ru) => write!(f, "[SERVER] {nick} теперь с нами"),
            (Message::Left(nick), En) => write!(f, "[SERVER] {nick} left"),
            (Message::Left(nick), Ru) => write!(f, "[SERVER] {nick} ушёл"),
            (Message::Post { from, text }, _) => write!(f, "[{from}]: {}", SingleLine(text)),
            (Message::Online { nicks, more }, En) => {
                list(f, "Online: ", nicks)?;
                if more > 0 { write!(f, ", … and {more} more") } else { Ok(()) }
            }
            (Message::Online { nicks, more }, Ru) => {
                list(f, "В сети: ", nicks)?;
                if more > 0 { write!(f, ", … и ещё {more}") } else { Ok(()) }
            }
            (Message::Private { from, text }, En) => write!(f, "[PM] {from}: {}", SingleLine(text)),
            (Message::Private { from, text }, Ru) => write!(f, "[ЛС] {from}: {}", SingleLine(text)),
            (Message::PrivateSent { to, text }, En) => {
                write!(f, "[PM to {to}]: {}", SingleLine(text))
            }
            (Message::PrivateSent { to, text }, Ru) => {
                write!(f, "[ЛС для {to}]: {}", SingleLine(text))
            }
            (Message::NoSuchUser(name), En) => {
                write!(f, "[ERROR] no such user: {}", SingleLine(name))
            }
            (Message::NoSuchUser(name), Ru) => {
                write!(f, "[ERROR] нет такого участника: {}", SingleLine(name))
            }
            (Message::MsgUsage, En) => f.write_str("[ERROR] usage: /msg USER TEXT"),
            (Message::MsgUsage, Ru) => f.write_str("[ERROR] так: /msg USER TEXT"),
            (Message::Help, En) => f.write_str(
                "/who - who is here\n\
                 /msg USER TEXT - say something to USER alone\n\
                 /help - this list\n\
                 /exit, /quit - leave",
            ),
            (Message::Help, Ru) => f.write_str(
                "/who - кто в сети\n\
                 /msg USER TEXT - личное сообщение для USER\n\
                 /help - этот список\n\
                 /exit, /quit - выйти",
            ),
            (Message::UnknownCommand(command), En) => {
                write!(f, "[ERROR] unknown command {}, try /help", SingleLine(command))
            }
            (Message::UnknownCommand(command), Ru) => {
                write!(f, "[ERROR] нет команды {}, есть /help", SingleLine(command))
            }
            (Message::TooLong, En) => write!(f, "[ERROR] message over {LINE_LEN_MAX} bytes"),
            (Message::TooLong, Ru) => write!(f, "[ERROR] сообщение длиннее {LINE_LEN_MAX} байт"),
            (Message::NotUtf8, En) => f.write_str("[ERROR] message is not UTF-8"),
            (Message::NotUtf8, Ru) => f.write_str("[ERROR] сообщение не в UTF-8"),
            (Message::Full(max), En) => write!(f, "[ERROR] server is full: {max} clients"),
            (Message::Full(max), Ru) => write!(f, "[ERROR] сервер полон: {max} клиентов"),
            (Message::ShutDown, En) => f.write_str("[INFO] The server has shut down"),
            (Message::ShutDown, Ru) => f.write_str("[INFO] Сервер отключился"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, heading: &str, nicks: &[&str]) -> fmt::Result {
    f.write_str(heading)?;
    for (at, nick) in nicks.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(f, "{comma}{nick}")?;
    }
    Ok(())
}
