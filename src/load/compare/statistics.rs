//! The decision: the change of each metric between two sets of runs, its uncertainty, and whether it is
//! worse. Knows numbers, no files.
//!
//! The unit is the run: what differs between two runs of one server (its place in memory, the machine's
//! other work) is in no second of one of them (Kalibera and Jones, "Rigorous Benchmarking in Reasonable
//! Time", 2013). Three methods, by how many runs there are:
//!
//! - [`Method::Permutation`]: from [`RELABELINGS_MIN`] ways on to divide the runs into two such sets.
//!   If nothing has changed, each way was as likely as the one that was measured, whatever the
//!   distribution. The statistic is the sum of ranks (Wilcoxon, Mann and Whitney), which one disturbed run
//!   cannot rule; that of several metrics is their maximum (Westfall and Young, "Resampling-Based Multiple
//!   Testing", 1993), so that metrics which move together are not counted twice, as Holm's correction
//!   counts them.
//! - [`Method::RunToRun`]: fewer runs than that. Student's t of the logarithms, whose variance is partly
//!   that of [`Metric::run_to_run`] (Smyth, "Linear models and empirical Bayes methods", 2004), corrected
//!   by Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
//! - [`Method::Seconds`]: one run a set. The same, and the noise between seconds besides, from a bootstrap
//!   over blocks of them.

use fastrand::Rng;

use super::rng::choose;
use super::student;

/// Seed of everything random.
const SEED: u64 = 0x006d_796e_6168;

/// Probability that runs of the same server are said to be worse, at most, over all metrics.
const ALARM: f64 = 0.015;

/// Fewest ways to divide the runs that a permutation test is made of: the smallest probability it finds is
/// one over their number.
const RELABELINGS_MIN: f64 = 1_000.0;

/// Random relabelings of a test.
const RELABELINGS: usize = 2_000;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 1_000;

/// Runs that the assumed variance between runs weighs as much as.
const ASSUMED_FREEDOM: u32 = 6;

/// Quantile of the normal distribution that a change is found with, 95 in 100 times.
const POWER: f64 = 1.645;

/// Smallest value that has a logarithm here: a rate of nothing is a loss of all.
const LEAST: f64 = 1e-9;

/// Direction in which a metric gets worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worse {
    Lower,
    Higher,
}

/// A metric of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) worse: Worse,
    /// Whether a change can fail the comparison; else it is shown.
    pub(super) is_judged: bool,
    /// A count of what must not happen: worse without a test, if it was 0 in all runs before and is not in
    /// most after.
    pub(super) is_worse_from_0: bool,
    /// Standard deviation between runs of one server, as a fraction, where there are too few runs to
    /// measure it.
    pub(super) run_to_run: f64,
}

/// Unit of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    PerSec,
    Microseconds,
    Bytes,
    Count,
    CountPerSec,
}

impl Unit {
    pub(super) fn is_count(self) -> bool {
        matches!(self, Unit::Count | Unit::CountPerSec)
    }
}

/// Values of a metric, one a run.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) metric: Metric,
    pub(super) before: Vec<f64>,
    pub(super) after: Vec<f64>,
    /// Standard error of the logarithm of `after` over `before` that the seconds have, for one run a set.
    pub(super) seconds_error: f64,
}

/// How it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Permutation,
    RunToRun,
    Seconds,
}

/// How a metric has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Worse,
    Better,
    /// Within the tolerance or the noise.
    Same,
    /// Shown only.
    NotJudged,
}

/// The change of a metric. Changes are fractions of the value before.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) metric: Metric,
    /// Medians of the runs.
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) change: f64,
    /// Interval of 95 %.
    pub(super) low: f64,
    pub(super) high: f64,
    /// Probability of as large a change for the worse in any metric if nothing has changed; `None` without
    /// a test.
    pub(super) p_worse: Option<f64>,
    pub(super) p_better: Option<f64>,
    /// Smallest change for the worse that would have been found 95 times in 100.
    pub(super) detectable: f64,
    pub(super) outcome: Outcome,
}

impl Change {
    /// Whether a test has decided about it.
    pub(super) fn is_tested(&self) -> bool {
        self.p_worse.is_some()
    }
}

