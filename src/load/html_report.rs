//! The page of `--report`: summary, charts, and the rows behind them. It is one file that fetches
//! nothing and has no script; `maud` escapes every text.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{Axis, Chart, Line};
use super::format::{bytes, count, duration, rate};
use super::record::{Connections, LoadModel, ModeName, Record};
use super::stage_charts;
use super::stats::{Percentiles, Phase, Row};
use super::summary::EscapedText;

const STYLE: &str = "
:root { color-scheme: light dark; --page: #f6f7f9; --panel: #fff; --ink: #1c2128; --soft: #59636e;
  --grid: #e3e7ec; --axis: #9aa4af; --a: #1f6feb; --b: #bc4c00; --c: #8250df; --d: #b8336a; --lag: #8b949e; --bad: #c4314b; --good: #1a7f37; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0f1318; --panel: #171c23; --ink: #e4e8ed; --soft: #9aa5b1; --grid: #2a313b;
    --axis: #596573; --a: #58a6ff; --b: #f0883e; --c: #bc8cff; --d: #ff80b5; --lag: #768390; --bad: #ff7b86; --good: #4ac26b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1240px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; }
h1 { font-size: 22px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 16px; margin: 0; }
.verdict { margin: 6px 0 20px; font-weight: 600; } .met { color: var(--good); } .missed { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tiles div, figure, .facts, details { background: var(--panel); border: 1px solid var(--grid); border-radius: 8px; }
.tiles div { padding: 10px 14px; } .tiles span { display: block; color: var(--soft); font-size: 13px; }
.tiles b { font-size: 20px; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px; margin: 16px 0; }
/* An odd number of charts leaves a cell for the facts; an even number a row. */
.charts > .facts:nth-child(odd) { grid-column: 1 / -1; }
figure { margin: 0; padding: 16px; }
figcaption p { margin: 2px 0 8px; color: var(--soft); font-size: 13px; }
svg { display: block; width: 100%; height: auto; } svg.narrow { display: none; }
.grid { stroke: var(--grid); } .axis { stroke: var(--axis); }
line.mark { stroke: var(--axis); stroke-dasharray: 3 3; } text { fill: var(--soft); font-size: 12px; stroke: none; }
text.mark { fill: var(--soft); font-size: 11px; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.a, .dot.a { stroke: var(--a); } .line.b, .dot.b { stroke: var(--b); } .line.c, .dot.c { stroke: var(--c); } .line.d, .dot.d { stroke: var(--d); }
.line.bad, .dot.bad { stroke: var(--bad); } .line.lag { stroke: var(--lag); stroke-dasharray: 4 4; } .dot.lag { stroke: var(--lag); }
.dot.a, .area.a { fill: var(--a); } .dot.b, .area.b { fill: var(--b); } .dot.bad { fill: var(--bad); }
.dot.c { fill: var(--c); } .dot.d { fill: var(--d); } .dot.lag { fill: var(--lag); }
.area { opacity: .13; } .note { fill: transparent; } .note:hover { fill: var(--axis); fill-opacity: .5; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0 18px; margin: 0 0 4px; padding: 0; font-size: 13px; color: var(--soft); }
.legend li::before { content: ''; display: inline-block; width: 16px; height: 3px; margin-right: 6px; vertical-align: 4px; }
.legend .a::before { background: var(--a); } .legend .b::before { background: var(--b); } .legend .bad::before { background: var(--bad); }
.legend .c::before { background: var(--c); } .legend .d::before { background: var(--d); }
.legend .lag::before { background: repeating-linear-gradient(90deg, var(--lag) 0 4px, transparent 4px 8px); }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); align-content: start; gap: 4px 18px; margin: 0; padding: 16px; font-size: 13px; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
details { padding: 12px 16px; overflow-x: auto; } summary { cursor: pointer; }
table { border-collapse: collapse; margin-top: 10px; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { color: var(--soft); font-weight: 500; }
@media (max-width: 1100px) { .charts { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 600px) { body { padding: 12px; } figure, .facts { padding: 10px; }
  svg.wide { display: none; } svg.narrow { display: block; } .tiles { grid-template-columns: 1fr 1fr; }
  .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 6px; } .facts dt:empty { display: none; } }
footer { margin-top: 18px; color: var(--soft); font-size: 13px; }
";

/// Most points of a chart and rows of the table: the seconds of a day are too many for a page.
const ROWS_MAX: usize = 900;

/// Renders the page.
pub(super) fn render(record: &Record) -> String {
    let series = &thinned(&record.series);
    let title = record.title();
    let misses = &record.verdict.misses;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                @if misses.is_empty() {
                    p.verdict.met { "met" }
                } @else {
                    p.verdict.missed { "missed: " (misses.join("; ")) }
                }
                div.tiles {
                    @for (what, figure) in tiles(record) { div { span { (what) } b { (figure) } } }
                }
                div.charts {
                    @for chart in charts(record, series) { (chart.render()) }
                    (facts(record))
                }
                (rows(series))
                footer {
                    "Measured " (record.host.started_at) " by mynah-load " (record.host.version)
                    @if let Some(name) = &record.host.name { " on " (name) }
                    "."
                }
            }
        }
    };
    page.into_string()
}

