//! The page of a run: summary, charts, the rows behind them, and the record itself.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::chart::{Axis, Chart, Line, axis_time};
use super::format::{bytes, count, duration, plural, rate, seconds};
use super::page::{self, Page, Tile, Tone};
use super::record::{Connections, LoadModel, ModeName, Part, Record};
use super::stats::{Percentiles, Phase, Row};
use super::summary_line::EscapedText;
use super::sysinfo::{Host, SocketCounts};
use super::{distribution, downsample, island, stage_charts, warnings};

/// Most points of a line of a chart: the seconds of a day are too many for a page.
const CHART_ROWS_MAX: usize = 300;

/// Most rows of the table.
const TABLE_ROWS_MAX: usize = 200;

/// Renders the page.
pub(super) fn render(record: &Record) -> String {
    let series = &downsample::rows(&record.series, CHART_ROWS_MAX);
    let table_rows = downsample::rows(&record.series, TABLE_ROWS_MAX);
    // Its points are as many as a chart can show.
    let record = &island::light(record);
    let tone = if record.verdict.met { Tone::Good } else { Tone::Bad };
    let warnings: Vec<String> =
        record.verdict.warnings.iter().map(|text| format!("{}.", capitalized(text))).collect();
    let body = html! {
        div.charts {
            @for chart in charts(record, series) { (chart.render()) }
            (facts(record))
        }
        @if let Some(parts) = &record.parts { (parts_table(parts)) }
        @if !record.kernel.states.is_empty() && record.kernel.not_measured.is_none() {
            (kernel_table(record))
        }
        (rows(&table_rows))
    };
    Page {
        title: &title(record),
        verdict: &verdict(record),
        tone,
        warnings: &warnings,
        tiles: &tiles(record),
        body,
        footer: &footer(record),
        island: Some(island::render(record)),
    }
    .render()
}

/// The subject of the run, in plain words.
fn title(record: &Record) -> String {
    let what = match record.mode {
        ModeName::Idle => "Idle connections",
        ModeName::Echo => "Requests and answers",
        ModeName::Fanout => "Fan-out",
        ModeName::Storm => "Reconnect storm",
        ModeName::Wake => "Waking idle connections",
    };
    format!("{what}: {}", record.urls())
}

/// The verdict in plain words: whether the run is met, its result, and what was the limit.
fn verdict(record: &Record) -> String {
    let misses = record.verdict.misses.join("; ");
    let mut text = if record.verdict.met {
        "Met".to_owned()
    } else {
        format!("Missed: {}", EscapedText(&misses))
    };
    if let Some(result) = result(record) {
        text.push_str(if record.verdict.met { ": " } else { ". " });
        text.push_str(&result);
    }
    text.push('.');
    if let Some(limit) = warnings::limit_sentence(record) {
        text.push_str(&format!(" {}.", capitalized(&limit)));
    }
    text
}

/// The result of a run in one sentence, without its full stop; `None` if nothing was opened.
fn result(record: &Record) -> Option<String> {
    let Connections { wanted, opened, held, .. } = record.connections;
    if opened == 0 {
        return None;
    }
    let within = record
        .latency_us
        .p99
        .map_or_else(String::new, |p99| format!(", 99 % within {}", duration(Some(p99))));
    let per_sec = rate(record.rate_per_sec);
    Some(match record.mode {
        ModeName::Echo => {
            format!("{per_sec} answers a second over {}{within}", plural(opened, "connection"))
        }
        ModeName::Fanout => {
            let subscribers = plural(opened.saturating_sub(1), "subscriber");
            format!("{per_sec} deliveries a second to {subscribers}{within}")
        }
        ModeName::Idle => {
            let (held, wanted) = (count(held), plural(wanted, "connection"));
            let secs = seconds(record.measured_secs);
            let of = format!("{held} of {wanted} open after {secs} of hold");
            match record.requests.answered {
                0 => of,
                answered => format!("{of}; {} meanwhile{within}", plural(answered, "answer")),
            }
        }
        ModeName::Storm | ModeName::Wake => stage_charts::result(record).unwrap_or_else(|| {
            format!("{} of {} opened{within}", count(opened), plural(wanted, "connection"))
        }),
    })
}

