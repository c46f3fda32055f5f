//! The page of `compare --report`: the verdict, the table, both curves, both command lines. It is one file
//! that fetches nothing and has no script; `maud` escapes every text.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::chart::{Axis, Chart, Line};
use super::super::distribution;
use super::super::format::{count, plural};
use super::super::html_report::{STYLE, axis_time, segments, whole_rows};
use super::super::record::{ModeName, Record};
use super::super::stats::Row;
use super::super::summary::EscapedText;
use super::comparison::{Comparison, SetFacts};
use super::set::Set;

/// What the pages of runs do not have.
const OWN_STYLE: &str = "
.comparison { background: var(--panel); border: 1px solid var(--grid); border-radius: 8px; padding: 4px 16px 10px; overflow-x: auto; }
.comparison table { width: 100%; font-size: 15px; } .comparison th:first-child, .comparison td:first-child { text-align: left; }
.comparison tr:last-child td { border-bottom: none; } .comparison th:last-child, .comparison td:last-child { padding-right: 0; }
.comparison .error { color: var(--soft); } .worse { color: var(--bad); font-weight: 600; } .better { color: var(--good); font-weight: 600; }
.power { color: var(--soft); margin: -14px 0 16px; } .warning { margin: 0 0 8px; color: var(--bad); }
@media (max-width: 600px) { .comparison { padding: 4px 10px 8px; } .comparison table { font-size: 13px; }
  .comparison th, .comparison td { padding-right: 8px; } .comparison td { vertical-align: top; } .comparison .error { display: block; } }
";

/// Renders the page.
pub(super) fn render(comparison: &Comparison, before: &Set, after: &Set) -> String {
    let title = comparison.title();
    let verdict = &comparison.verdict;
    let class = if verdict.is_worse { "missed" } else { "met" };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(OWN_STYLE)) }
            }
            body {
                h1 { (title) }
                p.verdict.(class) { (verdict.text) }
                p.power { (verdict.power) "." }
                @for warning in &comparison.warnings {
                    p.warning { "Warning: " (EscapedText(warning).to_string()) "." }
                }
                (table(comparison))
                div.charts {
                    @for chart in charts(before, after) { (chart.render()) }
                }
                (facts(comparison))
                footer {
                    "± is half of the 95 % interval. " b { "worse" } ": by more than the tolerance of "
                    (comparison.tolerance_percent) " %, and more than noise; " b { "~" } ": not so."
                }
            }
        }
    };
    page.into_string()
}

fn table(comparison: &Comparison) -> Markup {
    html! {
        div.comparison {
            table {
                thead { tr { th {} th { "before" } th { "after" } th { "change" } th {} } }
                tbody {
                    @for row in &comparison.metrics {
                        @let shown = row.shown();
                        @let (change, error) = split_error(&shown.change);
                        tr {
                            td { (row.name) } td { (shown.before) } td { (shown.after) }
                            td { (change) " " span.error { (error) } }
                            td class=(row.outcome.replace('~', "same")) { (row.outcome) }
                        }
                    }
                }
            }
        }
    }
}

/// `-3.0 % ± 0.6 %` in two, for two lines on a phone.
fn split_error(change: &str) -> (&str, &str) {
    change.split_at(change.find('±').unwrap_or(change.len()))
}

/// Both command lines, targets and places.
fn facts(comparison: &Comparison) -> Markup {
    html! {
        dl.facts {
            (set_facts("before", &comparison.before))
            (set_facts("after", &comparison.after))
        }
    }
}

fn set_facts(name: &str, facts: &SetFacts) -> Markup {
    let runs = plural(facts.runs as u64, "run");
    let host = facts.host.as_deref().unwrap_or("an unknown host");
    html! {
        dt { (name) }
        dd {
            code { (EscapedText(&facts.command).to_string()) } br;
            (runs) " against " (EscapedText(&facts.target).to_string()) " from "
            (EscapedText(host).to_string()) ", the first at " (EscapedText(&facts.started_at).to_string())
        }
    }
}

