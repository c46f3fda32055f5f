//! The charts and headline figures of storms and sleeps.

use super::chart::{Axis, Chart, Line, axis_time};
use super::format::{count, duration, plural};
use super::record::Record;
use super::stage_summary::{NOT_HALF, slept};
use super::storm::StormRecord;
use super::wake::WakeStep;

/// Name and class of a curve; further storms have none.
const STORM_LINES: [(&str, &str); 5] =
    [("storm 1", "a"), ("storm 2", "b"), ("storm 3", "c"), ("storm 4", "d"), ("storm 5", "bad")];

/// Points of a curve.
const POINTS: u32 = 200;

/// The result of a storm or a wake in one sentence, without its full stop; `None` in other modes, or
/// where nothing was measured.
pub(super) fn result(record: &Record) -> Option<String> {
    if let Some(storm) = slowest(record) {
        let after = |secs: Option<f64>| secs.map(|secs| duration(Some(secs * 1e6)));
        let dropped = plural(storm.dropped, "connection");
        let shares = storm.served_secs;
        let shares = [("half", shares.half), ("99 %", shares.p99), ("all", shares.all)];
        let shares = shares
            .into_iter()
            .filter_map(|(share, secs)| Some(format!("{share} after {}", after(secs)?)));
        let shares: Vec<String> = shares.collect();
        let served = shares.join(", ").replacen(" after", " were served again after", 1);
        let served = if shares.is_empty() { NOT_HALF.to_owned() } else { served };
        let never = match storm.unserved {
            0 => String::new(),
            unserved => format!(", {} never", count(unserved)),
        };
        let storms = record.storm.as_ref().map_or(0, Vec::len);
        let of =
            if storms > 1 { format!(" in the slowest of {storms} storms") } else { String::new() };
        return Some(format!("of {dropped} dropped together{of}, {served}{never}"));
    }
    let longest = record.wake.as_ref()?.last()?;
    let [first, second] = [longest.first_us.p50, longest.second_us.p50].map(duration);
    let (slept, lost) = (slept(longest.sleep_secs), lost(record));
    let lost =
        if lost > 0 { format!("; {} lost", plural(lost, "connection")) } else { String::new() };
    Some(format!(
        "after {slept} of sleep a first request took {first}, the next {second} (median){lost}"
    ))
}

/// The storm that took longest until all were served.
fn slowest(record: &Record) -> Option<&StormRecord> {
    let secs = |storm: &StormRecord| storm.served_secs.all.unwrap_or(f64::INFINITY);
    record.storm.iter().flatten().max_by(|a, b| secs(a).total_cmp(&secs(b)))
}

/// Connections that were lost while they slept.
fn lost(record: &Record) -> u64 {
    record.wake.iter().flatten().fold(0, |sum, step| sum.saturating_add(step.lost))
}

/// Headline figures of storms and sleeps, with their labels.
pub(super) fn tiles(record: &Record) -> Vec<(&'static str, String)> {
    let mut tiles = Vec::new();
    if let Some(storm) = slowest(record) {
        let secs = |secs: Option<f64>| secs.map_or("never".to_owned(), |s| duration(Some(s * 1e6)));
        tiles.push(("half served after", secs(storm.served_secs.half)));
        tiles.push(("all served after", secs(storm.served_secs.all)));
        if storm.bystanders_during_us.p99.is_some() {
            tiles.push(("bystanders' p99 meanwhile", duration(storm.bystanders_during_us.p99)));
        }
    }
    if let Some(longest) = record.wake.iter().flatten().last() {
        tiles.push(("first request, median", duration(longest.first_us.p50)));
        tiles.push(("second request, median", duration(longest.second_us.p50)));
        tiles.push(("lost while asleep", count(lost(record))));
    }
    tiles
}

/// Charts of storms and sleeps; none in other modes.
pub(super) fn charts(record: &Record) -> Vec<Chart> {
    let served = record.storm.as_deref().and_then(served_over_time);
    let woken = record.wake.as_deref().and_then(first_requests);
    served.into_iter().chain(woken).collect()
}

