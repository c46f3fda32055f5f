//! The table on a terminal: benchstat's columns, and the verdict.

use std::fmt;

use console::measure_text_width;

use super::super::format::plural;
use super::super::summary_line::EscapedText;
use super::comparison::{Comparison, MetricRow};

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title())?;
        let header = ["", "before", "after", "change", ""].map(str::to_owned);
        let rows: Vec<[String; 5]> =
            std::iter::once(header).chain(self.metrics.iter().map(cells)).collect();
        let width = |column: usize| {
            rows.iter().map(|row| measure_text_width(&row[column])).max().unwrap_or(0)
        };
        let widths = [0, 1, 2, 3].map(width);
        for [name, before, after, change, outcome] in &rows {
            let line = format!(
                "  {}  {}  {}  {}  {outcome}",
                left(name, widths[0]),
                right(before, widths[1]),
                right(after, widths[2]),
                right(change, widths[3]),
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {}", EscapedText(warning))?;
        }
        writeln!(f, "  verdict: {}", self.verdict.text)?;
        writeln!(f, "  {}", self.verdict.power)
    }
}

impl Comparison {
    /// `mynah-load 0.1.0: echo, 10 runs before, 10 runs after, tolerance 2 %`.
    pub(super) fn title(&self) -> String {
        format!(
            "mynah-load {}: {}, {} before, {} after, tolerance {} %",
            env!("CARGO_PKG_VERSION"),
            self.mode.as_str(),
            plural(self.before.runs as u64, "run"),
            plural(self.after.runs as u64, "run"),
            self.tolerance_percent,
        )
    }
}

fn cells(row: &MetricRow) -> [String; 5] {
    let shown = row.shown();
    [
        row.name.to_owned(),
        shown.before.clone(),
        shown.after.clone(),
        shown.change.clone(),
        row.outcome.to_owned(),
    ]
}

fn left(text: &str, width: usize) -> String {
    format!("{text}{}", blanks(text, width))
}

fn right(text: &str, width: usize) -> String {
    format!("{}{text}", blanks(text, width))
}

fn blanks(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(measure_text_width(text)))
}
