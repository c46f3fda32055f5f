//! Requests, a line each: typed at a prompt, or from a pipe.

use std::env;
use std::fmt;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use super::editor::{Editor, Typed};
use super::exchange::Exchange;
use super::failure::Failure;
use super::once::{converse, cut};
use super::options::Server;
use super::output::{Output, harmless_line};
use super::request::{Request, Verb};
use super::{complain, print};
use crate::cli::{EscapeControl, ProtocolName};

const PROMPT: &str = "mynah> ";

/// Reads lines until their end: with a prompt where both sides are a terminal.
pub(super) fn run(server: &Server) -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        at_a_terminal(server)
    } else {
        from_a_pipe(server)
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
enum BadLine {
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

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut f = EscapeControl(f);
        match self {
            BadLine::Unknown(word) => write!(f, "there is no command '{word}', try help"),
            BadLine::NotHere(word) => {
                write!(f, "{word} is none of these commands, run mynah-cli {word}")
            }
            BadLine::OtherProtocol { verb, protocol } => {
                write!(f, "{verb} goes over {}, not over {protocol}", verb.speaks())
            }
            BadLine::NoText(verb) => write!(f, "{verb} needs a TEXT"),
            BadLine::Argument(word) => write!(f, "{word} takes nothing behind it"),
        }
    }
}

