//! Rates of connects, by a token bucket, and of requests, by a schedule. Knows no clock; times are
//! nanoseconds since the run began.

/// Nanoseconds in a second.
pub(super) const NS_PER_SEC: u64 = 1_000_000_000;

/// Token bucket: allows a rate, and a short burst after a pause.
#[derive(Debug)]
pub(super) struct TokenBucket {
    per_sec: u64,
    /// Most tokens in the bucket.
    burst: u64,
    /// Content in token-nanoseconds: [`NS_PER_SEC`] of them are a token.
    credit: u128,
    last_at: u64,
}

impl TokenBucket {
    /// An empty bucket that fills in a hundredth of a second, and holds at least one token.
    pub(super) fn new(per_sec: u64, now: u64) -> Self {
        TokenBucket { per_sec, burst: (per_sec / 100).max(1), credit: 0, last_at: now }
    }

    /// Takes all tokens, at most `wanted`. Returns their number.
    pub(super) fn take(&mut self, now: u64, wanted: u64) -> u64 {
        let gained = u128::from(now.saturating_sub(self.last_at)) * u128::from(self.per_sec);
        // A full bucket still collects fractions of the next token: at rates so low that it holds
        // one token, they would be missing from the rate.
        let full = u128::from(self.burst + 1) * u128::from(NS_PER_SEC) - 1;
        self.credit = (self.credit + gained).min(full);
        self.last_at = self.last_at.max(now);
        let taken =
            wanted.min(u64::try_from(self.credit / u128::from(NS_PER_SEC)).unwrap_or(wanted));
        self.credit -= u128::from(taken) * u128::from(NS_PER_SEC);
        taken
    }

    /// Puts back tokens that were taken and not used.
    pub(super) fn put_back(&mut self, count: u64) {
        self.credit += u128::from(count) * u128::from(NS_PER_SEC);
    }

    /// Time at which there is a token.
    pub(super) fn next_at(&self) -> u64 {
        let missing = u128::from(NS_PER_SEC).saturating_sub(self.credit);
        let wait = missing.div_ceil(u128::from(self.per_sec));
        self.last_at.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

/// A number of connects, spread evenly over a time.
#[derive(Debug)]
pub(super) struct Ramp {
    start_at: u64,
    length_ns: u64,
    count: u64,
    taken: u64,
}

impl Ramp {
    /// `count` connects over `length_ns` from `start_at` on, the first one at once.
    pub(super) fn new(start_at: u64, length_ns: u64, count: u64) -> Self {
        Ramp { start_at, length_ns, count: count.max(1), taken: 0 }
    }

    /// Takes all that are due, at most `wanted`. Returns their number.
    fn take(&mut self, now: u64, wanted: u64) -> u64 {
        let Some(elapsed) = now.checked_sub(self.start_at) else { return 0 };
        // The number of `n` with `n * length_ns / count <= elapsed`, rounded down as in `next_at`.
        let due = (u128::from(elapsed) + 1) * u128::from(self.count);
        let due = due.div_ceil(u128::from(self.length_ns.max(1)));
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(self.count);
        let taken = due.saturating_sub(self.taken).min(wanted);
        self.taken += taken;
        taken
    }

    /// Time at which the next is due.
    fn next_at(&self) -> u64 {
        let offset = u128::from(self.taken) * u128::from(self.length_ns) / u128::from(self.count);
        self.start_at.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }
}

/// The pace of connects.
#[derive(Debug)]
pub(super) enum Pacer {
    Bucket(TokenBucket),
    Ramp(Ramp),
}

impl Pacer {
    /// Takes what is allowed by `now`, at most `wanted`. Returns the number.
    pub(super) fn take(&mut self, now: u64, wanted: u64) -> u64 {
        match self {
            Pacer::Bucket(bucket) => bucket.take(now, wanted),
            Pacer::Ramp(ramp) => ramp.take(now, wanted),
        }
    }

    /// Puts back connects that were taken and not started.
    pub(super) fn put_back(&mut self, count: u64) {
        match self {
            Pacer::Bucket(bucket) => bucket.put_back(count),
            Pacer::Ramp(ramp) => ramp.taken = ramp.taken.saturating_sub(count),
        }
    }

    /// Time at which the next is allowed.
    pub(super) fn next_at(&self) -> u64 {
        match self {
            Pacer::Bucket(bucket) => bucket.next_at(),
            Pacer::Ramp(ramp) => ramp.next_at(),
        }
    }
}

/// Times at which requests are due, whether or not earlier ones are answered. This makes a load
/// open-loop: a stalled server cannot hide its stall by delaying the requests that would have seen it
/// (Gil Tene, "How NOT to Measure Latency": coordinated omission).
#[derive(Debug)]
pub(super) struct RequestSchedule {
    start_at: u64,
    /// No request is due at this time or later.
    end_at: u64,
    per_sec: u64,
    issued: u64,
}

impl RequestSchedule {
    pub(super) fn new(start_at: u64, end_at: u64, per_sec: u64) -> Self {
        RequestSchedule { start_at, end_at, per_sec, issued: 0 }
    }

    /// Time at which the next request is due; `None` after the last.
    pub(super) fn next_at(&self) -> Option<u64> {
        // Computed from the start each time, so that rounding errors do not add up.
        let offset = u128::from(self.issued) * u128::from(NS_PER_SEC) / u128::from(self.per_sec);
        let at = self.start_at.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX));
        (at < self.end_at).then_some(at)
    }

