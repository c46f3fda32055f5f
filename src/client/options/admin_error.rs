//! Errors in the command line of `--admin`, and what would do instead.

use std::fmt::{self, Write};

use crate::cli::suggest::DidYouMean;
use crate::client::admin::FilterError;
use crate::client::request::nearest_command;
use crate::escape::EscapeControl;

/// The commands, in the order of `--help`.
pub(super) const COMMANDS: &[&str] =
    &["status", "clients", "kick", "reload", "drain", "undrain", "top"];

/// An error in the command line of `--admin`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::client) enum AdminUsageError {
    /// It is not the URL of an admin listener.
    Url { url: String, instead: Option<String> },
    /// An option that goes with other servers.
    Option(&'static str),
    /// An option that goes with `--admin` alone.
    NeedsAdmin(&'static str),
    /// A command of `--admin`, or an admin listener's URL, without `--admin`.
    WithoutAdmin { word: String, instead: String },
    /// An URL behind that of `--admin`.
    SecondUrl(String),
    /// There is no command.
    NoCommand,
    /// The first word is not a command.
    UnknownCommand(String),
    /// The command takes fewer words.
    UnexpectedArgument { command: &'static str, argument: String },
    /// An option of another command.
    OptionOf { option: &'static str, commands: &'static str },
    /// The words of a filter are wrong.
    Filter { command: &'static str, source: FilterError },
    /// `kick` needs to know whom.
    NoChoice,
    /// The file of `--token` has no token.
    Token { file: String, reason: String },
}

impl fmt::Display for AdminUsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            AdminUsageError::Url { url, instead } => {
                write!(f, "--admin: '{url}' is not of the form admin://HOST:PORT")?;
                f.write_str(", admin+tls://HOST:PORT or admin+unix:///PATH")?;
                write!(f, "{}", DidYouMean(instead.as_deref()))
            }
            AdminUsageError::Option(option) => {
                write!(f, "--admin names the server, so --{option} cannot stand beside it")
            }
            AdminUsageError::NeedsAdmin(option) => write!(f, "--{option} belongs to --admin URL"),
            AdminUsageError::WithoutAdmin { word, instead } => {
                write!(f, "{word} is for an admin listener: mynah-cli --admin {instead}")
            }
            AdminUsageError::SecondUrl(url) => {
                write!(f, "--admin names the server, so '{url}' cannot follow it")
            }
            AdminUsageError::NoCommand => {
                write!(f, "--admin needs a command: {}", COMMANDS.join(", "))
            }
            AdminUsageError::UnknownCommand(word) => fmt_unknown_command(&mut f, word),
            AdminUsageError::UnexpectedArgument { command, argument } => {
                write!(f, "{command}: unexpected argument '{argument}'; it takes none")
            }
            AdminUsageError::OptionOf { option, commands } => {
                write!(f, "--{option} belongs to {commands}")
            }
            AdminUsageError::Filter { command, source } => write!(f, "{command}: {source}"),
            AdminUsageError::NoChoice => f.write_str(
                "kick needs the number of a connection, or a filter: listener=, ip=, name=, \
                 min_idle= or min_queue=",
            ),
            AdminUsageError::Token { file, reason } => write!(f, "--token {file}: {reason}"),
        }
    }
}

fn fmt_unknown_command(f: &mut impl Write, word: &str) -> fmt::Result {
    write!(f, "--admin has no command '{word}'")?;
    match nearest_command(word, COMMANDS) {
        None => write!(f, "; there are {}", COMMANDS.join(", ")),
        nearest => write!(f, "{}", DidYouMean(nearest)),
    }
}
