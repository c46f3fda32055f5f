//! The command line of `mynah-cli`: the endpoint and what to do there. Opens nothing but the file of
//! `--config`.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use getopts::{Matches, Options, ParsingStyle};

use super::endpoint::Endpoint;
use super::request::{Request, Verb};
use crate::cli::{IniError, ListenerError, ListenerSpec, ServerAddress};
use crate::escape::EscapeControl;
use crate::limits::TIMEOUT_SECS_LIMIT;
use crate::protocol::ProtocolName;

/// The default of `--timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Shortest `--timeout` above 0: a shorter one could round to zero, which std refuses.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

const BRIEF: &str = "\
Usage: mynah-cli [OPTION…] [COMMAND [TEXT]]

Commands, over the protocol that is theirs:
    echo TEXT           print TEXT as the server sends it back
    rev TEXT            print TEXT reversed
    broadcast TEXT      send TEXT to everyone else, print how many they are
    status              print the server's counters
    listen              print broadcasts as they come
    send TEXT           one message over --protocol prefixed or raw
    chat [NICK]         the chat window
    (none)              a prompt, or one command a line from a pipe

A TEXT of - is standard input.";

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    /// `--help`, with the text to print.
    Help(String),
    Version,
    Run {
        endpoint: Endpoint,
        action: Action,
    },
}

/// An action of the client at its endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send one request, print its reply.
    Request(Request),
    /// The same, with standard input as the text.
    RequestFromStdin(Verb),
    /// Print broadcasts.
    Listen,
    /// Chat, under this nickname if there is one.
    Chat(Option<String>),
    /// One request a line.
    Prompt,
}

/// An error in the command line or in the file of `--config`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UsageError {
    /// An option is unknown or lacks its value; the text of getopts.
    Options(String),
    /// `--protocol` is not the name of a protocol of the client.
    UnknownProtocol(String),
    /// `--host` or `--port` is invalid.
    Address { option: &'static str, source: ListenerError },
    /// The port is 0, which only a listener may have.
    PortZero,
    /// `--timeout` is not a number of seconds.
    Timeout(String),
    /// The file of `--config` is invalid.
    File(IniError),
    /// The first word is not a command.
    UnknownCommand(String),
    /// The command needs a text.
    MissingText(Verb),
    /// The command takes fewer arguments.
    UnexpectedArgument { command: String, argument: String, hint: &'static str },
    /// The command needs another `--protocol`, one of `protocols`.
    WrongProtocol { command: String, protocols: &'static str },
    /// The nickname is not one line of UTF-8.
    Nickname,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            UsageError::Options(reason) => f.write_str(reason),
            UsageError::UnknownProtocol(name) => {
                write!(f, "--protocol: '{name}' is not command, prefixed, raw or chat")
            }
            UsageError::Address { option, source } => write!(f, "--{option}: {source}"),
            UsageError::PortZero => f.write_str("nothing listens on port 0"),
            UsageError::Timeout(value) => {
                write!(
                    f,
                    "--timeout: '{value}' is not a number of seconds up to {TIMEOUT_SECS_LIMIT}"
                )
            }
            UsageError::File(source) => write!(f, "{source}"),
            UsageError::UnknownCommand(name) => write!(f, "there is no command '{name}'"),
            UsageError::MissingText(verb) => write!(f, "{verb} needs a TEXT"),
            UsageError::UnexpectedArgument { command, argument, hint } => {
                write!(f, "{command}: unexpected argument '{argument}'; {hint}")
            }
            UsageError::WrongProtocol { command, protocols } => {
                write!(f, "{command} needs --protocol {protocols}")
            }
            UsageError::Nickname => f.write_str("the nickname is not one line of UTF-8"),
        }
    }
}

impl std::error::Error for UsageError {}

