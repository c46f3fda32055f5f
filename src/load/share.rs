//! Share of a run that one of several processes has. Each has every N-th connection, and with it what
//! is due on these, so that all of them together do what one process would do.

/// The connections `job`, `job + jobs` and so on, of all. A process numbers its own from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Number of the process, from 0.
    job: u64,
    jobs: u64,
    /// Connections of all processes.
    all: u64,
}

impl Share {
    /// The share of the only process.
    pub(super) const WHOLE: Share = Share { job: 0, jobs: 1, all: 1 };

    /// The share of process `job` of `jobs`, with `all` connections, of which each has one at least.
    pub(super) fn new(job: u32, jobs: u32, all: u32) -> Self {
        debug_assert!(job < jobs && jobs <= all);
        Share { job: job.into(), jobs: jobs.into(), all: all.into() }
    }

    /// Number of processes.
    pub(super) fn jobs(self) -> u64 {
        self.jobs
    }

    /// Number of processes that come before this one.
    pub(super) fn job(self) -> u64 {
        self.job
    }

    /// Connections of all processes; `own` if this is the only one.
    pub(super) fn all(self, own: u64) -> u64 {
        if self.jobs == 1 { own } else { self.all }
    }

    /// How many of the first `count` of all connections, or of any that are dealt out likewise, are
    /// in the share.
    pub(super) fn count(self, count: u64) -> u64 {
        count.saturating_sub(self.job).div_ceil(self.jobs)
    }

    /// Number among all of the share's own connection `index`.
    pub(super) fn number(self, index: u64) -> u64 {
        self.job + index * self.jobs
    }

    /// The request after `number`, where request `n` of all is that of connection `n % all`.
    pub(super) fn request_after(self, number: u64) -> u64 {
        if self.jobs == 1 {
            return number + 1;
        }
        let place = number % self.all;
        let next = place + self.jobs;
        if next < self.all { number + self.jobs } else { number - place + self.all + self.job }
    }

    /// How many of the first `count` requests of all are in the share.
    pub(super) fn requests(self, count: u64) -> u64 {
        count / self.all * self.count(self.all) + self.count(count % self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(jobs: u32, all: u32) -> Vec<Share> {
        (0..jobs).map(|job| Share::new(job, jobs, all)).collect()
    }

    #[test]
    fn shares_add_up() {
        let counts = |jobs| shares(jobs, 10).iter().map(|s| s.count(10)).collect::<Vec<u64>>();
        assert_eq!(counts(3), [4, 3, 3]);
        assert_eq!((counts(1), counts(10)), (vec![10], vec![1; 10]));
        for (jobs, all) in [(1, 1), (2, 3), (3, 19), (7, 7), (7, 100), (256, 1_000)] {
            let sum: u64 = shares(jobs, all).iter().map(|s| s.count(all.into())).sum();
            assert_eq!(sum, u64::from(all));
        }
    }

    #[test]
    fn connections_are_dealt_out_in_turn() {
        for (jobs, all) in [(1, 4), (3, 10), (7, 19)] {
            let mut numbers: Vec<u64> = Vec::new();
            for share in shares(jobs, all) {
                numbers.extend((0..share.count(all.into())).map(|index| share.number(index)));
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (0..u64::from(all)).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn requests_are_those_of_the_connections() {
        for (jobs, all) in [(1, 1), (1, 4), (3, 10), (7, 7), (7, 19)] {
            let mut found = vec![0; 200];
            for share in shares(jobs, all) {
                let mut number = share.number(0);
                let mut taken = 0;
                while number < 200 {
                    assert_eq!(share.requests(number), taken, "{share:?} before {number}");
                    assert_eq!(number % share.all % share.jobs, share.job);
                    found[number as usize] += 1;
                    taken += 1;
                    number = share.request_after(number);
                }
                assert_eq!(share.requests(200), taken);
            }
            assert_eq!(found, [1; 200], "{jobs} for {all}");
        }
        assert_eq!(Share::WHOLE.requests(u64::MAX), u64::MAX);
    }
}