/// Decides about all metrics together. The first judged one has half of [`ALARM`] to itself: it is what the
/// mode measures. `tolerance` is a fraction. Every sample has at least one run a set, and all the same
/// number.
pub(super) fn compare(samples: &[Sample], tolerance: f64) -> (Method, Vec<Change>) {
    compare_with(samples, tolerance, RESAMPLES)
}

fn compare_with(samples: &[Sample], tolerance: f64, resamples: usize) -> (Method, Vec<Change>) {
    let method = method(samples);
    let mut rng = Rng::with_seed(SEED);
    let mut estimate = |sample: &Sample| match method {
        Method::Permutation => bootstrap_estimate(sample, resamples, &mut rng),
        Method::RunToRun | Method::Seconds => t_estimate(sample, method),
    };
    let estimates: Vec<Estimate> = samples.iter().map(&mut estimate).collect();
    let (judged, judged_estimates): (Vec<&Sample>, Vec<&Estimate>) = samples
        .iter()
        .zip(&estimates)
        .filter(|(sample, _)| is_judged(&sample.metric, method))
        .unzip();
    let tests = match method {
        Method::Permutation => permutation_tests(&judged, &mut rng),
        Method::RunToRun | Method::Seconds => t_tests(&judged, &judged_estimates),
    };
    let mut tests = tests.into_iter();
    let changes = samples.iter().zip(&estimates).map(|(sample, estimate)| {
        let test = if is_judged(&sample.metric, method) { tests.next() } else { None };
        change(sample, estimate, test, tolerance)
    });
    (method, changes.collect())
}

/// A count of errors has no usual variance: one event is one error, or one of each connection.
fn is_judged(metric: &Metric, method: Method) -> bool {
    metric.is_judged && (!metric.unit.is_count() || method == Method::Permutation)
}

fn method(samples: &[Sample]) -> Method {
    let counts = samples.iter().map(|sample| (sample.before.len(), sample.after.len()));
    match counts.max().unwrap_or((1, 1)) {
        (1, 1) => Method::Seconds,
        (before, after) if relabelings(before, after) >= RELABELINGS_MIN => Method::Permutation,
        _ => Method::RunToRun,
    }
}

/// Ways to divide the runs of both sets into two of the same sizes.
fn relabelings(before: usize, after: usize) -> f64 {
    (1..=after).map(|n| (before + n) as f64 / n as f64).product()
}

/// The change of the logarithm of a metric.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    shift: f64,
    low: f64,
    high: f64,
    /// Its standard error, and the degrees of freedom of that; `None` stands for the normal distribution.
    error: f64,
    freedom: Option<u32>,
}

/// Probabilities of a change for the worse and for the better at least as large as that observed in any
/// metric, if nothing has changed; and how many standard errors are one.
#[derive(Debug, Clone, Copy)]
struct Test {
    p_worse: f64,
    p_better: f64,
    threshold: f64,
}

fn change(sample: &Sample, estimate: &Estimate, test: Option<Test>, tolerance: f64) -> Change {
    let fraction = |log: f64| log.exp_m1();
    let outcome = match test {
        _ if is_worse_from_0(sample) => Outcome::Worse,
        Some(test) => outcome(&sample.metric, estimate.shift, &test, tolerance),
        None => Outcome::NotJudged,
    };
    let threshold = test.map_or(0.0, |test| test.threshold);
    let least = (threshold * estimate.error).max(toward_worse(&sample.metric, tolerance).abs());
    let detectable = least + POWER * estimate.error;
    let detectable = match sample.metric.worse {
        Worse::Higher => fraction(detectable),
        Worse::Lower => -fraction(-detectable),
    };
    Change {
        metric: sample.metric,
        before: median(&sample.before),
        after: median(&sample.after),
        change: fraction(estimate.shift),
        low: fraction(estimate.low),
        high: fraction(estimate.high),
        p_worse: test.map(|test| test.p_worse),
        p_better: test.map(|test| test.p_better),
        detectable,
        outcome,
    }
}

fn is_worse_from_0(sample: &Sample) -> bool {
    let was_0 = sample.before.iter().all(|value| *value == 0.0);
    sample.metric.is_worse_from_0 && was_0 && median(&sample.after) > 0.0
}