fn capitalized(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn footer(record: &Record) -> String {
    let Host { started_at, version, name, .. } = &record.host;
    let on = name.as_ref().map_or_else(String::new, |name| format!(" on {}", EscapedText(name)));
    format!("Measured {} by mynah-load {}{on}.", EscapedText(started_at), EscapedText(version))
}

/// The lines of the summary, and what it leaves out.
fn facts(record: &Record) -> Markup {
    let command = EscapedText(&record.command).to_string();
    let mut facts = vec![("command".to_owned(), html! { code { (command) } })];
    facts.push(("versions".to_owned(), html! { (versions(record)) }));
    // The top of the page has the others.
    let lines =
        record.lines().into_iter().filter(|line| !["warning", "verdict"].contains(&line.label));
    facts.extend(lines.map(|line| (line.label.to_owned(), html! { (line.text) })));
    page::facts(&facts)
}

/// Versions of tester, kernel and target, as far as they are known.
fn versions(record: &Record) -> String {
    let mut text = format!("mynah-load {}", EscapedText(&record.host.version));
    if let Some(kernel) = &record.host.kernel {
        text.push_str(&format!(" on {}", EscapedText(kernel)));
    }
    if let Some(version) = &record.server.version {
        text.push_str(&format!("; target mynah {}", EscapedText(version)));
    }
    text
}

/// The kernel's memory and sockets by state of the connections.
fn kernel_table(record: &Record) -> Markup {
    let kernel = &record.kernel;
    let headings = [
        "with connections",
        "number",
        "slabs",
        "buffers",
        "sockets",
        "orphans",
        "TIME_WAIT",
        "slabs each",
        "buffers each",
    ];
    let size = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), bytes);
    let sockets_of = |sockets: Option<SocketCounts>| {
        let numbers = sockets.map(|s| [s.in_use, s.orphans, s.time_wait]);
        [0, 1, 2].map(|n| numbers.map_or_else(|| "-".to_owned(), |numbers| count(numbers[n])))
    };
    let row = |name: &str, number, slab, buffer, sockets, each: [String; 2]| {
        let mut cells = vec![name.to_owned(), count(number), size(slab), size(buffer)];
        cells.extend(sockets_of(sockets));
        cells.extend(each);
        cells
    };
    let none = || ["-".to_owned(), "-".to_owned()];
    let (slab, buffer) = (kernel.slab_bytes_before, kernel.buffer_bytes_before);
    let mut rows = vec![row("none yet", 0, slab, buffer, kernel.sockets_before, none())];
    rows.extend(kernel.states.iter().map(|state| {
        let slab = state.slab_bytes_per_connection.map(|each| format!("{each} B"));
        let buffer = record.buffers_text(state.state);
        let each = [slab, buffer].map(|each| each.unwrap_or_else(|| "-".to_owned()));
        let (slab, buffer) = (state.slab_bytes, state.buffer_bytes);
        row(state.state.description(), state.connections, slab, buffer, state.sockets, each)
    }));
    let ends = if kernel.ends == 2 { "Both ends" } else { "One end" };
    let note = format!("{ends} of each connection on this machine, and all else that it has.");
    page::section("Memory of sockets in the kernel", &note, &page::table(&headings, &rows, true))
}