    /// Ends the schedule: nothing is due at `now` or later.
    pub(super) fn close(&mut self, now: u64) {
        self.end_at = self.end_at.min(now);
    }

    /// Number of requests that were due by `now` and not taken.
    pub(super) fn overdue(&self, now: u64) -> u64 {
        let Some(last_at) = now.min(self.end_at.saturating_sub(1)).checked_sub(self.start_at)
        else {
            return 0;
        };
        // The number of `n` with `n * NS_PER_SEC / per_sec <= last_at`, rounded down as in `next_at`.
        let due = (u128::from(last_at) + 1) * u128::from(self.per_sec);
        let due = u64::try_from(due.div_ceil(u128::from(NS_PER_SEC))).unwrap_or(u64::MAX);
        due.saturating_sub(self.issued)
    }

    /// Takes the next request that was due by `now`. Returns the time at which it was.
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
    fn bucket_allows_its_rate() {
        for rate in [1, 3, 999, 10_000, 10_000_000] {
            let mut bucket = TokenBucket::new(rate, 0);
            let millis = 0..=2_000;
            let taken: u64 = millis.map(|ms| bucket.take(ms * 1_000_000, u64::MAX)).sum();
            assert_eq!(taken, 2 * rate, "{rate} a second");
        }
    }

    #[test]
    fn ramp_is_spread_evenly() {
        for (count, length_ns) in [(1, 9), (3, 1_000), (1_000, 7), (7, NS_PER_SEC), (5, 0)] {
            let mut ramp = Pacer::Ramp(Ramp::new(500, length_ns, count));
            assert_eq!((ramp.take(499, 9), ramp.next_at()), (0, 500));
            for n in 0..count {
                let at = ramp.next_at();
                assert_eq!(at, 500 + n * length_ns / count);
                assert!(at == 500 || ramp.take(at - 1, 1) == 0, "{n} of {count}, {length_ns}");
                assert_eq!(ramp.take(at, 1), 1);
            }
            assert_eq!(ramp.take(u64::MAX, 9), 0, "no more than asked for");
            ramp.put_back(1);
            assert_eq!(ramp.take(u64::MAX, 9), 1);
        }
    }

    #[test]
    fn bucket_collects_a_hundredth_of_a_second() {
        let mut bucket = TokenBucket::new(1_000, 0);
        assert_eq!(bucket.take(0, 5), 0, "it begins empty");
        assert_eq!(bucket.take(60 * NS_PER_SEC, u64::MAX), 10);
        assert_eq!(TokenBucket::new(5, 0).take(60 * NS_PER_SEC, 9), 1, "one at least");
    }

    #[test]
    fn tokens_stay_until_taken() {
        let mut bucket = TokenBucket::new(1_000, 0);
        assert_eq!(bucket.next_at(), 1_000_000);
        assert_eq!(bucket.take(3_000_000, 1), 1);
        assert_eq!(bucket.next_at(), 3_000_000);
        assert_eq!(bucket.take(3_000_000, 9), 2);
        assert_eq!(bucket.next_at(), 4_000_000);
        assert_eq!(bucket.take(2_000_000, 9), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn due_times_are_even_from_the_start() {
        let mut schedule = RequestSchedule::new(500, 500 + NS_PER_SEC, 3);
        assert_eq!(schedule.take(499), None);
        let all: Vec<u64> = std::iter::from_fn(|| schedule.take(u64::MAX)).collect();
        assert_eq!(all, [500, 500 + 333_333_333, 500 + 666_666_666]);
        assert_eq!(schedule.next_at(), None);
    }

    #[test]
    fn overdue_requests_are_those_that_can_be_taken() {
        for (rate, now) in
            [(1, 0), (3, 333_333_332), (3, 333_333_333), (7, 999), (1_000_000, 12_345)]
        {
            let mut schedule = RequestSchedule::new(500, 500 + NS_PER_SEC, rate);
            assert_eq!(schedule.overdue(499), 0);
            let now = 500 + now;
            let overdue = schedule.overdue(now);
            let taken = std::iter::from_fn(|| schedule.take(now)).count();
            assert_eq!((overdue, schedule.overdue(now)), (taken as u64, 0), "{rate} at {now}");
        }
        let mut schedule = RequestSchedule::new(500, 500 + NS_PER_SEC, 9);
        assert_eq!(schedule.overdue(u64::MAX), 9);
        schedule.close(500 + NS_PER_SEC / 3);
        assert_eq!(schedule.overdue(u64::MAX), 3);
        assert_eq!(std::iter::from_fn(|| schedule.take(u64::MAX)).count(), 3);
        schedule.close(0);
        assert_eq!(schedule.overdue(u64::MAX), 0);
    }

    #[test]
    fn late_requests_keep_their_due_times() {
        let mut schedule = RequestSchedule::new(0, 10 * NS_PER_SEC, 10);
        let late = 350_000_000;
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take(late)).collect();
        assert_eq!(due, [0, 100_000_000, 200_000_000, 300_000_000]);
        assert_eq!(schedule.next_at(), Some(400_000_000));
    }

    #[test]
    fn schedule_has_its_rate_each_second() {
        for rate in [1, 7, 1_000, 33_333, 1_000_000] {
            let mut schedule = RequestSchedule::new(0, NS_PER_SEC, rate);
            let count = std::iter::from_fn(|| schedule.take(u64::MAX)).count();
            assert_eq!(count as u64, rate);
        }
    }
}