/// The logarithm of a value that is worse by the fraction `tolerance`.
fn toward_worse(metric: &Metric, tolerance: f64) -> f64 {
    match metric.worse {
        Worse::Higher => tolerance.ln_1p(),
        Worse::Lower => (1.0 - tolerance).max(LEAST).ln(),
    }
}

fn outcome(metric: &Metric, shift: f64, test: &Test, tolerance: f64) -> Outcome {
    let change = shift.exp_m1();
    let for_the_worse = match metric.worse {
        Worse::Higher => change,
        Worse::Lower => -change,
    };
    if test.p_worse <= ALARM && for_the_worse > tolerance {
        Outcome::Worse
    } else if test.p_better <= ALARM && -for_the_worse > tolerance {
        Outcome::Better
    } else {
        Outcome::Same
    }
}

fn logs(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.max(LEAST).ln()).collect()
}

/// Median of all differences between a run after and one before (Hodges and Lehmann, 1963): nearly as exact
/// as the difference of means where noise is normal, and not moved by a few disturbed runs.
fn shift(before: &[f64], after: &[f64]) -> f64 {
    let mut differences: Vec<f64> =
        after.iter().flat_map(|after| before.iter().map(move |before| after - before)).collect();
    median_of(&mut differences)
}

/// Shift with an interval from a bootstrap over runs (Efron and Tibshirani, "An Introduction to the
/// Bootstrap", 1993).
fn bootstrap_estimate(sample: &Sample, resamples: usize, rng: &mut Rng) -> Estimate {
    let (before, after) = (logs(&sample.before), logs(&sample.after));
    let mut resample = |values: &[f64]| -> Vec<f64> {
        (0..values.len()).map(|_| values[rng.usize(..values.len())]).collect()
    };
    let mut shifts: Vec<f64> =
        (0..resamples).map(|_| shift(&resample(&before), &resample(&after))).collect();
    shifts.sort_unstable_by(f64::total_cmp);
    let (low, high) = (shifts[resamples / 40], shifts[resamples - 1 - resamples / 40]);
    let error = (high - low) / (2.0 * 1.96);
    Estimate { shift: shift(&before, &after), low, high, error, freedom: None }
}

/// Difference of means, with the variance of the runs where there are some, and the assumed one.
fn t_estimate(sample: &Sample, method: Method) -> Estimate {
    let (before, after) = (logs(&sample.before), logs(&sample.after));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let squares = |values: &[f64]| {
        let mean = mean(values);
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let measured_freedom = u32::try_from(before.len() + after.len() - 2).unwrap_or(u32::MAX / 2);
    let freedom = ASSUMED_FREEDOM + measured_freedom;
    let assumed = f64::from(ASSUMED_FREEDOM) * sample.metric.run_to_run.powi(2);
    let variance = (assumed + squares(&before) + squares(&after)) / f64::from(freedom);
    let of_runs = variance * (1.0 / before.len() as f64 + 1.0 / after.len() as f64);
    let of_seconds = if method == Method::Seconds { sample.seconds_error.powi(2) } else { 0.0 };
    let error = (of_runs + of_seconds).sqrt();
    let shift = mean(&after) - mean(&before);
    let half = student::quantile(0.975, freedom) * error;
    Estimate { shift, low: shift - half, high: shift + half, error, freedom: Some(freedom) }
}

/// Ranks of the runs of both sets, less their mean and over the standard deviation of their sum; ties have
/// the mean of theirs.
fn scores(sample: &Sample) -> Vec<f64> {
    let values: Vec<f64> = sample.before.iter().chain(&sample.after).copied().collect();
    let count = values.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; count];
    for tied in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        let first = order.partition_point(|at| values[*at].total_cmp(&values[tied[0]]).is_lt());
        for at in tied {
            ranks[*at] = first as f64 + (tied.len() as f64 - 1.0) / 2.0;
        }
    }
    let mean = (count as f64 - 1.0) / 2.0;
    let squares: f64 = ranks.iter().map(|rank| (rank - mean).powi(2)).sum();
    let sets = (sample.before.len() * sample.after.len()) as f64;
    let deviation = (squares * sets / (count as f64 * (count as f64 - 1.0))).sqrt();
    let sign = if sample.metric.worse == Worse::Higher { 1.0 } else { -1.0 };
    // All the same: there is nothing to be ranked.
    let scale = if deviation > 0.0 { sign / deviation } else { 0.0 };
    ranks.iter().map(|rank| (rank - mean) * scale).collect()
}

