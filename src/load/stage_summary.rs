//! The lines of the summary that storms and sleeps have.

use super::format::{count, duration, plural, seconds};
use super::record::Record;
use super::stats::Percentiles;
use super::storm::StormRecord;
use super::summary_line::{EscapedText, SummaryLine};
use super::wake::WakeStep;

/// Most storms that have lines; the JSON has all.
const STORMS_MAX: usize = 10;

/// The lines of the record's storms and sleeps; none in other modes.
pub(super) fn lines(record: &Record) -> Vec<SummaryLine> {
    let storms = record.storm.as_deref().unwrap_or_default();
    let mut lines: Vec<SummaryLine> = Vec::new();
    for (number, storm) in storms.iter().take(STORMS_MAX).enumerate() {
        lines.extend(storm_lines(record, number + 1, storm));
    }
    if let Some(more) = storms.len().checked_sub(STORMS_MAX).filter(|more| *more > 0) {
        lines
            .push(line("", format!("and {} more, which --json has", plural(more as u64, "storm"))));
    }
    let steps = record.wake.iter().flatten();
    lines.extend(steps.map(|step| line("wake", wake_text(step))));
    lines
}

/// Text for a storm after which less than half came back.
pub(super) const NOT_HALF: &str = "fewer than half served again";

/// Meaning of a connect of a second or more.
const SYN_AGAIN: &str = "over 1 s, a SYN was sent again, as where the backlog is full";

/// Shortest connect in which a SYN was sent again: the kernel waits for a second (RFC 6298, section 2).
const SYN_AGAIN_US: f64 = 1e6;

fn storm_lines(record: &Record, number: usize, storm: &StormRecord) -> Vec<SummaryLine> {
    let how = if record.settings.orderly == Some(true) { "in order" } else { "by reset" };
    let (dropped, drop_secs) = (count(storm.dropped), seconds(storm.drop_secs));
    let served = served_text(storm);
    let text = format!("{number}: {served}; {dropped} dropped {how} in {drop_secs}");
    let mut lines = vec![line("storm", text)];
    if is_spread(record) {
        let Percentiles { p50, p99, max, .. } = storm.served_after_us;
        let after = three(p50, p99, max);
        lines.push(line("", format!("each served after it was due to come back: {after}")));
    }
    if !storm.failed_attempts.is_empty() {
        let failed = storm.failed_attempts.iter();
        let failed = failed.map(|(name, n)| format!("{} {}", EscapedText(name), count(*n)));
        let failed: Vec<String> = failed.collect();
        let retries = count(storm.retries);
        lines
            .push(line("", format!("refused: {}; tried again {retries} times", failed.join(", "))));
    }
    let Percentiles { p50, p99, max, .. } = storm.connect_us;
    if max.is_some_and(|max| max >= SYN_AGAIN_US) {
        let connects = three(p50, p99, max);
        lines.push(line("", format!("connects: {connects}; {SYN_AGAIN}")));
    }
    let (before, during) = (storm.bystanders_before_us, storm.bystanders_during_us);
    if before.p50.is_some() || during.p50.is_some() {
        let before = three(before.p50, before.p99, before.max);
        let during = three(during.p50, during.p99, during.max);
        lines.push(line("", format!("bystanders before: {before}; during: {during}")));
    }
    lines.extend(tester_text(storm).map(|text| line("", text)));
    lines
}

/// How long until which share was served.
fn served_text(storm: &StormRecord) -> String {
    let shares = storm.served_secs;
    let shares = [("50 %", shares.half), ("99 %", shares.p99), ("100 %", shares.all)];
    let known = shares.into_iter().filter_map(|(share, secs)| Some((share, secs?)));
    let known: Vec<String> = known
        .map(|(share, secs)| format!("{share} after {}", duration(Some(secs * 1e6))))
        .collect();
    let mut text = match known.is_empty() {
        true => NOT_HALF.to_owned(),
        false => format!("served {}", known.join(", ")),
    };
    if storm.unserved > 0 {
        text.push_str(&format!(", {} never", count(storm.unserved)));
    }
    text
}

/// The tester's own part of the time.
fn tester_text(storm: &StormRecord) -> Option<String> {
    let lag =
        storm.tester_lag_us.max.map(|max| format!("; its lag at most {}", duration(Some(max))));
    let lag = lag.unwrap_or_default();
    let started = duration(Some(storm.started_secs * 1e6));
    let bottleneck = if storm.is_testers_time() {
        "; most of the time is the tester's, so the server may be faster"
    } else {
        ""
    };
    let text = format!("the tester had begun all connects after {started}{lag}{bottleneck}");
    (storm.attempts > 0).then_some(text)
}