/// The lines of the summary, and what it leaves out.
fn facts(record: &Record) -> Markup {
    html! {
        dl.facts {
            dt { "command" } dd { code { (EscapedText(&record.command).to_string()) } }
            @if let Some(version) = &record.server.version {
                dt { "target" } dd { "mynah " (EscapedText(version).to_string()) }
            }
            @for fact in record.lines() { dt { (fact.label) } dd { (fact.text) } }
        }
    }
}

/// Headline figures with their labels.
fn tiles(record: &Record) -> Vec<(&'static str, String)> {
    let mut tiles = vec![("connections opened", count(record.connections.opened))];
    let per_sec = match record.mode {
        ModeName::Echo => "answers a second",
        ModeName::Fanout => "deliveries a second",
        _ => "connects a second",
    };
    tiles.push((per_sec, rate(record.rate_per_sec)));
    tiles.extend(stage_charts::tiles(record));
    tiles.push(("errors", count(record.error_count())));
    let Percentiles { p50, p99, .. } = record.latency_us;
    let is_staged = record.storm.is_some() || record.wake.is_some();
    if p50.is_some() && !is_staged {
        tiles.push(("latency, median", duration(p50)));
        tiles.push(("latency, p99", duration(p99)));
    }
    if let (Some(p99), true) = (record.tester_lag_us.p99, p50.is_some()) {
        tiles.push(("tester lag, p99", duration(Some(p99))));
    }
    if record.server.rss_bytes_held.is_some() {
        let each = record.server.bytes_per_connection;
        let each = each.map_or_else(|| "not measured".to_owned(), |each| format!("{each} B"));
        tiles.push(("server memory a connection", each));
    }
    tiles
}

/// Charts for which something was measured.
fn charts(record: &Record, series: &[Row]) -> Vec<Chart> {
    let mut charts = stage_charts::charts(record);
    charts.push(connections(record, series));
    charts.extend(distribution(record));
    // The requests of a wake come at its steps, and bystanders at a rate that was set.
    if record.wake.is_none() {
        charts.extend(latency_over_time(record, series));
    }
    if record.wake.is_none() && record.storm.is_none() {
        charts.extend(rate_over_time(record, series));
    }
    charts.extend(memory(record));
    charts
}