/// The parts of a merge.
fn parts_table(parts: &[Part]) -> Markup {
    let headings = [
        "part",
        "opened",
        "failed",
        "dropped",
        "sent",
        "answered",
        "deliveries",
        "a second",
        "p50",
        "p99",
        "max",
        "errors",
    ];
    let row = |part: &Part| {
        let (connections, requests) = (&part.connections, &part.requests);
        let latency = part.latency_us;
        vec![
            EscapedText(&part.name).to_string(),
            count(connections.opened),
            count(connections.failed),
            count(connections.dropped),
            count(requests.sent),
            count(requests.answered),
            count(part.deliveries),
            rate(part.rate_per_sec),
            duration(latency.p50),
            duration(latency.p99),
            duration(latency.max),
            count(part.errors),
        ]
    };
    let rows: Vec<Vec<String>> = parts.iter().map(row).collect();
    page::section(
        "Parts",
        "The records that were merged into this one.",
        &page::table(&headings, &rows, true),
    )
}

/// Headline figures with their labels.
fn tiles(record: &Record) -> Vec<Tile> {
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
    if let (Some(p99), true) = (record.left_late_us.p99, p50.is_some()) {
        tiles.push(("left late by, p99", duration(Some(p99))));
    } else if let (Some(p99), true) = (record.tester_lag_us.p99, p50.is_some()) {
        tiles.push(("tester lag, p99", duration(Some(p99))));
    }
    if let Some(us) = record.server.cpu_us_per_request {
        let label =
            if is_fanout(record) { "server CPU a delivery" } else { "server CPU a request" };
        tiles.push((label, duration(Some(us))));
    }
    let each = record.server.bytes_per_connection.map(|each| format!("{each} B"));
    let is_asked = record.mode == ModeName::Idle && record.server.rss_bytes_held.is_some();
    let each = each.or_else(|| is_asked.then(|| "not measured".to_owned()));
    tiles.extend(each.map(|each| ("server memory a connection", each)));
    tiles.into_iter().map(|(label, figure)| (label.to_owned(), figure)).collect()
}

/// Charts for which something was measured.
fn charts(record: &Record, series: &[Row]) -> Vec<Chart> {
    let mut charts = stage_charts::charts(record);
    charts.push(connections(record, series));
    charts.extend(latency_distribution(record));
    charts.extend(histogram(record));
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
fn latency_distribution(record: &Record) -> Option<Chart> {
    let histogram = record.latency();
    if histogram.is_empty() {
        return None;
    }
    let powers = distribution::powers(histogram.len());
    let points = distribution::points(histogram, powers);
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
        x: distribution::percentile_axis(powers),
        y: Axis::log("latency", fastest, slowest, axis_time),
        lines: vec![Line { name: "latency", class: "a", segments: vec![points], filled: false }],
        marks: Vec::new(),
    })
}

/// Buckets of a decade in the bar histogram.
const BUCKETS_PER_DECADE: f64 = 10.0;

