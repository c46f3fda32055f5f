//! Record of a storm: connections that were dropped together and came back, and what others felt
//! meanwhile. Knows no sockets.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::histogram::{EncodedHistogram, HistogramError, add, nth_value, share_of};
use super::stats::Percentiles;

/// Most storms of a run. The histograms of each take more than a megabyte.
pub(super) const STORMS_MAX: usize = 1_000;

/// One storm. Times are measured from when the last connection was dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct StormRecord {
    /// Connections that were dropped, and are to come back.
    pub(super) dropped: u64,
    /// Seconds that dropping them took.
    pub(super) drop_secs: f64,
    /// Seconds until the tester had begun the first connect of the last of them.
    pub(super) started_secs: f64,
    /// Connects that were begun.
    pub(super) attempts: u64,
    /// Those of them that followed a failed one.
    pub(super) retries: u64,
    /// Connects that were done, those of connections that failed afterwards among them.
    pub(super) connected: u64,
    /// Failed attempts by the name of their error.
    pub(super) failed_attempts: BTreeMap<String, u64>,
    pub(super) served: u64,
    /// Those that were dropped and had not been served when the storm ended.
    pub(super) unserved: u64,
    /// Seconds until a share of those dropped was served.
    pub(super) served_secs: ServedSecs,
    /// From when each was due to come back to when it was served.
    pub(super) served_after_us: Percentiles,
    /// Connects that were done, each from when it was begun.
    pub(super) connect_us: Percentiles,
    /// Requests of the bystanders that were due in the calm before the storm, and in the storm.
    pub(super) bystanders_before_us: Percentiles,
    pub(super) bystanders_during_us: Percentiles,
    /// Tester lag during the storm.
    pub(super) tester_lag_us: Percentiles,
    pub(super) histograms: StormHistograms,
}

/// Seconds until a share of the connections was served; `None` if so many never were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ServedSecs {
    pub(super) half: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) all: Option<f64>,
}

/// Histograms of nanoseconds, from which the figures of a storm are derived.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct StormHistograms {
    /// Times at which connections were served.
    pub(super) served: EncodedHistogram,
    pub(super) served_after: EncodedHistogram,
    pub(super) connect: EncodedHistogram,
    pub(super) bystanders_before: EncodedHistogram,
    pub(super) bystanders_during: EncodedHistogram,
    pub(super) tester_lag: EncodedHistogram,
}

impl StormRecord {
    /// Fills what follows from counts and histograms.
    pub(super) fn derive(mut self) -> Self {
        let StormHistograms { served, served_after, connect, tester_lag, .. } = &self.histograms;
        self.served = served.0.len();
        self.unserved = self.dropped.saturating_sub(self.served);
        let until = |percent| seconds_until(&served.0, self.dropped, percent);
        self.served_secs = ServedSecs { half: until(50), p99: until(99), all: until(100) };
        self.served_after_us = Percentiles::of(&served_after.0);
        self.connect_us = Percentiles::of(&connect.0);
        self.bystanders_before_us = Percentiles::of(&self.histograms.bystanders_before.0);
        self.bystanders_during_us = Percentiles::of(&self.histograms.bystanders_during.0);
        self.tester_lag_us = Percentiles::of(&tester_lag.0);
        self
    }

    /// Seconds in which a share of those dropped was served, each from when it was due to come back;
    /// `None` if so many never were.
    pub(super) fn served_after_secs(&self, percent: u8) -> Option<f64> {
        seconds_until(&self.histograms.served_after.0, self.dropped, percent)
    }

    /// Whether the tester took most of the time until all were served, to begin their connects: it is
    /// the tester then that was measured.
    pub(super) fn is_testers_time(&self) -> bool {
        self.served_secs.all.is_some_and(|all| self.started_secs > all / 2.0)
    }

    fn add(&mut self, other: &StormRecord) -> Result<(), HistogramError> {
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.drop_secs = self.drop_secs.max(other.drop_secs);
        self.started_secs = self.started_secs.max(other.started_secs);
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.retries = self.retries.saturating_add(other.retries);
        self.connected = self.connected.saturating_add(other.connected);
        for (name, number) in &other.failed_attempts {
            let sum = self.failed_attempts.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*number);
        }
        let (ours, theirs) = (&mut self.histograms, &other.histograms);
        add(&mut ours.served.0, &theirs.served.0)?;
        add(&mut ours.served_after.0, &theirs.served_after.0)?;
        add(&mut ours.connect.0, &theirs.connect.0)?;
        add(&mut ours.bystanders_before.0, &theirs.bystanders_before.0)?;
        add(&mut ours.bystanders_during.0, &theirs.bystanders_during.0)?;
        add(&mut ours.tester_lag.0, &theirs.tester_lag.0)
    }
}