/// The share of the connections that was served again, over the time since they were dropped.
fn served_over_time(storms: &[StormRecord]) -> Option<Chart> {
    let shown: Vec<&StormRecord> = storms.iter().take(STORM_LINES.len()).collect();
    let last_at = |storm: &&StormRecord| storm.histograms.served.0.max() as f64 / 1e9;
    let slowest = shown.iter().copied().max_by(|a, b| last_at(a).total_cmp(&last_at(b)))?;
    let end = last_at(&slowest);
    if end <= 0.0 {
        return None;
    }
    let lines = shown.iter().zip(STORM_LINES).map(|(storm, (name, class))| Line {
        name,
        class,
        segments: vec![served_curve(storm)],
        filled: shown.len() == 1,
    });
    let of = if shown.len() > 1 { "the slowest storm" } else { "the storm" };
    let more = storms.len().saturating_sub(shown.len());
    let more = if more > 0 {
        format!(" {} more storms are not shown.", count(more as u64))
    } else {
        String::new()
    };
    let percent = [0.0, 25.0, 50.0, 75.0, 100.0].map(|at| (at, format!("{at} %"))).to_vec();
    let label = "seconds since the last was dropped";
    let mut x = Axis::linear(label, end * 1.2, |at| ((at * 1e4).round() / 1e4).to_string());
    // With room for the name of the last mark.
    x.end_at(end * 1.2);
    Some(Chart {
        title: "Served again over time",
        note: format!(
            "Of {} connections that were dropped; the marks are those of {of}.{more}",
            count(slowest.dropped)
        ),
        x,
        y: Axis::marked("served again", 0.0, 100.0, percent),
        lines: lines.collect(),
        marks: served_marks(slowest, end),
    })
}

/// The times at which half, 99 % and all were served. Those too close for names of their own share one.
fn served_marks(storm: &StormRecord, end: f64) -> Vec<(f64, String)> {
    let shares = storm.served_secs;
    let all = [(shares.all, "100"), (shares.p99, "99"), (shares.half, "50")];
    let mut marks: Vec<(f64, &str, &str)> = Vec::new();
    for (secs, share) in all {
        let Some(secs) = secs else { continue };
        match marks.last_mut() {
            Some((later, first, _)) if *later - secs < end / 8.0 => *first = share,
            _ => marks.push((secs, share, share)),
        }
    }
    let name = |first: &str, last: &str| match first == last {
        true => format!("{last} %"),
        false => format!("{first}–{last} %"),
    };
    marks.into_iter().map(|(secs, first, last)| (secs, name(first, last))).collect()
}

/// Percent of the connections over seconds.
fn served_curve(storm: &StormRecord) -> Vec<(f64, f64)> {
    let histogram = &storm.histograms.served.0;
    let share = 100.0 * histogram.len() as f64 / storm.dropped.max(1) as f64;
    let point = |n: u32| {
        let quantile = f64::from(n) / f64::from(POINTS);
        let ns = histogram.value_at_quantile(quantile).min(histogram.max());
        (ns as f64 / 1e9, quantile * share)
    };
    let mut points = vec![(0.0, 0.0)];
    if !histogram.is_empty() {
        points.push((histogram.min() as f64 / 1e9, 0.0));
        points.extend((1..=POINTS).map(point));
    }
    points
}

