//! A listener without a server: what its sessions share, and the one place where bodies make up the
//! context of a call.

use mynah::buffer::BroadcastLog;
use mynah::clock::Millis;
use mynah::conn_id::ConnId;
use mynah::connection_log::ConnectionLog;
use mynah::limits::Limits;
use mynah::protocol::{Context, DirectMessages, Peer, Protocol, Room};
use mynah::session::Session;
use mynah::stats::Stats;

/// What the sessions of one listener share.
pub struct Listener {
    /// The protocol they speak.
    pub protocol: Protocol,
    /// The bounds in force.
    pub limits: Limits,
    /// Broadcast log and members.
    pub room: Room,
    /// The server's counters.
    pub stats: Stats,
    /// Messages to single clients, as the last calls left them.
    pub direct: DirectMessages,
    connection_log: ConnectionLog,
}

impl Listener {
    /// A listener without sessions, whose log holds `log_bytes_max`.
    pub fn new(protocol: Protocol, limits: Limits, log_bytes_max: usize) -> Self {
        Listener {
            protocol,
            limits,
            room: Room::new(log_bytes_max),
            stats: Stats::default(),
            direct: DirectMessages::default(),
            connection_log: ConnectionLog::default(),
        }
    }

    /// The session of a new client.
    pub fn session(&self, generation: u32, now: Millis) -> Session {
        Session::new(generation, &self.protocol, now, &self.room.log)
    }

    /// The broadcast log.
    pub fn log(&self) -> &BroadcastLog {
        &self.room.log
    }

    /// Calls a session as the server does, with a visit that may reply `visit_bytes`.
    pub fn call<T>(
        &mut self,
        id: ConnId,
        out: &mut Vec<u8>,
        mut visit_bytes: usize,
        now: Millis,
        call: impl FnOnce(&Protocol, &mut Context<'_>) -> T,
    ) -> T {
        let mut ctx = Context {
            id,
            limits: &self.limits,
            room: &mut self.room,
            stats: &mut self.stats,
            out,
            visit_bytes: &mut visit_bytes,
            reply_limit: 0,
            log_share: usize::MAX,
            is_tight: false,
            direct: &mut self.direct,
            connection_log: &mut self.connection_log,
            plugins: None,
            peer: Peer::Unasked,
            now,
        };
        call(&self.protocol, &mut ctx)
    }
}