fn charts(before: &Set, after: &Set) -> Vec<Chart> {
    let mut charts = Vec::new();
    charts.extend(distributions(before, after));
    // Seconds of several runs do not belong together.
    if before.runs() == 1 && after.runs() == 1 {
        let records = [&before.first, &after.first];
        charts.extend(rates(records));
        charts.extend(tails(records));
    }
    charts
}

fn line(at: usize, segments: Vec<Vec<(f64, f64)>>) -> Line {
    let (name, class) = if at == 0 { ("before", "a") } else { ("after", "b") };
    Line { name, class, segments, filled: false }
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| line.segments.iter().flatten()).map(|(_, y)| *y)
}

/// An axis of latencies that has all of the lines.
fn latency_axis(lines: &[Line]) -> Axis {
    let low = values(lines).fold(f64::INFINITY, f64::min).max(0.1);
    Axis::log("latency", low, values(lines).fold(low, f64::max), axis_time)
}

fn distributions(before: &Set, after: &Set) -> Option<Chart> {
    let both = [&before.latency, &after.latency];
    if both.iter().any(|histogram| histogram.is_empty()) {
        return None;
    }
    let powers = both.map(|histogram| distribution::powers(histogram.len()));
    let powers = powers[0].min(powers[1]);
    let lines: Vec<Line> = both
        .iter()
        .enumerate()
        .map(|(at, histogram)| line(at, vec![distribution::points(histogram, powers)]))
        .collect();
    let [measured, measured_after] = both.map(|histogram| count(histogram.len()));
    Some(Chart {
        title: "Latency distribution",
        note: format!("{measured} measured before, {measured_after} after, all runs together."),
        x: distribution::percentile_axis(powers),
        y: latency_axis(&lines),
        lines,
        marks: Vec::new(),
    })
}

/// Rows of the traffic, their times from its start.
fn traffic(record: &Record) -> Vec<Row> {
    let start = record.points.phases.first().map_or(0.0, |(_, at, _)| *at);
    let rows = record.series.iter().filter(|row| row.t > start);
    rows.map(|row| Row { t: row.t - start, ..row.clone() }).collect()
}

fn time_axis(lines: &[Line]) -> Axis {
    let ends = lines.iter().flat_map(|line| line.segments.iter().flatten()).map(|(x, _)| *x);
    let end = ends.fold(1.0, f64::max);
    let round = |at: f64| ((at * 1e3).round() / 1e3).to_string();
    let mut axis = Axis::linear("seconds since the ramp", end, round);
    axis.end_at(end);
    axis
}

fn rates(records: [&Record; 2]) -> Option<Chart> {
    let is_fanout = records[0].mode == ModeName::Fanout;
    let points = |record: &Record| -> Vec<(f64, f64)> {
        whole_rows(&traffic(record))
            .flat_map(|(start, row)| {
                let done = if is_fanout { row.counts.deliveries } else { row.counts.answered };
                let per_sec = done as f64 / (row.t - start);
                [(start, per_sec), (row.t, per_sec)]
            })
            .collect()
    };
    let lines: Vec<Line> =
        records.iter().enumerate().map(|(at, record)| line(at, vec![points(record)])).collect();
    let max = values(&lines).fold(0.0, f64::max);
    let (title, label) = if is_fanout {
        ("Deliveries over time", "deliveries a second")
    } else {
        ("Answers over time", "answers a second")
    };
    (max > 0.0).then(|| Chart {
        title,
        note: "The rate of each second.".to_owned(),
        x: time_axis(&lines),
        y: Axis::counts(label, max),
        lines,
        marks: Vec::new(),
    })
}

fn tails(records: [&Record; 2]) -> Option<Chart> {
    let lines: Vec<Line> = records
        .iter()
        .enumerate()
        .map(|(at, record)| line(at, segments(&traffic(record), |row| row.p99_us)))
        .filter(|line| !line.segments.is_empty())
        .collect();
    (!lines.is_empty()).then(|| Chart {
        title: "99th percentile over time",
        note: "Of the answers that came in each second.".to_owned(),
        x: time_axis(&lines),
        y: latency_axis(&lines),
        lines,
        marks: Vec::new(),
    })
}
