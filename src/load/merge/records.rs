//! Records merged into one. Counts and rates add up, histograms are added, and what follows from them
//! (percentiles, the verdict) is computed anew, so that it is that of one run.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use chrono::DateTime;
use serde_json::Value;

use super::super::encoded_histogram::HistogramError;
use super::super::record::{Kernel, Part, Points, Record, Settings, round};
use super::super::stats::{OPEN_POINTS_MAX, Percentiles, Phase, TlsStats, drop_every_other};
use super::rows::{Rows, add, larger, merge_rows};
use crate::escape::EscapeControl;
use crate::os_text;

/// Settings that parts of one run share, or that change nothing in the load. All others are the same
/// in all parts.
const SHARED_SETTINGS: [&str; 13] = [
    "address",
    "connections",
    "subscribers",
    "bystanders",
    "sample",
    "requests_per_sec",
    "connects_per_sec",
    "ramp_secs",
    "jobs",
    "server_pid",
    "source_ips",
    "max_errors",
    "max_p99_ms",
];

/// A record in a file.
#[derive(Debug)]
pub(super) struct FileRecord<'a> {
    pub(super) path: &'a Path,
    pub(super) record: Record,
}

/// The record of one of the processes of a run.
#[derive(Debug)]
pub(in super::super) struct JobRecord {
    /// Number of the job, from 1.
    pub(in super::super) number: u32,
    pub(in super::super) record: Record,
}

/// Records that do not go together. Parts are files, or jobs.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum MergeError {
    /// The part is another one, or has a part that another one has too.
    Twice {
        part: String,
        first: String,
    },
    /// A mode, protocol or setting is another one than that of the first part.
    Differs {
        part: String,
        what: String,
        value: String,
        first: String,
        first_value: String,
    },
    /// The part's start is not a time.
    NoStart {
        part: String,
    },
    /// The part began after the others had ended.
    Apart {
        part: String,
    },
    Histogram {
        part: String,
        source: HistogramError,
    },
    NoParts,
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = EscapeControl(f);
        match self {
            MergeError::Twice { part, first } => {
                write!(f, "{part}: is also in {first}, and would count twice")
            }
            MergeError::Differs { part, what, value, first, first_value } => {
                write!(
                    f,
                    "{part}: {what} is {value}, that of {first} is {first_value}: \
                     they are not parts of one run"
                )
            }
            MergeError::NoStart { part } => {
                write!(f, "{part}: host.started_at is not a time of RFC 3339")
            }
            MergeError::Apart { part } => {
                write!(f, "{part}: it began when the others had ended; parts run at the same time")
            }
            MergeError::Histogram { part, source } => write!(f, "{part}: {source}"),
            MergeError::NoParts => f.write_str("there are no parts to merge"),
        }
    }
}

/// A record on its way into the merged one.
struct Source {
    /// Name in errors.
    name: String,
    parts: Vec<Part>,
    /// Seconds from the start of the merged run to that of this one.
    offset: u64,
    record: Record,
}

/// Merges records of files: of testers that ran at the same time, each against the clock of its own
/// machine.
///
/// # Errors
///
/// See [`MergeError`].
pub(super) fn merge_files(files: Vec<FileRecord<'_>>) -> Result<Record, MergeError> {
    let mut sources = Vec::new();
    for FileRecord { path, record } in files {
        let parts = match &record.parts {
            Some(parts) => parts.clone(),
            None => {
                let name = record.host.name.as_deref().unwrap_or("unknown host");
                vec![Part::of(name.to_owned(), &record)]
            }
        };
        let name = os_text::encode(path.as_os_str().as_bytes());
        sources.push(Source { name, parts, offset: 0, record });
    }
    check_parts(&sources)?;
    check_settings(&sources)?;
    set_offsets(&mut sources)?;
    merge(sources)
}

/// Merges the records of the jobs of one run, which began at the same time.
///
/// # Errors
///
/// See [`MergeError`].
pub(in super::super) fn merge_jobs(jobs: Vec<JobRecord>) -> Result<Record, MergeError> {
    let source = |JobRecord { number, record }: JobRecord| {
        let name = format!("job {number}");
        let host = record.host.name.as_deref().unwrap_or("unknown host");
        let parts = vec![Part::of(format!("{host}, {name}"), &record)];
        Source { name, parts, offset: 0, record }
    };
    merge(jobs.into_iter().map(source).collect())
}

