//! Rate limit of work that is requested by signals: a burst of requests is one run now and one more
//! later. Knows nothing of the work.

use crate::clock::Millis;

/// Shortest time from the start of one run to the start of the next.
const INTERVAL_MS: u64 = 1000;

/// The next run starts no earlier than this many times the duration of the last one after its
/// start, so that the work takes at most a tenth of the time.
const REST_FACTOR: u64 = 10;

/// Requests for runs, and the earliest start of the next.
#[derive(Debug, Default)]
pub(super) struct SignalRateLimit {
    is_requested: bool,
    not_before: Millis,
}

impl SignalRateLimit {
    /// Requests a run. Requests before it begins are the same run.
    pub(super) fn request(&mut self) {
        self.is_requested = true;
    }

    /// Earliest start of the requested run; `None` without a request.
    pub(super) fn due_at(&self) -> Option<Millis> {
        self.is_requested.then_some(self.not_before)
    }

    /// Returns true if a run is due, and takes its request. [`end`](Self::end) must follow then.
    pub(super) fn begin(&mut self, now: Millis) -> bool {
        let begins = self.due_at().is_some_and(|due_at| due_at <= now);
        if begins {
            self.is_requested = false;
        }
        begins
    }

    /// Notes that the run which began at `began_at` has ended.
    pub(super) fn end(&mut self, began_at: Millis, now: Millis) {
        let rest_ms = now.since(began_at).saturating_mul(REST_FACTOR);
        self.not_before = began_at.after(INTERVAL_MS.max(rest_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts of runs of `took_ms` that are requested every `every_ms`, up to `ms`.
    fn runs(every_ms: u64, took_ms: u64, ms: u64) -> Vec<u64> {
        let (mut limit, mut begun, mut busy_until) = (SignalRateLimit::default(), Vec::new(), 0);
        for now in 0..ms {
            if now % every_ms == 0 {
                limit.request();
            }
            if now >= busy_until && limit.begin(Millis(now)) {
                begun.push(now);
                busy_until = now + took_ms;
                limit.end(Millis(now), Millis(busy_until));
            }
        }
        begun
    }

    #[test]
    fn request_storm_is_one_run_a_second() {
        assert_eq!(runs(20, 0, 3500), [0, 1000, 2000, 3000]);
        assert_eq!(runs(20, 100, 3500), [0, 1000, 2000, 3000]);
    }

    #[test]
    fn long_runs_take_a_tenth_of_the_time() {
        assert_eq!(runs(20, 450, 14_000), [0, 4500, 9000, 13_500]);
    }

    #[test]
    fn requests_far_apart_run_at_once() {
        assert_eq!(runs(1500, 0, 4000), [0, 1500, 3000]);
    }

    #[test]
    fn request_during_a_run_is_one_more_run() {
        let mut limit = SignalRateLimit::default();
        limit.request();
        assert_eq!(limit.due_at(), Some(Millis(0)));
        assert!(limit.begin(Millis(7)));
        assert_eq!(limit.due_at(), None);
        limit.end(Millis(7), Millis(9));
        (0..3).for_each(|_| limit.request());
        assert_eq!(limit.due_at(), Some(Millis(1007)));
        assert!(!limit.begin(Millis(1006)));
        assert!(limit.begin(Millis(1007)));
        assert!(!limit.begin(Millis(9999)));
    }
}
