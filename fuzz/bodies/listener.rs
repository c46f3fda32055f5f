//! A listener without a server: what its sessions share, and the one place where bodies make up the
//! context of a call.

use std::mem;
use std::rc::Rc;

use mynah::internal::buffer::BroadcastLog;
use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::Limits;
use mynah::internal::protocol::{Context, PeerAddr, Protocol, Room, Shared};
use mynah::internal::session::Session;
use mynah::internal::stats::Stats;

/// State that the sessions of one listener share.
pub struct Listener {
    /// Their protocol.
    pub protocol: Protocol,
    /// Broadcast log and members.
    pub room: Room,
    /// The server's state; what the last calls left in it.
    pub shared: Shared,
}

impl Listener {
    /// A listener without sessions, whose log holds `log_bytes_max`.
    pub fn new(protocol: Protocol, limits: Limits, log_bytes_max: usize) -> Self {
        let (mut shared, room) = (Shared::new(limits, Millis(0)), Room::new(log_bytes_max));
        shared.stats.set_listener(0, Rc::clone(&room.stats));
        Listener { protocol, room, shared }
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.room.note_frames();
        self.shared.stats.totals()
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
        visit_bytes: usize,
        now: Millis,
        call: impl FnOnce(&mut Protocol, &mut Context<'_>) -> T,
    ) -> T {
        let Listener { protocol, room, shared } = self;
        shared.now = now;
        shared.visit_bytes = visit_bytes;
        mem::swap(&mut shared.out, out);
        let mut ctx = Context { id, peer: PeerAddr::Unknown, room, shared };
        let result = call(protocol, &mut ctx);
        mem::swap(&mut shared.out, out);
        result
    }
}
