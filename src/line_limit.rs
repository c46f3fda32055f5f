//! Rate limit for one kind of log line: so many a second, the rest counted. Knows neither the
//! lines nor a logger, and is handed the time.

use crate::clock::Millis;

const WINDOW_MS: u64 = 1000;

/// Admits at most a fixed number of lines a second and counts the others, so that their writer can
/// sum them up in one line when the second is over.
///
/// A second begins with its first line. The summary of one second counts as the first line of the
/// next: with a limit of 1, a flood is one line at once and then one a second.
///
/// ```
/// use mynah::internal::clock::Millis;
/// use mynah::internal::line_limit::LineLimit;
///
/// let mut limit = LineLimit::new(1);
/// assert!(limit.admit(Millis(0)));
/// assert!(!limit.admit(Millis(10)));
/// assert!(!limit.admit(Millis(20)));
/// assert_eq!(limit.due_at(), Some(Millis(1000)));
/// assert_eq!(limit.take_due(Millis(1000)), Some(2));
/// ```
#[derive(Debug, Clone)]
pub struct LineLimit {
    lines_per_sec: u32,
    /// Start of the current second; `None` before the first line.
    window_began_at: Option<Millis>,
    /// Lines admitted in the current second.
    lines: u32,
    /// Lines not admitted since the last summary.
    suppressed: u64,
}

impl LineLimit {
    /// A limit of `lines_per_sec`, at least 1.
    #[must_use]
    pub const fn new(lines_per_sec: u32) -> Self {
        LineLimit { lines_per_sec, window_began_at: None, lines: 0, suppressed: 0 }
    }

    /// Whether a line may be written; one that may not is counted. To be asked after
    /// [`take_due`](Self::take_due), so that a summary stands before the lines of the next second.
    #[must_use]
    pub fn admit(&mut self, now: Millis) -> bool {
        if self.is_over(now) {
            self.window_began_at = Some(now);
            self.lines = 0;
        }
        let is_admitted = self.lines < self.lines_per_sec;
        if is_admitted {
            self.lines += 1;
        } else {
            self.suppressed += 1;
        }
        is_admitted
    }

    /// Time at which a summary is due, if one is.
    #[must_use]
    pub fn due_at(&self) -> Option<Millis> {
        let began_at = self.window_began_at.filter(|_| self.suppressed > 0)?;
        Some(began_at.after(WINDOW_MS))
    }

    /// Takes the number of lines to sum up, if the second is over and there are any: the caller
    /// writes the summary.
    #[must_use]
    pub fn take_due(&mut self, now: Millis) -> Option<u64> {
        if !self.is_over(now) {
            return None;
        }
        let suppressed = self.take()?;
        self.window_began_at = Some(now);
        self.lines = 1;
        Some(suppressed)
    }

    /// Takes the number of lines to sum up, if there are any, although the second is not over.
    #[must_use]
    pub fn take(&mut self) -> Option<u64> {
        let suppressed = std::mem::take(&mut self.suppressed);
        (suppressed > 0).then_some(suppressed)
    }

    fn is_over(&self, now: Millis) -> bool {
        self.window_began_at.is_none_or(|began_at| now.since(began_at) >= WINDOW_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines and summaries of `per_ms` attempts in each of `ms` milliseconds.
    fn flood(limit: &mut LineLimit, per_ms: u64, ms: u64) -> (u64, Vec<u64>) {
        let (mut lines, mut summaries) = (0, Vec::new());
        for now in 0..ms {
            summaries.extend(limit.take_due(Millis(now)));
            lines += (0..per_ms).filter(|_| limit.admit(Millis(now))).count() as u64;
        }
        summaries.extend(limit.take());
        (lines, summaries)
    }

    #[test]
    fn flood_is_limited_and_counted_without_loss() {
        for limit in [1, 2, 100] {
            let (lines, summaries) = flood(&mut LineLimit::new(limit), 3, 5000);
            let written = lines + summaries.len() as u64;
            assert_eq!(written, 5 * u64::from(limit) + 1, "the last summary is taken early");
            assert_eq!(lines + summaries.iter().sum::<u64>(), 15_000);
        }
    }

    #[test]
    fn line_after_a_quiet_second_is_written_at_once() {
        let mut limit = LineLimit::new(1);
        assert_eq!((limit.due_at(), limit.take_due(Millis(0))), (None, None));
        for now in [Millis(5), Millis(1005), Millis(9000)] {
            assert!(limit.admit(now));
            assert_eq!(limit.due_at(), None);
        }
    }

    #[test]
    fn summary_is_due_a_second_after_the_first_line() {
        let mut limit = LineLimit::new(1);
        assert!(limit.admit(Millis(300)));
        assert!(!limit.admit(Millis(1299)));
        assert_eq!(limit.due_at(), Some(Millis(1300)));
        assert_eq!(limit.take_due(Millis(1299)), None);
        assert_eq!(limit.take_due(Millis(1300)), Some(1));
        assert!(!limit.admit(Millis(2299)), "the summary was the line of this second");
        assert_eq!(limit.take(), Some(1));
        assert_eq!((limit.take(), limit.due_at()), (None, None));
    }
}
