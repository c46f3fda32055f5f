//! Rows of several records, joined by the second in which they began.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::super::histogram::{self, HistogramError, new_histogram};
use super::super::stats::{Percentiles, Row, SECONDS_MAX};

/// Rows of one record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) series: &'a [Row],
    /// Latencies of the first rows, encoded.
    pub(super) seconds: &'a [Option<String>],
    /// Seconds from the start of the merged run to that of this one.
    pub(super) offset: u64,
}

/// Rows that began in the same second.
#[derive(Debug, Default)]
struct Slot<'a> {
    rows: Vec<(Row, Option<&'a str>)>,
    /// Connections open at its end.
    connected: u64,
}

/// Rows that were merged, and the latencies of each as far as they have a place.
#[derive(Debug, Default)]
pub(super) struct MergedRows {
    pub(super) series: Vec<Row>,
    pub(super) seconds: Vec<Option<String>>,
}

/// Merges the rows of records.
///
/// # Errors
///
/// A histogram is damaged; the number is that of the record.
pub(super) fn merge_rows(parts: &[Rows<'_>]) -> Result<MergedRows, (usize, HistogramError)> {
    let mut slots: BTreeMap<u64, Slot<'_>> = BTreeMap::new();
    for part in parts {
        for (slot, row, second) in placed(*part) {
            slots.entry(slot).or_default().rows.push((row, second));
        }
    }
    for part in parts {
        add_connected(*part, &mut slots);
    }
    let next_slots: Vec<u64> = slots.keys().skip(1).copied().collect();
    let mut all = MergedRows::default();
    for (number, (at, slot)) in slots.into_iter().enumerate() {
        let rows: Vec<(&Row, Option<&str>)> = slot.rows.iter().map(|(r, s)| (r, *s)).collect();
        let merged = merge_row(at, &rows).map_err(|error| (culprit(parts, at), error))?;
        let Some((mut row, second)) = merged else { continue };
        row.connected = slot.connected;
        // The next row begins where this one ends.
        if let Some(next) = next_slots.get(number).filter(|next| row.t.floor() != **next as f64) {
            row.t = *next as f64;
        }
        all.series.push(row);
        if all.seconds.len() < SECONDS_MAX {
            all.seconds.push(second);
        }
    }
    Ok(all)
}

/// The rows of a record with the seconds in which they began, and their latencies.
fn placed(part: Rows<'_>) -> impl Iterator<Item = (u64, Row, Option<&str>)> {
    let mut began_at = part.offset;
    part.series.iter().enumerate().map(move |(number, row)| {
        // In milliseconds, as rows are: a sum of binary fractions depends on its order.
        let t = ((row.t + part.offset as f64) * 1e3).round() / 1e3;
        let slot = began_at;
        began_at = (t.floor() as u64).max(began_at);
        let second = part.seconds.get(number).and_then(Option::as_deref);
        (slot, Row { t, ..row.clone() }, second)
    })
}

/// The end of a row that began in second `slot`: that of a whole second if one has it, else the last.
fn end_of(slot: u64, rows: &[(&Row, Option<&str>)]) -> f64 {
    let times = || rows.iter().map(|(row, _)| row.t);
    let whole = times().filter(|t| is_whole(slot, *t)).reduce(f64::min);
    whole.or_else(|| times().reduce(f64::max)).unwrap_or_default()
}

/// Whether a row that began in second `slot` has gone on to its end.
fn is_whole(slot: u64, t: f64) -> bool {
    t >= slot.saturating_add(1) as f64
}

/// Adds the open connections of one record to all seconds in which it ran: a tester that was stopped
/// has no row for some of them, and the last second of others may have begun in none of its rows.
fn add_connected(part: Rows<'_>, slots: &mut BTreeMap<u64, Slot<'_>>) {
    let mut rows = placed(part).peekable();
    let Some(first) = rows.peek().map(|(slot, ..)| *slot) else { return };
    let (mut connected, mut last) = (0, u64::MAX);
    for (at, slot) in slots.range_mut(first..) {
        while let Some((began_at, row, _)) = rows.next_if(|(began_at, ..)| began_at <= at) {
            connected = row.connected;
            last = if is_whole(began_at, row.t) { began_at.saturating_add(1) } else { began_at };
        }
        if rows.peek().is_none() && *at > last {
            return;
        }
        slot.connected = slot.connected.saturating_add(connected);
    }
}

/// Number of the record whose histogram in second `at` is damaged.
fn culprit(parts: &[Rows<'_>], at: u64) -> usize {
    let is_damaged = |part: &Rows<'_>| {
        let mut seconds = placed(*part).filter(|(slot, ..)| *slot == at);
        seconds.any(|(.., text)| text.is_some_and(|t| histogram::decode(t).is_err()))
    };
    parts.iter().position(is_damaged).unwrap_or_default()
}

/// One row of those that began in second `slot`, with their latencies; `None` of no rows. Its
/// percentiles are those of all latencies together, or unknown where those of a row are.
///
/// # Errors
///
/// A histogram is damaged.
pub(in super::super) fn merge_row(
    slot: u64,
    rows: &[(&Row, Option<&str>)],
) -> Result<Option<(Row, Option<String>)>, HistogramError> {
    let Some(((first, _), others)) = rows.split_first() else { return Ok(None) };
    let mut merged = Row { p50_us: None, p99_us: None, p999_us: None, ..(*first).clone() };
    for (row, _) in others {
        merged.phase = merged.phase.min(row.phase);
        merged.connected = merged.connected.saturating_add(row.connected);
        merged.counts = merged.counts.plus(&row.counts);
        merged.max_us = larger(merged.max_us, row.max_us);
        merged.server_rss_bytes = merged.server_rss_bytes.or(row.server_rss_bytes);
        merged.tester_lag_us = larger(merged.tester_lag_us, row.tester_lag_us);
    }
    merged.t = end_of(slot, rows);
    let with_latencies = || rows.iter().filter(|(row, _)| row.max_us.is_some());
    if let (Some((only, second)), 1) = (with_latencies().next(), with_latencies().count()) {
        (merged.p50_us, merged.p99_us, merged.p999_us) = (only.p50_us, only.p99_us, only.p999_us);
        return Ok(Some((merged, second.map(str::to_owned))));
    }
    let Some(latency) = add_all(with_latencies().map(|(_, second)| *second))? else {
        return Ok(Some((merged, None)));
    };
    let found = Percentiles::of(&latency).at_most(merged.max_us);
    (merged.p50_us, merged.p99_us, merged.p999_us) = (found.p50, found.p99, found.p999);
    Ok(Some((merged, histogram::encode(&latency))))
}

/// The sum of encoded histograms; `None` if one of them is unknown.
fn add_all<'a>(
    seconds: impl Iterator<Item = Option<&'a str>>,
) -> Result<Option<Histogram<u64>>, HistogramError> {
    let mut sum = new_histogram();
    for second in seconds {
        let Some(text) = second else { return Ok(None) };
        histogram::add(&mut sum, &histogram::decode(text)?)?;
    }
    Ok(Some(sum))
}

/// The larger of two figures, of which each may be unknown.
pub(super) fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (known, None) | (None, known) => known,
    }
}
