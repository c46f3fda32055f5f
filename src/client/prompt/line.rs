//! Lines of a prompt: the words they begin with, and the requests they mean. Opens nothing.

use std::fmt::{self, Write};

use crate::cli::suggest::DidYouMean;
use crate::client::account::Attempt;
use crate::client::request::{Request, Verb, command_over, nearest_command};
use crate::escape::EscapeControl;
use crate::protocol::ProtocolName;

/// The meaning of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PromptLine {
    Empty,
    Request(Request),
    /// `login` or `register`; without a password it is asked for.
    Account {
        attempt: Attempt,
        name: String,
        password: Option<Vec<u8>>,
    },
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
    WrongProtocol { verb: Verb, protocol: ProtocolName },
    /// The command needs the name of an account.
    MissingName(String),
    /// The command needs a text.
    MissingText(Verb),
    /// `call` needs the code of a command.
    InvalidCode(String),
    /// The command takes no argument.
    UnexpectedArgument { command: String, argument: String },
}

impl fmt::Display for PromptLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            PromptLineError::UnknownCommand(word) => match nearest_command(word, COMMANDS) {
                None => write!(f, "there is no command '{word}', try help"),
                nearest => write!(f, "there is no command '{word}'{}", DidYouMean(nearest)),
            },
            PromptLineError::NotPromptCommand(word) => {
                write!(f, "'{word}' is not a prompt command; run `mynah-cli {word}`")
            }
            PromptLineError::WrongProtocol { verb, protocol } => {
                let protocols = verb.protocols();
                write!(
                    f,
                    "{verb} needs --protocol {protocols}; over {protocol} use {}",
                    command_over(*protocol)
                )
            }
            PromptLineError::MissingName(command) => write!(f, "{command} needs a NAME"),
            PromptLineError::MissingText(verb) => write!(f, "{verb} needs a TEXT"),
            PromptLineError::InvalidCode(code) => {
                write!(f, "call needs a command code from 0 to 255, not '{code}'")
            }
            PromptLineError::UnexpectedArgument { command, argument } => {
                write!(f, "{command} takes no argument, so '{argument}' cannot follow it")
            }
        }
    }
}

impl std::error::Error for PromptLineError {}

const HAS_ACCOUNTS: bool = cfg!(feature = "accounts");

/// The commands of a prompt over `command`, for completion and for suggestions.
const COMMANDS: &[&str] = &[
    "echo",
    "rev",
    "broadcast",
    "status",
    "call",
    #[cfg(feature = "accounts")]
    "login",
    #[cfg(feature = "accounts")]
    "register",
    "quit",
    "help",
    "listen",
];

/// The commands that Tab completes over `protocol`; one that takes a text ends with a blank.
pub(super) const fn completions(protocol: ProtocolName) -> &'static [&'static str] {
    match protocol {
        ProtocolName::Command => &[
            "broadcast ",
            "call ",
            "echo ",
            "exit",
            "help",
            #[cfg(feature = "accounts")]
            "login ",
            "quit",
            #[cfg(feature = "accounts")]
            "register ",
            "rev ",
            "status",
        ],
        _ => &["exit", "help", "quit", "send "],
    }
}

impl PromptLine {
    /// Parses a line without its `\n`.
    ///
    /// Over `command` it is a word, one blank, and the rest as the text, byte for byte. The other
    /// protocols have one kind of request, so there a line is a message, as it is with netcat, unless
    /// it is a command of the prompt itself or begins with `send`, after which it may be any text.
    pub(super) fn parse(line: &[u8], protocol: ProtocolName) -> Result<Self, PromptLineError> {
        let message = line.strip_suffix(b"\r").unwrap_or(line);
        let (word, text) = split_word(message.trim_ascii_start());
        let word = String::from_utf8_lossy(word);
        if protocol != ProtocolName::Command && !is_own_command(&word, text) {
            let text = message.to_vec();
            return Ok(PromptLine::Request(Request { verb: Verb::Send, text }));
        }
        match &*word.to_ascii_lowercase() {
            "" => Ok(PromptLine::Empty),
            "help" | "?" => without_text(PromptLine::Help, &word, text),
            "quit" | "exit" => without_text(PromptLine::Quit, &word, text),
            "chat" => Err(PromptLineError::NotPromptCommand("chat")),
            "listen" => Err(PromptLineError::NotPromptCommand("listen")),
            "call" => parse_call(text),
            "login" if HAS_ACCOUNTS => parse_account(Attempt::Login, &word, text),
            "register" if HAS_ACCOUNTS => parse_account(Attempt::Register, &word, text),
            _ => {
                let verb = Verb::parse(&word);
                let verb = verb.ok_or_else(|| PromptLineError::UnknownCommand(word.to_string()))?;
                if !verb.is_supported_by(protocol) {
                    return Err(PromptLineError::WrongProtocol { verb, protocol });
                }
                let request = |text| PromptLine::Request(Request { verb, text });
                match (verb.takes_text(), text) {
                    (true, Some(text)) => Ok(request(text.to_vec())),
                    (true, None) => Err(PromptLineError::MissingText(verb)),
                    (false, _) => without_text(request(Vec::new()), &word, text),
                }
            }
        }
    }
}

