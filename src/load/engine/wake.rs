//! Sleepers: some connections are asked once, sleep, and are asked twice more when their time is over.
//! [`connection_io`](super::connection_io) does the work on one connection.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::connection::State;
use super::super::plan::Mode;
use super::super::share::Share;
use super::super::stats::Phase;
use super::super::wake::{WakeStep, sleeps};
use super::Engine;

/// Shortest time between two requests, so that none waits for another.
const GAP_NS: u64 = 1_000_000;

/// State of the sleepers of a run.
#[derive(Debug)]
pub(super) struct Sleepers {
    steps: Vec<Step>,
    /// In the order of their connections.
    samples: Vec<Sample>,
    /// Samples in the order in which they are put to sleep: those of one step together.
    order: Vec<usize>,
    /// How many of them have been asked.
    asked: usize,
    /// Times at which samples are to be woken.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    next_request_at: u64,
    /// Samples that are not done.
    left: usize,
}

#[derive(Debug)]
struct Step {
    sleep_ns: u64,
    first_woken_at: Option<u64>,
    record: WakeStep,
}

/// A connection that is woken.
#[derive(Debug)]
struct Sample {
    /// Its connection.
    index: usize,
    step: usize,
    stage: Stage,
    /// Time at which its last request left.
    sent_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not been put to sleep.
    Awake,
    /// It has been asked, and sleeps from the answer on.
    Dozing,
    Asleep,
    /// It has been asked again.
    First,
    /// And once more.
    Second,
    Done,
}

impl Sleepers {
    /// Those of `mode`, of which this process has `share`; `None` if it has none.
    pub(super) fn new(mode: Mode, share: Share) -> Option<Box<Self>> {
        let Mode::Wake { connections, sample, .. } = mode else { return None };
        let sleeps = sleeps(mode.ns());
        let connections = connections as usize;
        let count = connections.min(sample as usize);
        let samples: Vec<Sample> = (0..count)
            .map(|number| Sample {
                index: number * connections / count,
                // The longest sleep has one, however few there are in all processes.
                step: sleeps.len() - 1 - share.number(number as u64) as usize % sleeps.len(),
                stage: Stage::Awake,
                sent_at: 0,
            })
            .collect();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|number| samples[*number].step);
        let step = |(number, sleep_ns): (usize, u64)| {
            let sampled = samples.iter().filter(|sample| sample.step == number).count() as u64;
            let sleep_secs = sleep_ns as f64 / 1e9;
            let record = WakeStep { sleep_secs, sampled, ..WakeStep::default() };
            Step { sleep_ns, first_woken_at: None, record }
        };
        let steps = sleeps.into_iter().enumerate().map(step).collect();
        let due = BinaryHeap::new();
        let left = count;
        Some(Box::new(Sleepers { steps, samples, order, asked: 0, due, next_request_at: 0, left }))
    }

    /// Time at which a request is due; `u64::MAX` if none is.
    pub(super) fn next_at(&self) -> u64 {
        if self.asked < self.order.len() {
            return self.next_request_at;
        }
        self.next_wake_at().map_or(u64::MAX, |at| at.max(self.next_request_at))
    }

    /// Time at which a sample's sleep is over.
    pub(super) fn next_wake_at(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn are_all_done(&self) -> bool {
        self.left == 0
    }

    /// The records of the steps that have samples.
    pub(super) fn into_records(self) -> Vec<WakeStep> {
        let steps = self.steps.into_iter().filter(|step| step.record.sampled > 0);
        steps.map(|step| step.record.derive()).collect()
    }

    /// The sample whose request is due at `now`: one to be woken before one to be put to sleep. With
    /// how late it is.
    fn take_due(&mut self, now: u64) -> Option<(usize, u64)> {
        if now < self.next_request_at {
            return None;
        }
        if let Some(at) = self.next_wake_at().filter(|at| *at <= now) {
            let Reverse((_, number)) = self.due.pop()?;
            return Some((number, now - at.max(self.next_request_at)));
        }
        let number = *self.order.get(self.asked)?;
        self.asked += 1;
        Some((number, 0))
    }

    /// The number of the sample whose connection is `index`.
    fn find(&self, index: usize) -> Option<usize> {
        self.samples.binary_search_by_key(&index, |sample| sample.index).ok()
    }

    /// Sample `number` goes no further. It was lost if it slept, and its first request has no answer.
    fn end(&mut self, number: usize) {
        let sample = &mut self.samples[number];
        let stage = std::mem::replace(&mut sample.stage, Stage::Done);
        self.left -= usize::from(stage != Stage::Done);
        let is_lost = matches!(stage, Stage::Asleep | Stage::First);
        self.steps[sample.step].record.lost += u64::from(is_lost);
    }
}

