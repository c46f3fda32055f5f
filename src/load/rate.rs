//! Rates of connects, by a token bucket, and of requests, by a schedule. Knows no clock; times are
//! nanoseconds since the run began.

use super::share::Share;

/// Nanoseconds in a second.
pub(super) const NS_PER_SEC: u64 = 1_000_000_000;

/// Token bucket: allows a rate, and a short burst after a pause.
#[derive(Debug)]
pub(super) struct TokenBucket {
    per_sec: u64,
    /// Most tokens in the bucket.
    burst: u64,
    /// Content in token-nanoseconds: [`token`](Self::token) of them are a token.
    credit: u128,
    last_at: u64,
    share: Share,
}

impl TokenBucket {
    /// An empty bucket that fills in a hundredth of a second, and holds at least one token.
    pub(super) fn new(per_sec: u64, now: u64) -> Self {
        let burst = (per_sec / 100).max(1);
        TokenBucket { per_sec, burst, credit: 0, last_at: now, share: Share::WHOLE }
    }

    /// The same for one of several processes, which take the tokens in turn.
    pub(super) fn of(mut self, share: Share) -> Self {
        self.share = share;
        self.burst = (self.per_sec / 100 / share.jobs()).max(1);
        let behind = share.jobs() - 1 - share.job();
        self.credit = u128::from(behind) * u128::from(NS_PER_SEC);
        self
    }

    /// Token-nanoseconds in a token: the others' tokens pass by.
    fn token(&self) -> u128 {
        u128::from(NS_PER_SEC) * u128::from(self.share.jobs())
    }

    /// Takes all tokens, at most `wanted`. Returns their number.
    pub(super) fn take(&mut self, now: u64, wanted: u64) -> u64 {
        let gained = u128::from(now.saturating_sub(self.last_at)) * u128::from(self.per_sec);
        // A full bucket still collects fractions of the next token: at rates so low that it holds
        // one token, they would be missing from the rate.
        let token = self.token();
        let full = u128::from(self.burst + 1) * token - 1;
        self.credit = (self.credit + gained).min(full);
        self.last_at = self.last_at.max(now);
        let taken = wanted.min(u64::try_from(self.credit / token).unwrap_or(wanted));
        self.credit -= u128::from(taken) * token;
        taken
    }

    /// Puts back tokens that were taken and not used.
    pub(super) fn put_back(&mut self, count: u64) {
        self.credit += u128::from(count) * self.token();
    }

