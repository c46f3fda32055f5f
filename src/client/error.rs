//! Why something could not be done, in the words the user reads.

use std::fmt::{self, Write};
use std::io;
use std::time::Duration;

use crate::cli::OneLine;
use crate::strerror::strerror;

/// Why a job failed. Displayed as one line without control characters, because some of it comes
/// from the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClientError {
    /// Whoever read our standard output has gone. Nobody is to blame, and nothing is to be said.
    OutputClosed,
    Output(String),
    Input(String),
    /// The name has no address.
    Resolve {
        host: String,
        reason: String,
    },
    Connect {
        endpoint: String,
        reason: String,
    },
    ConnectTimeout {
        endpoint: String,
        after: Duration,
    },
    /// Nothing came in time.
    Timeout(Duration),
    /// An answer has begun and did not end in time.
    PartialTimeout(Duration),
    /// The server closed in order, but too early.
    Closed {
        is_partial: bool,
    },
    /// The server closed in order while somebody was listening.
    Disconnected,
    /// The connection broke.
    Socket(String),
    /// The server says why it refuses.
    Refused(String),
    /// What came is no answer.
    UnexpectedReply(String),
    /// The request is longer than any server takes.
    TooLong {
        max: usize,
    },
    /// Nobody gave a nickname that was accepted.
    NoNickname,
    /// Some lines failed; each has been reported.
    LinesFailed,
}

impl ClientError {
    /// What went wrong with standard output.
    pub(super) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => ClientError::OutputClosed,
            _ => ClientError::Output(strerror(error).to_string()),
        }
    }

    pub(super) fn input(error: &io::Error) -> Self {
        ClientError::Input(strerror(error).to_string())
    }

    /// What went wrong with the connection.
    pub(super) fn socket(error: &io::Error) -> Self {
        ClientError::Socket(strerror(error).to_string())
    }

    /// Whether the server could not even be reached.
    pub(super) fn is_connect_error(&self) -> bool {
        use ClientError::{Connect, ConnectTimeout, Resolve};
        matches!(self, Resolve { .. } | Connect { .. } | ConnectTimeout { .. })
    }

    /// Whether it can be told to nobody, or has been told.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, ClientError::OutputClosed | ClientError::LinesFailed)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = OneLine(f);
        match self {
            ClientError::OutputClosed => f.write_str("standard output is closed"),
            ClientError::Output(reason) => write!(f, "cannot write to standard output: {reason}"),
            ClientError::Input(reason) => write!(f, "cannot read standard input: {reason}"),
            ClientError::Resolve { host, reason } => write!(f, "cannot find {host}: {reason}"),
            ClientError::Connect { endpoint, reason } => {
                write!(f, "cannot connect to {endpoint}: {reason}")
            }
            ClientError::ConnectTimeout { endpoint, after } => {
                write!(
                    f,
                    "cannot connect to {endpoint}: no answer within {} s",
                    after.as_secs_f64()
                )
            }
            ClientError::Timeout(after) => write!(f, "no answer within {} s", after.as_secs_f64()),
            ClientError::PartialTimeout(after) => {
                write!(f, "the answer did not end within {} s", after.as_secs_f64())
            }
            ClientError::Closed { is_partial: false } => {
                f.write_str("the server closed the connection without an answer")
            }
            ClientError::Closed { is_partial: true } => {
                f.write_str("the server closed the connection in the middle of its answer")
            }
            ClientError::Disconnected => f.write_str("the server closed the connection"),
            ClientError::Socket(reason) => write!(f, "the connection broke: {reason}"),
            ClientError::Refused(reason) => f.write_str(reason),
            ClientError::UnexpectedReply(reason) => {
                write!(f, "the server does not answer as it should: {reason}")
            }
            ClientError::TooLong { max } => write!(f, "the text is over {max} bytes"),
            ClientError::NoNickname => f.write_str("no nickname was accepted"),
            ClientError::LinesFailed => f.write_str("some lines failed"),
        }
    }
}

impl std::error::Error for ClientError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_from_the_wire_is_one_line_and_drives_no_terminal() {
        let refused = ClientError::Refused("no\r\n\u{1b}[2J\u{9b}m".to_owned());
        assert_eq!(refused.to_string(), r"no\r\n\u{1b}[2J\u{9b}m");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_to_tell() {
        let gone = ClientError::output(&io::ErrorKind::BrokenPipe.into());
        assert!(gone.is_silent());
        assert!(!ClientError::output(&io::ErrorKind::StorageFull.into()).is_silent());
    }
}
