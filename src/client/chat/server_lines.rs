//! Lines of a chat server: reading them, and telling their kinds apart. Knows nothing of who prints
//! them.

use std::io::{self, ErrorKind, Read};
use std::time::Duration;

use crate::client::endpoint::Endpoint;
use crate::client::error::ClientError;
use crate::client::server_guess::{Excerpt, ServerGuess};
use crate::client::stream::Stream;
use crate::client::timeout::is_timeout;
use crate::codec::Decoder;
use crate::codec::line::{Line, LinesUpTo};
use crate::protocol::ProtocolName;
use crate::protocol::chat::{Lang, Message};

/// Longest line of a server, in bytes. The reply to `/who` is the longest, with every nickname on
/// one line.
const LINE_LEN_MAX: usize = 1 << 20;

const READ_LEN: usize = 1 << 14;

/// The question for a nickname. The server says nothing before it has one, so its language is not
/// known yet.
pub(super) const FIRST_QUESTION: &str = "Nickname: ";

/// Reads a server's lines.
#[derive(Debug)]
pub(super) struct LineReader {
    stream: Stream,
    decoder: LinesUpTo<LINE_LEN_MAX>,
    /// Bytes received and not yet returned.
    input: Vec<u8>,
    is_eof: bool,
    /// No nickname is accepted yet, so the server may not be a chat.
    is_joining: bool,
}

impl LineReader {
    pub(super) fn new(stream: Stream) -> Self {
        let (decoder, input) = (LinesUpTo::default(), Vec::new());
        LineReader { stream, decoder, input, is_eof: false, is_joining: true }
    }

    /// A nickname is accepted: the server is a chat.
    pub(super) fn set_joined(&mut self) {
        self.is_joining = false;
    }

    /// Reads the next line and returns it without its `\n` or `\r\n`; `None` at the end of file. A
    /// remark takes the place of a line over [`LINE_LEN_MAX`].
    ///
    /// # Errors
    ///
    /// Those of read(2), the timeout of the socket included; after it the call may be repeated.
    pub(super) fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let skipped = self.decoder.discard(&self.input);
            self.input.drain(..skipped);
            let Ok(found) = self.decoder.decode(&self.input);
            if let Some((line, len)) = found {
                let line = line_text(line);
                self.input.drain(..len);
                return Ok(Some(line));
            }
            if self.is_eof {
                let last = self.decoder.decode_eof(&self.input).map(line_text);
                self.input.clear();
                return Ok(last);
            }
            self.fill_input()?;
            if self.is_joining && is_foreign(&self.input) && !self.input.contains(&b'\n') {
                // Its line may never end.
                return Ok(Some(std::mem::take(&mut self.input)));
            }
        }
    }

    /// Reads the next line, no byte of which may be later than `timeout` after the one before it.
    pub(super) fn read_line_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, ClientError> {
        self.stream.set_read_timeout(timeout);
        let line = self.read_line();
        self.stream.set_read_timeout(None);
        match line {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(ClientError::Disconnected),
            Err(error) if is_timeout(&error) => {
                Err(ClientError::Timeout(timeout.unwrap_or_default()))
            }
            Err(error) => Err(ClientError::socket(&error)),
        }
    }

    fn fill_input(&mut self) -> io::Result<()> {
        let old_len = self.input.len();
        self.input.resize(old_len + READ_LEN, 0);
        let read = (&self.stream).read(&mut self.input[old_len..]);
        self.input.truncate(old_len + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => self.is_eof = true,
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }
}

fn line_text(line: Line<'_>) -> Vec<u8> {
    match line {
        Line::Text(text) => text.to_vec(),
        Line::TooLong => format!("[…] (a line over {LINE_LEN_MAX} bytes)").into_bytes(),
    }
}

/// The kinds of a server's lines that a client must tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// The server stops.
    ShutDown,
    /// `[ERROR]`: a request is refused; before the welcome, the nickname.
    Refusal,
    /// `[INFO]`: before the welcome, the welcome.
    Info,
    /// A member's message. Before the welcome it means that the server does not speak `chat`.
    Other,
}

impl LineKind {
    /// The kind of `line`.
    ///
    /// A member cannot send the first three: the server puts `[NICKNAME]: ` before each message, and
    /// ERROR and INFO are reserved nicknames.
    pub(super) fn of(line: &[u8]) -> Self {
        let is_shutdown = |lang| line == Message::ShutDown.in_lang(lang).to_string().as_bytes();
        if is_shutdown(Lang::En) || is_shutdown(Lang::Ru) {
            LineKind::ShutDown
        } else if line.starts_with(b"[ERROR]") {
            LineKind::Refusal
        } else if line.starts_with(b"[INFO]") {
            LineKind::Info
        } else {
            LineKind::Other
        }
    }
}

