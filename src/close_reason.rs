//! The reasons for which connections end, or are refused.

use std::fmt;

/// The reason a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer shut its writing side, and every reply was sent.
    PeerClosed,
    /// The client asked to leave (QUIT, `/exit`), or a `Service` returned `Next::Close`.
    Quit,
    /// The client broke the protocol.
    Protocol,
    /// The socket failed: reset, broken pipe and the like.
    Io,
    /// The client fell off the broadcast log, or private messages filled its send queue.
    SlowConsumer,
    /// The handshake of the connection's layer (TLS) failed, or was not finished in time.
    Handshake,
    /// The connection's layer (TLS) failed.
    Layer,
    /// The stream ended without the layer's end: what came may not be all that was sent.
    Truncated,
    /// The connection did not begin with a valid PROXY header.
    #[cfg(feature = "admission")]
    ProxyHeader,
    /// The client's address, which a PROXY header gave, has as many connections as it may.
    #[cfg(feature = "admission")]
    AddressLimit,
    /// The client sent nothing for the idle timeout.
    IdleTimeout,
    /// A frame was begun and not finished in time.
    FrameTimeout,
    /// The client did not take its last replies while the connection was closing.
    DrainTimeout,
    /// The server was at its connection limit.
    Full,
    /// The server stopped.
    Shutdown,
    /// The listener it came through was removed.
    ListenerRemoved,
    /// A handler panicked.
    Internal,
    /// The server had to free memory, and the connection held much of it.
    MemoryLimit,
    /// An operator has closed it.
    #[cfg(feature = "admin")]
    Kicked,
    /// The client did not log in in time where it must.
    #[cfg(feature = "accounts")]
    LoginTimeout,
    /// The member's account was logged in to by another connection.
    #[cfg(feature = "accounts")]
    LoggedInElsewhere,
    /// The client's account was deleted.
    #[cfg(feature = "accounts")]
    AccountDeleted,
}

impl CloseReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [CloseReason;
        16 + cfg!(feature = "admin") as usize
            + 2 * cfg!(feature = "admission") as usize
            + 3 * cfg!(feature = "accounts") as usize] = [
        CloseReason::PeerClosed,
        CloseReason::Quit,
        CloseReason::Protocol,
        CloseReason::Io,
        CloseReason::SlowConsumer,
        CloseReason::Handshake,
        CloseReason::Layer,
        CloseReason::Truncated,
        #[cfg(feature = "admission")]
        CloseReason::ProxyHeader,
        #[cfg(feature = "admission")]
        CloseReason::AddressLimit,
        CloseReason::IdleTimeout,
        CloseReason::FrameTimeout,
        CloseReason::DrainTimeout,
        CloseReason::Full,
        CloseReason::Shutdown,
        CloseReason::ListenerRemoved,
        CloseReason::Internal,
        CloseReason::MemoryLimit,
        #[cfg(feature = "admin")]
        CloseReason::Kicked,
        #[cfg(feature = "accounts")]
        CloseReason::LoginTimeout,
        #[cfg(feature = "accounts")]
        CloseReason::LoggedInElsewhere,
        #[cfg(feature = "accounts")]
        CloseReason::AccountDeleted,
    ];

    /// The value of a metric's label.
    #[cfg(feature = "admin")]
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            CloseReason::PeerClosed => "peer_closed",
            CloseReason::Quit => "quit",
            CloseReason::Protocol => "protocol",
            CloseReason::Io => "io",
            CloseReason::SlowConsumer => "slow_consumer",
            CloseReason::Handshake => "handshake",
            CloseReason::Layer => "layer",
            CloseReason::Truncated => "truncated",
            #[cfg(feature = "admission")]
            CloseReason::ProxyHeader => "proxy_header",
            #[cfg(feature = "admission")]
            CloseReason::AddressLimit => "address_limit",
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::FrameTimeout => "frame_timeout",
            CloseReason::DrainTimeout => "drain_timeout",
            CloseReason::Full => "full",
            CloseReason::Shutdown => "shutdown",
            CloseReason::ListenerRemoved => "listener_removed",
            CloseReason::Internal => "internal",
            CloseReason::MemoryLimit => "memory_limit",
            CloseReason::Kicked => "kicked",
            #[cfg(feature = "accounts")]
            CloseReason::LoginTimeout => "login_timeout",
            #[cfg(feature = "accounts")]
            CloseReason::LoggedInElsewhere => "logged_in_elsewhere",
            #[cfg(feature = "accounts")]
            CloseReason::AccountDeleted => "account_deleted",
        }
    }

    /// Whether the server closes all connections of a listener, in order: a drain with a deadline of
    /// its own.
    #[must_use]
    pub const fn is_orderly(self) -> bool {
        matches!(self, CloseReason::Shutdown | CloseReason::ListenerRemoved)
    }
}

