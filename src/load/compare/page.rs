//! The page of `compare --report`: the verdict, the table, both curves, both command lines. It is one file
//! that fetches nothing and has no script; `maud` escapes every text.

use maud::{Markup, html};

use super::super::chart::{Axis, Chart, Line, axis_time};
use super::super::distribution;
use super::super::format::{count, plural};
use super::super::html_report::{rate_points, segments};
use super::super::page::{self, Page, Tone};
use super::super::record::{ModeName, Record};
use super::super::stats::Row;
use super::super::summary_line::EscapedText;
use super::comparison::{Comparison, SetFacts};
use super::set::Set;

/// Renders the page.
pub(super) fn render(comparison: &Comparison, before: &Set, after: &Set) -> String {
    let verdict = &comparison.verdict;
    let warnings: Vec<String> =
        comparison.warnings.iter().map(|warning| EscapedText(warning).to_string()).collect();
    let note = format!("{}.", capitalized(&verdict.power));
    let body = html! {
        (page::section("Figures", &note, &table(comparison)))
        div.charts {
            @for chart in charts(before, after) { (chart.render()) }
            (facts(comparison))
        }
    };
    let footer = format!(
        "± is half of the 95 % interval. Worse, or better, is what changed by more than the tolerance \
         of {} % and by more than noise.",
        comparison.tolerance_percent
    );
    let page = Page {
        title: &comparison.title(),
        verdict: &capitalized(&verdict.text),
        tone: if verdict.is_worse { Tone::Bad } else { Tone::Good },
        warnings: &warnings,
        tiles: &[],
        body,
        footer: &footer,
        island: None,
    };
    page.render()
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn table(comparison: &Comparison) -> Markup {
    html! {
        table.named {
            thead { tr { th {} th { "before" } th { "after" } th { "change" } } }
            tbody {
                @for row in &comparison.metrics {
                    @let shown = row.shown();
                    @let (change, error) = split_error(&shown.change);
                    @let class = match row.outcome { "worse" => "poor", "better" => "good", _ => "" };
                    tr {
                        // On lines of their own: columns would be beyond the edge of a phone.
                        td {
                            (row.name)
                            @if !class.is_empty() { br; b class=(class) { (row.outcome) } }
                        }
                        td { (shown.before) } td { (shown.after) }
                        td class=(class) { (change) @if !error.is_empty() { br; (error) } }
                    }
                }
            }
        }
    }
}

/// `-3.0 % ± 0.6 %` in two.
fn split_error(change: &str) -> (&str, &str) {
    change.split_at(change.find('±').unwrap_or(change.len()))
}

/// Both command lines, targets and places.
fn facts(comparison: &Comparison) -> Markup {
    let facts = [("before", &comparison.before), ("after", &comparison.after)];
    page::facts(&facts.map(|(name, facts)| (name.to_owned(), set_facts(facts))))
}

fn set_facts(facts: &SetFacts) -> Markup {
    let runs = plural(facts.runs as u64, "run");
    let host = facts.host.as_deref().unwrap_or("an unknown host");
    html! {
        code { (EscapedText(&facts.command).to_string()) } br;
        (runs) " against " (EscapedText(&facts.target).to_string()) " from "
        (EscapedText(host).to_string()) ", the first at " (EscapedText(&facts.started_at).to_string())
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
    // The times of these rows count from the end of the ramp.
    let points = |record: &Record| rate_points(&traffic(record), 0.0, record.mode);
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
