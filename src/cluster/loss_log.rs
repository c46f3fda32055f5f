//! Lines of the log about messages that were missed: one a second at most, which counts all since the
//! one before it.

use log::warn;

use crate::clock::Millis;
use crate::line_limit::LineLimit;

#[derive(Debug)]
pub(super) struct LossLog {
    limit: LineLimit,
    /// Messages missed since the last line.
    lost: u64,
    /// More were missed, and how many is not known.
    or_more: bool,
}

impl LossLog {
    pub(super) fn new() -> Self {
        LossLog { limit: LineLimit::new(1), lost: 0, or_more: false }
    }

    /// Messages were missed: so many, and perhaps more.
    pub(super) fn note(&mut self, lost: u64, or_more: bool, now: Millis) {
        self.lost = self.lost.saturating_add(lost);
        self.or_more |= or_more;
        if self.limit.admit(now) {
            self.write();
        }
    }

    /// When [`on_time`](Self::on_time) is due.
    pub(super) fn due_at(&self) -> Option<Millis> {
        self.limit.due_at()
    }

    /// Writes the line of the second that is over.
    pub(super) fn on_time(&mut self, now: Millis) {
        if self.limit.take_due(now).is_some() {
            self.write();
        }
    }

    fn write(&mut self) {
        let lost = match (std::mem::take(&mut self.lost), std::mem::take(&mut self.or_more)) {
            (0, false) => return,
            (0, true) => "how many is not known".to_owned(),
            (lost, false) => lost.to_string(),
            (lost, true) => format!("{lost} or more"),
        };
        warn!("cluster: messages of other nodes that may have been missed: {lost}");
    }
}