pub(super) fn is_spread(record: &Record) -> bool {
    let spread = record.settings.spread_secs.as_ref().and_then(serde_json::Number::as_f64);
    spread.is_some_and(|secs| secs > 0.0)
}

fn three(p50: Option<f64>, p99: Option<f64>, max: Option<f64>) -> String {
    let [p50, p99, max] = [p50, p99, max].map(duration);
    format!("p50 {p50}, p99 {p99}, max {max}")
}

fn wake_text(step: &WakeStep) -> String {
    let slept = slept(step.sleep_secs);
    let Percentiles { p50, p90, p99, max, .. } = step.first_us;
    let [p50, p90, p99, max] = [p50, p90, p99, max].map(duration);
    let [second_p50, second_p99] = [step.second_us.p50, step.second_us.p99].map(duration);
    let (woken, lost) = (count(step.woken), count(step.lost));
    format!(
        "after {slept}: first p50 {p50}, p90 {p90}, p99 {p99}, max {max}; \
         second p50 {second_p50}, p99 {second_p99}; {woken} woken, {lost} lost"
    )
}

/// Formats a length of sleep: `0.5 s`, `10 s`.
pub(super) fn slept(secs: f64) -> String {
    format!("{secs} s")
}

fn line(label: &'static str, text: String) -> SummaryLine {
    SummaryLine { label, text }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Run;
    use super::super::fixtures::{run, with_record};
    use super::*;

    const MS: u64 = 1_000_000;

    /// A storm in which `served` of 100 connections came back, one each 10 ms.
    fn storm(served: u64) -> StormRecord {
        let mut storm = StormRecord {
            dropped: 100,
            drop_secs: 0.01,
            started_secs: 0.05,
            attempts: 120,
            retries: 20,
            connected: served,
            ..StormRecord::default()
        };
        for n in 1..=served {
            storm.histograms.served.0.record(n * 10 * MS).unwrap();
            storm.histograms.served_after.0.record(n * MS).unwrap();
        }
        storm
    }

    fn text(args: &str, run: Run) -> String {
        let mut text = String::new();
        with_record(args, run, |record| text = record.to_string());
        text
    }

    #[test]
    fn storm_has_a_line_and_what_was_refused() {
        let mut second = storm(40);
        second.failed_attempts.insert("ECONNREFUSED".to_owned(), 20);
        second.histograms.bystanders_before.0.record(50_000).unwrap();
        second.histograms.connect.0.record(1_020 * MS).unwrap();
        let storms = vec![storm(100).derive(), second.derive()];
        let args = "storm command://h:1 -c 100 --times 2 --spread 1";
        let text = text(args, Run { storms, ..run() });
        for part in [
            "  storm        1: served 50 % after 500.",
            " ms, 99 % after 990.",
            "; 100 dropped by reset in 0.01 s\n",
            "each served after it was due to come back: p50 50.",
            "the tester had begun all connects after 50.00 ms\n",
            "  storm        2: fewer than half served again, 60 never; 100 dropped",
            "connects: p50 1.02 s, p99 1.02 s, max 1.02 s; over 1 s, a SYN was sent again, as where",
            "refused: ECONNREFUSED 20; tried again 20 times\n",
            "bystanders before: p50 50.0 µs, p99 50.0 µs, max 50.0 µs; during: p50 -, p99 -, max -\n",
            "100 connections dropped by reset twice, back over 1 s, retried after a backoff",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn storms_beyond_ten_are_in_the_json_alone() {
        let storms = vec![storm(100).derive(); 12];
        let text = text("storm command://h:1 -c 100 --times 12", Run { storms, ..run() });
        assert_eq!(text.matches("  storm  ").count(), 10, "{text}");
        assert!(text.contains("and 2 storms more, which --json has"), "{text}");
    }

    #[test]
    fn storms_that_could_not_be_made_are_missed() {
        let storms = vec![StormRecord { connected: 0, ..storm(100).derive() }];
        let text = text("storm command://h:1 -c 100 --times 3", Run { storms, ..run() });
        assert!(text.contains("1 of 3 storms: no connection was left to drop"), "{text}");
    }

    #[test]
    fn wake_has_a_line_a_sleep() {
        let mut step = WakeStep { sleep_secs: 5.0, sampled: 3, lost: 1, ..WakeStep::default() };
        step.histograms.first.0.record(200_000).unwrap();
        step.histograms.second.0.record(100_000).unwrap();
        let text = text("wake command://h:1", Run { wake_steps: vec![step.derive()], ..run() });
        let line = "  wake         after 5 s: first p50 200.1 µs, p90 200.1 µs, p99 200.1 µs, \
                    max 200.1 µs; second p50 100.0 µs, p99 100.0 µs; 1 woken, 1 lost\n";
        assert!(text.contains(line), "{text}");
    }
}
