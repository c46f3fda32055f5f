//! The command line of `mynah-cli`: where to connect, and what to do there. Opens nothing but the
//! file it is given.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use getopts::{Matches, Options, ParsingStyle};

use super::request::{Request, Verb};
use crate::cli::{
    EscapeControl, IniError, ListenerError, ListenerSpec, ProtocolName, ServerAddress,
};
use crate::limits::TIMEOUT_SECS_LIMIT;

/// `--timeout` where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);

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

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    /// `--help`: this text.
    Help(String),
    Version,
    Run(Task),
}

/// What is to be done, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) server: Server,
    pub(super) job: Job,
}

/// A server, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) protocol: ProtocolName,
    /// An address or a name, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The longest a connect, and then each answer, may take; `None` for ever.
    pub(super) timeout: Option<Duration>,
}

/// `command://127.0.0.1:65432`
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { protocol, host, port, .. } = self;
        if host.contains(':') {
            write!(f, "{protocol}://[{host}]:{port}")
        } else {
            write!(f, "{protocol}://{host}:{port}")
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// One request, one answer.
    Ask(Request),
    /// The same, its text from standard input.
    AskStdin(Verb),
    Listen,
    Chat(Option<String>),
    /// Requests, a line each.
    Prompt,
}

/// What is wrong with the command line or the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadUsage {
    /// An option is unknown, or lacks its value.
    Options(String),
    Protocol(String),
    Address {
        option: &'static str,
        why: ListenerError,
    },
    PortZero,
    Timeout(String),
    File(IniError),
    Command(String),
    NoText(Verb),
    /// An argument too many.
    Argument {
        command: String,
        argument: String,
        hint: &'static str,
    },
    /// The command belongs to another protocol.
    Protocols {
        command: String,
        speaks: &'static str,
        asked: ProtocolName,
    },
    /// A nickname is no UTF-8, or several lines.
    Nickname,
}

impl fmt::Display for BadUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            BadUsage::Options(why) => f.write_str(why),
            BadUsage::Protocol(name) => {
                write!(f, "--protocol: '{name}' is not command, prefixed, raw or chat")
            }
            BadUsage::Address { option, why } => write!(f, "--{option}: {why}"),
            BadUsage::PortZero => f.write_str("nothing listens on port 0"),
            BadUsage::Timeout(value) => {
                write!(f, "--timeout: '{value}' is no number of seconds up to {TIMEOUT_SECS_LIMIT}")
            }
            BadUsage::File(why) => write!(f, "{why}"),
            BadUsage::Command(name) => write!(f, "there is no command '{name}'"),
            BadUsage::NoText(verb) => write!(f, "{verb} needs a TEXT"),
            BadUsage::Argument { command, argument, hint } => {
                write!(f, "{command}: unexpected argument '{argument}'; {hint}")
            }
            BadUsage::Protocols { command, speaks, asked } => {
                write!(f, "{command} goes over {speaks}, not over {asked}")
            }
            BadUsage::Nickname => f.write_str("the nickname is not one line of UTF-8"),
        }
    }
}

