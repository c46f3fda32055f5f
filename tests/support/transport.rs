//! Transports under a protocol: tests whose rule holds for all take one.

use super::Server;

/// The transport under a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls,
}

impl Transport {
    /// Those this build has.
    pub(crate) const ALL: &[Transport] = &[
        Transport::Plain,
        #[cfg(feature = "tls")]
        Transport::Tls,
    ];

    /// A server with one `command` listener over this and the options `args`.
    #[track_caller]
    pub(crate) fn command(self, args: &[&str]) -> Server {
        eprintln!("over {self:?}");
        match self {
            Transport::Plain => Server::command(args),
            #[cfg(feature = "tls")]
            Transport::Tls => Server::tls("command", args),
        }
    }
}