impl Engine<'_> {
    /// Starts the sleep. It ends when all samples are done: each stage of theirs has its own end.
    pub(super) fn start_sleep(&mut self, now: u64) {
        self.start_phase(Phase::Asleep, now, u64::MAX);
        if let Some(sleepers) = &mut self.sleepers {
            sleepers.next_request_at = now;
        }
    }

    /// Sends the request that is due.
    pub(super) fn drive_sleepers(&mut self) {
        let now = self.now();
        let Some(sleepers) = &mut self.sleepers else { return };
        let Some((number, late_ns)) = sleepers.take_due(now) else { return };
        let sample = &mut sleepers.samples[number];
        if sample.stage == Stage::Done {
            return;
        }
        let index = sample.index;
        if self.connections[index].state != State::Open {
            return sleepers.end(number);
        }
        sleepers.next_request_at = now + GAP_NS;
        if sample.stage == Stage::Awake {
            sample.stage = Stage::Dozing;
        } else {
            sample.stage = Stage::First;
            let step = &mut sleepers.steps[sample.step];
            let first_at = *step.first_woken_at.get_or_insert(now);
            step.record.took_secs = (now - first_at) as f64 / 1e9;
            self.run.stats.record_left_late(late_ns);
        }
        self.ask_sample(number, now);
    }

    /// Sends a request of sample `number`. Its connection is pending until the answer comes.
    fn ask_sample(&mut self, number: usize, now: u64) {
        let Some(sleepers) = &mut self.sleepers else { return };
        let sample = &mut sleepers.samples[number];
        sample.sent_at = now;
        let index = sample.index;
        let connection = &mut self.connections[index];
        connection.state = State::Joining;
        connection.connect_started_at = now;
        self.connecting.push_back((now, index));
        self.pending += 1;
        self.queue_requests(index, now, 1);
        self.flush(index);
    }

    /// The request of connection `index` is answered.
    pub(super) fn on_sample_answer(&mut self, index: usize, now: u64) {
        let Some(sleepers) = &mut self.sleepers else { return };
        let Some(number) = sleepers.find(index) else { return };
        let sample = &mut sleepers.samples[number];
        let Step { sleep_ns, record, .. } = &mut sleepers.steps[sample.step];
        let ns = now.saturating_sub(sample.sent_at).max(1);
        match sample.stage {
            Stage::Dozing => {
                sample.stage = Stage::Asleep;
                sleepers.due.push(Reverse((now.saturating_add(*sleep_ns), number)));
            }
            Stage::First => {
                sample.stage = Stage::Second;
                record.histograms.first.0.saturating_record(ns);
                self.run.stats.record(ns, 1);
                self.ask_sample(number, now);
            }
            Stage::Second => {
                record.histograms.second.0.saturating_record(ns);
                sleepers.end(number);
            }
            Stage::Awake | Stage::Asleep | Stage::Done => {}
        }
    }

    /// Connection `index` has failed.
    pub(super) fn on_sample_failure(&mut self, index: usize) {
        let Some(sleepers) = &mut self.sleepers else { return };
        let Some(number) = sleepers.find(index) else { return };
        sleepers.end(number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::plan;
    use super::*;

    /// Connections sampled of each sleep, in all of `jobs` processes.
    fn sampled(args: &str, jobs: u32) -> Vec<u64> {
        let plan = plan(&format!("wake command://h:1 {args} --jobs {jobs}"));
        let mut sampled = vec![0; sleeps(plan.mode.ns()).len()];
        for job in 0..jobs {
            let part = if jobs > 1 { plan.of_job(job) } else { plan.clone() };
            let sleepers = Sleepers::new(part.mode, part.share).unwrap();
            for (sum, step) in sampled.iter_mut().zip(&sleepers.steps) {
                *sum += step.record.sampled;
            }
        }
        sampled
    }

    #[test]
    fn samples_of_jobs_are_those_of_one_process() {
        let args = "-c 1k --hold 5m --sample 100";
        let alone = sampled(args, 1);
        assert_eq!(alone, [11, 11, 11, 11, 11, 11, 11, 11, 12]);
        for jobs in [2, 3, 64, 256] {
            assert_eq!(sampled(args, jobs), alone, "{jobs}");
        }
        assert_eq!(sampled("-c 9 --hold 5m --sample 1", 4), [0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