impl Invocation {
    /// Parses the arguments after the program's name, and reads the file of `--config`.
    pub(super) fn from_args(args: &[OsString]) -> Result<Self, UsageError> {
        let options = options();
        // getopts takes UTF-8 only, and a TEXT may be any bytes. The words after the options are the
        // last arguments, so they are taken from `args`, unchanged.
        let lossy: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let matches =
            options.parse(&lossy).map_err(|error| UsageError::Options(error.to_string()))?;
        if matches.opt_present("help") {
            return Ok(Invocation::Help(options.usage(BRIEF)));
        }
        if matches.opt_present("version") {
            return Ok(Invocation::Version);
        }
        let words: Vec<&OsStr> =
            args[args.len() - matches.free.len()..].iter().map(OsString::as_os_str).collect();
        if words == ["help"] {
            return Ok(Invocation::Help(options.usage(BRIEF)));
        }
        let requested = match matches.opt_str("protocol") {
            Some(name) => {
                let protocol =
                    ProtocolName::parse(&name).filter(|protocol| protocol.as_str() != "plugin");
                Some(protocol.ok_or(UsageError::UnknownProtocol(name))?)
            }
            None => None,
        };
        let (protocol, action) = parse_words(&words, requested)?;
        Ok(Invocation::Run { endpoint: endpoint(protocol, &matches)?, action })
    }
}

fn options() -> Options {
    let mut options = Options::new();
    // A TEXT may begin with a dash.
    options.parsing_style(ParsingStyle::StopAtFirstFree);
    options.optopt("H", "host", "the server's address or name (default 127.0.0.1)", "HOST");
    options.optopt("p", "port", "its port (default 65432, 8080, 9999, 5000 by protocol)", "PORT");
    options.optopt("", "protocol", "command, prefixed, raw or chat (default command)", "NAME");
    options.optopt("", "config", "take host and port from [server] in an INI file", "FILE");
    let timeout = "longest to wait for a connection, and for an answer (default 30, 0 = for ever)";
    options.optopt("", "timeout", timeout, "SECS");
    options.optflag("h", "help", "print this");
    options.optflag("V", "version", "print the version");
    options
}

/// The endpoint: each part from its option, else from the file of `--config`, else the protocol's
/// default.
fn endpoint(protocol: ProtocolName, matches: &Matches) -> Result<Endpoint, UsageError> {
    let mut spec = ListenerSpec::new(protocol);
    if let Some(file) = matches.opt_str("config") {
        let address = ServerAddress::read(Path::new(&file)).map_err(UsageError::File)?;
        spec.host = address.host.unwrap_or(spec.host);
        spec.port = address.port.unwrap_or(spec.port);
    }
    for option in ["host", "port"] {
        if let Some(value) = matches.opt_str(option) {
            spec.set(option, &value).map_err(|source| UsageError::Address { option, source })?;
        }
    }
    if spec.port == 0 {
        return Err(UsageError::PortZero);
    }
    let timeout = match matches.opt_str("timeout") {
        Some(value) => parse_timeout(&value).ok_or(UsageError::Timeout(value))?,
        None => Some(TIMEOUT),
    };
    Ok(Endpoint { protocol, host: spec.host, port: spec.port, timeout })
}

/// Parses a decimal number of seconds; `Some(None)` is 0, no limit.
fn parse_timeout(value: &str) -> Option<Option<Duration>> {
    if !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let secs: f64 = value.parse().ok()?;
    if secs > TIMEOUT_SECS_LIMIT as f64 {
        return None;
    }
    Some((secs > 0.0).then(|| Duration::from_secs_f64(secs).max(TIMEOUT_MIN)))
}

/// Parses the words after the options into an action and its protocol, which is `requested` or the
/// action's own.
fn parse_words(
    words: &[&OsStr],
    requested: Option<ProtocolName>,
) -> Result<(ProtocolName, Action), UsageError> {
    use ProtocolName::{Chat, Command};
    let Some((name, arguments)) = words.split_first() else {
        return Ok(match requested {
            Some(Chat) => (Chat, Action::Chat(None)),
            protocol => (protocol.unwrap_or(Command), Action::Prompt),
        });
    };
    let name = name.to_string_lossy();
    let only_over = |protocol: ProtocolName, protocols| match requested {
        Some(requested) if requested != protocol => {
            let command = name.clone().into_owned();
            Err(UsageError::WrongProtocol { command, protocols })
        }
        _ => Ok(protocol),
    };
    match (&*name, arguments) {
        ("listen", []) => Ok((only_over(Command, "command")?, Action::Listen)),
        ("listen", [argument, ..]) => Err(unexpected_argument(&name, argument, "it takes none")),
        ("chat", []) => Ok((only_over(Chat, "chat")?, Action::Chat(None))),
        ("chat", [nick]) => {
            // Whatever follows a line end would be sent as a message.
            let nick = nick.to_str().filter(|nick| !nick.contains('\n'));
            let nick = nick.ok_or(UsageError::Nickname)?;
            Ok((only_over(Chat, "chat")?, Action::Chat(Some(nick.to_owned()))))
        }
        ("chat", [_, argument, ..]) => {
            Err(unexpected_argument(&name, argument, "a nickname is one word"))
        }
        _ => {
            let Some(verb) = Verb::parse(name.as_bytes()) else {
                return Err(UsageError::UnknownCommand(name.into_owned()));
            };
            let protocol = requested.unwrap_or(Command);
            if !verb.is_supported_by(protocol) {
                let (command, protocols) = (name.into_owned(), verb.protocols());
                return Err(UsageError::WrongProtocol { command, protocols });
            }
            Ok((protocol, parse_request(verb, arguments)?))
        }
    }
}