/// Merges neighbouring rows until there are at most [`ROWS_MAX`]: counts add up, and the worst latency
/// stays.
fn thinned(series: &[Row]) -> Vec<Row> {
    let each = series.len().div_ceil(ROWS_MAX).max(1);
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

fn time_axis(series: &[Row]) -> Axis {
    let end = series.last().map_or(1.0, |row| row.t);
    // A multiple of 0.2 has rounding errors in its last digits.
    let round = |at: f64| ((at * 1e3).round() / 1e3).to_string();
    let mut axis = Axis::linear("seconds since the run began", end, round);
    axis.end_at(end);
    axis
}

/// Most phases that are marked: more names would overlap.
const MARKS_MAX: usize = 8;

/// Start and name of each phase, but of the drain, which is mostly too short for its name, and of the
/// calms between storms.
fn phases(record: &Record) -> Vec<(f64, String)> {
    let phases = record.points.phases.iter();
    let phases = phases.filter(|(phase, ..)| !matches!(phase, Phase::Drain | Phase::Calm));
    let phases = phases.take(MARKS_MAX);
    phases.map(|(phase, at, _)| (*at, phase.name().to_owned())).collect()
}

/// A line that stays at each value until the next, and at the last until `end`.
fn steps(points: impl IntoIterator<Item = (f64, f64)>, end: f64) -> Vec<(f64, f64)> {
    let mut stairs: Vec<(f64, f64)> = Vec::new();
    for (at, value) in points {
        if let Some((_, last)) = stairs.last() {
            stairs.push((at, *last));
        }
        stairs.push((at, value));
    }
    stairs.extend(stairs.last().copied().map(|(at, value)| (at.max(end), value)));
    stairs
}

fn connections(record: &Record, series: &[Row]) -> Chart {
    let end = series.last().map_or(1.0, |row| row.t);
    let open = record.points.connected.iter().map(|(at, open)| (*at, *open as f64));
    let open = steps(open, end);
    let mut lost = 0.0;
    let gone = series.iter().map(|row| {
        lost += (row.counts.failed + row.counts.dropped) as f64;
        (row.t, lost)
    });
    let gone: Vec<(f64, f64)> = std::iter::once((0.0, 0.0)).chain(gone).collect();
    let max = open.iter().map(|(_, y)| *y).fold(lost, f64::max);
    let mut lines = vec![Line { name: "open", class: "a", segments: vec![open], filled: true }];
    if lost > 0.0 {
        let segments = vec![steps(gone, end)];
        lines.push(Line { name: "failed or dropped", class: "bad", segments, filled: false });
    }
    let Connections { wanted, opened, failed, dropped, .. } = record.connections;
    Chart {
        title: "Connections over time",
        note: format!(
            "{} wanted, {} opened, {} failed, {} dropped.",
            count(wanted),
            count(opened),
            count(failed),
            count(dropped)
        ),
        x: time_axis(series),
        y: Axis::counts("connections", max),
        lines,
        marks: phases(record),
    }
}

/// Latency over percentiles: the further right, the rarer.
fn distribution(record: &Record) -> Option<Chart> {
    let histogram = record.latency();
    if histogram.is_empty() {
        return None;
    }
    // One in 1, 10, 100, … is slower: each power of ten has the same width.
    let rarity = |quantile: f64| (1.0 / (1.0 - quantile)).log10();
    let powers = (histogram.len() as f64).log10().ceil().clamp(1.0, 6.0);
    let most = 1.0 - 10f64.powf(-powers);
    let points: Vec<(f64, f64)> = (0..=200)
        .map(|n| f64::from(n) / 200.0 * powers)
        .map(|x| (x, 1.0 - 10f64.powf(-x)))
        .map(|(x, quantile)| {
            let ns = histogram.value_at_quantile(quantile).min(histogram.max());
            (x, ns as f64 / 1e3)
        })
        .collect();
    let names = [
        (0.0, "0"),
        (0.5, "50"),
        (0.9, "90"),
        (0.99, "99"),
        (0.999, "99.9"),
        (0.9999, "99.99"),
        (0.99999, "99.999"),
        (0.999999, "99.9999"),
    ];
    let ticks = names
        .into_iter()
        .filter(|(quantile, _)| *quantile <= most + 1e-9)
        // With many ticks, "50 %" would overlap "0 %".
        .filter(|(quantile, _)| *quantile != 0.5 || powers < 5.0)
        .map(|(quantile, name)| (rarity(quantile), format!("{name} %")))
        .collect();
    let how = match record.settings.load {
        LoadModel::Open if record.wake.is_some() => "first requests after a sleep, of any length",
        LoadModel::Open if record.storm.is_some() => {
            "of the bystanders, open loop: from the time each request was meant to leave"
        }
        LoadModel::Open => "open loop: from the time each request was meant to leave",
        _ if is_fanout(record) => "closed loop: from when a batch left to each delivery",
        _ => "closed loop: from the time each request left",
    };
    let fastest = points.first().map_or(1.0, |(_, y)| *y).max(0.1);
    let slowest = points.last().map_or(1.0, |(_, y)| *y).max(fastest);
    Some(Chart {
        title: "Latency distribution",
        note: format!("{} measured, {how}.", count(histogram.len())),
        x: Axis::marked("percentile", 0.0, powers, ticks),
        y: Axis::log("latency", fastest, slowest, axis_time),
        lines: vec![Line { name: "latency", class: "a", segments: vec![points], filled: false }],
        marks: Vec::new(),
    })
}

fn is_fanout(record: &Record) -> bool {
    record.mode == ModeName::Fanout
}

/// The noun for what the latencies are of.
fn measured_noun(record: &Record) -> &'static str {
    if is_fanout(record) { "deliveries" } else { "answers" }
}