/// Where the password begins in a line that logs in or registers: behind the name. A misspelt
/// command counts as well.
pub(super) fn password_at(line: &str) -> Option<usize> {
    let start = line.len() - line.trim_start().len();
    let (word, arguments) = split_word(&line.as_bytes()[start..]);
    let word = str::from_utf8(word).ok()?;
    let is_account =
        |word: &str| ["login", "register"].iter().any(|command| word.eq_ignore_ascii_case(command));
    let is_other = Verb::parse(word).is_some() || word.eq_ignore_ascii_case("call");
    if is_other || !is_account(word) && !nearest_command(word, COMMANDS).is_some_and(is_account) {
        return None;
    }
    let arguments = arguments?.trim_ascii_start();
    let (_, password) = split_word(arguments);
    password.map(|password| line.len() - password.len())
}

/// True if a line is one of `login` or `register`, which the history does not keep.
pub(super) fn is_private(line: &str) -> bool {
    let word = line.trim_start().split(char::is_whitespace).next().unwrap_or_default();
    ["login", "register"].iter().any(|command| word.eq_ignore_ascii_case(command))
        || password_at(line).is_some()
}

/// Splits a line at its first blank, which belongs to neither part.
fn split_word(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match line.iter().position(u8::is_ascii_whitespace) {
        Some(end) => (&line[..end], Some(&line[end + 1..])),
        None => (line, None),
    }
}

/// True if a line over a protocol without commands is not a message. In lower case alone, and `quit`,
/// `exit` and `help` without a text: prose may begin with `Send` or `help`.
fn is_own_command(word: &str, text: Option<&[u8]>) -> bool {
    match word {
        "send" => true,
        "" | "quit" | "exit" | "help" | "?" => text.is_none_or(|text| text.trim_ascii().is_empty()),
        _ => false,
    }
}

fn without_text(
    line: PromptLine,
    word: &str,
    text: Option<&[u8]>,
) -> Result<PromptLine, PromptLineError> {
    match text.map(<[u8]>::trim_ascii).filter(|text| !text.is_empty()) {
        None => Ok(line),
        Some(text) => Err(PromptLineError::UnexpectedArgument {
            command: word.to_owned(),
            argument: String::from_utf8_lossy(text).into_owned(),
        }),
    }
}

/// Parses what follows `call`: a code, one blank, the text, which may be missing.
fn parse_call(arguments: Option<&[u8]>) -> Result<PromptLine, PromptLineError> {
    let (code, text) = split_word(arguments.unwrap_or_default().trim_ascii_start());
    let code = String::from_utf8_lossy(code);
    let verb = Verb::parse_call(&code);
    let verb = verb.ok_or_else(|| PromptLineError::InvalidCode(code.into_owned()))?;
    Ok(PromptLine::Request(Request { verb, text: text.unwrap_or_default().to_vec() }))
}