/// First and second requests, by how long the connections slept.
fn first_requests(steps: &[WakeStep]) -> Option<Chart> {
    type Figure = fn(&WakeStep) -> Option<f64>;
    let figures: [(&str, &str, Figure); 5] = [
        ("first, max", "d", |step| step.first_us.max),
        ("first, p99", "b", |step| step.first_us.p99),
        ("first, p50", "a", |step| step.first_us.p50),
        ("second, p99", "c", |step| step.second_us.p99),
        ("second, p50", "lag", |step| step.second_us.p50),
    ];
    let lines = figures.map(|(name, class, figure)| {
        let points = steps.iter().filter_map(|step| Some((step.sleep_secs, figure(step)?)));
        Line { name, class, segments: vec![points.collect()], filled: false }
    });
    let lines: Vec<Line> = lines.into_iter().filter(|line| !line.segments[0].is_empty()).collect();
    let points = || lines.iter().flat_map(|line| line.segments.iter().flatten());
    let low = points().map(|(_, us)| *us).fold(f64::INFINITY, f64::min).max(0.1);
    let high = points().map(|(_, us)| *us).fold(low, f64::max);
    let shortest = points().map(|(secs, _)| *secs).fold(f64::INFINITY, f64::min).max(1e-3);
    let longest = points().map(|(secs, _)| *secs).fold(shortest, f64::max);
    let sum = |figure: fn(&WakeStep) -> u64| steps.iter().map(figure).fold(0, u64::saturating_add);
    let (woken, lost) = (sum(|step| step.woken), sum(|step| step.lost));
    (!lines.is_empty()).then(|| Chart {
        title: "First requests after a sleep",
        note: format!(
            "{} connections woken, {} lost; the second request follows the answer to the first.",
            count(woken),
            count(lost)
        ),
        x: Axis::log("slept", shortest, longest, slept),
        y: Axis::log("latency", low, high, axis_time),
        lines,
        marks: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn storm(dropped: u64, served: u64) -> StormRecord {
        let mut storm = StormRecord { dropped, ..StormRecord::default() };
        for n in 1..=served {
            storm.histograms.served.0.record(n * MS).unwrap();
        }
        storm.derive()
    }

    #[test]
    fn curve_ends_at_the_share_that_was_served() {
        let last = |storm: &StormRecord| served_curve(storm).pop().unwrap();
        let all = last(&storm(100, 100));
        assert!((all.0 - 0.1).abs() < 0.001 && all.1 == 100.0, "{all:?}");
        assert_eq!(last(&storm(100, 60)).1, 60.0);
        assert_eq!(served_curve(&storm(100, 0)), [(0.0, 0.0)]);
        assert!(served_over_time(&[storm(100, 0)]).is_none(), "nothing to show");
        assert!(served_over_time(&[]).is_none());
    }

    #[test]
    fn marks_that_are_close_share_a_line() {
        let names = |storm: &StormRecord| -> Vec<String> {
            served_marks(storm, 0.1).into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(names(&storm(100, 100)), ["99–100 %", "50 %"]);
        assert_eq!(names(&storm(100, 60)), ["50 %"]);
        assert_eq!(names(&storm(100, 9)), [""; 0]);
    }

    #[test]
    fn result_is_of_the_slowest_storm_or_the_longest_sleep() {
        use super::super::engine::Run;
        use super::super::fixtures::{run, with_record};
        let sentence = |args: &str, run: Run| {
            let mut sentence = None;
            with_record(args, run, |record| sentence = result(record));
            sentence.unwrap()
        };
        let storms = vec![storm(100, 60), storm(100, 100)];
        let found = sentence("storm command://h:1", Run { storms, ..run() });
        let expected = "of 100 connections dropped together in the slowest of 2 storms, \
                        half were served again after 50.00 ms, 40 never";
        assert_eq!(found, expected);
        let mut step = WakeStep { sleep_secs: 5.0, lost: 1, ..WakeStep::default() };
        step.histograms.first.0.record(200_000).unwrap();
        let found =
            sentence("wake command://h:1", Run { wake_steps: vec![step.derive()], ..run() });
        let expected = "after 5 s of sleep a first request took 200.1 µs, the next - (median); \
                        1 connection lost";
        assert_eq!(found, expected);
    }

    #[test]
    fn storms_beyond_the_curves_are_told() {
        let chart = served_over_time(&vec![storm(100, 100); 7]).unwrap();
        assert_eq!(chart.lines.len(), 5);
        assert!(chart.note.ends_with("2 more storms are not shown."), "{}", chart.note);
    }

    #[test]
    fn any_counts_of_sleeps_are_added() {
        let most = WakeStep { woken: u64::MAX, lost: u64::MAX, ..WakeStep::default() };
        let mut first = most.clone();
        first.histograms.first.0.record(7_000).unwrap();
        first.first_us.p50 = Some(7.0);
        let chart = first_requests(&[first, most]).unwrap();
        let count = count(u64::MAX);
        assert!(chart.note.starts_with(&format!("{count} connections woken, {count} lost;")));
    }

    #[test]
    fn sleeps_without_answers_have_no_chart() {
        assert!(first_requests(&[WakeStep::default()]).is_none());
        let mut step = WakeStep { sleep_secs: 5.0, ..WakeStep::default() };
        step.histograms.first.0.record(7_000).unwrap();
        let text = first_requests(&[step.derive()]).unwrap().render().into_string();
        assert!(text.contains("class=\"dot a\"") && !text.contains("NaN"), "{text}");
    }
}
