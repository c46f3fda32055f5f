//! The requests of one connection: when each was meant to leave, and how many are on their way.

use std::collections::VecDeque;

/// Requests that were meant to leave at the same time.
#[derive(Debug, Clone, Copy)]
struct Run {
    at: u64,
    count: u32,
}

/// The unanswered requests of one connection, oldest first; answers come in their order.
///
/// Invariant: the runs add up to `in_flight + waiting`, and none of them is empty.
#[derive(Debug, Default)]
pub(super) struct Lane {
    runs: VecDeque<Run>,
    in_flight: u32,
    waiting: u32,
}

impl Lane {
    /// `count` requests are meant to leave at `at`.
    pub(super) fn push(&mut self, at: u64, count: u32) {
        match self.runs.back_mut() {
            Some(last) if last.at == at => last.count += count,
            _ => self.runs.push_back(Run { at, count }),
        }
        self.waiting += count;
        self.debug_assert_invariants();
    }

    /// Sends off what waits, until `depth` are on their way; how many that is.
    pub(super) fn depart(&mut self, depth: u32) -> u32 {
        let count = self.waiting.min(depth.saturating_sub(self.in_flight));
        self.waiting -= count;
        self.in_flight += count;
        count
    }

    /// The oldest `count` requests are answered; `record` is told when they were meant to leave.
    /// False if there are not so many on their way, and then nothing is recorded.
    pub(super) fn answer(&mut self, mut count: u32, mut record: impl FnMut(u64, u32)) -> bool {
        if count > self.in_flight {
            return false;
        }
        self.in_flight -= count;
        while count > 0 {
            let Some(first) = self.runs.front_mut() else { break };
            let taken = count.min(first.count);
            record(first.at, taken);
            first.count -= taken;
            count -= taken;
            if first.count == 0 {
                self.runs.pop_front();
            }
        }
        self.debug_assert_invariants();
        true
    }

    /// Requests that were due and have no answer.
    pub(super) fn unanswered(&self) -> u64 {
        u64::from(self.in_flight) + u64::from(self.waiting)
    }

    fn debug_assert_invariants(&self) {
        // In a lane with a backlog the sum would take longer than all else.
        if self.runs.len() > 1_000 {
            return;
        }
        debug_assert_eq!(
            self.runs.iter().map(|run| u64::from(run.count)).sum::<u64>(),
            self.unanswered()
        );
        debug_assert!(self.runs.iter().all(|run| run.count > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_take_the_oldest_requests_with_the_times_they_were_meant_to_leave() {
        let mut lane = Lane::default();
        lane.push(10, 2);
        lane.push(20, 1);
        assert_eq!(lane.depart(8), 3);
        let mut seen = Vec::new();
        assert!(lane.answer(3, |at, count| seen.push((at, count))));
        assert_eq!(seen, [(10, 2), (20, 1)]);
        assert_eq!(lane.unanswered(), 0);
    }

    #[test]
    fn no_more_than_the_depth_are_on_their_way_and_the_rest_keep_their_times() {
        let mut lane = Lane::default();
        for at in [1, 2, 3] {
            lane.push(at, 1);
        }
        assert_eq!(lane.depart(1), 1);
        assert_eq!(lane.depart(1), 0);
        let mut seen = Vec::new();
        for _ in 0..3 {
            assert!(lane.answer(1, |at, _| seen.push(at)));
            lane.depart(1);
        }
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn an_answer_nobody_asked_for_is_told() {
        let mut lane = Lane::default();
        assert!(!lane.answer(1, |_, _| ()));
        lane.push(1, 2);
        assert!(!lane.answer(1, |_, _| ()), "not sent yet");
        lane.depart(1);
        assert!(!lane.answer(2, |_, _| panic!("nothing is recorded")));
        assert!(lane.answer(1, |_, _| ()));
    }
}
