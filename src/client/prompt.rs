//! Requests, a line each: typed at a prompt, or from a pipe.

use std::env;
use std::fmt;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use super::connection::Connection;
use super::editor::{Editor, EditorInput};
use super::error::ClientError;
use super::once::{cut, run_once};
use super::options::Endpoint;
use super::output::{Output, sanitize_line};
use super::request::{Request, Verb};
use super::{print, print_error};
use crate::cli::{OneLine, ProtocolName};

const PROMPT: &str = "mynah> ";

/// Reads lines until their end: with a prompt where both sides are a terminal.
pub(super) fn run(endpoint: &Endpoint) -> Result<(), ClientError> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        at_a_terminal(endpoint)
    } else {
        from_a_pipe(endpoint)
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    Ask(Request),
    Help,
    Quit,
}

/// Why a line asks for nothing that can be done.
#[derive(Debug, PartialEq, Eq)]
enum LineError {
    Unknown(String),
    /// It is a command of the program, which takes the whole of it.
    NotHere(&'static str),
    OtherProtocol {
        verb: Verb,
        protocol: ProtocolName,
    },
    NoText(Verb),
    Argument(&'static str),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut f = OneLine(f);
        match self {
            LineError::Unknown(word) => write!(f, "there is no command '{word}', try help"),
            LineError::NotHere(word) => {
                write!(f, "{word} is none of these commands, run mynah-cli {word}")
            }
            LineError::OtherProtocol { verb, protocol } => {
                write!(f, "{verb} goes over {}, not over {protocol}", verb.protocols())
            }
            LineError::NoText(verb) => write!(f, "{verb} needs a TEXT"),
            LineError::Argument(word) => write!(f, "{word} takes nothing behind it"),
        }
    }
}

impl Line {
    /// A word, and behind one blank all that follows is the text, as it is.
    fn parse(line: &[u8], protocol: ProtocolName) -> Result<Line, LineError> {
        let line = line.trim_ascii_start();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let end = line.iter().position(u8::is_ascii_whitespace);
        let (word, text) = match end {
            Some(end) => (&line[..end], Some(&line[end + 1..])),
            None => (line, None),
        };
        let alone = |line, name| match text.is_none_or(|text| text.trim_ascii().is_empty()) {
            true => Ok(line),
            false => Err(LineError::Argument(name)),
        };
        match word {
            b"" => Ok(Line::Nothing),
            b"help" | b"?" => alone(Line::Help, "help"),
            b"quit" | b"exit" => alone(Line::Quit, "quit"),
            b"chat" => Err(LineError::NotHere("chat")),
            b"listen" => Err(LineError::NotHere("listen")),
            _ => {
                let verb = Verb::parse(word).ok_or_else(|| {
                    LineError::Unknown(String::from_utf8_lossy(word).into_owned())
                })?;
                if !verb.is_supported_by(protocol) {
                    return Err(LineError::OtherProtocol { verb, protocol });
                }
                match (verb.takes_text(), text) {
                    (true, Some(text)) => Ok(Line::Ask(Request { verb, text: text.to_vec() })),
                    (true, None) => Err(LineError::NoText(verb)),
                    (false, _) => alone(Line::Ask(Request { verb, text: Vec::new() }), "status"),
                }
            }
        }
    }
}

/// What can be typed over `protocol`.
fn help(protocol: ProtocolName) -> String {
    let own: &[(&str, &str)] = match protocol {
        ProtocolName::Command => &[
            ("echo TEXT", "the server sends TEXT back"),
            ("rev TEXT", "TEXT reversed"),
            ("broadcast TEXT", "to everyone else; the answer is how many they are"),
            ("status", "the server's counters"),
        ],
        _ => &[("send TEXT", "one message and its answer")],
    };
    let all = own.iter().chain(&[("quit", "leave"), ("help", "this list")]);
    let lines: Vec<String> = all.map(|(usage, what)| format!("  {usage:<15} {what}")).collect();
    lines.join("\n")
}

/// A conversation that is opened when it is needed, and again where the last one has ended.
struct Conversation<'a> {
    endpoint: &'a Endpoint,
    connection: Option<Connection>,
    output: Output,
    /// What is done with a broadcast that comes before an answer.
    on_broadcast: fn(&[u8]),
}

