//! Errors of the command line, and what would do instead.

use std::fmt::{self, Write};
use std::net::IpAddr;

use super::admin_error::AdminUsageError;
#[cfg(feature = "accounts")]
use crate::accounts::NameError;
use crate::cli::options::OptionError;
use crate::cli::suggest::{DidYouMean, nearest};
#[cfg(feature = "tls")]
use crate::cli::tls_options::TlsOptionError;
use crate::cli::{IniError, ListenerError, url_for};
use crate::client::request::{Verb, command_over, nearest_command};
use crate::escape::EscapeControl;
use crate::limits::TIMEOUT_SECS_LIMIT;
use crate::protocol::ProtocolName;

/// The commands, in the order of `--help`.
pub(crate) const COMMANDS: &[&str] = &[
    "echo",
    "rev",
    "broadcast",
    "status",
    "send",
    "call",
    "listen",
    "chat",
    #[cfg(feature = "accounts")]
    "passwd",
    "help",
];

/// The argument that chose the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum NamedBy {
    /// `--protocol`, or the URL.
    User,
    /// The port: it is the default of the protocol.
    Port(u16),
    /// Nothing, so it is `command`.
    Default,
}

/// An error in the command line or in the file of `--config`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::client) enum UsageError {
    /// The command line of `--admin` is wrong.
    Admin(AdminUsageError),
    /// The live screen needs a terminal that it can draw on.
    NoScreen,
    /// An option is unknown, repeated, or lacks its value.
    Option(OptionError),
    /// `--protocol` is not the name of a protocol of the client.
    UnknownProtocol(String),
    /// `--host` or `--port` is invalid.
    Address { option: &'static str, value: String, source: ListenerError },
    /// The first word is an address or URL, and invalid.
    Url { url: String, source: ListenerError },
    /// The URL asks for a transport that this build does not have.
    NoTransport { url: String, transport: &'static str },
    /// An option of TLS is wrong.
    #[cfg(feature = "tls")]
    Tls(TlsOptionError),
    /// An option says what the URL says.
    UrlAndOption(&'static str),
    /// The port is 0, which only a listener may have.
    PortZero,
    /// `--timeout` is not a number of seconds.
    Timeout(String),
    /// The file of `--config` is invalid.
    File(IniError),
    /// `-h` with a host behind it.
    HelpForHost(String),
    /// The first word is not a command.
    UnknownCommand(String),
    /// The command needs a text.
    MissingText(Verb),
    /// `call` needs the code of a command.
    InvalidCode(String),
    /// The command takes fewer arguments.
    UnexpectedArgument { command: String, argument: String, hint: &'static str },
    /// The command needs another protocol, one of `needed`.
    WrongProtocol {
        command: &'static str,
        needed: &'static str,
        protocol: ProtocolName,
        named_by: NamedBy,
    },
    /// The option belongs to `status`.
    StatusOption(&'static str),
    /// The nickname is not one line of UTF-8.
    Nickname,
    /// The name of `--user` is one that no server accepts, for this reason.
    User(String),
    /// `--user` over a protocol without accounts.
    UserProtocol { protocol: ProtocolName, named_by: NamedBy },
    /// `chat NICK` with `--user` of another name.
    UserAndNickname { user: String, nick: String },
    /// `passwd` with `--user`.
    #[cfg(feature = "accounts")]
    PasswdUser,
    /// `passwd` without FILE or NAME.
    #[cfg(feature = "accounts")]
    PasswdArguments,
    /// `passwd` with the address of a server.
    #[cfg(feature = "accounts")]
    PasswdAddress,
    /// The name of an account is invalid.
    #[cfg(feature = "accounts")]
    AccountName(NameError),
}

impl From<UsageError> for Vec<UsageError> {
    fn from(error: UsageError) -> Self {
        vec![error]
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            UsageError::Admin(error) => write!(f, "{error}"),
            UsageError::NoScreen => {
                f.write_str("top draws on a terminal, which this is not; use status --watch --json")
            }
            UsageError::Option(error) => write!(f, "{error}"),
            UsageError::UnknownProtocol(name) => {
                let known = ProtocolName::ALL.iter().map(|protocol| protocol.as_str());
                let nearest = DidYouMean(nearest(name, known));
                write!(f, "--protocol: unknown protocol '{name}', ")?;
                write!(f, "there are {}{nearest}", ProtocolName::list())
            }
            UsageError::Address { option, value, source } => {
                fmt_address(&mut f, option, value, source)
            }
            UsageError::Url { url, source } => write!(f, "{url}: {source}"),
            UsageError::NoTransport { url, transport } => {
                write!(f, "{url}: this build has no {transport}")
            }
            #[cfg(feature = "tls")]
            UsageError::Tls(error) => write!(f, "{error}"),
            UsageError::UrlAndOption(option) => {
                write!(f, "--{option} says what the URL says, give one of them")
            }
            UsageError::PortZero => f.write_str("nothing listens on port 0"),
            UsageError::Timeout(value) => {
                let max = TIMEOUT_SECS_LIMIT;
                write!(f, "--timeout: '{value}' is not a number of seconds up to {max}")
            }
            UsageError::File(source) => write!(f, "{source}"),
            UsageError::HelpForHost(host) => {
                write!(f, "-h is --help; the host is -H, as in -H {host}")
            }
            UsageError::UnknownCommand(name) => fmt_unknown_command(&mut f, name),
            UsageError::MissingText(verb) => write!(f, "{verb} needs a TEXT"),
            UsageError::InvalidCode(code) => {
                write!(f, "call needs a command code from 0 to 255, not '{code}'")
            }
            UsageError::UnexpectedArgument { command, argument, hint } => {
                write!(f, "{command}: unexpected argument '{argument}'; {hint}")
            }
            UsageError::WrongProtocol { command, needed, protocol, named_by } => {
                write!(f, "{command} needs --protocol {needed}")?;
                let instead = command_over(*protocol);
                match named_by {
                    NamedBy::User => write!(f, "; over {protocol} use {instead}"),
                    NamedBy::Port(port) => {
                        write!(f, "; port {port} means {protocol}: use {instead} there")
                    }
                    NamedBy::Default => f.write_str(", or a URL such as raw://127.0.0.1:9999"),
                }
            }
            UsageError::StatusOption(option) => write!(f, "--{option} belongs to status"),
            UsageError::Nickname => f.write_str("the nickname is not one line of UTF-8"),
            UsageError::User(reason) => write!(f, "--user: {reason}"),
            UsageError::UserProtocol { protocol, named_by } => {
                f.write_str("--user needs --protocol command or chat; ")?;
                match named_by {
                    NamedBy::Port(port) => {
                        write!(f, "port {port} means {protocol}, which has no accounts")
                    }
                    _ => write!(f, "{protocol} has no accounts"),
                }
            }
            UsageError::UserAndNickname { user, nick } => {
                write!(f, "--user {user} chats under that name, not as {nick}")
            }
            #[cfg(feature = "accounts")]
            UsageError::PasswdUser => {
                f.write_str("passwd takes the NAME behind its FILE, not --user")
            }
            #[cfg(feature = "accounts")]
            UsageError::PasswdArguments => f.write_str("passwd needs FILE and NAME"),
            #[cfg(feature = "accounts")]
            UsageError::PasswdAddress => {
                f.write_str("passwd changes a file and takes no server's address")
            }
            #[cfg(feature = "accounts")]
            UsageError::AccountName(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for UsageError {}

fn fmt_address(
    f: &mut impl Write,
    option: &str,
    value: &str,
    source: &ListenerError,
) -> fmt::Result {
    if value.contains("://") {
        return write!(
            f,
            "--{option}: '{value}' is a URL, which goes before the command by itself"
        );
    }
    match (value.rsplit_once(':'), url_for(value)) {
        (Some((host, port)), Some(url)) => {
            write!(f, "--{option}: '{value}' is host and port, ")?;
            write!(f, "use -H {host} -p {port} or the URL {url}")
        }
        _ => write!(f, "--{option}: {source}"),
    }
}

/// The rest of an error for a command of the prompt that needs none of its own here.
fn account_command(name: &str) -> Option<&'static str> {
    match &*name.to_ascii_lowercase() {
        "login" => Some("; --user NAME logs in first"),
        "register" => Some("; it is one of the prompt: run mynah-cli without a command"),
        _ => None,
    }
}

fn fmt_unknown_command(f: &mut impl Write, name: &str) -> fmt::Result {
    write!(f, "there is no command '{name}'")?;
    if let Some(instead) = account_command(name) {
        return f.write_str(instead);
    }
    let is_host = name == "localhost" || name.parse::<IpAddr>().is_ok();
    let host = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let url = url_for(name).or_else(|| is_host.then(|| format!("command://{host}:65432")));
    match url.as_deref().or_else(|| nearest_command(name, COMMANDS)) {
        None => write!(f, "; there are {}", COMMANDS.join(", ")),
        nearest => write!(f, "{}", DidYouMean(nearest)),
    }
}