    /// Time at which there is a token.
    pub(super) fn next_at(&self) -> u64 {
        let missing = self.token().saturating_sub(self.credit);
        let wait = missing.div_ceil(u128::from(self.per_sec));
        self.last_at.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

/// A number of connects, spread evenly over a time.
#[derive(Debug)]
pub(super) struct Ramp {
    start_at: u64,
    length_ns: u64,
    /// Connects of all processes.
    count: u64,
    /// Those of this one.
    own: u64,
    taken: u64,
    share: Share,
}

impl Ramp {
    /// `count` connects over `length_ns` from `start_at` on, the first one at once.
    pub(super) fn new(start_at: u64, length_ns: u64, count: u64) -> Self {
        Ramp { start_at, length_ns, count: count.max(1), own: count, taken: 0, share: Share::WHOLE }
    }

    /// The same for one of several processes, which has `own` of the connects.
    pub(super) fn of(mut self, share: Share, own: u64) -> Self {
        (self.share, self.own) = (share, own);
        self
    }

    /// Takes all that are due, at most `wanted`. Returns their number.
    fn take(&mut self, now: u64, wanted: u64) -> u64 {
        let Some(elapsed) = now.checked_sub(self.start_at) else { return 0 };
        // The number of `n` with `n * length_ns / count <= elapsed`, rounded down as in `next_at`.
        let due = (u128::from(elapsed) + 1) * u128::from(self.count);
        let due = due.div_ceil(u128::from(self.length_ns.max(1)));
        let due = self.share.count(u64::try_from(due).unwrap_or(u64::MAX)).min(self.own);
        let taken = due.saturating_sub(self.taken).min(wanted);
        self.taken += taken;
        taken
    }

    /// Time at which the next is due.
    fn next_at(&self) -> u64 {
        let number = u128::from(self.share.number(self.taken));
        let offset = number * u128::from(self.length_ns) / u128::from(self.count);
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
#[derive(Debug, Clone)]
pub(super) struct RequestSchedule {
    start_at: u64,
    /// No request is due at this time or later.
    end_at: u64,
    per_sec: u64,
    /// Number of the next request, among those of all processes.
    next: u64,
    share: Share,
}

impl RequestSchedule {
    pub(super) fn new(start_at: u64, end_at: u64, per_sec: u64) -> Self {
        RequestSchedule { start_at, end_at, per_sec, next: 0, share: Share::WHOLE }
    }

    /// The same for one of several processes: the requests of its own connections, each with as many
    /// as any other.
    pub(super) fn of(mut self, share: Share) -> Self {
        (self.share, self.next) = (share, share.number(0));
        self
    }

    /// Time at which the next request is due; `None` after the last.
    pub(super) fn next_at(&self) -> Option<u64> {
        // Computed from the start each time, so that rounding errors do not add up.
        let offset = u128::from(self.next) * u128::from(NS_PER_SEC) / u128::from(self.per_sec);
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
        self.share.requests(due).saturating_sub(self.share.requests(self.next))
    }

    /// Takes the next request that was due by `now`. Returns the time at which it was.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        let at = self.next_at().filter(|at| *at <= now)?;
        self.next = self.share.request_after(self.next);
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
    fn processes_take_what_one_would_take() {
        let shares = [0, 1, 2].map(|job| Share::new(job, 3, 10));
        let times = |next: &mut dyn FnMut() -> Option<u64>| -> Vec<u64> {
            std::iter::from_fn(next).collect()
        };
        let ramp = |ramp: Ramp, count: u64| {
            let mut ramp = Pacer::Ramp(ramp);
            let mut left = count;
            times(&mut || {
                left = left.checked_sub(1)?;
                let at = ramp.next_at();
                (ramp.take(at, 1) == 1).then_some(at)
            })
        };
        let bucket = |bucket: TokenBucket, count: u64| {
            let mut bucket = Pacer::Bucket(bucket);
            let mut left = count;
            times(&mut || {
                left = left.checked_sub(1)?;
                let at = bucket.next_at();
                (bucket.take(at, 1) == 1).then_some(at)
            })
        };
        let requests = |mut schedule: RequestSchedule| {
            let all = schedule.overdue(u64::MAX);
            let taken = times(&mut || schedule.take(u64::MAX));
            assert_eq!((taken.len() as u64, schedule.overdue(u64::MAX)), (all, 0));
            taken
        };
        type Takes<'a> = &'a dyn Fn(Option<Share>) -> Vec<u64>;
        let connects: Takes<'_> = &|share| match share {
            Some(s) => ramp(Ramp::new(5, 999, 10).of(s, s.count(10)), s.count(10)),
            None => ramp(Ramp::new(5, 999, 10), 10),
        };
        let paced: Takes<'_> = &|share| match share {
            Some(s) => bucket(TokenBucket::new(7, 0).of(s), s.count(10)),
            None => bucket(TokenBucket::new(7, 0), 10),
        };
        let due: Takes<'_> = &|share| {
            let schedule = RequestSchedule::new(5, 5 + 2 * NS_PER_SEC, 33);
            requests(share.map_or(schedule.clone(), |share| schedule.of(share)))
        };
        for takes in [connects, paced, due] {
            let mut shared: Vec<u64> = shares.iter().flat_map(|s| takes(Some(*s))).collect();
            shared.sort_unstable();
            assert_eq!(shared, takes(None));
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