/// Share of the alarms that the first of `count` metrics has, and that the others have together.
fn share(count: usize) -> f64 {
    if count == 1 { 1.0 } else { 0.5 }
}

/// Largest and smallest statistic of a relabeling: that of the first metric, and of the others together.
#[derive(Clone, Copy)]
struct Extremes {
    first: (f64, f64),
    others: (f64, f64),
}

impl Extremes {
    fn of(statistics: impl Iterator<Item = f64>) -> Self {
        let none = (f64::NEG_INFINITY, f64::INFINITY);
        let mut extremes = Extremes { first: none, others: none };
        for (at, statistic) in statistics.enumerate() {
            if at == 0 {
                extremes.first = (statistic, statistic);
            } else {
                let (high, low) = extremes.others;
                extremes.others = (high.max(statistic), low.min(statistic));
            }
        }
        extremes
    }

    /// Those of the family of the metric at `at`.
    fn family(&self, at: usize) -> (f64, f64) {
        if at == 0 { self.first } else { self.others }
    }
}

fn permutation_tests(judged: &[&Sample], rng: &mut Rng) -> Vec<Test> {
    let Some(first) = judged.first() else { return Vec::new() };
    let (before, after) = (first.before.len(), first.after.len());
    let scores: Vec<Vec<f64>> = judged.iter().map(|sample| scores(sample)).collect();
    let observed: Vec<f64> = scores.iter().map(|scores| scores[before..].iter().sum()).collect();
    let mut runs: Vec<usize> = (0..before + after).collect();
    let extremes: Vec<Extremes> = (0..RELABELINGS)
        .map(|_| {
            choose(&mut runs, after, rng);
            let chosen = &runs[..after];
            let sum = |scores: &Vec<f64>| chosen.iter().map(|run| scores[*run]).sum();
            Extremes::of(scores.iter().map(sum))
        })
        .collect();
    let share = share(judged.len());
    let thresholds = [0, 1].map(|family| {
        let mut highs: Vec<f64> = extremes.iter().map(|all| all.family(family).0).collect();
        highs.sort_unstable_by(f64::total_cmp);
        highs[RELABELINGS - (ALARM * share * RELABELINGS as f64) as usize]
    });
    // Sums of the same scores in another order differ in their last digits.
    let slack = 1e-9;
    let test = |(at, observed): (usize, &f64)| {
        let count = |is_as_far: &dyn Fn((f64, f64)) -> bool| {
            extremes.iter().filter(|extremes| is_as_far(extremes.family(at))).count()
        };
        // The labels that were measured are one of the ways.
        let p = |count: usize| ((count + 1) as f64 / (RELABELINGS + 1) as f64 / share).min(1.0);
        Test {
            p_worse: p(count(&|(high, _)| high >= observed - slack)),
            p_better: p(count(&|(_, low)| low <= observed + slack)),
            threshold: thresholds[at.min(1)],
        }
    };
    observed.iter().enumerate().map(test).collect()
}

fn t_tests(judged: &[&Sample], estimates: &[&Estimate]) -> Vec<Test> {
    let one_sided: Vec<(f64, f64)> = judged
        .iter()
        .zip(estimates)
        .map(|(sample, estimate)| {
            let sign = if sample.metric.worse == Worse::Higher { 1.0 } else { -1.0 };
            // No noise and no change.
            let t =
                if estimate.shift == 0.0 { 0.0 } else { sign * estimate.shift / estimate.error };
            let freedom = estimate.freedom.unwrap_or(u32::MAX);
            (student::cdf(-t, freedom), student::cdf(t, freedom))
        })
        .collect();
    let (worse, better): (Vec<f64>, Vec<f64>) = one_sided.into_iter().unzip();
    let (worse, better) = (holm(&worse), holm(&better));
    let threshold = |at: usize| {
        let metrics = if at == 0 { 1.0 } else { (judged.len() - 1) as f64 };
        let freedom = estimates[at].freedom.unwrap_or(u32::MAX);
        student::quantile(1.0 - ALARM * share(judged.len()) / metrics, freedom)
    };
    worse
        .into_iter()
        .zip(better)
        .enumerate()
        .map(|(at, (p_worse, p_better))| Test { p_worse, p_better, threshold: threshold(at) })
        .collect()
}

