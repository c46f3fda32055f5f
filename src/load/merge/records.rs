//! Records merged into one. Counts and rates add up, histograms are added, and what follows from them
//! (percentiles, the verdict) is computed anew, so that it is that of one run.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use chrono::DateTime;
use serde_json::Value;

use super::super::histogram::{HistogramError, add};
use super::super::record::{PARTS_MAX, Part, Points, Record, Settings};
use super::super::resources::round;
use super::super::stats::{OPEN_POINTS_MAX, Percentiles, Phase, TlsStats, drop_every_other};
use super::super::summary_line::excerpt;
use super::super::{storm, wake};
use super::rows::{MergedRows, Rows, larger, merge_rows};
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
    /// The part's rows are of several seconds.
    Coarse {
        part: String,
    },
    NoParts,
    /// More than a record may have.
    ManyParts(usize),
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
            MergeError::Coarse { part } => {
                write!(
                    f,
                    "{part}: its rows are of several seconds, as those of a page of a longer run: \
                     give its file of --json"
                )
            }
            MergeError::NoParts => f.write_str("there are no parts to merge"),
            MergeError::ManyParts(count) => {
                write!(f, "the files have {count} parts together; a record has at most {PARTS_MAX}")
            }
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
            Some(parts) if !parts.is_empty() => parts.clone(),
            _ => {
                let name = record.host.name.as_deref().unwrap_or("unknown host");
                vec![Part::of(name.to_owned(), &record)]
            }
        };
        let name = os_text::encode(path.as_os_str().as_bytes());
        sources.push(Source { name, parts, offset: 0, record });
    }
    check_parts(&sources)?;
    check_settings(&sources)?;
    check_rows(&sources)?;
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

/// No part may count twice, be it a file or a part of a file; and the record must be one that is read again.
fn check_parts(sources: &[Source]) -> Result<(), MergeError> {
    let count = sources.iter().map(|source| source.parts.len()).sum();
    if count > PARTS_MAX {
        return Err(MergeError::ManyParts(count));
    }
    // By their text: numbers that are not integers have no hash. Files may have thousands of parts.
    let mut seen: HashMap<String, &str> = HashMap::new();
    for source in sources {
        let texts = source.parts.iter().map(|part| serde_json::to_string(part).unwrap_or_default());
        let texts: Vec<String> = texts.collect();
        if let Some(first) = texts.iter().find_map(|text| seen.get(text)) {
            let (part, first) = (source.name.clone(), (*first).to_owned());
            return Err(MergeError::Twice { part, first });
        }
        seen.extend(texts.into_iter().map(|text| (text, source.name.as_str())));
    }
    Ok(())
}

/// Rows are joined second by second.
fn check_rows(sources: &[Source]) -> Result<(), MergeError> {
    let coarse = sources.iter().find(|source| source.record.has_coarse_rows());
    match coarse.filter(|_| sources.len() > 1) {
        Some(source) => Err(MergeError::Coarse { part: source.name.clone() }),
        None => Ok(()),
    }
}

