//! How far the removal of a listener has come. What is done on the way is `removal`'s matter.

use crate::clock::Millis;
use crate::limits::BACKLOG_MS_MAX;

/// The life of a listener's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenerState {
    InService,
    /// It has been removed, and its connections are drained.
    Draining(Drain),
    /// Nothing is left of it: the number can be given to another.
    Vacant,
}

/// A drain, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drain {
    pub(super) step: Step,
    /// Pages still to be looked through in this step: those before this position. They are looked
    /// through as in a [`Sweep`](super::sweep::Sweep).
    pub(super) pages_left: usize,
    /// Closing begins at this time even if input still arrives.
    pub(super) until: Millis,
    /// Connections that are left at this time are cut.
    pub(super) deadline: Millis,
    /// Connections there were when it began.
    pub(super) members: usize,
    /// Connections cut with replies unsent.
    pub(super) cut_unsent: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Clients in the backlog are accepted: they may have sent requests.
    Accepting,
    /// Every connection is to be read once more.
    Reading,
    /// Input that has arrived is being answered. Nobody leaves: an answer may be a broadcast.
    Answering,
    /// Connections begin to close.
    Closing,
    /// They are on their way, or have been cut and linger.
    Waiting,
    /// Those that are left are cut.
    Cutting,
}

impl ListenerState {
    /// Whether its connections are closing.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self, ListenerState::Draining(drain) if drain.step >= Step::Closing)
    }
}

impl Drain {
    pub(super) fn new(step: Step, members: usize, now: Millis) -> Self {
        let pages_left = if step == Step::Accepting { 0 } else { usize::MAX };
        let until = now.after(BACKLOG_MS_MAX);
        Drain { step, pages_left, until, deadline: Millis::NEVER, members, cut_unsent: 0 }
    }

    pub(super) fn begin(&mut self, step: Step) {
        (self.step, self.pages_left) = (step, usize::MAX);
    }

    /// Goes on where the time of a step is over.
    pub(super) fn skip_late_step(&mut self, now: Millis) {
        if self.step == Step::Waiting && now >= self.deadline {
            self.deadline = Millis::NEVER;
            self.begin(Step::Cutting);
        } else if self.step == Step::Answering && now >= self.until {
            self.begin(Step::Closing);
        }
    }
}
