//! The time a call into a plugin has left. Reads the clock it was handed and no other.

use std::cell::Cell;
use std::time::Duration;

use super::options::Clock;

/// Measures calls, one at a time, and says when one has run too long.
pub(super) struct CallBudget {
    clock: Clock,
    budget: Duration,
    /// When the call that is running must be over; `None` between calls.
    deadline: Cell<Option<Duration>>,
    /// Whether the call that is running has been found over its time. It stays so: from then on
    /// every check fails, whatever the plugin catches.
    is_exceeded: Cell<bool>,
    /// Of all calls so far.
    spent: Cell<Duration>,
}

/// A call has run too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeoutError;

impl CallBudget {
    pub(super) fn new(clock: Clock, budget: Duration) -> Self {
        CallBudget {
            clock,
            budget,
            deadline: Cell::new(None),
            is_exceeded: Cell::new(false),
            spent: Cell::new(Duration::ZERO),
        }
    }

    /// Runs a call that has so much time. Returns with its result how long it took, and whether that
    /// was too long.
    pub(super) fn measure<T>(&self, budget: Duration, call: impl FnOnce() -> T) -> (T, CallTime) {
        debug_assert!(self.deadline.get().is_none(), "one call at a time");
        let start = (self.clock)();
        self.deadline.set(Some(start.saturating_add(budget)));
        let result = call();
        let took = (self.clock)().saturating_sub(start);
        self.deadline.set(None);
        self.spent.set(self.spent.get().saturating_add(took));
        let is_exceeded = self.is_exceeded.replace(false) || took > budget;
        (result, CallTime { took, is_exceeded })
    }

    /// Fails once the running call is over its time, and then until it ends.
    pub(super) fn check(&self) -> Result<(), TimeoutError> {
        if self.is_exceeded.get() {
            return Err(TimeoutError);
        }
        match self.deadline.get() {
            Some(deadline) if (self.clock)() >= deadline => {
                self.is_exceeded.set(true);
                Err(TimeoutError)
            }
            _ => Ok(()),
        }
    }

    /// The time by the clock that was handed in.
    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Most time a call may take, and all calls for one package together.
    pub(super) fn budget(&self) -> Duration {
        self.budget
    }

    pub(super) fn spent(&self) -> Duration {
        self.spent.get()
    }
}

/// How a call went, as far as time is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallTime {
    pub(super) took: Duration,
    /// Whether that was too long.
    pub(super) is_exceeded: bool,
}
