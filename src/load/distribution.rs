//! A latency distribution as a line of a chart: the further right, the rarer.

use hdrhistogram::Histogram;

use super::chart::Axis;

/// Most powers of ten on the axis: one in a million.
const POWERS_MAX: f64 = 6.0;

/// Points of a line.
const POINTS: u32 = 200;

const NAMES: [(f64, &str); 8] = [
    (0.0, "0"),
    (0.5, "50"),
    (0.9, "90"),
    (0.99, "99"),
    (0.999, "99.9"),
    (0.9999, "99.99"),
    (0.99999, "99.999"),
    (0.999999, "99.9999"),
];

/// Powers of ten that so many latencies reach: one in 10, 100, … is slower.
pub(super) fn powers(count: u64) -> f64 {
    (count as f64).log10().ceil().clamp(1.0, POWERS_MAX)
}

/// The axis of percentiles; each power of ten has the same width.
pub(super) fn percentile_axis(powers: f64) -> Axis {
    let rarity = |quantile: f64| (1.0 / (1.0 - quantile)).log10();
    let most = 1.0 - 10f64.powf(-powers);
    let ticks = NAMES
        .into_iter()
        .filter(|(quantile, _)| *quantile <= most + 1e-9)
        // With many ticks, "50 %" would overlap "0 %".
        .filter(|(quantile, _)| *quantile != 0.5 || powers < 5.0)
        .map(|(quantile, name)| (rarity(quantile), format!("{name} %")))
        .collect();
    Axis::marked("percentile", 0.0, powers, ticks)
}

/// The line of a histogram of nanoseconds, in microseconds.
pub(super) fn points(histogram: &Histogram<u64>, powers: f64) -> Vec<(f64, f64)> {
    let at = |n: u32| {
        let x = f64::from(n) / f64::from(POINTS) * powers;
        let ns = histogram.value_at_quantile(1.0 - 10f64.powf(-x)).min(histogram.max());
        (x, ns as f64 / 1e3)
    };
    (0..=POINTS).map(at).collect()
}