impl<'a> Conversation<'a> {
    fn new(endpoint: &'a Endpoint, on_broadcast: fn(&[u8])) -> Self {
        Conversation { endpoint, connection: None, output: Output::stdout(), on_broadcast }
    }

    /// Connects where there is no connection that could be asked.
    fn connect(&mut self) -> Result<&mut Connection, ClientError> {
        let connection = match self.connection.take_if(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => Connection::open(self.endpoint)?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Whether there is a connection and it has ended.
    fn has_ended(&mut self) -> bool {
        self.connection.as_mut().is_some_and(Connection::is_closed)
    }

    fn ask(&mut self, mut request: Request) -> Result<(), ClientError> {
        cut(&mut request, self.endpoint);
        let (output, on_broadcast) = (self.output, self.on_broadcast);
        let answered = run_once(self.connect()?, &request, output, on_broadcast);
        if self.endpoint.protocol == ProtocolName::Raw {
            // It had its end for the end of the message.
            self.connection = None;
        }
        answered
    }

    fn quit(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.quit();
        }
    }
}

/// One command a line, no prompt. A line that fails is reported with its number, and those behind
/// it are done all the same, as long as the server can be reached.
fn from_a_pipe(endpoint: &Endpoint) -> Result<(), ClientError> {
    let mut conversation = Conversation::new(endpoint, |_| {});
    let mut has_failed = false;
    let mut lines = io::stdin().lock();
    for number in 1_u64.. {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line).map_err(|error| ClientError::input(&error))? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let result = match Line::parse(line, endpoint.protocol) {
            Ok(Line::Nothing) => continue,
            Ok(Line::Help) => print(&help(endpoint.protocol)),
            Ok(Line::Quit) => break,
            Ok(Line::Ask(request)) => conversation.ask(request),
            Err(bad) => {
                print_error(format_args!("line {number}: {bad}"));
                has_failed = true;
                continue;
            }
        };
        match result {
            Ok(()) => {}
            Err(error @ (ClientError::OutputClosed | ClientError::Output(_))) => return Err(error),
            Err(error) => {
                print_error(format_args!("line {number}: {error}"));
                has_failed = true;
                if error.is_connect_error() {
                    break;
                }
            }
        }
    }
    conversation.quit();
    if has_failed { Err(ClientError::LinesFailed) } else { Ok(()) }
}