/// All parts must have the same settings of the load.
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
                    value: excerpt(&value.to_string()),
                    first: first.name.clone(),
                    first_value: excerpt(&first_value.to_string()),
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
    // Each of several has counts of its own, which are added.
    let targets = record.targets.as_ref().map_or(Value::Null, |_| record.target_urls().into());
    settings.insert("the list of targets".to_owned(), targets);
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
    let damaged = |(number, source): (usize, HistogramError)| {
        let part = sources[number].name.clone();
        MergeError::Histogram { part, source }
    };
    let MergedRows { series, seconds } = merge_rows(&rows).map_err(damaged)?;
    let points = merge_points(&sources, &series);
    let records = || sources.iter().map(|source| &source.record);
    let storms = storm::merge(records().map(|r| r.storm.as_deref().unwrap_or_default()));
    let storms = Some(storms.map_err(damaged)?).filter(|_| records().any(|r| r.storm.is_some()));
    let sleeps = wake::merge(records().map(|r| r.wake.as_deref().unwrap_or_default()));
    let sleeps = Some(sleeps.map_err(damaged)?).filter(|_| records().any(|r| r.wake.is_some()));
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
    merged.storm = storms;
    merged.wake = sleeps;
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
    let is_same_machine = merged.host.name == other.host.name;
    merged.server.merge(&other.server);
    merged.tester.merge(&other.tester);
    merged.machine.merge(&other.machine, is_same_machine);
    merged.kernel.merge(&other.kernel, is_same_machine);
    let (ours, theirs) = (&mut merged.histograms, &other.histograms);
    add(&mut ours.latency.0, &theirs.latency.0)?;
    add(&mut ours.connect.0, &theirs.connect.0)?;
    add(&mut ours.tester_lag.0, &theirs.tester_lag.0)?;
    add(&mut ours.left_late.0, &theirs.left_late.0)?;
    // The maximum is exact; that of an encoded histogram is to three digits.
    let percentiles = |histogram, a: Percentiles, b: Percentiles| {
        Percentiles::of(histogram).at_most(larger(a.max, b.max))
    };
    merged.latency_us = percentiles(&ours.latency.0, merged.latency_us, other.latency_us);
    merged.connect_us = percentiles(&ours.connect.0, merged.connect_us, other.connect_us);
    merged.tester_lag_us =
        percentiles(&ours.tester_lag.0, merged.tester_lag_us, other.tester_lag_us);
    merged.left_late_us = percentiles(&ours.left_late.0, merged.left_late_us, other.left_late_us);
    Ok(())
}

/// Adds the settings that parts share.
fn merge_settings(merged: &mut Settings, other: &Settings) {
    merged.connections = merged.connections.saturating_add(other.connections);
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    };
    let number = |a: Option<u32>, b: Option<u32>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    };
    merged.subscribers = number(merged.subscribers, other.subscribers);
    merged.bystanders = number(merged.bystanders, other.bystanders);
    merged.sample = number(merged.sample, other.sample);
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

