//! Unanswered requests of one connection: the time at which each was due, and how many are sent.

use std::collections::VecDeque;

/// Requests that were due at the same time.
#[derive(Debug, Clone, Copy)]
struct DueGroup {
    at: u64,
    count: u32,
}

/// Unanswered requests of one connection, oldest first; answers come in their order.
///
/// Invariant: the groups add up to `sent + waiting`, and none is empty.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    groups: VecDeque<DueGroup>,
    sent: u32,
    waiting: u32,
}

impl InFlight {
    /// Adds `count` requests that are due at `at`.
    pub(super) fn push(&mut self, at: u64, count: u32) {
        match self.groups.back_mut() {
            Some(last) if last.at == at => last.count += count,
            _ => self.groups.push_back(DueGroup { at, count }),
        }
        self.waiting += count;
        self.debug_assert_invariants();
    }

    /// Counts waiting requests as sent, until `depth` are. Returns how many to send.
    pub(super) fn release(&mut self, depth: u32) -> u32 {
        let count = self.waiting.min(depth.saturating_sub(self.sent));
        self.waiting -= count;
        self.sent += count;
        count
    }

    /// Removes the oldest `count` requests, which are answered; calls `record` with the times at which
    /// they were due. False if fewer are sent; then nothing is recorded.
    pub(super) fn complete(&mut self, mut count: u32, mut record: impl FnMut(u64, u32)) -> bool {
        if count > self.sent {
            return false;
        }
        self.sent -= count;
        while count > 0 {
            let Some(first) = self.groups.front_mut() else { break };
            let taken = count.min(first.count);
            record(first.at, taken);
            first.count -= taken;
            count -= taken;
            if first.count == 0 {
                self.groups.pop_front();
            }
        }
        self.debug_assert_invariants();
        true
    }

    /// Number of requests that are sent and have no answer.
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// Number of requests that were due and are not sent.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Number of requests that were due and have no answer.
    pub(super) fn unanswered(&self) -> u64 {
        u64::from(self.sent) + u64::from(self.waiting)
    }

    fn debug_assert_invariants(&self) {
        // With a backlog, the sum would take longer than all else.
        if self.groups.len() > 1_000 {
            return;
        }
        debug_assert_eq!(
            self.groups.iter().map(|group| u64::from(group.count)).sum::<u64>(),
            self.unanswered()
        );
        debug_assert!(self.groups.iter().all(|group| group.count > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_complete_the_oldest_requests() {
        let mut in_flight = InFlight::default();
        in_flight.push(10, 2);
        in_flight.push(20, 1);
        assert_eq!(in_flight.release(8), 3);
        let mut completed = Vec::new();
        assert!(in_flight.complete(3, |at, count| completed.push((at, count))));
        assert_eq!(completed, [(10, 2), (20, 1)]);
        assert_eq!(in_flight.unanswered(), 0);
    }

    #[test]
    fn waiting_requests_keep_their_times() {
        let mut in_flight = InFlight::default();
        for at in [1, 2, 3] {
            in_flight.push(at, 1);
        }
        assert_eq!(in_flight.release(1), 1);
        assert_eq!(in_flight.release(1), 0);
        assert_eq!((in_flight.sent(), in_flight.waiting()), (1, 2));
        let mut completed = Vec::new();
        for _ in 0..3 {
            assert!(in_flight.complete(1, |at, _| completed.push(at)));
            in_flight.release(1);
        }
        assert_eq!(completed, [1, 2, 3]);
    }

    #[test]
    fn unrequested_answers_are_reported() {
        let mut in_flight = InFlight::default();
        assert!(!in_flight.complete(1, |_, _| ()));
        in_flight.push(1, 2);
        assert!(!in_flight.complete(1, |_, _| ()), "not sent yet");
        in_flight.release(1);
        assert!(!in_flight.complete(2, |_, _| panic!("nothing is recorded")));
        assert!(in_flight.complete(1, |_, _| ()));
    }
}