/// Bars over buckets of latency, each a tenth of a power of ten wide.
fn histogram(record: &Record) -> Option<Chart> {
    let mut buckets: BTreeMap<i32, u64> = BTreeMap::new();
    for recorded in record.latency().iter_recorded() {
        let us = recorded.value_iterated_to().max(1) as f64 / 1e3;
        let bucket = (us.log10() * BUCKETS_PER_DECADE).floor() as i32;
        *buckets.entry(bucket).or_default() += recorded.count_at_value();
    }
    let (first, last) = (*buckets.keys().next()?, *buckets.keys().next_back()?);
    let edge = |bucket: i32| 10f64.powf(f64::from(bucket) / BUCKETS_PER_DECADE);
    let bar = |(bucket, count): (&i32, &u64)| {
        let (from, to, height) = (edge(*bucket), edge(bucket + 1), *count as f64);
        vec![(from, 0.0), (from, height), (to, height), (to, 0.0)]
    };
    let highest = buckets.values().copied().max().unwrap_or(1);
    let noun = measured_noun(record);
    Some(Chart {
        title: "Latency histogram",
        note: format!("How many of the {noun} took how long; ten bars to a power of ten."),
        x: Axis::log("latency", edge(first), edge(last + 1), axis_time),
        y: Axis::counts(noun, highest as f64),
        lines: vec![Line {
            name: noun,
            class: "a",
            segments: buckets.iter().map(bar).collect(),
            filled: true,
        }],
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
/// short for a rate or a percentile. The row in which the ramp ends starts there.
fn whole_rows(series: &[Row], ramp_end: f64) -> impl Iterator<Item = (f64, &Row)> {
    let mut before = 0.0_f64;
    let started = series.iter().map(move |row| {
        let start = std::mem::replace(&mut before, row.t);
        (if row.t > ramp_end { start.max(ramp_end) } else { start }, row)
    });
    started.filter(|(start, row)| row.t - start > 0.5)
}

/// Answers or deliveries a second, as steps. Before the ramp ends there are none.
pub(super) fn rate_points(series: &[Row], ramp_end: f64, mode: ModeName) -> Vec<(f64, f64)> {
    let steps = whole_rows(series, ramp_end).flat_map(|(start, row)| {
        let is_fanout = mode == ModeName::Fanout;
        let done = if is_fanout { row.counts.deliveries } else { row.counts.answered };
        let per_sec = done as f64 / (row.t - start);
        [(start, per_sec), (row.t, per_sec)]
    });
    steps.collect()
}

/// The time that a point of the series stands for: `each second`, or several that were merged.
fn each_row(series: &[Row]) -> String {
    let spans = series.windows(2).map(|rows| (rows[1].t - rows[0].t).round());
    match spans.reduce(f64::max) {
        Some(secs) if secs > 1.0 => format!("each {secs} seconds"),
        _ => "each second".to_owned(),
    }
}

/// As [`each_row`], for a figure of which the worst stays where rows are merged.
fn worst_of_each_row(series: &[Row]) -> String {
    let row = each_row(series);
    if row == "each second" { row } else { format!("{row}, the worst second of them") }
}

/// The points of a figure, with a gap for rows that have none.
pub(super) fn segments(series: &[Row], figure: fn(&Row) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut segments = vec![Vec::new()];
    for (_, row) in whole_rows(series, 0.0) {
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
        note: format!(
            "Of the {} that came in {}.",
            measured_noun(record),
            worst_of_each_row(series)
        ),
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
    let ramp_end = record.points.phases.first().map_or(0.0, |(_, at, _)| *at);
    let points = rate_points(series, ramp_end, record.mode);
    let max = points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
    (max > 0.0).then(|| Chart {
        title,
        note: format!("The rate in {}.", each_row(series)),
        x: time_axis(series),
        y: Axis::counts(name, max),
        lines: vec![Line { name, class: "a", segments: vec![points], filled: true }],
        marks: phases(record),
    })
}

/// Memory by open connections, until a storm drops them: what the server has then is what it keeps.
fn memory_points(record: &Record) -> impl Iterator<Item = &(u64, u64)> {
    let is_storm = record.storm.is_some();
    let mut most = 0;
    record.points.memory.iter().take_while(move |(connected, _)| {
        most = most.max(*connected);
        !is_storm || *connected == most
    })
}

fn memory(record: &Record) -> Option<Chart> {
    const KIB: f64 = 1024.0;
    let before = record.server.rss_bytes_before?;
    let each = record.server.bytes_per_connection?;
    let points: Vec<(f64, f64)> =
        std::iter::once((0.0, 0.0))
            .chain(memory_points(record).map(|(connected, rss)| {
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

fn rows(series: &[Row]) -> Markup {
    let figure = |us: Option<f64>| us.map_or_else(String::new, |us| format!("{us:.1}"));
    let headings = [
        "t, s",
        "phase",
        "open",
        "opened",
        "failed",
        "dropped",
        "sent",
        "answered",
        "deliveries",
        "p50, µs",
        "p99, µs",
        "p99.9, µs",
        "max, µs",
        "tester lag, µs",
        "server memory",
    ];
    let cells = |row: &Row| {
        vec![
            format!("{:.1}", row.t),
            row.phase.name().to_owned(),
            count(row.connected),
            count(row.counts.opened),
            count(row.counts.failed),
            count(row.counts.dropped),
            count(row.counts.sent),
            count(row.counts.answered),
            count(row.counts.deliveries),
            figure(row.p50_us),
            figure(row.p99_us),
            figure(row.p999_us),
            figure(row.max_us),
            figure(row.tester_lag_us),
            row.server_rss_bytes.map(bytes).unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = series.iter().map(cells).collect();
    page::closed_section("The rows behind the charts", &page::table(&headings, &rows, false))
}

#[cfg(test)]
mod tests {
    use super::super::engine::Run;
    use super::super::fixtures::{run, run_of_an_hour, with_record};
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
        for outside in ["src=", "href=", "http:", "https:", "url(", "@import", "<link"] {
            assert!(!text.contains(outside), "{outside}");
        }
        assert_eq!(text.matches("<script").count(), 1, "the record");
        assert!(text.contains("prefers-color-scheme: dark"));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn rate_is_of_the_time_behind_the_ramp() {
        with_record(IDLE, run(), |record| {
            let row = |t, answered| {
                let mut row = Row { t, ..record.series[0].clone() };
                row.counts.answered = answered;
                row
            };
            let rows = [row(1.0, 0), row(2.0, 600), row(3.0, 800)];
            let points = rate_points(&rows, 1.25, ModeName::Idle);
            let expected = [0.0, 0.0, 800.0, 800.0, 800.0, 800.0];
            assert_eq!(points.iter().map(|(_, y)| *y).collect::<Vec<_>>(), expected);
            assert_eq!(points[2].0, 1.25);
        });
    }

    #[test]
    fn page_escapes_target_and_host() {
        let text = page(IDLE, "<script>alert('1')</script>&\"");
        assert!(!text.contains("<script>"), "the target's words");
        assert!(text.contains("&lt;script&gt;alert('1')&lt;/script&gt;&amp;&quot;"), "{text}");
        assert!(text.contains("on &lt;&amp;&quot;'&gt;."), "the host's name");
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
    fn page_of_an_hour_is_small() {
        with_record(&format!("{IDLE} --hold 60m"), run_of_an_hour(), |record| {
            assert!(record.series.len() > 3_500 && record.points.memory.len() > 3_000);
            let bytes = render(record).len();
            assert!(bytes < 300_000, "{bytes}");
        });
    }

    #[test]
    fn page_begins_with_the_verdict_in_plain_words() {
        let mut met = run();
        met.stats.errors.clear();
        with_record("echo command://h:1 -c 10 -d 2", met, |record| {
            let expected = "Met: 50 answers a second over 9 connections, 99 % within 99.02 ms.";
            assert_eq!(verdict(record), expected);
        });
        with_record(IDLE, run(), |record| {
            let expected = "Missed: 2 errors, --max-errors allows 0. 8 of 10 connections open after \
                            2.00 s of hold; 100 answers meanwhile, 99 % within 99.02 ms.";
            assert_eq!(verdict(record), expected);
            let page = render(record);
            assert!(page.contains(&format!("<p class=\"verdict poor\">{expected}</p>")));
            assert!(page.contains("<h1>Idle connections: command://h:1</h1>"));
        });
    }

    #[test]
    fn histogram_has_a_bar_for_each_bucket() {
        with_record(IDLE, run(), |record| {
            let chart = histogram(record).unwrap();
            let bars = &chart.lines[0].segments;
            assert!(bars.iter().all(|bar| bar.len() == 4 && bar[0].0 < bar[3].0));
            let all: f64 = bars.iter().map(|bar| bar[1].1).sum();
            assert_eq!(all, 100.0, "each answer is in one");
        });
        let none = Run { stats: super::super::stats::Stats::new(), ..run() };
        with_record(IDLE, none, |record| assert!(histogram(record).is_none()));
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
