//! How far the seconds of one run leave its figures open: a bootstrap over blocks of them.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::super::histogram;
use super::super::record::{ModeName, Record};
use super::super::stats::{Phase, Row};

/// Most groups of seconds. Those of a longer run are joined.
const GROUPS_MAX: usize = 100;

/// Resamples of the bootstrap, from which only a standard deviation is taken.
const RESAMPLES: usize = 400;

/// Quantiles whose errors are found.
pub(super) const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Standard errors of the logarithms of a run's figures, as far as its seconds show them; 0 where they
/// do not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct SecondsErrors {
    pub(super) rate: f64,
    /// Of each of [`QUANTILES`].
    pub(super) latency: [f64; 4],
}

/// Measurements of a group of seconds.
#[derive(Debug, Clone, Default)]
struct Group {
    secs: f64,
    count: u64,
    /// Latencies and how often they came, sorted.
    latencies: BTreeMap<u64, u64>,
}

/// Finds the errors of a record. A record without seconds has none.
pub(super) fn errors(record: &Record, rng: &mut Rng) -> SecondsErrors {
    errors_of(&groups(record), rng)
}

fn groups(record: &Record) -> Vec<Group> {
    // A row has the phase that it ends in: the first one of the traffic began in the ramp.
    let ramp_end = record.points.phases.first().map_or(0.0, |(_, at, _)| *at);
    let mut start = 0.0_f64;
    let rows = record.series.iter().enumerate();
    let started =
        rows.map(|(at, row)| (at, std::mem::replace(&mut start, row.t).max(ramp_end), row));
    let measured: Vec<(usize, f64, &Row)> = started
        .filter(|(_, start, row)| {
            matches!(row.phase, Phase::Traffic | Phase::Hold) && row.t - start > 0.5
        })
        .collect();
    let each = measured.len().div_ceil(GROUPS_MAX).max(1);
    let group = |rows: &[(usize, f64, &Row)]| {
        let mut group = Group::default();
        for (at, start, row) in rows {
            group.secs += row.t - start;
            // Those of a file may be anything.
            group.count = group.count.saturating_add(match record.mode {
                ModeName::Fanout => row.counts.deliveries,
                _ => row.counts.answered,
            });
            let text = record.histograms.seconds.get(*at).and_then(Option::as_deref);
            // A damaged second has no latencies; the record's own are whole.
            let Some(Ok(histogram)) = text.map(histogram::decode) else { continue };
            for step in histogram.iter_recorded() {
                let value = step.value_iterated_to();
                let count = group.latencies.entry(value).or_default();
                *count = count.saturating_add(step.count_at_value());
            }
        }
        group
    };
    measured.chunks(each).map(group).collect()
}

fn errors_of(groups: &[Group], rng: &mut Rng) -> SecondsErrors {
    let count = groups.len();
    // Neighbouring seconds resemble each other, so whole blocks are drawn, each of about the square root of
    // the run (Künsch, "The Jackknife and the Bootstrap for General Stationary Observations", 1989).
    let block = (count as f64).sqrt().ceil() as usize;
    if count < 2 * block.max(1) {
        return SecondsErrors::default();
    }
    let table = Table::new(groups);
    let draws: Vec<[f64; 5]> = (0..RESAMPLES)
        .map(|_| {
            let mut times = vec![0; count];
            for place in 0..count.div_ceil(block) {
                let first = rng.usize(..count);
                let length = block.min(count - place * block);
                for at in first..first + length {
                    times[at % count] += 1;
                }
            }
            table.figures(&times)
        })
        .collect();
    // Few blocks show too small a spread, the more so where a slow swing is as long as the run.
    let blocks = count as f64 / block as f64;
    let widen = blocks / (blocks - 1.0);
    let [rate, latency @ ..] = [0, 1, 2, 3, 4].map(|figure| {
        let values: Vec<f64> = draws.iter().map(|draw| draw[figure]).collect();
        widen * deviation(&values)
    });
    SecondsErrors { rate, latency }
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

/// The groups, their latencies by place in a common list of values.
struct Table<'a> {
    groups: &'a [Group],
    values: Vec<u64>,
    latencies: Vec<Vec<(usize, u64)>>,
}

impl<'a> Table<'a> {
    fn new(groups: &'a [Group]) -> Self {
        let mut values: Vec<u64> =
            groups.iter().flat_map(|group| group.latencies.keys().copied()).collect();
        values.sort_unstable();
        values.dedup();
        let place =
            |(value, count): (&u64, &u64)| (values.partition_point(|known| known < value), *count);
        let latencies =
            groups.iter().map(|group| group.latencies.iter().map(place).collect()).collect();
        Table { groups, values, latencies }
    }

