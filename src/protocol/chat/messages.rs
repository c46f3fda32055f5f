//! All chat texts, one function per language.

use std::fmt;

use crate::codec::line::LINE_LEN_MAX;
use crate::escape::SingleLine;
use crate::protocol::lang::Lang;
use crate::protocol::nickname::{CHARS_MAX, CHARS_MIN};

/// A message of the server. Displayed with [`in_lang`](Message::in_lang), without the line's end.
///
/// Text of clients is displayed as a [`SingleLine`], so that it cannot forge another message;
/// nicknames are [`Nickname`](crate::protocol::nickname::Nickname)s, which have no such characters.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    /// The nickname is accepted.
    Welcome(&'a str),
    /// The nickname is too short or too long.
    NicknameLength,
    /// The nickname has an invisible character, `[`, `]` or `:`, or begins with a combining mark.
    NicknameCharacters,
    /// A command came before the nickname.
    NicknameFirst,
    /// Another member has the nickname, or the server reserves it.
    Taken(&'a str),
    /// A member joined.
    Joined(&'a str),
    /// A member left.
    Left(&'a str),
    /// More members than are named have left together, as their node is gone where that is named.
    #[cfg(feature = "cluster")]
    LeftTogether {
        /// How many.
        count: usize,
        /// The name of their node.
        node: Option<&'a str>,
    },
    /// More members than are named are there again.
    #[cfg(feature = "cluster")]
    JoinedTogether {
        /// How many.
        count: usize,
    },
    /// Messages of members on other nodes have been missed: so many, where that is known.
    #[cfg(feature = "cluster")]
    Missed(Option<u64>),
    /// A member's message to all others.
    Post {
        /// The sender's nickname.
        from: &'a str,
        /// The text as the sender typed it.
        text: &'a str,
    },
    /// The members, sorted.
    Online {
        /// The nicknames that are listed.
        nicks: &'a [&'a str],
        /// How many members are not listed.
        more: usize,
    },
    /// A private message, for its recipient.
    Private {
        /// The sender's nickname.
        from: &'a str,
        /// The text as the sender typed it.
        text: &'a str,
    },
    /// A private message, confirmed to its sender.
    PrivateSent {
        /// The recipient's nickname.
        to: &'a str,
        /// The text as the sender typed it.
        text: &'a str,
    },
    /// The recipient of a private message is not a member. The name as the sender typed it.
    NoSuchUser(&'a str),
    /// The usage of `/msg`.
    MsgUsage,
    /// The commands, one a line.
    Help,
    /// The commands about accounts, one a line.
    #[cfg(feature = "accounts")]
    LoginHelp,
    /// A member has a nickname already, so it is too late to log in.
    #[cfg(feature = "accounts")]
    LoginTooLate,
    /// An unknown command, as the client typed it, with its slash.
    UnknownCommand(&'a str),
    /// A message was longer than [`LINE_LEN_MAX`].
    TooLong,
    /// A message was not UTF-8.
    NotUtf8,
    /// The server is at its connection limit, given here.
    Full(usize),
    /// The client's address, given here, has as many connections as it may.
    #[cfg(feature = "admission")]
    TooManyConnections(std::net::IpAddr),
    /// The server stops.
    ShutDown,
}

impl<'a> Message<'a> {
    /// The message in a language.
    #[must_use]
    pub const fn in_lang(self, lang: Lang) -> Localized<'a> {
        Localized { message: self, lang }
    }

    fn fmt_en(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Welcome(nick) => write!(f, "[INFO] Welcome, {nick}!"),
            Message::NicknameLength => {
                write!(f, "[ERROR] a nickname has {CHARS_MIN} to {CHARS_MAX} characters")
            }
            Message::NicknameCharacters => {
                f.write_str("[ERROR] a nickname has no blanks or control characters")
            }
            Message::NicknameFirst => f.write_str("[ERROR] choose a nickname first"),
            Message::Taken(nick) => write!(f, "[ERROR] {nick} is taken, choose another"),
            Message::Joined(nick) => write!(f, "[SERVER] {nick} joined"),
            Message::Left(nick) => write!(f, "[SERVER] {nick} left"),
            #[cfg(feature = "cluster")]
            Message::LeftTogether { count, node: Some(node) } => {
                write!(f, "[SERVER] {count} left (node {} is gone)", SingleLine(node))
            }
            #[cfg(feature = "cluster")]
            Message::LeftTogether { count, node: None } => write!(f, "[SERVER] {count} left"),
            #[cfg(feature = "cluster")]
            Message::JoinedTogether { count } => write!(f, "[SERVER] {count} joined"),
            #[cfg(feature = "cluster")]
            Message::Missed(Some(count)) => {
                write!(f, "[INFO] {count} messages may have been missed")
            }
            #[cfg(feature = "cluster")]
            Message::Missed(None) => f.write_str("[INFO] messages may have been missed"),
            Message::Post { from, text } => write!(f, "[{from}]: {}", SingleLine(text)),
            Message::Online { nicks, more: 0 } => write!(f, "Online: {}", List(nicks)),
            Message::Online { nicks, more } => {
                write!(f, "Online: {}, … and {more} more", List(nicks))
            }
            Message::Private { from, text } => write!(f, "[PM] {from}: {}", SingleLine(text)),
            Message::PrivateSent { to, text } => write!(f, "[PM to {to}]: {}", SingleLine(text)),
            Message::NoSuchUser(name) => write!(f, "[ERROR] no such user: {}", SingleLine(name)),
            Message::MsgUsage => f.write_str("[ERROR] usage: /msg USER TEXT"),
            Message::Help => f.write_str(
                "/who - who is here\n\
                 /msg USER TEXT - say something to USER alone\n\
                 /help - this list\n\
                 /exit, /quit - leave",
            ),
            #[cfg(feature = "accounts")]
            Message::LoginHelp => f.write_str(
                "/login NICK PASSWORD - come in under a registered nickname\n\
                 /register PASSWORD - register the nickname you have",
            ),
            #[cfg(feature = "accounts")]
            Message::LoginTooLate => {
                f.write_str("[ERROR] you have a nickname already, /login comes before it")
            }
            Message::UnknownCommand(command) => {
                write!(f, "[ERROR] unknown command {}, try /help", SingleLine(command))
            }
            Message::TooLong => write!(f, "[ERROR] message over {LINE_LEN_MAX} bytes"),
            Message::NotUtf8 => f.write_str("[ERROR] message is not UTF-8"),
            Message::Full(max) => write!(f, "[ERROR] server is full: {max} clients"),
            #[cfg(feature = "admission")]
            Message::TooManyConnections(address) => {
                write!(f, "[ERROR] too many connections from {address}")
            }
            Message::ShutDown => f.write_str("[INFO] The server has shut down"),
        }
    }

    fn fmt_ru(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Welcome(nick) => write!(f, "[INFO] Добро пожаловать, {nick}!"),
            Message::NicknameLength => {
                write!(f, "[ERROR] в нике должно быть от {CHARS_MIN} до {CHARS_MAX} символов")
            }
            Message::NicknameCharacters => {
                f.write_str("[ERROR] в нике не бывает пробелов и управляющих символов")
            }
            Message::NicknameFirst => f.write_str("[ERROR] сначала выберите ник"),
            Message::Taken(nick) => write!(f, "[ERROR] ник {nick} занят, выберите другой"),
            Message::Joined(nick) => write!(f, "[SERVER] {nick} теперь с нами"),
            Message::Left(nick) => write!(f, "[SERVER] {nick} ушёл"),
            #[cfg(feature = "cluster")]
            Message::LeftTogether { count, node: Some(node) } => {
                write!(f, "[SERVER] ушли: {count} (узла {} больше нет)", SingleLine(node))
            }
            #[cfg(feature = "cluster")]
            Message::LeftTogether { count, node: None } => write!(f, "[SERVER] ушли: {count}"),
            #[cfg(feature = "cluster")]
            Message::JoinedTogether { count } => write!(f, "[SERVER] теперь с нами: {count}"),
            #[cfg(feature = "cluster")]
            Message::Missed(Some(count)) => {
                write!(f, "[INFO] возможно, пропущено сообщений: {count}")
            }
            #[cfg(feature = "cluster")]
            Message::Missed(None) => f.write_str("[INFO] возможно, пропущены сообщения"),
            Message::Post { from, text } => write!(f, "[{from}]: {}", SingleLine(text)),
            Message::Online { nicks, more: 0 } => write!(f, "В сети: {}", List(nicks)),
            Message::Online { nicks, more } => {
                write!(f, "В сети: {}, … и ещё {more}", List(nicks))
            }
            Message::Private { from, text } => write!(f, "[ЛС] {from}: {}", SingleLine(text)),
            Message::PrivateSent { to, text } => write!(f, "[ЛС для {to}]: {}", SingleLine(text)),
            Message::NoSuchUser(name) => {
                write!(f, "[ERROR] нет такого участника: {}", SingleLine(name))
            }
            Message::MsgUsage => f.write_str("[ERROR] так: /msg USER TEXT"),
            Message::Help => f.write_str(
                "/who - кто в сети\n\
                 /msg USER TEXT - личное сообщение для USER\n\
                 /help - этот список\n\
                 /exit, /quit - выйти",
            ),
            #[cfg(feature = "accounts")]
            Message::LoginHelp => f.write_str(
                "/login НИК ПАРОЛЬ - войти под зарегистрированным ником\n\
                 /register ПАРОЛЬ - зарегистрировать свой ник",
            ),
            #[cfg(feature = "accounts")]
            Message::LoginTooLate => {
                f.write_str("[ERROR] ник уже выбран, /login бывает только до этого")
            }
            Message::UnknownCommand(command) => {
                write!(f, "[ERROR] нет команды {}, есть /help", SingleLine(command))
            }
            Message::TooLong => write!(f, "[ERROR] сообщение длиннее {LINE_LEN_MAX} байт"),
            Message::NotUtf8 => f.write_str("[ERROR] сообщение не в UTF-8"),
            Message::Full(max) => write!(f, "[ERROR] сервер полон: {max} клиентов"),
            #[cfg(feature = "admission")]
            Message::TooManyConnections(address) => {
                write!(f, "[ERROR] слишком много подключений с адреса {address}")
            }
            Message::ShutDown => f.write_str("[INFO] Сервер отключился"),
        }
    }
}

/// Displays a [`Message`] in a language.
#[derive(Debug, Clone, Copy)]
pub struct Localized<'a> {
    message: Message<'a>,
    lang: Lang,
}

impl fmt::Display for Localized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lang {
            Lang::En => self.message.fmt_en(f),
            Lang::Ru => self.message.fmt_ru(f),
        }
    }
}

/// Displays nicknames separated by commas.
struct List<'a>(&'a [&'a str]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, nick) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{nick}")?;
        }
        Ok(())
    }
}
