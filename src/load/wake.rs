//! Record of `wake`: first requests after a sleep, by its length. Knows no sockets.

use serde::{Deserialize, Serialize};

use super::histogram::{EncodedHistogram, HistogramError, add};
use super::stats::Percentiles;

/// Most sleeps of a record: those of 1, 2, 5, … seconds are fewer than 64 in 64 bits of nanoseconds, and
/// parts of one run have the same.
pub(super) const SLEEPS_MAX: usize = 64;

/// Connections that slept equally long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct WakeStep {
    pub(super) sleep_secs: f64,
    /// Connections that were to be woken.
    pub(super) sampled: u64,
    /// Those whose first request was answered.
    pub(super) woken: u64,
    /// Those that were closed while they slept, or whose first request was reset or not answered.
    pub(super) lost: u64,
    /// Seconds from the first wake of the step to the last.
    pub(super) took_secs: f64,
    /// The first request after the sleep, from when it left.
    pub(super) first_us: Percentiles,
    /// The request that followed its answer at once.
    pub(super) second_us: Percentiles,
    pub(super) histograms: WakeHistograms,
}

/// Histograms of nanoseconds, from which the figures of a step are derived.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct WakeHistograms {
    pub(super) first: EncodedHistogram,
    pub(super) second: EncodedHistogram,
}

impl WakeStep {
    /// Fills what follows from the histograms.
    pub(super) fn derive(mut self) -> Self {
        self.woken = self.histograms.first.0.len();
        self.first_us = Percentiles::of(&self.histograms.first.0);
        self.second_us = Percentiles::of(&self.histograms.second.0);
        self
    }

    fn add(&mut self, other: &WakeStep) -> Result<(), HistogramError> {
        self.sampled = self.sampled.saturating_add(other.sampled);
        self.lost = self.lost.saturating_add(other.lost);
        self.took_secs = self.took_secs.max(other.took_secs);
        add(&mut self.histograms.first.0, &other.histograms.first.0)?;
        add(&mut self.histograms.second.0, &other.histograms.second.0)
    }
}

/// The sleeps up to `longest_ns`, in nanoseconds: 1, 2, 5, 10, … seconds, and the longest itself.
pub(super) fn sleeps(longest_ns: u64) -> Vec<u64> {
    const SECOND: u64 = 1_000_000_000;
    let scale = (0..).map_while(|power| 10u64.checked_pow(power)?.checked_mul(SECOND));
    let scale = scale.flat_map(|power| [1, 2, 5].map(|digit| power.saturating_mul(digit)));
    scale.take_while(|ns| *ns < longest_ns).chain([longest_ns]).collect()
}

/// Merges the steps of the parts of a run: those of one length together, the shortest first.
///
/// # Errors
///
/// Histograms have too many values; the number is that of the part.
pub(super) fn merge<'a>(
    parts: impl IntoIterator<Item = &'a [WakeStep]>,
) -> Result<Vec<WakeStep>, (usize, HistogramError)> {
    let mut merged: Vec<WakeStep> = Vec::new();
    for (number, part) in parts.into_iter().enumerate() {
        for step in part {
            match merged.iter_mut().find(|sum| sum.sleep_secs == step.sleep_secs) {
                Some(sum) => sum.add(step).map_err(|error| (number, error))?,
                None => merged.push(step.clone()),
            }
        }
    }
    merged.sort_by(|a, b| a.sleep_secs.total_cmp(&b.sleep_secs));
    Ok(merged.into_iter().map(WakeStep::derive).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_are_1_2_5_and_the_longest() {
        let secs = |longest: f64| -> Vec<f64> {
            let ns = (longest * 1e9) as u64;
            sleeps(ns).into_iter().map(|ns| ns as f64 / 1e9).collect()
        };
        assert_eq!(secs(0.25), [0.25]);
        assert_eq!(secs(1.0), [1.0]);
        assert_eq!(secs(10.0), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(secs(300.0), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 300.0]);
        assert!(sleeps(u64::MAX).is_sorted() && sleeps(u64::MAX).len() < 40);
    }

    #[test]
    fn steps_of_one_length_are_merged() {
        let step = |sleep_secs, us: &[u64]| {
            let mut step = WakeStep { sleep_secs, sampled: 3, lost: 1, ..WakeStep::default() };
            us.iter().for_each(|us| step.histograms.first.0.record(us * 1_000).unwrap());
            step
        };
        let (a, b) = ([step(1.0, &[10, 20]), step(5.0, &[7])], [step(2.0, &[]), step(1.0, &[30])]);
        let merged = merge([&a[..], &b[..]]).unwrap();
        let sleeps: Vec<f64> = merged.iter().map(|step| step.sleep_secs).collect();
        assert_eq!(sleeps, [1.0, 2.0, 5.0]);
        assert_eq!((merged[0].sampled, merged[0].woken, merged[0].lost), (6, 3, 2));
        let whole = step(1.0, &[10, 20, 30]).derive();
        assert_eq!(merged[0].first_us, whole.first_us);
        assert_eq!(merged[1].first_us, Percentiles::default());
        let mut many = step(1.0, &[]);
        many.histograms.second.0.record_n(1, 1 << 53).unwrap();
        let many = &[many][..];
        assert_eq!(merge([&a[..], many, many]), Err((2, HistogramError::Damaged)));
    }
}