/// A prompt that errors do not end.
fn at_a_terminal(endpoint: &Endpoint) -> Result<(), ClientError> {
    let mut conversation = Conversation::new(endpoint, |broadcast| {
        let text = String::from_utf8_lossy(broadcast);
        let _ = print(&format!("[BROADCAST] {}", sanitize_line(&text)));
    });
    conversation.connect()?;
    let mut editor = Editor::new(history_file())?;
    print(&format!("Connected to {endpoint}. Try help."))?;
    loop {
        let lines = match editor.read(PROMPT)? {
            EditorInput::Line(lines) => lines,
            EditorInput::Interrupt => continue,
            EditorInput::Eof => break,
        };
        if !lines.trim().is_empty() {
            editor.add_history(&lines);
        }
        // What was pasted may be several.
        for line in lines.lines() {
            let result = match Line::parse(line.as_bytes(), endpoint.protocol) {
                Ok(Line::Nothing) => continue,
                Ok(Line::Help) => print(&help(endpoint.protocol)),
                Ok(Line::Quit) => {
                    conversation.quit();
                    return Ok(());
                }
                Ok(Line::Ask(request)) => {
                    if conversation.has_ended() {
                        print_error("the server has closed the connection");
                        reconnect(&mut conversation, &mut editor)?;
                    }
                    conversation.ask(request)
                }
                Err(bad) => {
                    print_error(bad);
                    continue;
                }
            };
            match result {
                Ok(()) => {}
                Err(error @ (ClientError::OutputClosed | ClientError::Output(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    print_error(&error);
                    // An error in the conversation is answered and goes on; what was asked when the
                    // connection ended is not asked again, because the server may have done it.
                    if conversation.has_ended() {
                        reconnect(&mut conversation, &mut editor)?;
                    }
                }
            }
        }
    }
    conversation.quit();
    Ok(())
}

/// Offers to connect again until that succeeds.
fn reconnect(conversation: &mut Conversation<'_>, editor: &mut Editor) -> Result<(), ClientError> {
    loop {
        let question = format!("Reconnect to {}? [Y/n] ", conversation.endpoint);
        match editor.read(&question)? {
            EditorInput::Line(answer) if matches!(answer.trim(), "" | "y" | "Y" | "yes") => {}
            // The reason has been told.
            _ => return Err(ClientError::LinesFailed),
        }
        match conversation.connect() {
            Ok(_) => return print(&format!("Connected to {}.", conversation.endpoint)),
            Err(error) => print_error(&error),
        }
    }
}

/// Where the lines typed at the prompt are kept from one session to the next.
fn history_file() -> Option<PathBuf> {
    let home = PathBuf::from(env::var_os("HOME").filter(|home| !home.is_empty())?);
    Some(home.join(".mynah_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<Line, LineError> {
        Line::parse(line.as_bytes(), ProtocolName::Command)
    }

    fn ask(verb: Verb, text: &str) -> Result<Line, LineError> {
        Ok(Line::Ask(Request { verb, text: text.into() }))
    }

    #[test]
    fn all_behind_one_blank_is_the_text() {
        assert_eq!(command("echo a b"), ask(Verb::Echo, "a b"));
        assert_eq!(command("  rev  a "), ask(Verb::Reverse, " a "));
        assert_eq!(command("echo "), ask(Verb::Echo, ""));
        assert_eq!(command("broadcast\ta"), ask(Verb::Broadcast, "a"));
        assert_eq!(command("echo -"), ask(Verb::Echo, "-"));
        assert_eq!(command("echo a\r"), ask(Verb::Echo, "a"));
        assert_eq!(command("status\r"), ask(Verb::Status, ""));
        let bytes = Request { verb: Verb::Echo, text: b"\xff".to_vec() };
        assert_eq!(Line::parse(b"echo \xff", ProtocolName::Command), Ok(Line::Ask(bytes)));
    }

    #[test]
    fn words_alone() {
        for nothing in ["", "  ", "\r", "\t"] {
            assert_eq!(command(nothing), Ok(Line::Nothing));
        }
        assert_eq!(command("help"), Ok(Line::Help));
        assert_eq!(command("quit "), Ok(Line::Quit));
        assert_eq!(command("exit"), Ok(Line::Quit));
        assert_eq!(command("quit now"), Err(LineError::Argument("quit")));
        assert_eq!(command("status x"), Err(LineError::Argument("status")));
    }

    #[test]
    fn a_bad_line_says_what_is_bad() {
        let reason = |line| command(line).unwrap_err().to_string();
        assert_eq!(reason("ping\u{1b}"), r"there is no command 'ping\u{1b}', try help");
        assert_eq!(reason("echo"), "echo needs a TEXT");
        assert_eq!(reason("chat bob"), "chat is none of these commands, run mynah-cli chat");
        assert_eq!(reason("listen"), "listen is none of these commands, run mynah-cli listen");
        assert_eq!(reason("send x"), "send goes over prefixed or raw, not over command");
        let raw = Line::parse(b"echo x", ProtocolName::Raw).unwrap_err();
        assert_eq!(raw.to_string(), "echo goes over command, not over raw");
    }

    #[test]
    fn help_lists_what_the_protocol_has() {
        for verb in Verb::ALL {
            let word = format!("  {verb} ");
            assert_eq!(help(ProtocolName::Command).contains(&word), verb != Verb::Send);
            assert_eq!(help(ProtocolName::Raw).contains(&word), verb == Verb::Send);
        }
    }
}
