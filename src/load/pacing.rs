//! When things happen: connects no faster than a rate, requests at the times of a schedule. Knows
//! no clock; times are nanoseconds since the run began.

/// Nanoseconds of a second.
pub(super) const NS_PER_SEC: u64 = 1_000_000_000;

/// Lets through so many a second, and a few at once after a pause (a token bucket).
#[derive(Debug)]
pub(super) struct TokenBucket {
    per_sec: u64,
    /// Most tokens that gather while nobody takes any.
    burst: u64,
    /// What has gathered, in token-nanoseconds: [`NS_PER_SEC`] of them make a token.
    credit: u128,
    last_at: u64,
}

impl TokenBucket {
    /// An empty bucket that takes a hundredth of a second to fill, and holds one token at least.
    pub(super) fn new(per_sec: u64, now: u64) -> Self {
        TokenBucket { per_sec, burst: (per_sec / 100).max(1), credit: 0, last_at: now }
    }

    /// Takes as many tokens as there are, `wanted` at most.
    pub(super) fn take(&mut self, now: u64, wanted: u64) -> u64 {
        let gained = u128::from(now.saturating_sub(self.last_at)) * u128::from(self.per_sec);
        // A full bucket still gathers the next token: what drops beside it would be missing at
        // rates so low that the bucket holds one.
        let full = u128::from(self.burst + 1) * u128::from(NS_PER_SEC) - 1;
        self.credit = (self.credit + gained).min(full);
        self.last_at = self.last_at.max(now);
        let taken =
            wanted.min(u64::try_from(self.credit / u128::from(NS_PER_SEC)).unwrap_or(wanted));
        self.credit -= u128::from(taken) * u128::from(NS_PER_SEC);
        taken
    }

    /// When there will be a token.
    pub(super) fn next_at(&self) -> u64 {
        let missing = u128::from(NS_PER_SEC).saturating_sub(self.credit);
        let wait = missing.div_ceil(u128::from(self.per_sec));
        self.last_at.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

/// The times at which requests are meant to leave, whatever becomes of the earlier ones: that is
/// what makes a load open-loop, and what keeps a stalled server from hiding its stall (Gil Tene,
/// "How NOT to Measure Latency": coordinated omission).
#[derive(Debug)]
pub(super) struct Schedule {
    start_at: u64,
    /// No request is meant to leave at this time or later.
    end_at: u64,
    per_sec: u64,
    issued: u64,
}

impl Schedule {
    pub(super) fn new(start_at: u64, end_at: u64, per_sec: u64) -> Self {
        Schedule { start_at, end_at, per_sec, issued: 0 }
    }

    /// When the next request is meant to leave; `None` when that was the last.
    pub(super) fn next_at(&self) -> Option<u64> {
        // Counted from the start each time, so that no rounding adds up.
        let offset = u128::from(self.issued) * u128::from(NS_PER_SEC) / u128::from(self.per_sec);
        let at = self.start_at.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX));
        (at < self.end_at).then_some(at)
    }

    /// Nothing more is meant to leave at `now` or later.
    pub(super) fn close(&mut self, now: u64) {
        self.end_at = self.end_at.min(now);
    }

    /// How many requests should have left by `now` and were not taken.
    pub(super) fn overdue(&self, now: u64) -> u64 {
        let Some(last_at) = now.min(self.end_at.saturating_sub(1)).checked_sub(self.start_at)
        else {
            return 0;
        };
        // As many `n` as have `n * NS_PER_SEC / per_sec <= last_at`, rounded down as in `next_at`.
        let due = (u128::from(last_at) + 1) * u128::from(self.per_sec);
        let due = u64::try_from(due.div_ceil(u128::from(NS_PER_SEC))).unwrap_or(u64::MAX);
        due.saturating_sub(self.issued)
    }

    /// The time of the next request that should have left by `now`; each is returned once.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        let at = self.next_at().filter(|at| *at <= now)?;
        self.issued += 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_lets_through_its_rate() {
        for rate in [1, 3, 999, 10_000, 10_000_000] {
            let mut bucket = TokenBucket::new(rate, 0);
            let millis = 0..=2_000;
            let taken: u64 = millis.map(|ms| bucket.take(ms * 1_000_000, u64::MAX)).sum();
            assert_eq!(taken, 2 * rate, "{rate} a second");
        }
    }

    #[test]
    fn a_pause_gathers_a_hundredth_of_a_second_and_no_more() {
        let mut bucket = TokenBucket::new(1_000, 0);
        assert_eq!(bucket.take(0, 5), 0, "it begins empty");
        assert_eq!(bucket.take(60 * NS_PER_SEC, u64::MAX), 10);
        assert_eq!(TokenBucket::new(5, 0).take(60 * NS_PER_SEC, 9), 1, "one at least");
    }

    #[test]
    fn what_is_not_taken_stays_and_the_next_token_is_announced() {
        let mut bucket = TokenBucket::new(1_000, 0);
        assert_eq!(bucket.next_at(), 1_000_000);
        assert_eq!(bucket.take(3_000_000, 1), 1);
        assert_eq!(bucket.next_at(), 3_000_000);
        assert_eq!(bucket.take(3_000_000, 9), 2);
        assert_eq!(bucket.next_at(), 4_000_000);
        assert_eq!(bucket.take(2_000_000, 9), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn requests_are_due_at_even_times_counted_from_the_start() {
        let mut schedule = Schedule::new(500, 500 + NS_PER_SEC, 3);
        assert_eq!(schedule.take(499), None);
        let all: Vec<u64> = std::iter::from_fn(|| schedule.take(u64::MAX)).collect();
        assert_eq!(all, [500, 500 + 333_333_333, 500 + 666_666_666]);
        assert_eq!(schedule.next_at(), None);
    }

    #[test]
    fn what_is_overdue_is_what_could_be_taken() {
        for (rate, now) in
            [(1, 0), (3, 333_333_332), (3, 333_333_333), (7, 999), (1_000_000, 12_345)]
        {
            let mut schedule = Schedule::new(500, 500 + NS_PER_SEC, rate);
            assert_eq!(schedule.overdue(499), 0);
            let now = 500 + now;
            let overdue = schedule.overdue(now);
            let taken = std::iter::from_fn(|| schedule.take(now)).count();
            assert_eq!((overdue, schedule.overdue(now)), (taken as u64, 0), "{rate} at {now}");
        }
        let mut schedule = Schedule::new(500, 500 + NS_PER_SEC, 9);
        assert_eq!(schedule.overdue(u64::MAX), 9);
        schedule.close(500 + NS_PER_SEC / 3);
        assert_eq!(schedule.overdue(u64::MAX), 3);
        assert_eq!(std::iter::from_fn(|| schedule.take(u64::MAX)).count(), 3);
        schedule.close(0);
        assert_eq!(schedule.overdue(u64::MAX), 0);
    }

    #[test]
    fn a_late_taker_gets_the_times_that_were_meant_not_the_time_it_is() {
        let mut schedule = Schedule::new(0, 10 * NS_PER_SEC, 10);
        let late = 350_000_000;
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take(late)).collect();
        assert_eq!(due, [0, 100_000_000, 200_000_000, 300_000_000]);
        assert_eq!(schedule.next_at(), Some(400_000_000));
    }

    #[test]
    fn a_second_has_exactly_as_many_requests_as_the_rate_says() {
        for rate in [1, 7, 1_000, 33_333, 1_000_000] {
            let mut schedule = Schedule::new(0, NS_PER_SEC, rate);
            let count = std::iter::from_fn(|| schedule.take(u64::MAX)).count();
            assert_eq!(count as u64, rate);
        }
    }
}
