//! The table of results, as Markdown and as JSON: one row for each figure and server.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::load::Measured;
use crate::samples::Samples;

/// Smallest share of waiting that the table shows.
const WAITED_SHARE_SHOWN: f64 = 0.03;

/// Unit of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    PerSecond,
    BytesPerSecond,
    Bytes,
    /// A bare number: calls, instructions.
    Number,
}

/// Threshold of a figure, or of its ratio if it has one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
    Below(f64),
}

/// The server's share of its processor; 1 is all the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuShare {
    /// Share in which it ran. Near 1, the server is the bottleneck.
    ran: f64,
    /// Share in which it was ready and other processes ran. If it is large, rates are unreliable;
    /// processor times are less affected.
    waited: f64,
}

impl CpuShare {
    /// The medians of all rounds.
    pub(crate) fn of(measured: &[Measured]) -> Self {
        let median =
            |value: fn(&Measured) -> f64| Samples(measured.iter().map(value).collect()).median();
        CpuShare { ran: median(Measured::cpu_share), waited: median(Measured::waited_share) }
    }
}

impl std::fmt::Display for CpuShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} %", self.ran * 100.0)?;
        if self.waited >= WAITED_SHARE_SHOWN {
            write!(f, ", waited {:.0} %", self.waited * 100.0)?;
        }
        Ok(())
    }
}

/// A figure of a server.
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) server: &'static str,
    pub(crate) values: Samples,
    pub(crate) unit: Unit,
    /// The other server, and the ratio to it in each round.
    pub(crate) ratio: Option<(&'static str, Samples)>,
    pub(crate) bar: Option<Bar>,
    pub(crate) cpu_share: Option<CpuShare>,
    /// Argument of the suite that repeats this measurement.
    pub(crate) benchmark: &'static str,
}

/// Rows, notes and plots of a run.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
    plots: Vec<Value>,
}

impl Row {
    /// The value that the bar is for: the ratio if there is one.
    fn compared_value(&self) -> f64 {
        self.ratio.as_ref().map_or_else(|| self.values.median(), |(_, ratios)| ratios.median())
    }

    fn is_met(&self) -> Option<bool> {
        let value = self.compared_value();
        Some(match self.bar? {
            Bar::AtMost(most) => value <= most,
            Bar::AtLeast(least) => value >= least,
            Bar::Below(limit) => value < limit,
        })
    }

    fn bar_text(&self) -> String {
        let Some(bar) = self.bar else { return String::new() };
        let (sign, limit) = match bar {
            Bar::AtMost(limit) => ("≤", limit),
            Bar::AtLeast(limit) => ("≥", limit),
            Bar::Below(limit) => ("<", limit),
        };
        match &self.ratio {
            Some((base, _)) => format!("{sign} {limit:.2} × {base}"),
            None => format!("{sign} {}", self.unit.show(limit)),
        }
    }

    fn spread_text(&self, show: impl Fn(f64) -> String, samples: &Samples) -> String {
        match samples.0.len() {
            1 => show(samples.median()),
            _ => {
                let (low, high) = (show(samples.low()), show(samples.high()));
                format!("{} ({low} to {high})", show(samples.median()))
            }
        }
    }

    fn cells(&self) -> [String; 7] {
        let ratio = self.ratio.as_ref().map(|(base, ratios)| {
            format!("{} × {base}", self.spread_text(|ratio| format!("{ratio:.3}"), ratios))
        });
        let is_met = self.is_met().map_or("", |met| if met { "met" } else { "**missed**" });
        [
            self.figure.clone(),
            self.server.to_owned(),
            self.spread_text(|value| self.unit.show(value), &self.values),
            ratio.unwrap_or_default(),
            self.cpu_share.map_or_else(String::new, |share| share.to_string()),
            [self.bar_text().as_str(), is_met].join(" ").trim().to_owned(),
            format!("`-- {}`", self.benchmark),
        ]
    }

    fn json(&self) -> Value {
        let ratio = self.ratio.as_ref().map(|(base, ratios)| {
            json!({ "against": base, "median": ratios.median(), "low": ratios.low(),
                    "high": ratios.high(), "rounds": ratios.0 })
        });
        json!({
            "figure": self.figure,
            "server": self.server,
            "unit": self.unit.name(),
            "median": self.values.median(),
            "low": self.values.low(),
            "high": self.values.high(),
            "rounds": self.values.0,
            "ratio": ratio,
            "server_busy": self.cpu_share.map(|cpu_share| cpu_share.ran),
            "server_waited": self.cpu_share.map(|cpu_share| cpu_share.waited),
            "bar": self.bar.map(|_| self.bar_text()),
            "met": self.is_met(),
            "command": format!("cargo bench --bench compare -- {}", self.benchmark),
        })
    }
}

impl Table {
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a note, such as the reason why a measurement was skipped.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Adds the points of a plot.
    pub(crate) fn plot(&mut self, file: &str, points: Value) {
        self.plots.push(json!({ "file": file, "plot": points }));
    }

    pub(crate) fn markdown(&self) -> String {
        let head = ["figure", "server", "median (spread)", "ratio (spread)", "busy", "bar", "how"];
        let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        let mut last = "";
        for row in &self.rows {
            let mut cells = row.cells();
            // Rows of the same figure name it once.
            if row.figure == last {
                cells[0].clear();
            }
            last = &row.figure;
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        for note in &self.notes {
            let _ = write!(text, "\n- {note}");
        }
        let judged: Vec<_> = self.rows.iter().filter_map(|l| Some((l, l.is_met()?))).collect();
        let missed: Vec<_> = judged.iter().filter(|(_, met)| !met).map(|(l, _)| *l).collect();
        let _ = write!(text, "\n\n{} of {} bars met.", judged.len() - missed.len(), judged.len());
        for row in missed {
            let (figure, server, bar) = (&row.figure, row.server, row.bar_text());
            let _ = write!(text, "\nMissed: {figure}, {server}: {bar}.");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({ "lines": rows, "notes": self.notes, "plots": self.plots })
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::PerSecond => "1/s",
            Unit::BytesPerSecond => "B/s",
            Unit::Bytes => "B",
            Unit::Number => "1",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds => format!("{} ns", with_thousands(value)),
            Unit::PerSecond => format!("{}/s", with_thousands(value)),
            Unit::BytesPerSecond => format!("{:.2} GB/s", value / 1e9),
            Unit::Bytes if value >= 1024.0 * 100.0 => {
                format!("{} KiB", with_thousands(value / 1024.0))
            }
            Unit::Bytes if value < 1000.0 => format!("{value:.1} B"),
            Unit::Bytes => format!("{} B", with_thousands(value)),
            Unit::Number => format!("{value:.2}"),
        }
    }
}

/// A whole number with separators: `1,234,567`.
pub(crate) fn with_thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