/// The rows that lasted for about a second, with their starts. The last, of the drain, is mostly too
/// short for a rate or a percentile.
fn whole_rows(series: &[Row]) -> impl Iterator<Item = (f64, &Row)> {
    let mut before = 0.0;
    let started = series.iter().map(move |row| (std::mem::replace(&mut before, row.t), row));
    started.filter(|(start, row)| row.t - start > 0.5)
}

/// The points of a figure, with a gap for rows that have none.
fn segments(series: &[Row], figure: fn(&Row) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut segments = vec![Vec::new()];
    for (_, row) in whole_rows(series) {
        match (figure(row), segments.last_mut()) {
            (Some(us), Some(segment)) => segment.push((row.t, us)),
            _ => segments.push(Vec::new()),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments
}

fn latency_over_time(record: &Record, series: &[Row]) -> Option<Chart> {
    type Figure = fn(&Row) -> Option<f64>;
    let figures: [(&str, &str, Figure); 5] = [
        ("max", "d", |row| row.max_us),
        ("p99.9", "c", |row| row.p999_us),
        ("p99", "b", |row| row.p99_us),
        ("p50", "a", |row| row.p50_us),
        // Without answers it is beside nothing.
        ("tester lag, max", "lag", |row| row.p50_us.and(row.tester_lag_us)),
    ];
    let lines = figures.map(|(name, class, figure)| Line {
        name,
        class,
        segments: segments(series, figure),
        filled: false,
    });
    let lines: Vec<Line> = lines.into_iter().filter(|line| !line.segments.is_empty()).collect();
    let values = || lines.iter().flat_map(|line| line.segments.iter().flatten()).map(|(_, us)| *us);
    let low = values().fold(f64::INFINITY, f64::min).max(0.1);
    let high = values().fold(low, f64::max);
    (!lines.is_empty()).then(|| Chart {
        title: if record.storm.is_some() {
            "Bystanders over time: latency"
        } else {
            "Latency over time"
        },
        note: format!("Of the {} that came in each second.", measured_noun(record)),
        x: time_axis(series),
        y: Axis::log("latency", low, high, axis_time),
        lines,
        marks: phases(record),
    })
}

fn rate_over_time(record: &Record, series: &[Row]) -> Option<Chart> {
    let fanout = is_fanout(record);
    let (title, name): (_, &str) = if fanout {
        ("Deliveries over time", "deliveries a second")
    } else {
        ("Answers over time", "answers a second")
    };
    let points: Vec<(f64, f64)> = whole_rows(series)
        .flat_map(|(start, row)| {
            let done = if fanout { row.counts.deliveries } else { row.counts.answered };
            let per_sec = done as f64 / (row.t - start);
            [(start, per_sec), (row.t, per_sec)]
        })
        .collect();
    let max = points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
    (max > 0.0).then(|| Chart {
        title,
        note: "The rate of each second.".to_owned(),
        x: time_axis(series),
        y: Axis::counts(name, max),
        lines: vec![Line { name, class: "a", segments: vec![points], filled: true }],
        marks: phases(record),
    })
}

fn memory(record: &Record) -> Option<Chart> {
    const KIB: f64 = 1024.0;
    let before = record.server.rss_bytes_before?;
    let each = record.server.bytes_per_connection?;
    let points: Vec<(f64, f64)> =
        std::iter::once((0.0, 0.0))
            .chain(record.points.memory.iter().map(|(connected, rss)| {
                (*connected as f64, rss.saturating_sub(before) as f64 / KIB)
            }))
            .collect();
    let (widest, highest) = points
        .iter()
        .fold((1.0, 1.0), |(x, y): (f64, f64), point| (x.max(point.0), y.max(point.1)));
    Some(Chart {
        title: "Server memory per connection",
        note: format!(
            "{each} bytes a connection: {} before, {} with {} open, without pages of files.",
            bytes(before),
            bytes(record.server.rss_bytes_held?),
            count(record.connections.held)
        ),
        x: Axis::counts("connections", widest),
        y: Axis::counts("growth of memory, KiB", highest),
        lines: vec![Line { name: "growth", class: "a", segments: vec![points], filled: true }],
        marks: Vec::new(),
    })
}

/// Formats microseconds as short as a tick's label allows: `50 µs`, `2 ms`.
pub(super) fn axis_time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", (value * 100.0).round() / 100.0)
}

fn rows(series: &[Row]) -> Markup {
    let figure = |us: Option<f64>| us.map_or_else(String::new, |us| format!("{us:.1}"));
    html! {
        details {
            summary { "The rows behind the charts" }
            table {
                thead {
                    tr {
                        @for name in ["t, s", "phase", "open", "opened", "failed", "dropped", "sent",
                            "answered", "deliveries", "p50, µs", "p99, µs", "p99.9, µs", "max, µs", "tester lag, µs",
                            "server memory"] {
                            th { (name) }
                        }
                    }
                }
                tbody {
                    @for row in series {
                        tr {
                            td { (format!("{:.1}", row.t)) } td { (row.phase.name()) }
                            td { (count(row.connected)) } td { (count(row.counts.opened)) }
                            td { (count(row.counts.failed)) } td { (count(row.counts.dropped)) }
                            td { (count(row.counts.sent)) } td { (count(row.counts.answered)) }
                            td { (count(row.counts.deliveries)) } td { (figure(row.p50_us)) }
                            td { (figure(row.p99_us)) } td { (figure(row.p999_us)) }
                            td { (figure(row.max_us)) } td { (figure(row.tester_lag_us)) }
                            td { (row.server_rss_bytes.map(bytes).unwrap_or_default()) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Run;
    use super::super::fixtures::{run, with_record};
    use super::*;

    const IDLE: &str = "idle --target command://h:1 --connections 10 --probe 5 --server-pid 42";

    fn page(args: &str, words: &str) -> String {
        let mut text = String::new();
        let mut run = run();
        run.stats.refusal = Some(words.to_owned());
        with_record(args, run, |record| text = render(record));
        text
    }

    #[test]
    fn page_has_its_charts_and_fetches_nothing() {
        let text = page(IDLE, "");
        for title in
            ["Connections over time", "Latency distribution", "Server memory per connection"]
        {
            assert!(text.contains(&format!("<h2>{title}</h2>")), "{title}");
        }
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
        for outside in ["src=", "href=", "http", "url(", "@import", "<script", "<link"] {
            assert!(!text.contains(outside), "{outside}");
        }
        assert!(text.contains("prefers-color-scheme: dark"));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn page_escapes_target_and_host() {
        let text = page(IDLE, "<script>alert('1')</script>&\"");
        assert!(!text.contains("<script"), "the target's words");
        assert!(text.contains("&lt;script&gt;alert('1')&lt;/script&gt;&amp;&quot;"), "{text}");
        assert!(text.contains("on &lt;&amp;&quot;'&gt;."), "the host's name");
    }

    #[test]
    fn rows_of_a_day_are_merged() {
        let mut stats = super::super::stats::Stats::new();
        for second in 1..=2_000 {
            stats.counts.answered += 1;
            stats.record(second * 1_000, 1);
            stats.end_row(second * 1_000_000_000);
        }
        let rows = thinned(&stats.series);
        assert_eq!(rows.len(), 667);
        assert_eq!(rows.iter().map(|row| row.counts.answered).sum::<u64>(), 2_000);
        assert_eq!((rows[0].t, rows[0].p50_us), (3.0, stats.series[2].p50_us), "the worst");
        assert_eq!(thinned(&stats.series[..900]), stats.series[..900]);
    }

    #[test]
    fn connections_stay_until_they_change() {
        let points = [(0.0, 0.0), (0.5, 8.0), (0.7, 9.0)];
        let stairs = [(0.0, 0.0), (0.5, 0.0), (0.5, 8.0), (0.7, 8.0), (0.7, 9.0), (1.0, 9.0)];
        assert_eq!(steps(points, 1.0), stairs);
        assert_eq!(steps([], 1.0), []);
        with_record(IDLE, run(), |record| {
            let chart = connections(record, &record.series);
            assert_eq!(
                chart.lines[0].segments[0],
                [(0.0, 0.0), (0.5, 0.0), (0.5, 8.0), (1.0, 8.0)]
            );
            assert_eq!(chart.lines[1].segments[0][..3], [(0.0, 0.0), (1.0, 0.0), (1.0, 2.0)]);
        });
    }

    #[test]
    fn short_drain_and_silent_seconds_have_no_latency() {
        let mut stats = super::super::stats::Stats::new();
        for (ms, has_answer) in
            [(1_000, true), (2_000, true), (3_000, false), (4_000, true), (4_020, true)]
        {
            if has_answer {
                stats.counts.answered += 1;
                stats.record(ms * 1_000, 1);
            }
            stats.end_row(ms * 1_000_000);
        }
        let times: Vec<Vec<f64>> = segments(&stats.series, |row| row.p50_us)
            .iter()
            .map(|segment| segment.iter().map(|(t, _)| *t).collect())
            .collect();
        assert_eq!(times, [vec![1.0, 2.0], vec![4.0]]);
        with_record("echo command://h:1", Run { stats, ..run() }, |record| {
            let rates = rate_over_time(record, &record.series).unwrap();
            let last = rates.lines[0].segments[0].last();
            assert_eq!(last, Some(&(4.0, 1.0)), "as long as the second lasted");
        });
    }

    #[test]
    fn page_names_command_versions_and_lag() {
        let text = page(IDLE, "");
        for fact in ["<code>mynah-load idle --target", "mynah 9.8.7", "tester lag, p99", "p99.9"] {
            assert!(text.contains(fact), "{fact}");
        }
    }

    #[test]
    fn charts_without_figures_are_left_out() {
        let mut text = String::new();
        let mut run = run();
        run.stats = super::super::stats::Stats::new();
        run.rss_before = None;
        with_record("idle --target tcp://h:1 --connections 10", run, |record| {
            text = render(record)
        });
        assert_eq!(text.matches("<figure").count(), 1, "connections are always shown");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
