//! Lines of a prompt: the words they begin with, and the requests they mean. Opens nothing.

use std::fmt::{self, Write};

use crate::client::request::{Request, Verb};
use crate::escape::EscapeControl;
use crate::protocol::ProtocolName;

/// The meaning of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PromptLine {
    Empty,
    Request(Request),
    Help,
    Quit,
}

/// An error in a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PromptLineError {
    /// The word is not a command.
    UnknownCommand(String),
    /// The word is a command of the command line only: it takes the whole terminal or pipe.
    NotPromptCommand(&'static str),
    /// The command needs another `--protocol`.
    WrongProtocol(Verb),
    /// The command needs a text.
    MissingText(Verb),
    /// The command takes no argument.
    UnexpectedArgument(&'static str),
}

impl fmt::Display for PromptLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            PromptLineError::UnknownCommand(word) => {
                write!(f, "there is no command '{word}', try help")
            }
            PromptLineError::NotPromptCommand(word) => {
                write!(f, "'{word}' is not a prompt command; run `mynah-cli {word}`")
            }
            PromptLineError::WrongProtocol(verb) => {
                write!(f, "{verb} needs --protocol {}", verb.protocols())
            }
            PromptLineError::MissingText(verb) => write!(f, "{verb} needs a TEXT"),
            PromptLineError::UnexpectedArgument(word) => {
                write!(f, "{word} takes nothing behind it")
            }
        }
    }
}

impl std::error::Error for PromptLineError {}

impl PromptLine {
    /// Parses a line without its `\n`: a word, one blank, and the rest as the text, byte for byte.
    pub(super) fn parse(line: &[u8], protocol: ProtocolName) -> Result<Self, PromptLineError> {
        let line = line.trim_ascii_start();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let end = line.iter().position(u8::is_ascii_whitespace);
        let (word, text) = match end {
            Some(end) => (&line[..end], Some(&line[end + 1..])),
            None => (line, None),
        };
        let without_text = |parsed, name| match text.is_none_or(|text| text.trim_ascii().is_empty())
        {
            true => Ok(parsed),
            false => Err(PromptLineError::UnexpectedArgument(name)),
        };
        match word {
            b"" => Ok(PromptLine::Empty),
            b"help" | b"?" => without_text(PromptLine::Help, "help"),
            b"quit" | b"exit" => without_text(PromptLine::Quit, "quit"),
            b"chat" => Err(PromptLineError::NotPromptCommand("chat")),
            b"listen" => Err(PromptLineError::NotPromptCommand("listen")),
            _ => {
                let Some(verb) = Verb::parse(word) else {
                    let word = String::from_utf8_lossy(word).into_owned();
                    return Err(PromptLineError::UnknownCommand(word));
                };
                if !verb.is_supported_by(protocol) {
                    return Err(PromptLineError::WrongProtocol(verb));
                }
                let request = |text| PromptLine::Request(Request { verb, text });
                match (verb.takes_text(), text) {
                    (true, Some(text)) => Ok(request(text.to_vec())),
                    (true, None) => Err(PromptLineError::MissingText(verb)),
                    (false, _) => without_text(request(Vec::new()), verb.name()),
                }
            }
        }
    }
}

/// The commands of a prompt over `protocol`, one a line.
pub(super) fn help(protocol: ProtocolName) -> String {
    let requests: &[(&str, &str)] = match protocol {
        ProtocolName::Command => &[
            ("echo TEXT", "the server sends TEXT back"),
            ("rev TEXT", "TEXT reversed"),
            ("broadcast TEXT", "to everyone else; the answer is how many they are"),
            ("status", "the server's counters"),
        ],
        _ => &[("send TEXT", "one message and its answer")],
    };
    let all = requests.iter().chain(&[("quit", "leave"), ("help", "this list")]);
    let lines: Vec<String> = all.map(|(usage, help)| format!("  {usage:<15} {help}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<PromptLine, PromptLineError> {
        PromptLine::parse(line.as_bytes(), ProtocolName::Command)
    }

    fn ask(verb: Verb, text: &str) -> Result<PromptLine, PromptLineError> {
        Ok(PromptLine::Request(Request { verb, text: text.into() }))
    }

    #[test]
    fn text_is_all_after_the_first_blank() {
        assert_eq!(command("echo a b"), ask(Verb::Echo, "a b"));
        assert_eq!(command("  rev  a "), ask(Verb::Reverse, " a "));
        assert_eq!(command("echo "), ask(Verb::Echo, ""));
        assert_eq!(command("broadcast\ta"), ask(Verb::Broadcast, "a"));
        assert_eq!(command("echo -"), ask(Verb::Echo, "-"));
        assert_eq!(command("echo a\r"), ask(Verb::Echo, "a"));
        assert_eq!(command("status\r"), ask(Verb::Status, ""));
        let bytes = Request { verb: Verb::Echo, text: b"\xff".to_vec() };
        assert_eq!(
            PromptLine::parse(b"echo \xff", ProtocolName::Command),
            Ok(PromptLine::Request(bytes))
        );
    }

    #[test]
    fn quit_help_and_status_take_no_text() {
        for empty in ["", "  ", "\r", "\t"] {
            assert_eq!(command(empty), Ok(PromptLine::Empty));
        }
        assert_eq!(command("help"), Ok(PromptLine::Help));
        assert_eq!(command("quit "), Ok(PromptLine::Quit));
        assert_eq!(command("exit"), Ok(PromptLine::Quit));
        assert_eq!(command("quit now"), Err(PromptLineError::UnexpectedArgument("quit")));
        assert_eq!(command("status x"), Err(PromptLineError::UnexpectedArgument("status")));
    }

    #[test]
    fn error_names_the_culprit() {
        let reason = |line| command(line).unwrap_err().to_string();
        assert_eq!(reason("ping\u{1b}"), r"there is no command 'ping\u{1b}', try help");
        assert_eq!(reason("echo"), "echo needs a TEXT");
        assert_eq!(reason("chat bob"), "'chat' is not a prompt command; run `mynah-cli chat`");
        assert_eq!(reason("listen"), "'listen' is not a prompt command; run `mynah-cli listen`");
        assert_eq!(reason("send x"), "send needs --protocol prefixed or raw");
        let raw = PromptLine::parse(b"echo x", ProtocolName::Raw).unwrap_err();
        assert_eq!(raw.to_string(), "echo needs --protocol command");
    }

    #[test]
    fn help_lists_the_commands_of_the_protocol() {
        for verb in Verb::ALL {
            let word = format!("  {verb} ");
            assert_eq!(help(ProtocolName::Command).contains(&word), verb != Verb::Send);
            assert_eq!(help(ProtocolName::Raw).contains(&word), verb == Verb::Send);
        }
    }
}