/// No part may count twice, be it a file or a part of a file.
fn check_parts(sources: &[Source]) -> Result<(), MergeError> {
    for (number, source) in sources.iter().enumerate() {
        let has_part = |first: &&Source| {
            first.record == source.record || first.parts.iter().any(|p| source.parts.contains(p))
        };
        if let Some(first) = sources[..number].iter().find(has_part) {
            let (part, first) = (source.name.clone(), first.name.clone());
            return Err(MergeError::Twice { part, first });
        }
    }
    Ok(())
}

/// What changes the load must be the same in all parts.
fn check_settings(sources: &[Source]) -> Result<(), MergeError> {
    let Some((first, others)) = sources.split_first() else { return Ok(()) };
    let expected = load_settings(&first.record);
    for other in others {
        for (what, value) in load_settings(&other.record) {
            let first_value = expected.get(&what).unwrap_or(&Value::Null);
            if value != *first_value {
                return Err(MergeError::Differs {
                    part: other.name.clone(),
                    what,
                    value: value.to_string(),
                    first: first.name.clone(),
                    first_value: first_value.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// Mode, protocol and settings that must agree, by name.
fn load_settings(record: &Record) -> BTreeMap<String, Value> {
    let protocol = record.target.split("://").next().unwrap_or_default();
    let mut settings = BTreeMap::from([
        ("mode".to_owned(), Value::from(record.mode.as_str())),
        ("the target's protocol".to_owned(), Value::from(protocol)),
    ]);
    if let Ok(Value::Object(all)) = serde_json::to_value(&record.settings) {
        let own = all.into_iter().filter(|(name, _)| !SHARED_SETTINGS.contains(&name.as_str()));
        settings.extend(own);
    }
    settings
}

/// Sets the offsets by the parts' starts. Each must have begun before all earlier ones had ended.
fn set_offsets(sources: &mut [Source]) -> Result<(), MergeError> {
    let mut starts = Vec::new();
    for source in sources.iter() {
        let start = DateTime::parse_from_rfc3339(&source.record.host.started_at);
        let part = || source.name.clone();
        let start = start.map_err(|_| MergeError::NoStart { part: part() })?;
        starts.push(start.timestamp());
    }
    let begin = starts.iter().copied().min().unwrap_or_default();
    for (source, start) in sources.iter_mut().zip(starts) {
        source.offset = start.abs_diff(begin);
    }
    let mut by_start: Vec<&Source> = sources.iter().collect();
    by_start.sort_by_key(|source| source.offset);
    let mut end = f64::MAX;
    for source in by_start {
        let begin = source.offset as f64;
        // Starts are whole seconds.
        if begin > end + 1.0 {
            return Err(MergeError::Apart { part: source.name.clone() });
        }
        let own_end = begin + length(&source.record);
        end = if end == f64::MAX { own_end } else { end.max(own_end) };
    }
    Ok(())
}

/// Length of a run, in seconds.
fn length(record: &Record) -> f64 {
    let rows = record.series.last().map_or(0.0, |row| row.t);
    rows.max(record.ramp_secs + record.measured_secs)
}

fn merge(sources: Vec<Source>) -> Result<Record, MergeError> {
    let rows: Vec<Rows<'_>> = sources.iter().map(Source::rows).collect();
    let merged_rows = merge_rows(&rows).map_err(|(number, source)| {
        let part = sources[number].name.clone();
        MergeError::Histogram { part, source }
    });
    let (series, seconds) = merged_rows?;
    let points = merge_points(&sources, &series);
    let parts: Vec<Part> = sources.iter().flat_map(|source| source.parts.clone()).collect();
    let mut sources = sources.into_iter();
    let Source { offset, record: mut merged, .. } = sources.next().ok_or(MergeError::NoParts)?;
    shift_error_times(&mut merged, offset);
    for Source { name, offset, record: mut other, .. } in sources {
        shift_error_times(&mut other, offset);
        let added = absorb(&mut merged, other);
        added.map_err(|source| MergeError::Histogram { part: name, source })?;
    }
    merged.series = series;
    merged.histograms.seconds = seconds;
    merged.points = points;
    merged.kernel = merge_kernels(&parts);
    merged.parts = Some(parts);
    Ok(merged.judge())
}

impl Source {
    fn rows(&self) -> Rows<'_> {
        let Record { series, histograms, .. } = &self.record;
        Rows { series, seconds: &histograms.seconds, offset: self.offset }
    }
}

fn shift_error_times(record: &mut Record, offset: u64) {
    for (first, last) in record.error_times.values_mut() {
        *first += offset as f64;
        *last += offset as f64;
    }
}

/// Adds `other` to `merged`, all but rows, points, the kernel's memory and what follows from these.
fn absorb(merged: &mut Record, other: Record) -> Result<(), HistogramError> {
    merge_settings(&mut merged.settings, &other.settings);
    // RFC 3339 in UTC sorts as the times do.
    if other.host.started_at < merged.host.started_at {
        merged.host.started_at = other.host.started_at;
    }
    merged.connections.add(&other.connections);
    merged.requests.add(&other.requests);
    let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
    sum(&mut merged.deliveries, other.deliveries);
    sum(&mut merged.bytes.sent, other.bytes.sent);
    sum(&mut merged.bytes.received, other.bytes.received);
    for (target, other) in merged.targets.iter_mut().flatten().zip(other.targets.iter().flatten()) {
        sum(&mut target.opened, other.opened);
        sum(&mut target.deliveries, other.deliveries);
        sum(&mut target.lost, other.lost);
    }
    // Results of `storm` and `wake` have their place here.
    merged.rate_per_sec = round(merged.rate_per_sec + other.rate_per_sec);
    merged.ramp_secs = merged.ramp_secs.max(other.ramp_secs);
    merged.measured_secs = merged.measured_secs.max(other.measured_secs);
    merge_tls(&mut merged.tls, other.tls);
    for (name, count) in other.errors {
        sum(merged.errors.entry(name).or_default(), count);
    }
    for (name, (first, last)) in other.error_times {
        let times = merged.error_times.entry(name).or_insert((first, last));
        *times = (times.0.min(first), times.1.max(last));
    }
    merged.refusal = merged.refusal.take().or(other.refusal);
    merged.reason = merged.reason.take().or(other.reason);
    merged.interrupted = merged.interrupted.or(other.interrupted);
    // One part alone can watch the server: the one on its machine.
    let has_memory = merged.server.rss_bytes_before.is_some();
    let version = merged.server.version.take().or(other.server.version.clone());
    if !has_memory {
        merged.server = other.server;
    }
    merged.server.version = version;
    let (ours, theirs) = (&mut merged.histograms, &other.histograms);
    add(&mut ours.latency.0, &theirs.latency.0)?;
    add(&mut ours.connect.0, &theirs.connect.0)?;
    add(&mut ours.tester_lag.0, &theirs.tester_lag.0)?;
    // The maximum is exact; that of an encoded histogram is to three digits.
    let percentiles = |histogram, a: Percentiles, b: Percentiles| {
        Percentiles::of(histogram).at_most(larger(a.max, b.max))
    };
    merged.latency_us = percentiles(&ours.latency.0, merged.latency_us, other.latency_us);
    merged.connect_us = percentiles(&ours.connect.0, merged.connect_us, other.connect_us);
    merged.tester_lag_us =
        percentiles(&ours.tester_lag.0, merged.tester_lag_us, other.tester_lag_us);
    Ok(())
}

/// Adds the settings that parts share.
fn merge_settings(merged: &mut Settings, other: &Settings) {
    merged.connections = merged.connections.saturating_add(other.connections);
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    };
    merged.subscribers = match (merged.subscribers, other.subscribers) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    };
    merged.requests_per_sec = sum(merged.requests_per_sec, other.requests_per_sec);
    merged.connects_per_sec = sum(merged.connects_per_sec, other.connects_per_sec);
    merged.jobs = merged.jobs.saturating_add(other.jobs);
    merged.server_pid = merged.server_pid.or(other.server_pid);
    for ip in &other.source_ips {
        if !merged.source_ips.contains(ip) {
            merged.source_ips.push(ip.clone());
        }
    }
    merged.max_errors = merged.max_errors.saturating_add(other.max_errors);
    merged.max_p99_ms = match (merged.max_p99_ms, other.max_p99_ms) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (known, None) | (None, known) => known,
    };
}

fn merge_tls(merged: &mut Option<TlsStats>, other: Option<TlsStats>) {
    let Some(other) = other else { return };
    let Some(merged) = merged else {
        *merged = Some(other);
        return;
    };
    merged.handshakes = merged.handshakes.saturating_add(other.handshakes);
    merged.resumed = merged.resumed.saturating_add(other.resumed);
    merged.version = merged.version.take().or(other.version);
    merged.cipher_suite = merged.cipher_suite.take().or(other.cipher_suite);
}

/// Memory of the kernels of all machines, each once: it is counted for the machine, whatever the
/// number of testers on it.
fn merge_kernels(parts: &[Part]) -> Kernel {
    let mut merged: Option<Kernel> = None;
    for (number, part) in parts.iter().enumerate() {
        if parts[..number].iter().any(|earlier| earlier.host == part.host) {
            continue;
        }
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        merged = Some(match merged {
            None => part.kernel.clone(),
            Some(kernel) => Kernel {
                slab_bytes_before: sum(kernel.slab_bytes_before, part.kernel.slab_bytes_before),
                slab_bytes_held: sum(kernel.slab_bytes_held, part.kernel.slab_bytes_held),
                buffer_bytes_before: sum(
                    kernel.buffer_bytes_before,
                    part.kernel.buffer_bytes_before,
                ),
                buffer_bytes_held: sum(kernel.buffer_bytes_held, part.kernel.buffer_bytes_held),
                // Where one machine has both ends of its own connections, it has the server, and the
                // far ends of all others too.
                ends: kernel.ends.max(part.kernel.ends),
                ..Kernel::default()
            },
        });
    }
    merged.unwrap_or_default()
}

/// Points of all parts on one clock. Memory is taken from the rows: a part knows the server's memory
/// with its own connections alone.
fn merge_points(sources: &[Source], series: &[super::super::stats::Row]) -> Points {
    if let [Source { record, .. }] = sources {
        return record.points.clone();
    }
    let mut phases: Vec<(Phase, f64, u64)> = Vec::new();
    let mut steps: Vec<(f64, usize, u64)> = Vec::new();
    for (number, Source { offset, record, .. }) in sources.iter().enumerate() {
        let offset = *offset as f64;
        for (phase, at, open) in &record.points.phases {
            match phases.iter_mut().find(|(known, ..)| known == phase) {
                Some((_, latest, sum)) => {
                    *latest = latest.max(at + offset);
                    *sum = sum.saturating_add(*open);
                }
                None => phases.push((*phase, at + offset, *open)),
            }
        }
        let own = record.points.connected.iter();
        steps.extend(own.map(|(at, open)| (at + offset, number, *open)));
    }
    let memory = series.iter().filter_map(|row| Some((row.connected, row.server_rss_bytes?)));
    Points { phases, connected: add_steps(steps, sources.len()), memory: memory.collect() }
}

/// The sum of step functions, from times, numbers of the functions and their values from then on.
fn add_steps(mut steps: Vec<(f64, usize, u64)>, count: usize) -> Vec<(f64, u64)> {
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut now = vec![0_u64; count];
    let mut sum = 0_u64;
    let mut points: Vec<(f64, u64)> = Vec::new();
    for (at, number, open) in steps {
        sum = sum.saturating_sub(now[number]).saturating_add(open);
        now[number] = open;
        match points.last_mut() {
            Some(last) if last.0 == at => last.1 = sum,
            _ => points.push((at, sum)),
        }
    }
    while points.len() >= OPEN_POINTS_MAX {
        drop_every_other(&mut points);
    }
    points
}
