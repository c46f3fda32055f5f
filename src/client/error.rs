//! Errors of the client and the sentences that the user reads. Bad usage has a type of its own in
//! `options`.

use std::fmt::{self, Write};
use std::io;
use std::time::Duration;

use super::endpoint::Endpoint;
use crate::escape::EscapeControl;
use crate::strerror::strerror;

/// An error of a command, a prompt or a chat. Displayed on one line with control characters escaped,
/// because parts of it come from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClientError {
    /// The reader of standard output has closed it, as `head` does. Ends the client with status 0
    /// and without a message.
    OutputClosed,
    /// Writing standard output failed.
    Output(String),
    /// Reading standard input or setting up the terminal failed.
    Input(String),
    /// The host name has no address.
    Resolve {
        /// The host as it was given.
        host: String,
        /// The resolver's error.
        reason: String,
    },
    /// No address of the server accepted the connection.
    Connect {
        /// The server's URL.
        endpoint: String,
        /// The last system error.
        reason: String,
    },
    /// `--timeout` passed before a connection was established.
    ConnectTimeout {
        /// The server's URL.
        endpoint: String,
        /// The value of `--timeout`.
        timeout: Duration,
    },
    /// `--timeout` passed before a byte of the reply arrived.
    Timeout(Duration),
    /// `--timeout` passed in the middle of the reply.
    PartialTimeout(Duration),
    /// End of file instead of a reply.
    Closed {
        /// Part of the reply had arrived.
        is_partial: bool,
    },
    /// End of file while no reply was pending: `listen` or chat.
    Disconnected,
    /// A system error on the connection.
    Socket(String),
    /// The end of a TLS connection that its server has not told: what has come may be a part.
    Cut(String),
    /// A TLS connection failed, for this reason.
    Tls(String),
    /// An ERROR frame, or a chat line that begins with `[ERROR]`.
    Refused(String),
    /// The server sent bytes that are not a reply of the protocol.
    UnexpectedReply(String),
    /// The server at this URL does not answer as an admin listener, for this reason.
    NotAdmin {
        /// The server's URL.
        endpoint: String,
        /// Its answer.
        reason: String,
    },
    /// The text is longer than any server accepts.
    TextTooLong {
        /// Longest text in bytes.
        len_max: usize,
    },
    /// Standard input ended before a nickname was accepted.
    NoNickname,
    /// There is no password, or no valid one, for this reason.
    Password(String),
    /// The user has interrupted the typing of a password.
    PasswordInterrupted,
    /// The account of `--user` was refused, for this reason.
    LoginRefused(String),
    /// An accounts file was not changed, for this reason.
    #[cfg(feature = "accounts")]
    Passwd(String),
    /// Some lines failed, or a reload; each reason was reported by itself.
    LinesFailed,
}

impl ClientError {
    /// An error of writing standard output.
    pub(super) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => ClientError::OutputClosed,
            _ => ClientError::Output(strerror(error).to_string()),
        }
    }

    /// An error of reading standard input or of the terminal.
    pub(super) fn input(error: &io::Error) -> Self {
        ClientError::Input(strerror(error).to_string())
    }

    /// An error of an established connection.
    pub(super) fn socket(error: &io::Error) -> Self {
        match error.kind() {
            // What the stream says of TLS; sockets have neither.
            io::ErrorKind::UnexpectedEof => ClientError::Cut(error.to_string()),
            io::ErrorKind::InvalidData => ClientError::Tls(error.to_string()),
            _ => ClientError::Socket(strerror(error).to_string()),
        }
    }

    /// An error of connecting to `endpoint`.
    pub(super) fn connect(endpoint: &Endpoint, error: &io::Error) -> Self {
        let (endpoint, reason) = (endpoint.to_string(), strerror(error).to_string());
        ClientError::Connect { endpoint, reason }
    }

    /// True if no connection was established, or none that is logged in, so that the next attempt
    /// would fail as well.
    pub(super) fn is_connect_error(&self) -> bool {
        use ClientError::{Connect, ConnectTimeout, LoginRefused, Resolve};
        matches!(self, Resolve { .. } | Connect { .. } | ConnectTimeout { .. } | LoginRefused(_))
    }

    /// True if standard output can no longer be written, so that going on is pointless.
    pub(super) fn is_output_error(&self) -> bool {
        matches!(self, ClientError::OutputClosed | ClientError::Output(_))
    }

    /// True if no message is due: the output is closed, each line has reported its own error, or the
    /// user knows.
    pub(super) fn is_silent(&self) -> bool {
        use ClientError::{LinesFailed, OutputClosed, PasswordInterrupted};
        matches!(self, OutputClosed | LinesFailed | PasswordInterrupted)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            ClientError::OutputClosed => f.write_str("standard output is closed"),
            ClientError::Output(reason) => write!(f, "cannot write to standard output: {reason}"),
            ClientError::Input(reason) => write!(f, "cannot read standard input: {reason}"),
            ClientError::Resolve { host, reason } => write!(f, "cannot find {host}: {reason}"),
            ClientError::Connect { endpoint, reason } => {
                write!(f, "cannot connect to {endpoint}: {reason}")
            }
            ClientError::ConnectTimeout { endpoint, timeout } => {
                let secs = timeout.as_secs_f64();
                write!(f, "cannot connect to {endpoint}: no answer within {secs} s")
            }
            ClientError::Timeout(timeout) => {
                write!(f, "no answer within {} s", timeout.as_secs_f64())
            }
            ClientError::PartialTimeout(timeout) => {
                write!(f, "the answer did not end within {} s", timeout.as_secs_f64())
            }
            ClientError::Closed { is_partial: false } => {
                f.write_str("the server closed the connection without an answer")
            }
            ClientError::Closed { is_partial: true } => {
                f.write_str("the server closed the connection in the middle of its answer")
            }
            ClientError::Disconnected => f.write_str("the server closed the connection"),
            ClientError::Socket(reason) => write!(f, "the connection broke: {reason}"),
            ClientError::Refused(reason)
            | ClientError::LoginRefused(reason)
            | ClientError::Password(reason)
            | ClientError::Cut(reason)
            | ClientError::Tls(reason) => f.write_str(reason),
            ClientError::PasswordInterrupted => f.write_str("interrupted"),
            ClientError::UnexpectedReply(reason) => {
                write!(f, "the server does not answer as it should: {reason}")
            }
            ClientError::NotAdmin { endpoint, reason } => {
                write!(f, "{endpoint} is not an admin listener: {reason}")
            }
            ClientError::TextTooLong { len_max } => write!(f, "the text is over {len_max} bytes"),
            ClientError::NoNickname => f.write_str("no nickname was accepted"),
            #[cfg(feature = "accounts")]
            ClientError::Passwd(reason) => f.write_str(reason),
            ClientError::LinesFailed => f.write_str("some lines failed"),
        }
    }
}

impl std::error::Error for ClientError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_text_is_shown_on_one_line_escaped() {
        let refused = ClientError::Refused("no\r\n\u{1b}[2J\u{9b}m".to_owned());
        assert_eq!(refused.to_string(), r"no\r\n\u{1b}[2J\u{9b}m");
    }

    #[test]
    fn closed_output_is_silent() {
        let closed = ClientError::output(&io::ErrorKind::BrokenPipe.into());
        assert!(closed.is_silent());
        assert!(!ClientError::output(&io::ErrorKind::StorageFull.into()).is_silent());
    }
}
