//! The page of `--report`: summary, charts, and the rows behind them. It is one file that fetches
//! nothing and has no script; `maud` escapes every text.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{Axis, Chart, Line};
use super::format::{bytes, count, duration, rate};
use super::plan::{LoadModel, Mode};
use super::run_result::RunResult;
use super::stats::{Percentiles, Phase, Row};

const STYLE: &str = "
:root { color-scheme: light dark; --page: #f6f7f9; --panel: #fff; --ink: #1c2128; --soft: #59636e;
  --grid: #e3e7ec; --axis: #9aa4af; --a: #1f6feb; --b: #bc4c00; --bad: #c4314b; --good: #1a7f37; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0f1318; --panel: #171c23; --ink: #e4e8ed; --soft: #9aa5b1; --grid: #2a313b;
    --axis: #596573; --a: #58a6ff; --b: #f0883e; --bad: #ff7b86; --good: #4ac26b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1240px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; }
h1 { font-size: 22px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 16px; margin: 0; }
.verdict { margin: 6px 0 20px; font-weight: 600; } .met { color: var(--good); } .missed { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tiles div, figure, .facts, details { background: var(--panel); border: 1px solid var(--grid); border-radius: 8px; }
.tiles div { padding: 10px 14px; } .tiles span { display: block; color: var(--soft); font-size: 13px; }
.tiles b { font-size: 20px; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(480px, 100%), 1fr)); gap: 16px; margin: 16px 0; }
figure { margin: 0; padding: 16px; display: flex; flex-direction: column; justify-content: space-between; }
figcaption p { margin: 2px 0 8px; color: var(--soft); font-size: 13px; }
svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--grid); } .axis { stroke: var(--axis); }
line.mark { stroke: var(--axis); stroke-dasharray: 3 3; } text { fill: var(--soft); font-size: 12px; stroke: none; }
text.mark { fill: var(--soft); font-size: 11px; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.a, .dot.a { stroke: var(--a); } .line.b, .dot.b { stroke: var(--b); } .line.bad, .dot.bad { stroke: var(--bad); }
.dot.a, .area.a { fill: var(--a); } .dot.b, .area.b { fill: var(--b); } .dot.bad { fill: var(--bad); }
.area { opacity: .13; } .note { fill: transparent; } .note:hover { fill: var(--axis); fill-opacity: .5; }
.legend { list-style: none; display: flex; gap: 18px; margin: 0 0 4px; padding: 0; font-size: 13px; color: var(--soft); }
.legend li::before { content: ''; display: inline-block; width: 16px; height: 3px; margin-right: 6px; vertical-align: 4px; }
.legend .a::before { background: var(--a); } .legend .b::before { background: var(--b); } .legend .bad::before { background: var(--bad); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 16px 0; padding: 16px; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
details { padding: 12px 16px; overflow-x: auto; } summary { cursor: pointer; }
table { border-collapse: collapse; margin-top: 10px; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { color: var(--soft); font-weight: 500; }
footer { margin-top: 18px; color: var(--soft); font-size: 13px; }
";

/// Most points of a chart and rows of the table: the seconds of a day are too many for a page.
const ROWS_MAX: usize = 900;

/// Renders the page.
pub(super) fn render(result: &RunResult<'_>) -> String {
    let series = &thinned(&result.run.stats.series);
    let title = result.title();
    let misses = result.misses();
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
                    @for (what, figure) in tiles(result) { div { span { (what) } b { (figure) } } }
                }
                div.charts { @for chart in charts(result, series) { (chart.render()) } }
                dl.facts {
                    @for fact in result.lines() { dt { (fact.label) } dd { (fact.text) } }
                }
                (rows(series))
                footer {
                    "Measured " (result.host.started_at) " by mynah-load " (result.host.version)
                    @if let Some(name) = &result.host.name { " on " (name) }
                    "."
                }
            }
        }
    };
    page.into_string()
}

/// Headline figures with their labels.
fn tiles(result: &RunResult<'_>) -> Vec<(&'static str, String)> {
    let counts = &result.run.stats.counts;
    let mut tiles = vec![("connections opened", count(counts.opened))];
    match result.plan.mode {
        Mode::Idle { .. } => tiles.push(("connects a second", rate(result.rate_per_sec()))),
        Mode::Echo { .. } => tiles.push(("answers a second", rate(result.rate_per_sec()))),
        Mode::Fanout { .. } => tiles.push(("deliveries a second", rate(result.rate_per_sec()))),
    }
    tiles.push(("errors", count(result.run.stats.error_count())));
    let Percentiles { p50, p99, .. } = result.latency();
    if p50.is_some() {
        tiles.push(("latency, median", duration(p50)));
        tiles.push(("latency, p99", duration(p99)));
    }
    if let Some(each) = result.bytes_per_connection() {
        tiles.push(("server memory a connection", format!("{each} B")));
    }
    tiles
}