/// True if `reply` is that of a server which is not a chat.
fn is_foreign(reply: &[u8]) -> bool {
    let chat = ServerGuess::Mynah(ProtocolName::Chat);
    ServerGuess::from_text(reply).is_some_and(|guess| guess != chat)
}

/// The error of a reply to a nickname that is neither a welcome nor a refusal.
pub(super) fn unexpected_greeting(line: &[u8], endpoint: &Endpoint) -> ClientError {
    let reason = format!("{} is not a chat welcome", Excerpt(line));
    let guess = ServerGuess::from_exchange(line, b"").filter(|_| is_foreign(line));
    let hint = guess.map_or(String::new(), |guess| format!("; {}", guess.hint(endpoint)));
    ClientError::UnexpectedReply(reason + &hint)
}

/// True if `reply` is that of a chat which does not know `/login`.
pub(super) fn is_unknown_login(reply: &[u8]) -> bool {
    let unknown = [Message::NicknameFirst, Message::UnknownCommand("/login")];
    let is_it = |lang, message: &Message<'_>| reply == message.in_lang(lang).to_string().as_bytes();
    unknown.iter().any(|message| is_it(Lang::En, message) || is_it(Lang::Ru, message))
}

/// The question for another nickname after the refusal `reply` to `nick`, in the server's language.
pub(super) fn next_question(reply: &[u8], nick: &[u8]) -> &'static str {
    let nick = String::from_utf8_lossy(nick);
    let refusals = [
        Message::Taken(nick.trim()),
        Message::NicknameLength,
        Message::NicknameCharacters,
        Message::NicknameFirst,
        Message::NotUtf8,
    ];
    let is_russian =
        |message: &Message<'_>| reply == message.in_lang(Lang::Ru).to_string().as_bytes();
    if refusals.iter().any(is_russian) { "Ник: " } else { FIRST_QUESTION }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    /// Reads the lines of a server that sends `bytes` and closes.
    fn lines(bytes: Vec<u8>) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap().into();
        let server = thread::spawn(move || listener.accept().unwrap().0.write_all(&bytes));
        let mut reader = LineReader::new(Stream::Plain(stream));
        let mut found = Vec::new();
        while let Some(line) = reader.read_line().unwrap() {
            found.push(String::from_utf8(line).unwrap());
        }
        server.join().unwrap().unwrap();
        found
    }

    #[test]
    fn question_is_in_the_language_of_the_refusal() {
        for (refusal, question) in [
            ("[ERROR] ник bob занят, выберите другой", "Ник: "),
            ("[ERROR] в нике должно быть от 3 до 16 символов", "Ник: "),
            ("[ERROR] bob is taken, choose another", FIRST_QUESTION),
            ("[ERROR] ник is taken, choose another", FIRST_QUESTION),
        ] {
            assert_eq!(next_question(refusal.as_bytes(), b" bob "), question, "{refusal}");
        }
    }

    #[test]
    fn line_ends_with_newline_or_end_of_file() {
        assert_eq!(lines(b"a\r\n\nb".to_vec()), ["a", "", "b"]);
        assert_eq!(lines(b"a\n".to_vec()), ["a"]);
        assert!(lines(Vec::new()).is_empty());
    }

    #[test]
    fn who_reply_of_20000_members_is_one_line() {
        let everyone = format!("Online: {}", ["somebody"; 20_000].join(", "));
        assert_eq!(lines(format!("{everyone}\nnext\n").into_bytes()), [&everyone, "next"]);
    }

    #[test]
    fn endless_line_is_replaced_by_a_remark() {
        let endless = [&vec![b'x'; 3 << 20][..], b"\nnext\n"].concat();
        let remark = format!("[…] (a line over {LINE_LEN_MAX} bytes)");
        assert_eq!(lines(endless), [&remark, "next"]);
    }

    #[test]
    fn line_kind_is_known_in_both_languages() {
        for lang in [Lang::En, Lang::Ru] {
            let kind =
                |message: Message<'_>| LineKind::of(message.in_lang(lang).to_string().as_bytes());
            assert_eq!(kind(Message::ShutDown), LineKind::ShutDown);
            assert_eq!(kind(Message::Taken("ann")), LineKind::Refusal);
            assert_eq!(kind(Message::NicknameLength), LineKind::Refusal);
            assert_eq!(kind(Message::NicknameCharacters), LineKind::Refusal);
            assert_eq!(kind(Message::Full(9)), LineKind::Refusal);
            assert_eq!(kind(Message::Welcome("ann")), LineKind::Info);
            let text = "[INFO] The server has shut down";
            assert_eq!(kind(Message::Post { from: "eve", text }), LineKind::Other);
        }
        assert_eq!(LineKind::of("[INFO] Сервер отключился".as_bytes()), LineKind::ShutDown);
    }
}