/// Corrects probabilities for their number: the first has its share, the others are Holm's.
fn holm(probabilities: &[f64]) -> Vec<f64> {
    let count = probabilities.len();
    let mut order: Vec<usize> = (1..count).collect();
    order.sort_unstable_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
    let mut corrected = vec![1.0; count];
    if let (Some(corrected), Some(p)) = (corrected.first_mut(), probabilities.first()) {
        *corrected = (p / share(count)).min(1.0);
    }
    let mut least = 0.0_f64;
    for (place, at) in order.iter().enumerate() {
        let left = (order.len() - place) as f64;
        least = least.max(probabilities[*at] * left / share(count)).min(1.0);
        corrected[*at] = least;
    }
    corrected
}

/// Median of values, of which there is at least one.
pub(super) fn median(values: &[f64]) -> f64 {
    median_of(&mut values.to_vec())
}

fn median_of(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if !is_even {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    f64::midpoint(lower, upper)
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::super::rng::normal;
    use super::*;

    const TOLERANCE: f64 = 0.02;

    fn metric(name: &'static str, worse: Worse) -> Metric {
        Metric {
            name,
            unit: Unit::PerSec,
            worse,
            is_judged: true,
            is_worse_from_0: false,
            run_to_run: 0.0125,
        }
    }

    /// Noise of a simulated machine.
    #[derive(Clone, Copy)]
    struct Machine {
        /// Standard deviation of the throughput between runs.
        deviation: f64,
        /// One run in so many is disturbed, and loses up to 15 %.
        disturbed_one_in: usize,
    }

    const QUIET: Machine = Machine { deviation: 0.0125, disturbed_one_in: usize::MAX };
    const BUSY: Machine = Machine { deviation: 0.03, disturbed_one_in: 8 };

    impl Machine {
        /// Throughput, p50 and p90 that move with it, p99 and p99.9 with long tails, three more.
        fn run(self, rng: &mut Rng) -> [f64; 8] {
            let disturbed =
                if rng.usize(..self.disturbed_one_in) == 0 { rng.usize(..150) } else { 0 };
            let speed = (self.deviation * normal(rng) - disturbed as f64 / 1e3).exp();
            let mut around = |deviation: f64| (deviation * normal(rng)).exp();
            let (near, tail) = (around(0.005), around(0.05));
            let rare = tail * around(0.3).powi(2);
            [
                100_000.0 * speed,
                500.0 * near / speed,
                900.0 * around(0.01) / speed,
                2_000.0 * tail / speed,
                5_000.0 * rare,
                300.0 * around(0.1),
                900.0 * around(0.4),
                57.0 * around(0.001),
            ]
        }

        /// Two sets, the second with `slowdown` of the throughput.
        fn sets(self, runs: (usize, usize), slowdown: f64, rng: &mut Rng) -> Vec<Sample> {
            let before: Vec<[f64; 8]> = (0..runs.0).map(|_| self.run(rng)).collect();
            let mut after: Vec<[f64; 8]> = (0..runs.1).map(|_| self.run(rng)).collect();
            for run in &mut after {
                run[0] *= 1.0 - slowdown;
            }
            (0..8)
                .map(|at| {
                    let worse = if at == 0 { Worse::Lower } else { Worse::Higher };
                    let column = |runs: &[[f64; 8]]| runs.iter().map(|run| run[at]).collect();
                    let spread = [0.0125, 0.0135, 0.016, 0.05, 0.6, 0.1, 0.4, 0.001][at];
                    let metric = Metric { run_to_run: spread, ..metric("m", worse) };
                    let (before, after) = (column(&before), column(&after));
                    Sample { metric, before, after, seconds_error: 0.0 }
                })
                .collect()
        }
    }

    /// How many comparisons a test makes: `MYNAH_COMPARISONS`, or as many as take a few seconds.
    fn comparisons() -> usize {
        std::env::var("MYNAH_COMPARISONS").map_or(250, |count| count.parse().unwrap())
    }

    /// How many of the comparisons may find that the second set is worse, in percent.
    const SAME: RangeInclusive<usize> = 0..=2;

    #[track_caller]
    fn check(what: &str, found: usize, expected: RangeInclusive<usize>) {
        let all = comparisons();
        println!("{what}: worse in {found} of {all} comparisons");
        let is_expected =
            expected.start() * all <= 100 * found && 100 * found <= expected.end() * all;
        assert!(
            is_expected,
            "{what}: worse in {found} of {all} comparisons, expected {expected:?} %"
        );
    }

    /// Comparisons with a metric that is worse, and with a throughput that is.
    fn alarms(machine: Machine, runs: (usize, usize), slowdown: f64) -> (usize, usize) {
        let mut rng = Rng::with_seed(20);
        let mut found = (0, 0);
        for _ in 0..comparisons() {
            let samples = machine.sets(runs, slowdown, &mut rng);
            let (_, changes) = compare_with(&samples, TOLERANCE, 40);
            let is_worse = |change: &Change| change.outcome == Outcome::Worse;
            found.0 += usize::from(changes.iter().any(is_worse));
            found.1 += usize::from(is_worse(&changes[0]));
        }
        found
    }

    #[test]
    fn same_server_is_seldom_worse() {
        check("quiet", alarms(QUIET, (10, 10), 0.0).0, SAME);
        check("busy", alarms(BUSY, (10, 10), 0.0).0, SAME);
    }

    /// Forty runs of ten seconds of one server (docs/benchmarks.md, "Runs of one server"): answers a second,
    /// latency p50, p90, p99 and p99.9, connect p50 and p99.
    fn real_runs() -> Vec<Vec<f64>> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/load/compare/forty_runs.csv");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().skip(1);
        rows.map(|row| row.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
    }

    /// Two sets of ten of the runs, the second with `slowdown` of the throughput.
    fn real_sets(runs: &mut [Vec<f64>], slowdown: f64, rng: &mut Rng) -> Vec<Sample> {
        choose(runs, 20, rng);
        let column = |runs: &[Vec<f64>], at: usize| runs.iter().map(|run| run[at]).collect();
        (0..7)
            .map(|at| {
                let worse = if at == 0 { Worse::Lower } else { Worse::Higher };
                let mut after: Vec<f64> = column(&runs[10..20], at);
                if at == 0 {
                    after.iter_mut().for_each(|rate| *rate *= 1.0 - slowdown);
                }
                let before = column(&runs[..10], at);
                Sample { metric: metric("m", worse), before, after, seconds_error: 0.0 }
            })
            .collect()
    }

    #[test]
    fn real_runs_of_one_server_are_seldom_worse() {
        let (mut runs, mut rng) = (real_runs(), Rng::with_seed(40));
        assert_eq!(runs.len(), 40);
        let is_worse = |change: &Change| change.outcome == Outcome::Worse;
        let mut alarms = || {
            let samples = real_sets(&mut runs, 0.0, &mut rng);
            compare_with(&samples, TOLERANCE, 40).1.iter().any(is_worse)
        };
        let any = (0..comparisons()).filter(|_| alarms()).count();
        check("real runs", any, SAME);
    }

    #[test]
    fn same_server_is_seldom_worse_in_few_runs() {
        for runs in [(1, 1), (2, 2), (3, 3), (1, 5), (5, 5), (6, 6)] {
            check(&format!("{runs:?}"), alarms(QUIET, runs, 0.0).0, SAME);
        }
    }

    #[test]
    fn loss_of_3_percent_is_found() {
        // Of 1,000 comparisons 984, 954 and 890; of fewer the share is less exact.
        for (deviation, expected) in [(0.01, 95..=100), (0.0125, 92..=100), (0.015, 85..=100)] {
            let machine = Machine { deviation, ..QUIET };
            let what = format!("3 % slower, runs differ by {:.2} %", 100.0 * deviation);
            check(&what, alarms(machine, (10, 10), 0.03).1, expected);
        }
    }
}