/// Charts for which something was measured.
fn charts(result: &RunResult<'_>, series: &[Row]) -> Vec<Chart> {
    let mut charts = vec![connections(result, series)];
    charts.extend(distribution(result));
    charts.extend(latency_over_time(result, series));
    charts.extend(rate_over_time(result, series));
    charts.extend(memory(result));
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
        max_us: worst(a.max_us, b.max_us),
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

/// Start and name of each phase but the drain, which is mostly too short for its name.
fn phases(result: &RunResult<'_>) -> Vec<(f64, String)> {
    let phases = result.run.stats.phases.iter().filter(|(phase, ..)| *phase != Phase::Drain);
    phases.map(|(phase, at, _)| (*at as f64 / 1e9, phase.name().to_owned())).collect()
}

fn connections(result: &RunResult<'_>, series: &[Row]) -> Chart {
    let start = std::iter::once((0.0, 0.0));
    let open = series.iter().map(|row| (row.t, row.connected as f64));
    // A ramp may end long before the first row.
    let turns = result.run.stats.phases.iter();
    let turns = turns.map(|(_, at, open)| (*at as f64 / 1e9, *open as f64));
    let mut lost = 0.0;
    let gone = series.iter().map(|row| {
        lost += (row.counts.failed + row.counts.dropped) as f64;
        (row.t, lost)
    });
    let gone: Vec<(f64, f64)> = start.clone().chain(gone).collect();
    let mut points: Vec<(f64, f64)> = start.chain(open).chain(turns).collect();
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let max = points.iter().map(|(_, y)| *y).fold(lost, f64::max);
    let mut lines = vec![Line { name: "open", class: "a", points, filled: true }];
    if lost > 0.0 {
        lines.push(Line { name: "failed or dropped", class: "bad", points: gone, filled: false });
    }
    let counts = &result.run.stats.counts;
    Chart {
        title: "Connections over time",
        note: format!(
            "{} wanted, {} opened, {} failed, {} dropped.",
            count(result.plan.mode.connections().into()),
            count(counts.opened),
            count(counts.failed),
            count(counts.dropped)
        ),
        x: time_axis(series),
        y: Axis::counts("connections", max),
        lines,
        marks: phases(result),
    }
}

/// Latency over percentiles: the further right, the rarer.
fn distribution(result: &RunResult<'_>) -> Option<Chart> {
    let histogram = result.run.stats.latency();
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
    let how = match result.plan.mode.load_model() {
        LoadModel::Open => "open loop: from the time each request was meant to leave",
        _ if is_fanout(result) => "closed loop: from when a batch left to each delivery",
        _ => "closed loop: from the time each request left",
    };
    let fastest = points.first().map_or(1.0, |(_, y)| *y).max(0.1);
    let slowest = points.last().map_or(1.0, |(_, y)| *y).max(fastest);
    Some(Chart {
        title: "Latency distribution",
        note: format!("{} measured, {how}.", count(histogram.len())),
        x: Axis::marked("percentile", 0.0, powers, ticks),
        y: Axis::log("latency", fastest, slowest, axis_time),
        lines: vec![Line { name: "latency", class: "a", points, filled: false }],
        marks: Vec::new(),
    })
}

fn is_fanout(result: &RunResult<'_>) -> bool {
    matches!(result.plan.mode, Mode::Fanout { .. })
}

/// The noun for what the latencies are of.
fn measured_noun(result: &RunResult<'_>) -> &'static str {
    if is_fanout(result) { "deliveries" } else { "answers" }
}

fn latency_over_time(result: &RunResult<'_>, series: &[Row]) -> Option<Chart> {
    let points = |figure: fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
        series.iter().filter_map(|row| figure(row).map(|us| (row.t, us))).collect()
    };
    let (p50, p99) = (points(|row| row.p50_us), points(|row| row.p99_us));
    let low = p50.iter().map(|(_, us)| *us).fold(f64::INFINITY, f64::min);
    let high = p99.iter().map(|(_, us)| *us).fold(0.0, f64::max);
    (!p50.is_empty()).then(|| Chart {
        title: "Latency over time",
        note: format!("Of the {} that came in each second.", measured_noun(result)),
        x: time_axis(series),
        y: Axis::log("latency", low.max(0.1), high.max(0.1), axis_time),
        lines: vec![
            Line { name: "p99", class: "b", points: p99, filled: false },
            Line { name: "p50", class: "a", points: p50, filled: false },
        ],
        marks: phases(result),
    })
}

fn rate_over_time(result: &RunResult<'_>, series: &[Row]) -> Option<Chart> {
    let fanout = is_fanout(result);
    let (title, name): (_, &str) = if fanout {
        ("Deliveries over time", "deliveries a second")
    } else {
        ("Answers over time", "answers a second")
    };
    let mut before = 0.0;
    let points: Vec<(f64, f64)> = series
        .iter()
        .map(|row| {
            let lasted = row.t - std::mem::replace(&mut before, row.t);
            let done = if fanout { row.counts.deliveries } else { row.counts.answered };
            (row.t, lasted, done as f64)
        })
        // A row much shorter than a second has no meaningful rate.
        .filter(|(_, lasted, _)| *lasted > 0.5)
        .map(|(t, lasted, done)| (t, done / lasted))
        .collect();
    let max = points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
    (max > 0.0).then(|| Chart {
        title,
        note: "The rate of each second.".to_owned(),
        x: time_axis(series),
        y: Axis::counts(name, max),
        lines: vec![Line { name, class: "a", points, filled: true }],
        marks: phases(result),
    })
}

fn memory(result: &RunResult<'_>) -> Option<Chart> {
    const KIB: f64 = 1024.0;
    let before = result.run.rss_before? as f64;
    let each = result.bytes_per_connection()?;
    let points: Vec<(f64, f64)> = std::iter::once((0.0, 0.0))
        .chain(result.run.stats.memory.iter().map(|point| {
            (point.connected as f64, (point.rss_bytes as f64 - before).max(0.0) / KIB)
        }))
        .collect();
    let (widest, highest) = points
        .iter()
        .fold((1.0, 1.0), |(x, y): (f64, f64), point| (x.max(point.0), y.max(point.1)));
    Some(Chart {
        title: "Server memory per connection",
        note: format!(
            "{each} bytes a connection: {} resident before, {} with {} open.",
            bytes(result.run.rss_before?),
            bytes(result.run.rss_held?),
            count(result.run.held)
        ),
        x: Axis::counts("connections", widest),
        y: Axis::counts("growth of resident memory, KiB", highest),
        lines: vec![Line { name: "growth", class: "a", points, filled: true }],
        marks: Vec::new(),
    })
}

/// Formats microseconds as short as a tick's label allows: `50 µs`, `2 ms`.
fn axis_time(us: f64) -> String {
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
                            "answered", "deliveries", "p50, µs", "p99, µs", "max, µs", "server memory"] {
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
                            td { (figure(row.p99_us)) } td { (figure(row.max_us)) }
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
    use super::super::fixtures::{run, with_result};
    use super::*;

    const IDLE: &str = "idle --target command://h:1 --connections 10 --probe 5 --server-pid 42";

    fn page(args: &str, words: &str) -> String {
        let mut text = String::new();
        let mut run = run();
        run.stats.refusal = Some(words.to_owned());
        with_result(args, run, |result| text = render(result));
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
    fn chart_of_one_second_has_its_ramp() {
        let mut text = String::new();
        let mut run = run();
        run.stats.start_phase(super::Phase::Hold, 50_000_000);
        with_result(IDLE, run, |result| {
            text = connections(result, &result.run.stats.series).render().into_string();
        });
        assert!(text.contains(">0.6</text>"), "{text}");
        assert!(
            text.contains("class=\"line bad\" points=\"74,248 608,"),
            "failed or dropped: {text}"
        );
        let place = |t: f64| 74.0 + t * (608.0 - 74.0);
        assert!(text.contains(&format!("points=\"74,248 {},", place(0.05))), "{text}");
    }

    #[test]
    fn charts_without_figures_are_left_out() {
        let mut text = String::new();
        let mut run = run();
        run.stats = super::super::stats::Stats::new();
        run.rss_before = None;
        with_result("idle --target tcp://h:1 --connections 10", run, |result| {
            text = render(result)
        });
        assert_eq!(text.matches("<svg").count(), 1, "connections are always shown");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