/// Seconds within which `percent` of `dropped` connections have a value; `None` if fewer have one.
fn seconds_until(histogram: &Histogram<u64>, dropped: u64, percent: u8) -> Option<f64> {
    let ns = nth_value(histogram, share_of(dropped, percent))?;
    Some(ns as f64 / 1e9)
}

/// Merges the storms of the parts of a run: the first of each, the second and so on.
///
/// # Errors
///
/// Histograms have too many values; the number is that of the part.
pub(super) fn merge<'a>(
    parts: impl IntoIterator<Item = &'a [StormRecord]>,
) -> Result<Vec<StormRecord>, (usize, HistogramError)> {
    let mut merged: Vec<StormRecord> = Vec::new();
    for (number, part) in parts.into_iter().enumerate() {
        for (at, storm) in part.iter().enumerate() {
            match merged.get_mut(at) {
                Some(sum) => sum.add(storm).map_err(|error| (number, error))?,
                None => merged.push(storm.clone()),
            }
        }
    }
    Ok(merged.into_iter().map(StormRecord::derive).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A storm of which `served` connections were served, one each millisecond from `first` on.
    fn storm(dropped: u64, served: u64, first: u64) -> StormRecord {
        let mut storm = StormRecord { dropped, attempts: dropped, ..StormRecord::default() };
        for n in 0..served {
            storm.histograms.served.0.record((first + n) * MS).unwrap();
        }
        storm.failed_attempts.insert("ECONNREFUSED".to_owned(), 3);
        storm
    }

    fn near(found: Option<f64>, expected: f64) {
        assert!((found.unwrap() / expected - 1.0).abs() < 0.002, "{found:?} is not {expected}");
    }

    #[test]
    fn shares_are_of_all_that_were_dropped() {
        let all = storm(1_000, 1_000, 1).derive();
        near(all.served_secs.half, 0.5);
        near(all.served_secs.p99, 0.99);
        near(all.served_secs.all, 1.0);
        assert_eq!((all.served, all.unserved), (1_000, 0));
        let some = storm(1_000, 600, 1).derive();
        near(some.served_secs.half, 0.5);
        assert_eq!((some.served_secs.p99, some.served_secs.all), (None, None));
        assert_eq!((some.served, some.unserved), (600, 400));
        let none = StormRecord::default().derive();
        assert_eq!(none.served_secs, ServedSecs::default());
        near(storm(1, 1, 7).derive().served_secs.half, 0.007);
        near(storm(3, 3, 1).derive().served_secs.half, 0.002);
    }

    #[test]
    fn parts_are_merged_as_if_they_were_one() {
        let (a, b) = ([storm(500, 500, 1)], [storm(500, 500, 501), storm(7, 0, 1)]);
        let merged = merge([&a[..], &b[..]]).unwrap();
        assert_eq!(merged.len(), 2);
        let whole = storm(1_000, 1_000, 1).derive();
        assert_eq!(merged[0].served_secs, whole.served_secs);
        assert_eq!(merged[0].failed_attempts["ECONNREFUSED"], 6);
        assert_eq!((merged[0].dropped, merged[0].attempts), (1_000, 1_000));
        assert_eq!((merged[1].dropped, merged[1].unserved), (7, 7));
        assert_eq!(
            merge([&whole.clone()][..].iter().map(|storm| std::slice::from_ref(*storm))),
            Ok(vec![whole])
        );
    }

    #[test]
    fn parts_with_impossible_counts_are_an_error() {
        let mut storm = StormRecord::default();
        storm.histograms.tester_lag.0.record_n(1, 1 << 53).unwrap();
        let (none, one) = (&[][..], &[storm][..]);
        assert!(merge([none, one]).is_ok());
        assert_eq!(merge([one, none, one]), Err((2, HistogramError::Damaged)));
    }

    #[test]
    fn slow_start_is_the_testers() {
        let storm = |started_secs| StormRecord { started_secs, ..storm(10, 10, 91) }.derive();
        assert!(!storm(0.04).is_testers_time());
        assert!(storm(0.06).is_testers_time());
    }
}
