//! Everything the server says in a chat, in each language it speaks.

use std::fmt;

use super::super::excerpt::Shown;
use super::nickname;
use crate::codec::line::LINE_LEN_MAX;

/// The languages of `lang=`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Russian: two of the lines are those the ancestor's clients look for.
    Ru,
}

/// One thing to say. Displayed with [`in_lang`](Words::in_lang), without the end of the line.
///
/// Text of clients is shown through [`Shown`], so that it stays on its line.
#[derive(Debug, Clone, Copy)]
pub enum Words<'a> {
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
    Message {
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

impl<'a> Words<'a> {
    /// The words in a language.
    #[must_use]
    pub const fn in_lang(self, lang: Lang) -> Spoken<'a> {
        Spoken { words: self, lang }
    }
}

/// Displays [`Words`] in a language.
#[derive(Debug, Clone, Copy)]
pub struct Spoken<'a> {
    words: Words<'a>,
    lang: Lang,
}

impl fmt::Display for Spoken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Lang::{En, Ru};
        const MIN: usize = nickname::CHARS_MIN;
        const MAX: usize = nickname::CHARS_MAX;
        match (self.words, self.lang) {
            (Words::Welcome(nick), En) => write!(f, "[INFO] Welcome, {nick}!"),
            (Words::Welcome(nick), Ru) => write!(f, "[INFO] Добро пожаловать, {nick}!"),
            (Words::NicknameLength, En) => {
                write!(f, "[ERROR] a nickname has {MIN} to {MAX} characters")
            }
            (Words::NicknameLength, Ru) => {
                write!(f, "[ERROR] в нике должно быть от {MIN} до {MAX} символов")
            }
            (Words::NicknameCharacters, En) => {
                f.write_str("[ERROR] a nickname has no blanks or control characters")
            }
            (Words::NicknameCharacters, Ru) => {
                f.write_str("[ERROR] в нике не бывает пробелов и управляющих символов")
            }
            (Words::NicknameFirst, En) => f.write_str("[ERROR] choose a nickname first"),
            (Words::NicknameFirst, Ru) => f.write_str("[ERROR] сначала выберите ник"),
            (Words::Taken(nick), En) => write!(f, "[ERROR] {nick} is taken, choose another"),
            (Words::Taken(nick), Ru) => write!(f, "[ERROR] ник {nick} занят, выберите другой"),
            (Words::Joined(nick), En) => write!(f, "[SERVER] {nick} joined"),
            (Words::Joined(nick), Ru) => write!(f, "[SERVER] {nick} теперь с нами"),
            (Words::Left(nick), En) => write!(f, "[SERVER] {nick} left"),
            (Words::Left(nick), Ru) => write!(f, "[SERVER] {nick} ушёл"),
            (Words::Message { from, text }, _) => write!(f, "[{from}]: {}", Shown(text)),
            (Words::Online { nicks, more }, En) => {
                list(f, "Online: ", nicks)?;
                if more > 0 { write!(f, ", … and {more} more") } else { Ok(()) }
            }
            (Words::Online { nicks, more }, Ru) => {
                list(f, "В сети: ", nicks)?;
                if more > 0 { write!(f, ", … и ещё {more}") } else { Ok(()) }
            }
            (Words::Private { from, text }, En) => write!(f, "[PM] {from}: {}", Shown(text)),
            (Words::Private { from, text }, Ru) => write!(f, "[ЛС] {from}: {}", Shown(text)),
            (Words::PrivateSent { to, text }, En) => write!(f, "[PM to {to}]: {}", Shown(text)),
            (Words::PrivateSent { to, text }, Ru) => write!(f, "[ЛС для {to}]: {}", Shown(text)),
            (Words::NoSuchUser(name), En) => write!(f, "[ERROR] no such user: {}", Shown(name)),
            (Words::NoSuchUser(name), Ru) => {
                write!(f, "[ERROR] нет такого участника: {}", Shown(name))
            }
            (Words::MsgUsage, En) => f.write_str("[ERROR] usage: /msg USER TEXT"),
            (Words::MsgUsage, Ru) => f.write_str("[ERROR] так: /msg USER TEXT"),
            (Words::Help, En) => f.write_str(
                "/who - who is here\n\
                 /msg USER TEXT - say something to USER alone\n\
                 /help - this list\n\
                 /exit, /quit - leave",
            ),
            (Words::Help, Ru) => f.write_str(
                "/who - кто в сети\n\
                 /msg USER TEXT - личное сообщение для USER\n\
                 /help - этот список\n\
                 /exit, /quit - выйти",
            ),
            (Words::UnknownCommand(command), En) => {
                write!(f, "[ERROR] unknown command {}, try /help", Shown(command))
            }
            (Words::UnknownCommand(command), Ru) => {
                write!(f, "[ERROR] нет команды {}, есть /help", Shown(command))
            }
            (Words::TooLong, En) => write!(f, "[ERROR] message over {LINE_LEN_MAX} bytes"),
            (Words::TooLong, Ru) => write!(f, "[ERROR] сообщение длиннее {LINE_LEN_MAX} байт"),
            (Words::NotUtf8, En) => f.write_str("[ERROR] message is not UTF-8"),
            (Words::NotUtf8, Ru) => f.write_str("[ERROR] сообщение не в UTF-8"),
            (Words::Full(max), En) => write!(f, "[ERROR] server is full: {max} clients"),
            (Words::Full(max), Ru) => write!(f, "[ERROR] сервер полон: {max} клиентов"),
            (Words::ShutDown, En) => f.write_str("[INFO] The server has shut down"),
            (Words::ShutDown, Ru) => f.write_str("[INFO] Сервер отключился"),
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
