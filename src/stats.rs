//! The counters behind STATUS and SIGUSR1: plain numbers, counted where things happen.

use crate::clock::Millis;

/// Counts since the server started, over all listeners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Time of the start.
    pub started_at: Millis,
    /// Connections open now: neither refused nor lingering ones.
    pub connections: u64,
    /// Connections accepted as clients.
    pub accepted_total: u64,
    /// Connections refused because the server was full.
    pub refused_total: u64,
    /// Whole frames received, bad ones included. `raw` has no frames.
    pub frames_in_total: u64,
    /// Bytes read from sockets.
    pub bytes_in_total: u64,
    /// Bytes written to sockets.
    pub bytes_out_total: u64,
    /// Broadcasts accepted for delivery.
    pub broadcasts_total: u64,
    /// Subscribers cut because they fell behind the end of the broadcast log.
    pub slow_consumers_total: u64,
    /// Handshakes of layers (TLS) that ended well, the resumptions among them. Not part of STATUS,
    /// as those that follow.
    pub handshakes_total: u64,
    /// Those that went on with what an earlier connection had agreed on.
    pub resumptions_total: u64,
    /// Handshakes that failed.
    pub handshake_failures_total: u64,
    /// Connections cut because the server had to free memory.
    pub memory_cuts_total: u64,
    /// Attempts to log in or to register that were accepted.
    #[cfg(feature = "accounts")]
    pub logins_total: u64,
    /// Attempts with an unknown name or a wrong password.
    #[cfg(feature = "accounts")]
    pub login_failures_total: u64,
    /// Attempts that were refused for another reason.
    #[cfg(feature = "accounts")]
    pub logins_refused_total: u64,
}
