//! The time that a call into a plugin has left, by the clock of the options.

use std::cell::Cell;
use std::time::Duration;

use super::options::Clock;

/// Measures calls, one at a time, and detects one that is over its budget.
pub(super) struct CallBudget {
    clock: Clock,
    budget: Duration,
    /// Deadline of the running call; `None` between calls.
    deadline: Cell<Option<Duration>>,
    /// Whether a check has found the running call over its budget. From then on every check fails,
    /// whatever errors the plugin catches.
    is_exceeded: Cell<bool>,
    /// Time of all calls so far.
    spent: Cell<Duration>,
}

/// The running call is over its budget.
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

    /// Runs a call with this budget, and returns its result and its time.
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

    /// Fails once the running call is over its budget, until it ends.
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

    /// The clock's time.
    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Longest time of one call, and of all calls for one package together.
    pub(super) fn budget(&self) -> Duration {
        self.budget
    }

    pub(super) fn spent(&self) -> Duration {
        self.spent.get()
    }
}

/// The time that a call took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallTime {
    pub(super) took: Duration,
    /// Whether the budget was exceeded, by this clock or by an earlier check.
    pub(super) is_exceeded: bool,
}
