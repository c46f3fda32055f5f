//! Measured values: median, spread, and ratios to other values of the same rounds.

/// Values of one figure, one for each round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(pub(crate) Vec<f64>);

impl Samples {
    pub(crate) fn one(value: f64) -> Self {
        Samples(vec![value])
    }

    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        }
    }

    pub(crate) fn low(&self) -> f64 {
        self.sorted()[0]
    }

    pub(crate) fn high(&self) -> f64 {
        self.sorted()[self.0.len() - 1]
    }

    /// The ratio to `other` in each round. The noise of a round is in both.
    pub(crate) fn over(&self, other: &Samples) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}