impl Invocation {
    /// Reads the command line, the program's name not among it, and the file it names.
    pub(super) fn from_args(args: &[OsString]) -> Result<Self, BadUsage> {
        let options = options();
        // getopts takes nothing but UTF-8, and a TEXT may be anything. The arguments behind the
        // options are the last ones, so they can be had from `args` as they were.
        let readable: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let matches =
            options.parse(&readable).map_err(|fail| BadUsage::Options(fail.to_string()))?;
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
        let asked = match matches.opt_str("protocol") {
            Some(name) => {
                let spoken = ProtocolName::parse(&name).filter(|p| *p != ProtocolName::Plugin);
                Some(spoken.ok_or(BadUsage::Protocol(name))?)
            }
            None => None,
        };
        let (protocol, job) = job(&words, asked)?;
        Ok(Invocation::Run(Task { server: server(protocol, &matches)?, job }))
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

/// The server of the options; what they do not say is the file's to say, and then the protocol's.
fn server(protocol: ProtocolName, matches: &Matches) -> Result<Server, BadUsage> {
    let mut spec = ListenerSpec::new(protocol);
    if let Some(file) = matches.opt_str("config") {
        let address = ServerAddress::read(Path::new(&file)).map_err(BadUsage::File)?;
        spec.host = address.host.unwrap_or(spec.host);
        spec.port = address.port.unwrap_or(spec.port);
    }
    for option in ["host", "port"] {
        if let Some(value) = matches.opt_str(option) {
            spec.set(option, &value).map_err(|why| BadUsage::Address { option, why })?;
        }
    }
    if spec.port == 0 {
        return Err(BadUsage::PortZero);
    }
    let timeout = match matches.opt_str("timeout") {
        Some(value) => seconds(&value).ok_or(BadUsage::Timeout(value))?,
        None => Some(TIMEOUT),
    };
    Ok(Server { protocol, host: spec.host, port: spec.port, timeout })
}

/// A decimal number of seconds; zero is no limit.
fn seconds(value: &str) -> Option<Option<Duration>> {
    if !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let secs: f64 = value.parse().ok()?;
    if secs > TIMEOUT_SECS_LIMIT as f64 {
        return None;
    }
    // Less than the system can wait for is not the same as no limit.
    let time = Duration::from_secs_f64(secs).max(Duration::from_millis(1));
    Some((secs > 0.0).then_some(time))
}

/// The job that the words behind the options name, and the protocol it speaks.
fn job(words: &[&OsStr], asked: Option<ProtocolName>) -> Result<(ProtocolName, Job), BadUsage> {
    use ProtocolName::{Chat, Command};
    let Some((name, rest)) = words.split_first() else {
        return Ok(match asked {
            Some(Chat) => (Chat, Job::Chat(None)),
            protocol => (protocol.unwrap_or(Command), Job::Prompt),
        });
    };
    let name = name.to_string_lossy();
    let too_many = |argument: &OsStr, hint| BadUsage::Argument {
        command: name.clone().into_owned(),
        argument: argument.to_string_lossy().into_owned(),
        hint,
    };
    let over = |protocol: ProtocolName, speaks| match asked {
        Some(asked) if asked != protocol => {
            Err(BadUsage::Protocols { command: name.clone().into_owned(), speaks, asked })
        }
        _ => Ok(protocol),
    };
    match (&*name, rest) {
        ("listen", []) => Ok((over(Command, "command")?, Job::Listen)),
        ("listen", [argument, ..]) => Err(too_many(argument, "it takes none")),
        ("chat", []) => Ok((over(Chat, "chat")?, Job::Chat(None))),
        ("chat", [nick]) => {
            // What stands behind the end of a line would be said in the room.
            let nick = nick.to_str().filter(|nick| !nick.contains('\n'));
            let nick = nick.ok_or(BadUsage::Nickname)?;
            Ok((over(Chat, "chat")?, Job::Chat(Some(nick.to_owned()))))
        }
        ("chat", [_, argument, ..]) => Err(too_many(argument, "a nickname is one word")),
        _ => {
            let Some(verb) = Verb::parse(name.as_bytes()) else {
                return Err(BadUsage::Command(name.into_owned()));
            };
            let protocol = asked.unwrap_or(Command);
            if !verb.belongs_to(protocol) {
                let (command, speaks) = (name.into_owned(), verb.speaks());
                return Err(BadUsage::Protocols { command, speaks, asked: protocol });
            }
            match (verb.takes_text(), rest) {
                (true, []) => Err(BadUsage::NoText(verb)),
                (true, [text]) if text.as_bytes() == b"-" => Ok((protocol, Job::AskStdin(verb))),
                (true, [text]) => {
                    let text = text.as_bytes().to_vec();
                    Ok((protocol, Job::Ask(Request { verb, text })))
                }
                (false, []) => Ok((protocol, Job::Ask(Request { verb, text: Vec::new() }))),
                (true, [_, argument, ..]) => {
                    Err(too_many(argument, "options go before the command, and TEXT in quotes"))
                }
                (false, [argument, ..]) => {
                    Err(too_many(argument, "it takes none, and options go before the command"))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(args: &[&str]) -> Result<Invocation, BadUsage> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Invocation::from_args(&args)
    }

    fn task(args: &[&str]) -> Task {
        match invocation(args) {
            Ok(Invocation::Run(task)) => task,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[track_caller]
    fn refused(args: &[&str], why: &str) {
        assert_eq!(invocation(args).unwrap_err().to_string(), why);
    }

    fn ask(verb: Verb, text: &str) -> Job {
        Job::Ask(Request { verb, text: text.into() })
    }

    #[test]
    fn host_and_port_are_the_servers_defaults_by_protocol() {
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
            assert_eq!(task(args).server.to_string(), server, "{args:?}");
        }
    }

    #[test]
    fn commands_name_a_job() {
        assert_eq!(task(&["echo", "a b"]).job, ask(Verb::Echo, "a b"));
        assert_eq!(task(&["rev", ""]).job, ask(Verb::Reverse, ""));
        assert_eq!(task(&["broadcast", "-n"]).job, ask(Verb::Broadcast, "-n"));
        assert_eq!(task(&["--", "echo", "--help"]).job, ask(Verb::Echo, "--help"));
        assert_eq!(task(&["status"]).job, ask(Verb::Status, ""));
        assert_eq!(task(&["rev", "-"]).job, Job::AskStdin(Verb::Reverse));
        assert_eq!(task(&["--protocol", "raw", "send", "x"]).job, ask(Verb::Send, "x"));
        assert_eq!(task(&["listen"]).job, Job::Listen);
        assert_eq!(task(&["chat", "ann"]).job, Job::Chat(Some("ann".into())));
        assert_eq!(task(&["--protocol", "chat"]).job, Job::Chat(None));
        assert_eq!(task(&[]).job, Job::Prompt);
    }

    #[test]
    fn a_text_need_not_be_utf8() {
        let args = ["-p", "1", "echo"].map(OsString::from);
        let args = [&args[..], &[OsStr::from_bytes(b"\xff").to_owned()]].concat();
        let Ok(Invocation::Run(task)) = Invocation::from_args(&args) else { panic!() };
        let request = Request { verb: Verb::Echo, text: b"\xff".to_vec() };
        assert_eq!(task.job, Job::Ask(request));
    }

    #[test]
    fn a_timeout_is_a_decimal_number_and_zero_is_none() {
        let timeout = |value| task(&["--timeout", value]).server.timeout;
        assert_eq!(task(&[]).server.timeout, Some(Duration::from_secs(30)));
        assert_eq!(timeout("5"), Some(Duration::from_secs(5)));
        assert_eq!(timeout("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("0.00001"), Some(Duration::from_millis(1)));
        assert_eq!(timeout("0"), None);
        assert_eq!(timeout("31536000"), Some(Duration::from_secs(31_536_000)));
        for value in ["-1", "", "1s", "inf", "1e3", ".", "31536001"] {
            let why = format!("--timeout: '{value}' is no number of seconds up to 31536000");
            refused(&["--timeout", value], &why);
        }
    }

    #[test]
    fn bad_usage_names_the_culprit() {
        refused(&["--no-such"], "Unrecognized option: 'no-such'");
        refused(&["-p"], "Argument to option 'p' missing");
        refused(&["-p", "x"], "--port: bad port 'x', it is 0 to 65535");
        refused(&["-p", "0"], "nothing listens on port 0");
        refused(&["-H", "a b"], "--host: bad host 'a b'");
        refused(&["--protocol", "ftp"], "--protocol: 'ftp' is not command, prefixed, raw or chat");
        refused(&["--config", "/no/such"], "/no/such: cannot be read: no such file or directory");
        refused(&["ping\n"], r"there is no command 'ping\n'");
        refused(&["echo"], "echo needs a TEXT");
        refused(
            &["echo", "a", "b"],
            "echo: unexpected argument 'b'; options go before the command, and TEXT in quotes",
        );
        refused(
            &["status", "-p"],
            "status: unexpected argument '-p'; it takes none, and options go before the command",
        );
        refused(&["listen", "x"], "listen: unexpected argument 'x'; it takes none");
        refused(&["chat", "ann\nhello"], "the nickname is not one line of UTF-8");
        refused(&["chat", "a", "b"], "chat: unexpected argument 'b'; a nickname is one word");
    }

    #[test]
    fn a_command_goes_over_its_own_protocol_only() {
        refused(&["send", "x"], "send goes over prefixed or raw, not over command");
        refused(
            &["--protocol", "chat", "send", "x"],
            "send goes over prefixed or raw, not over chat",
        );
        refused(&["--protocol", "raw", "echo", "x"], "echo goes over command, not over raw");
        refused(&["--protocol", "raw", "listen"], "listen goes over command, not over raw");
        refused(&["--protocol", "raw", "chat"], "chat goes over chat, not over raw");
    }

    #[test]
    fn help_has_every_option_and_every_command() {
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