/// Parses what follows `login` or `register`: a name, and behind one blank the password, byte for
/// byte.
fn parse_account(
    attempt: Attempt,
    command: &str,
    arguments: Option<&[u8]>,
) -> Result<PromptLine, PromptLineError> {
    let (name, password) = split_word(arguments.unwrap_or_default().trim_ascii_start());
    if name.is_empty() {
        return Err(PromptLineError::MissingName(command.to_owned()));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    let password = password.filter(|password| !password.is_empty()).map(<[u8]>::to_vec);
    Ok(PromptLine::Account { attempt, name, password })
}

/// The commands of a prompt over `protocol`, one a line.
pub(super) fn help(protocol: ProtocolName) -> String {
    let requests: &[(&str, &str)] = match protocol {
        ProtocolName::Command => &[
            ("echo TEXT", "the server sends TEXT back"),
            ("rev TEXT", "TEXT reversed"),
            ("broadcast TEXT", "to everyone else; the answer is how many they are"),
            ("status", "the server's counters"),
            ("call CODE TEXT", "any command by its code; 128 to 254 go to plugins"),
            #[cfg(feature = "accounts")]
            ("login NAME", "log in; the password is asked for"),
            #[cfg(feature = "accounts")]
            ("register NAME", "add an account and log in"),
        ],
        _ => &[
            ("TEXT", "one message and its answer"),
            ("send TEXT", "the same, for a TEXT that is one of these commands"),
        ],
    };
    let all = requests.iter().chain(&[("quit, exit", "leave"), ("help", "this list")]);
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
        for (line, reason) in [
            ("exit now", "exit takes no argument, so 'now' cannot follow it"),
            ("quit  now ", "quit takes no argument, so 'now' cannot follow it"),
            ("status x", "status takes no argument, so 'x' cannot follow it"),
        ] {
            assert_eq!(command(line).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn commands_are_case_insensitive() {
        assert_eq!(command("ECHO Hi"), ask(Verb::Echo, "Hi"));
        assert_eq!(command("reverse ab"), ask(Verb::Reverse, "ab"));
        assert_eq!(command("Status"), ask(Verb::Status, ""));
        assert_eq!(command("QUIT"), Ok(PromptLine::Quit));
        assert_eq!(command("Help"), Ok(PromptLine::Help));
    }

    #[test]
    fn call_takes_a_code_and_a_text() {
        assert_eq!(command("call 128 1 + 2"), ask(Verb::Call(128), "1 + 2"));
        assert_eq!(command("CALL 7"), ask(Verb::Call(7), ""));
        let reason = |line| command(line).unwrap_err().to_string();
        assert_eq!(reason("call"), "call needs a command code from 0 to 255, not ''");
        assert_eq!(reason("call 256 x"), "call needs a command code from 0 to 255, not '256'");
    }

    #[cfg(feature = "accounts")]
    #[test]
    fn login_takes_a_name_and_perhaps_a_password() {
        let account = |attempt, name: &str, password: Option<&str>| {
            let password = password.map(|password| password.as_bytes().to_vec());
            Ok(PromptLine::Account { attempt, name: name.to_owned(), password })
        };
        assert_eq!(command("login bob"), account(Attempt::Login, "bob", None));
        assert_eq!(command("login bob "), account(Attempt::Login, "bob", None));
        assert_eq!(command("LOGIN bob a b "), account(Attempt::Login, "bob", Some("a b ")));
        assert_eq!(command("register  bob x"), account(Attempt::Register, "bob", Some("x")));
        assert_eq!(command("login").unwrap_err().to_string(), "login needs a NAME");
        let raw = PromptLine::parse(b"login bob", ProtocolName::Raw);
        assert_eq!(raw, ask(Verb::Send, "login bob"));
    }

    #[cfg(feature = "accounts")]
    #[test]
    fn password_in_a_line_is_found() {
        for (line, at) in [
            ("login bob secret", Some(10)),
            ("  Register\tbob secret words", Some(15)),
            ("logn bob secret", Some(9)),
            ("login bob", None),
            ("login ", None),
            ("echo login bob secret", None),
            ("rev a b", None),
            ("", None),
        ] {
            assert_eq!(password_at(line), at, "{line}");
        }
        assert!(is_private("login bob") && is_private(" logn bob secret"));
        assert!(!is_private("echo login bob secret") && !is_private("log"));
    }

    #[test]
    fn line_without_commands_is_a_message() {
        let raw = |line: &str| PromptLine::parse(line.as_bytes(), ProtocolName::Raw);
        for text in ["hello", "echo x", "  two  blanks ", "Send it", "help me", "quit now", "QUIT"]
        {
            assert_eq!(raw(text), ask(Verb::Send, text));
        }
        assert_eq!(raw("hello\r"), ask(Verb::Send, "hello"));
        assert_eq!(raw("send quit"), ask(Verb::Send, "quit"));
        assert_eq!(raw("send "), ask(Verb::Send, ""));
        assert_eq!(raw("quit"), Ok(PromptLine::Quit));
        assert_eq!(raw("help "), Ok(PromptLine::Help));
        assert_eq!(raw("  "), Ok(PromptLine::Empty));
        assert_eq!(raw("send"), Err(PromptLineError::MissingText(Verb::Send)));
    }

    #[test]
    fn error_names_the_culprit() {
        let reason = |line| command(line).unwrap_err().to_string();
        assert_eq!(reason("zzzz\u{1b}"), r"there is no command 'zzzz\u{1b}', try help");
        assert_eq!(reason("ping"), "there is no command 'ping', did you mean echo?");
        assert_eq!(reason("satus"), "there is no command 'satus', did you mean status?");
        assert_eq!(reason("echo"), "echo needs a TEXT");
        assert_eq!(reason("chat bob"), "'chat' is not a prompt command; run `mynah-cli chat`");
        assert_eq!(reason("listen"), "'listen' is not a prompt command; run `mynah-cli listen`");
        let send = "send needs --protocol prefixed, raw or plugin; over command use echo";
        assert_eq!(reason("send x"), send);
    }

    #[test]
    fn help_and_completions_are_those_of_the_protocol() {
        for verb in Verb::ALL {
            let word = format!("  {verb} ");
            let completion =
                |protocol| completions(protocol).iter().any(|word| word.trim_end() == verb.name());
            for (protocol, has_it) in [
                (ProtocolName::Command, verb != Verb::Send),
                (ProtocolName::Raw, verb == Verb::Send),
            ] {
                assert_eq!(help(protocol).contains(&word), has_it);
                assert_eq!(completion(protocol), has_it);
            }
        }
    }
}
