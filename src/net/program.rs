//! Callbacks from the loop to its program. Knows nothing of sockets.

use super::running::Running;
use super::socket::SocketTransport;
use crate::clock::Millis;
use crate::server::Server;

/// The program around a loop, called on the loop's thread between a batch of events and the turn.
///
/// No method has to be written; `()` is a program that does nothing. No client is served while one
/// runs.
pub trait Program {
    /// A [`Handle`](super::Handle) or a signal has ended the loop's wait. Requests are looked at
    /// next, so one made here is acted on in this turn.
    fn on_wake(&mut self) {}

    /// An orderly stop begins. [`on_reload`](Self::on_reload) is not called any more.
    fn on_stop(&mut self) {}

    /// [`Handle::reload`](super::Handle::reload) was called, once or more often, since the last
    /// turn.
    fn on_reload(&mut self, _server: &mut Server<SocketTransport>) {}

    /// The time of the next call to [`on_due`](Self::on_due), which ends the loop's wait. Asked
    /// before each wait, and after [`on_wake`](Self::on_wake) and what follows it.
    fn due_at(&self) -> Option<Millis> {
        None
    }

    /// The time of [`due_at`](Self::due_at) has come.
    fn on_due(&mut self, _running: &mut Running<'_>, _now: Millis) {}
}

impl Program for () {}
