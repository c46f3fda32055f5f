//! The gate that keeps printed lines in order. Knows nothing of rustyline's types.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait of [`PrintGate::pause`]. A message that takes longer is queued in its place already.
const PRINT_WAIT_MAX: Duration = Duration::from_millis(20);

/// Lets messages through only while a line is edited: from when its prompt is drawn until Enter.
///
/// While a line is edited, rustyline queues one message for the thread that edits, and the next one
/// waits. Between two lines it writes a message to the terminal at once, and so before a queued
/// one. (After Ctrl-C and Ctrl-D the conversation ends, and the order of late messages is open.)
#[derive(Debug, Default)]
pub(super) struct PrintGate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    /// A line is being edited.
    is_open: bool,
    /// No further line will be edited.
    is_closed: bool,
    /// A message is being passed to rustyline.
    is_printing: bool,
}

impl PrintGate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.state().is_open
    }

    /// Lets messages through.
    pub(super) fn open(&self) {
        self.state().is_open = true;
        self.changed.notify_all();
    }

    /// Holds messages back until the next [`open`](Self::open), and waits for the one that is being
    /// passed to rustyline.
    ///
    /// The wait is short unless rustyline's queue is full. Then the message waits behind the queued
    /// one and is shown in order with the next line; waiting for it would not end, because the thread
    /// that empties the queue is the one that calls this.
    pub(super) fn pause(&self) {
        let mut state = self.state();
        state.is_open = false;
        let is_printing = |state: &mut GateState| state.is_printing;
        let _ = self.changed.wait_timeout_while(state, PRINT_WAIT_MAX, is_printing);
    }

    /// Refuses messages from now on.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until the gate is open and begins a message; false if the gate is closed.
    pub(super) fn begin_print(&self) -> bool {
        let must_wait = |state: &mut GateState| !state.is_open && !state.is_closed;
        let guard = self.changed.wait_while(self.state(), must_wait);
        let mut state = guard.unwrap_or_else(PoisonError::into_inner);
        state.is_printing = !state.is_closed;
        state.is_printing
    }

    /// Begins a message if the gate is open and no other is being passed on; does not wait.
    pub(super) fn try_begin_print(&self) -> bool {
        let mut state = self.state();
        let begins = state.is_open && !state.is_closed && !state.is_printing;
        state.is_printing |= begins;
        begins
    }

    /// Ends the message of [`begin_print`](Self::begin_print): rustyline has it.
    pub(super) fn end_print(&self) {
        self.state().is_printing = false;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn message_waits_for_a_line_or_the_close() {
        let gate = Arc::new(PrintGate::default());
        let begin_print = |gate: &Arc<PrintGate>| {
            let gate = Arc::clone(gate);
            thread::spawn(move || gate.begin_print())
        };
        let first = begin_print(&gate);
        gate.open();
        assert!(first.join().unwrap());
        gate.end_print();
        gate.pause();
        let second = begin_print(&gate);
        gate.close();
        assert!(!second.join().unwrap());
    }

    #[test]
    fn try_begin_print_never_waits() {
        let gate = PrintGate::default();
        assert!(!gate.try_begin_print());
        gate.open();
        assert!(gate.try_begin_print());
        assert!(!gate.try_begin_print());
        gate.end_print();
        gate.close();
        assert!(!gate.try_begin_print());
    }

    #[test]
    fn pause_does_not_wait_for_a_queued_message() {
        let gate = PrintGate::default();
        gate.open();
        assert!(gate.begin_print());
        gate.pause();
        assert!(gate.state().is_printing);
    }
}
