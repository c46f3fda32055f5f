//! Progress of a run on standard error: one live line on a terminal, else a line every few seconds.
//! Standard output has the summary alone.

use std::io::{self, IsTerminal, Write};

use console::Term;

use super::format::{bytes, count, short_duration, time};
use super::plan::Mode;
use super::rate::NS_PER_SEC;
use super::record::LoadModel;
use super::stats::{Phase, Stage, Stats};
use crate::cli::print_error;

/// Interval of plain lines.
const PLAIN_INTERVAL_NS: u64 = 5 * NS_PER_SEC;

/// The way progress is shown.
pub(super) enum Progress {
    /// One line, updated in place.
    Live(Term),
    /// Lines; `next_at` is the time of the next since the start of the phase.
    Plain { next_at: u64 },
    /// Nothing is shown.
    Quiet,
}

impl Progress {
    /// The live line if standard error is a terminal, else plain lines; neither if `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        if quiet {
            Progress::Quiet
        } else if io::stderr().is_terminal() {
            Progress::Live(Term::stderr())
        } else {
            Progress::Plain { next_at: 0 }
        }
    }

    /// Prints a line that stays, before the first phase.
    pub(super) fn print_line(&self, text: &str) {
        match self {
            Progress::Live(_) | Progress::Plain { .. } => print_error(text),
            Progress::Quiet => {}
        }
    }

    /// Shows a phase at its start.
    pub(super) fn show_phase(&mut self, stats: &Stats, mode: Mode) {
        if let Progress::Plain { next_at } = self {
            *next_at = PLAIN_INTERVAL_NS;
            print_error(status(stats, mode, 0));
        }
    }

    /// Shows a phase that has lasted for `phase_ns`.
    pub(super) fn show_tick(&mut self, stats: &Stats, mode: Mode, phase_ns: u64) {
        match self {
            Progress::Live(terminal) => {
                let (_, columns) = terminal.size();
                draw(&live_line(&status(stats, mode, phase_ns), columns));
            }
            Progress::Plain { next_at } if phase_ns >= *next_at => {
                *next_at = phase_ns - phase_ns % PLAIN_INTERVAL_NS + PLAIN_INTERVAL_NS;
                print_error(status(stats, mode, phase_ns));
            }
            Progress::Plain { .. } | Progress::Quiet => {}
        }
    }

    /// Removes the live line.
    pub(super) fn clear(&self) {
        if let Progress::Live(_) = self {
            draw(&live_line(" ", u16::MAX));
        }
    }
}

/// Puts `text` in place of the last live line, and leaves the cursor at its beginning: when a terminal
/// becomes narrower it breaks the line in two and takes the cursor along, so that the next text and
/// what it erases behind itself (ECMA-48: ED) replace both.
///
/// The text comes before the erasure: tmux saves a screen that is erased from its very beginning in
/// its history.
fn live_line(text: &str, columns: u16) -> String {
    // In the last column, some terminals would go on to the next line.
    let visible: String = text.chars().take(usize::from(columns).saturating_sub(1)).collect();
    format!("\r{visible}\x1b[J\r")
}

/// Writes to the terminal. One that has gone is no reason to end the run.
fn draw(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// The state of the run in one line, for a terminal of 80 columns.
fn status(stats: &Stats, mode: Mode, phase_ns: u64) -> String {
    let secs = phase_ns / NS_PER_SEC;
    let phase = stats.phase.name();
    let mut text = match stats.phase {
        Phase::Ramp | Phase::Storm | Phase::Drain => format!("{phase} {secs} s"),
        Phase::Hold | Phase::Traffic | Phase::Calm | Phase::Asleep => {
            format!("{phase} {secs}/{}", time(mode.duration()))
        }
    };
    let mut add = |what: String| {
        text.push_str("  ");
        text.push_str(&what);
    };
    let counts = &stats.counts;
    match stats.stage {
        Some(Stage::Served(served, dropped)) => {
            add(format!("{} of {} served", count(served), count(dropped)));
        }
        Some(Stage::WakeIn(ns)) => add(format!("next wakes in {} s", ns.div_ceil(NS_PER_SEC))),
        None => {}
    }
    add(format!("{} open", count(stats.connected())));
    add(format!("{} failed", count(counts.failed)));
    if counts.dropped > 0 {
        add(format!("{} dropped", count(counts.dropped)));
    }
    let row = stats.series.last();
    // Connects, deliveries or answers, by phase and mode.
    let per_sec = row.and_then(|row| match (stats.phase, mode) {
        (Phase::Ramp, _) => Some(row.counts.opened),
        _ if mode.load_model() == LoadModel::None => None,
        (_, Mode::Fanout { .. }) => Some(row.counts.deliveries),
        _ => Some(row.counts.answered),
    });
    if let Some(per_sec) = per_sec {
        add(format!("{}/s", count(per_sec)));
    }
    let (p50, p99) = stats.recent_latency();
    if p50.is_some() {
        add(format!("p50 {}  p99 {}", short_duration(p50), short_duration(p99)));
    }
    if let Some(rss) = stats.rss_now {
        add(format!("server {}", bytes(rss)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{plan, run};
    use super::*;

    #[test]
    fn status_has_counts_rate_latency_and_memory() {
        let plan = plan("idle --target command://h:1 --connections 10 --probe 5 --server-pid 42");
        let line = status(&run().stats, plan.mode, 3 * NS_PER_SEC);
        let begin = "hold 3/10 s  8 open  1 failed  1 dropped  100/s  p50 50.";
        assert!(line.starts_with(begin), "{line}");
        assert!(line.ends_with("ms  server 1.03 MiB"), "{line}");
        let line = status(&Stats::new(), plan.mode, 0);
        assert_eq!(line, "ramp 0 s  0 open  0 failed");
    }

    #[test]
    fn live_line_fits_and_can_be_erased() {
        assert_eq!(live_line("p50 41 µs", 80), "\rp50 41 µs\x1b[J\r");
        assert_eq!(live_line("p50 41 µs", 9), "\rp50 41 µ\x1b[J\r");
        assert_eq!(live_line("x", 0), "\r\x1b[J\r");
    }

    #[test]
    fn status_without_requests_has_no_rate() {
        let plan = plan("idle --target tcp://h:1 --connections 10");
        let line = status(&run().stats, plan.mode, 3 * NS_PER_SEC);
        assert!(!line.contains("/s"), "{line}");
    }
}
