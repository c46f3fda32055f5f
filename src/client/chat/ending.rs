//! The end of a chat, as the thread that reads the server tells it to the one that reads keys.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::error::ClientError;
use crate::client::output::print_line;
use crate::client::sigint::interrupt;

/// Why a chat ended.
#[derive(Debug, Clone)]
pub(super) enum EndReason {
    /// The user left.
    Left,
    /// The server stopped; its last line.
    ShutDown(String),
    /// The connection was lost.
    Lost(ClientError),
}

/// The end of a chat: set once, seen once by the main thread.
#[derive(Debug, Default)]
pub(super) struct Ending {
    state: Mutex<EndingState>,
    is_seen_changed: Condvar,
}

#[derive(Debug, Default)]
struct EndingState {
    reason: Option<EndReason>,
    /// The main thread knows, and does not have to be interrupted.
    is_seen: bool,
}

impl Ending {
    fn state(&self) -> MutexGuard<'_, EndingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_set(&self) -> bool {
        self.state().reason.is_some()
    }

    /// Sets the reason unless there is one already.
    pub(super) fn set(&self, reason: EndReason) {
        self.state().reason.get_or_insert(reason);
    }

    /// Sets [`EndReason::Left`], called by the main thread.
    pub(super) fn set_left(&self) {
        self.set(EndReason::Left);
        self.mark_seen();
    }

    /// Returns the result of the chat if it has ended; the first call prints the server's last line.
    pub(super) fn result(&self) -> Option<Result<(), ClientError>> {
        let reason = self.state().reason.clone()?;
        let was_seen = self.mark_seen();
        Some(match reason {
            EndReason::ShutDown(line) if !was_seen => print_line(&line),
            EndReason::ShutDown(_) | EndReason::Left => Ok(()),
            EndReason::Lost(error) => Err(error),
        })
    }

    /// Marks the end as seen; returns whether it was before.
    fn mark_seen(&self) -> bool {
        let was_seen = mem::replace(&mut self.state().is_seen, true);
        self.is_seen_changed.notify_all();
        was_seen
    }

    /// Interrupts the line being typed, again after each `interval`, until the main thread has seen the
    /// end. A single signal could arrive between two lines and have no effect.
    pub(super) fn interrupt_until_seen(&self, interval: Duration) {
        let mut state = self.state();
        while !state.is_seen {
            interrupt();
            let waited = self.is_seen_changed.wait_timeout(state, interval);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_reason_counts() {
        let ending = Ending::default();
        assert!(!ending.is_set() && ending.result().is_none());
        ending.set(EndReason::Lost(ClientError::Disconnected));
        ending.set_left();
        assert_eq!(ending.result(), Some(Err(ClientError::Disconnected)));
        // Returns at once: the end is seen.
        ending.interrupt_until_seen(Duration::ZERO);
    }
}