/// Parses the arguments of a request.
fn parse_request(verb: Verb, arguments: &[&OsStr]) -> Result<Action, UsageError> {
    match (verb.takes_text(), arguments) {
        (true, []) => Err(UsageError::MissingText(verb)),
        (true, [text]) if text.as_bytes() == b"-" => Ok(Action::RequestFromStdin(verb)),
        (true, [text]) => Ok(Action::Request(Request { verb, text: text.as_bytes().to_vec() })),
        (false, []) => Ok(Action::Request(Request { verb, text: Vec::new() })),
        (true, [_, argument, ..]) => {
            let hint = "options go before the command, and TEXT in quotes";
            Err(unexpected_argument(verb.name(), argument, hint))
        }
        (false, [argument, ..]) => {
            let hint = "it takes none, and options go before the command";
            Err(unexpected_argument(verb.name(), argument, hint))
        }
    }
}

fn unexpected_argument(command: &str, argument: &OsStr, hint: &'static str) -> UsageError {
    UsageError::UnexpectedArgument {
        command: command.to_owned(),
        argument: argument.to_string_lossy().into_owned(),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(args: &[&str]) -> Result<Invocation, UsageError> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Invocation::from_args(&args)
    }

    fn run(args: &[&str]) -> (Endpoint, Action) {
        match invocation(args) {
            Ok(Invocation::Run { endpoint, action }) => (endpoint, action),
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn action(args: &[&str]) -> Action {
        run(args).1
    }

    #[track_caller]
    fn assert_error(args: &[&str], reason: &str) {
        assert_eq!(invocation(args).unwrap_err().to_string(), reason);
    }

    fn request(verb: Verb, text: &str) -> Action {
        Action::Request(Request { verb, text: text.into() })
    }

    #[test]
    fn default_host_and_port_are_those_of_the_server() {
        for (args, server) in [
            (&["status"][..], "command://127.0.0.1:65432"),
            (&["listen"], "command://127.0.0.1:65432"),
            (&[], "command://127.0.0.1:65432"),
            (&["--protocol", "prefixed", "send", "x"], "prefixed://127.0.0.1:8080"),
            (&["--protocol", "raw", "send", "x"], "raw://127.0.0.1:9999"),
            (&["--protocol", "raw"], "raw://127.0.0.1:9999"),
            (&["chat"], "chat://127.0.0.1:5000"),
            (&["--protocol", "chat"], "chat://127.0.0.1:5000"),
            (&["-H", "::1", "-p", "7", "status"], "command://[::1]:7"),
            (&["--host", "[::1]", "--port", "7", "chat"], "chat://[::1]:7"),
        ] {
            assert_eq!(run(args).0.to_string(), server, "{args:?}");
        }
    }

    #[test]
    fn command_names_an_action() {
        assert_eq!(action(&["echo", "a b"]), request(Verb::Echo, "a b"));
        assert_eq!(action(&["rev", ""]), request(Verb::Reverse, ""));
        assert_eq!(action(&["broadcast", "-n"]), request(Verb::Broadcast, "-n"));
        assert_eq!(action(&["--", "echo", "--help"]), request(Verb::Echo, "--help"));
        assert_eq!(action(&["status"]), request(Verb::Status, ""));
        assert_eq!(action(&["rev", "-"]), Action::RequestFromStdin(Verb::Reverse));
        assert_eq!(action(&["--protocol", "raw", "send", "x"]), request(Verb::Send, "x"));
        assert_eq!(action(&["listen"]), Action::Listen);
        assert_eq!(action(&["chat", "ann"]), Action::Chat(Some("ann".into())));
        assert_eq!(action(&["--protocol", "chat"]), Action::Chat(None));
        assert_eq!(action(&[]), Action::Prompt);
    }

    #[test]
    fn text_may_be_any_bytes() {
        let args = ["-p", "1", "echo"].map(OsString::from);
        let args = [&args[..], &[OsStr::from_bytes(b"\xff").to_owned()]].concat();
        let Ok(Invocation::Run { action, .. }) = Invocation::from_args(&args) else { panic!() };
        let request = Request { verb: Verb::Echo, text: b"\xff".to_vec() };
        assert_eq!(action, Action::Request(request));
    }

    #[test]
    fn timeout_is_decimal_and_zero_is_no_limit() {
        let timeout = |value| run(&["--timeout", value]).0.timeout;
        assert_eq!(run(&[]).0.timeout, Some(Duration::from_secs(30)));
        assert_eq!(timeout("5"), Some(Duration::from_secs(5)));
        assert_eq!(timeout("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("0.00001"), Some(Duration::from_millis(1)));
        assert_eq!(timeout("0"), None);
        assert_eq!(timeout("31536000"), Some(Duration::from_secs(31_536_000)));
        for value in ["-1", "", "1s", "inf", "1e3", ".", "31536001"] {
            let reason = format!("--timeout: '{value}' is not a number of seconds up to 31536000");
            assert_error(&["--timeout", value], &reason);
        }
    }

    #[test]
    fn usage_error_names_the_culprit() {
        assert_error(&["--no-such"], "Unrecognized option: 'no-such'");
        assert_error(&["-p"], "Argument to option 'p' missing");
        assert_error(&["-p", "x"], "--port: bad port 'x', it is 0 to 65535");
        assert_error(&["-p", "0"], "nothing listens on port 0");
        assert_error(&["-H", "a b"], "--host: bad host 'a b'");
        assert_error(
            &["--protocol", "ftp"],
            "--protocol: 'ftp' is not command, prefixed, raw or chat",
        );
        assert_error(
            &["--config", "/no/such"],
            "/no/such: cannot be read: no such file or directory",
        );
        assert_error(&["ping\n"], r"there is no command 'ping\n'");
        assert_error(&["echo"], "echo needs a TEXT");
        assert_error(
            &["echo", "a", "b"],
            "echo: unexpected argument 'b'; options go before the command, and TEXT in quotes",
        );
        assert_error(
            &["status", "-p"],
            "status: unexpected argument '-p'; it takes none, and options go before the command",
        );
        assert_error(&["listen", "x"], "listen: unexpected argument 'x'; it takes none");
        assert_error(&["chat", "ann\nhello"], "the nickname is not one line of UTF-8");
        assert_error(&["chat", "a", "b"], "chat: unexpected argument 'b'; a nickname is one word");
    }

    #[test]
    fn command_needs_its_own_protocol() {
        assert_error(&["send", "x"], "send needs --protocol prefixed or raw");
        assert_error(&["--protocol", "chat", "send", "x"], "send needs --protocol prefixed or raw");
        assert_error(&["--protocol", "raw", "echo", "x"], "echo needs --protocol command");
        assert_error(&["--protocol", "raw", "listen"], "listen needs --protocol command");
        assert_error(&["--protocol", "raw", "chat"], "chat needs --protocol chat");
    }

    #[test]
    fn help_lists_every_option_and_command() {
        let Ok(Invocation::Help(text)) = invocation(&["-h"]) else { panic!() };
        for word in ["--host", "--port", "--protocol", "--config", "--timeout", "--version"] {
            assert!(text.contains(word), "{text}");
        }
        for word in ["echo", "rev", "broadcast", "status", "listen", "send", "chat"] {
            assert!(text.contains(&format!("    {word} ")), "{text}");
        }
        assert_eq!(invocation(&["help"]), Ok(Invocation::Help(text)));
        assert_eq!(invocation(&["-V"]), Ok(Invocation::Version));
    }
}