    /// Logarithms of the rate and of the quantiles of a resample that has each group so many `times`.
    fn figures(&self, times: &[u64]) -> [f64; 5] {
        let mut counts = vec![0u64; self.values.len()];
        let (mut count, mut secs, mut total) = (0.0, 0.0, 0u64);
        for ((group, latencies), times) in self.groups.iter().zip(&self.latencies).zip(times) {
            count += group.count as f64 * *times as f64;
            secs += group.secs * *times as f64;
            for (place, in_group) in latencies {
                let drawn = in_group.saturating_mul(*times);
                counts[*place] = counts[*place].saturating_add(drawn);
                total = total.saturating_add(drawn);
            }
        }
        let log = |value: f64| value.max(1e-9).ln();
        let quantile = |quantile: f64| {
            let wanted = (quantile * total as f64).ceil().max(1.0) as u64;
            let mut below = 0;
            let at = counts.iter().position(|count| {
                below = u64::saturating_add(below, *count);
                below >= wanted
            });
            at.map_or(0.0, |at| log(self.values[at] as f64))
        };
        let [a, b, c, d] = QUANTILES.map(quantile);
        [log(count / secs), a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{run, with_record};
    use super::super::super::stats::Counts;
    use super::super::rng::normal;
    use super::*;

    fn group(count: u64, latency: u64) -> Group {
        let latencies = BTreeMap::from([(latency, count), (10 * latency, count / 50)]);
        Group { secs: 1.0, count, latencies }
    }

    #[test]
    fn even_seconds_leave_nothing_open() {
        let errors = errors_of(&vec![group(1_000, 500); 10], &mut Rng::with_seed(1));
        assert!(errors.rate < 1e-9 && errors.latency.iter().all(|error| *error < 1e-9));
    }

    #[test]
    fn uneven_seconds_leave_figures_open() {
        let mut rng = Rng::with_seed(5);
        let groups: Vec<Group> = (0..100)
            .map(|_| {
                let speed = (0.1 * normal(&mut rng)).exp();
                group((1e4 * speed) as u64, (5e5 / speed) as u64)
            })
            .collect();
        let errors = errors_of(&groups, &mut rng);
        // A tenth over the root of a hundred.
        assert!((0.006..0.014).contains(&errors.rate), "{errors:?}");
        assert!((0.005..0.03).contains(&errors.latency[0]), "{errors:?}");
    }

    #[test]
    fn seconds_that_resemble_their_neighbours_count_less() {
        let mut rng = Rng::with_seed(5);
        let mut level = 0.0;
        let groups: Vec<Group> = (0..100)
            .map(|_| {
                level = 0.8 * level + 0.06 * normal(&mut rng);
                group((1e4 * f64::exp(level)) as u64, 500)
            })
            .collect();
        let errors = errors_of(&groups, &mut rng);
        // Independent seconds of this spread would leave 0.01 open, these 0.03.
        assert!((0.015..0.045).contains(&errors.rate), "{errors:?}");
    }

    #[test]
    fn ramp_is_not_in_the_first_second() {
        with_record("echo command://h:1", run(), |record| {
            let counts = |answered| Counts { answered, ..Counts::default() };
            let row = |second: u64, answered| Row {
                t: second as f64,
                phase: Phase::Traffic,
                counts: counts(answered),
                ..record.series[0].clone()
            };
            let of = |ramp_end: f64| {
                let first = (1_000.0 * (1.0 - ramp_end)) as u64;
                let mut record = record.clone();
                record.points.phases = vec![(Phase::Traffic, ramp_end, 10)];
                record.series = (2..=12).map(|second| row(second, 1_000)).collect();
                record.series.insert(0, row(1, first));
                record
            };
            assert_eq!(groups(&of(0.25))[0].secs, 0.75);
            assert!(errors(&of(0.25), &mut Rng::with_seed(1)).rate < 1e-9);
            assert_eq!(groups(&of(0.75)).len(), 11, "too short");
        });
    }

    #[test]
    fn any_counts_are_drawn() {
        let most = Group {
            secs: 1.0,
            count: u64::MAX,
            latencies: BTreeMap::from([(5, u64::MAX), (7, u64::MAX)]),
        };
        let errors = errors_of(&vec![most; 10], &mut Rng::with_seed(1));
        assert!(errors.rate.is_finite(), "{errors:?}");
    }

    #[test]
    fn few_seconds_show_nothing() {
        assert_eq!(errors_of(&[], &mut Rng::with_seed(1)), SecondsErrors::default());
        let two = [group(10, 5), group(20, 5)];
        assert_eq!(errors_of(&two, &mut Rng::with_seed(1)), SecondsErrors::default());
    }
}
