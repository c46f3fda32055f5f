//! Why something could not be done, in the words the user reads.

use std::fmt::{self, Write};
use std::io;
use std::time::Duration;

use crate::cli::EscapeControl;
use crate::strerror::strerror;

/// Why a job failed. Displayed as one line without control characters, because some of it comes
/// from the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Whoever read our standard output has gone. Nobody is to blame, and nothing is to be said.
    OutputClosed,
    Output(String),
    Input(String),
    /// The name has no address.
    Resolve {
        host: String,
        why: String,
    },
    Connect {
        server: String,
        why: String,
    },
    ConnectTimeout {
        server: String,
        after: Duration,
    },
    /// Nothing came in time.
    Timeout(Duration),
    /// An answer has begun and did not end in time.
    Unfinished(Duration),
    /// The server closed in order, but too early.
    Closed {
        midway: bool,
    },
    /// The server closed in order while somebody was listening.
    Gone,
    /// The connection broke.
    Broken(String),
    /// The server says why it refuses.
    Refused(String),
    /// What came is no answer.
    Junk(String),
    /// The request is longer than any server takes.
    TooLong {
        max: usize,
    },
    /// Nobody gave a nickname that was accepted.
    NoNickname,
    /// Some lines failed; each has been reported.
    Lines,
}

impl Failure {
    /// What went wrong with standard output.
    pub(super) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Output(strerror(error).to_string()),
        }
    }

    pub(super) fn input(error: &io::Error) -> Self {
        Failure::Input(strerror(error).to_string())
    }

    /// What went wrong with the connection.
    pub(super) fn broken(error: &io::Error) -> Self {
        Failure::Broken(strerror(error).to_string())
    }

    /// Whether the server could not even be reached.
    pub(super) fn is_of_connect(&self) -> bool {
        use Failure::{Connect, ConnectTimeout, Resolve};
        matches!(self, Resolve { .. } | Connect { .. } | ConnectTimeout { .. })
    }

    /// Whether it can be told to nobody, or has been told.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Failure::OutputClosed | Failure::Lines)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            Failure::OutputClosed => f.write_str("standard output is closed"),
            Failure::Output(why) => write!(f, "cannot write to standard output: {why}"),
            Failure::Input(why) => write!(f, "cannot read standard input: {why}"),
            Failure::Resolve { host, why } => write!(f, "cannot find {host}: {why}"),
            Failure::Connect { server, why } => write!(f, "cannot connect to {server}: {why}"),
            Failure::ConnectTimeout { server, after } => {
                write!(f, "cannot connect to {server}: no answer within {} s", after.as_secs_f64())
            }
            Failure::Timeout(after) => write!(f, "no answer within {} s", after.as_secs_f64()),
            Failure::Unfinished(after) => {
                write!(f, "the answer did not end within {} s", after.as_secs_f64())
            }
            Failure::Closed { midway: false } => {
                f.write_str("the server closed the connection without an answer")
            }
            Failure::Closed { midway: true } => {
                f.write_str("the server closed the connection in the middle of its answer")
            }
            Failure::Gone => f.write_str("the server closed the connection"),
            Failure::Broken(why) => write!(f, "the connection broke: {why}"),
            Failure::Refused(why) => f.write_str(why),
            Failure::Junk(why) => write!(f, "the server does not answer as it should: {why}"),
            Failure::TooLong { max } => write!(f, "the text is over {max} bytes"),
            Failure::NoNickname => f.write_str("no nickname was accepted"),
            Failure::Lines => f.write_str("some lines failed"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_from_the_wire_is_one_line_and_drives_no_terminal() {
        let refused = Failure::Refused("no\r\n\u{1b}[2J\u{9b}m".to_owned());
        assert_eq!(refused.to_string(), r"no\r\n\u{1b}[2J\u{9b}m");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_to_tell() {
        let gone = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert!(gone.is_silent());
        assert!(!Failure::output(&io::ErrorKind::StorageFull.into()).is_silent());
    }
}