impl Line {
    /// A word, and behind one blank all that follows is the text, as it is.
    fn parse(line: &[u8], protocol: ProtocolName) -> Result<Line, BadLine> {
        let line = line.trim_ascii_start();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let end = line.iter().position(u8::is_ascii_whitespace);
        let (word, text) = match end {
            Some(end) => (&line[..end], Some(&line[end + 1..])),
            None => (line, None),
        };
        let alone = |line, name| match text.is_none_or(|text| text.trim_ascii().is_empty()) {
            true => Ok(line),
            false => Err(BadLine::Argument(name)),
        };
        match word {
            b"" => Ok(Line::Nothing),
            b"help" | b"?" => alone(Line::Help, "help"),
            b"quit" | b"exit" => alone(Line::Quit, "quit"),
            b"chat" => Err(BadLine::NotHere("chat")),
            b"listen" => Err(BadLine::NotHere("listen")),
            _ => {
                let verb = Verb::parse(word)
                    .ok_or_else(|| BadLine::Unknown(String::from_utf8_lossy(word).into_owned()))?;
                if !verb.belongs_to(protocol) {
                    return Err(BadLine::OtherProtocol { verb, protocol });
                }
                match (verb.takes_text(), text) {
                    (true, Some(text)) => Ok(Line::Ask(Request { verb, text: text.to_vec() })),
                    (true, None) => Err(BadLine::NoText(verb)),
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
    server: &'a Server,
    exchange: Option<Exchange>,
    output: Output,
    /// What is done with a broadcast that comes before an answer.
    heard: fn(&[u8]),
}

impl<'a> Conversation<'a> {
    fn new(server: &'a Server, heard: fn(&[u8])) -> Self {
        Conversation { server, exchange: None, output: Output::stdout(), heard }
    }

    /// Connects where there is no connection that could be asked.
    fn connect(&mut self) -> Result<&mut Exchange, Failure> {
        let exchange = match self.exchange.take_if(|exchange| !exchange.is_over()) {
            Some(exchange) => exchange,
            None => Exchange::open(self.server)?,
        };
        Ok(self.exchange.insert(exchange))
    }

    /// Whether there is a connection and it has ended.
    fn has_ended(&mut self) -> bool {
        self.exchange.as_mut().is_some_and(Exchange::is_over)
    }

    fn ask(&mut self, mut request: Request) -> Result<(), Failure> {
        cut(&mut request, self.server);
        let (output, heard) = (self.output, self.heard);
        let answered = converse(self.connect()?, &request, output, heard);
        if self.server.protocol == ProtocolName::Raw {
            // It had its end for the end of the message.
            self.exchange = None;
        }
        answered
    }

    fn quit(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.quit();
        }
    }
}

/// One command a line, no prompt. A line that fails is reported with its number, and those behind
/// it are done all the same, as long as the server can be reached.
fn from_a_pipe(server: &Server) -> Result<(), Failure> {
    let mut conversation = Conversation::new(server, |_| {});
    let mut has_failed = false;
    let mut lines = io::stdin().lock();
    for number in 1_u64.. {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line).map_err(|error| Failure::input(&error))? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let failed = match Line::parse(line, server.protocol) {
            Ok(Line::Nothing) => continue,
            Ok(Line::Help) => print(&help(server.protocol)),
            Ok(Line::Quit) => break,
            Ok(Line::Ask(request)) => conversation.ask(request),
            Err(bad) => {
                complain(format_args!("line {number}: {bad}"));
                has_failed = true;
                continue;
            }
        };
        match failed {
            Ok(()) => {}
            Err(failure @ (Failure::OutputClosed | Failure::Output(_))) => return Err(failure),
            Err(failure) => {
                complain(format_args!("line {number}: {failure}"));
                has_failed = true;
                if failure.is_of_connect() {
                    break;
                }
            }
        }
    }
    conversation.quit();
    if has_failed { Err(Failure::Lines) } else { Ok(()) }
}

/// A prompt that errors do not end.
fn at_a_terminal(server: &Server) -> Result<(), Failure> {
    let mut conversation = Conversation::new(server, |broadcast| {
        let text = String::from_utf8_lossy(broadcast);
        let _ = print(&format!("[BROADCAST] {}", harmless_line(&text)));
    });
    conversation.connect()?;
    let mut editor = Editor::new(history_file())?;
    print(&format!("Connected to {server}. Try help."))?;
    loop {
        let lines = match editor.read(PROMPT)? {
            Typed::Line(lines) => lines,
            Typed::Interrupt => continue,
            Typed::End => break,
        };
        if !lines.trim().is_empty() {
            editor.remember(&lines);
        }
        // What was pasted may be several.
        for line in lines.lines() {
            let failed = match Line::parse(line.as_bytes(), server.protocol) {
                Ok(Line::Nothing) => continue,
                Ok(Line::Help) => print(&help(server.protocol)),
                Ok(Line::Quit) => {
                    conversation.quit();
                    return Ok(());
                }
                Ok(Line::Ask(request)) => {
                    if conversation.has_ended() {
                        complain("the server has closed the connection");
                        reconnect(&mut conversation, &mut editor)?;
                    }
                    conversation.ask(request)
                }
                Err(bad) => {
                    complain(bad);
                    continue;
                }
            };
            match failed {
                Ok(()) => {}
                Err(failure @ (Failure::OutputClosed | Failure::Output(_))) => return Err(failure),
                Err(failure) => {
                    complain(&failure);
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
fn reconnect(conversation: &mut Conversation<'_>, editor: &mut Editor) -> Result<(), Failure> {
    loop {
        let question = format!("Reconnect to {}? [Y/n] ", conversation.server);
        match editor.read(&question)? {
            Typed::Line(answer) if matches!(answer.trim(), "" | "y" | "Y" | "yes") => {}
            // The reason has been told.
            _ => return Err(Failure::Lines),
        }
        match conversation.connect() {
            Ok(_) => return print(&format!("Connected to {}.", conversation.server)),
            Err(failure) => complain(&failure),
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

    fn command(line: &str) -> Result<Line, BadLine> {
        Line::parse(line.as_bytes(), ProtocolName::Command)
    }

    fn ask(verb: Verb, text: &str) -> Result<Line, BadLine> {
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
        assert_eq!(command("quit now"), Err(BadLine::Argument("quit")));
        assert_eq!(command("status x"), Err(BadLine::Argument("status")));
    }

    #[test]
    fn a_bad_line_says_what_is_bad() {
        let why = |line| command(line).unwrap_err().to_string();
        assert_eq!(why("ping\u{1b}"), r"there is no command 'ping\u{1b}', try help");
        assert_eq!(why("echo"), "echo needs a TEXT");
        assert_eq!(why("chat bob"), "chat is none of these commands, run mynah-cli chat");
        assert_eq!(why("listen"), "listen is none of these commands, run mynah-cli listen");
        assert_eq!(why("send x"), "send goes over prefixed or raw, not over command");
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
