//! The `chat` protocol: its messages and its clients. `protocol_table` tests each row of the
//! message table, `rules` the rest of the protocol, `crowd` full rooms.
mod crowd;
mod protocol_table;
mod rules;

use std::thread;
use std::time::Duration;

use super::support::{Client, Observer, Server};

/// How a client ends its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With `\n`, as nc and mynah-cli do.
    Lines,
    /// With `\r\n`, as telnet does.
    CrLf,
    /// Not at all: it waits for the answer, as the ancestor's client does.
    Unterminated,
}

impl Kind {
    fn end(self) -> &'static [u8] {
        match self {
            Kind::Lines => b"\n",
            Kind::CrLf => b"\r\n",
            Kind::Unterminated => b"",
        }
    }
}

const KINDS: [Kind; 3] = [Kind::Lines, Kind::CrLf, Kind::Unterminated];

/// The language of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lang {
    En,
    Ru,
}

/// An event that the server sends a message about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Welcome,
    LengthWrong,
    Characters,
    NicknameFirst,
    Taken,
    Joined,
    Left,
    Message,
    Who,
    Private,
    PrivateSent,
    NoSuchUser,
    Usage,
    UnknownCommand,
    TooLong,
    NotUtf8,
    Full,
    Stopped,
}

/// The messages in both languages. `*` stands for an argument.
const TABLE: [(Event, &str, &str); 18] = [
    (Event::Welcome, "[INFO] Welcome, *!", "[INFO] Добро пожаловать, *!"),
    (
        Event::LengthWrong,
        "[ERROR] a nickname has 3 to 16 characters",
        "[ERROR] в нике должно быть от 3 до 16 символов",
    ),
    (
        Event::Characters,
        "[ERROR] a nickname has no blanks or control characters",
        "[ERROR] в нике не бывает пробелов и управляющих символов",
    ),
    (Event::NicknameFirst, "[ERROR] choose a nickname first", "[ERROR] сначала выберите ник"),
    (Event::Taken, "[ERROR] * is taken, choose another", "[ERROR] ник * занят, выберите другой"),
    (Event::Joined, "[SERVER] * joined", "[SERVER] * теперь с нами"),
    (Event::Left, "[SERVER] * left", "[SERVER] * ушёл"),
    (Event::Message, "[*]: *", "[*]: *"),
    (Event::Who, "Online: *", "В сети: *"),
    (Event::Private, "[PM] *: *", "[ЛС] *: *"),
    (Event::PrivateSent, "[PM to *]: *", "[ЛС для *]: *"),
    (Event::NoSuchUser, "[ERROR] no such user: *", "[ERROR] нет такого участника: *"),
    (Event::Usage, "[ERROR] usage: /msg USER TEXT", "[ERROR] так: /msg USER TEXT"),
    (
        Event::UnknownCommand,
        "[ERROR] unknown command *, try /help",
        "[ERROR] нет команды *, есть /help",
    ),
    (Event::TooLong, "[ERROR] message over 4096 bytes", "[ERROR] сообщение длиннее 4096 байт"),
    (Event::NotUtf8, "[ERROR] message is not UTF-8", "[ERROR] сообщение не в UTF-8"),
    (Event::Full, "[ERROR] server is full: * clients", "[ERROR] сервер полон: * клиентов"),
    (Event::Stopped, "[INFO] The server has shut down", "[INFO] Сервер отключился"),
];

/// The message of an event with these arguments.
fn line(lang: Lang, event: Event, what: &[&str]) -> String {
    let (_, en, ru) = TABLE.iter().find(|(known, ..)| *known == event).unwrap();
    let pattern = if lang == Lang::En { en } else { ru };
    let mut pieces = pattern.split('*');
    let mut line = pieces.next().unwrap().to_owned();
    for (what, piece) in what.iter().zip(pieces.by_ref()) {
        line.push_str(what);
        line.push_str(piece);
    }
    assert_eq!(pieces.next(), None, "{pattern} is about more than {what:?}");
    line
}

/// Runs `scene` for each language and each kind of client, with a new server each time.
fn for_each_kind(scene: impl Fn(&mut Chat, Kind)) {
    for lang in [Lang::En, Lang::Ru] {
        for kind in KINDS {
            eprintln!("{lang:?} {kind:?}");
            scene(&mut Chat::start(lang), kind);
        }
    }
}

/// A server with a chat, and a client of a `command` listener to read its status.
struct Chat {
    server: Server,
    observer: Observer,
    lang: Lang,
}

impl Chat {
    fn start(lang: Lang) -> Chat {
        Chat::start_with(lang, &[])
    }

    fn start_with(lang: Lang, args: &[&str]) -> Chat {
        let url = match lang {
            Lang::En => "chat://127.0.0.1:0",
            Lang::Ru => "chat://127.0.0.1:0?lang=ru",
        };
        let server = Server::start(&[&["-l", url, "-l", "command://127.0.0.1:0"], args].concat());
        let observer = Observer::new(server.connect_to(1));
        Chat { server, observer, lang }
    }

    /// A client without a nickname.
    fn unregistered(&self, kind: Kind) -> ChatClient {
        ChatClient { client: self.server.connect(), kind, lang: self.lang }
    }

    /// A client with a nickname.
    #[track_caller]
    fn member(&self, kind: Kind, nick: &str) -> ChatClient {
        let mut member = self.unregistered(kind);
        member.register(nick);
        member
    }

    /// Waits three times as long as the pause that ends an unterminated message. A sleep, because
    /// time is the subject: no event can be waited for. The second status is answered after the
    /// turn of the first, in which the timers were checked.
    fn wait_for_pause(&mut self) {
        thread::sleep(Duration::from_millis(150));
        self.observer.status();
        self.observer.status();
    }
}

/// A client of the chat.
struct ChatClient {
    client: Client,
    kind: Kind,
    lang: Lang,
}

impl ChatClient {
    /// Sends a message, ended as its kind does.
    #[track_caller]
    fn say(&mut self, text: &str) {
        self.say_bytes(text.as_bytes());
    }

    #[track_caller]
    fn say_bytes(&mut self, text: &[u8]) {
        self.client.send(&[text, self.kind.end()].concat());
    }

    /// Registers a nickname.
    #[track_caller]
    fn register(&mut self, nick: &str) {
        self.say(nick);
        self.expect(Event::Welcome, &[nick]);
    }

    /// Expects the message of `event` as the next line.
    #[track_caller]
    fn expect(&mut self, event: Event, what: &[&str]) {
        assert_eq!(self.client.read_line(), line(self.lang, event, what));
    }

    /// Expects that no line is left: the answer to a wrong command is the next one.
    #[track_caller]
    fn has_received_all(&mut self) {
        self.say("/msg");
        self.expect(Event::Usage, &[]);
    }
}