/// The texts of the log.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::PeerClosed => "closed by peer",
            CloseReason::Quit => "quit",
            CloseReason::Protocol => "protocol error",
            CloseReason::Io => "connection failed",
            CloseReason::SlowConsumer => "slow consumer",
            CloseReason::Handshake => "handshake failed",
            CloseReason::Layer => "TLS failed",
            CloseReason::Truncated => "truncated: closed without close_notify",
            #[cfg(feature = "admission")]
            CloseReason::ProxyHeader => "no valid PROXY header",
            #[cfg(feature = "admission")]
            CloseReason::AddressLimit => "too many connections from its address",
            CloseReason::IdleTimeout => "idle timeout",
            CloseReason::FrameTimeout => "frame timeout",
            CloseReason::DrainTimeout => "took none of its last replies",
            CloseReason::Full => "server full",
            CloseReason::Shutdown => "server stopping",
            CloseReason::ListenerRemoved => "listener removed",
            CloseReason::Internal => "internal error",
            CloseReason::MemoryLimit => "memory limit",
            #[cfg(feature = "admin")]
            CloseReason::Kicked => "kicked",
            #[cfg(feature = "accounts")]
            CloseReason::LoginTimeout => "login timeout",
            #[cfg(feature = "accounts")]
            CloseReason::LoggedInElsewhere => "logged in elsewhere",
            #[cfg(feature = "accounts")]
            CloseReason::AccountDeleted => "account deleted",
        })
    }
}

/// The reason a connection was refused: it has not become a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server was at its connection limit.
    Full,
    /// Its address has as many connections as it may.
    #[cfg(feature = "admission")]
    AddressConnections,
    /// Its address makes connections faster than it may.
    #[cfg(feature = "admission")]
    ConnectRate,
    /// It did not begin with a valid PROXY header.
    #[cfg(feature = "admission")]
    ProxyHeader,
    /// An operator has its address refused.
    #[cfg(all(feature = "admin", feature = "admission"))]
    Banned,
}

impl Refusal {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Refusal;
        1 + 3 * cfg!(feature = "admission") as usize
            + cfg!(all(feature = "admin", feature = "admission")) as usize] = [
        Refusal::Full,
        #[cfg(feature = "admission")]
        Refusal::AddressConnections,
        #[cfg(feature = "admission")]
        Refusal::ConnectRate,
        #[cfg(feature = "admission")]
        Refusal::ProxyHeader,
        #[cfg(all(feature = "admin", feature = "admission"))]
        Refusal::Banned,
    ];

    /// The value of a metric's label.
    #[cfg(feature = "admin")]
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Refusal::Full => "full",
            #[cfg(feature = "admission")]
            Refusal::AddressConnections => "address_connections",
            #[cfg(feature = "admission")]
            Refusal::ConnectRate => "connect_rate",
            #[cfg(feature = "admission")]
            Refusal::ProxyHeader => "proxy_header",
            #[cfg(feature = "admission")]
            Refusal::Banned => "banned",
        }
    }
}
