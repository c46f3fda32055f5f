//! Readiness of an event, for both loops: the server's and the load tester's.

use mio::event::Event;

use crate::server::Readiness;

/// Readiness of a stream. An error is fetched by reading and by writing, so it counts as both.
#[inline]
pub(crate) fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable() || event.is_error(),
        writable: event.is_writable() || event.is_error() || event.is_write_closed(),
        read_closed: event.is_read_closed(),
    }
}
