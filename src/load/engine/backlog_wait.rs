//! The wait of a connect for a Unix socket's full backlog. Knows times, no sockets.

use super::CONNECT_NS_MAX;

/// Time between two tries.
const RETRY_NS: u64 = 1_000_000;

/// The wait of the connect that is next. It is part of the connect, whose time it counts to.
#[derive(Debug, Default)]
pub(super) struct BacklogWait {
    /// Time of the first try; `None` without a wait.
    since: Option<u64>,
}

impl BacklogWait {
    /// The backlog is full at `now`. Returns the time of the next try; `None` if the connect has waited
    /// for as long as it may, which ends its wait.
    pub(super) fn next_try_at(&mut self, now: u64) -> Option<u64> {
        let since = *self.since.get_or_insert(now);
        if now < since.saturating_add(CONNECT_NS_MAX) {
            return Some(now.saturating_add(RETRY_NS));
        }
        self.since = None;
        None
    }

    /// Ends the wait of a connect that goes on at `now`. Returns when it began.
    pub(super) fn end(&mut self, now: u64) -> u64 {
        self.since.take().unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_counts_to_the_connect() {
        let mut wait = BacklogWait::default();
        assert_eq!(wait.end(5), 5, "no wait");
        assert_eq!(wait.next_try_at(7), Some(7 + RETRY_NS));
        assert_eq!(wait.next_try_at(7 + RETRY_NS), Some(7 + 2 * RETRY_NS));
        assert_eq!(wait.end(9 + RETRY_NS), 7);
        assert_eq!(wait.end(11 + RETRY_NS), 11 + RETRY_NS);
    }

    #[test]
    fn connect_that_gave_up_leaves_no_wait_to_the_next() {
        let mut wait = BacklogWait::default();
        assert!(wait.next_try_at(7).is_some());
        assert_eq!(wait.next_try_at(7 + CONNECT_NS_MAX), None);
        assert!(wait.next_try_at(8 + CONNECT_NS_MAX).is_some(), "the next has all of its time");
        assert_eq!(wait.end(9 + CONNECT_NS_MAX), 8 + CONNECT_NS_MAX);
    }
}
