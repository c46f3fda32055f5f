//! Downsampling: fewer rows and points, where a page has no place for all. Sums and worst values stay.

use super::stats::Row;

/// Merges neighbouring rows until there are at most `max`: counts add up, and the worst latency stays.
pub(super) fn rows(series: &[Row], max: usize) -> Vec<Row> {
    let each = series.len().div_ceil(max.max(1)).max(1);
    let worst = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(f64::max(a, b)),
        (a, b) => a.or(b),
    };
    let merge = |a: Row, b: &Row| Row {
        counts: a.counts.plus(&b.counts),
        p50_us: worst(a.p50_us, b.p50_us),
        p99_us: worst(a.p99_us, b.p99_us),
        p999_us: worst(a.p999_us, b.p999_us),
        max_us: worst(a.max_us, b.max_us),
        tester_lag_us: worst(a.tester_lag_us, b.tester_lag_us),
        ..b.clone()
    };
    series
        .chunks(each)
        .filter_map(|rows| {
            rows.split_first().map(|(first, rest)| rest.iter().fold(first.clone(), merge))
        })
        .collect()
}

/// At most about `max` of the points, evenly spread, the last one among them.
pub(super) fn points<T: Clone>(points: &[T], max: usize) -> Vec<T> {
    let each = points.len().div_ceil(max.max(1)).max(1);
    let mut kept: Vec<T> = points.iter().step_by(each).cloned().collect();
    if !points.len().saturating_sub(1).is_multiple_of(each) {
        kept.extend(points.last().cloned());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::stats::Stats;

    #[test]
    fn rows_of_a_day_are_merged() {
        let mut stats = Stats::new();
        for second in 1..=2_000 {
            stats.counts.answered += 1;
            stats.record(second * 1_000, 1);
            stats.end_row(second * 1_000_000_000);
        }
        let rows = super::rows(&stats.series, 900);
        assert_eq!(rows.len(), 667);
        assert_eq!(rows.iter().map(|row| row.counts.answered).sum::<u64>(), 2_000);
        assert_eq!((rows[0].t, rows[0].p50_us), (3.0, stats.series[2].p50_us), "the worst");
        assert_eq!(super::rows(&stats.series[..900], 900), stats.series[..900]);
    }

    #[test]
    fn points_keep_the_first_and_the_last() {
        let all: Vec<u32> = (0..10).collect();
        assert_eq!(super::points(&all, 10), all);
        assert_eq!(super::points(&all, 4), [0, 3, 6, 9]);
        assert_eq!(super::points(&all, 3), [0, 4, 8, 9]);
        assert_eq!(super::points(&[0; 0], 3), [0; 0]);
    }
}
