//! Limits log lines that plugins, and through them clients, cause. Suppressed lines are counted,
//! and a summary of each plugin's is written.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use log::Level;

use super::identity::Identity;
use super::limits::LOG_LINES_PER_SEC;
use crate::clock::Millis;
use crate::line_limit::LineLimit;
use crate::thousands::grouped;

/// A kind of log line. Each kind has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// A call failed.
    Failure,
    /// A call succeeded but was slow.
    SlowCall,
    /// A plugin called `server.log`.
    Text,
}

impl LineKind {
    const ALL: [LineKind; 3] = [LineKind::Failure, LineKind::SlowCall, LineKind::Text];

    fn level(self) -> Level {
        match self {
            LineKind::Failure => Level::Error,
            LineKind::SlowCall => Level::Warn,
            LineKind::Text => Level::Info,
        }
    }

    /// The noun of a summary.
    fn noun(self) -> &'static str {
        match self {
            LineKind::Failure => "failure",
            LineKind::SlowCall => "slow call",
            LineKind::Text => "line",
        }
    }
}

/// The limits of all kinds, for all plugins of a host together.
pub(super) struct LogLines(RefCell<[Lines; LineKind::ALL.len()]>);

/// The limit of one kind, and the lines it suppressed.
struct Lines {
    kind: LineKind,
    limit: LineLimit,
    /// Suppressed lines since the last summary, by plugin; a plugin is in it at most once.
    suppressed: Vec<(Rc<Identity>, u64)>,
}

impl Default for LogLines {
    fn default() -> Self {
        LogLines(RefCell::new(LineKind::ALL.map(|kind| Lines {
            kind,
            limit: LineLimit::new(LOG_LINES_PER_SEC),
            suppressed: Vec::new(),
        })))
    }
}

impl LogLines {
    /// Whether a line of this kind may be written. If not, it is counted for this plugin.
    pub(super) fn admit(&self, kind: LineKind, plugin: &Rc<Identity>, now: Duration) -> bool {
        let now = millis(now);
        let lines = &mut self.0.borrow_mut()[kind as usize];
        lines.write_due(now);
        let is_admitted = lines.limit.admit(now);
        if !is_admitted {
            lines.count(plugin);
        }
        is_admitted
    }

    /// Milliseconds until the next summary is due; `None` if none is.
    pub(super) fn due_in(&self, now: impl FnOnce() -> Duration) -> Option<u64> {
        let due_at = self.0.borrow().iter().filter_map(|lines| lines.limit.due_at()).min()?;
        Some(due_at.since(millis(now())))
    }

    /// Writes the summaries that are due.
    pub(super) fn write_due(&self, now: Duration) {
        self.0.borrow_mut().iter_mut().for_each(|lines| lines.write_due(millis(now)));
    }

    /// Writes all summaries, due or not.
    pub(super) fn flush(&self) {
        for lines in self.0.borrow_mut().iter_mut() {
            if lines.limit.take().is_some() {
                lines.write_summaries();
            }
        }
    }
}

impl Lines {
    fn count(&mut self, plugin: &Rc<Identity>) {
        match self.suppressed.iter_mut().find(|(other, _)| Rc::ptr_eq(other, plugin)) {
            Some((_, count)) => *count += 1,
            None => self.suppressed.push((Rc::clone(plugin), 1)),
        }
    }

    fn write_due(&mut self, now: Millis) {
        if self.limit.take_due(now).is_some() {
            self.write_summaries();
        }
    }

    fn write_summaries(&mut self) {
        let Lines { kind, suppressed, .. } = self;
        for (plugin, count) in suppressed.drain(..) {
            let (name, noun) = (plugin.name(), kind.noun());
            let (count, plural) = (grouped(count), if count == 1 { "" } else { "s" });
            log::log!(
                kind.level(),
                "plugin {name}: {count} more {noun}{plural} in the last second"
            );
        }
    }
}

fn millis(time: Duration) -> Millis {
    Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