/// Points of all parts on one clock. Memory is taken from the rows: a part knows the server's memory
/// with its own connections alone.
fn merge_points(sources: &[Source], series: &[super::super::stats::Row]) -> Points {
    if let [Source { record, .. }] = sources {
        return record.points.clone();
    }
    // A storm has some phases several times: the first of a part belongs to the first of another.
    let mut phases: BTreeMap<(Phase, usize), (f64, u64)> = BTreeMap::new();
    let mut steps: Vec<(f64, usize, u64)> = Vec::new();
    for (number, Source { offset, record, .. }) in sources.iter().enumerate() {
        let offset = *offset as f64;
        let mut times: BTreeMap<Phase, usize> = BTreeMap::new();
        for (phase, at, open) in &record.points.phases {
            let nth = times.entry(*phase).or_default();
            let (latest, sum) = phases.entry((*phase, *nth)).or_insert((at + offset, 0));
            *latest = latest.max(at + offset);
            *sum = sum.saturating_add(*open);
            *nth += 1;
        }
        let own = record.points.connected.iter();
        steps.extend(own.map(|(at, open)| (at + offset, number, *open)));
    }
    let phases = phases.into_iter().map(|((phase, _), (at, open))| (phase, at, open));
    let mut phases: Vec<(Phase, f64, u64)> = phases.collect();
    phases.sort_by(|a, b| a.1.total_cmp(&b.1));
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

#[cfg(test)]
mod tests {
    use super::super::super::engine::Run;
    use super::super::super::fixtures::{run, with_record};
    use super::super::super::rate::NS_PER_SEC;
    use super::super::super::record::TargetRecord;
    use super::super::super::stats::Stats;
    use super::*;

    const IDLE: &str = "idle --target command://h:1 --connections 10 --probe 5";

    /// Latencies of each second, in nanoseconds.
    type Latencies = Vec<Vec<u64>>;

    /// The same numbers for the same seed.
    fn random(seed: &mut u64) -> u64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 33
    }

    fn random_latencies(seed: &mut u64, seconds: usize) -> Latencies {
        let second = |seed: &mut u64| {
            let count = random(seed) % 40;
            (0..count).map(|_| random(seed) % (1 << (10 + random(seed) % 22))).collect()
        };
        (0..seconds).map(|_| second(seed)).collect()
    }

    /// The record of a tester on `host` that had these latencies.
    fn record(host: &str, started_at: &str, latencies: &Latencies) -> Record {
        let mut stats = Stats::new();
        stats.record_error("EOF", 2 * NS_PER_SEC);
        for (second, latencies) in (1..).zip(latencies) {
            stats.counts.opened = 9;
            for ns in latencies {
                stats.counts.answered += 1;
                stats.record(*ns, 1);
                stats.record_connect(ns / 2);
                stats.record_left_late(ns / 3);
            }
            stats.record_open(second * NS_PER_SEC - 1);
            stats.end_row(second * NS_PER_SEC);
        }
        let mut made = None;
        with_record(IDLE, Run { stats, ..run() }, |record| made = Some(record.clone()));
        let mut record = made.unwrap();
        record.host.name = Some(host.to_owned());
        record.host.started_at = started_at.to_owned();
        // As a file has it.
        serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap()
    }

    fn merge_named(records: &[(&str, &Record)]) -> Result<Record, MergeError> {
        let file = |(name, record): &(&'static str, &Record)| FileRecord {
            path: Path::new(*name),
            record: (*record).clone(),
        };
        // Names in tests are literals.
        let leaked = records.iter().map(|(name, record)| {
            let name: &'static str = Box::leak(name.to_string().into_boxed_str());
            (name, *record)
        });
        merge_files(leaked.collect::<Vec<_>>().iter().map(file).collect())
    }

    fn merged(records: &[&Record]) -> Record {
        let names = ["a.json", "b.json", "c.json", "d.json"];
        merge_named(&names.into_iter().zip(records.iter().copied()).collect::<Vec<_>>()).unwrap()
    }

    const NOON: &str = "2026-11-27T12:00:00Z";

    #[test]
    fn merge_has_the_percentiles_of_the_union() {
        let mut seed = 1;
        for _ in 0..20 {
            let parts: Vec<Latencies> = (0..3).map(|_| random_latencies(&mut seed, 4)).collect();
            let hosts = ["east", "west", "north"];
            let records: Vec<Record> =
                hosts.iter().zip(&parts).map(|(host, part)| record(host, NOON, part)).collect();
            let union: Latencies = (0..4)
                .map(|second| parts.iter().flat_map(|p| p[second].clone()).collect())
                .collect();
            let expected = record("all", NOON, &union);
            let found = merged(&records.iter().collect::<Vec<_>>());
            assert_eq!(found.latency_us, expected.latency_us);
            assert_eq!(found.connect_us, expected.connect_us);
            assert_eq!(found.tester_lag_us, expected.tester_lag_us);
            assert_eq!(found.histograms.latency, expected.histograms.latency);
            for (found, expected) in found.series.iter().zip(&expected.series) {
                let latencies = |row: &super::super::super::stats::Row| {
                    (row.t, row.p50_us, row.p99_us, row.p999_us, row.max_us, row.tester_lag_us)
                };
                assert_eq!(latencies(found), latencies(expected));
                assert_eq!(found.counts.answered, expected.counts.answered);
                assert_eq!(found.connected, 27);
            }
            assert_eq!(found.histograms.seconds, expected.histograms.seconds);
            assert_eq!(found.points.connected.last().unwrap().1, 27);
        }
    }

    #[test]
    fn merge_is_associative() {
        let mut seed = 7;
        for starts in [[NOON; 3], [NOON, "2026-11-27T12:00:02Z", "2026-11-27T12:00:01Z"]] {
            let one = |host: &str, start: &str, seed: &mut u64| {
                record(host, start, &random_latencies(seed, 5))
            };
            let a = one("east", starts[0], &mut seed);
            let b = one("west", starts[1], &mut seed);
            let c = one("east", starts[2], &mut seed);
            let all = merged(&[&a, &b, &c]);
            let left = merged(&[&merged(&[&a, &b]), &c]);
            let right = merged(&[&a, &merged(&[&b, &c])]);
            for mut other in [left, right] {
                // Ends of parts are whole seconds here; who is still connected then is not told.
                for (row, expected) in other.series.iter_mut().zip(&all.series) {
                    row.connected = expected.connected;
                }
                let json = |record: &Record| serde_json::to_value(record).unwrap();
                assert_eq!(json(&other), json(&all), "{starts:?}");
            }
        }
    }

    #[test]
    fn counts_add_up_and_parts_are_named() {
        let (a, b) = (record("east", NOON, &vec![vec![5]]), record("west", NOON, &vec![vec![7]]));
        let found = merged(&[&a, &b]);
        assert_eq!((found.connections.wanted, found.connections.opened), (20, 18));
        assert_eq!((found.requests.answered, found.settings.connections), (2, 20));
        assert_eq!((found.settings.requests_per_sec, found.settings.jobs), (Some(10), 2));
        assert_eq!(found.error_count(), a.error_count() * 2);
        assert_eq!(found.rate_per_sec, a.rate_per_sec * 2.0);
        let names: Vec<&str> = found.parts.as_ref().unwrap().iter().map(|p| &*p.name).collect();
        assert_eq!(names, ["east", "west"]);
        assert!(!found.verdict.met, "errors of both are judged together");
        let text = found.to_string();
        assert!(
            text.contains("\n  part         east: 9 connections, 1 answered, p99 0.0 µs, 1 error"),
            "{text}"
        );
    }

    #[test]
    fn kernel_of_a_machine_counts_once() {
        let one = |host, ns| record(host, NOON, &vec![vec![ns]]);
        let held = |records: &[&Record]| merged(records).kernel.slab_bytes_held;
        let (a, b, c) = (one("east", 1), one("east", 2), one("west", 3));
        assert!(a.kernel.slab_bytes_held.is_some());
        assert_eq!(held(&[&a, &b]), a.kernel.slab_bytes_held);
        // Kernels of several machines have nothing to say together.
        assert_eq!(held(&[&a, &c, &b]), None);
        let of_several = merged(&[&a, &c]);
        let reason = of_several.kernel.not_measured.as_deref();
        assert_eq!(reason, Some("the parts ran on several machines"));
        assert_eq!(held(&[&b, &of_several]), None);
    }

    #[test]
    fn parts_of_several_machines_are_joined_by_their_starts() {
        let a = record("east", "2026-11-27T12:00:03Z", &vec![vec![10], vec![20]]);
        let b = record("west", "2026-11-27T12:00:02Z", &vec![vec![30], vec![40], vec![50]]);
        let found = merged(&[&a, &b]);
        assert_eq!(found.host.started_at, "2026-11-27T12:00:02Z");
        let rows: Vec<(f64, u64, u64)> =
            found.series.iter().map(|row| (row.t, row.counts.answered, row.connected)).collect();
        assert_eq!(rows, [(1.0, 1, 9), (2.0, 2, 18), (3.0, 2, 18)]);
        assert_eq!(found.series[1].max_us, Some(0.04));
        assert_eq!(found.error_times["EOF"], (2.0, 3.0));
    }

    #[test]
    fn phases_of_storms_stay_in_their_order() {
        let phases = |shift: f64, open: u64| {
            use Phase::{Calm, Drain, Storm};
            let all = [Calm, Storm, Calm, Storm, Calm, Drain].into_iter().zip(1..);
            all.map(|(phase, at)| (phase, f64::from(at) + shift, open)).collect::<Vec<_>>()
        };
        let mut a = record("east", NOON, &vec![vec![5]]);
        let mut b = record("west", NOON, &vec![vec![7]]);
        a.points.phases = phases(0.0, 4);
        b.points.phases = phases(0.25, 5);
        assert_eq!(merged(&[&a, &b]).points.phases, phases(0.25, 9));
        // Nobody of this part was left to drop.
        b.points.phases = vec![(Phase::Calm, 1.25, 5), (Phase::Drain, 2.25, 0)];
        let mut expected = phases(0.0, 4);
        expected[0] = (Phase::Calm, 1.25, 9);
        assert_eq!(merged(&[&a, &b]).points.phases, expected);
    }

    #[test]
    fn pages_of_longer_runs_are_not_merged() {
        let a = record("east", NOON, &vec![vec![5]; 241]);
        let b = record("west", NOON, &vec![vec![7]; 241]);
        let light = super::super::super::island::light;
        assert_eq!(merged(&[&a, &b]).requests.answered, 482);
        let found = merge_named(&[("a", &a), ("b.html", &light(&b))]).unwrap_err().to_string();
        let expected = "b.html: its rows are of several seconds, as those of a page of a longer \
                        run: give its file of --json";
        assert_eq!(found, expected);
        assert_eq!(merged(&[&light(&b)]).requests.answered, 241, "one page is what it is");
        // A tester that was stopped has one long row.
        let mut stopped = a.clone();
        stopped.series.drain(5..200);
        assert!(merge_named(&[("a", &stopped), ("b", &b)]).is_ok());
        let short = record("west", NOON, &vec![vec![7]; 100]);
        assert!(merge_named(&[("a", &a), ("b.html", &light(&short))]).is_ok());
    }

    #[test]
    fn part_of_many_counts_once() {
        let mut records = ["east", "west"].map(|host| record(host, NOON, &vec![vec![5]]));
        for (number, record) in records.iter_mut().enumerate() {
            let host = record.host.name.clone().unwrap_or_default();
            let part = |n: u64| Part { deliveries: n, ..Part::of(host.clone(), record) };
            record.parts = Some((0..90).map(part).collect());
            // The same, but for the last digit.
            record.parts.iter_mut().flatten().for_each(|part| part.errors = number as u64);
        }
        let [a, mut b] = records;
        assert_eq!(merged(&[&a, &b]).parts.map(|parts| parts.len()), Some(180));
        b.parts.iter_mut().flatten().next_back().unwrap().clone_from(&a.parts.as_ref().unwrap()[0]);
        let found = merge_named(&[("a", &a), ("b", &b)]).unwrap_err().to_string();
        assert_eq!(found, "b: is also in a, and would count twice");
    }

    #[test]
    fn merged_record_can_be_read_again() {
        let mut records = ["east", "west"].map(|host| record(host, NOON, &vec![vec![5]]));
        for (number, record) in records.iter_mut().enumerate() {
            let part = |n| Part { deliveries: n, ..Part::of(number.to_string(), record) };
            record.parts = Some((0..5_000).map(part).collect());
        }
        let [mut a, b] = records;
        assert_eq!(merged(&[&a, &b]).parts.map(|parts| parts.len()), Some(PARTS_MAX));
        let one_more = Part::of("one more".to_owned(), &a);
        a.parts.as_mut().unwrap().push(one_more);
        let found = merge_named(&[("a", &a), ("b", &b)]).unwrap_err().to_string();
        assert_eq!(found, "the files have 10001 parts together; a record has at most 10000");
    }

    #[test]
    fn file_without_parts_is_one() {
        let mut a = record("east", NOON, &vec![vec![5]]);
        a.parts = Some(Vec::new());
        let found = merge_named(&[("a", &a), ("b", &a)]).unwrap_err().to_string();
        assert_eq!(found, "b: is also in a, and would count twice");
    }

    #[test]
    fn parts_that_do_not_go_together_are_named() {
        let a = record("east", NOON, &vec![vec![5], vec![6]]);
        let refused = |b: Record| merge_named(&[("a", &a), ("b", &b)]).unwrap_err().to_string();
        let of = |change: &dyn Fn(&mut Record)| {
            let mut b = record("west", NOON, &vec![vec![8]]);
            change(&mut b);
            refused(b)
        };
        assert_eq!(refused(a.clone()), "b: is also in a, and would count twice");
        let other = record("west", NOON, &vec![vec![8]]);
        let both = merged(&[&other, &a]);
        assert_eq!(refused(both), "b: is also in a, and would count twice");
        let end = "that of a is \"idle\": they are not parts of one run";
        let found = of(&|b| b.mode = super::super::super::record::ModeName::Echo);
        assert_eq!(found, format!("b: mode is \"echo\", {end}"));
        let found = of(&|b| b.settings.size = Some(9));
        assert_eq!(found, "b: size is 9, that of a is 64: they are not parts of one run");
        let found = of(&|b| b.settings.send = Some("x".repeat(1 << 20)));
        assert!(found.starts_with("b: send is \"xxx") && found.len() < 1_000, "{found}");
        let found = of(&|b| b.target = "raw://h:1".to_owned());
        assert!(found.starts_with("b: the target's protocol is \"raw\", that of a"), "{found}");
        let found = of(&|b| b.host.started_at = "noon".to_owned());
        assert_eq!(found, "b: host.started_at is not a time of RFC 3339");
        let found = of(&|b| b.host.started_at = "2026-11-27T12:00:09Z".to_owned());
        assert!(found.starts_with("b: it began when the others had ended"), "{found}");
        let found = of(&|b| b.histograms.seconds = vec![Some("AAAA".to_owned())]);
        assert_eq!(found, "b: a histogram is damaged");
        assert_eq!(merge_named(&[]).unwrap_err(), MergeError::NoParts);
    }

    fn targets(names: [&str; 3]) -> Vec<TargetRecord> {
        let target = |name: &str| TargetRecord {
            target: format!("command://{name}:1"),
            address: String::new(),
            opened: 1,
            deliveries: 5,
            lost: 0,
        };
        names.map(target).into()
    }

    #[test]
    fn targets_are_added_if_they_are_the_same() {
        let of = |host, names| {
            let mut record = record(host, NOON, &vec![vec![5]]);
            record.targets = Some(targets(names));
            record
        };
        let a = of("east", ["n1", "n2", "n3"]);
        let found = merged(&[&a, &of("west", ["n1", "n2", "n3"])]).targets.unwrap();
        assert_eq!(found.iter().map(|target| target.deliveries).sum::<u64>(), 30);
        let b = of("west", ["n1", "n3", "n2"]);
        let found = merge_named(&[("a", &a), ("b", &b)]).unwrap_err().to_string();
        let expected = r#"b: the list of targets is ["command://n1:1","command://n3:1","command://n2:1"], that of a is"#;
        assert!(found.starts_with(expected), "{found}");
    }

    #[test]
    fn any_numbers_are_merged_without_a_panic() {
        let mut odd = record("west", "1601-01-01T00:00:00Z", &vec![vec![8]; 6]);
        let times = [f64::MAX, -5.0, 1e300, 0.0, 3.5, 3.5];
        for (row, t) in odd.series.iter_mut().zip(times) {
            row.t = t;
            row.connected = u64::MAX;
            row.counts.answered = u64::MAX;
        }
        odd.ramp_secs = f64::MAX;
        odd.connections.opened = u64::MAX;
        odd.requests.unanswered = u64::MAX;
        odd.errors.insert("EOF".to_owned(), u64::MAX);
        odd.points.connected = vec![(f64::MAX, u64::MAX), (-1.0, u64::MAX), (0.0, 3)];
        odd.settings.connections = u32::MAX;
        let mut other = odd.clone();
        other.host.name = Some("east".to_owned());
        other.latency_us.max = Some(1.0);
        let found =
            merged(&[&odd, &other, &record("north", "1601-01-01T00:00:01Z", &vec![vec![1]])]);
        assert_eq!(found.connections.opened, u64::MAX);
        assert!(!found.to_string().is_empty());
    }
}
